#![allow(clippy::unwrap_used, clippy::expect_used)]

mod hosts;
mod table;

use std::collections::HashSet;

use super::*;
use crate::base::time::Timestamp;
use crate::crypto::ed25519::VerifyingKey;
use crate::dime::selection::{Actor, Rule};
use DmtpFinding as F;
use Policy::{Experimental, Mixed, Strict};

const DEFER: Expected = Expected::Defer;
const BOUNCE: Expected = Expected::Bounce;
const OPPORTUNISTIC: Expected = Expected::Smtp(SmtpTls::Opportunistic);
const VERIFIED: Expected = Expected::Smtp(SmtpTls::VerifiedIfPossible);

fn held(rule: Rule) -> F {
    F::Held(Hold {
        rule,
        actor: Some(Actor::Destination),
    })
}

/// A route without the record, so that tables stay readable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    Dmtp(Proof, Policy),
    Smtp(SmtpTls),
    Defer,
    Bounce,
    Local,
}

fn outline(route: &Route) -> Expected {
    match route {
        Route::Local => Expected::Local,
        Route::Dmtp { record, proof } => Expected::Dmtp(*proof, record.policy),
        Route::Smtp { tls, .. } => Expected::Smtp(*tls),
        Route::Defer => Expected::Defer,
        Route::Bounce => Expected::Bounce,
    }
}

fn record(key: u8, policy: Policy) -> ManagementRecord {
    let mut record = ManagementRecord::parse(format!("pok={}", "A".repeat(43))).unwrap();
    record.primary_keys = vec![VerifyingKey([key; 32])];
    record.policy = policy;
    record
}

fn found(key: u8, policy: Policy, proof: Proof) -> RecordLookup {
    RecordLookup::Found {
        record: record(key, policy),
        proof,
    }
}

fn pinned(key: u8, policy: Policy, proof: Proof) -> Option<PinnedRecord> {
    Some(PinnedRecord {
        record: record(key, policy),
        proof,
        first_seen_at: Timestamp(0),
        expires_at: Timestamp(1),
    })
}

fn facts(lookup: RecordLookup, pin: Option<PinnedRecord>) -> Facts {
    Facts {
        local: false,
        sender_policy: None,
        demand: Demand::default(),
        parent: None,
        domain: DomainFacts {
            lookup,
            pin,
            remembered: false,
        },
        finding: F::NotAsked,
        failing_for_long: false,
        allowances: Allowances::default(),
        transport: None,
    }
}

fn route(facts: &Facts) -> (Expected, &'static str) {
    let decision = decide(facts);
    (outline(&decision.route), decision.reason.code())
}

#[test]
fn the_record_decides_first() {
    use Proof::{Insecure, Secure};
    use RecordLookup as L;
    let unparsable = || L::Unparsable { error: None };
    let pin = || pinned(1, Mixed, Secure);
    let dmtp = |proof, policy| Expected::Dmtp(proof, policy);
    let cases = [
        (
            found(1, Strict, Secure),
            None,
            dmtp(Secure, Strict),
            "dime_domain",
        ),
        (
            found(2, Experimental, Secure),
            pin(),
            dmtp(Secure, Experimental),
            "dime_domain",
        ),
        (
            found(1, Mixed, Insecure),
            None,
            dmtp(Insecure, Mixed),
            "dime_domain",
        ),
        (
            found(1, Strict, Insecure),
            pin(),
            dmtp(Insecure, Strict),
            "dime_domain",
        ),
        (
            found(1, Experimental, Insecure),
            pin(),
            dmtp(Insecure, Mixed),
            "dime_domain",
        ),
        (found(2, Mixed, Insecure), pin(), DEFER, "record_keys_conflict"),
        (L::Bogus, None, DEFER, "record_bogus"),
        (L::Bogus, pin(), DEFER, "record_bogus"),
        (unparsable(), None, DEFER, "record_unparsable"),
        (unparsable(), pin(), dmtp(Secure, Mixed), "dime_domain"),
        (L::Absent(Secure), None, OPPORTUNISTIC, "record_proven_absent"),
        (L::Absent(Secure), pin(), OPPORTUNISTIC, "record_proven_absent"),
        (L::Absent(Insecure), None, OPPORTUNISTIC, "record_absent"),
        (L::Absent(Insecure), pin(), dmtp(Secure, Mixed), "dime_domain"),
        (L::Failed, None, DEFER, "record_lookup_failed"),
        (L::Failed, pin(), dmtp(Secure, Mixed), "dime_domain"),
        (
            L::Failed,
            pinned(1, Strict, Insecure),
            dmtp(Insecure, Strict),
            "dime_domain",
        ),
    ];
    for (lookup, pin, expected, code) in cases {
        assert_eq!(
            route(&facts(lookup.clone(), pin.clone())),
            (expected, code),
            "{lookup:?} {pin:?}"
        );
    }
}

