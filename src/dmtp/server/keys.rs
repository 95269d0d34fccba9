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

use zeroize::Zeroizing;

use super::{Doing, Event, Question, Session, Stage};
use crate::base::machine::Wait;
use crate::dmtp::command::Deposit;
use crate::dmtp::reply;
use crate::mail::reply::Reply;

/// Octets of wrapped keys at most.
pub const MAX_KEYS: usize = 64 * 1024;

/// Wrapped keys on their way in.
#[derive(Debug)]
pub(super) struct Upload {
    deposit: Deposit,
    octets: Zeroizing<Vec<u8>>,
    pub(super) started: Wait,
}

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
        if self.logins.is_none() {
            return self.fault(500, "unknown command");
        }
        if !self.may_submit() {
            return self.fault(530, "AUTH comes first");
        }
        if !matches!(self.stage, Stage::Connected | Stage::Greeted) {
            return self.fault(503, "KEYS comes before MAIL or after DATA");
        }
        match deposit {
            None => self.ask(Question::Keys, Event::Keys),
            Some(deposit) if deposit.size > MAX_KEYS as u64 => {
                self.send(&Reply::plain(552, "too many keys"));
            }
            Some(deposit) => {
                let token = self.parameters.nonce.clone();
                self.send(&reply::send_message(&token));
                self.doing = Doing::Collecting(Upload {
                    deposit,
                    octets: Zeroizing::default(),
                    started: Wait::default(),
                });
            }
        }
    }

    /// Takes octets up to the announced size, then the empty line.
    pub(super) fn read_keys(&mut self, input: &[u8]) -> usize {
        let Doing::Collecting(upload) = &mut self.doing else {
            return 0;
        };
        let size = usize::try_from(upload.deposit.size).unwrap_or(MAX_KEYS);
        let missing = size.saturating_sub(upload.octets.len());
        if missing > 0 {
            let count = missing.min(input.len());
            upload.octets.extend_from_slice(&input[..count]);
            self.wait.restart();
            return count;
        }
        let end = match input {
            [b'\n', ..] => 1,
            [b'\r', b'\n', ..] => 2,
            [] | [b'\r'] => return 0,
            _ => {
                self.close(&Reply::plain(451, "size and octets sent differ"));
                return 0;
            }
        };
        let octets = std::mem::take(&mut *upload.octets);
        let replaces = upload.deposit.replaces;
        self.ask(Question::Deposit, Event::Deposit { octets, replaces });
        end
    }
}
