//! Current signets of ours, for those who ask over DMTP, and for each message.
//!
//! As with other rows that are [kept](super), an old one is used for [`UNSEEN`] at most, and never after this process has
//! changed it. Triggers write down of which names signets have changed, in the same transaction; whoever looks drops those,
//! and everything if so much has happened that the list does not reach back to the look before. A row is kept only if
//! nobody has looked, and this process has changed nothing, since the look that came before it was read.
//!
//! That a name has no signet is not kept: strangers ask for names without end, and whoever hears that there is none may
//! send by SMTP, so that is looked up each time.
//!
//! Private keys are in the rows as they are in the database: under the master key. No trigger tells of them, nor need it. They come
//! with the signet; those of the current one are erased only with its revocation, which is told; and what is sealed anew for
//! another master key is the same, to be opened with the one that it was read under.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::{Mark, UNSEEN};
use crate::base::recent::Recent;
use crate::base::time::Timestamp;
use crate::dime::fingerprint::{AnyFingerprint, CryptoFingerprint, FullFingerprint, IdFingerprint};

/// Memory for signets. What nobody asks for takes none, and so many accounts that they would need all of it are a large
/// installation: see the table on speed in the README.
const MOST_OCTETS: usize = 256 << 20;

/// What a row takes beside its name and object: fingerprints, and what holds them together.
const ROW_OCTETS: usize = size_of::<CurrentSignet>() + 160;

/// Changes looked at together. The list in the database is longer; who is further behind drops everything.
pub(in crate::store) const MOST_CHANGES: u32 = 1000;

/// The current signet of a name.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::store) struct CurrentSignet {
    /// Its fingerprints.
    pub crypto: CryptoFingerprint,
    /// See [`FullFingerprint`].
    pub full: FullFingerprint,
    /// See [`IdFingerprint`].
    pub id: IdFingerprint,
    /// The complete binary object.
    pub object: Vec<u8>,
    /// When it was published.
    pub published_at: Timestamp,
    /// The private keys, encrypted, if they are kept and not being erased.
    pub private_keys: Option<Vec<u8>>,
}

impl CurrentSignet {
    /// Whether one of its fingerprints is that one.
    pub(in crate::store) fn is(&self, fingerprint: &AnyFingerprint) -> bool {
        [&self.crypto.0, &self.full.0, &self.id.0].contains(&&fingerprint.0)
    }
}

/// The rows and the state of the list of changes that they belong to.
pub(in crate::store) struct KeptSignets(Mutex<State>);

struct State {
    mark: Mark,
    /// From when on somebody must look whether there are changes.
    look_at: Option<Instant>,
    rows: Recent<Box<str>, Arc<CurrentSignet>>,
}

impl Default for KeptSignets {
    fn default() -> Self {
        Self::new(MOST_OCTETS)
    }
}

impl KeptSignets {
    fn new(most_octets: usize) -> Self {
        Self(Mutex::new(State {
            mark: Mark { own: 0, count: 0 },
            look_at: None,
            rows: Recent::new(most_octets),
        }))
    }

    /// The state of the list, if it has been looked at just now; otherwise the one that is known, to be handed to
    /// [`looked`](Self::looked) with what has come since.
    pub(in crate::store) fn mark(&self, now: Instant) -> Result<Mark, Mark> {
        let state = self.state();
        match state.look_at {
            Some(look_at) if now < look_at => Ok(state.mark),
            _ => Err(state.mark),
        }
    }

    /// The database was asked at `asked_at` for the changes from the last one in `asked` on, that one included, and gave the
    /// newest of them, newest first.
    pub(in crate::store) fn looked(&self, asked: Mark, changes: &[(i64, String)], asked_at: Instant) -> Mark {
        let mut state = self.state();
        let newest = changes.first().map_or(asked.count - 1, |(seq, _)| *seq);
        let last = state.mark.count;
        let is_overtaken = newest >= asked.count && newest < last;
        match changes.iter().position(|(seq, _)| *seq == last) {
            Some(known) => {
                for (_, name) in &changes[..known] {
                    state.rows.forget(name.as_str());
                }
            }
            // Somebody else has looked later, and was quicker.
            None if is_overtaken => {}
            None => state.rows.clear(),
        }
        if !is_overtaken {
            state.mark.count = newest;
            // Who was overtaken by a change of ours may not have seen it.
            state.look_at = (state.mark.own == asked.own).then_some(asked_at + UNSEEN);
        }
        Mark {
            own: asked.own,
            count: state.mark.count,
        }
    }

    /// This process has changed something: somebody must look what, before any row is used.
    pub(in crate::store) fn changed(&self) {
        let mut state = self.state();
        state.mark.own += 1;
        state.look_at = None;
    }

    /// The row of a folded name in that state of the list.
    pub(in crate::store) fn row(&self, mark: Mark, name: &str) -> Option<Arc<CurrentSignet>> {
        let mut state = self.state();
        match state.mark == mark {
            true => state.rows.get(name).cloned(),
            false => None,
        }
    }

