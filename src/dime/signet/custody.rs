//! Chains of custody over several signets: each step from one signing key to the next signed by the key before it
//! (`signet.md` §13).

use super::Error;
use super::field::{Kind, id};
use super::object::Signet;
use super::ssr::check_request_signature;
use super::user::VerifiedUser;
use super::verify::check;
use crate::crypto::ed25519::VerifyingKey;

/// Signets in one history, at most. Key sets are replaced every two weeks, so this is many years, and each costs whoever
/// follows it signatures to check.
pub const MAX_HISTORY: usize = 1000;

/// A history that does not lead from the key that was known to the signet that is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Broken {
    /// It does not begin with the key that was known.
    #[error("the history does not begin with the key that was known")]
    Start,
    /// The signet with that number, counted from 0, is not a user's signet with a valid signature of its own.
    #[error("signet {0} of the history is not valid: {1}")]
    Signet(usize, Error),
    /// The key of that signet was not signed by the key before it.
    #[error("signet {0} of the history is not signed by the key before it")]
    Link(usize),
    /// It does not end with the signet that is served.
    #[error("the history does not end with the current signet")]
    End,
    /// It is longer than [`MAX_HISTORY`].
    #[error("the history has too many signets")]
    TooLong,
}

/// How a signet of a history follows from the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// By the same signing key; the first one by the key that was known.
    SameKey,
    /// The signing key before it has signed its own.
    Signed,
}

/// Checks that `history`, oldest first, leads from `known` to `current`; how many changes of the signing key there were.
///
/// Signets that follow each other under the same signing key differ in what the organization or that key itself has
/// signed, and need no link. The organization's signatures on older signets are not looked at: its keys of then may be
/// gone, and custody does not depend on them.
pub fn follow(known: &VerifyingKey, history: &[Signet], current: &VerifiedUser) -> Result<usize, Broken> {
    let (links, broken) = walk(known, history);
    if let Some(broken) = broken {
        return Err(broken);
    }
    let last = history.last().and_then(Signet::ssr_fingerprint);
    match last.is_some() && last == current.ssr_fingerprint() {
        true => Ok(links.into_iter().filter(|link| *link == Link::Signed).count()),
        false => Err(Broken::End),
    }
}

/// Goes along `history`, oldest first, from `known`: the link of each signet as far as they hold, and what is wrong with
/// the first one that does not.
pub fn walk(known: &VerifyingKey, history: &[Signet]) -> (Vec<Link>, Option<Broken>) {
    if history.len() > MAX_HISTORY {
        return (Vec::new(), Some(Broken::TooLong));
    }
    let mut key = *known;
    let mut links = Vec::with_capacity(history.len());
    for (number, signet) in history.iter().enumerate() {
        match step(&mut key, number, signet) {
            Ok(link) => links.push(link),
            Err(broken) => return (links, Some(broken)),
        }
    }
    (links, None)
}

fn step(key: &mut VerifyingKey, number: usize, signet: &Signet) -> Result<Link, Broken> {
    let next = self_signed_key(signet).map_err(|error| Broken::Signet(number, error))?;
    match (next == *key, number) {
        (true, _) => Ok(Link::SameKey),
        (false, 0) => Err(Broken::Start),
        (false, _) => {
            check(signet, id::CUSTODY, &[*key]).map_err(|_| Broken::Link(number))?;
            *key = next;
            Ok(Link::Signed)
        }
    }
}