#[test]
fn a_failed_lookup_leads_to_smtp_only_after_long_and_if_allowed() {
    for (failing_for_long, allowed, expected) in [
        (false, false, DEFER),
        (false, true, DEFER),
        (true, false, DEFER),
        (true, true, OPPORTUNISTIC),
    ] {
        let mut facts = facts(RecordLookup::Failed, None);
        facts.failing_for_long = failing_for_long;
        facts.allowances.smtp_after_failed_lookup = allowed;
        assert_eq!(route(&facts).0, expected, "{failing_for_long} {allowed}");
        facts.domain.pin = pinned(1, Experimental, Proof::Insecure);
        assert_eq!(route(&facts).0, Expected::Dmtp(Proof::Insecure, Experimental));
        facts.domain.lookup = RecordLookup::Bogus;
        assert_eq!(route(&facts).0, DEFER);
    }
}

#[test]
fn what_dmtp_brought_decides_by_policy() {
    let rows = [
        (
            F::NoSuchSignet,
            [OPPORTUNISTIC, VERIFIED, BOUNCE],
            "dime_no_such_signet",
        ),
        (F::Unreachable, [OPPORTUNISTIC, DEFER, DEFER], "dime_unreachable"),
        (F::NotCovered, [OPPORTUNISTIC, DEFER, DEFER], "dime_not_covered"),
        (
            F::CertificateRejected,
            [DEFER, DEFER, DEFER],
            "dime_certificate_rejected",
        ),
        (F::SignetInvalid, [DEFER, DEFER, DEFER], "dime_signet_invalid"),
        (held(Rule::Q1), [DEFER, DEFER, DEFER], "dime_held_q1"),
        (held(Rule::Q2), [DEFER, DEFER, DEFER], "dime_held_q2"),
        (held(Rule::Q3), [DEFER, DEFER, DEFER], "dime_held_q3"),
        (
            F::OwnRecord(Unpublished::Missing),
            [DEFER, DEFER, DEFER],
            "dime_own_record_missing",
        ),
        (
            F::OwnRecord(Unpublished::WithoutKey),
            [DEFER, DEFER, DEFER],
            "dime_own_record_without_key",
        ),
        (
            F::OwnRecord(Unpublished::Unknown),
            [DEFER, DEFER, DEFER],
            "dime_own_record_unknown",
        ),
        (
            F::MessageRefused,
            [BOUNCE, BOUNCE, BOUNCE],
            "dime_message_refused",
        ),
    ];
    for proof in [Proof::Secure, Proof::Insecure] {
        for (finding, by_policy, code) in rows {
            for (policy, expected) in [Experimental, Mixed, Strict].into_iter().zip(by_policy) {
                let mut facts = facts(found(1, policy, proof), None);
                facts.finding = finding;
                assert_eq!(route(&facts), (expected, code), "{finding:?} {policy} {proof:?}");
            }
        }
        for policy in [Experimental, Mixed, Strict] {
            let mut facts = facts(found(1, policy, proof), None);
            facts.finding = F::SignetValid;
            assert_eq!(
                route(&facts),
                (Expected::Dmtp(proof, policy), "dime_signet_valid")
            );
        }
    }
}

#[test]
fn mail_that_key_sets_hold_waits_however_long_it_fails_and_whatever_is_allowed() {
    for policy in [Experimental, Mixed, Strict] {
        let mut facts = facts(found(1, policy, Proof::Secure), None);
        facts.finding = held(Rule::Q1);
        facts.failing_for_long = true;
        facts.allowances = Allowances {
            smtp_after_failed_lookup: true,
            smtp_after_rejected_certificate: true,
        };
        assert_eq!(route(&facts).0, DEFER, "{policy}");
    }
}

