//! The facts about a route as people and programs read them.

use std::sync::Arc;

use serde_json::{Value, json};

use super::fate::Fate;
use super::hosts::Mail;
use crate::cli::record::{self, proof_word, proven, reach_word, record_object, record_text};
use crate::crypto::suite::hpke::Suite;
use crate::dime::key_set::{Capability, KeySet};
use crate::dime::selection::{Actor, Choice};
use crate::domains::{DeliveryHosts, DomainFacts, MailHosts, PinnedRecord, RecordLookup};
use crate::mail::address::Mailbox;
use crate::mail::date::rfc5322;
use crate::queue::parties::Parties;
use crate::routing::transport::Pattern;
use crate::routing::{Decision, ParentPolicy, Reason, Route, Transport};
use crate::signet_service::Known;

/// Everything found out about the way to one recipient.
pub struct Report {
    /// The recipient.
    pub address: Mailbox,
    /// For a domain of ours, whether somebody has that address.
    pub known: Option<bool>,
    /// For somebody here, where the mail goes in the end.
    pub places: Vec<String>,
    /// For another domain, what is known of its management record.
    pub facts: Option<DomainFacts>,
    /// What a domain above it says, if that counts here.
    pub parent: Option<ParentPolicy>,
    /// Where mail would be taken.
    pub hosts: Hosts,
    /// How, host by host, if by SMTP.
    pub mail: Option<Mail>,
    /// How everybody's keys stand, and the format that follows, if signets were had.
    pub parties: Option<Parties>,
    /// Why signets were not had, though they were asked for, or why the host that the operator names takes no mail now.
    pub trouble: Option<String>,
    /// We take mail for the domain, to pass it on to another host.
    pub is_relayed: bool,
    /// The route and its reason.
    pub decision: Decision,
}

/// Hosts on the way.
pub enum Hosts {
    /// Mail stays here, or goes nowhere now.
    None,
    /// By DMTP.
    Delivery(DeliveryHosts),
    /// By SMTP.
    Mail(MailHosts),
    /// By SMTP to the host that the operator names.
    Operators(Arc<Transport>),
}

impl Report {
    /// For a domain of ours.
    pub fn local(address: Mailbox, known: bool) -> Self {
        Self {
            address,
            known: Some(known),
            places: Vec::new(),
            facts: None,
            parent: None,
            hosts: Hosts::None,
            mail: None,
            parties: None,
            trouble: None,
            is_relayed: false,
            decision: Decision {
                route: Route::Local,
                reason: Reason::LocalDomain,
            },
        }
    }

    /// One fact a line, then route and reason.
    pub fn text(&self) -> String {
        let mut lines = vec![("recipient", self.address.to_string())];
        if let Some(known) = self.known {
            let word = if known {
                "known here"
            } else {
                "unknown here: mail is refused"
            };
            lines.push(("address", word.into()));
        }
        lines.extend(self.places.iter().map(|place| ("delivery", place.clone())));
        if let Some(facts) = &self.facts {
            lines.push(("record", lookup_text(facts)));
            if let RecordLookup::Found { record, .. } = &facts.lookup {
                lines.push(("", record_text(record)));
            }
            lines.push(("pin", facts.pin.as_ref().map_or_else(|| "none".into(), pin_text)));
        }
        if let Some(parent) = &self.parent {
            lines.push((
                "above",
                format!(
                    "pol={} sub={}, proven by DNSSEC",
                    parent.policy, parent.subdomains
                ),
            ));
        }
        if let Some(trouble) = &self.trouble {
            let name = match self.hosts {
                Hosts::Operators(_) => "trouble",
                _ => "dmtp",
            };
            lines.push((name, trouble.clone()));
        }
        match &self.hosts {
            Hosts::None => {}
            Hosts::Delivery(hosts) => lines.push(("dx hosts", delivery_text(hosts))),
            Hosts::Mail(hosts) => lines.push(("mx hosts", mail_text(hosts))),
            Hosts::Operators(transport) => lines.push(("transport", transport_text(transport))),
        }
        if matches!(self.hosts, Hosts::Mail(MailHosts::OnlyOurs)) && self.is_relayed {
            let advice = "name the next host in outbound.transports: mail for the domain is taken here";
            lines.push(("trouble", advice.into()));
        }
        if let Some(mail) = &self.mail {
            lines.extend(mail.lines());
        }
        if let Some(parties) = &self.parties {
            for (name, known) in named(parties) {
                lines.push(("keys", format!("{name}: {}", known_text(known))));
            }
            lines.push(("format", parties.choice.to_string()));
        }
        lines.push(("route", self.decision.route.kind().into()));
        lines.push((
            "reason",
            format!("{} ({})", self.decision.reason, self.decision.reason.code()),
        ));
        lines.push(("mail", Fate::of(self).sentence().into()));
        lines
            .iter()
            .map(|(name, value)| format!("{name:<10} {value}\n"))
            .collect()
    }