/// The signing key of a user's signet, which has signed the other keys in it.
///
/// Errors: [`Error::Kind`], [`Error::BadSignature`].
pub fn self_signed_key(signet: &Signet) -> Result<VerifyingKey, Error> {
    signet.expect(Kind::User)?;
    check_request_signature(signet)?;
    signet.signing_key()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::dime::keys::{OrgKeys, UserKeys};
    use crate::dime::signet::{
        OrgBuilder, Signer, VerifiedOrg, request, rotation_request, verify_org, verify_request, verify_user,
    };
    use crate::mail::address::Mailbox;

    struct Organization {
        keys: OrgKeys,
        signet: VerifiedOrg,
    }

    impl Organization {
        fn new() -> Self {
            let keys = OrgKeys::generate(&mut rand::rng());
            let builder = OrgBuilder::new(&keys.signing, &keys.encryption.public_key(), &[]).unwrap();
            let signet = builder.identifiable(&"hismail.test".parse().unwrap()).unwrap();
            let own = [keys.signing.verifying_key()];
            Self {
                signet: verify_org(&signet, &own, &"hismail.test".parse().unwrap()).unwrap(),
                keys,
            }
        }

        /// Bob's signet over `keys`, signed by the ones before.
        fn bob(&self, keys: &UserKeys, before: Option<(&UserKeys, &VerifiedUser)>) -> VerifiedUser {
            let bob: Mailbox = "bob@hismail.test".parse().unwrap();
            let request = match before {
                None => request(keys).unwrap(),
                Some((before, _)) => rotation_request(keys, &before.signing).unwrap(),
            };
            let before = before.map(|(_, signet)| signet);
            let request = verify_request(&request, before).unwrap();
            let signer = Signer::new(&self.signet, &self.keys.signing).unwrap();
            let signet = signer.sign(&request).unwrap().identifiable(&bob).unwrap();
            verify_user(&signet, &self.signet, before, &bob).unwrap()
        }
    }

    fn keys() -> UserKeys {
        UserKeys::generate(&mut rand::rng())
    }

    /// Three generations of Bob, and what they are called.
    fn generations(organization: &Organization) -> [VerifiedUser; 3] {
        let [a, b, c] = [keys(), keys(), keys()];
        let first = organization.bob(&a, None);
        let second = organization.bob(&b, Some((&a, &first)));
        let third = organization.bob(&c, Some((&b, &second)));
        [first, second, third]
    }

    #[test]
    fn a_chain_is_followed_over_several_steps() {
        let organization = Organization::new();
        let [a, b, c] = generations(&organization);
        let signets = [&a, &b, &c].map(|user| user.signet().clone());
        assert_eq!(follow(&a.signing_key(), &signets, &c), Ok(2));
        assert_eq!(follow(&b.signing_key(), &signets[1..], &c), Ok(1));
        assert_eq!(follow(&c.signing_key(), &signets[2..], &c), Ok(0));
        let [first, second, third] = signets;
        let repeated = [first.clone(), first, second.clone(), second, third];
        assert_eq!(follow(&a.signing_key(), &repeated, &c), Ok(2));
    }

    #[test]
    fn every_gap_is_found() {
        let organization = Organization::new();
        let [a, b, c] = generations(&organization);
        let [first, second, third] = [&a, &b, &c].map(|user| user.signet().clone());
        let stranger = organization.bob(&keys(), None);
        let foreign = stranger.signet().clone();
        let known = a.signing_key();
        let cases: [(&[Signet], Broken); 8] = [
            (&[], Broken::End),
            (&[second.clone(), third.clone()], Broken::Start),
            (&[first.clone(), third.clone()], Broken::Link(1)),
            (&[first.clone(), second.clone()], Broken::End),
            (&[first.clone(), second.clone(), foreign.clone()], Broken::Link(2)),
            (&[first.clone(), foreign.clone(), third.clone()], Broken::Link(1)),
            (&[first.clone(), third.clone(), second.clone()], Broken::Link(1)),
            (
                &[first.clone(), organization.signet.signet().clone()],
                Broken::Signet(
                    1,
                    Error::Kind {
                        expected: Kind::User,
                        found: Kind::Organization,
                    },
                ),
            ),
        ];
        for (history, broken) in cases {
            assert_eq!(follow(&known, history, &c), Err(broken));
        }
        // A new start under another key is not the one that was known.
        assert_eq!(follow(&known, &[foreign], &stranger), Err(Broken::Start));
    }

    #[test]
    fn a_history_without_end_is_not_followed() {
        let organization = Organization::new();
        let user = organization.bob(&keys(), None);
        let mut history = vec![user.signet().clone(); MAX_HISTORY];
        assert_eq!(follow(&user.signing_key(), &history, &user), Ok(0));
        history.push(user.signet().clone());
        assert_eq!(follow(&user.signing_key(), &history, &user), Err(Broken::TooLong));
    }

    #[test]
    fn the_signet_at_the_end_is_the_one_that_is_served() {
        let organization = Organization::new();
        let [a, b, _] = generations(&organization);
        let history = [a.signet().clone(), b.signet().clone()];
        assert_eq!(follow(&a.signing_key(), &history, &a), Err(Broken::End));
    }
}
