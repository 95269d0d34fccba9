#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;
use crate::crypto::suite::hpke::SecretKey;

const NOW: u64 = 1_800_000_000;

fn owner() -> SigningKey {
    SigningKey::from_seed(&[7; 32])
}

fn keys() -> KemKeys {
    KemKeys::new(vec![
        SecretKey::from_bytes(Suite::X25519, &[1; 32]).unwrap(),
        SecretKey::from_bytes(Suite::XWing, &[2; 32]).unwrap(),
    ])
    .unwrap()
}

fn draft() -> Draft {
    Draft {
        created: NOW,
        expires: NOW + 100,
        keys: keys().public_keys(),
    }
}

fn decode(value: &[u8]) -> Result<SignedKeySet, Error> {
    SignedKeySet::decode(Kind::User, &owner().verifying_key(), value)
}

#[test]
fn a_key_set_has_the_sizes_of_the_specification_and_reads_back() {
    let value = draft().sign(Kind::User, &owner()).unwrap();
    assert_eq!(value.len(), 1336);
    let set = decode(&value).unwrap().accept(NOW).unwrap();
    assert_eq!((set.created(), set.expires()), (NOW, NOW + 100));
    assert_eq!(set.suites().collect::<Vec<_>>(), Suite::ALL);
    assert_eq!(
        set.key(Suite::XWing),
        Some(&keys().key(Suite::XWing).unwrap().public_key())
    );

    let mut one = draft();
    one.keys.truncate(1);
    assert_eq!(one.sign(Kind::User, &owner()).unwrap().len(), 117);
    one.keys.clear();
    let value = one.sign(Kind::User, &owner()).unwrap();
    assert_eq!(value.len(), 18 + 64);
    assert!(decode(&value).unwrap().is_opt_out());
}

#[test]
fn a_key_set_is_of_its_owner_and_kind() {
    let value = draft().sign(Kind::User, &owner()).unwrap();
    let other = SigningKey::from_seed(&[8; 32]).verifying_key();
    assert_eq!(
        SignedKeySet::decode(Kind::User, &other, &value),
        Err(Error::Signature)
    );
    let elsewhere = SignedKeySet::decode(Kind::Organization, &owner().verifying_key(), &value);
    assert_eq!(elsewhere, Err(Error::Signature));
}

#[test]
fn nothing_is_signed_that_no_reader_would_take() {
    let time = |created, expires| {
        let draft = Draft {
            created,
            expires,
            ..draft()
        };
        draft.sign(Kind::User, &owner()).map(drop)
    };
    assert_eq!(time(NOW, NOW + MAX_LIFE), Ok(()));
    assert_eq!(time(NOW, NOW + MAX_LIFE + 1), Err(Error::Time(Time::TooLong)));
    assert_eq!(time(NOW, NOW), Err(Error::Time(Time::Inverted)));
    assert_eq!(time(NOW, 0), Err(Error::Time(Time::Inverted)));
    let mut twice = draft();
    twice.keys.push(twice.keys[0].clone());
    assert_eq!(
        twice.sign(Kind::User, &owner()),
        Err(Error::Layout(Layout::Order(1)))
    );
}

#[test]
fn a_key_set_counts_from_an_hour_before_it_was_made_until_it_expires() {
    let set = decode(&draft().sign(Kind::User, &owner()).unwrap()).unwrap();
    let at = |now| set.accept(now).map(drop);
    assert_eq!(at(NOW - 3601), Err(Error::Time(Time::Future)));
    assert_eq!(at(NOW - 3600), Ok(()));
    assert_eq!(at(NOW + 99), Ok(()));
    assert_eq!(at(NOW + 100), Err(Error::Time(Time::Expired)));
    for (created, expected) in [
        (NOW - 3601, false),
        (NOW - 3600, true),
        (NOW + 99, true),
        (NOW + 100, false),
    ] {
        assert_eq!(set.was_in_force(created), expected, "{created}");
    }
}

#[test]
fn private_keys_read_back_and_their_neighbours_do_not() {
    let stored = keys().encode();
    let again = KemKeys::decode(stored.expose()).unwrap();
    assert_eq!(again.public_keys(), keys().public_keys());
    assert!(KemKeys::decode(&[0]).unwrap().is_empty());
    let octets = stored.expose();
    let trailing = [octets, &[0][..]].concat();
    let mut unknown = octets.clone();
    unknown[34] = 3;
    let mut repeated = octets.clone();
    repeated[34] = 1;
    for bad in [&octets[..octets.len() - 1], &trailing, &unknown, &repeated, &[]] {
        assert_eq!(KemKeys::decode(bad).err(), Some(NotKemKeys));
    }
}

proptest! {
    #[test]
    fn arbitrary_octets_never_panic(octets in proptest::collection::vec(any::<u8>(), 0..2000)) {
        prop_assert!(decode(&octets).is_err());
        let _ = SignedKeySet::read(&octets);
        let _ = KemKeys::decode(&octets);
    }

    #[test]
    fn a_changed_octet_is_noticed(place in 0usize..1336, change in 1u8..) {
        let mut value = draft().sign(Kind::User, &owner()).unwrap();
        value[place] ^= change;
        prop_assert!(decode(&value).is_err());
    }
}
