//! Rows that every message needs, kept in memory as long as nothing has changed them: our domains, those we take mail for, and pins of others'.
//!
//! # Why an old row does no harm
//!
//! - Every change of these tables, by whichever process, counts `changes` up in the same transaction. Rows belong to the
//!   count that was read *before* them, so they are at least as new as it says, and are dropped at the sight of another.
//! - What this process has changed it never reads from here ([`Kept::forget`]).
//! - What another one has changed (the command line, another node on the same database) is seen after [`UNSEEN`] at the
//!   latest, and a command that changes such a row waits for that before it says that it is done. So whoever forgets a pin
//!   or adds a domain and then sends a message has it judged by the new row; a message that was under way at that moment
//!   might as well have been a little earlier.
//! - Rows say themselves until when they may be used (`refresh_at`, `expires_at`). Whoever reads them compares with the
//!   clock each time, whether they come from here or from the database, so nothing is believed longer.
//! - A row that is missing is kept as missing under the same rules. A pin that was forgotten, or of a domain that has
//!   left DIME, is gone with the next count; a pin that is set makes a domain one with DIME within [`UNSEEN`].
//! - There are no passwords or lists of blocked parties here: those are read each time. Signets of ours are in
//!   [`signets`], where a change drops the one that has changed, because there are many.
//!
//! The count is one small read. On a database elsewhere, where it costs as much as any row, a longer [`UNSEEN`] would do,
//! as long as it stays below the time of a delivery.

pub(super) mod signets;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{LocalDomain, Pin, RelayDomain};
use crate::base::recent::Recent;
use crate::mail::address::Domain;

/// How long rows are used without looking whether somebody else has changed them.
pub(super) const UNSEEN: Duration = Duration::from_millis(10);

/// Memory for rows of each kind. Others decide for how many domains we are asked, and how long their records are.
const MOST_OCTETS: usize = 4 << 20;

/// What a row takes beside its texts.
const ROW_OCTETS: usize = 256;

/// The state of the tables that a row belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    /// How often this process has changed them.
    own: u64,
    /// How often anybody has.
    pub(super) count: i64,
}

/// A kind of rows, by domain; also that there is none.
pub(super) trait Row: Clone {
    /// Where they are kept.
    fn shelf(shelves: &mut Shelves) -> &mut Recent<Domain, Option<Self>>;
    /// How long its texts are.
    fn text_octets(&self) -> usize;
}

impl Row for LocalDomain {
    fn shelf(shelves: &mut Shelves) -> &mut Recent<Domain, Option<Self>> {
        &mut shelves.domains
    }

    fn text_octets(&self) -> usize {
        let hosts = self.dime.iter().flat_map(|dime| &dime.delivery_hosts);
        hosts.map(|host| host.as_str().len()).sum()
    }
}

impl Row for Pin {
    fn shelf(shelves: &mut Shelves) -> &mut Recent<Domain, Option<Self>> {
        &mut shelves.pins
    }

    fn text_octets(&self) -> usize {
        self.record.len()
    }
}

impl Row for RelayDomain {
    fn shelf(shelves: &mut Shelves) -> &mut Recent<Domain, Option<Self>> {
        &mut shelves.relayed
    }

    fn text_octets(&self) -> usize {
        0
    }
}

/// The rows.
pub(super) struct Shelves {
    domains: Recent<Domain, Option<LocalDomain>>,
    relayed: Recent<Domain, Option<RelayDomain>>,
    pins: Recent<Domain, Option<Pin>>,
}

/// Rows and the state that they belong to.
pub(super) struct Kept(Mutex<State>);

struct State {
    mark: Mark,
    /// From when on somebody must look whether `mark` still holds.
    look_at: Option<Instant>,
    shelves: Shelves,
}

impl Default for Kept {
    fn default() -> Self {
        Self(Mutex::new(State {
            mark: Mark { own: 0, count: 0 },
            look_at: None,
            shelves: Shelves {
                domains: Recent::new(MOST_OCTETS),
                relayed: Recent::new(MOST_OCTETS),
                pins: Recent::new(MOST_OCTETS),
            },
        }))
    }
}

impl Kept {
    /// The state of the tables, if it has been looked at just now; otherwise the changes of this process, to be handed to
    /// [`looked`](Self::looked) with what the database says then.
    pub(super) fn mark(&self, now: Instant) -> Result<Mark, u64> {
        let state = self.state();
        match state.look_at {
            Some(look_at) if now < look_at => Ok(state.mark),
            _ => Err(state.mark.own),
        }
    }

