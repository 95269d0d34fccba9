//! Actors and random sources for the tests of this module.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::convert::Infallible;

use bytes::Bytes;
use rand_core::{TryCryptoRng, TryRng};

use super::Message;
use super::content::Content;
use super::padding::Padding;
use super::seal::{self, Parties};
use crate::dime::keys::{OrgKeys, UserKeys};
use crate::dime::signet::{
    OrgBuilder, Signer, VerifiedOrg, VerifiedUser, request, verify_org, verify_request, verify_user,
};
use crate::mail::address::{Domain, Mailbox};

/// Counts up from its seed, one octet at a time; predictable, for tests only.
pub struct Counter(pub u64);

impl TryRng for Counter {
    type Error = Infallible;
    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        rand_core::utils::next_word_via_fill(self)
    }
    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        rand_core::utils::next_word_via_fill(self)
    }
    fn try_fill_bytes(&mut self, octets: &mut [u8]) -> Result<(), Infallible> {
        for octet in octets {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            *octet = (self.0 >> 33) as u8;
        }
        Ok(())
    }
}

impl TryCryptoRng for Counter {}

/// The four actors of the chapter's example.
pub struct Cast {
    pub author: (Mailbox, UserKeys, VerifiedUser),
    pub origin: (Domain, OrgKeys, VerifiedOrg),
    pub destination: (Domain, OrgKeys, VerifiedOrg),
    pub recipient: (Mailbox, UserKeys, VerifiedUser),
}

impl Cast {
    /// Ivan writes to Ryan.
    pub fn new() -> Self {
        let mut rng = Counter(1);
        let origin = org("darkmail.info", &mut rng);
        let destination = org("lavabit.com", &mut rng);
        Self {
            author: user("ivan@darkmail.info", &origin, &mut rng),
            recipient: user("ryan@lavabit.com", &destination, &mut rng),
            origin,
            destination,
        }
    }

    pub fn parties(&self) -> Parties<'_> {
        Parties {
            author: &self.author.0,
            author_keys: &self.author.1,
            author_signet: &self.author.2,
            origin_signet: &self.origin.2,
            destination_signet: &self.destination.2,
            recipient: &self.recipient.0,
            recipient_signet: &self.recipient.2,
        }
    }

    /// What the author sends.
    pub fn sealed(&self, content: &Content) -> Vec<u8> {
        seal::seal(&self.parties(), content, Padding::Libdime, &mut Counter(7)).unwrap()
    }

    /// What the destination gets.
    pub fn signed(&self, content: &Content) -> Vec<u8> {
        let message = Message::parse(self.sealed(content), &Default::default()).unwrap();
        let view = super::origin::open(&message, &self.origin.1).unwrap();
        let checked = view.check(&self.at_origin()).unwrap();
        super::origin::sign(&checked, &self.origin.1.signing, Default::default()).unwrap()
    }

    pub fn at_origin(&self) -> super::origin::Expected<'_> {
        super::origin::Expected {
            submitter: &self.author.0,
            origin: &self.origin.0,
            author: &self.author.2,
            destination: &self.destination.2,
        }
    }

    pub fn at_destination(&self) -> super::destination::Expected<'_> {
        super::destination::Expected {
            peer: &self.origin.0,
            destination: &self.destination.0,
            origin: &self.origin.2,
            recipient: &self.recipient.2,
        }
    }

    pub fn at_recipient(&self) -> super::open::Expected<'_> {
        super::open::Expected {
            address: &self.recipient.0,
            own: &self.recipient.2,
            author: &self.author.2,
            origin: &self.origin.2,
            destination: &self.destination.2,
        }
    }
}

/// The texts of the reference test (`dmime.md` §12, §21).
pub fn content() -> Content {
    let common = "Date: 12 minutes ago\r\nTo: Ryan <ryan@lavabit.com>\r\nFrom: Ivan <ivan@darkmail.info>\r\n\
                  Organization: Lavabit\r\nSubject: Mr.Watson - Come here - I want to see you\r\n";
    Content {
        common_headers: Bytes::from_static(common.as_bytes()),
        other_headers: Bytes::from_static(b"SECRET METADATA\r\n"),
        display: vec![Bytes::from_static(b"This is a test\r\nCan you read this?\r\n")],
        attachments: vec![],
    }
}

pub fn org(domain: &str, rng: &mut Counter) -> (Domain, OrgKeys, VerifiedOrg) {
    let domain: Domain = domain.parse().unwrap();
    let keys = OrgKeys::generate(rng);
    let signet = OrgBuilder::new(&keys.signing, &keys.encryption.public_key(), &[])
        .unwrap()
        .crypto()
        .unwrap();
    let verified = verify_org(&signet, &[keys.signing.verifying_key()], &domain).unwrap();
    (domain, keys, verified)
}

pub fn user(
    address: &str,
    (_, org_keys, org): &(Domain, OrgKeys, VerifiedOrg),
    rng: &mut Counter,
) -> (Mailbox, UserKeys, VerifiedUser) {
    let address: Mailbox = address.parse().unwrap();
    let keys = UserKeys::generate(rng);
    let request = verify_request(&request(&keys).unwrap(), None).unwrap();
    let signet = Signer::new(org, &org_keys.signing)
        .unwrap()
        .sign(&request)
        .unwrap()
        .crypto()
        .unwrap();
    let verified = verify_user(&signet, org, None, &address).unwrap();
    (address, keys, verified)
}

/// The same signet, asked for under another domain.
pub fn renamed_org(org: &VerifiedOrg, keys: &OrgKeys, domain: &str) -> VerifiedOrg {
    let primary = [keys.signing.verifying_key()];
    verify_org(org.signet(), &primary, &domain.parse().unwrap()).unwrap()
}

/// The same signet, asked for under another address.
pub fn renamed(user: &VerifiedUser, org: &VerifiedOrg, address: &str) -> VerifiedUser {
    verify_user(user.signet(), org, None, &address.parse().unwrap()).unwrap()
}
