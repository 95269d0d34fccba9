//! Objects of both dialects, made here octet by octet, and their neighbours.

#![allow(clippy::unwrap_used)]

use Outcome::{Ignored, Refused, Unproven, Verified};
use proptest::prelude::*;

use super::*;
use crate::base::encoding::hex;
use crate::crypto::aes256_gcm;
use crate::crypto::ed25519::SigningKey;
use crate::crypto::suite::secp256k1_aes256::SecretKey;
use crate::dime::fingerprint::{CryptoFingerprint, FullFingerprint, SsrFingerprint};
use crate::dime::signet::{Custody, Level, Profile, Signer, verify_org, verify_request, verify_user};
use crate::mail::address::{Domain, Mailbox};

/// The sandbox key pair that magma publishes, as `prime.md` §5.1 lists it.
const SANDBOX_KEY: &str = "07a00000440120b6b730a4b6474f6daf2d9702d3822f4d24c9ee0db634c9857779cb80131db0300320\
    828afadc48deead84ed90d5855223d845592bda42631658f81daeb06b325f595";
const SANDBOX_SIGNET: &str = "06f00000860120878e24038017cb68059e517ea2cb9c1b6b7848e05ebbc080dd65b1a3a44b7c800321\
    02ff5d28d73031b7f56b6558d42586080e0eabe4cf8a6b485c211bb30ea254e211\
    045b1fc4da7098a2f5563cf94eeed624cc6e0cf859c65eea98f8e2393c328acb38c220b57eb29fc8dd30aeb078f4a74fb24ec6b5a1d94add67c9b34f76a0fed00c";
const SANDBOX_FINGERPRINT: &str = "0b48aabf262318ff5588bea37c7d36783d896069b1772dc6779e5b448680842b\
    16ba0fb85475eb80e4aac2e41e00dd4065998c1199a1cf47c6ec22eb8ed062a3";

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .bytes()
        .filter(|digit| !digit.is_ascii_whitespace())
        .collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

fn seed(first: u8) -> SigningKey {
    SigningKey::from_seed(&[first; 32])
}

fn scalar(first: u8) -> SecretKey {
    SecretKey::from_bytes(&[first; 32]).unwrap()
}

/// A field with as many length octets as asked for.
fn field(id: u8, width: usize, data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u32).to_be_bytes();
    [&[id], &length[4 - width..], data].concat()
}

fn object(magic: u16, fields: &[u8]) -> Vec<u8> {
    let length = (fields.len() as u32).to_be_bytes();
    [&magic.to_be_bytes()[..], &length[1..], fields].concat()
}

/// The signing key field and the encryption key field `id`.
fn keys(dialect: Dialect, id: u8, signing: u8, encryption: u8) -> Vec<u8> {
    let key = seed(signing).verifying_key().0;
    let signing = match dialect {
        Dialect::Prime => key.to_vec(),
        Dialect::Magma => [&[0x40], &key[..]].concat(),
    };
    let encryption = scalar(encryption).public_key().to_compressed();
    [field(1, 1, &signing), field(id, 1, &encryption)].concat()
}

/// The fields with a signature over all of them behind them.
fn signed(mut fields: Vec<u8>, id: u8, signer: u8) -> Vec<u8> {
    let signature = seed(signer).sign(&fields).0;
    fields.extend(field(id, 0, &signature));
    fields
}

fn org(dialect: Dialect) -> Vec<u8> {
    signed(keys(dialect, 3, 1, 2), 4, 1)
}

fn request(dialect: Dialect) -> Vec<u8> {
    signed(keys(dialect, 2, 3, 4), 5, 3)
}

fn user(dialect: Dialect) -> Vec<u8> {
    signed(request(dialect), 6, 1)
}

/// New keys 5 and 6, vouched for by key 3.
fn rotated(dialect: Dialect) -> Vec<u8> {
    let keys = signed(keys(dialect, 2, 5, 6), 4, 3);
    signed(signed(keys, 5, 5), 6, 1)
}

fn signet(magic: u16, fields: &[u8]) -> Result<ForeignSignet, Error> {
    match read(&object(magic, fields))? {
        Imported::Signet(signet) => Ok(signet),
        other => panic!("{other:?}"),
    }
}

fn outcomes(signet: &ForeignSignet, companions: Companions<'_>) -> Vec<(u8, Outcome)> {
    let checks = signet.verify(companions).unwrap();
    checks.iter().map(|check| (check.field, check.outcome)).collect()
}

