#![allow(clippy::unwrap_used)]

use super::sign::{Signer, SigningKey};
use super::*;
use crate::crypto::ed25519;

/// RFC 8463, appendix A.3: one message under both algorithms.
const RFC_8463: &str = "DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;\r\n \
 d=football.example.com; i=@football.example.com;\r\n \
 q=dns/txt; s=brisbane; t=1528637909; h=from : to :\r\n \
 subject : date : message-id : from : subject : date;\r\n \
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;\r\n \
 b=/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11Bus\r\n \
 Fa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw==\r\n\
DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed;\r\n \
 d=football.example.com; i=@football.example.com;\r\n \
 q=dns/txt; s=test; t=1528637909; h=from : to : subject :\r\n \
 date : message-id : from : subject : date;\r\n \
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;\r\n \
 b=F45dVWDfMbQDGHJFlXUNB2HKfbCeLRyhDXgFpEL8GwpsRe0IeIixNTe3\r\n \
 DhCVlUrSjV4BwcVcOF6+FF3Zo9Rpo1tFOeS9mPYQTnGdaSGsgeefOsk2Jz\r\n \
 dA+L10TeYt9BgDfQNZtKdN1WO//KgIqXP7OdEFE4LjFYNcUxZQ4FADY+8=\r\n\
From: Joe SixPack <joe@football.example.com>\r\n\
To: Suzie Q <suzie@shopping.example.net>\r\n\
Subject: Is dinner ready?\r\n\
Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)\r\n\
Message-ID: <20030712040037.46341.5F8J@football.example.com>\r\n\
\r\n\
Hi.\r\n\
\r\n\
We lost the game.  Are you hungry yet?\r\n\
\r\n\
Joe.\r\n";

/// What stands in DNS for it.
const KEYS: [&str; 2] = [
    "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=",
    "v=DKIM1; k=rsa; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQiY/J16JYi0Qvx/b\
     yYzCNb3W91y3FutACDfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3Ip3G+2kryOTIKT+l/K4w3QIDAQAB",
];

/// The verdicts on the signatures of a message, each with a record in place of DNS.
fn verdicts(message: &str, records: &[&str]) -> Vec<Verdict> {
    let split = headers::split(message.as_bytes());
    let mut bodies = Bodies::default();
    bodies.push(split.rest.strip_prefix(b"\r\n").unwrap());
    let bodies = bodies.finish();
    let fields = headers::fields(split.block).filter(|field| field.is(FIELD));
    let judged = fields.zip(records).map(|(field, record)| {
        let signature = Signature::parse(field.value(), 1_528_637_909).unwrap();
        let index = Index::of(split.block, &signature.signed);
        let key = key::parse(record, &signature).unwrap();
        match judge(&key, &index, &field, &signature) {
            Verdict::Pass => bodies.judge(&signature),
            other => other,
        }
    });
    judged.collect()
}

#[test]
fn the_message_of_rfc_8463_passes_under_both_algorithms() {
    assert_eq!(verdicts(RFC_8463, &KEYS), [Verdict::Pass; 2]);
}

/// RFC 6376, appendix A.2, as errata 3192 and 4926 have it.
const RFC_6376: &str = "DKIM-Signature: v=1; a=rsa-sha256; s=brisbane; d=example.com;\r\n      \
 c=simple/simple; q=dns/txt; i=joe@football.example.com;\r\n      \
 h=Received : From : To : Subject : Date : Message-ID;\r\n      \
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;\r\n      \
 b=AuUoFEfDxTDkHlLXSZEpZj79LICEps6eda7W3deTVFOk4yAUoqOB\r\n      \
 4nujc7YopdG5dWLSdNg6xNAZpOPr+kHxt1IrE+NahM6L/LbvaHut\r\n      \
 KVdkLLkpVaVVQPzeRDI009SO2Il5Lu7rDNH6mZckBdrIx0orEtZV\r\n      \
 4bmp/YzhwvcubU4=;\r\n\
Received: from client1.football.example.com  [192.0.2.1]\r\n      \
 by submitserver.example.com with SUBMISSION;\r\n      \
 Fri, 11 Jul 2003 21:01:54 -0700 (PDT)\r\n\
From: Joe SixPack <joe@football.example.com>\r\n\
To: Suzie Q <suzie@shopping.example.net>\r\n\
Subject: Is dinner ready?\r\n\
Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)\r\n\
Message-ID: <20030712040037.46341.5F8J@football.example.com>\r\n\
\r\n\
Hi.\r\n\
\r\n\
We lost the game. Are you hungry yet?\r\n\
\r\n\
Joe.\r\n";

