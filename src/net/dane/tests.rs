#![allow(clippy::unwrap_used)]

use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};

use super::*;

/// The middle of the year 2027.
const NOW: UnixTime = UnixTime::since_unix_epoch(Duration::from_secs(1_815_000_000));

fn domain(text: &str) -> Domain {
    text.parse().unwrap()
}

/// A host's certificate and the one that signed it.
struct Chain {
    leaf: CertificateDer<'static>,
    root: CertificateDer<'static>,
}

impl Chain {
    fn new(name: &str) -> Self {
        Self::with(name, |_| ())
    }

    fn with(name: &str, change: impl Fn(&mut CertificateParams)) -> Self {
        let mut root = CertificateParams::new(Vec::new()).unwrap();
        root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = CertifiedIssuer::self_signed(root, KeyPair::generate().unwrap()).unwrap();
        let mut params = CertificateParams::new(vec![name.into()]).unwrap();
        change(&mut params);
        let leaf = params.signed_by(&KeyPair::generate().unwrap(), &root).unwrap();
        Self {
            leaf: leaf.der().clone(),
            root: root.der().clone(),
        }
    }

    fn sent(&self) -> [CertificateDer<'static>; 2] {
        [self.leaf.clone(), self.root.clone()]
    }
}

/// A record that matches the certificate.
fn record(usage: u8, selector: u8, matching: u8, certificate: &CertificateDer<'_>) -> Tlsa {
    let selected = select(selector, certificate).unwrap();
    let data = match matching {
        0 => selected.to_vec(),
        1 => Sha256::digest(selected).to_vec(),
        _ => Sha512::digest(selected).to_vec(),
    };
    Tlsa {
        usage,
        selector,
        matching,
        data,
    }
}

