#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::private::{Kind, PrivateKey};
use super::*;
use crate::dime::keys::{OrgKeys, UserKeys};

const LIGHT: Work = Work {
    memory_kib: 8,
    passes: 1,
    lanes: 1,
};

fn key() -> PrivateKey {
    PrivateKey::User(UserKeys::generate(&mut rand::rng()))
}

fn wrapped(key: &PrivateKey) -> Wrapped {
    Wrapped::with_passphrase(key, b"correct horse", LIGHT, &mut rand::rng()).unwrap()
}

fn with_work(work: Work) -> Vec<u8> {
    let mut octets = wrapped(&key()).encode();
    octets[10..14].copy_from_slice(&work.memory_kib.to_be_bytes());
    octets[14..18].copy_from_slice(&work.passes.to_be_bytes());
    octets[18] = work.lanes;
    octets
}

#[test]
fn opens_with_its_passphrase_alone() {
    let key = key();
    let wrapped = wrapped(&key);
    let read = Wrapped::decode(&wrapped.encode()).unwrap();
    assert_eq!(read, wrapped);
    assert_eq!(
        (read.inside(), read.protection()),
        (Kind::User, Protection::Passphrase(LIGHT))
    );
    assert_eq!(
        read.open_with_passphrase(b"correct horse").unwrap().encode(),
        key.encode()
    );
    assert_eq!(
        read.open_with_passphrase(b"correct horsf").unwrap_err(),
        Error::Locked
    );
    assert_eq!(read.open_with_passphrase(b"").unwrap_err(), Error::Passphrase(0));
    assert_eq!(
        read.open_with_passphrase(&[b'a'; 1025]).unwrap_err(),
        Error::Passphrase(1025)
    );
    let master = Key::from_bytes([1; 32]);
    assert_eq!(
        read.open_with_master_key(&master).unwrap_err(),
        Error::Protection("a passphrase")
    );
}

#[test]
fn opens_with_its_master_key_alone() {
    let key = PrivateKey::Organization(OrgKeys::generate(&mut rand::rng()));
    let master = Key::from_bytes([1; 32]);
    let wrapped = Wrapped::with_master_key(&key, &master, &mut rand::rng());
    let read = Wrapped::decode(&wrapped.encode()).unwrap();
    assert_eq!(
        (read.inside(), read.protection()),
        (Kind::Organization, Protection::MasterKey)
    );
    assert_eq!(read.open_with_master_key(&master).unwrap().encode(), key.encode());
    let other = Key::from_bytes([2; 32]);
    assert_eq!(read.open_with_master_key(&other).unwrap_err(), Error::Locked);
    assert_eq!(
        read.open_with_passphrase(b"x").unwrap_err(),
        Error::Protection("a master key")
    );
}

/// No octet can be changed without notice: layout, bounds or the tag refuse it.
#[test]
fn a_change_of_any_octet_is_refused() {
    let good = wrapped(&key()).encode();
    for place in 0..good.len() {
        let mut bad = good.clone();
        bad[place] ^= 1;
        let opened = Wrapped::decode(&bad).and_then(|bad| bad.open_with_passphrase(b"correct horse"));
        let error = opened.unwrap_err();
        match place {
            0..=7 => assert_eq!(error, Error::Layout(0)),
            8 => assert!(matches!(error, Error::Locked | Error::Layout(8)), "{error:?}"),
            // By master key, with the rest of the header taken for a nonce.
            9 => assert!(
                matches!(error, Error::Layout(9) | Error::Protection(_)),
                "{error:?}"
            ),
            10..=18 => assert!(matches!(error, Error::Work(_) | Error::Locked), "{error:?}"),
            _ => assert_eq!(error, Error::Locked, "octet {place}"),
        }
    }
    for length in 0..good.len() {
        let opened =
            Wrapped::decode(&good[..length]).and_then(|bad| bad.open_with_passphrase(b"correct horse"));
        assert!(
            matches!(opened, Err(Error::Layout(_) | Error::Locked)),
            "{length} octets"
        );
    }
    let longer = Wrapped::decode(&[&good[..], &[0]].concat()).unwrap();
    assert_eq!(
        longer.open_with_passphrase(b"correct horse").unwrap_err(),
        Error::Locked
    );
    let huge = [&good[..], &[0; 5000]].concat();
    assert_eq!(Wrapped::decode(&huge).unwrap_err(), Error::Layout(35 + 4096));
}

#[test]
fn parameters_are_bounded_before_any_work_is_done() {
    let work = |memory_kib, passes, lanes| Work {
        memory_kib,
        passes,
        lanes,
    };
    for bomb in [
        work(u32::MAX, 1, 1),
        work((1 << 20) + 1, 1, 1),
        work(1 << 20, 5, 1),
        work(8, u32::MAX, 1),
        work(8, 65, 1),
        work(1 << 20, 1, 17),
        work(7, 1, 1),
        work(15, 1, 2),
        work(8, 0, 1),
        work(8, 1, 0),
    ] {
        assert_eq!(Wrapped::decode(&with_work(bomb)).unwrap_err(), Error::Work(bomb));
        let made = Wrapped::with_passphrase(&key(), b"x", bomb, &mut rand::rng());
        assert_eq!(made.unwrap_err(), Error::Work(bomb));
    }
    for fine in [work(1 << 20, 4, 16), work(8, 64, 1), Work::default()] {
        assert!(Wrapped::decode(&with_work(fine)).is_ok(), "{fine:?}");
    }
}

#[test]
fn a_wrapped_key_says_what_is_inside_and_must_be_right() {
    let master = Key::from_bytes([1; 32]);
    let header = header(Kind::Organization, BY_MASTER_KEY);
    let lying = Wrapped {
        inside: Kind::Organization,
        protection: Protection::MasterKey,
        sealed: master.seal(&mut rand::rng(), &header, key().encode().expose()),
        header,
    };
    assert_eq!(
        lying.open_with_master_key(&master).unwrap_err(),
        Error::Inside(Kind::Organization)
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_key_comes_back(seed in any::<[u8; 32]>(), passphrase in proptest::collection::vec(any::<u8>(), 1..40)) {
        let key = PrivateKey::Signing(crate::crypto::ed25519::SigningKey::from_seed(&seed));
        let wrapped = Wrapped::with_passphrase(&key, &passphrase, LIGHT, &mut rand::rng()).unwrap();
        let text = wrapped.to_armor();
        let octets = armor::decode(&text, &[LABEL]).unwrap();
        let opened = Wrapped::decode(&octets).unwrap().open_with_passphrase(&passphrase).unwrap();
        prop_assert_eq!(opened.encode(), key.encode());
    }

    #[test]
    fn arbitrary_octets_never_panic(tail in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Wrapped::decode(&tail);
        let _ = Wrapped::decode(&[MAGIC, &tail[..]].concat());
    }
}
