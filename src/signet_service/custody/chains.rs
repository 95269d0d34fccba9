//! Histories gone along, at a bound cost.
//!
//! Others decide how long a history is, up to a thousand signets with two signatures each, and every message may need one
//! gone along. So only as many are at a time as there are processors, away from the threads that serve sessions; one that
//! does not even list the signet looked for is not gone along at all; and what came out is remembered: what is proven for as
//! long as there is room, and that nothing is proven for [`FAILED_FOR`].

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;

use super::Standing;
use crate::base::recent::Recent;
use crate::base::time::Timestamp;
use crate::crypto::ed25519::VerifyingKey;
use crate::dime::fingerprint::SsrFingerprint;
use crate::dime::signet::{MAX_HISTORY, Signet, walk};

/// How long a broken chain is taken for broken without looking again. Mail waits for longer than that.
const FAILED_FOR: Duration = Duration::from_secs(10 * 60);

/// Memory for outcomes.
const MOST_OCTETS: usize = 1 << 20;

/// What one takes, its place in a table included.
const OUTCOME_OCTETS: usize = 256;

/// Everything that an outcome depends on, hashed.
type Question = [u8; 64];

/// What has been found out, and leave to find out more.
pub struct Chains {
    turns: Arc<Semaphore>,
    outcomes: Mutex<Recent<Question, (Timestamp, Option<Standing>)>>,
}

/// What a history is to lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Goal {
    /// The signet with this signing request.
    Request(SsrFingerprint),
    /// Any signet with this signing key.
    Key(VerifyingKey),
}

/// What a history shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shown {
    /// The goal is not in it.
    Nothing,
    /// The goal is in it, but does not follow from the key at its start.
    Broken,
    /// The goal follows.
    Proven,
}

impl Default for Chains {
    fn default() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        Self {
            turns: Arc::new(Semaphore::new(processors)),
            outcomes: Mutex::new(Recent::new(MOST_OCTETS)),
        }
    }
}

impl Chains {
    /// What came out before: how the signing key stands, or that nothing shows it.
    pub(super) fn outcome(&self, question: &Question, now: Timestamp) -> Option<Option<Standing>> {
        let (at, standing) = *self.outcomes().get(question)?;
        // One from the future was found before the clock was set back.
        let counts = standing.is_some() || (at <= now && now < at.after(FAILED_FOR));
        counts.then_some(standing)
    }

    /// Remembers what came out.
    pub(super) fn remember(&self, question: Question, standing: Option<Standing>, now: Timestamp) {
        self.outcomes().insert(question, (now, standing), OUTCOME_OCTETS);
    }

    /// Goes along `history`, oldest first, from `start`, once it is its turn.
    pub(super) async fn follow(&self, history: Vec<Vec<u8>>, start: VerifyingKey, goal: Goal) -> Shown {
        // It is never closed.
        let turn = Arc::clone(&self.turns).acquire_owned().await;
        let followed = tokio::task::spawn_blocking(move || {
            // Kept until the work ends, also when nobody waits for it any more.
            let _turn = turn;
            follow(&history, &start, goal)
        });
        // From work that did not end nothing follows.
        followed.await.unwrap_or(Shown::Broken)
    }

    fn outcomes(&self) -> MutexGuard<'_, Recent<Question, (Timestamp, Option<Standing>)>> {
        self.outcomes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Chains {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Chains")
    }
}

/// No signature is checked before the goal is found, and none behind it.
fn follow(history: &[Vec<u8>], start: &VerifyingKey, goal: Goal) -> Shown {
    let mut up_to_goal = Vec::new();
    for object in history.iter().take(MAX_HISTORY) {
        let Ok(signet) = Signet::decode(object) else {
            return Shown::Broken;
        };
        let is_goal = goal.is(&signet);
        up_to_goal.push(signet);
        if is_goal {
            return match walk(start, &up_to_goal) {
                (_, None) => Shown::Proven,
                (_, Some(_)) => Shown::Broken,
            };
        }
    }
    Shown::Nothing
}

