#![allow(clippy::unwrap_used, clippy::expect_used)]

use proptest::prelude::*;

use super::*;
use crate::base::encoding::hex;

/// The published example of `management-record.md` §6.
const PUBLISHED: &str = "ver=1 pok=A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg \
    tls=MugnXKLZD1b9/DZyg+q9GDJ3R31KIWQDRDzfCjNhIcz4MLprg9fgddV0z1SS/+nysmn+5lUFFHhrzV8coZpIBw \
    pol=mixed dx=dx.example.com sub=strict";
const POK: &str = "pok=A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg";

fn published_key() -> SigningKey {
    let mut seed = [0u8; 32];
    for (octet, value) in seed.iter_mut().zip(0u8..) {
        *octet = value;
    }
    SigningKey::from_seed(&seed)
}

fn with_pok(fields: &str) -> Result<ManagementRecord, Error> {
    ManagementRecord::parse(format!("{POK} {fields}"))
}

#[test]
fn published_vector_is_reproduced() {
    let record = ManagementRecord::parse(PUBLISHED).unwrap();
    let certificate = b"example certificate octets";
    assert_eq!(record.primary_keys, [published_key().verifying_key()]);
    assert_eq!(record.policy, Policy::Mixed);
    assert_eq!(record.delivery_hosts, [Domain::parse("dx.example.com").unwrap()]);
    let signature = sign_certificate(&published_key(), certificate);
    assert_eq!(
        hex(&signature.0),
        "32e8275ca2d90f56fdfc367283eabd183277477d4a216403443cdf0a336121cc\
         f830ba6b83d7e075d574cf5492ffe9f2b269fee6550514786bcd5f1ca19a4807"
    );
    assert_eq!(record.tls_signatures, [signature]);
    assert!(record.matches_certificate(certificate));
    assert!(!record.matches_certificate(b"example certificate octet"));
    assert_eq!(record.render().unwrap(), PUBLISHED);
}

#[test]
fn any_signature_matches_under_any_key() {
    let (first, second) = (SigningKey::from_seed(&[1; 32]), SigningKey::from_seed(&[2; 32]));
    let mut record = ManagementRecord::parse(PUBLISHED).unwrap();
    record.primary_keys = vec![first.verifying_key(), second.verifying_key()];
    record.tls_signatures = vec![
        sign_certificate(&first, b"old"),
        sign_certificate(&second, b"new"),
    ];
    assert!(record.matches_certificate(b"old"));
    assert!(record.matches_certificate(b"new"));
    record.primary_keys.remove(1);
    assert!(!record.matches_certificate(b"new"));
}

#[test]
fn a_record_with_a_key_alone_has_the_defaults() {
    let record = ManagementRecord::parse(POK).unwrap();
    assert_eq!(record.policy, Policy::Experimental);
    assert_eq!(record.subdomain_policy, SubdomainPolicy::Strict);
    assert!(record.tls_signatures.is_empty() && record.delivery_hosts.is_empty());
    assert_eq!((record.expiry_days, record.syndicates), (None, None));
}

#[test]
fn separators_names_and_order_are_free() {
    let strict = with_pok("ver=1 pol=strict dx=dx.example.com sub=explicit exp=7 syn=x").unwrap();
    for text in [
        format!("SUB=Explicit;EXP=7;syndicates=x;DX=dx.example.com;POL=STRICT;{POK};VER=1"),
        format!("ver=1;  {POK}; policy=strict;\tdeliver=dx.example.com expiry=7\tsubdomain=explicit; syn=x;"),
        format!(
            "{POK} pol=mixed pol=strict exp=9 exp=7 syn=a syn=x sub=strict sub=explicit dx=DX.example.com\r\n"
        ),
        format!(
            "{POK} dx=dx.example.com new=1 pol=strict words exp=7 sub=explicit syn=x {POK} dx=dx.example.com"
        ),
    ] {
        let text = text.replace("primary", "pok");
        assert_eq!(ManagementRecord::parse(&text), Ok(strict.clone()), "{text}");
    }
}

#[test]
fn fields_without_a_value_count_as_missing() {
    let plain = ManagementRecord::parse(POK).unwrap();
    for fields in [
        "pol=", "pol= x", "dx", "dx=", "dx=;", "ver=", "exp=", "syn=", "sub=", "=strict", "=",
    ] {
        assert_eq!(with_pok(fields), Ok(plain.clone()), "{fields}");
    }
}

