//! What filters make of a message, put into effect before it is committed.

use super::intake::{self, Failure};
use crate::filters::{self, Rewritten};
use crate::store::BodyWriter;
use crate::store::blocking::Pieces;

/// A message that is complete in the spool, and not committed.
pub struct Letter {
    /// To be committed.
    pub writer: Box<dyn BodyWriter>,
    /// It has octets above 127.
    pub eight_bit: bool,
}

impl Letter {
    /// With another header or body; one that has to be sealed must still fit the format.
    pub async fn rewrite(mut self, rewritten: Rewritten, to_be_sealed: bool) -> Result<Self, Failure> {
        let Rewritten { front, start, body } = rewritten;
        let (mut body, eight_bit) = match body {
            Some(body) => (Some(body.writer), body.eight_bit),
            None => (None, self.eight_bit),
        };
        let pieces = body.as_mut().map(|body| body as &mut dyn Pieces);
        filters::rewrite(&mut self.writer, start, &front, pieces).await?;
        self.eight_bit = eight_bit || !front.is_ascii();
        match to_be_sealed {
            true => self.checked().await,
            false => Ok(self),
        }
    }

    /// Which fits the format.
    pub async fn checked(mut self) -> Result<Self, Failure> {
        self.writer = intake::check(self.writer).await?;
        Ok(self)
    }
}
