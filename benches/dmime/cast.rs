//! Two organizations with a user each.

use dimed::dime::keys::{OrgKeys, UserKeys};
use dimed::dime::signet::{
    OrgBuilder, Signer, VerifiedOrg, VerifiedUser, request, verify_org, verify_request, verify_user,
};
use dimed::mail::address::{Domain, Mailbox};

pub struct Cast {
    pub author: User,
    pub origin: Org,
    pub destination: Org,
    pub recipient: User,
}

pub struct Org {
    pub domain: Domain,
    pub keys: OrgKeys,
    pub signet: VerifiedOrg,
}

pub struct User {
    pub address: Mailbox,
    pub keys: UserKeys,
    pub signet: VerifiedUser,
}

impl Cast {
    pub fn new() -> Self {
        let (origin, destination) = (Org::new("hermail.test"), Org::new("hismail.test"));
        Self {
            author: User::new("alice@hermail.test", &origin),
            recipient: User::new("bob@hismail.test", &destination),
            origin,
            destination,
        }
    }
}

impl Org {
    fn new(domain: &str) -> Self {
        let domain: Domain = domain.parse().unwrap();
        let keys = OrgKeys::generate(&mut rand::rng());
        let builder = OrgBuilder::new(&keys.signing, &keys.encryption.public_key(), &[]).unwrap();
        let signet = verify_org(&builder.full().unwrap(), &[keys.signing.verifying_key()], &domain).unwrap();
        Self { domain, keys, signet }
    }
}

impl User {
    fn new(address: &str, org: &Org) -> Self {
        let address: Mailbox = address.parse().unwrap();
        let keys = UserKeys::generate(&mut rand::rng());
        let request = verify_request(&request(&keys).unwrap(), None).unwrap();
        let signer = Signer::new(&org.signet, &org.keys.signing).unwrap();
        let signet = signer.sign(&request).unwrap().full().unwrap();
        let signet = verify_user(&signet, &org.signet, None, &address).unwrap();
        Self {
            address,
            keys,
            signet,
        }
    }
}

/// Lines of text.
pub fn text(size: usize) -> Vec<u8> {
    let line = b"One line of text for Bob to read.\r\n";
    line.iter().copied().cycle().take(size).collect()
}

pub const COMMON_HEADERS: &[u8] = b"Date: Mon, 23 Nov 2026 10:00:00 +0000\r\nTo: bob@hismail.test\r\n\
      From: alice@hermail.test\r\nSubject: s\r\n";
pub const OTHER_HEADERS: &[u8] = b"MIME-Version: 1.0\r\n";