/// Appendix C.
const RFC_6376_KEY: &str = "k=rsa; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDwIRP/UC3SBsEmGqZ9ZJW3/DkMoGeLnQg1fWn7/zYtIxN2SnFCjxOC\
     KG9v3b4jYfcTNh5ijSsq631uBItLa7od+v/RtdC2UzJ1lWT947qR+Rcac2gbto/NMqJ0fzfVjH4OuKhitdY9tf6mcwGjaNBcWToIMmPSPDdQPNUYckcQ2QIDAQAB";

/// In simple form every octet counts, but empty lines at the end of the body.
#[test]
fn the_message_of_rfc_6376_passes_in_simple_form_and_no_octet_of_it_may_change() {
    let holds = |message: &str| verdicts(message, &[RFC_6376_KEY]) == [Verdict::Pass];
    assert!(holds(RFC_6376));
    assert!(holds(&format!("{RFC_6376}\r\n\r\n")) && holds(RFC_6376.trim_end()));
    for (from, to) in [
        ("Subject: Is", "subject: Is"),
        ("Subject: Is", "Subject:  Is"),
        ("com  [192", "com [192"),
        ("\r\n\r\nHi.", "\r\n\r\n\r\nHi."),
        ("Joe.\r\n", "Joe. \r\n"),
        ("Joe.\r\n", "Joe.\r\n \r\n"),
        ("q=dns/txt; i", "q=dns/txt;  i"),
        ("DKIM-Signature:", "Dkim-Signature:"),
    ] {
        let changed = RFC_6376.replace(from, to);
        assert_ne!(changed, RFC_6376, "{from}");
        assert!(!holds(&changed), "{from:?} to {to:?}");
    }
    // What a field holds in its own b= is not signed, but has to say the same.
    assert!(holds(&RFC_6376.replace("b=AuUo", "b= A uUo")));
}

#[test]
fn any_change_to_what_is_signed_breaks_the_signatures() {
    for (from, to, broken) in [
        ("hungry", "angry", Verdict::Fail("body hash")),
        ("Is dinner", "Was dinner", Verdict::Fail("signature")),
        (
            "\r\nFrom: Joe",
            "\r\nFrom: Eve <eve@evil.test>\r\nFrom: Joe",
            Verdict::Fail("signature"),
        ),
        (
            "\r\n\r\nHi.",
            "\r\nFrom: Eve <eve@evil.test>\r\n\r\nHi.",
            Verdict::Fail("signature"),
        ),
        ("s=brisbane", "s=melbourne", Verdict::Fail("signature")),
    ] {
        let changed = RFC_8463.replace(from, to);
        assert_ne!(changed, RFC_8463, "{from}");
        assert_eq!(verdicts(&changed, &KEYS)[0], broken, "{from}");
    }
    let unsigned = RFC_8463.replace("\r\nTo: Suzie", "\r\nX-Other: field\r\nTo: Suzie");
    assert_eq!(verdicts(&unsigned, &KEYS), [Verdict::Pass; 2]);
}

/// RFC 6376 §3.4.4: in relaxed form, lines of blanks at the end are empty lines, and those do not count.
#[test]
fn lines_of_blanks_may_come_and_go_at_the_end_of_a_body() {
    for end in ["\r\n", " \r\n \t\r\n\r\n", "\r\n  "] {
        let changed = format!("{RFC_8463}{end}");
        assert_eq!(verdicts(&changed, &KEYS), [Verdict::Pass; 2], "{end:?}");
    }
}

