#![allow(clippy::unwrap_used)]

use super::*;

fn record_of(text: &str) -> Record {
    Record::parse(text.as_bytes()).unwrap()
}

fn domain(name: &str) -> Domain {
    name.parse().unwrap()
}

#[test]
fn a_record_says_what_it_is_first_and_what_is_wrong_after_that_does_not_count() {
    for text in [
        "",
        "v=DMARC1x; p=none",
        "v=dmarc1; p=none",
        "p=none; v=DMARC1",
        "v=spf1 -all",
    ] {
        assert_eq!(Record::parse(text.as_bytes()), None, "{text}");
    }
    let record = record_of(
        "v = DMARC1 ; p=Reject; junk; np=none; adkim=s; aspf=x; t=y; p=none; psd=n; rua=mailto:a@b.test; pct=0; x\u{fc}=y",
    );
    assert_eq!(record.policy, Some(Policy::Reject));
    assert_eq!((record.subdomains, record.missing), (None, Some(Policy::None)));
    assert_eq!((record.strict_dkim, record.strict_spf), (true, false));
    assert!(record.testing && record.wants_reports);
    assert_eq!(record.suffix, PublicSuffix::No);
    assert_eq!(record_of("v=DMARC1").policy, None);
    let foreign = Record::parse(b"v=DMARC1; x=caf\xe9; p=reject").unwrap();
    assert_eq!(foreign.policy, Some(Policy::Reject));
}

/// RFC 9989 §4.10.1: a policy that cannot be read makes none of all.
#[test]
fn a_wrong_policy_makes_a_record_without_policy() {
    for text in [
        "v=DMARC1; p=rejct; rua=mailto:a@b.test",
        "v=DMARC1; p=; sp=none",
        "v=DMARC1; p=reject; sp=quarantin",
        "v=DMARC1; p=reject; np=",
        "v=DMARC1; sp=reject",
    ] {
        assert_eq!(record_of(text).policy, None, "{text}");
    }
}

/// RFC 9989 §4.10: eight names at most, whatever a peer writes.
#[test]
fn a_walk_skips_to_seven_labels() {
    let walked = |name: &str| -> Vec<String> { names(&domain(name)).map(|name| name.to_string()).collect() };
    assert_eq!(
        walked("a.mail.example.com"),
        ["a.mail.example.com", "mail.example.com", "example.com", "com"]
    );
    assert_eq!(
        walked("a.b.c.d.e.f.g.h.i.j.mail.example.com"),
        [
            "a.b.c.d.e.f.g.h.i.j.mail.example.com",
            "g.h.i.j.mail.example.com",
            "h.i.j.mail.example.com",
            "i.j.mail.example.com",
            "j.mail.example.com",
            "mail.example.com",
            "example.com",
            "com",
        ]
    );
    assert_eq!(walked("a.b.c.d.e.f.g.h").len(), 8);
    assert_eq!(walked("b.c.d.e.f.g.h").len(), 7);
}

/// RFC 9989 §4.10.2.
#[test]
fn the_organization_is_below_a_public_suffix_or_highest_up() {
    let walk = |records: &[(&str, &str)]| -> Vec<(Domain, Record)> {
        records
            .iter()
            .map(|(name, text)| (domain(name), record_of(text)))
            .collect()
    };
    let plain = "v=DMARC1; p=none";
    let cases = [
        (vec![], "a.mail.example.com"),
        (
            vec![("mail.example.com", plain), ("example.com", plain)],
            "example.com",
        ),
        (vec![("com", "v=DMARC1; psd=y")], "example.com"),
        (
            vec![("example.com", plain), ("com", "v=DMARC1; psd=y")],
            "example.com",
        ),
        (vec![("mail.example.com", "v=DMARC1; psd=n")], "mail.example.com"),
        (
            vec![("a.mail.example.com", "v=DMARC1; psd=y")],
            "a.mail.example.com",
        ),
    ];
    for (records, expected) in cases {
        let found = organization(&walk(&records), &domain("a.mail.example.com"));
        assert_eq!(found, domain(expected), "{records:?}");
    }
}

#[test]
fn a_policy_under_test_is_taken_for_the_next_weaker_one() {
    assert_eq!(Policy::Reject.weakened(), Policy::Quarantine);
    assert_eq!(Policy::Quarantine.weakened(), Policy::None);
    assert_eq!(Policy::None.weakened(), Policy::None);
}