    /// Keeps what was read after `mark`.
    pub(in crate::store) fn keep(&self, mark: Mark, name: &str, row: &Arc<CurrentSignet>) {
        let mut state = self.state();
        if state.mark == mark {
            let keys = row.private_keys.as_ref().map_or(0, Vec::len);
            let octets = ROW_OCTETS + name.len() + row.object.len() + keys;
            state.rows.insert(name.into(), Arc::clone(row), octets);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const BOB: &str = "bob@hismail.test";
    const PAT: &str = "pat@hismail.test";

    fn signet(number: u8, object_octets: usize) -> Arc<CurrentSignet> {
        Arc::new(CurrentSignet {
            crypto: CryptoFingerprint([number; 64]),
            full: FullFingerprint([number + 1; 64]),
            id: IdFingerprint([number + 2; 64]),
            object: vec![number; object_octets],
            published_at: Timestamp(0),
            private_keys: None,
        })
    }

    fn changes(newest_first: &[(i64, &str)]) -> Vec<(i64, String)> {
        newest_first
            .iter()
            .map(|(seq, name)| (*seq, (*name).to_owned()))
            .collect()
    }

    /// Signets of both, in the state after change 7.
    fn kept(now: Instant) -> (KeptSignets, Mark) {
        let kept = KeptSignets::default();
        let asked = kept.mark(now).unwrap_err();
        let mark = kept.looked(asked, &changes(&[(7, "")]), now);
        for (name, number) in [(BOB, 1), (PAT, 2)] {
            kept.keep(mark, name, &signet(number, 10));
            assert_eq!(kept.row(mark, name), Some(signet(number, 10)));
        }
        (kept, mark)
    }

    #[test]
    fn a_change_of_one_drops_that_one() {
        let now = Instant::now();
        let (kept, mark) = kept(now);
        assert_eq!(kept.mark(now), Ok(mark));
        let later = now + UNSEEN;
        assert_eq!(kept.mark(later), Err(mark), "time for another look");
        assert_eq!(kept.looked(mark, &changes(&[(7, "")]), later), mark);
        assert!(kept.row(mark, BOB).is_some());
        let next = kept.looked(mark, &changes(&[(9, BOB), (8, "other"), (7, "")]), later);
        assert_eq!(kept.mark(later), Ok(next));
        assert_eq!(kept.row(next, BOB), None);
        assert_eq!(kept.row(next, PAT), Some(signet(2, 10)));
    }

    #[test]
    fn whoever_has_missed_changes_drops_everything() {
        // The list does not reach back, the list is empty, and the list is another one.
        for list in [
            &changes(&[(20, ""), (19, "")]),
            &changes(&[]),
            &changes(&[(3, "")]),
        ] {
            let now = Instant::now();
            let (kept, mark) = kept(now);
            let next = kept.looked(mark, list, now);
            assert_eq!(
                (kept.row(next, BOB), kept.row(next, PAT)),
                (None, None),
                "{list:?}"
            );
        }
    }

    #[test]
    fn a_look_that_was_overtaken_changes_nothing() {
        let now = Instant::now();
        let (kept, asked) = kept(now);
        let newer = kept.looked(asked, &changes(&[(9, BOB), (8, BOB), (7, "")]), now);
        kept.keep(newer, BOB, &signet(5, 10));
        assert_eq!(kept.looked(asked, &changes(&[(8, BOB), (7, "")]), now), newer);
        assert_eq!(kept.row(newer, BOB), Some(signet(5, 10)));
        assert_eq!(kept.row(newer, PAT), Some(signet(2, 10)));
    }

    #[test]
    fn what_was_read_before_a_change_is_not_kept_after_it() {
        let now = Instant::now();
        let (kept, before) = kept(now);
        // A change of ours, while somebody is looking who may not see it.
        let looking = kept.mark(now + UNSEEN).unwrap_err();
        kept.changed();
        let late = kept.looked(looking, &changes(&[(7, "")]), now + UNSEEN);
        assert_eq!(kept.row(late, BOB), None, "nothing is used that may be older");
        kept.keep(before, BOB, &signet(9, 10));
        kept.keep(late, BOB, &signet(9, 10));
        let asked = kept.mark(now + UNSEEN).unwrap_err();
        let mark = kept.looked(asked, &changes(&[(8, BOB), (7, "")]), now);
        assert_eq!(kept.row(mark, BOB), None);
        assert_eq!(kept.row(mark, PAT), Some(signet(2, 10)));
        // A change of others.
        let after = kept.looked(mark, &changes(&[(9, BOB), (8, BOB)]), now);
        kept.keep(mark, BOB, &signet(9, 10));
        assert_eq!(kept.row(after, BOB), None);
    }

    #[test]
    fn memory_is_bounded_however_many_names_are_asked_for() {
        let kept = KeptSignets::new(100_000);
        let asked = kept.mark(Instant::now()).unwrap_err();
        let mark = kept.looked(asked, &changes(&[(1, "")]), Instant::now());
        for number in 0..1000 {
            kept.keep(mark, &format!("user{number}@hismail.test"), &signet(1, 1000));
        }
        let held = (0..1000).filter(|number| kept.row(mark, &format!("user{number}@hismail.test")).is_some());
        let held = held.count();
        assert!((50..100).contains(&held), "{held}");
    }

    #[test]
    fn every_kind_of_fingerprint_names_a_signet() {
        let signet = signet(1, 0);
        let named = (0..5).filter(|octet| signet.is(&AnyFingerprint([*octet; 64])));
        assert_eq!(named.collect::<Vec<_>>(), [1, 2, 3]);
    }
}