#[test]
fn a_rejected_certificate_leads_to_smtp_only_on_trial_after_long_and_if_allowed() {
    for policy in [Experimental, Mixed, Strict] {
        for (failing_for_long, allowed) in [(false, false), (false, true), (true, false), (true, true)] {
            let mut facts = facts(found(1, policy, Proof::Secure), None);
            facts.finding = F::CertificateRejected;
            facts.failing_for_long = failing_for_long;
            facts.allowances.smtp_after_rejected_certificate = allowed;
            let expected = match (policy, failing_for_long && allowed) {
                (Experimental, true) => OPPORTUNISTIC,
                _ => DEFER,
            };
            assert_eq!(route(&facts).0, expected, "{policy} {failing_for_long} {allowed}");
        }
    }
}

#[test]
fn a_stronger_pinned_policy_counts_against_an_unproven_record() {
    let mut facts = facts(
        found(1, Experimental, Proof::Insecure),
        pinned(1, Strict, Proof::Insecure),
    );
    facts.finding = F::NoSuchSignet;
    assert_eq!(route(&facts).0, BOUNCE);
    facts.domain.lookup = found(1, Experimental, Proof::Secure);
    assert_eq!(route(&facts).0, OPPORTUNISTIC);
}

#[test]
fn a_strict_sender_never_sends_by_smtp() {
    let mut absent = facts(RecordLookup::Absent(Proof::Insecure), None);
    for (policy, expected) in [
        (Experimental, OPPORTUNISTIC),
        (Mixed, OPPORTUNISTIC),
        (Strict, BOUNCE),
    ] {
        absent.sender_policy = Some(policy);
        assert_eq!(route(&absent).0, expected, "{policy}");
    }
    assert_eq!(
        decide(&absent).reason,
        Reason::SenderIsStrict {
            instead_of: "record_absent"
        }
    );
    let mut dime = facts(found(1, Experimental, Proof::Secure), None);
    dime.sender_policy = Some(Strict);
    assert_eq!(route(&dime).0, Expected::Dmtp(Proof::Secure, Experimental));
    dime.finding = F::Unreachable;
    assert_eq!(route(&dime), (DEFER, "sender_is_strict"), "DMTP may be had later");
    dime.finding = F::NoSuchSignet;
    assert_eq!(route(&dime), (BOUNCE, "sender_is_strict"));
    dime.local = true;
    assert_eq!(route(&dime), (Expected::Local, "local_domain"));
}

#[test]
fn an_author_who_demands_dime_gets_it_or_the_message_back() {
    let demand = Demand {
        dime: true,
        ..Demand::default()
    };
    for lookup in [
        RecordLookup::Absent(Proof::Insecure),
        RecordLookup::Absent(Proof::Secure),
    ] {
        let mut absent = facts(lookup, None);
        absent.demand = demand;
        assert_eq!(route(&absent), (BOUNCE, "sender_demands_dime"));
    }
    let mut failed = facts(RecordLookup::Failed, None);
    failed.demand = demand;
    failed.failing_for_long = true;
    failed.allowances.smtp_after_failed_lookup = true;
    assert_eq!(
        route(&failed),
        (DEFER, "sender_demands_dime"),
        "what the operator allows is SMTP"
    );
    for (finding, expected) in [
        (F::NotAsked, Expected::Dmtp(Proof::Secure, Experimental)),
        (F::SignetValid, Expected::Dmtp(Proof::Secure, Experimental)),
        (F::NoSuchSignet, BOUNCE),
        (F::NoAuthor, BOUNCE),
        (F::Unreachable, DEFER),
        (F::NotCovered, DEFER),
        (F::CertificateRejected, DEFER),
    ] {
        let mut dime = facts(found(1, Experimental, Proof::Secure), None);
        dime.demand = demand;
        dime.finding = finding;
        dime.failing_for_long = true;
        dime.allowances.smtp_after_rejected_certificate = true;
        assert_eq!(route(&dime).0, expected, "{finding:?}");
    }
}

