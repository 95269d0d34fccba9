//! SSR and SETS, extensions of ours on the submission port: what users hand in whose private keys are at home.
//!
//! | The client sends | The server answers |
//! |---|---|
//! | `SSR SIZE=n` | `354 CONTINUE [token]`; after n octets and CRLF `250 OK` once the signing request is durable |
//! | `SSR` | `250 OK [WAITING] …`, `[REJECTED] …` or `[REVOKED] …` ([`Pending`]); `450` if none is there any more, or never was |
//! | `SETS SIZE=n` | `354 CONTINUE [token]`; after n octets and CRLF `250 OK [published] [waiting]` ([`KeySetsTaken`]) |
//!
//! The octets are packed as [`handed_in`](crate::dmtp::handed_in) says. Both are about the account that has logged in, and
//! no other address. What is handed in takes the place of what was there; a request that breaks a rule, and key sets of
//! which one does, are refused with `554` and change nothing.

use super::upload::Load;
use super::{Event, Question, Session};
use crate::dmtp::handed_in::{KeySetsTaken, MAX_KEY_SETS_OCTETS, MAX_REQUEST, Pending};
use crate::mail::reply::Reply;

impl Session {
    /// What became of the request that was handed in.
    pub fn pending(&mut self, pending: &Pending) {
        self.answer(|question| matches!(question, Question::Pending), pending.reply());
    }

    /// The request is durable.
    pub fn handed_in(&mut self) {
        self.answer(
            |question| matches!(question, Question::HandIn),
            Reply::plain(250, "OK"),
        );
    }

    /// The key sets are durable.
    pub fn key_sets_taken(&mut self, taken: KeySetsTaken) {
        self.answer(|question| matches!(question, Question::KeySets), taken.reply());
    }

    pub(super) fn perform_request(&mut self, size: Option<u64>) {
        if !self.is_users_turn() {
            return;
        }
        match size {
            None => self.ask(Question::Pending, Event::Pending),
            Some(size) => self.collect(Load::Request, size, MAX_REQUEST),
        }
    }

    pub(super) fn perform_key_sets(&mut self, size: u64) {
        if self.is_users_turn() {
            self.collect(Load::KeySets, size, MAX_KEY_SETS_OCTETS);
        }
    }
}
