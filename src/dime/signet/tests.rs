//! The published vectors (`signet.md` §18), made and read; neighbours of every form; properties.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use proptest::prelude::*;

use super::*;
use crate::crypto::ed25519::SigningKey;
use crate::crypto::suite::secp256k1_aes256::SecretKey;
use crate::dime::keys::UserKeys;
use crate::mail::address::{Domain, Mailbox};

mod neighbours;
mod properties;

/// §18.1
const ORG: &str = "\
-----BEGIN ORGANIZATIONAL SIGNET-----
BvAAAUwBIUADoQe/884Qvh1w3RjnS8CZZ+TWMJulDV8d3IZkElUxuAIiA0Dd47zO
x/OmahEV9F1yD03BNcOufE4i3KOP2x79aklf+AMAIQM2s0Hs534fxMJwxs7cmH+P
PSF7461JIsvGTbjECnf3NwSe5C55vgWfo3H6ORQeKS5bZ13ph2YBz+8YrW7Et4il
UqSUlD8xSMmr3JYj5jt4ry9kOS+0+BW+S7waAqi40J8AEAtFeGFtcGxlIE9yZxMC
Tk/99Diz6wNtq+75mqLhZS6ULiK+sF/I+6Evn4KcTI8vmGL6rNvCT+P4hjzlq51l
PkPvXqdVbyARphrXFFaAU8IVDP4LZXhhbXBsZS5jb23/pGID+GF1xuDFTd5Yqe9/
4E6QKT8PhIh+DPu6za1jCwtLGPTynbW+FfSo2NcKzfKhLvL/JERmUBNKKf7CWd9I
Bg==
=1NGi
-----END ORGANIZATIONAL SIGNET-----
";

/// §18.2
const REQUEST: &str = "\
-----BEGIN ORGANIZATIONAL SIGNET-----
BL8AAIgBIUAprLrhQbzK8LIuGpTTTQvHNh5SbQv+EsiXlLyTIpZt1wIAIQM0aVVB
7mSFOHom/DUZYQbZ9VcecqZ04J9a4LFnGu2AHwWsloQMlGiQ/fd7A97Oom43dqRf
zoU0IlQHmtkEulfyicFDbBANKMK4U9+ApisGoTxEOc+2KoYav+AWgzRaLNoP
=yhAf
-----END ORGANIZATIONAL SIGNET-----
";

/// §18.3
const USER: &str = "\
-----BEGIN USER SIGNET-----
Bv0AAWUBIUAprLrhQbzK8LIuGpTTTQvHNh5SbQv+EsiXlLyTIpZt1wIAIQM0aVVB
7mSFOHom/DUZYQbZ9VcecqZ04J9a4LFnGu2AHwWsloQMlGiQ/fd7A97Oom43dqRf
zoU0IlQHmtkEulfyicFDbBANKMK4U9+ApisGoTxEOc+2KoYav+AWgzRaLNoPBlLX
dKO5sgBoxEeuZXOlm/TQxGE4BTfsu3+51h4tMHmY48GFpE7zP2DhLG/Mzt0fhVG5
5UkdXgiiKsVUp+s83gIQBUFsaWNl/c+riIkYUzwq0wvXu1mmAhxxCImchonRE1AP
QbzFzrbRD2+lvuqq1MDdhBwtaIy1mu5EpNx8GxfT94CChLWIywb+EWFsaWNlQGV4
YW1wbGUuY29t/7ipaSQB+iW44jLA0pf6KhmGV7iLbg4xbKRqg79KnMIVh12fCWch
MLWzQ38568o4RcQrchJKYMXcCDLCyWCXkQg=
=l7Cu
-----END USER SIGNET-----
";

/// §18.4
const ROTATED: &str = "\
-----BEGIN USER SIGNET-----
Bv0AAZ8BIUDNFLN/lW6VMZT/f7c7PYHcxWHWGnU4CUt8PhpkPuXzqgIAIQJZmF4V
+R1cnncKFUBFmrZD/mRrc2SKu7tloTrQU5ZY6QRAZfR/b9jt4rsdVg/frOzi7Ngv
oz3HWHC3ZX4/tidsBtzMNW6VaJbNtiWPc4qlBDByzB0DehUlopXsGi64j3kCBdhk
bJLR43q4jlM7JlXLaJYcKHoMtFFxTNPg6fZ3+4srpNIY4ZetRkZrcr5IOInlpIFJ
wIOnJqK3wDPG7Xe4GQoGKO9NcjThD8Tuj04wbH+ElCj9QbHmeI0TwGUPyEn1NvGH
qN+97K56yQHwrFvuRGojmyEldUWau6VvpbGtOdXeB/0F7a0EIdZfbxHI1k7CNvY3
OTIaGWgwEfmzaSHAm1LbxG9Y1tUzebOosWS2imTEemLfkfMkz6mq+82bd4OfaVYO
/hFhbGljZUBleGFtcGxlLmNvbf9NmgSb1QZTe9nDUuq6Qp+MLpFyu/hSTznWAvZF
Na6CH3jmEoFc1L6xJA01jgRJKUqSnjDtK09p4nEMpw6PXzAK
=MCWg
-----END USER SIGNET-----
";