#[test]
fn a_domain_above_makes_rules_stronger_and_never_weaker() {
    use SubdomainPolicy as S;
    let below = |lookup: RecordLookup, policy, subdomains| {
        let mut facts = facts(lookup, None);
        facts.finding = F::NoSuchSignet;
        facts.parent = Some(ParentPolicy { policy, subdomains });
        route(&facts)
    };
    let absent = || RecordLookup::Absent(Proof::Secure);
    let own = || found(1, Experimental, Proof::Secure);
    let rows = [
        (absent(), S::Strict, BOUNCE, VERIFIED),
        (own(), S::Strict, BOUNCE, VERIFIED),
        (absent(), S::Relaxed, BOUNCE, VERIFIED),
        (own(), S::Relaxed, OPPORTUNISTIC, OPPORTUNISTIC),
        (absent(), S::Explicit, OPPORTUNISTIC, OPPORTUNISTIC),
        (own(), S::Explicit, OPPORTUNISTIC, OPPORTUNISTIC),
    ];
    for (lookup, subdomains, below_strict, below_mixed) in rows {
        let what = format!("{lookup:?} {subdomains}");
        assert_eq!(
            below(lookup.clone(), Strict, subdomains).0,
            below_strict,
            "{what}"
        );
        assert_eq!(below(lookup.clone(), Mixed, subdomains).0, below_mixed, "{what}");
        assert_eq!(below(lookup, Experimental, subdomains).0, OPPORTUNISTIC, "{what}");
    }
    assert_eq!(
        below(found(1, Strict, Proof::Secure), Experimental, S::Strict).0,
        BOUNCE,
        "a domain's own strictness stays"
    );
}

#[test]
fn every_reason_has_its_own_code_and_a_whole_sentence() {
    let mut reasons = vec![
        Reason::LocalDomain,
        Reason::LocalSealed,
        Reason::RecordBogus,
        Reason::RecordUnparsable,
        Reason::KeysConflict,
        Reason::ProvenAbsent,
        Reason::Absent,
        Reason::LookupFailed,
        Reason::LookupFailedForLong,
        Reason::SenderIsStrict {
            instead_of: "record_absent",
        },
        Reason::SenderDemandsDime {
            instead_of: "record_absent",
        },
        Reason::ParentIsStrict {
            instead_of: "record_absent",
        },
    ];
    let findings = [
        F::NotAsked,
        F::SignetValid,
        F::NoSuchSignet,
        F::Unreachable,
        F::CertificateRejected,
        F::NotCovered,
        F::SignetInvalid,
        F::MessageRefused,
        F::NoAuthor,
        F::KeysElsewhere,
        held(Rule::Q1),
        held(Rule::Q2),
        held(Rule::Q3),
        F::OwnRecord(Unpublished::Missing),
        F::OwnRecord(Unpublished::WithoutKey),
        F::OwnRecord(Unpublished::Unknown),
    ];
    reasons.extend(findings.map(|finding| Reason::Dime {
        basis: Basis::Secure,
        policy: Mixed,
        finding,
    }));
    let codes: HashSet<_> = reasons.iter().map(Reason::code).collect();
    assert_eq!(codes.len(), reasons.len());
    for reason in reasons {
        let sentence = reason.to_string();
        assert!(
            sentence.starts_with(char::is_uppercase) && sentence.ends_with('.'),
            "{sentence}"
        );
    }
    assert_eq!(
        Reason::Dime {
            basis: Basis::PinnedThoughFailed,
            policy: Strict,
            finding: F::NoSuchSignet
        }
        .to_string(),
        "The domain was seen with a DIME record that has not expired, and the lookup fails now; its policy is \
         strict; the recipient has no signet, and a strict domain takes nothing else."
    );
}

/// A host of the operator's choice is for what goes by SMTP anyway, and opens no way to SMTP.
#[test]
fn a_transport_changes_neither_route_nor_reason() {
    use RecordLookup as L;
    let transport = Arc::new(Transport {
        domains: vec![transport::Pattern::All],
        host: "smart.test".parse().unwrap(),
        port: 587,
        tls: transport::Protection::Verified,
        tls_from_start: false,
        login: None,
    });
    let mut seen = 0;
    for lookup in [
        L::Absent(Proof::Secure),
        L::Absent(Proof::Insecure),
        L::Bogus,
        L::Failed,
        found(1, Strict, Proof::Secure),
        found(1, Mixed, Proof::Secure),
        found(1, Experimental, Proof::Insecure),
    ] {
        for finding in [
            F::NotAsked,
            F::SignetValid,
            F::NoSuchSignet,
            F::Unreachable,
            F::NoAuthor,
        ] {
            for dime in [false, true] {
                let without = Facts {
                    finding,
                    demand: Demand {
                        dime,
                        ..Demand::default()
                    },
                    ..facts(lookup.clone(), None)
                };
                let with = Facts {
                    transport: Some(Arc::clone(&transport)),
                    ..without.clone()
                };
                assert_eq!(route(&with), route(&without));
                if let Route::Smtp { transport: used, .. } = decide(&with).route {
                    assert_eq!(used.as_ref(), Some(&transport));
                    seen += 1;
                }
            }
        }
    }
    assert!(seen > 5);
}
