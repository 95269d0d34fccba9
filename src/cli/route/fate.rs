//! What would become of a message by its route and the hosts on it.

use super::hosts::Mail;
use super::report::{Hosts, Report};
use crate::cli::Exit;
use crate::delivery::smtp::{NoAddress, Way};
use crate::domains::{DeliveryHosts, MailHosts};
use crate::routing::{HostReason, HostTls, Route};

/// What the next attempt would bring, if the hosts do their part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is delivered or relayed.
    Goes,
    /// It stays in the queue, for it cannot be sent now.
    Waits,
    /// Its author gets it back, or it is not taken at all.
    Returned,
}

impl Fate {
    /// Of a message that the report is about.
    pub fn of(report: &Report) -> Self {
        if report.known == Some(false) {
            return Self::Returned;
        }
        match (&report.decision.route, &report.hosts) {
            (Route::Defer, _) => Self::Waits,
            (Route::Bounce, _) => Self::Returned,
            // The queue keeps it until the configuration names a next host (`delivery::smtp`).
            (_, Hosts::Mail(MailHosts::OnlyOurs)) if report.is_relayed => Self::Waits,
            (_, Hosts::Mail(hosts)) => by_mail(hosts, report.mail.as_ref()),
            (_, Hosts::Operators(_)) if report.trouble.is_some() => Self::Waits,
            (_, Hosts::Operators(_)) => report.mail.as_ref().map_or(Fate::Goes, by_ways),
            (_, Hosts::Delivery(DeliveryHosts::NullMx)) => Self::Returned,
            (_, Hosts::Delivery(DeliveryHosts::Bogus | DeliveryHosts::Failed)) => Self::Waits,
            _ => Self::Goes,
        }
    }

    /// For people.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::Goes => "goes this way",
            Self::Waits => "waits, and is tried again",
            Self::Returned => "is refused, or returned to its author",
        }
    }

    /// For programs.
    pub fn word(self) -> &'static str {
        match self {
            Self::Goes => "goes",
            Self::Waits => "waits",
            Self::Returned => "returned",
        }
    }

    /// For scripts.
    pub fn exit(self) -> Exit {
        match self {
            Self::Goes => Exit::Done,
            Self::Waits => Exit::TryLater,
            Self::Returned => Exit::No,
        }
    }
}

fn by_mail(hosts: &MailHosts, mail: Option<&Mail>) -> Fate {
    match hosts {
        MailHosts::NullMx | MailHosts::Nowhere | MailHosts::OnlyOurs => Fate::Returned,
        MailHosts::Bogus | MailHosts::Failed => Fate::Waits,
        MailHosts::Hosts { .. } => mail.map_or(Fate::Goes, by_ways),
    }
}

/// One host that may have it is enough. A demand that no host can fulfil is no matter of time, nor is a host that is this one.
fn by_ways(mail: &Mail) -> Fate {
    let ways = || mail.ways.iter().map(|(_, way)| way);
    let refused = |tls: &HostTls| matches!(tls, HostTls::Refused);
    if ways().flatten().any(|way| !refused(&way.decision.tls)) {
        return Fate::Goes;
    }
    let hopeless = |reason: HostReason| reason == HostReason::RequiredUnproven;
    let never = |way: &Result<Way, NoAddress>| match way {
        Ok(way) => hopeless(way.decision.reason),
        Err(why) => *why == NoAddress::Ours,
    };
    match ways().all(never) {
        true => Fate::Returned,
        false => Fate::Waits,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::domains::sts::StsFacts;
    use crate::mail::demand::TlsDemand;
    use crate::net::dns::Proof;
    use crate::routing::{Decision, HostFacts, Reason, SmtpTls, Sts, TlsaFinding, decide_host};

    fn way(sts: Sts, demand: TlsDemand) -> Result<Way, NoAddress> {
        let facts = HostFacts {
            list: Proof::Insecure,
            tlsa: TlsaFinding::NotAsked,
            sts,
            wanted: SmtpTls::Opportunistic,
            demand,
            transport: None,
        };
        Ok(Way {
            host: "mx.plain.test".into(),
            addresses: vec!["192.0.2.1".parse().unwrap()],
            address_proof: Proof::Insecure,
            decision: decide_host(&facts),
            facts,
        })
    }

    fn fate(hosts: MailHosts, ways: Vec<Result<Way, NoAddress>>) -> Fate {
        let host = || "mx.plain.test".to_owned();
        Fate::of(&Report {
            known: None,
            hosts: Hosts::Mail(hosts),
            mail: Some(Mail {
                sts: Some(StsFacts::none()),
                ways: ways.into_iter().map(|way| (host(), way)).collect(),
            }),
            decision: Decision {
                route: Route::Smtp {
                    tls: SmtpTls::Opportunistic,
                    transport: None,
                },
                reason: Reason::Absent,
            },
            ..Report::local("carol@plain.test".parse().unwrap(), true)
        })
    }

    #[test]
    fn mail_without_a_host_comes_back_and_without_an_answer_waits() {
        for (hosts, expected) in [
            (MailHosts::NullMx, Fate::Returned),
            (MailHosts::Nowhere, Fate::Returned),
            (MailHosts::Bogus, Fate::Waits),
            (MailHosts::Failed, Fate::Waits),
        ] {
            assert_eq!(fate(hosts.clone(), vec![]), expected, "{hosts:?}");
        }
    }

    #[test]
    fn mail_that_would_come_back_to_us_is_kept_for_domains_that_we_take_it_for() {
        for (is_relayed, expected) in [(false, Fate::Returned), (true, Fate::Waits)] {
            let report = Report {
                known: None,
                hosts: Hosts::Mail(MailHosts::OnlyOurs),
                is_relayed,
                ..Report::local("carol@plain.test".parse().unwrap(), true)
            };
            assert_eq!(Fate::of(&report), expected);
        }
    }

    #[test]
    fn one_host_that_may_have_the_mail_is_enough() {
        let hosts = || MailHosts::Hosts {
            hosts: vec!["mx.plain.test".parse().unwrap()],
            proof: Proof::Insecure,
        };
        let open = || way(Sts::None, TlsDemand::Policy);
        let kept_away = || way(Sts::NotCovered, TlsDemand::Policy);
        let hopeless = || way(Sts::None, TlsDemand::Required);
        for (ways, expected) in [
            (vec![open()], Fate::Goes),
            (vec![kept_away(), open()], Fate::Goes),
            (vec![kept_away()], Fate::Waits),
            (vec![Err(NoAddress::Failed)], Fate::Waits),
            (vec![hopeless()], Fate::Returned),
            (vec![Err(NoAddress::Ours)], Fate::Returned),
            (vec![kept_away(), Err(NoAddress::Ours)], Fate::Waits),
            (vec![hopeless(), Err(NoAddress::Failed)], Fate::Waits),
        ] {
            let said = format!("{:?}", ways.iter().map(Result::is_ok).collect::<Vec<_>>());
            assert_eq!(fate(hosts(), ways), expected, "{said}");
        }
    }

    #[test]
    fn an_address_that_nobody_has_here_is_refused() {
        let local = |known| Fate::of(&Report::local("bob@hismail.test".parse().unwrap(), known));
        assert_eq!((local(true), local(false)), (Fate::Goes, Fate::Returned));
    }
}
