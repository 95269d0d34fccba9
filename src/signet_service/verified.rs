//! Signets that have been verified, so that the same question is not worked out again for each message.
//!
//! Whether a signet verifies depends on its octets, the keys that vouch for it and the name it is for, and on nothing
//! else: not on the time, and not on whether it is the current one. An answer is found again under a hash of all of these, so
//! it never becomes wrong. Which signet and which keys to ask about is looked up each time, in the store, in the
//! management record, at the domain's host: a signet that was revoked or replaced, or whose organization has other keys
//! now, is another question or none. Only success is remembered. No private key is ever here.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::base::recent::Recent;
use crate::crypto::ed25519::VerifyingKey;
use crate::crypto::hash::{DIGEST_SIZE, Sha512};
use crate::dime::signet::{Error, Signet, VerifiedOrg, VerifiedUser, verify_org, verify_user};
use crate::mail::address::{Domain, Mailbox};

/// Memory for signets of organizations and of users. Others decide how large theirs are.
const MOST_OCTETS: (usize, usize) = (4 << 20, 32 << 20);

/// Times that a verified signet holds its octets: as an object, in fields, in its key set as octets and as keys, and around them.
const COPIES: usize = 5;

/// Everything that an answer depends on, hashed.
type Question = [u8; DIGEST_SIZE];

/// Answers to earlier questions.
pub(super) struct Verified {
    organizations: Mutex<Recent<Question, VerifiedOrg>>,
    users: Mutex<Recent<Question, VerifiedUser>>,
}

impl Default for Verified {
    fn default() -> Self {
        Self {
            organizations: Mutex::new(Recent::new(MOST_OCTETS.0)),
            users: Mutex::new(Recent::new(MOST_OCTETS.1)),
        }
    }
}

impl Verified {
    /// As [`verify_org`], of a binary object.
    pub(super) fn organization(
        &self,
        object: &[u8],
        keys: &[VerifyingKey],
        domain: &Domain,
    ) -> Result<VerifiedOrg, Error> {
        let keys_octets: Vec<u8> = keys.iter().flat_map(|key| key.0).collect();
        let question = question(&[domain.as_str().as_bytes(), &keys_octets, object]);
        remembered(&self.organizations, question, object.len(), || {
            verify_org(&Signet::decode(object)?, keys, domain)
        })
    }

    /// As [`verify_user`] without the signet before it, of a binary object.
    pub(super) fn user(
        &self,
        object: &[u8],
        organization: &VerifiedOrg,
        address: &Mailbox,
    ) -> Result<VerifiedUser, Error> {
        let domain = organization.domain().as_str().as_bytes();
        let name = address.to_string();
        let question = question(&[domain, organization.object(), name.as_bytes(), object]);
        remembered(&self.users, question, object.len(), || {
            verify_user(&Signet::decode(object)?, organization, None, address)
        })
    }
}

fn remembered<V: Clone>(
    answers: &Mutex<Recent<Question, V>>,
    question: Question,
    octets: usize,
    verify: impl FnOnce() -> Result<V, Error>,
) -> Result<V, Error> {
    if let Some(known) = lock(answers).get(&question) {
        return Ok(known.clone());
    }
    let verified = verify()?;
    let octets = COPIES * octets + size_of::<V>() + question.len();
    lock(answers).insert(question, verified.clone(), octets);
    Ok(verified)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Each part with its length before it, so that no two questions read alike.
pub(super) fn question(parts: &[&[u8]]) -> Question {
    let mut hash = Sha512::new();
    for part in parts {
        hash.update(&(part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finish()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::dime::keys::{OrgKeys, UserKeys};
    use crate::dime::signet::{OrgBuilder, Signer, request, verify_request};

    fn domain(name: &str) -> Domain {
        name.parse().unwrap()
    }

    fn address(name: &str) -> Mailbox {
        name.parse().unwrap()
    }

    fn organization(keys: &OrgKeys) -> Vec<u8> {
        let builder = OrgBuilder::new(&keys.signing, &keys.encryption.public_key(), &[]);
        builder.unwrap().full().unwrap().encode()
    }

    fn user(organization: &VerifiedOrg, keys: &OrgKeys) -> Vec<u8> {
        let asked = request(&UserKeys::generate(&mut rand::rng())).unwrap();
        let asked = verify_request(&asked, None).unwrap();
        let signer = Signer::new(organization, &keys.signing).unwrap();
        signer.sign(&asked).unwrap().full().unwrap().encode()
    }

    #[test]
    fn an_answer_is_for_the_same_signet_keys_and_name_alone() {
        let verified = Verified::default();
        let (keys, others) = (
            OrgKeys::generate(&mut rand::rng()),
            OrgKeys::generate(&mut rand::rng()),
        );
        let (own, other) = (keys.signing.verifying_key(), others.signing.verifying_key());
        let signet = organization(&keys);
        let name = domain("hismail.test");
        let first = verified.organization(&signet, &[own], &name).unwrap();
        assert_eq!(verified.organization(&signet, &[own], &name).unwrap(), first);
        assert_eq!(
            verified.organization(&signet, &[other], &name),
            Err(Error::UnknownPrimaryKey)
        );
        let elsewhere = verified
            .organization(&signet, &[own], &domain("other.test"))
            .unwrap();
        assert_eq!(elsewhere.domain(), &domain("other.test"));

        let bob = user(&first, &keys);
        let of_bob = verified.user(&bob, &first, &address("bob@hismail.test")).unwrap();
        assert_eq!(
            verified.user(&bob, &first, &address("bob@hismail.test")).unwrap(),
            of_bob
        );
        let of_carol = verified
            .user(&bob, &first, &address("carol@hismail.test"))
            .unwrap();
        assert!(
            of_carol.is_of(&address("carol@hismail.test")) && !of_carol.is_of(&address("bob@hismail.test"))
        );
        assert_eq!(
            verified.user(&bob, &first, &address("bob@other.test")),
            Err(Error::WrongName)
        );
        // The organization has other keys by now.
        let replaced = verified
            .organization(&organization(&others), &[other], &name)
            .unwrap();
        let refused = verified.user(&bob, &replaced, &address("bob@hismail.test"));
        assert!(matches!(refused, Err(Error::BadSignature(_))), "{refused:?}");
    }

    #[test]
    fn a_failure_is_not_remembered_and_a_changed_octet_is_another_question() {
        let verified = Verified::default();
        let keys = OrgKeys::generate(&mut rand::rng());
        let own = [keys.signing.verifying_key()];
        let name = domain("hismail.test");
        let good = organization(&keys);
        verified.organization(&good, &own, &name).unwrap();
        let mut forged = good.clone();
        *forged.last_mut().unwrap() ^= 1;
        for _ in 0..2 {
            let refused = verified.organization(&forged, &own, &name);
            assert!(matches!(refused, Err(Error::BadSignature(_))), "{refused:?}");
        }
    }
}