    /// The same as an object.
    pub fn object(&self) -> Value {
        json!({
            "recipient": self.address.to_string(),
            "known_here": self.known,
            "places": self.places,
            "record": self.facts.as_ref().map(lookup_object),
            "pin": self.facts.as_ref().and_then(|facts| facts.pin.as_ref()).map(pin_object),
            "parent": self.parent.map(|parent| json!({
                "pol": parent.policy.to_string(),
                "sub": parent.subdomains.to_string(),
            })),
            "hosts": hosts_object(&self.hosts),
            "mta_sts": self.mail.as_ref().map(Mail::sts_object),
            "ways": self.mail.as_ref().map(Mail::ways_object),
            "key_sets": self.parties.as_ref().map(parties_object),
            "choice": self.parties.as_ref().map(|parties| choice_object(parties.choice)),
            "dmtp_problem": self.trouble,
            "route": self.decision.route.kind(),
            "reason": {
                "code": self.decision.reason.code(),
                "text": self.decision.reason.to_string(),
            },
            "mail": Fate::of(self).word(),
        })
    }
}

/// Everybody whose keys are known, the author last: they decide nothing but the author's copy.
fn named(parties: &Parties) -> impl Iterator<Item = (&'static str, &Known)> {
    let author = parties.sender.author.as_ref();
    [
        ("origin", &parties.sender.origin),
        ("destination", &parties.destination),
        ("recipient", &parties.recipient),
    ]
    .into_iter()
    .chain(author.map(|author| ("author", author)))
}

fn known_text(known: &Known) -> String {
    let state = known.capability.state();
    match &known.capability {
        Capability::Usable(_) => {
            let suites: Vec<_> = known.capability.suites().iter().map(Suite::to_string).collect();
            format!("{state} ({})", suites.join(", "))
        }
        Capability::Unusable(error) => format!("{state} ({error})"),
        _ => state.to_string(),
    }
}

fn parties_object(parties: &Parties) -> Value {
    let known = |known: &Known| {
        let suites: Vec<_> = known
            .capability
            .suites()
            .iter()
            .map(|suite| suite.name())
            .collect();
        json!({
            "state": known.capability.state().name(),
            "rule": known.capability.rule(),
            "suites": suites,
            "expires": known.capability.keys().map(KeySet::expires),
            "ever_usable": known.pin.map(|pin| pin.ever_usable),
        })
    };
    named(parties)
        .map(|(name, party)| (name.to_owned(), known(party)))
        .collect()
}

fn choice_object(choice: Choice) -> Value {
    match choice {
        Choice::Format2 { suite, author_copy } => {
            json!({ "format": 2, "suite": suite.name(), "author_copy": author_copy })
        }
        Choice::Format1 => json!({ "format": 1 }),
        Choice::Hold(hold) => {
            json!({ "hold": hold.rule.to_string(), "actor": hold.actor.map(Actor::name) })
        }
    }
}

fn lookup_text(facts: &DomainFacts) -> String {
    let text = record::lookup_text(&facts.lookup);
    match facts.remembered {
        true => format!("{text} (remembered)"),
        false => text,
    }
}

fn lookup_object(facts: &DomainFacts) -> Value {
    let mut object = record::lookup_object(&facts.lookup);
    object["remembered"] = facts.remembered.into();
    object
}

