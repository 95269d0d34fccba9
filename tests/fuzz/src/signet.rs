//! Signets, signing requests, and the key sets in them.

use dimed::crypto::ed25519::{SigningKey, VerifyingKey};
use dimed::dime::key_set::{Draft, Error, KeySet, SignedKeySet};
use dimed::dime::signet::{
    Kind, Level, Profile, Signet, VerifiedOrg, verify_org, verify_request, verify_user,
};
use dimed::mail::address::{Domain, Mailbox};

use super::actors::{CAST, SIGNED_BY_ORIGIN};

const LEVELS: [Level; 3] = [Level::Crypto, Level::Full, Level::Id];

/// What is read is written again octet for octet, in both forms; and nothing verifies that nobody signed.
pub fn signet(input: &[u8]) {
    if let Ok(signet) = Signet::decode(input) {
        assert_eq!(signet.encode(), input, "two encodings of one signet");
        check(&signet);
    }
    if let Ok(text) = std::str::from_utf8(input)
        && let Ok(signet) = Signet::from_armor(text)
    {
        check(&signet);
    }
}

fn check(signet: &Signet) {
    assert_eq!(Signet::from_armor(&signet.to_armor()).as_ref(), Ok(signet));
    assert!(signet.fields().is_sorted_by_key(|field| field.id));
    assert!(
        signet
            .fields()
            .all(|field| field.id == 251 || field.name.is_none())
    );
    let _ = Profile::of(signet);
    for level in LEVELS {
        check_part(signet, level);
    }
    check_signatures(signet);
    let _ = SignedKeySet::of(signet);
}

/// A part is the front of the whole, a signet itself, and has the fingerprint that the whole has at that level.
fn check_part(signet: &Signet, level: Level) {
    let Some(part) = signet.split(level) else { return };
    assert!(signet.encode()[5..].starts_with(&part.encode()[5..]));
    assert_eq!(part.level(), Some(level));
    assert_eq!(Signet::decode(&part.encode()).as_ref(), Ok(&part));
    assert_eq!(part.crypto_fingerprint(), signet.crypto_fingerprint());
    assert_eq!(part.ssr_fingerprint(), signet.ssr_fingerprint());
    if level != Level::Crypto {
        assert_eq!(part.full_fingerprint(), signet.full_fingerprint());
    }
}

/// Whatever verifies under the origin's keys is, octet for octet, something that the origin signed.
fn check_signatures(signet: &Signet) {
    let origin = &CAST.origin;
    let primary: VerifyingKey = origin.keys.signing.verifying_key();
    for domain in [&origin.domain, &CAST.destination.domain] {
        if let Ok(org) = verify_org(signet, &[primary], domain) {
            assert_known(org.signet());
            assert_signed_name(&org, domain);
        }
    }
    if let Ok(user) = verify_user(signet, &origin.signet, None, &CAST.author.address) {
        assert_known(user.signet());
        assert!(user.is_of(&CAST.author.address));
    }
    if let Ok(request) = verify_request(signet, None) {
        assert_eq!(request.signet(), signet);
    }
    let stranger: Mailbox = "mallory@elsewhere.example".parse().unwrap();
    assert!(verify_user(signet, &origin.signet, None, &stranger).is_err());
}

fn assert_signed_name(org: &VerifiedOrg, domain: &Domain) {
    let named = org.identifier().and_then(|name| std::str::from_utf8(name).ok());
    assert!(named.is_none_or(|name| name.parse().as_ref() == Ok(domain)));
}

fn assert_known(verified: &Signet) {
    let level = verified.level().expect("a verified signet has a level");
    let known = SIGNED_BY_ORIGIN
        .iter()
        .any(|signed| signed.split(level).as_ref() == Some(verified));
    assert!(known, "a signet that the origin never signed");
}

/// What a key set says is written again octet for octet; one without an owner's signature is none.
///
/// The signature in the input is nobody's, so that after it was refused, the fields are signed for the input.
pub fn key_set(input: &[u8]) {
    let owner = SigningKey::from_seed(&[7; 32]);
    let kind = match input.first() {
        Some(first) if first & 1 == 1 => Kind::User,
        _ => Kind::Organization,
    };
    let fields = input.get(1..).unwrap_or_default();
    let Err(unsigned) = SignedKeySet::decode(kind, &owner.verifying_key(), fields) else {
        panic!("a key set that its owner never signed");
    };
    let value = signed(kind, &owner, fields);
    match SignedKeySet::decode(kind, &owner.verifying_key(), &value) {
        Ok(set) => check_set(kind, &owner, &set, &value),
        Err(error) => assert!(matches!(error, Error::Layout(_)), "{error}, {unsigned}"),
    }
}

/// The input of the signature in our own words (`dmime2.md` §3.1).
fn signed(kind: Kind, owner: &SigningKey, fields: &[u8]) -> Vec<u8> {
    let magic = kind.magic().to_be_bytes();
    let signer = owner.verifying_key();
    let input = [b"D/MIME 2 key set\0", &magic[..], &signer.0, fields].concat();
    [fields, &owner.sign(&input).0].concat()
}

fn check_set(kind: Kind, owner: &SigningKey, set: &SignedKeySet, value: &[u8]) {
    let other = match kind {
        Kind::User => Kind::Organization,
        _ => Kind::User,
    };
    let error = SignedKeySet::decode(other, &owner.verifying_key(), value).unwrap_err();
    assert_eq!(error, Error::Signature, "the kind of the signet is signed");
    for now in [
        0,
        set.created(),
        set.expires().wrapping_sub(1),
        set.expires(),
        u64::MAX,
    ] {
        if let Ok(accepted) = set.accept(now) {
            check_accepted(kind, owner, &accepted, now, value);
        }
    }
}

fn check_accepted(kind: Kind, owner: &SigningKey, set: &KeySet, now: u64, value: &[u8]) {
    assert!(set.created() <= now.saturating_add(3600) && now < set.expires());
    assert!(set.created() < set.expires() && set.expires() - set.created() <= 34_560_000);
    let keys: Vec<_> = set
        .suites()
        .map(|suite| set.key(suite).unwrap().clone())
        .collect();
    let draft = Draft {
        created: set.created(),
        expires: set.expires(),
        keys,
    };
    let again = draft.sign(kind, owner).expect("what was accepted can be written");
    // Keys of suites that nobody knows yet are skipped, so only their absence makes the octets equal.
    let unknown_suites = usize::from(value[17]) != set.suites().count();
    assert!(unknown_suites || again == value, "two encodings of one key set");
}