    /// The database was asked at `asked_at` and said `count`.
    pub(super) fn looked(&self, own: u64, count: i64, asked_at: Instant) -> Mark {
        let mark = Mark { own, count };
        let mut state = self.state();
        // Who was overtaken by a change of ours has seen nothing that would count.
        if state.mark.own == own {
            if state.mark != mark {
                state.drop_all();
            }
            state.mark = mark;
            state.look_at = Some(asked_at + UNSEEN);
        }
        mark
    }

    /// This process has changed something.
    pub(super) fn forget(&self) {
        let mut state = self.state();
        state.mark.own += 1;
        state.look_at = None;
        state.drop_all();
    }

    /// The row of a domain in that state of the tables, or that there is none.
    pub(super) fn row<R: Row>(&self, mark: Mark, domain: &Domain) -> Option<Option<R>> {
        let mut state = self.state();
        if state.mark != mark {
            return None;
        }
        R::shelf(&mut state.shelves).get(domain).cloned()
    }

    /// Keeps what was read after `mark`.
    pub(super) fn keep<R: Row>(&self, mark: Mark, domain: &Domain, row: Option<&R>) {
        let mut state = self.state();
        if state.mark == mark {
            let octets = ROW_OCTETS + domain.as_str().len() + row.map_or(0, Row::text_octets);
            R::shelf(&mut state.shelves).insert(domain.clone(), row.cloned(), octets);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn drop_all(&mut self) {
        self.shelves.domains.clear();
        self.shelves.relayed.clear();
        self.shelves.pins.clear();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::base::time::Timestamp;

    fn name() -> Domain {
        "hismail.test".parse().unwrap()
    }

    fn pin(record: &str) -> Pin {
        Pin {
            domain: name(),
            record: record.into(),
            secure: true,
            first_seen_at: Timestamp(1),
            refresh_at: Timestamp(2),
            expires_at: Timestamp(3),
        }
    }

    #[test]
    fn a_row_is_kept_until_the_count_changes() {
        let (kept, now) = (Kept::default(), Instant::now());
        let own = kept.mark(now).unwrap_err();
        let mark = kept.looked(own, 7, now);
        assert_eq!(kept.row::<Pin>(mark, &name()), None);
        kept.keep(mark, &name(), Some(&pin("one")));
        assert_eq!(kept.mark(now), Ok(mark));
        assert_eq!(kept.row(mark, &name()), Some(Some(pin("one"))));
        assert_eq!(kept.row::<LocalDomain>(mark, &name()), None, "of another kind");
        // Time for another look, which finds everything as it was.
        assert_eq!(kept.mark(now + UNSEEN), Err(own));
        assert_eq!(kept.looked(own, 7, now + UNSEEN), mark);
        assert_eq!(kept.row(mark, &name()), Some(Some(pin("one"))));
        let next = kept.looked(own, 8, now + 2 * UNSEEN);
        assert_eq!(kept.row::<Pin>(next, &name()), None);
        assert_eq!(kept.row::<Pin>(mark, &name()), None);
    }

    #[test]
    fn that_there_is_no_row_is_kept_likewise() {
        let (kept, now) = (Kept::default(), Instant::now());
        let mark = kept.looked(0, 7, now);
        kept.keep::<Pin>(mark, &name(), None);
        assert_eq!(kept.row::<Pin>(mark, &name()), Some(None));
        let next = kept.looked(0, 8, now);
        assert_eq!(kept.row::<Pin>(next, &name()), None);
    }

    #[test]
    fn what_was_read_before_a_change_of_ours_is_not_kept_after_it() {
        let (kept, now) = (Kept::default(), Instant::now());
        // One has read the row, another has asked for the count, when ours changes.
        let reading = kept.looked(0, 7, now);
        let looking = kept.mark(now + UNSEEN).unwrap_err();
        kept.forget();
        let late = kept.looked(looking, 7, now + UNSEEN);
        assert!(kept.mark(now + UNSEEN).is_err(), "that look does not count");
        kept.keep(reading, &name(), Some(&pin("old")));
        kept.keep(late, &name(), Some(&pin("old")));
        let own = kept.mark(now + UNSEEN).unwrap_err();
        let mark = kept.looked(own, 8, now + UNSEEN);
        assert_eq!(kept.row::<Pin>(mark, &name()), None);
    }

    #[test]
    fn what_was_read_before_a_change_of_others_is_not_kept_after_it() {
        let (kept, now) = (Kept::default(), Instant::now());
        let before = kept.looked(0, 7, now);
        let after = kept.looked(0, 8, now);
        kept.keep(before, &name(), Some(&pin("old")));
        assert_eq!(kept.row::<Pin>(after, &name()), None);
    }
}