fn pin_text(pin: &PinnedRecord) -> String {
    format!(
        "pol={}, {}, first seen {}, expires {}",
        pin.record.policy,
        proven(pin.proof),
        rfc5322(pin.first_seen_at),
        rfc5322(pin.expires_at)
    )
}

fn pin_object(pin: &PinnedRecord) -> Value {
    json!({
        "value": record_object(&pin.record),
        "proof": proof_word(pin.proof),
        "first_seen_at": pin.first_seen_at.unix_secs(),
        "expires_at": pin.expires_at.unix_secs(),
    })
}

fn delivery_text(hosts: &DeliveryHosts) -> String {
    match hosts {
        DeliveryHosts::Attempts(attempts) => {
            let attempts: Vec<String> = attempts
                .iter()
                .map(|attempt| format!("{} ({})", attempt.host, reach_word(attempt.reach)))
                .collect();
            attempts.join(", ")
        }
        DeliveryHosts::NullMx => "the domain says that it takes no mail".into(),
        DeliveryHosts::Bogus => "DNSSEC validation of the MX records failed".into(),
        DeliveryHosts::Failed => "the MX records could not be had".into(),
    }
}

fn mail_text(hosts: &MailHosts) -> String {
    match hosts {
        MailHosts::Hosts { hosts, proof } => {
            let hosts: Vec<&str> = hosts.iter().map(|host| host.as_str()).collect();
            format!("{}, {}", hosts.join(", "), proven(*proof))
        }
        MailHosts::OnlyOurs => "this host, and none that the domain likes better".into(),
        MailHosts::NullMx => "the domain says that it takes no mail".into(),
        MailHosts::Nowhere => "neither an MX nor an address".into(),
        MailHosts::Bogus => "DNSSEC validation failed".into(),
        MailHosts::Failed => "no usable answer".into(),
    }
}

fn patterns(transport: &Transport) -> Vec<String> {
    transport.domains.iter().map(Pattern::to_string).collect()
}

fn transport_text(transport: &Transport) -> String {
    let login = match &transport.login {
        Some(login) => format!(
            "login with {} under {} TLS",
            login.credentials.display(),
            login.under.name()
        ),
        None => "no login".into(),
    };
    format!(
        "{transport}, configured for {}; least TLS {}{}; {login}",
        patterns(transport).join(" "),
        transport.tls.name(),
        match transport.tls_from_start {
            true => ", from the start",
            false => "",
        }
    )
}

fn transport_object(transport: &Transport) -> Value {
    json!({
        "kind": "transport",
        "domains": patterns(transport),
        "host": transport.host.to_string(),
        "port": transport.port,
        "tls": transport.tls.name(),
        "tls_from_start": transport.tls_from_start,
        "credentials": transport.login.as_ref().map(|login| login.credentials.display().to_string()),
        "login_under": transport.login.as_ref().map(|login| login.under.name()),
    })
}

