//! Tracing: octets that a hop may put in front of a message (`dmime.md` §3).
//!
//! Magic 1837, a length of two octets, at least one octet of undefined content. In clear and signed by nobody:
//! we never write it, drop it when a message is sent on, and read it only to get past it.

use super::Error;
use crate::base::bytes::Reader;

/// First two octets of tracing.
pub const MAGIC: u16 = 1837;
/// Magic and length in front of the content.
pub const HEADER_SIZE: usize = 4;

/// How many octets of tracing stand in front of the message, header included; 0 without tracing.
pub(super) fn length(whole: &[u8]) -> Result<usize, Error> {
    let mut reader = Reader::new(whole);
    if reader.u16()? != MAGIC {
        return Ok(0);
    }
    match usize::from(reader.u16()?) {
        0 => Err(Error::EmptyTracing),
        content => {
            reader.take(content)?;
            Ok(HEADER_SIZE + content)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measures_tracing() {
        assert_eq!(length(&[0x07, 0x37]), Ok(0));
        assert_eq!(length(&[0x07, 0x2d, 0, 2, b'a', b'b', 0x07, 0x37]), Ok(6));
    }

    #[test]
    fn refuses_empty_and_cut_tracing() {
        assert_eq!(length(&[0x07, 0x2d, 0, 0]), Err(Error::EmptyTracing));
        for cut in [&[0x07][..], &[0x07, 0x2d, 0], &[0x07, 0x2d, 0, 2, b'a']] {
            assert_eq!(length(cut), Err(Error::Truncated));
        }
    }
}
