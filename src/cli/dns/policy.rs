//! The MTA-STS policy that web servers have for a domain, against the one that they should have.

use super::check::{Finding, Problem, difference};
use crate::domains::sts::{Policy, PolicySource};
use crate::mail::address::Domain;

/// What others get who fetch the policy of `domain`; `host` is the mail host that it must let through.
pub async fn check(source: &dyn PolicySource, domain: &Domain, expected: &Policy, host: &Domain) -> Finding {
    let mut finding = Finding::about(format!("mta-sts.{domain}"), "HTTPS");
    let text = match source.fetch(domain).await {
        Ok(text) => String::from_utf8_lossy(&text).into_owned(),
        Err(error) => {
            finding.excess = vec![error.to_string()];
            finding.add(Problem::NotServed, false);
            return finding;
        }
    };
    let found = Policy::parse(text.as_bytes());
    if found.as_ref() != Ok(expected) {
        (finding.lacking, finding.excess) = difference(&lines(&expected.to_string()), &lines(&text));
        let keeps_mail_out = found.is_ok_and(|policy| !policy.lets_through(host));
        finding.add(Problem::Differs, keeps_mail_out);
    }
    finding
}

fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}