const BOTH: [Dialect; 2] = [Dialect::Prime, Dialect::Magma];

#[test]
fn the_published_sandbox_pair_is_read_in_every_wrapping() {
    let key = unhex(SANDBOX_KEY);
    assert_eq!((key.len(), armor::crc24(&key)), (73, 0x0075_0917));
    let octets = unhex(SANDBOX_SIGNET);
    assert_eq!((octets.len(), armor::crc24(&octets)), (139, 0x0046_58b4));
    let armored = armor::encode("ORGANIZATIONAL SIGNET", &octets);
    let compact = base64_url(&octets);
    for wrapping in [&octets[..], armored.as_bytes(), compact.as_bytes()] {
        let Imported::Signet(signet) = read(wrapping).unwrap() else {
            panic!()
        };
        assert_eq!(
            (signet.dialect(), signet.kind()),
            (Dialect::Prime, Kind::Organization)
        );
        assert_eq!(
            hex(&signet.crypto_fingerprint().unwrap().0),
            SANDBOX_FINGERPRINT.replace(' ', "")
        );
        assert_eq!(outcomes(&signet, Companions::default()), [(4, Verified)]);
    }
    let armored = armor::encode("ORGANIZATIONAL KEY", &key);
    let (Imported::Keys(Keys::Organization(keys)), Imported::Signet(signet)) =
        (read(armored.as_bytes()).unwrap(), read(&octets).unwrap())
    else {
        panic!()
    };
    assert_eq!(signet.signing_key(), keys.signing.verifying_key());
    assert_eq!(signet.encryption_key(), keys.encryption.public_key());
}

fn base64_url(octets: &[u8]) -> String {
    crate::base::encoding::base64_unpadded(octets)
        .replace('+', "-")
        .replace('/', "_")
}

#[test]
fn sizes_are_those_of_the_dialects() {
    let sizes = |dialect| {
        [org(dialect), request(dialect), user(dialect), rotated(dialect)].map(|fields| 5 + fields.len())
    };
    assert_eq!(sizes(Dialect::Prime), [139, 139, 204, 269]);
    assert_eq!(sizes(Dialect::Magma), [140, 140, 205, 270]);
}

#[test]
fn signatures_are_judged_by_who_has_to_make_them() {
    for dialect in BOTH {
        let organization = signet(1776, &org(dialect)).unwrap();
        let first = signet(1789, &user(dialect)).unwrap();
        let second = signet(1789, &rotated(dialect)).unwrap();
        assert_eq!((first.dialect(), second.kind()), (dialect, Kind::User));
        let alone = Companions::default();
        assert_eq!(outcomes(&first, alone), [(5, Verified), (6, Unproven)]);
        let with = Companions {
            organization: Some(&organization),
            previous: Some(&first),
        };
        assert_eq!(outcomes(&first, with), [(5, Verified), (6, Verified)]);
        assert_eq!(
            outcomes(&second, with),
            [(4, Verified), (5, Verified), (6, Verified)]
        );
        let stranger = Companions {
            organization: Some(&organization),
            previous: Some(&second),
        };
        assert_eq!(outcomes(&second, stranger)[0], (4, Refused));
        let swapped = Companions {
            organization: Some(&first),
            previous: None,
        };
        let (expected, found) = (Kind::Organization, Kind::User);
        assert_eq!(first.verify(swapped), Err(Error::Kind { expected, found }));
    }
}

#[test]
fn every_flipped_bit_of_what_an_own_signature_covers_is_refused() {
    for dialect in BOTH {
        for (magic, fields, covered) in [
            (1776, org(dialect), org(dialect).len()),
            (1215, request(dialect), request(dialect).len()),
            (1789, user(dialect), request(dialect).len()),
        ] {
            let good = object(magic, &fields);
            for place in 0..5 + covered {
                let mut bad = good.clone();
                bad[place] ^= 1;
                // 1776 and 1777, or 1789 and 1788: no object has the odd one.
                assert!(read(&bad).is_err(), "{dialect} {magic}, octet {place}");
            }
        }
    }
}

