//! How much each account, or each network whose hosts need not log in, may send within an hour: whoever has guessed a password,
//! or lives on a user's machine, is stopped before others take the whole host for a spammer.
//!
//! Counted in memory, for at most as many accounts as [`Allowance`] remembers; a restart forgives.

use std::time::Instant;

use super::SPAN;
use crate::base::allowance::{self, Allowance};

/// What each account or network may send. Accounts are named by their folded address.
#[derive(Debug, Clone)]
pub struct Sending {
    messages: Option<Allowance<String>>,
    recipients: Option<Allowance<String>>,
}

/// The share is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the account or network has sent too much within the hour")]
pub struct TooMuch;

/// What a message uses of its author's share. It comes back unless the message is taken.
pub type Reserved = allowance::Reserved<String>;

impl Sending {
    /// So many messages and recipients of each within an hour; 0 for no limit.
    pub fn new(messages_per_hour: u32, recipients_per_hour: u32) -> Self {
        Self {
            messages: Allowance::within(SPAN, messages_per_hour),
            recipients: Allowance::within(SPAN, recipients_per_hour),
        }
    }

    /// Room for another message.
    pub fn message(&self, who: String, now: Instant) -> Result<Reserved, TooMuch> {
        let mut reserved = Reserved::default();
        reserve(self.messages.as_ref(), who, &mut reserved, now)?;
        Ok(reserved)
    }

    /// Room for another recipient of a message.
    pub fn recipient(&self, who: String, reserved: &mut Reserved, now: Instant) -> Result<(), TooMuch> {
        reserve(self.recipients.as_ref(), who, reserved, now)
    }
}

fn reserve(
    share: Option<&Allowance<String>>,
    who: String,
    reserved: &mut Reserved,
    now: Instant,
) -> Result<(), TooMuch> {
    match reserved.take(share, who, now) {
        true => Ok(()),
        false => Err(TooMuch),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::time::Duration;

    use super::*;

    #[test]
    fn what_is_not_taken_does_not_count_and_an_hour_brings_all_back() {
        let sending = Sending::new(2, 3);
        let (alice, start) = (|| "alice@hermail.test".to_owned(), Instant::now());
        for _ in 0..5 {
            let mut open = sending.message(alice(), start).unwrap();
            sending.recipient(alice(), &mut open, start).unwrap();
        }
        let mut first = sending.message(alice(), start).unwrap();
        for _ in 0..3 {
            sending.recipient(alice(), &mut first, start).unwrap();
        }
        assert_eq!(sending.recipient(alice(), &mut first, start), Err(TooMuch));
        first.spend();
        sending.message(alice(), start).unwrap().spend();
        assert!(sending.message(alice(), start).is_err());
        assert!(sending.message("192.0.2.0/24".to_owned(), start).is_ok());
        let later = start + Duration::from_secs(3600);
        let mut open = sending.message(alice(), later).unwrap();
        sending.recipient(alice(), &mut open, later).unwrap();
        let unbounded = Sending::new(0, 0);
        for _ in 0..10_000 {
            unbounded.message(alice(), start).unwrap().spend();
        }
    }
}
