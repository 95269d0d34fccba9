//! Every accepted form has neighbours that are refused.

use super::*;

/// An object of `fields`, with a header that fits.
fn object(kind: Kind, fields: &[Vec<u8>]) -> Vec<u8> {
    let payload = fields.concat();
    let length = (payload.len() as u32).to_be_bytes();
    [&kind.magic().to_be_bytes()[..], &length[1..], &payload].concat()
}

fn decode(kind: Kind, fields: &[Vec<u8>]) -> Result<Signet, Error> {
    Signet::decode(&object(kind, fields))
}

fn fields_of(signet: &Signet) -> Vec<Vec<u8>> {
    signet.fields().map(|field| field.octets.to_vec()).collect()
}

/// Fields of the published organizational signet: 1, 2, 3, 4, 16, 19, 253, 254, 255.
fn org_fields() -> Vec<Vec<u8>> {
    fields_of(&Signet::from_armor(ORG).unwrap())
}

fn org_with(change: impl FnOnce(&mut Vec<Vec<u8>>)) -> Result<Signet, Error> {
    let mut fields = org_fields();
    change(&mut fields);
    decode(Kind::Organization, &fields)
}

#[test]
fn refuses_another_length_than_the_header_says() {
    let good = Signet::from_armor(ORG).unwrap().encode();
    for length in 0..good.len() {
        assert_eq!(Signet::decode(&good[..length]), Err(Error::Length), "{length}");
    }
    assert_eq!(Signet::decode(&[&good[..], &[0]].concat()), Err(Error::Length));
}

#[test]
fn a_cut_object_is_refused_or_verifies_up_to_its_last_signature_only() {
    let whole = Signet::from_armor(ORG).unwrap();
    let payload = &whole.encode()[5..];
    let forms = [Level::Crypto, Level::Full, Level::Id].map(|level| whole.split(level).unwrap().encode());
    let mut verified = 0;
    for length in 0..payload.len() {
        let cut = decode(Kind::Organization, &[payload[..length].to_vec()]);
        let Ok(cut) = cut else { continue };
        let org = verify_org(&cut, &[signing(0).verifying_key()], &domain()).unwrap();
        assert!(forms.contains(&org.object().to_vec()), "{length}");
        assert!(org.identifier().is_none(), "{length}");
        verified += 1;
    }
    // After fields 4, 16, 19, 253 and 254.
    assert_eq!(verified, 5);
}

#[test]
fn refuses_other_magic_numbers_and_other_kinds() {
    let mut octets = Signet::from_armor(USER).unwrap().encode();
    octets[1] = 0xfe;
    assert_eq!(Signet::decode(&octets), Err(Error::Magic(1790)));
    let fields = fields_of(&Signet::from_armor(USER).unwrap());
    assert_eq!(decode(Kind::Request, &fields), Err(Error::Reserved(6)));
    assert_eq!(decode(Kind::Organization, &fields), Err(Error::Key(2)));
    assert_eq!(decode(Kind::User, &org_fields()), Err(Error::Truncated));
}

#[test]
fn refuses_fields_out_of_order_repeated_or_behind_the_last() {
    assert_eq!(
        org_with(|fields| fields.swap(4, 5)).unwrap_err(),
        Error::Order(16)
    );
    assert_eq!(org_with(|fields| fields.swap(0, 1)).unwrap_err(), Error::Order(1));
    for (place, id) in [(0, 1), (2, 3), (3, 4), (4, 16), (6, 253), (7, 254), (8, 255)] {
        let repeated = org_with(|fields| fields.insert(place, fields[place].clone()));
        assert_eq!(repeated, Err(Error::Repeated(id)));
    }
    assert!(org_with(|fields| fields.insert(1, fields[1].clone())).is_ok());
    assert_eq!(org_with(|fields| fields.push(vec![0])), Err(Error::Reserved(0)));
    assert_eq!(
        org_with(|fields| fields.push(vec![251, 1, 88, 0, 1, 89])),
        Err(Error::Order(251))
    );
    let mut request = fields_of(&Signet::from_armor(REQUEST).unwrap());
    request.push(vec![3, 1, 0]);
    assert_eq!(decode(Kind::Request, &request), Err(Error::Order(3)), "D2");
}

