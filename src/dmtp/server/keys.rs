//! KEYS, an extension of ours on the submission port: the private keys of a cautious user, which the server stores and
//! cannot read.
//!
//! | The client sends | The server answers |
//! |---|---|
//! | `KEYS` | `250-[base64]` lines, to be put together, then `250 OK [version]`; `450` if there are none |
//! | `KEYS [version] SIZE=n` | `354 CONTINUE [token]`; after n octets and CRLF `250 OK [version]` with the new version |
//!
//! The version in a command is the one that is replaced, 0 for none, so that two devices do not overwrite each other's
//! keys unseen: any other one is refused with `451`.

use super::upload::Load;
use super::{Event, Question, Session};
use crate::dmtp::command::Deposit;
use crate::dmtp::reply;

/// Octets of wrapped keys at most.
pub const MAX_KEYS: usize = 64 * 1024;

impl Session {
    /// The wrapped keys that were asked for, and their version.
    pub fn keys(&mut self, octets: &[u8], version: u64) {
        self.answer(
            |question| matches!(question, Question::Keys),
            reply::keys(octets, version),
        );
    }

    /// The wrapped keys are durable as this version.
    pub fn deposited(&mut self, version: u64) {
        self.answer(
            |question| matches!(question, Question::Deposit),
            reply::deposited(version),
        );
    }

    pub(super) fn perform_keys(&mut self, deposit: Option<Deposit>) {
        if !self.is_users_turn() {
            return;
        }
        match deposit {
            None => self.ask(Question::Keys, Event::Keys),
            Some(Deposit { replaces, size }) => self.collect(Load::Keys { replaces }, size, MAX_KEYS),
        }
    }
}
