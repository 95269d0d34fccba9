//! Octets that a user who has logged in hands in: `354 CONTINUE [token]`, so many octets, CRLF, and one answer.

use zeroize::Zeroizing;

use super::{Doing, Event, Question, Session, Stage};
use crate::base::machine::Wait;
use crate::dmtp::reply;
use crate::mail::reply::Reply;

/// What is handed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Load {
    /// Wrapped keys, in the place of that version.
    Keys { replaces: u64 },
    /// A signing request and a key set.
    Request,
    /// Key sets signed ahead.
    KeySets,
}

/// Octets on their way in. They may be keys, so they leave nothing behind.
#[derive(Debug)]
pub(super) struct Upload {
    load: Load,
    size: usize,
    pub(super) octets: Zeroizing<Vec<u8>>,
    pub(super) started: Wait,
}

impl Session {
    /// Whether a command of users is in its place; answers it if not.
    pub(super) fn is_users_turn(&mut self) -> bool {
        if self.logins.is_none() {
            self.fault(500, "unknown command");
        } else if !self.may_submit() {
            self.fault(530, "AUTH comes first");
        } else if !matches!(self.stage, Stage::Connected | Stage::Greeted) {
            self.fault(503, "not between MAIL and DATA");
        } else {
            return true;
        }
        false
    }

    /// Has the client go on, unless that would be more than `most` octets.
    pub(super) fn collect(&mut self, load: Load, size: u64, most: usize) {
        let Some(size) = usize::try_from(size).ok().filter(|size| *size <= most) else {
            return self.send(&Reply::plain(552, format!("more than {most} octets")));
        };
        let token = self.parameters.nonce.clone();
        self.send(&reply::send_message(&token));
        self.doing = Doing::Collecting(Upload {
            load,
            size,
            // All at once: a buffer that grew would leave copies behind that nobody wipes.
            octets: Zeroizing::new(Vec::with_capacity(size)),
            started: Wait::default(),
        });
    }

    /// Takes octets up to the announced size, then the empty line.
    pub(super) fn read_upload(&mut self, input: &[u8]) -> usize {
        let Doing::Collecting(upload) = &mut self.doing else {
            return 0;
        };
        let missing = upload.size.saturating_sub(upload.octets.len());
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
        let (question, event) = match upload.load {
            Load::Keys { replaces } => (Question::Deposit, Event::Deposit { octets, replaces }),
            Load::Request => (Question::HandIn, Event::HandIn(octets)),
            Load::KeySets => (Question::KeySets, Event::KeySets(octets)),
        };
        self.ask(question, event);
        end
    }
}
