use std::time::Duration;

use super::super::*;
use crate::mail::address::Domain;
use crate::mail::demand::TlsDemand;
use crate::net::dane::Dane;
use crate::net::dns::{Lookup, Tlsa};

/// A record that can be used: the SHA-256 of a public key.
pub(super) fn tlsa() -> Tlsa {
    Tlsa {
        usage: 3,
        selector: 1,
        matching: 1,
        data: vec![7; 32],
    }
}

fn name() -> Domain {
    "mx.plain.test".parse().unwrap()
}

pub(super) fn dane() -> Dane {
    Dane::new(&[tlsa()], vec![name()]).unwrap()
}

pub(super) fn host(tlsa: TlsaFinding, sts: Sts) -> HostFacts {
    HostFacts {
        list: Proof::Secure,
        tlsa,
        sts,
        wanted: SmtpTls::Opportunistic,
        demand: TlsDemand::Policy,
        transport: None,
    }
}

fn found(records: Vec<Tlsa>, proof: Proof) -> Lookup<Vec<Tlsa>> {
    Lookup::Found {
        value: records,
        ttl: Duration::from_secs(300),
        proof,
    }
}

#[test]
fn answers_about_tlsa_records_mean_what_they_say() {
    let unusable = Tlsa { usage: 1, ..tlsa() };
    let cases = [
        (found(vec![tlsa()], Proof::Secure), TlsaFinding::Usable(dane())),
        (
            found(vec![unusable.clone(), tlsa()], Proof::Secure),
            TlsaFinding::Usable(dane()),
        ),
        (found(vec![unusable], Proof::Secure), TlsaFinding::Unusable),
        (found(vec![tlsa()], Proof::Insecure), TlsaFinding::Absent),
        (Lookup::Absent { proof: Proof::Secure }, TlsaFinding::Absent),
        (
            Lookup::Absent {
                proof: Proof::Insecure,
            },
            TlsaFinding::Absent,
        ),
        (Lookup::Bogus, TlsaFinding::Bogus),
        (Lookup::Failed, TlsaFinding::Failed),
    ];
    for (answer, expected) in cases {
        assert_eq!(
            TlsaFinding::read(answer.clone(), vec![name()]),
            expected,
            "{answer:?}"
        );
    }
}

#[test]
fn dane_outranks_mta_sts_and_a_failed_lookup_is_no_absence() {
    for sts in [Sts::None, Sts::Testing, Sts::Covered, Sts::NotCovered] {
        let decided = |tlsa| decide_host(&host(tlsa, sts));
        assert_eq!(
            decided(TlsaFinding::Usable(dane())).tls,
            HostTls::Dane(dane()),
            "{sts:?}"
        );
        assert_eq!(decided(TlsaFinding::Bogus).tls, HostTls::Refused, "{sts:?}");
        assert_eq!(decided(TlsaFinding::Failed).tls, HostTls::Refused, "{sts:?}");
    }
}

#[test]
fn without_usable_tlsa_records_mta_sts_decides() {
    use HostTls::{Encrypted, Opportunistic, Pkix, Refused};
    let rows = [
        (TlsaFinding::Unusable, [Encrypted, Encrypted, Pkix, Refused]),
        (TlsaFinding::Absent, [Opportunistic, Opportunistic, Pkix, Refused]),
        (
            TlsaFinding::NotAsked,
            [Opportunistic, Opportunistic, Pkix, Refused],
        ),
    ];
    for (tlsa, by_sts) in rows {
        for (sts, expected) in [Sts::None, Sts::Testing, Sts::Covered, Sts::NotCovered]
            .into_iter()
            .zip(by_sts)
        {
            assert_eq!(
                decide_host(&host(tlsa.clone(), sts)).tls,
                expected,
                "{tlsa:?} {sts:?}"
            );
        }
    }
}