#[test]
fn refuses_reserved_ids_and_fields_that_run_past_the_end() {
    for id in [5, 15, 28, 159, 161, 212, 250] {
        let inserted = org_with(|fields| {
            let place = fields.iter().position(|field| field[0] > id).unwrap();
            fields.insert(place, vec![id, 1, 88]);
        });
        assert_eq!(inserted, Err(Error::Reserved(id)));
    }
    for end in [
        &[16][..],
        &[16, 2, 88],
        &[251, 1],
        &[251, 1, 88],
        &[251, 1, 88, 0, 1],
        &[252, 0, 0],
    ] {
        let cut = org_with(|fields| fields.splice(4.., [end.to_vec()]).for_each(drop));
        assert_eq!(cut, Err(Error::Truncated), "{end:?}");
    }
}

#[test]
fn an_empty_field_may_be_anywhere_but_last() {
    let inserted = org_with(|fields| fields[5] = vec![19, 0]).unwrap();
    assert_eq!(inserted.field(19), Some(&b""[..]));
    let unnamed = org_with(|fields| fields.insert(6, vec![251, 0, 0, 0])).unwrap();
    assert_eq!(unnamed.undefined_field(b""), Some(&b""[..]));
    let last = org_with(|fields| fields.splice(5.., [vec![19, 0]]).for_each(drop));
    assert_eq!(last, Err(Error::EmptyLast(19)));
}

#[test]
fn refuses_keys_in_any_other_form() {
    let sok = |octets: Vec<u8>| org_with(|fields| fields[1] = octets);
    let good = org_fields()[1].clone();
    assert!(sok(good.clone()).is_ok());
    assert_eq!(sok([&[2, 33], &good[2..35]].concat()), Err(Error::Key(2)), "D19");
    assert_eq!(sok([&[2, 35], &good[2..], &[0]].concat()), Err(Error::Key(2)));
    assert_eq!(sok(vec![2, 0]), Err(Error::Key(2)));
    for (field, octet, id) in [(0, 2, 1), (1, 3, 2), (2, 3, 3)] {
        let changed = org_with(|fields| fields[field][octet] ^= 5);
        assert_eq!(changed, Err(Error::Key(id)), "D20");
    }
    let short = org_with(|fields| fields[2] = [&[3, 0, 32], &fields[2][3..35]].concat());
    assert_eq!(short, Err(Error::Key(3)));
}

#[test]
fn names_the_field_that_is_missing() {
    for (place, id) in [(0, 1), (2, 3), (3, 4), (6, 253), (7, 254)] {
        let removed = org_with(|fields| drop(fields.remove(place)));
        assert_eq!(removed, Err(Error::Missing(id)));
    }
    for (kind, id) in [(Kind::Organization, 1), (Kind::User, 1), (Kind::Request, 1)] {
        assert_eq!(decode(kind, &[]), Err(Error::Missing(id)));
    }
    let user = fields_of(&Signet::from_armor(USER).unwrap());
    assert_eq!(decode(Kind::User, &user[..3]), Err(Error::Missing(6)));
    assert_eq!(decode(Kind::Request, &user[..2]), Err(Error::Missing(5)));
}

#[test]
fn alternate_keys_are_narrower_in_requests() {
    let mut request = fields_of(&Signet::from_armor(REQUEST).unwrap());
    request.insert(2, vec![3, 1, 7]);
    assert_eq!(decode(Kind::Request, &request).unwrap().field(3), Some(&[7][..]));
    let mut user = fields_of(&Signet::from_armor(USER).unwrap());
    user.insert(2, vec![3, 0, 1, 7]);
    assert_eq!(decode(Kind::User, &user).unwrap().field(3), Some(&[7][..]));
}

#[test]
fn an_organization_is_trusted_by_a_listed_key_only() {
    let signet = Signet::from_armor(ORG).unwrap();
    let (listed, other) = (signing(0).verifying_key(), signing(1).verifying_key());
    assert!(verify_org(&signet, &[other, listed], &domain()).is_ok());
    for keys in [&[][..], &[other]] {
        assert_eq!(
            verify_org(&signet, keys, &domain()),
            Err(Error::UnknownPrimaryKey)
        );
    }
    let secondary = [secondary().key];
    assert_eq!(
        verify_org(&signet, &secondary, &domain()),
        Err(Error::UnknownPrimaryKey)
    );
}

