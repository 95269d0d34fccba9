//! Properties of generated signets, and of octets that are none.

use super::*;

/// Profile fields that both kinds have, with data of every width.
fn profile() -> impl Strategy<Value = Profile> {
    let id = prop::sample::select(vec![16u8, 17, 21, 22, 27, 160, 200, 201, 252]);
    let data = || prop::collection::vec(any::<u8>(), 1..256);
    let defined = prop::collection::vec((id, data()), 0..6);
    let undefined = prop::collection::vec((data(), data()), 0..3);
    (defined, undefined).prop_map(|(defined, undefined)| {
        let mut profile = Profile::new();
        for (id, data) in defined {
            profile.set(id, &data).unwrap();
        }
        for (name, data) in undefined {
            profile.add_undefined(&name, &data).unwrap();
        }
        profile
    })
}

fn secondary_keys() -> impl Strategy<Value = Vec<SecondaryKey>> {
    let key = (any::<u8>(), any::<[u8; 32]>()).prop_map(|(bits, seed)| SecondaryKey {
        permissions: Permissions(bits),
        key: SigningKey::from_seed(&seed).verifying_key(),
    });
    prop::collection::vec(key, 0..4)
}

/// An organizational signet and its private key.
fn organization() -> impl Strategy<Value = (Signet, SigningKey)> {
    (any::<[u8; 32]>(), secondary_keys(), profile()).prop_map(|(seed, secondary, profile)| {
        let key = SigningKey::from_seed(&seed);
        let builder = OrgBuilder::new(&key, &encryption(0x40).public_key(), &secondary).unwrap();
        let signet = builder.with_profile(profile).identifiable(&domain()).unwrap();
        (signet, key)
    })
}

/// A user signet under the published organization.
fn user() -> impl Strategy<Value = Signet> {
    (any::<[u8; 32]>(), profile()).prop_map(|(seed, profile)| {
        let keys = UserKeys {
            signing: SigningKey::from_seed(&seed),
            encryption: encryption(0x60),
        };
        let request = verify_request(&request(&keys).unwrap(), None).unwrap();
        let key = signing(0);
        let builder = Signer::new(&verified_org(), &key)
            .unwrap()
            .sign(&request)
            .unwrap();
        builder.with_profile(profile).identifiable(&alice()).unwrap()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn decoding_undoes_encoding((org, key) in organization(), user in user()) {
        for signet in [&org, &user] {
            prop_assert_eq!(&Signet::decode(&signet.encode()).unwrap(), signet);
            prop_assert_eq!(&Signet::from_armor(&signet.to_armor()).unwrap(), signet);
        }
        prop_assert!(verify_org(&org, &[key.verifying_key()], &domain()).is_ok());
        prop_assert!(verify_user(&user, &verified_org(), None, &alice()).is_ok());
    }

    #[test]
    fn a_split_verifies_and_has_the_same_lower_fingerprints((org, key) in organization()) {
        for level in [Level::Crypto, Level::Full, Level::Id] {
            let part = org.split(level).unwrap();
            let verified = verify_org(&part, &[key.verifying_key()], &domain()).unwrap();
            prop_assert_eq!(verified.level(), level);
            prop_assert_eq!(Some(verified.crypto_fingerprint()), org.crypto_fingerprint());
            prop_assert_eq!(part.full_fingerprint(), org.full_fingerprint().filter(|_| level >= Level::Full));
            prop_assert_eq!(part.id_fingerprint(), org.id_fingerprint().filter(|_| level >= Level::Id));
        }
    }

    #[test]
    fn any_changed_octet_is_noticed(user in user(), place in any::<prop::sample::Index>(), mask in 1u8..) {
        let mut octets = user.encode();
        let place = place.index(octets.len());
        octets[place] ^= mask;
        let accepted = Signet::decode(&octets)
            .and_then(|changed| verify_user(&changed, &verified_org(), None, &alice()));
        prop_assert!(accepted.is_err());
    }

    #[test]
    fn arbitrary_octets_never_panic_and_one_form_only_is_read(
        user in user(),
        magic in prop::sample::select(vec![1776u16, 1789, 1215]),
        noise in prop::collection::vec(any::<u8>(), 0..200),
        cut in any::<prop::sample::Index>(),
    ) {
        let whole = user.encode();
        let payload = [&whole[5..5 + cut.index(whole.len() - 5)], &noise].concat();
        let length = (payload.len() as u32).to_be_bytes();
        let framed = [&magic.to_be_bytes()[..], &length[1..], &payload].concat();
        for octets in [framed, noise] {
            if let Ok(signet) = Signet::decode(&octets) {
                prop_assert_eq!(signet.encode(), octets);
            }
        }
    }
}