#[test]
fn neighbours_of_valid_records_are_refused() {
    let key = &POK["pok=".len()..];
    let cases = [
        (String::from("ver=1 pol=strict"), Error::NoPrimaryKey),
        (String::from("pok="), Error::NoPrimaryKey),
        (String::new(), Error::NoPrimaryKey),
        (format!("pok={}", &key[..42]), Error::PrimaryKey),
        (format!("pok={key}A"), Error::PrimaryKey),
        (format!("pok={key}="), Error::PrimaryKey),
        (format!("pok={}=", &key[..42]), Error::PrimaryKey),
        (format!("pok={}", key.replace('/', "_")), Error::PrimaryKey),
        (format!("pok={key}pok={key}"), Error::PrimaryKey),
        (format!("{POK} tls={}", "A".repeat(85)), Error::TlsSignature),
        (format!("{POK} tls={}", "A".repeat(88)), Error::TlsSignature),
        (format!("{POK} ver=0"), Error::Version),
        (format!("{POK} ver=2"), Error::Version),
        (format!("{POK} ver=1abc"), Error::Version),
        (format!("{POK} ver=65537"), Error::Version),
        (format!("{POK} ver=1 ver=2"), Error::Version),
        (format!("{POK} pol=maybe"), Error::Policy),
        (format!("{POK} pol=experimentalsyn=z"), Error::Policy),
        (format!("{POK} sub=none"), Error::SubdomainPolicy),
        (format!("{POK} dx=a=b"), Error::DeliveryHost),
        (format!("{POK} dx=[127.0.0.1]"), Error::DeliveryHost),
        (format!("{POK} dx=127.0.0.1"), Error::DeliveryHost),
        (format!("{POK} dx=a.example:26"), Error::DeliveryHost),
        (format!("{POK} dx=-a.example"), Error::DeliveryHost),
        (format!("{POK} dx=b\u{fc}cher.example"), Error::DeliveryHost),
        (format!("{POK} exp=0"), Error::Expiry),
        (format!("{POK} exp=-1"), Error::Expiry),
        (format!("{POK} exp=7d"), Error::Expiry),
        (format!("{POK} pol=strict\rsub=strict"), Error::ControlCharacter),
        (format!("{POK}\nver=1"), Error::ControlCharacter),
        (format!("{POK} x=\0"), Error::ControlCharacter),
        (
            format!("{POK} x={}", "y".repeat(MAX_RECORD_OCTETS)),
            Error::TooLong,
        ),
    ];
    for (text, error) in cases {
        assert_eq!(ManagementRecord::parse(&text), Err(error), "{text:?}");
    }
    assert_eq!(
        ManagementRecord::parse([POK.as_bytes(), b" syn=\xFF"].concat()),
        Err(Error::Syndicates)
    );
}

/// `management-record.md` §3.2, a row for each field: short and long name, default, and what is wrong.
#[test]
fn every_row_of_the_table_of_fields_holds() {
    let key = &POK["pok=".len()..];
    let signature = "A".repeat(86);
    let differs = |fields: &str| {
        let read = with_pok(fields).unwrap();
        read != with_pok("").unwrap()
    };
    // Names, short and long, in any case.
    for fields in ["ver=1", "version=1", "VERSION=1"] {
        assert!(!differs(fields), "{fields}");
    }
    for (short, long, value) in [
        ("pol", "policy", "mixed"),
        ("syn", "syndicates", "x"),
        ("dx", "deliver", "dx.example.com"),
        ("exp", "expiry", "30"),
        ("sub", "subdomain", "relaxed"),
    ] {
        let read = with_pok(&format!("{short}={value}")).unwrap();
        assert!(differs(&format!("{short}={value}")), "{short}");
        for name in [
            long.to_owned(),
            long.to_ascii_uppercase(),
            short.to_ascii_uppercase(),
        ] {
            assert_eq!(with_pok(&format!("{name}={value}")).unwrap(), read, "{name}");
        }
    }
    assert_eq!(
        ManagementRecord::parse(format!("primary={key}")),
        ManagementRecord::parse(POK)
    );
    assert!(differs(&format!("TLS={signature}")));
    // What may occur once: the last wins. What accumulates: all, in order.
    assert_eq!(with_pok("pol=strict pol=mixed").unwrap().policy, Policy::Mixed);
    assert_eq!(
        with_pok("sub=explicit sub=strict").unwrap().subdomain_policy,
        SubdomainPolicy::Strict
    );
    assert_eq!(with_pok("exp=1 exp=2").unwrap().expiry_days, Some(2));
    let other = base64_of([2; 32]);
    assert_eq!(with_pok(&format!("pok={other}")).unwrap().primary_keys.len(), 2);
    assert_eq!(
        with_pok(&format!("tls={signature} tls={signature}"))
            .unwrap()
            .tls_signatures
            .len(),
        2
    );
    let hosts = with_pok("dx=b.example dx=a.example").unwrap().delivery_hosts;
    assert_eq!(
        hosts.iter().map(Domain::as_str).collect::<Vec<_>>(),
        ["b.example", "a.example"]
    );
    // One bad one among good ones refuses the record, wherever it stands.
    assert_eq!(with_pok("pok=x").unwrap_err(), Error::PrimaryKey);
    assert_eq!(
        with_pok(&format!("tls={signature} tls=x")).unwrap_err(),
        Error::TlsSignature
    );
    assert_eq!(with_pok("pol=x pol=mixed").unwrap_err(), Error::Policy);
    assert_eq!(with_pok("sub=x sub=strict").unwrap_err(), Error::SubdomainPolicy);
    // Anything else is ignored.
    assert!(!differs("new=1 pokk=x p= =x"));
}