fn counting_from(first: u8) -> [u8; 32] {
    std::array::from_fn(|place| first + place as u8)
}

fn signing(first: u8) -> SigningKey {
    SigningKey::from_seed(&counting_from(first))
}

fn encryption(first: u8) -> SecretKey {
    SecretKey::from_bytes(&counting_from(first)).unwrap()
}

fn user_keys(signing_first: u8, encryption_first: u8) -> UserKeys {
    UserKeys {
        signing: signing(signing_first),
        encryption: encryption(encryption_first),
    }
}

fn domain() -> Domain {
    "example.com".parse().unwrap()
}

fn alice() -> Mailbox {
    "alice@example.com".parse().unwrap()
}

fn secondary() -> SecondaryKey {
    SecondaryKey {
        permissions: Permissions::SIGNETS | Permissions::MESSAGES,
        key: signing(0xc0).verifying_key(),
    }
}

fn verified_org() -> VerifiedOrg {
    let signet = Signet::from_armor(ORG).unwrap();
    verify_org(&signet, &[signing(0).verifying_key()], &domain()).unwrap()
}

fn verified_user() -> VerifiedUser {
    let signet = Signet::from_armor(USER).unwrap();
    verify_user(&signet, &verified_org(), None, &alice()).unwrap()
}

fn crc(signet: &Signet) -> u32 {
    armor::crc24(&signet.encode())
}

fn crc_at(signet: &Signet, level: Level) -> u32 {
    crc(&signet.split(level).unwrap())
}

/// SSR, crypto, full and ID fingerprints in text form.
fn fingerprints(signet: &Signet) -> [Option<String>; 4] {
    [
        signet.ssr_fingerprint().map(|print| print.to_string()),
        signet.crypto_fingerprint().map(|print| print.to_string()),
        signet.full_fingerprint().map(|print| print.to_string()),
        signet.id_fingerprint().map(|print| print.to_string()),
    ]
}

#[test]
fn published_organizational_signet() {
    let key = signing(0);
    let mut builder = OrgBuilder::new(&key, &encryption(0x40).public_key(), &[secondary()]).unwrap();
    builder.profile_mut().add(id::NAME, b"Example Org").unwrap();
    builder.profile_mut().add(19, b"NO").unwrap();
    let made = builder.identifiable(&domain()).unwrap();
    assert_eq!(made.to_armor(), ORG);

    let read = Signet::from_armor(ORG).unwrap();
    assert_eq!(read, made);
    assert_eq!(read.encode().len(), 337);
    assert_eq!(
        [
            crc_at(&read, Level::Crypto),
            crc_at(&read, Level::Full),
            crc(&read)
        ],
        [0xba2bac, 0x2b171e, 0xd4d1a2]
    );
    assert_eq!(
        fingerprints(&read),
        [
            None,
            Some(
                "3HHGZEQFJqk3gmbF9zpRChHcliRV7xRP4uCQQR+eilnwss586eSl1uJPlJlILUJTutmc7m+7PRxdWZBZCf22yQ"
                    .into()
            ),
            Some(
                "JIti8+16Yq09NOb/AsDM36q08BoUJEVN7XIb0+01zVzJkQhUzBa9/NLhe86MpUZPnq2BA5pdwWTi8ck4fkmwDw"
                    .into()
            ),
            Some(
                "zpaXSOBEHUs+Uf4QrKC8BBv/iSUqMAplGprM1MsbZw+JStw5b0bUy5UiHCTul/4+ER7WiqQmfU8o5Ack8TjmkQ"
                    .into()
            ),
        ]
    );
}

#[test]
fn published_organizational_signet_verified() {
    let org = verified_org();
    assert_eq!(org.level(), Level::Id);
    assert_eq!(org.primary_key(), signing(0).verifying_key());
    assert_eq!(org.encryption_key(), encryption(0x40).public_key());
    assert_eq!(org.secondary_keys(), [secondary()]);
    let both = [signing(0).verifying_key(), secondary().key];
    assert_eq!(org.signet_signing_keys(), both);
    assert_eq!(org.message_signing_keys(), both);
    assert_eq!(org.identifier(), Some(&b"example.com"[..]));
    assert_eq!(org.object(), Signet::from_armor(ORG).unwrap().encode());
    assert_eq!(org.signet().field(id::NAME), Some(&b"Example Org"[..]));
}

#[test]
fn published_signing_request() {
    let made = request(&user_keys(0x20, 0x60)).unwrap();
    assert_eq!(made.to_armor(), REQUEST);
    assert_eq!((made.encode().len(), crc(&made)), (141, 0xca101f));
    let read = verify_request(&Signet::from_armor(REQUEST).unwrap(), None).unwrap();
    assert_eq!(read.custody(), Custody::NoCustody);
    assert_eq!(read.signing_key(), signing(0x20).verifying_key());
    assert_eq!(read.encryption_key(), encryption(0x60).public_key());
}