#[test]
fn the_management_record_asks_for_more_where_nothing_else_does() {
    let mut facts = host(TlsaFinding::Absent, Sts::None);
    facts.wanted = SmtpTls::VerifiedIfPossible;
    assert_eq!(decide_host(&facts).tls, HostTls::PkixIfPossible);
    facts.tlsa = TlsaFinding::Unusable;
    assert_eq!(decide_host(&facts).tls, HostTls::Encrypted);
}

#[test]
fn required_tls_is_verified_and_only_for_hosts_that_are_proven() {
    for (list, sts, expected) in [
        (Proof::Secure, Sts::None, HostTls::Pkix),
        (Proof::Insecure, Sts::None, HostTls::Refused),
        (Proof::Insecure, Sts::Testing, HostTls::Refused),
        (Proof::Insecure, Sts::Covered, HostTls::Pkix),
        (Proof::Secure, Sts::NotCovered, HostTls::Refused),
    ] {
        for tlsa in [TlsaFinding::Absent, TlsaFinding::Unusable] {
            let mut facts = host(tlsa, sts);
            (facts.list, facts.demand) = (list, TlsDemand::Required);
            assert_eq!(decide_host(&facts).tls, expected, "{facts:?}");
        }
    }
    let mut facts = host(TlsaFinding::Usable(dane()), Sts::None);
    facts.demand = TlsDemand::Required;
    assert_eq!(decide_host(&facts).tls, HostTls::Dane(dane()));
    facts.tlsa = TlsaFinding::Failed;
    assert_eq!(decide_host(&facts).tls, HostTls::Refused);
}

#[test]
fn waived_tls_is_opportunistic_whatever_policies_say() {
    for tlsa in [
        TlsaFinding::Usable(dane()),
        TlsaFinding::Bogus,
        TlsaFinding::Failed,
        TlsaFinding::Unusable,
    ] {
        for sts in [Sts::Covered, Sts::NotCovered] {
            let mut facts = host(tlsa.clone(), sts);
            facts.demand = TlsDemand::Waived;
            assert_eq!(decide_host(&facts).tls, HostTls::Opportunistic, "{facts:?}");
        }
    }
}

#[test]
fn nothing_makes_a_host_that_the_operator_names_less_protected_than_it_has_to_be() {
    use HostTls as T;
    use SmtpTls::{Opportunistic as AsOffered, VerifiedIfPossible};
    use TlsDemand::{Policy, Required, Waived};
    use transport::Protection::{Encrypted, Opportunistic, Verified};
    let rows = [
        (Verified, AsOffered, Policy, T::Pkix),
        (Verified, VerifiedIfPossible, Waived, T::Pkix),
        (Verified, AsOffered, Required, T::Pkix),
        (Encrypted, AsOffered, Policy, T::Encrypted),
        (Encrypted, AsOffered, Waived, T::Encrypted),
        (Encrypted, VerifiedIfPossible, Policy, T::PkixOrEncrypted),
        (Encrypted, AsOffered, Required, T::Pkix),
        (Opportunistic, AsOffered, Policy, T::Opportunistic),
        (Opportunistic, VerifiedIfPossible, Policy, T::PkixIfPossible),
        (Opportunistic, AsOffered, Required, T::Pkix),
        (Opportunistic, VerifiedIfPossible, Waived, T::Opportunistic),
    ];
    for (least, wanted, demand, expected) in rows {
        let facts = |tlsa| HostFacts {
            wanted,
            demand,
            transport: Some(least),
            ..host(tlsa, Sts::None)
        };
        let said = format!("{least:?} {wanted:?} {demand:?}");
        assert_eq!(decide_host(&facts(TlsaFinding::NotAsked)).tls, expected, "{said}");
        if demand != Waived {
            let dane = T::Dane(dane());
            assert_eq!(
                decide_host(&facts(TlsaFinding::Usable(self::dane()))).tls,
                dane,
                "{said}"
            );
            assert_eq!(decide_host(&facts(TlsaFinding::Bogus)).tls, T::Refused, "{said}");
            let unusable = decide_host(&facts(TlsaFinding::Unusable)).tls;
            assert!(matches!(unusable, T::Encrypted | T::Pkix), "{said}");
        }
    }
}