#[test]
fn says_which_signature_is_bad() {
    let changed = |place: usize| {
        let signet = org_with(|fields| *fields[place].last_mut().unwrap() ^= 1).unwrap();
        verify_org(&signet, &[signing(0).verifying_key()], &domain()).unwrap_err()
    };
    assert_eq!(changed(3), Error::BadSignature(SignatureKind::Crypto));
    assert_eq!(changed(4), Error::BadSignature(SignatureKind::Full));
    assert_eq!(changed(7), Error::BadSignature(SignatureKind::Id));
    let mut user = fields_of(&Signet::from_armor(USER).unwrap());
    user[2][64] ^= 1;
    let user = decode(Kind::User, &user).unwrap();
    let refused = verify_user(&user, &verified_org(), None, &alice());
    assert_eq!(refused, Err(Error::BadSignature(SignatureKind::Request)), "D4");
}

#[test]
fn a_signet_is_bound_to_its_name() {
    let (org, user) = (
        Signet::from_armor(ORG).unwrap(),
        Signet::from_armor(USER).unwrap(),
    );
    let keys = [signing(0).verifying_key()];
    let as_org = |name: &str| verify_org(&org, &keys, &name.parse().unwrap()).map(drop);
    assert_eq!(as_org("EXAMPLE.com"), Ok(()));
    assert_eq!(as_org("example.org"), Err(Error::WrongName));
    let as_user = |name: &str| verify_user(&user, &verified_org(), None, &name.parse().unwrap()).map(drop);
    assert_eq!(as_user("alice@Example.COM"), Ok(()));
    assert_eq!(as_user("\"alice\"@example.com"), Ok(()));
    for other in ["Alice@example.com", "alice@mail.example.com", "bob@example.com"] {
        assert_eq!(as_user(other), Err(Error::WrongName), "{other}");
    }
}

#[test]
fn a_user_without_identifier_is_of_the_organizations_domain_or_below() {
    let user = Signet::from_armor(USER).unwrap().split(Level::Full).unwrap();
    let as_user = |name: &str| verify_user(&user, &verified_org(), None, &name.parse().unwrap()).map(drop);
    assert_eq!(as_user("anyone@example.com"), Ok(()));
    assert_eq!(as_user("anyone@mail.example.com"), Ok(()));
    assert_eq!(as_user("anyone@badexample.com"), Err(Error::WrongName));
    assert_eq!(as_user("anyone@example.org"), Err(Error::WrongName));
}

#[test]
fn each_verification_wants_its_own_kind() {
    let (org, user) = (
        Signet::from_armor(ORG).unwrap(),
        Signet::from_armor(USER).unwrap(),
    );
    let keys = [signing(0x20).verifying_key()];
    let (expected, found) = (Kind::Organization, Kind::User);
    assert_eq!(
        verify_org(&user, &keys, &domain()),
        Err(Error::Kind { expected, found })
    );
    let (expected, found) = (Kind::User, Kind::Organization);
    let refused = verify_user(&org, &verified_org(), None, &alice());
    assert_eq!(refused, Err(Error::Kind { expected, found }));
    let (expected, found) = (Kind::Request, Kind::User);
    assert_eq!(verify_request(&user, None), Err(Error::Kind { expected, found }));
}

#[test]
fn only_keys_with_the_permission_sign_signets() {
    let key = signing(0);
    let encryption = encryption(0x40).public_key();
    for bits in 0..16 {
        let permissions = Permissions(bits);
        let secondary = SecondaryKey {
            permissions,
            ..secondary()
        };
        let org = OrgBuilder::new(&key, &encryption, &[secondary])
            .unwrap()
            .crypto()
            .unwrap();
        let org = verify_org(&org, &[key.verifying_key()], &domain()).unwrap();
        assert_eq!(Signer::new(&org, &signing(0xc0)).is_ok(), bits & 1 == 1, "{bits}");
        assert_eq!(
            org.message_signing_keys().len(),
            1 + usize::from(bits & 2 == 2),
            "{bits}"
        );
    }
    let stranger = signing(0x20);
    assert_eq!(
        Signer::new(&verified_org(), &stranger).err(),
        Some(Error::NotASigner)
    );
}

