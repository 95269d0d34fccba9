//! `key-set/`: signets with good and bad key sets, and pins.

use dimed::crypto::suite::hpke::Suite;
use dimed::dime::key_set::{Capability, Change, KeySet, Owner, Pin, capability};
use dimed::dime::signet::{Kind, verify_org, verify_user};
use serde_json::Value;

use super::{Set, signet};
use crate::vectors::{unhex, unhex_array};

#[test]
fn every_key_set_is_judged_as_the_chapter_says() {
    let set = Set::load();
    for case in set.files("key-set") {
        let name = &case["case"];
        let found = judge(&set, &case);
        assert_eq!(case["state"], found.state().name(), "{name}: {found:?}");
        assert_eq!(case["rule"].as_str(), found.rule(), "{name}: {found:?}");
        if let Some(keys) = found.keys() {
            check_keys(&case, keys);
        }
    }
}

fn judge(set: &Set, case: &Value) -> Capability {
    let signet = signet(&case["signet"]);
    let owner = case["owner"].as_str().expect("a name");
    let now = case["now"].as_u64().expect("a time");
    let pin = pin(&case["pin"]);
    let change = match case["new_key_accepted"].as_bool().expect("a flag") {
        true => Change::Accepted,
        false => Change::Unproven,
    };
    match signet.kind() {
        Kind::Organization => {
            let key = signet.field(1).and_then(|field| field.get(1..)).expect("a key");
            let keys = [dimed::crypto::ed25519::VerifyingKey(
                key.try_into().expect("a key"),
            )];
            let verified = verify_org(&signet, &keys, &owner.parse().expect("a domain")).ok();
            capability(verified.as_ref().map(Owner::from), pin.as_ref(), change, now)
        }
        _ => {
            let organization = set.organization(case["organization"].as_str().expect("a name"));
            let address = owner.parse().expect("an address");
            let verified = verify_user(&signet, &organization, None, &address).ok();
            capability(verified.as_ref().map(Owner::from), pin.as_ref(), change, now)
        }
    }
}

fn pin(value: &Value) -> Option<Pin> {
    (!value.is_null()).then(|| Pin {
        signing_key: dimed::crypto::ed25519::VerifyingKey(unhex_array(&value["signing_key"])),
        created: value["created"].as_u64().expect("a time"),
        ever_usable: true,
    })
}

fn check_keys(case: &Value, keys: &KeySet) {
    let name = &case["case"];
    assert_eq!(case["created"].as_u64(), Some(keys.created()), "{name}");
    assert_eq!(case["expires"].as_u64(), Some(keys.expires()), "{name}");
    for suite in Suite::ALL {
        let expected = &case["keys"][suite.id().to_string()];
        let expected = (!expected.is_null()).then(|| unhex(expected));
        let found = keys.key(suite).map(|key| key.as_bytes().to_vec());
        assert_eq!(expected, found, "{name} {suite}");
    }
    let full = signet(&case["signet"]).full_fingerprint().expect("a full form");
    assert_eq!(unhex(&case["full_fingerprint"]), full.0, "{name}");
}
