//! The actors of the vectors, with their keys and every signet that was made for them.

use std::sync::LazyLock;

use dimed::crypto::ed25519::VerifyingKey;
use dimed::dime::keys::{OrgKeys, UserKeys};
use dimed::dime::signet::{Signet, VerifiedOrg, VerifiedUser, verify_org, verify_user};
use dimed::mail::address::{Domain, Mailbox};

/// A file of the vectors that libdime made.
macro_rules! vector {
    ($path:literal) => {
        include_bytes!(concat!("../../vectors/libdime/", $path)).as_slice()
    };
}
pub(crate) use vector;

/// An organization.
pub struct Org {
    pub domain: Domain,
    pub keys: OrgKeys,
    pub signet: VerifiedOrg,
}

/// A user.
pub struct User {
    pub address: Mailbox,
    pub keys: UserKeys,
    pub signet: VerifiedUser,
}

/// Ada of Alpha writes to Ben of Bravo.
pub struct Cast {
    pub author: User,
    pub origin: Org,
    pub destination: Org,
    pub recipient: User,
}

/// The one cast of all targets.
pub static CAST: LazyLock<Cast> = LazyLock::new(|| {
    let origin = org(
        "alpha.example",
        vector!("keys/origin.key"),
        vector!("signets/origin-id.bin"),
    );
    let destination = org(
        "bravo.example",
        vector!("keys/destination.key"),
        vector!("signets/destination-id.bin"),
    );
    Cast {
        author: user(
            "ada@alpha.example",
            &origin,
            vector!("keys/author.key"),
            vector!("signets/author-id.bin"),
        ),
        recipient: user(
            "ben@bravo.example",
            &destination,
            vector!("keys/recipient.key"),
            vector!("signets/recipient-id.bin"),
        ),
        origin,
        destination,
    }
});

/// Every signet that the keys of the origin have ever signed, for itself or for a user.
pub static SIGNED_BY_ORIGIN: LazyLock<Vec<Signet>> = LazyLock::new(|| {
    [
        vector!("signets/origin.signet"),
        vector!("signets/origin-rich.signet"),
        vector!("signets/origin-long.signet"),
        vector!("sok/origin-sok.signet"),
        vector!("signets/author.signet"),
        vector!("signets/author-rich.signet"),
        vector!("signets/colleague.signet"),
        vector!("rotation/author-2.signet"),
        vector!("rotation/author-3.signet"),
    ]
    .into_iter()
    .map(|armor| Signet::from_armor(text(armor)).expect("a signet of the vectors"))
    .collect()
});

fn org(domain: &str, keys: &[u8], signet: &[u8]) -> Org {
    let domain: Domain = domain.parse().expect("a domain");
    let keys = OrgKeys::from_armor(text(keys)).expect("keys of the vectors");
    let signet = Signet::decode(signet).expect("a signet of the vectors");
    let primary: VerifyingKey = keys.signing.verifying_key();
    let signet = verify_org(&signet, &[primary], &domain).expect("a valid signet");
    Org { domain, keys, signet }
}

fn user(address: &str, org: &Org, keys: &[u8], signet: &[u8]) -> User {
    let address: Mailbox = address.parse().expect("an address");
    let keys = UserKeys::from_armor(text(keys)).expect("keys of the vectors");
    let signet = Signet::decode(signet).expect("a signet of the vectors");
    let signet = verify_user(&signet, &org.signet, None, &address).expect("a valid signet");
    User {
        address,
        keys,
        signet,
    }
}

fn text(octets: &[u8]) -> &str {
    std::str::from_utf8(octets).expect("armor is text")
}