#[test]
fn fingerprints_cover_what_the_dialect_verifies() {
    for dialect in BOTH {
        let first = signet(1789, &user(dialect)).unwrap();
        assert_eq!(
            first.ssr_fingerprint(),
            Some(SsrFingerprint::of(&request(dialect)))
        );
        assert_eq!(
            first.crypto_fingerprint(),
            Some(CryptoFingerprint::of(&user(dialect)))
        );
        assert_eq!(first.full_fingerprint(), None);
        let asked = signet(1215, &request(dialect)).unwrap();
        assert_eq!(asked.ssr_fingerprint(), first.ssr_fingerprint());
        assert_eq!(asked.crypto_fingerprint(), None);
    }
    let profile = [org(Dialect::Prime), field(16, 1, b"Example")].concat();
    let dropped = signet(1776, &profile).unwrap();
    assert_eq!(
        dropped.crypto_fingerprint(),
        Some(CryptoFingerprint::of(&org(Dialect::Prime)))
    );
    assert!(!dropped.is_kept(16));
    assert_eq!(dropped.profile().unwrap(), Profile::new());
}

#[test]
fn prime_signs_known_fields_only_and_verifies_nothing_above() {
    let extra = signed([org(Dialect::Prime), field(16, 1, b"x")].concat(), 253, 9);
    let read = signet(1776, &extra).unwrap();
    assert_eq!(
        outcomes(&read, Companions::default()),
        [(4, Verified), (253, Ignored)]
    );
    assert_eq!(read.full_fingerprint(), None);
    // The signature of a signet with a secondary key in it would have to leave that out (§5).
    let key = field(2, 1, b"anything");
    let [signing, encryption] = [
        &keys(Dialect::Prime, 3, 1, 2)[..34],
        &keys(Dialect::Prime, 3, 1, 2)[34..],
    ];
    let covered = signed([signing, &key, encryption].concat(), 4, 1);
    assert_eq!(signet(1776, &covered), Err(Error::BadSignature(4)));
}

/// An organizational signet of magma's libdime with everything.
fn full_magma_org() -> Vec<u8> {
    let keys = keys(Dialect::Magma, 3, 1, 2);
    let secondary = [&[3, 0x40], &seed(7).verifying_key().0[..]].concat();
    let fields = [&keys[..35], &field(2, 1, &secondary), &keys[35..]].concat();
    let profile = [
        field(16, 1, b"Example"),
        field(160, 2, b"https://hermail.test"),
        [&[251, 4][..], b"note", &[0, 2], b"hi"].concat(),
        field(252, 3, b"picture"),
    ];
    let full = signed([signed(fields, 4, 1), profile.concat()].concat(), 253, 1);
    signed([full, field(254, 1, b"hermail.test")].concat(), 255, 1)
}

#[test]
fn a_full_signet_of_magma_is_verified_and_signed_anew_in_our_dialect() {
    let fields = full_magma_org();
    let old = signet(1776, &fields).unwrap();
    assert_eq!(
        outcomes(&old, Companions::default()),
        [(4, Verified), (253, Verified), (255, Verified)]
    );
    let full = fields.len() - 65 - 2 - "hermail.test".len();
    assert_eq!(old.full_fingerprint(), Some(FullFingerprint::of(&fields[..full])));
    let keys = OrgKeys {
        signing: seed(1),
        encryption: scalar(2),
    };
    let domain: Domain = "hermail.test".parse().unwrap();
    let new = old.reissue(&keys).unwrap().identifiable(&domain).unwrap();
    let new = verify_org(&new, &[keys.signing.verifying_key()], &domain).unwrap();
    assert_eq!(new.level(), Level::Id);
    assert_eq!(new.secondary_keys(), old.secondary_keys());
    assert_eq!(new.signet().field(160), Some(&b"https://hermail.test"[..]));
    assert_eq!(new.signet().undefined_field(b"note"), Some(&b"hi"[..]));
    let stranger = OrgKeys {
        signing: seed(1),
        encryption: scalar(3),
    };
    assert_eq!(old.reissue(&stranger).err(), Some(Error::OtherKeys));
    assert_eq!(read(&new.signet().encode()).err(), Some(Error::Libdime));
}

#[test]
fn a_secondary_key_of_magma_signs_users() {
    let organization = signet(1776, &full_magma_org()).unwrap();
    let by_secondary = signet(1789, &signed(request(Dialect::Magma), 6, 7)).unwrap();
    let by_stranger = signet(1789, &signed(request(Dialect::Magma), 6, 8)).unwrap();
    let with = Companions {
        organization: Some(&organization),
        previous: None,
    };
    assert_eq!(outcomes(&by_secondary, with)[1], (6, Verified));
    assert_eq!(outcomes(&by_stranger, with)[1], (6, Refused));
}

