//! A message in the spool gets another header, and another body if need be, in the place of its own.
//!
//! Octets move within the message, so what is to come is read before it is written over: no more is in memory than a piece and
//! what the header grew by.

use super::{Body, header};
use crate::store::blocking::Pieces;
use crate::store::{BodyWriter, Error, PIECE_BYTES};

/// Puts `front` in the place of everything before the octet `start` of the message, and `body`, if there is one, in the place
/// of everything from there on. A failure leaves a message that must not be committed.
pub async fn rewrite(
    writer: &mut Box<dyn BodyWriter>,
    start: u64,
    front: &[u8],
    body: Option<&mut dyn Pieces>,
) -> Result<(), Error> {
    let mut ahead = Ahead {
        octets: front.to_vec(),
        written: 0,
    };
    match body {
        Some(pieces) => {
            let mut body = Body::new(pieces, 0);
            while let Some(piece) = body.next().await? {
                ahead.octets.extend_from_slice(&piece);
                let all = ahead.octets.len();
                ahead.write(writer, all).await?;
            }
        }
        None => ahead.shift(writer, start).await?,
    }
    let all = ahead.octets.len();
    ahead.write(writer, all).await?;
    writer.truncate(ahead.written).await
}

/// What is to be written.
struct Ahead {
    octets: Vec<u8>,
    /// Where it goes.
    written: u64,
}

impl Ahead {
    /// Moves everything from the octet `start` on behind what is to be written.
    async fn shift(&mut self, writer: &mut Box<dyn BodyWriter>, start: u64) -> Result<(), Error> {
        let size = writer.size_bytes();
        let mut read = start;
        while read < size {
            let piece = Body::new(writer, read).next().await?;
            let piece = piece.ok_or(Error::Unreadable("body piece"))?;
            read += piece.len() as u64;
            self.octets.extend_from_slice(&piece);
            // What was read already may be written over.
            let room = usize::try_from(read.saturating_sub(self.written)).unwrap_or(usize::MAX);
            self.write(writer, room).await?;
        }
        debug_assert!(self.octets.len() <= header::MAX_OCTETS + PIECE_BYTES);
        Ok(())
    }

    /// Writes up to `room` octets: over what is there, and then at the end.
    async fn write(&mut self, writer: &mut Box<dyn BodyWriter>, room: usize) -> Result<(), Error> {
        let count = room.min(self.octets.len());
        let left = writer.size_bytes().saturating_sub(self.written);
        let over = usize::try_from(left).unwrap_or(usize::MAX).min(count);
        writer.overwrite(self.written, &self.octets[..over]).await?;
        writer.write(&self.octets[over..count]).await?;
        self.octets.drain(..count);
        self.written += count as u64;
        Ok(())
    }
}
