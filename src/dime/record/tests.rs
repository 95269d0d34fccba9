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
