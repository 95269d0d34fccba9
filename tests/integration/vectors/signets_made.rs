//! Kind `signet`: the same objects made anew from the private keys of the set.

use dimed::crypto::ed25519::SigningKey;
use dimed::dime::keys::{OrgKeys, UserKeys};
use dimed::dime::signet::{
    Kind, Level, OrgBuilder, Profile, Signer, Signet, id, request, rotation_request, verify_org,
    verify_request, verify_user,
};
use serde_json::Value;

use super::judge::{Judge, address_of, companions, domain_of};
use super::{Set, unhex, unhex_array};

/// Private keys of a set.
struct Keys {
    orgs: Vec<OrgKeys>,
    users: Vec<UserKeys>,
    secondary: Vec<SigningKey>,
}

impl Keys {
    fn of(set: &Set) -> Self {
        let texts: Vec<_> = set
            .entries("keys")
            .iter()
            .map(|entry| set.text(&entry["files"]["pem"]))
            .collect();
        let secondary = set
            .entries("signet")
            .into_iter()
            .flat_map(|entry| {
                entry["expected"]["secondary_keys"]
                    .as_array()
                    .into_iter()
                    .flatten()
            })
            .map(|key| SigningKey::from_seed(&unhex_array(&key["private"])));
        Self {
            orgs: texts
                .iter()
                .filter_map(|text| OrgKeys::from_armor(text).ok())
                .collect(),
            users: texts
                .iter()
                .filter_map(|text| UserKeys::from_armor(text).ok())
                .collect(),
            secondary: secondary.collect(),
        }
    }

    fn org(&self, signet: &Signet) -> Option<&OrgKeys> {
        let key = signet.field(id::SIGNING_KEY)?.get(1..)?;
        self.orgs
            .iter()
            .find(|keys| keys.signing.verifying_key().0 == key)
    }

    fn user(&self, signet: &Signet) -> Option<&UserKeys> {
        let key = signet.field(id::SIGNING_KEY)?.get(1..)?;
        self.users
            .iter()
            .find(|keys| keys.signing.verifying_key().0 == key)
    }

    fn signers(&self) -> impl Iterator<Item = &SigningKey> {
        self.orgs.iter().map(|keys| &keys.signing).chain(&self.secondary)
    }
}

#[test]
fn signets_made_anew_from_the_private_keys_are_the_same_octets() {
    let set = Set::load();
    let judge = Judge::new(&set);
    let keys = Keys::of(&set);
    let mut made = 0;
    for entry in set.entries("signet") {
        let signet = judge.object(entry);
        let anew = match (signet.kind(), signet.level()) {
            (Kind::Organization, Some(Level::Id)) => remake_org(&judge, &keys, entry, &signet),
            (Kind::Request, _) => remake_request(&keys, entry, &signet),
            _ => continue,
        };
        assert_eq!(anew.encode(), signet.encode(), "{}", entry["id"]);
        made += 1;
    }
    assert_ne!(made, 0);
}

fn remake_org(judge: &Judge<'_>, keys: &Keys, entry: &Value, signet: &Signet) -> Signet {
    let keys = keys.org(signet).expect("the key file of every organization");
    let record = judge.primary_keys(signet, &companions(entry));
    let verified = verify_org(signet, &record, &domain_of(signet)).unwrap();
    OrgBuilder::new(
        &keys.signing,
        &keys.encryption.public_key(),
        verified.secondary_keys(),
    )
    .unwrap()
    .with_profile(Profile::of(signet))
    .identifiable(&domain_of(signet))
    .unwrap()
}

fn remake_request(keys: &Keys, entry: &Value, signet: &Signet) -> Signet {
    let own = keys.user(signet).expect("the key file of every user");
    match &entry["expected"]["custody_signer_public"] {
        Value::Null => request(own).unwrap(),
        signer => {
            let signer = unhex(signer);
            let previous = keys
                .users
                .iter()
                .find(|keys| keys.signing.verifying_key().0 == *signer);
            rotation_request(own, &previous.expect("the previous key file").signing).unwrap()
        }
    }
}

#[test]
fn requests_signed_anew_by_the_organization_are_the_same_octets() {
    let set = Set::load();
    let judge = Judge::new(&set);
    let keys = Keys::of(&set);
    let users = set
        .entries("signet")
        .into_iter()
        .filter(|entry| entry["expected"]["type"] == "user" || !entry["files"]["org"].is_null());
    let mut made = 0;
    for entry in users {
        let signet = judge.object(entry);
        let companions = companions(entry);
        let org = judge.organization(&companions).unwrap();
        let address = address_of(&signet, &org);
        let previous = judge.previous(&companions, &org).unwrap();
        if signet.level() != Some(Level::Id)
            || verify_user(&signet, &org, previous.as_ref(), &address).is_err()
        {
            continue;
        }
        let request = signet_request(&keys, &judge, &companions, &signet);
        let request = verify_request(&request, previous.as_ref()).unwrap();
        let anew = keys
            .signers()
            .filter_map(|key| Signer::new(&org, key).ok())
            .map(|signer| {
                let user = signer.sign(&request).unwrap().with_profile(Profile::of(&signet));
                user.identifiable(&address).unwrap()
            });
        assert!(anew.into_iter().any(|anew| anew == signet), "{}", entry["id"]);
        made += 1;
    }
    assert_ne!(made, 0);
}

/// The request that a user signet was made from, made anew.
fn signet_request(keys: &Keys, judge: &Judge<'_>, companions: &Value, signet: &Signet) -> Signet {
    let own = keys.user(signet).expect("the key file of every user");
    match companions["previous"].is_null() {
        true => request(own).unwrap(),
        false => {
            let previous = judge.load(&companions["previous"]).unwrap();
            rotation_request(own, &keys.user(&previous).expect("the previous key file").signing).unwrap()
        }
    }
}
