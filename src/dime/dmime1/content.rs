//! What the four content sections of a message hold.

use std::fmt;

use bytes::Bytes;

/// The data of chunks 33, 34, 67 and 131, unpadded and decrypted. Cheap to clone.
///
/// `convert` makes it from a MIME message and gives the MIME message back.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Content {
    /// The lines of [`CommonHeaders`](super::metadata::CommonHeaders).
    pub common_headers: Bytes,
    /// Further header fields; never empty, because libdime cannot read a message without (`dmime.md` M2).
    pub other_headers: Bytes,
    /// Display chunks in order; libdime cannot write a message without (`dmime.md` M3).
    pub display: Vec<Bytes>,
    /// Attachment chunks in order.
    pub attachments: Vec<Bytes>,
}

impl Content {
    /// Octets of data in all chunks.
    pub fn size_bytes(&self) -> usize {
        let headers = self.common_headers.len() + self.other_headers.len();
        let bodies: usize = self.display.iter().chain(&self.attachments).map(Bytes::len).sum();
        headers + bodies
    }
}

/// Shows sizes only.
impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Content")
            .field("size_bytes", &self.size_bytes())
            .field("display", &self.display.len())
            .field("attachments", &self.attachments.len())
            .finish_non_exhaustive()
    }
}