#[test]
fn an_imported_user_asks_for_a_signet_of_ours_with_the_same_keys() {
    let organization = OrgKeys {
        signing: seed(1),
        encryption: scalar(2),
    };
    let domain: Domain = "hermail.test".parse().unwrap();
    let alice: Mailbox = "alice@hermail.test".parse().unwrap();
    for dialect in BOTH {
        let old = signet(1776, &org(dialect)).unwrap();
        let org = old.reissue(&organization).unwrap().full().unwrap();
        let org = verify_org(&org, &[organization.signing.verifying_key()], &domain).unwrap();
        for (magic, fields, signing, encryption) in
            [(1215, request(dialect), 3, 4), (1789, rotated(dialect), 5, 6)]
        {
            let old = signet(magic, &fields).unwrap();
            let keys = UserKeys {
                signing: seed(signing),
                encryption: scalar(encryption),
            };
            let asked = verify_request(&old.request(&keys).unwrap(), None).unwrap();
            let signed = Signer::new(&org, &organization.signing).unwrap().sign(&asked);
            let user = verify_user(&signed.unwrap().full().unwrap(), &org, None, &alice).unwrap();
            assert_eq!(user.custody(), Custody::NoCustody);
            assert_eq!(user.signing_key(), old.signing_key());
            let stranger = UserKeys {
                signing: seed(9),
                encryption: scalar(encryption),
            };
            assert_eq!(old.request(&stranger), Err(Error::OtherKeys));
        }
        let keys = UserKeys {
            signing: seed(1),
            encryption: scalar(2),
        };
        let (expected, found) = (Kind::User, Kind::Organization);
        assert_eq!(old.request(&keys), Err(Error::Kind { expected, found }));
    }
}

#[test]
fn what_prime_readers_let_pass_is_refused_with_its_place() {
    let good = org(Dialect::Prime);
    let (signing, encryption, signature) = (&good[..34], &good[34..69], &good[69..]);
    let of = |parts: &[&[u8]]| signet(1776, &parts.concat()).unwrap_err();
    assert_eq!(
        of(&[signing, signature, encryption]),
        Error::Order {
            field: 3,
            offset: 104
        }
    );
    assert_eq!(
        of(&[signing, signing, encryption, signature]),
        Error::Repeated { field: 1, offset: 39 }
    );
    assert_eq!(of(&[&good, &[0, 1, 2]]), Error::EndMarker { offset: 139 });
    assert_eq!(of(&[&good, &[16, 5, 1]]), Error::Truncated { offset: 139 });
    assert_eq!(of(&[signing, signature]), Error::Missing(3));
    assert_eq!(of(&[encryption, signature]), Error::Missing(1));
    assert_eq!(of(&[]), Error::Missing(1));
    let short = field(3, 1, &[2; 32]);
    assert_eq!(
        of(&[signing, &short, signature]),
        Error::Key { field: 3, offset: 39 }
    );
    let magma = org(Dialect::Magma);
    assert_eq!(
        signet(1776, &[&magma[..], &[28, 1, 1]].concat()),
        Err(Error::Reserved {
            field: 28,
            offset: 140
        })
    );
    assert!(signet(1776, &[&good[..], &[28, 1, 1]].concat()).is_ok());
}

#[test]
fn widths_are_not_mixed_within_an_object() {
    let keys = keys(Dialect::Magma, 3, 1, 2);
    let libdime = [&keys[..35], &[3, 0], &keys[36..]].concat();
    assert_eq!(signet(1776, &signed(libdime, 4, 1)), Err(Error::Libdime));
    let prime = &org(Dialect::Prime)[..34];
    let mixed = [prime, &[3, 0], &keys[36..]].concat();
    let refused = signet(1776, &signed(mixed, 4, 1));
    assert_eq!(refused, Err(Error::Key { field: 3, offset: 39 }));
}

#[test]
fn keys_of_too_many_deputies_are_refused() {
    let keys = keys(Dialect::Magma, 3, 1, 2);
    let secondary = field(2, 1, &[&[1, 0x40], &seed(7).verifying_key().0[..]].concat());
    let fields = [&keys[..35], &secondary.repeat(65), &keys[35..]].concat();
    let error = signet(1776, &signed(fields, 4, 1)).unwrap_err();
    assert_eq!(error, Error::Signet(signet::Error::TooManyKeys(65)));
}