fn hosts_object(hosts: &Hosts) -> Value {
    match hosts {
        Hosts::None => Value::Null,
        Hosts::Delivery(DeliveryHosts::Attempts(attempts)) => {
            let attempts: Vec<Value> = attempts
                .iter()
                .map(|attempt| json!({ "host": attempt.host.as_str(), "reach": reach_word(attempt.reach) }))
                .collect();
            json!({ "kind": "dx", "attempts": attempts })
        }
        Hosts::Delivery(other) => json!({ "kind": "dx", "problem": delivery_text(other) }),
        Hosts::Mail(MailHosts::Hosts { hosts, proof }) => {
            let hosts: Vec<&str> = hosts.iter().map(|host| host.as_str()).collect();
            json!({ "kind": "mx", "hosts": hosts, "proof": proof_word(*proof) })
        }
        Hosts::Mail(other) => json!({ "kind": "mx", "problem": mail_text(other) }),
        Hosts::Operators(transport) => transport_object(transport),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::delivery::smtp::{NoAddress, Way};
    use crate::dime::record::{Policy, SubdomainPolicy};
    use crate::domains::sts;
    use crate::domains::sts::{Announced, Origin, StsFacts};
    use crate::mail::demand::TlsDemand;
    use crate::net::dns::Proof;
    use crate::routing::{HostFacts, SmtpTls, Sts, TlsaFinding, decide_host};

    /// One host that an MTA-STS policy covers, and one that cannot be found.
    fn mail() -> Mail {
        let text =
            b"version: STSv1\nmode: enforce\nmx: mx.plain.test\nmx: *.pool.plain.test\nmax_age: 86400\n";
        let facts = HostFacts {
            list: Proof::Insecure,
            tlsa: TlsaFinding::NotAsked,
            sts: Sts::Covered,
            wanted: SmtpTls::Opportunistic,
            demand: TlsDemand::Policy,
            transport: None,
        };
        let way = Way {
            host: "mx.plain.test".into(),
            addresses: vec!["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()],
            address_proof: Proof::Insecure,
            decision: decide_host(&facts),
            facts,
        };
        Mail {
            sts: Some(StsFacts {
                announced: Announced::Id("7".into()),
                policy: Some(std::sync::Arc::new(sts::Policy::parse(text).unwrap())),
                origin: Origin::Kept,
            }),
            ways: vec![
                (way.host.clone(), Ok(way)),
                ("mx2.plain.test".into(), Err(NoAddress::Failed)),
            ],
        }
    }

    #[test]
    fn every_fact_stands_on_a_line_with_its_proof() {
        let report = Report {
            address: "carol@plain.test".parse().unwrap(),
            known: None,
            is_relayed: false,
            places: Vec::new(),
            facts: Some(DomainFacts {
                lookup: RecordLookup::Absent(Proof::Secure),
                pin: None,
                remembered: false,
            }),
            parent: Some(ParentPolicy {
                policy: Policy::Mixed,
                subdomains: SubdomainPolicy::Explicit,
            }),
            hosts: Hosts::Mail(MailHosts::Hosts {
                hosts: vec!["mx.plain.test".parse().unwrap()],
                proof: Proof::Insecure,
            }),
            mail: Some(mail()),
            parties: None,
            trouble: None,
            decision: Decision {
                route: Route::Smtp {
                    tls: SmtpTls::Opportunistic,
                    transport: None,
                },
                reason: Reason::ProvenAbsent,
            },
        };
        let expected = "\
recipient  carol@plain.test
record     none, proven by DNSSEC
pin        none
above      pol=mixed sub=explicit, proven by DNSSEC
mx hosts   mx.plain.test, not proven: the zone is unsigned
mta-sts    enforce, hosts mx.plain.test *.pool.plain.test, kept from before; DNS announces id 7
host       mx.plain.test: 192.0.2.1 2001:db8::1, not proven: the zone is unsigned; TLSA: not asked for, for nothing proves where they would stand
           tls: with a certificate for the host's name under a trusted root
           because the domain's MTA-STS policy demands a verified certificate (mta_sts)
host       mx2.plain.test: the address cannot be looked up
route      smtp
reason     DNSSEC proves that the domain has no DIME record, so the message goes by SMTP. (record_proven_absent)
mail       goes this way
";
        assert_eq!(report.text(), expected);
        let object = report.object();
        assert_eq!(object["record"]["proof"], "secure");
        assert_eq!(
            object["hosts"],
            json!({ "kind": "mx", "hosts": ["mx.plain.test"], "proof": "insecure" })
        );
        assert_eq!(
            object["mta_sts"],
            json!({
                "announced": "id", "id": "7", "origin": "kept", "problem": null, "mode": "enforce",
                "mx": ["mx.plain.test", "*.pool.plain.test"], "max_age_secs": 86400,
            })
        );
        let way = &object["ways"][0];
        assert_eq!(
            (&way["tlsa"], &way["mta_sts"], &way["tls"], &way["reason"]["code"]),
            (
                &json!("not_asked"),
                &json!("covered"),
                &json!("pkix"),
                &json!("mta_sts")
            )
        );
        assert_eq!(object["ways"][1]["problem"], "the address cannot be looked up");
    }
}