/// `management-record.md` §3.3, the column of our parser, a row at a time.
#[test]
fn every_row_of_the_table_of_the_tokeniser_holds() {
    let key = &POK["pok=".len()..];
    let plain = ManagementRecord::parse(POK).unwrap();
    let rows: [(String, Result<ManagementRecord, Error>); 17] = [
        (format!("ver=1; {POK}"), Ok(plain.clone())),
        (format!("{POK}="), Err(Error::PrimaryKey)),
        (format!("{POK} dx=a=b"), Err(Error::DeliveryHost)),
        (format!("pok={key}pok={key}"), Err(Error::PrimaryKey)),
        (format!("{POK} pol=experimentalsyn=z"), Err(Error::Policy)),
        (format!("{POK} pol="), Ok(plain.clone())),
        (format!("{POK} pol= x"), Ok(plain.clone())),
        (format!("pol {POK}"), Ok(plain.clone())),
        (format!("{POK} dx"), Ok(plain.clone())),
        (format!("ver=1\t{POK}\tpol=experimental"), Ok(plain.clone())),
        (format!("{POK} sub=strict\r"), Ok(plain.clone())),
        (format!("{POK} sub=strict\r\n"), Ok(plain.clone())),
        (format!("{POK} ver=1abc"), Err(Error::Version)),
        (format!("{POK} ver=65537"), Err(Error::Version)),
        (format!("pok=-{}", &key[1..]), Err(Error::PrimaryKey)),
        (format!("{POK} {POK}"), Ok(plain.clone())),
        (
            format!("{POK} dx=a.example dx=a.example"),
            with_pok("dx=a.example"),
        ),
    ];
    for (text, expected) in rows {
        assert_eq!(ManagementRecord::parse(&text), expected, "{text:?}");
    }
}

/// `management-record.md` §3.3: stray bits behind the last octet are let in, and are gone on the way out.
#[test]
fn stray_bits_of_base64_are_read_and_never_written() {
    let stray = format!("{}h", &POK[..POK.len() - 1]);
    assert_ne!(stray, POK);
    let record = ManagementRecord::parse(&stray).unwrap();
    assert_eq!(record, ManagementRecord::parse(POK).unwrap());
    assert!(record.render().unwrap().contains(POK));
    let tls = format!("tls={}B", "A".repeat(85));
    let record = with_pok(&tls).unwrap();
    assert_eq!(record.tls_signatures, [Signature([0; 64])]);
    assert!(
        record
            .render()
            .unwrap()
            .contains(&format!("tls={} ", "A".repeat(86)))
    );
}

fn base64_of(octets: [u8; 32]) -> String {
    crate::base::encoding::base64_unpadded(&octets)
}

#[test]
fn expiry_is_capped() {
    assert_eq!(with_pok("exp=3650").unwrap().expiry_days, Some(3650));
    assert_eq!(with_pok("exp=3651").unwrap().expiry_days, Some(3650));
    assert_eq!(with_pok("exp=070000").unwrap().expiry_days, Some(3650));
}

