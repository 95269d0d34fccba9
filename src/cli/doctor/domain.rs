//! What DNS and web servers say of the domains that are served here, against what they should say.

use anyhow::Context as _;
use futures_util::stream::{self, StreamExt as _};

use super::Told;
use crate::accounts;
use crate::cli::context::Context;
use crate::cli::dns;
use crate::cli::dns::check::{self, Problem};
use crate::config::Publication;
use crate::daemon::health::{self, Finding};
use crate::mail::address::Domain;
use crate::net::tls::{Period, Untrusted};

/// Domains looked at when none is named; each is a dozen questions.
const MAX_DOMAINS: usize = 50;

/// Domains looked at at the same time.
const AT_ONCE: usize = 8;

/// Of that domain, or of all; and of the certificates. The records of the host are the same for each domain, and told once.
pub async fn findings(context: &Context, only: Option<&Domain>, told: &mut Told<'_>) -> anyhow::Result<()> {
    let served: Vec<Domain> = match only {
        Some(domain) => vec![domain.clone()],
        None => {
            let all = context.store.list_domains().await?;
            all.into_iter()
                .map(|domain| domain.name)
                .take(MAX_DOMAINS)
                .collect()
        }
    };
    told.add(certificates(context)?)?;
    let looks = served.into_iter().map(|domain| of_domain(context, domain));
    let mut looks = stream::iter(looks).buffered(AT_ONCE);
    while let Some(found) = looks.next().await {
        told.add(found?)?;
    }
    Ok(())
}

async fn of_domain(context: &Context, domain: Domain) -> anyhow::Result<Vec<Finding>> {
    let local = context.store.local_domain(&domain).await?;
    let local = local
        .ok_or(accounts::Error::ForeignDomain)
        .with_context(|| format!("{domain} is not served here"))?;
    let checked = dns::compared(context, &local).await?;
    let found = checked.findings.iter();
    Ok(found.flat_map(|one| of_record(&domain, one)).collect())
}

fn of_record(domain: &Domain, finding: &check::Finding) -> Vec<Finding> {
    let told = finding.problems.iter().map(|(problem, counts)| {
        let what = format!("{} {}: {}", finding.owner, finding.kind, problem.sentence());
        let why =
            "others go by what DNS and web servers say of a domain, and mail for it, or from it, goes wrong";
        let advice = format!(
            "publish what `dimed dns records {domain}` prints; `dimed dns check {domain}` says what differs"
        );
        let code = problem.code();
        match (counts, problem) {
            (true, Problem::Failed) => Finding::unknown(code, what, why, "try again later"),
            (true, _) => Finding::wrong(code, what, why, advice),
            (false, _) => Finding::risky(code, what, "others make less of it than they could", advice),
        }
    });
    told.collect()
}

/// Whether those in use are valid, and, where our own policy demands it of us, whether an authority vouches for the one for SMTP.
fn certificates(context: &Context) -> anyhow::Result<Vec<Finding>> {
    let (config, now) = (&context.config, context.now());
    let (smtp, dmtp) = (config.smtp_identity()?, config.dmtp_identity()?);
    let of = |name: &str, der: &[u8]| health::certificate(name, Period::of(der), now);
    let mut found: Vec<Finding> = of("the certificate for SMTP", smtp.leaf()).into_iter().collect();
    if smtp.leaf() != dmtp.leaf() {
        found.extend(of("the certificate for DMTP", dmtp.leaf()));
    }
    let host = &config.server.hostname;
    let takes_mail = config
        .own_policy()
        .is_some_and(|policy| policy.lets_through(host));
    let roots = config.outbound.roots()?;
    if let Some(roots) = roots.filter(|_| takes_mail && config.mta_sts.mode == Publication::Enforce)
        && let Err(why) = roots.judge(&smtp.chain, host.as_str())
    {
        let why = match why {
            Untrusted::NotTrusted => "it leads to no trusted root for that name, or is outside its time",
            Untrusted::Revoked => "it was revoked",
            Untrusted::ListOutdated => "the revocation list of its issuer is out of date",
        };
        found.push(Finding::wrong(
            "certificate_not_for_policy",
            format!("the certificate for SMTP is not one that [mta_sts] promises for {host}: {why}"),
            "hosts that follow the policy do not deliver mail here",
            "get a certificate of a public authority for that name, or set mta_sts.mode to \"testing\" until there is one",
        ));
    }
    Ok(found)
}
