#![allow(clippy::unwrap_used)]

use super::dkim::key::NoKey;
use super::dkim::signature::Signature;
use super::*;

fn signature(domain: &str) -> Signature {
    let text = format!(
        "v=1; a=ed25519-sha256; c=relaxed/relaxed; d={domain}; s=s; h=from; bh={}; b=QUJDREVGRw",
        "A".repeat(43)
    );
    Signature::parse(text.as_bytes(), 0).unwrap()
}

fn checked(verdict: Verdict) -> Checked {
    Checked {
        signature: Some(signature("a.test")),
        verdict,
    }
}

/// The field is written before the body is known and written over afterwards, so it must never change its length.
#[tokio::test]
async fn fields_are_as_long_whatever_the_body_turns_out_to_be() {
    let verdicts = [
        Verdict::Pass,
        Verdict::Fail("signature"),
        Verdict::NoKey(NoKey::Failed),
        Verdict::NoKey(NoKey::Absent),
    ];
    let spf = [spf::Verdict::Pass, spf::Verdict::TempError, spf::Verdict::Fail];
    let policies = ["none", "quarantine", "reject"];
    let aligned = [Some(true), Some(false), None];
    let bodies = Bodies::default().finish();
    let mut changed = 0;
    for (first, second) in verdicts
        .iter()
        .flat_map(|first| verdicts.iter().map(move |second| (*first, *second)))
    {
        for ((spf, policy), aligned) in spf
            .iter()
            .flat_map(|spf| policies.map(|policy| (*spf, policy)))
            .flat_map(|pair| aligned.map(|aligned| (pair, aligned)))
        {
            let findings = Findings {
                hello: None,
                mail_from: Some(("a.test".parse().unwrap(), spf)),
                signatures: vec![checked(first), checked(second)],
                author: Author::Domain("a.test".parse().unwrap()),
                discovery: dmarc::discovered("a.test", policy),
                spf_aligned: aligned,
                aligned: vec![Some(true), aligned],
                of_host: Vec::new(),
            };
            let server = "mx.test".parse().unwrap();
            let before = findings.fields(&server, true, None);
            let after = findings.fields(&server, true, Some(&bodies));
            assert_eq!(before.len(), after.len(), "{}", String::from_utf8_lossy(&after));
            changed += u32::from(before != after);
        }
    }
    assert!(changed > 0, "the body of the test breaks signatures");
}

#[test]
fn the_best_signature_speaks_for_all() {
    assert_eq!(best(vec![]), "none");
    assert_eq!(best(vec!["fail", "pass"]), "pass");
    assert_eq!(best(vec!["neutral", "permerror"]), "permerror");
}

/// What DNS does not tell now matters only where something may follow from it.
#[test]
fn mail_is_put_off_only_if_a_policy_may_forbid_it() {
    let bodies = Bodies::default().finish();
    for (policy, spf, outcome) in [
        ("none", spf::Verdict::TempError, Outcome::Accept),
        ("quarantine", spf::Verdict::TempError, Outcome::TryLater),
        ("reject", spf::Verdict::TempError, Outcome::TryLater),
        ("reject", spf::Verdict::Pass, Outcome::Accept),
        ("reject", spf::Verdict::Fail, Outcome::Reject),
        ("quarantine", spf::Verdict::Fail, Outcome::Quarantine),
    ] {
        let mut findings = Findings {
            hello: None,
            mail_from: Some(("a.test".parse().unwrap(), spf)),
            signatures: Vec::new(),
            author: Author::Domain("a.test".parse().unwrap()),
            discovery: dmarc::discovered("a.test", policy),
            spf_aligned: Some(true),
            aligned: Vec::new(),
            of_host: Vec::new(),
        };
        assert_eq!(findings.outcome(true, &bodies), outcome, "{policy} {spf:?}");
        assert_eq!(findings.outcome(false, &bodies), Outcome::Accept);
        findings.discovery = Discovery::Failed;
        assert_eq!(findings.outcome(true, &bodies), Outcome::TryLater);
        for author in [Author::Several, Author::Unusable] {
            findings.author = author;
            assert_eq!(findings.outcome(true, &bodies), Outcome::NoAuthor);
        }
    }
}