fn signers() -> [Signer; 2] {
    let signer = |selector: &str, key| Signer {
        domain: "football.example.com".parse().unwrap(),
        selector: selector.into(),
        key,
    };
    [
        signer("r1", SigningKey::Rsa(rsa::SigningKey::generate())),
        signer(
            "e1",
            SigningKey::Ed25519(ed25519::SigningKey::from_seed(&[7; 32])),
        ),
    ]
}

/// The message with both signatures.
fn signed(message: &str, signers: &[Signer]) -> String {
    let split = headers::split(message.as_bytes());
    let mut bodies = Bodies::default();
    bodies.push(split.rest.strip_prefix(b"\r\n").unwrap());
    let bodies = bodies.finish();
    let fields = signers
        .iter()
        .map(|signer| signer.sign(split.block, &bodies, 1_528_637_909));
    let fields: Vec<u8> = fields.flatten().collect();
    String::from_utf8(fields).unwrap() + message
}

#[test]
fn what_we_sign_passes_under_both_keys_and_no_field_can_be_added() {
    let signers = signers();
    let records: Vec<String> = signers.iter().map(|signer| signer.key.record()).collect();
    let records: Vec<&str> = records.iter().map(String::as_str).collect();
    let message = "From: a@football.example.com\r\nTo: b@c.test\r\nSubject: hi\r\nReceived: x\r\n\r\ntext\r\n \r\n\t\r\n";
    let signed = signed(message, &signers);
    assert_eq!(verdicts(&signed, &records), [Verdict::Pass; 2]);
    assert!(signed.lines().all(|line| line.len() <= 78), "{signed}");
    assert!(!signed.contains("; l="));
    assert_eq!(
        verdicts(&signed.replace("text\r\n \r\n\t\r\n", "text"), &records),
        [Verdict::Pass; 2]
    );
    for name in [
        "From",
        "Subject",
        "Date",
        "To",
        "Cc",
        "Reply-To",
        "Message-ID",
        "MIME-Version",
        "Content-Type",
    ] {
        let more = signed.replace("\r\nTo: b", &format!("\r\n{name}: other\r\nTo: b"));
        assert_eq!(
            verdicts(&more, &records),
            [Verdict::Fail("signature"); 2],
            "{name}"
        );
    }
}

#[test]
fn a_signature_that_leaves_a_part_of_the_body_unsigned_does_not_hold() {
    let mut bodies = Bodies::default();
    bodies.push(b"text\r\nadded\r\n");
    let bodies = bodies.finish();
    let mut signature = Signature::parse(
        format!(
            "v=1; a=ed25519-sha256; c=relaxed/relaxed; d=a.test; s=s; h=from; bh={}; b=QUJD; l=6",
            "A".repeat(43)
        )
        .as_bytes(),
        0,
    )
    .unwrap();
    signature.body_hash = crate::crypto::hash::sha256(&[b"text\r\n"]);
    assert_eq!(bodies.judge(&signature), Verdict::Fail("body length"));
    signature.body_hash = crate::crypto::hash::sha256(&[b"text\r\nadded\r\n"]);
    signature.body_length = Some(13);
    assert_eq!(bodies.judge(&signature), Verdict::Pass);
}

/// The field may stand there as often as it likes: each covers it once.
#[test]
fn work_for_one_signature_is_bounded_by_the_header() {
    let block = "X: y\r\n".repeat(1000);
    let names = vec!["x".to_owned(); 256];
    let index = Index::of(block.as_bytes(), &names);
    let own = Field {
        name: b"DKIM-Signature",
        raw: b"DKIM-Signature: b=\r\n",
    };
    let signed = index.signed(&names, Canonical::Relaxed, &own);
    assert_eq!(signed.len(), 256 * "x:y\r\n".len() + "dkim-signature:b=".len());
}

/// A header of tens of thousands of names costs no more than the names that are signed.
#[test]
fn only_fields_that_are_named_are_kept() {
    let many: String = (0..10_000).map(|number| format!("X{number}: y\r\n")).collect();
    let index = Index::of(many.as_bytes(), ["x7", "x9999", "from"]);
    assert_eq!(index.0.len(), 3);
    assert_eq!(
        ["x7", "x9999", "from", "x8"].map(|name| index.count(name)),
        [1, 1, 0, 0]
    );
}