#[test]
fn key_files_become_ours() {
    for (magic, id) in [(1952, 3), (2013, 2)] {
        let fields = [field(1, 1, &[1; 32]), field(id, 1, &[2; 32])].concat();
        assert_eq!(object(magic, &fields).len(), 73);
        let Imported::Keys(keys) = read(&object(magic, &fields)).unwrap() else {
            panic!()
        };
        let ours = keys.to_armor();
        match keys {
            Keys::Organization(_) => assert!(OrgKeys::from_armor(ours.expose()).is_ok() && id == 3),
            Keys::User(keys) => {
                let back = UserKeys::from_armor(ours.expose()).unwrap();
                assert_eq!(
                    (back.signing.seed(), back.encryption.to_bytes()),
                    (&[1; 32], [2; 32])
                );
                assert_eq!(keys.signing.seed(), &[1; 32]);
            }
        }
        assert_eq!(read(ours.expose().as_bytes()).err(), Some(Error::Libdime));
    }
}

#[test]
fn every_neighbour_of_a_key_file_is_refused() {
    let key = unhex(SANDBOX_KEY);
    let of = |octets: &[u8]| read(octets).unwrap_err();
    for size in 2..73 {
        let expected = match size {
            2..5 => Error::Truncated { offset: 0 },
            _ => Error::Length {
                announced: 68,
                found: size - 5,
            },
        };
        assert_eq!(of(&key[..size]), expected, "{size}");
    }
    let changed = |place: usize, octet: u8| {
        let mut key = key.clone();
        key[place] = octet;
        of(&key)
    };
    assert_eq!(changed(5, 2), Error::Missing(1));
    assert_eq!(changed(6, 31), Error::Key { field: 1, offset: 5 });
    assert_eq!(changed(39, 2), Error::Missing(3));
    assert_eq!(changed(40, 33), Error::Key { field: 3, offset: 39 });
    let zero = [&key[..41], &[0; 32]].concat();
    assert_eq!(of(&zero), Error::Key { field: 3, offset: 39 });
    let longer = object(1952, &[&key[5..], &[16, 0]].concat());
    assert_eq!(
        of(&longer),
        Error::Reserved {
            field: 16,
            offset: 73
        }
    );
    let shorter = object(1952, &key[5..39]);
    assert_eq!(of(&shorter), Error::Truncated { offset: 39 });
}

/// The encrypted form of the sandbox key, with any plaintext.
fn encrypted(plain: &[u8]) -> Vec<u8> {
    let realm = realm_octets();
    let vector = [0xAA; 16];
    let iv: [u8; 16] = std::array::from_fn(|place| vector[place] ^ realm[place]);
    let mut data = plain.to_vec();
    let tag = aes256_gcm::seal(realm.last_chunk().unwrap(), &iv, &mut data);
    let masked: [u8; 16] = std::array::from_fn(|place| tag[place] ^ realm[16 + place]);
    let size = (32 + data.len() as u32).to_be_bytes();
    [&1947u16.to_be_bytes()[..], &size, &vector, &masked, &data].concat()
}

fn realm_octets() -> [u8; 64] {
    std::array::from_fn(|place| place as u8)
}

fn padded(length: u8, fields: &[u8], count: u8, padding: &[u8]) -> Vec<u8> {
    [&[0, 0, length, count], fields, padding].concat()
}

