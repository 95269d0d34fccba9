//! A message on its way to a host, in the form that the host can take.

use async_trait::async_trait;

use super::Outcome;
use super::body::Octets;
use crate::smtp::extension::Extensions;
use crate::store::{Error, Pieces};

/// What a host can take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Form {
    /// Octets above 127 (RFC 6152).
    pub eight_bit: bool,
    /// Header fields and addresses in UTF-8 (RFC 6531).
    pub smtputf8: bool,
}

impl From<&Extensions> for Form {
    fn from(offered: &Extensions) -> Self {
        Self {
            eight_bit: offered.eight_bit_mime,
            smtputf8: offered.smtputf8,
        }
    }
}

/// A message that is ready to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ready {
    /// Octets.
    pub size_bytes: u64,
    /// It has octets above 127.
    pub eight_bit: bool,
    /// It was said to have header fields in UTF-8, and the host takes that.
    pub smtputf8: bool,
}

/// A message that can be brought into several forms.
#[async_trait]
pub trait Letter: Octets {
    /// Brings it into a form that such a host takes, to be read from its beginning. Errors: what becomes of the message,
    /// if that cannot be done.
    async fn ready(&mut self, form: Form) -> Result<Ready, Outcome>;
}

/// A message of plain ASCII lines, such as the wrapper of a sealed one. Everybody takes it.
pub struct Plain<'a> {
    pieces: &'a mut dyn Pieces,
    next: u32,
}

impl<'a> Plain<'a> {
    /// From its first piece on.
    pub fn new(pieces: &'a mut dyn Pieces) -> Self {
        Self { pieces, next: 0 }
    }
}

#[async_trait]
impl Octets for Plain<'_> {
    async fn next(&mut self) -> Result<Option<Vec<u8>>, Error> {
        let piece = self.pieces.piece(self.next).await;
        self.next += 1;
        piece
    }

    fn rewind(&mut self) {
        self.next = 0;
    }
}

#[async_trait]
impl Letter for Plain<'_> {
    async fn ready(&mut self, _form: Form) -> Result<Ready, Outcome> {
        self.next = 0;
        Ok(Ready {
            size_bytes: self.pieces.size_bytes(),
            eight_bit: false,
            smtputf8: false,
        })
    }
}
