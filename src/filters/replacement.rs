//! Another body that a filter sends, on its way into the spool. It belongs to no message there, and goes when it is dropped.

use std::sync::Arc;

use super::Error;
use crate::base::id::QueueId;
use crate::store::{BodyWriter, Store};

/// How large a body may be, as for one that a client sends.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Octets of it.
    pub octets: u64,
    /// Octets of a line without its end.
    pub line: usize,
}

/// A body that comes in pieces.
pub struct Replacement {
    store: Arc<dyn Store>,
    limits: Limits,
    /// Octets of the line that is not complete, CR counted.
    line: usize,
    writer: Option<Box<dyn BodyWriter>>,
    /// The last octet was CR.
    after_cr: bool,
    last: u8,
    ascii: bool,
}

/// A body that has come whole.
pub struct Replaced {
    /// With its octets.
    pub writer: Box<dyn BodyWriter>,
    /// It has octets above 127.
    pub eight_bit: bool,
}

impl Replacement {
    /// None yet.
    pub fn new(store: Arc<dyn Store>, limits: Limits) -> Self {
        Self {
            store,
            limits,
            line: 0,
            writer: None,
            after_cr: false,
            last: b'\n',
            ascii: true,
        }
    }

    /// Whether nothing has come.
    pub fn is_empty(&self) -> bool {
        self.writer.is_none()
    }

    /// Takes the next octets. Lines end with CRLF, and nothing else counts as one, is longer than it may be, or contains a NUL
    /// ([`Error::Unfit`]).
    pub async fn push(&mut self, octets: &[u8]) -> Result<(), Error> {
        for octet in octets {
            let fits = (*octet == b'\n') == self.after_cr && *octet != 0;
            if !fits {
                return Err(Error::Unfit("a body whose lines do not end with CRLF"));
            }
            self.after_cr = *octet == b'\r';
            self.last = *octet;
            self.line = match *octet {
                b'\n' => 0,
                _ => self.line + 1,
            };
            if self.line > self.limits.line + usize::from(self.after_cr) {
                return Err(Error::Unfit("a body with a line longer than a message may have"));
            }
        }
        self.ascii &= octets.is_ascii();
        let writer = match self.writer.take() {
            Some(writer) => writer,
            None => {
                let id = QueueId::random(&mut rand::rng());
                self.store.begin(id).await?
            }
        };
        let writer = self.writer.insert(writer);
        if writer.size_bytes() + octets.len() as u64 > self.limits.octets {
            return Err(Error::TooMuch("a body larger than a message may be"));
        }
        Ok(writer.write(octets).await?)
    }

    /// The whole body, if the filter sent one.
    pub async fn finish(self) -> Result<Option<Replaced>, Error> {
        let Some(mut writer) = self.writer else {
            return Ok(None);
        };
        if self.after_cr {
            return Err(Error::Unfit("a body whose lines do not end with CRLF"));
        }
        if self.last != b'\n' {
            writer.write(b"\r\n").await?;
        }
        Ok(Some(Replaced {
            writer,
            eight_bit: !self.ascii,
        }))
    }
}