#[test]
fn rendering_refuses_what_would_not_read_back() {
    let record = ManagementRecord::parse(POK).unwrap();
    let keyless = ManagementRecord {
        primary_keys: vec![],
        ..record.clone()
    };
    assert_eq!(keyless.render(), Err(Error::NoPrimaryKey));
    let endless = ManagementRecord {
        expiry_days: Some(4000),
        ..record.clone()
    };
    assert_eq!(endless.render(), Err(Error::NotRepresentable));
    let injecting = ManagementRecord {
        syndicates: Some("x pol=strict".into()),
        ..record
    };
    assert_eq!(injecting.render(), Err(Error::NotRepresentable));
}

#[test]
fn zone_text_is_cut_into_quoted_strings() {
    let mut record = with_pok("syn=a\"b\\c").unwrap();
    assert_eq!(
        record.render_zone_text().unwrap(),
        format!("\"ver=1 {POK} pol=experimental syn=a\\\"b\\\\c sub=strict\"")
    );
    record.syndicates = Some("s".repeat(300));
    let zone_text = record.render_zone_text().unwrap();
    let strings: Vec<&str> = zone_text.trim_matches('"').split("\" \"").collect();
    assert_eq!(strings.iter().map(|s| s.len()).collect::<Vec<_>>()[0], 255);
    assert_eq!(strings.concat(), record.render().unwrap());
}

prop_compose! {
    fn any_record()(
        keys in proptest::collection::hash_set(any::<[u8; 32]>(), 1..4),
        signatures in proptest::collection::vec(any::<[u8; 32]>(), 0..4),
        policy in 0usize..3,
        hosts in proptest::collection::hash_set("[a-z][a-z0-9]{0,9}\\.example", 0..4),
        subdomain_policy in 0usize..3,
        expiry_days in proptest::option::of(1u16..=MAX_EXPIRY_DAYS),
        syndicates in proptest::option::of("[!-:<->\\pL]{1,20}"),
    ) -> ManagementRecord {
        ManagementRecord {
            primary_keys: keys.into_iter().map(VerifyingKey).collect(),
            tls_signatures: signatures.iter().map(|half| Signature([*half, *half].concat().try_into().unwrap())).collect(),
            policy: Policy::NAMES[policy].0,
            delivery_hosts: hosts.iter().map(|host| Domain::parse(host).unwrap()).collect(),
            subdomain_policy: SubdomainPolicy::NAMES[subdomain_policy].0,
            expiry_days,
            syndicates,
        }
    }
}

proptest! {
    #[test]
    fn reading_what_was_written_gives_the_record_back(record in any_record()) {
        prop_assert_eq!(ManagementRecord::parse(record.render().unwrap()), Ok(record));
    }

    #[test]
    fn arbitrary_octets_never_panic(octets in proptest::collection::vec(any::<u8>(), 0..600)) {
        let _ = ManagementRecord::parse(octets);
    }

    #[test]
    fn arbitrary_fields_never_panic_and_what_is_read_can_be_written(
        fields in "(ver|pok|tls|pol|dx|exp|sub|syn|x|)(=?[ -~]{0,50}[ ;\t]){0,6}"
    ) {
        if let Ok(record) = with_pok(&fields) {
            prop_assert!(record.render().is_ok());
        }
    }
}

/// Mail to a domain whose record cannot be pinned would lose its protection.
#[test]
fn the_longest_records_that_are_read_can_be_kept() {
    let start = format!("{POK} dx=");
    let host = "\u{e9}.".repeat((MAX_RECORD_OCTETS - start.len()) / 3);
    let bare = format!("{POK} syn={}", "y".repeat(MAX_RECORD_OCTETS - POK.len() - 5));
    assert_eq!(bare.len(), MAX_RECORD_OCTETS);
    let record = ManagementRecord::parse(&bare).unwrap();
    assert_eq!(record.render(), Err(Error::TooLong));
    let kept = record.render_kept().unwrap();
    assert!(kept.len() > MAX_RECORD_OCTETS);
    assert_eq!(ManagementRecord::parse_kept(&kept), Ok(record));
    // Names have bounds of their own, so they cannot outgrow what is kept.
    assert!(ManagementRecord::parse(format!("{start}{host}")).is_err());
}