#[test]
fn an_organization_has_a_bounded_number_of_secondary_keys() {
    let key = signing(0);
    let with =
        |count: usize| OrgBuilder::new(&key, &encryption(0x40).public_key(), &vec![secondary(); count]);
    let most = with(MAX_SECONDARY_KEYS).unwrap().crypto().unwrap();
    assert!(verify_org(&most, &[key.verifying_key()], &domain()).is_ok());
    assert_eq!(with(MAX_SECONDARY_KEYS + 1).err(), Some(Error::TooManyKeys(65)));

    let mut draft = builder::Draft::continuing(&most, id::SECONDARY_KEY, Kind::Organization);
    draft.push(id::SECONDARY_KEY, &org_fields()[1][2..]).unwrap();
    draft
        .push(
            id::ORG_ENCRYPTION_KEY,
            &encryption(0x40).public_key().to_compressed(),
        )
        .unwrap();
    draft.sign(id::ORG_CRYPTO_SIGNATURE, &key).unwrap();
    let refused = verify_org(&draft.finish().unwrap(), &[key.verifying_key()], &domain());
    assert_eq!(refused, Err(Error::TooManyKeys(65)));
}

#[test]
fn a_rotation_is_not_signed_without_its_predecessor() {
    let asked = rotation_request(&user_keys(0x80, 0xa0), &signing(0x20)).unwrap();
    let open = verify_request(&asked, None).unwrap();
    assert_eq!(open.custody(), Custody::Unproven);
    let key = signing(0);
    let signer = Signer::new(&verified_org(), &key).unwrap();
    assert_eq!(signer.sign(&open).err(), Some(Error::PredecessorUnknown));
    let foreign = rotation_request(&user_keys(0x80, 0xa0), &signing(0x21)).unwrap();
    assert_eq!(
        verify_request(&foreign, Some(&verified_user())),
        Err(Error::CustodyBroken)
    );
    let fresh = request(&user_keys(0x80, 0xa0)).unwrap();
    assert_eq!(
        verify_request(&fresh, Some(&verified_user())),
        Err(Error::CustodyMissing)
    );
}

#[test]
fn editing_keeps_the_keys_and_signs_the_rest_anew() {
    let (key, user) = (signing(0), verified_user());
    let mut edited = Signer::new(&verified_org(), &key).unwrap().edit(&user).unwrap();
    edited.profile_mut().add_undefined(b"colour", b"teal").unwrap();
    let edited = edited.full().unwrap();
    let verified = verify_user(&edited, &verified_org(), None, &alice()).unwrap();
    assert_eq!(verified.level(), Level::Full);
    assert_eq!(verified.crypto_fingerprint(), user.crypto_fingerprint());
    assert_ne!(verified.full_fingerprint(), user.full_fingerprint());
    assert_eq!(verified.signet().field(id::NAME), Some(&b"Alice"[..]));
    assert_eq!(verified.signet().undefined_field(b"colour"), Some(&b"teal"[..]));

    assert!(OrgBuilder::edit(&verified_org(), &key).is_ok());
    assert_eq!(
        OrgBuilder::edit(&verified_org(), &signing(1)).err(),
        Some(Error::NotASigner)
    );
    let foreign = signing(1);
    let other = OrgBuilder::new(&foreign, &encryption(0x40).public_key(), &[]).unwrap();
    let other_org = verify_org(&other.crypto().unwrap(), &[foreign.verifying_key()], &domain()).unwrap();
    let refused = Signer::new(&other_org, &foreign).unwrap().edit(&user).err();
    assert_eq!(refused, Some(Error::BadSignature(SignatureKind::Crypto)));
}

#[test]
fn refuses_to_write_what_does_not_fit() {
    let key = signing(0);
    let with = |id: u8, size: usize| {
        let mut builder = OrgBuilder::new(&key, &encryption(0x40).public_key(), &[]).unwrap();
        builder.profile_mut().add(id, &vec![b'x'; size]).unwrap();
        builder.full().map(drop)
    };
    assert_eq!(with(16, 255), Ok(()));
    assert_eq!(with(16, 256), Err(Error::Content(16)));
    assert_eq!(with(160, 65_535), Ok(()));
    assert_eq!(with(160, 65_536), Err(Error::Content(160)));
    assert_eq!(with(94, 1), Err(Error::Reserved(94)));
    assert_eq!(with(252, 0xff_ffff), Err(Error::TooLarge));
}