fn judge(records: &[Tlsa], chain: &[CertificateDer<'_>]) -> Result<(), Rejected> {
    let names = vec![domain("mx.plain.test"), domain("plain.test")];
    Dane::new(records, names).unwrap().judge(chain, NOW)
}

/// Whoever writes the records chooses how many anchors there are, and with the chain how long each takes.
#[test]
fn the_work_for_all_anchors_together_is_bounded() {
    let ours = Chain::new("mx.plain.test");
    let mut records: Vec<Tlsa> = Vec::new();
    // All have the same name, so that each might have signed the certificate.
    for _ in 0..150 {
        records.push(record(2, 0, 0, &Chain::new("mx.plain.test").root));
    }
    records.push(record(2, 0, 0, &ours.root));
    let leaf = &ours.sent()[..1];
    assert_eq!(judge(&records, leaf), Err(Rejected::Chain));
    assert_eq!(judge(&records[100..], leaf), Ok(()));
}

#[test]
fn every_usage_selector_and_matching_type_matches_its_certificate_and_no_other() {
    let (ours, other) = (Chain::new("mx.plain.test"), Chain::new("mx.plain.test"));
    for (usage, ours_named, others_named) in [(3, &ours.leaf, &other.leaf), (2, &ours.root, &other.root)] {
        for selector in [0, 1] {
            for matching in [0, 1, 2] {
                let what = format!("{usage} {selector} {matching}");
                let right = record(usage, selector, matching, ours_named);
                assert_eq!(
                    judge(std::slice::from_ref(&right), &ours.sent()),
                    Ok(()),
                    "{what}"
                );
                let wrong = record(usage, selector, matching, others_named);
                let expected = match (usage, selector, matching) {
                    // The record itself is an anchor, to which the chain does not lead.
                    (2, 0, 0) => Rejected::Chain,
                    _ => Rejected::NoMatch,
                };
                assert_eq!(
                    judge(std::slice::from_ref(&wrong), &ours.sent()),
                    Err(expected),
                    "{what}"
                );
                assert_eq!(
                    judge(&[wrong, right], &ours.sent()),
                    Ok(()),
                    "{what}: one match is enough"
                );
            }
        }
    }
}

#[test]
fn the_hosts_own_certificate_counts_whatever_its_names_and_dates() {
    let expired = |params: &mut CertificateParams| params.not_after = date_time_ymd(2020, 1, 1);
    let chain = Chain::with("elsewhere.test", expired);
    assert_eq!(judge(&[record(3, 1, 1, &chain.leaf)], &chain.sent()[..1]), Ok(()));
}

#[test]
fn below_a_trust_anchor_names_and_dates_count() {
    let expired = |params: &mut CertificateParams| params.not_after = date_time_ymd(2020, 1, 1);
    let old = Chain::with("mx.plain.test", expired);
    assert_eq!(
        judge(&[record(2, 0, 1, &old.root)], &old.sent()),
        Err(Rejected::Chain)
    );
    let misnamed = Chain::new("elsewhere.test");
    assert_eq!(
        judge(&[record(2, 0, 1, &misnamed.root)], &misnamed.sent()),
        Err(Rejected::Name)
    );
    for name in ["plain.test", "*.plain.test"] {
        let named = Chain::new(name);
        assert_eq!(
            judge(&[record(2, 0, 1, &named.root)], &named.sent()),
            Ok(()),
            "{name}"
        );
    }
}

#[test]
fn an_anchor_that_is_not_sent_counts_only_if_its_record_is_whole() {
    let chain = Chain::new("mx.plain.test");
    let alone = std::slice::from_ref(&chain.leaf);
    assert_eq!(judge(&[record(2, 0, 0, &chain.root)], alone), Ok(()));
    assert_eq!(
        judge(&[record(2, 0, 1, &chain.root)], alone),
        Err(Rejected::NoMatch)
    );
}

#[test]
fn an_anchor_above_another_hosts_certificate_does_not_vouch_for_ours() {
    let (ours, other) = (Chain::new("mx.plain.test"), Chain::new("mx.plain.test"));
    let mixed = [ours.leaf.clone(), other.root.clone()];
    assert_eq!(
        judge(&[record(2, 0, 1, &other.root)], &mixed),
        Err(Rejected::Chain)
    );
}

#[test]
fn a_certificate_that_is_none_is_refused() {
    let chain = Chain::new("mx.plain.test");
    let records = [record(2, 0, 0, &chain.root), record(3, 1, 1, &chain.leaf)];
    assert_eq!(judge(&records, &[]), Err(Rejected::Unreadable));
    let garbage = CertificateDer::from(b"garbage".to_vec());
    assert_eq!(judge(&records, &[garbage]), Err(Rejected::Unreadable));
}

#[test]
fn records_that_smtp_cannot_use_are_left_out() {
    let chain = Chain::new("mx.plain.test");
    let good = record(3, 1, 1, &chain.leaf);
    let with = |change: fn(&mut Tlsa)| {
        let mut changed = good.clone();
        change(&mut changed);
        changed
    };
    let bad = [
        with(|record| record.usage = 0),
        with(|record| record.usage = 1),
        with(|record| record.usage = 4),
        with(|record| record.usage = 255),
        with(|record| record.selector = 2),
        with(|record| record.matching = 3),
        with(|record| record.matching = 2),
        with(|record| record.data.truncate(31)),
        with(|record| record.data.push(0)),
        with(|record| record.data.clear()),
        with(|record| (record.matching, record.data) = (0, Vec::new())),
        with(|record| (record.selector, record.matching, record.data) = (0, 0, b"garbage".to_vec())),
    ];
    for record in &bad {
        assert_eq!(usable(std::slice::from_ref(record)), [], "{record:?}");
        assert_eq!(
            Dane::new(std::slice::from_ref(record), vec![domain("mx.plain.test")]),
            None
        );
    }
    assert_eq!(usable(&[&bad[..], std::slice::from_ref(&good)].concat()), [good]);
}

#[test]
fn of_two_digests_only_the_stronger_counts() {
    let (ours, other) = (Chain::new("mx.plain.test"), Chain::new("mx.plain.test"));
    let weak_match = [record(3, 1, 1, &ours.leaf), record(3, 1, 2, &other.leaf)];
    assert_eq!(judge(&weak_match, &ours.sent()), Err(Rejected::NoMatch));
    // Another selector, and the octets themselves, are no weaker digests.
    let others = [record(3, 1, 1, &ours.leaf), record(3, 0, 2, &other.leaf)];
    assert_eq!(judge(&others, &ours.sent()), Ok(()));
    let whole = [record(3, 1, 0, &ours.leaf), record(3, 1, 2, &other.leaf)];
    assert_eq!(judge(&whole, &ours.sent()), Ok(()));
}
