//! What filters want changed in a message.

use super::{Error, header};
use crate::mail::address::{Mailbox, ReversePath};

/// Changes to one message at most.
pub const MAX_CHANGES: usize = 512;

const TOO_MANY: Error = Error::TooMuch("changes to one message");

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Of a header field.
    Field(FieldChange),
    /// Another one gets the message, too.
    AddRecipient(Mailbox),
    /// Somebody does not get it.
    DeleteRecipient(Mailbox),
    /// Failures are reported elsewhere.
    Sender(ReversePath),
}

/// One change of a header field. Places are counted among the fields that filters see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FieldChange {
    /// A new field: raw, with its line end.
    Add(Place, Vec<u8>),
    /// Field number `index`, from 1, of that name gets another value; without one of that number it is added at the end.
    Replace {
        /// The name, in any case.
        name: String,
        /// Counted from 1.
        index: u32,
        /// The new field: raw, with its line end.
        field: Vec<u8>,
    },
    /// A field of that name goes.
    Remove {
        /// The name, in any case.
        name: String,
        /// From 1 counted from above, from -1 from below, 0 for all.
        index: i64,
    },
}

/// Where a new field goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Before field number so, from 0; up to 1 before everything, our own trace field included.
    At(u32),
    /// After all.
    End,
}

/// All changes that one filter wants, in order.
#[derive(Debug, Default)]
pub struct Changes {
    list: Vec<Change>,
    octets: usize,
    count: usize,
}

impl Changes {
    /// Takes one more. [`Error::TooMuch`] if there are too many.
    pub fn push(&mut self, change: Change) -> Result<(), Error> {
        self.count()?;
        self.octets += match &change {
            Change::Field(FieldChange::Add(_, field) | FieldChange::Replace { field, .. }) => field.len(),
            _ => 0,
        };
        if self.octets > header::MAX_OCTETS {
            return Err(TOO_MANY);
        }
        self.list.push(change);
        Ok(())
    }

    /// One more that is kept elsewhere, or says nothing. [`Error::TooMuch`] if there are too many.
    pub fn count(&mut self) -> Result<(), Error> {
        self.count += 1;
        match self.count > MAX_CHANGES {
            true => Err(TOO_MANY),
            false => Ok(()),
        }
    }

    /// In the order in which they came.
    pub fn into_list(self) -> Vec<Change> {
        self.list
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn what_is_only_counted_is_a_change_too() {
        let mut changes = Changes::default();
        for _ in 1..MAX_CHANGES {
            changes.count().unwrap();
        }
        changes.push(Change::Sender(ReversePath(None))).unwrap();
        assert!(matches!(changes.count(), Err(Error::TooMuch(_))));
        let mut changes = Changes::default();
        for _ in 0..MAX_CHANGES {
            changes.count().unwrap();
        }
        let change = Change::Sender(ReversePath(None));
        assert!(matches!(changes.push(change), Err(Error::TooMuch(_))));
    }
}
