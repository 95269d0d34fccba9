//! MX hosts and MTA-STS policies as people and programs read them.

use serde_json::{Value, json};

use crate::cli::record::{proof_word, proven};
use crate::delivery::smtp::{NoAddress, Way};
use crate::domains::sts::{Announced, Origin, Pattern, Policy, StsFacts};
use crate::routing::{HostTls, Sts, TlsaFinding};

/// What was found out about the hosts that SMTP leads to.
pub struct Mail {
    /// The domain's MTA-STS policy; `None` where the operator names the host, which it says nothing of.
    pub sts: Option<StsFacts>,
    /// The way to each host, in the order to be tried.
    pub ways: Vec<(String, Result<Way, NoAddress>)>,
}

impl Mail {
    /// A line for the policy, and three for each host.
    pub fn lines(&self) -> Vec<(&'static str, String)> {
        let sts = self.sts.iter().map(|sts| ("mta-sts", sts_text(sts)));
        let mut lines: Vec<_> = sts.collect();
        for (host, way) in &self.ways {
            match way {
                Ok(way) => lines.extend(way_lines(way)),
                Err(why) => lines.push(("host", format!("{host}: the address {why}"))),
            }
        }
        lines
    }

    /// The policy.
    pub fn sts_object(&self) -> Value {
        let Some(facts) = &self.sts else {
            return Value::Null;
        };
        let policy = facts.policy.as_ref();
        let (announced, id) = match &facts.announced {
            Announced::Id(id) => ("id", Some(id)),
            Announced::No => ("no", None),
            Announced::Unknown => ("unknown", None),
        };
        let (origin, problem) = match &facts.origin {
            Origin::None => ("none", None),
            Origin::Fetched => ("fetched", None),
            Origin::Kept => ("kept", None),
            Origin::FetchFailed(why) => ("fetch_failed", Some(why)),
        };
        json!({
            "announced": announced,
            "id": id,
            "origin": origin,
            "problem": problem,
            "mode": policy.map(|policy| policy.mode.name()),
            "mx": policy.map(|policy| patterns(policy)),
            "max_age_secs": policy.map(|policy| policy.max_age.as_secs()),
        })
    }

    /// One object for each host.
    pub fn ways_object(&self) -> Value {
        let way = |(host, way): &(String, Result<Way, NoAddress>)| match way {
            Ok(way) => way_object(way),
            Err(why) => json!({ "host": host.as_str(), "problem": format!("the address {why}") }),
        };
        self.ways.iter().map(way).collect()
    }
}

fn sts_text(facts: &StsFacts) -> String {
    let policy = match &facts.policy {
        Some(policy) => format!("{}, hosts {}", policy.mode.name(), patterns(policy).join(" ")),
        None => "no policy".into(),
    };
    let origin = match &facts.origin {
        Origin::None => String::new(),
        Origin::Fetched => ", fetched".into(),
        Origin::Kept => ", kept from before".into(),
        Origin::FetchFailed(why) => format!(", not to be fetched now: {why}"),
    };
    let announced = match &facts.announced {
        Announced::Id(id) => format!("; DNS announces id {id}"),
        Announced::No => "; DNS announces none".into(),
        Announced::Unknown => "; DNS has no usable answer".into(),
    };
    format!("{policy}{origin}{announced}")
}

fn patterns(policy: &Policy) -> Vec<String> {
    policy.hosts.iter().map(Pattern::to_string).collect()
}

fn way_lines(way: &Way) -> [(&'static str, String); 3] {
    let addresses: Vec<String> = way.addresses.iter().map(ToString::to_string).collect();
    let known = format!(
        "{}: {}, {}; TLSA: {}",
        way.host,
        addresses.join(" "),
        proven(way.address_proof),
        tlsa_text(&way.facts.tlsa)
    );
    let reason = way.decision.reason;
    [
        ("host", known),
        ("", format!("tls: {}", tls_text(&way.decision.tls))),
        ("", format!("because {reason} ({})", reason.code())),
    ]
}

fn tlsa_text(finding: &TlsaFinding) -> String {
    match finding {
        TlsaFinding::NotAsked => "not asked for, for nothing proves where they would stand".into(),
        TlsaFinding::Usable(dane) => format!("{dane}, proven by DNSSEC"),
        TlsaFinding::Unusable => "none of them can be used, proven by DNSSEC".into(),
        TlsaFinding::Absent => "none that are proven".into(),
        TlsaFinding::Bogus => "DNSSEC validation failed".into(),
        TlsaFinding::Failed => "no usable answer".into(),
    }
}

fn tlsa_word(finding: &TlsaFinding) -> &'static str {
    match finding {
        TlsaFinding::NotAsked => "not_asked",
        TlsaFinding::Usable(_) => "usable",
        TlsaFinding::Unusable => "unusable",
        TlsaFinding::Absent => "absent",
        TlsaFinding::Bogus => "bogus",
        TlsaFinding::Failed => "failed",
    }
}

fn sts_word(sts: Sts) -> &'static str {
    match sts {
        Sts::None => "none",
        Sts::Testing => "testing",
        Sts::Covered => "covered",
        Sts::NotCovered => "not_covered",
    }
}

fn tls_text(tls: &HostTls) -> String {
    match tls {
        HostTls::Dane(dane) => format!(
            "with a certificate by TLSA records, asked for as {}",
            dane.base_domain()
        ),
        HostTls::Pkix => "with a certificate for the host's name under a trusted root".into(),
        HostTls::Encrypted => "with any certificate, never in clear text".into(),
        HostTls::PkixOrEncrypted => "with a verified certificate if possible, never in clear text".into(),
        HostTls::PkixIfPossible => "with a verified certificate if possible".into(),
        HostTls::Opportunistic => "as the host offers".into(),
        HostTls::Refused => "this host gets no mail now".into(),
    }
}

fn way_object(way: &Way) -> Value {
    let addresses: Vec<String> = way.addresses.iter().map(ToString::to_string).collect();
    json!({
        "host": way.host.as_str(),
        "addresses": addresses,
        "address_proof": proof_word(way.address_proof),
        "tlsa": tlsa_word(&way.facts.tlsa),
        "mta_sts": sts_word(way.facts.sts),
        "tls": way.decision.tls.kind(),
        "reason": {
            "code": way.decision.reason.code(),
            "text": way.decision.reason.to_string(),
        },
    })
}