#[test]
fn published_user_signet() {
    let key = signing(0);
    let request = verify_request(&Signet::from_armor(REQUEST).unwrap(), None).unwrap();
    let mut builder = Signer::new(&verified_org(), &key)
        .unwrap()
        .sign(&request)
        .unwrap();
    builder.profile_mut().add(id::NAME, b"Alice").unwrap();
    let made = builder.identifiable(&alice()).unwrap();
    assert_eq!(made.to_armor(), USER);

    let read = Signet::from_armor(USER).unwrap();
    assert_eq!(read.encode().len(), 362);
    assert_eq!(
        [
            crc_at(&read, Level::Crypto),
            crc_at(&read, Level::Full),
            crc(&read)
        ],
        [0x0c9ada, 0x28d472, 0x97b0ae]
    );
    assert_eq!(
        fingerprints(&read),
        [
            Some(
                "pmDo6cqh1j/lk0OhMp79PVGrbi9i/c0Of/v5pCR39SnQuHXzLm04BAKPXoi2NfJhpUECngLOsbldxnR6tg33gw"
                    .into()
            ),
            Some(
                "mON6ZfAoThi055QACsRPd9dK2GMTf4YlnjqOzIeG0vG4yS6iHcZjvKs6AehO12ajuQdbLWYnHaEusuhk0dowag"
                    .into()
            ),
            Some(
                "BtcC+LhWYUbR4Yd2OZTj9bMFVCr5tVagWK7mqu8GbPQop9EKNuIQ5nJzvtYMzV8ezjhUX4w3bABCBG6IR5aFtg"
                    .into()
            ),
            Some(
                "LHQVykz9MLPTpaZb/4EIVNRu2rKNsJmCARrhE8qs1ABgOUjAz1uV1jj6uBpxdBr06/hCCUhSlRy1a3t/ifrghQ"
                    .into()
            ),
        ]
    );
    assert_eq!(read.ssr_fingerprint(), Some(request.fingerprint()));
}

#[test]
fn published_user_signet_verified() {
    let user = verified_user();
    assert_eq!((user.level(), user.custody()), (Level::Id, Custody::NoCustody));
    assert_eq!(user.signing_key(), signing(0x20).verifying_key());
    assert_eq!(user.encryption_key(), encryption(0x60).public_key());
    assert_eq!(user.identifier(), Some(&b"alice@example.com"[..]));
    assert_eq!(user.object(), user.signet().encode());
    assert_eq!(format!("{user:?}"), "VerifiedUser(Id, NoCustody)");
}

#[test]
fn published_rotated_signet_signed_by_a_secondary_key() {
    let asked = rotation_request(&user_keys(0x80, 0xa0), &signing(0x20)).unwrap();
    assert_eq!((asked.encode().len(), crc(&asked)), (206, 0x7a0ad3));
    let request = verify_request(&asked, Some(&verified_user())).unwrap();
    assert_eq!(request.custody(), Custody::Proven);
    let key = signing(0xc0);
    let signer = Signer::new(&verified_org(), &key).unwrap();
    let made = signer.sign(&request).unwrap().identifiable(&alice()).unwrap();
    assert_eq!(made.to_armor(), ROTATED);

    let read = Signet::from_armor(ROTATED).unwrap();
    assert_eq!(read.encode().len(), 420);
    assert_eq!(
        fingerprints(&read),
        [
            Some(
                "c7ZRL1mCDlDF5qpuQEaLRbTZIV+YfQ3GMHpjsiMML8/9UBXaUe+vXgBK6LYaM1KKlgZYhqm8Q+UkDR36i2FtmA"
                    .into()
            ),
            Some(
                "N8/SVOqnD9F982UDG81Q+0fmt3WVypnv1GjSqUi1X8wcqABgO/ZzYlM42KmKxkrOFnaokt/Ahi+QdHvenc9u9w"
                    .into()
            ),
            Some(
                "faBf3f1eEjHAyUlK9SjMNpN1lcYCHsrsr6gZ9gHNg8/clRZSKO1M61p7ud5tmZwKvQ3IyjCFEG8wzMUz+AVwZg"
                    .into()
            ),
            Some(
                "3YauVGZYZFyl3NxMJmxIY6MqjsbFxQpLZbEpQfOR/+ARHXalqXmnS5PD2J1mv1rbqTws+ACLCeVa69MbJ7JJ6w"
                    .into()
            ),
        ]
    );
}

#[test]
fn custody_is_proven_unproven_or_broken_but_never_assumed() {
    let (org, first) = (verified_org(), verified_user());
    let rotated = Signet::from_armor(ROTATED).unwrap();
    let judge = |signet: &Signet, previous| verify_user(signet, &org, previous, &alice());
    let proven = judge(&rotated, Some(&first)).unwrap();
    assert_eq!(proven.custody(), Custody::Proven);
    assert_eq!(judge(&rotated, None).unwrap().custody(), Custody::Unproven);
    assert_eq!(judge(&rotated, Some(&proven)), Err(Error::CustodyBroken));
    assert_eq!(judge(first.signet(), Some(&proven)), Err(Error::CustodyMissing));
}