fn opened(octets: &[u8], realm: [u8; 64]) -> Result<Keys, Error> {
    match read(octets)? {
        Imported::Encrypted(keys) => keys.open(&RealmKey::from_bytes(realm)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn encrypted_keys_open_with_their_realm_key_only() {
    let fields = &unhex(SANDBOX_KEY)[5..];
    let good = encrypted(&padded(68, fields, 8, &[8; 8]));
    assert_eq!(good.len(), 118);
    let Keys::Organization(keys) = opened(&good, realm_octets()).unwrap() else {
        panic!()
    };
    assert_eq!(keys.signing.seed(), &fields[2..34]);
    let armored = armor::encode("ENCRYPTED ORGANIZATIONAL KEY", &good);
    assert!(opened(armored.as_bytes(), realm_octets()).is_ok());
    for place in 0..64 {
        let mut other = realm_octets();
        other[place] ^= 1;
        assert_eq!(opened(&good, other).unwrap_err(), Error::RealmKey, "{place}");
    }
    for place in 6..good.len() {
        let mut bad = good.clone();
        bad[place] ^= 1;
        assert_eq!(
            opened(&bad, realm_octets()).unwrap_err(),
            Error::RealmKey,
            "{place}"
        );
    }
    assert_eq!(
        read(&good[..37]).unwrap_err(),
        Error::Length {
            announced: 112,
            found: 31
        }
    );
    let tiny = [&1976u16.to_be_bytes()[..], &[0, 0, 0, 4, 1, 2, 3, 4]].concat();
    assert_eq!(read(&tiny).unwrap_err(), Error::Truncated { offset: 6 });
}

#[test]
fn padding_inside_encrypted_keys_has_one_form() {
    let fields = &unhex(SANDBOX_KEY)[5..];
    let of = |plain: &[u8]| opened(&encrypted(plain), realm_octets()).unwrap_err();
    for plain in [
        padded(68, fields, 7, &[7; 8]),
        padded(68, fields, 8, &[8, 8, 8, 8, 8, 8, 8, 7]),
        padded(68, fields, 24, &[24; 24]),
        padded(69, fields, 8, &[8; 8]),
        padded(68, fields, 9, &[9; 9]),
        padded(68, fields, 0, &[]),
        padded(200, fields, 8, &[8; 8]),
        Vec::new(),
    ] {
        assert_eq!(of(&plain), Error::RealmKey);
    }
    let other = padded(68, &[fields, &[]].concat()[..], 8, &[8; 8]);
    assert!(opened(&encrypted(&other), realm_octets()).is_ok());
    let junk = padded(12, &[9; 12], 16, &[16; 16]);
    assert_eq!(of(&junk), Error::Missing(1));
}

#[test]
fn other_objects_are_named() {
    for magic in [1837, 1841, 1847, 1851, 1861, 1908, 1931, 1948, 2001] {
        assert_eq!(read(&object(magic, b"x")).unwrap_err(), Error::NotImported(magic));
    }
    assert_eq!(read(&object(1777, b"x")).unwrap_err(), Error::Magic(1777));
    assert_eq!(read(&[]).unwrap_err(), Error::Truncated { offset: 0 });
    assert_eq!(read(&[6]).unwrap_err(), Error::Truncated { offset: 0 });
    assert_eq!(read(b"just words").unwrap_err(), Error::Text);
    assert_eq!(read(&[0xff, 0xfe]).unwrap_err(), Error::Text);
    let no_checksum = "-----BEGIN USER KEY-----\naGVsbG8=\n-----END USER KEY-----\n";
    assert_eq!(
        read(no_checksum.as_bytes()).unwrap_err(),
        Error::Armor(armor::Error::NoChecksum)
    );
}

#[test]
fn debug_shows_no_key_and_no_person() {
    let key = format!("{:?}", read(&unhex(SANDBOX_KEY)).unwrap());
    assert!(
        key.contains("[secret]") && !key.contains("b6b7") && !key.contains("182"),
        "{key}"
    );
    let shown = format!("{:?}", signet(1776, &full_magma_org()).unwrap());
    assert_eq!(
        shown,
        "ForeignSignet(magma's libdime, organizational signet, 373 octets)"
    );
    assert_eq!(
        format!("{:?}", RealmKey::from_bytes([7; 64])),
        "RealmKey([secret])"
    );
}

proptest! {
    #[test]
    fn arbitrary_octets_never_panic(
        magic in prop::sample::select(vec![1215u16, 1776, 1789, 1952, 2013, 1947, 1976]),
        octets in prop::collection::vec(any::<u8>(), 0..300),
        start in prop::collection::vec(any::<u8>(), 0..100),
    ) {
        let _ = read(&start);
        let _ = read(&object(magic, &octets));
        let _ = read(&object(magic, &[&[1, 0x20][..], &octets].concat()));
        let _ = read(&object(magic, &[&[1, 0x21, 0x40][..], &octets].concat()));
    }

    /// Every signet that a writer of the dialect makes is read, and no other octets are taken for it.
    #[test]
    fn written_signets_are_read_and_any_change_is_noticed(
        dialect in prop::sample::select(BOTH.to_vec()),
        (signing, encryption) in (any::<u8>(), 1u8..255),
        (place, mask) in (any::<prop::sample::Index>(), 1u8..),
    ) {
        let fields = signed(keys(dialect, 3, signing, encryption), 4, signing);
        let signet = signet(1776, &fields).unwrap();
        prop_assert_eq!(signet.dialect(), dialect);
        prop_assert_eq!(signet.signing_key(), seed(signing).verifying_key());
        prop_assert_eq!(signet.encryption_key(), scalar(encryption).public_key());
        let octets: Vec<u8> = signet.fields().flat_map(|field| field.octets.to_vec()).collect();
        prop_assert_eq!(octets, fields.clone());
        let mut bad = object(1776, &fields);
        bad[place.index(fields.len() + 5)] ^= mask;
        prop_assert!(read(&bad).is_err());
    }
}