impl Goal {
    fn is(&self, signet: &Signet) -> bool {
        match self {
            Self::Request(print) => signet.ssr_fingerprint().as_ref() == Some(print),
            Self::Key(key) => signet.signing_key().as_ref() == Ok(key),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::dime::keys::{OrgKeys, UserKeys};
    use crate::dime::signet::{
        OrgBuilder, Signer, VerifiedUser, request, rotation_request, verify_org, verify_request, verify_user,
    };
    use crate::mail::address::{Domain, Mailbox};

    /// Signets of Bob, each with keys that the ones before have signed.
    fn generations(count: usize) -> Vec<VerifiedUser> {
        let domain: Domain = "hismail.test".parse().unwrap();
        let bob: Mailbox = "bob@hismail.test".parse().unwrap();
        let keys = OrgKeys::generate(&mut rand::rng());
        let builder = OrgBuilder::new(&keys.signing, &keys.encryption.public_key(), &[]).unwrap();
        let signet = builder.identifiable(&domain).unwrap();
        let organization = verify_org(&signet, &[keys.signing.verifying_key()], &domain).unwrap();
        let signer = Signer::new(&organization, &keys.signing).unwrap();
        let mut history: Vec<(UserKeys, VerifiedUser)> = Vec::new();
        for _ in 0..count {
            let next = UserKeys::generate(&mut rand::rng());
            let before = history.last();
            let asked = match before {
                None => request(&next).unwrap(),
                Some((keys, _)) => rotation_request(&next, &keys.signing).unwrap(),
            };
            let before = before.map(|(_, user)| user);
            let asked = verify_request(&asked, before).unwrap();
            let signet = signer.sign(&asked).unwrap().identifiable(&bob).unwrap();
            let user = verify_user(&signet, &organization, before, &bob).unwrap();
            history.push((next, user));
        }
        history.into_iter().map(|(_, user)| user).collect()
    }

    fn objects(users: &[&VerifiedUser]) -> Vec<Vec<u8>> {
        users.iter().map(|user| user.object().to_vec()).collect()
    }

    fn request_of(user: &VerifiedUser) -> Goal {
        Goal::Request(user.ssr_fingerprint().unwrap())
    }

    #[test]
    fn a_history_proves_what_follows_in_it() {
        let bobs = generations(4);
        let [a, b, c, d] = bobs.as_slice() else { panic!() };
        let (first, key_of_c) = (a.signing_key(), Goal::Key(c.signing_key()));
        let all = objects(&[a, b, c, d]);
        for goal in [request_of(a), request_of(c), request_of(d), key_of_c] {
            assert_eq!(follow(&all, &first, goal), Shown::Proven);
        }
        assert_eq!(follow(&all, &b.signing_key(), request_of(d)), Shown::Broken);
        let gap = objects(&[a, c, d]);
        assert_eq!(follow(&gap, &first, request_of(d)), Shown::Broken);
        assert_eq!(follow(&gap, &first, key_of_c), Shown::Broken);
        assert_eq!(follow(&gap, &first, request_of(b)), Shown::Nothing);
        assert_eq!(follow(&[], &first, request_of(a)), Shown::Nothing);
    }

    /// What does not even list the signet costs no signature, and neither does what comes behind it.
    #[test]
    fn only_what_lies_before_the_goal_is_looked_at() {
        let bobs = generations(3);
        let [a, b, c] = bobs.as_slice() else { panic!() };
        let mut history = objects(&[a, b, c]);
        history.push(b"no signet".to_vec());
        assert_eq!(follow(&history, &a.signing_key(), request_of(c)), Shown::Proven);
        history.swap(2, 3);
        assert_eq!(follow(&history, &a.signing_key(), request_of(c)), Shown::Broken);
        let mut forged = c.object().to_vec();
        *forged.last_mut().unwrap() ^= 1;
        let behind = [objects(&[a, b]), vec![forged]].concat();
        assert_eq!(follow(&behind, &a.signing_key(), request_of(b)), Shown::Proven);
    }

    #[test]
    fn a_goal_behind_the_longest_history_is_not_found() {
        let bobs = generations(2);
        let [a, b] = bobs.as_slice() else { panic!() };
        let mut history = vec![a.object().to_vec(); MAX_HISTORY - 1];
        history.push(b.object().to_vec());
        assert_eq!(follow(&history, &a.signing_key(), request_of(b)), Shown::Proven);
        history.insert(0, a.object().to_vec());
        assert_eq!(follow(&history, &a.signing_key(), request_of(b)), Shown::Nothing);
    }

    #[test]
    fn what_is_proven_stays_and_a_failure_is_looked_at_again_later() {
        let (chains, now) = (Chains::default(), Timestamp(1_800_000_000_000));
        assert_eq!(chains.outcome(&[1; 64], now), None);
        chains.remember([1; 64], Some(Standing::Later), now);
        chains.remember([2; 64], None, now);
        let soon = now.after(FAILED_FOR - Duration::from_millis(1));
        for at in [now, soon] {
            assert_eq!(chains.outcome(&[1; 64], at), Some(Some(Standing::Later)));
            assert_eq!(chains.outcome(&[2; 64], at), Some(None));
        }
        for at in [now.after(FAILED_FOR), now.before(FAILED_FOR)] {
            assert_eq!(chains.outcome(&[1; 64], at), Some(Some(Standing::Later)));
            assert_eq!(chains.outcome(&[2; 64], at), None);
        }
    }

    /// However many messages bring a history, only so many are gone along at a time, and the others wait their turn.
    #[tokio::test(flavor = "multi_thread")]
    async fn histories_take_turns() {
        let bobs = generations(2);
        let [a, b] = bobs.as_slice() else { panic!() };
        let chains = Chains {
            turns: Arc::new(Semaphore::new(1)),
            ..Chains::default()
        };
        let turn = Arc::clone(&chains.turns).acquire_owned().await.unwrap();
        let mut waiting = Box::pin(chains.follow(objects(&[a, b]), a.signing_key(), request_of(b)));
        let early = tokio::time::timeout(Duration::from_millis(50), &mut waiting).await;
        assert!(early.is_err(), "there is no turn left");
        drop(turn);
        assert_eq!(waiting.await, Shown::Proven);
        assert_eq!(chains.turns.available_permits(), 1);
    }
}
