//! Between MIME messages and the content of D/MIME messages (`dmime2.md` §16, §17).
//!
//! The body is reproduced octet for octet; the outer header block is brought to one canonical form. Splitting,
//! header chunks and the search for leaves serve both formats; D/MIME 1 adds one module of its own. [`clean`] is for mail that comes in by any other
//! way, [`marker`] and [`delivery`] are for opened mail on its way to a mailbox.

pub mod clean;
pub mod delivery;
mod format1;
mod format2;
mod front;
mod header;
mod leaves;
pub mod marker;
mod media;
mod octets;

use std::convert::Infallible;
use std::io::{self, Read, Seek};

use bytes::Bytes;

pub use self::clean::clean_on_entry;
pub use self::format1::{How, Rebuilt};
use self::octets::Windowed;
use crate::dime::dmime1::Content;
use crate::dime::dmime2;

/// Octets of the outer header block of a message that can be mapped, fields that do not travel included.
pub const MAX_HEADER_BLOCK: usize = 512 << 10;

/// Why a MIME message cannot become a D/MIME message.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A header line, counted from 1, that is no field and continues none, or has octets that no header may contain (C1).
    #[error("line {0} of the header is malformed")]
    Header(usize),
    /// A field that may stand only once (C2).
    #[error("the header field {0} stands twice")]
    Repeated(&'static str),
    /// A field that must stand and not be empty (C3); a submission server adds Date before mapping.
    #[error("the header field {0} is missing or empty")]
    Missing(&'static str),
    /// A header block over [`MAX_HEADER_BLOCK`], or more fields than a chunk of D/MIME 2 can hold (L10).
    #[error("the header block is too long")]
    HeaderTooLarge,
    /// More than a chunk of D/MIME 1 can hold (F2), or than D/MIME 2 can count: SMTP answers 552.
    #[error("the message is too large for the format")]
    TooLarge,
    /// The message could not be read.
    #[error("the message cannot be read")]
    Source(#[from] io::Error),
}

/// Octets in memory can always be read.
impl From<Infallible> for Error {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

/// Maps a MIME message to the chunks of D/MIME 1 (`dmime2.md` §16.5). A single text part is not copied.
pub fn to_dmime1(mime: impl Into<Bytes>) -> Result<Content, Error> {
    format1::map(&mime.into())
}

/// Whether a message could be mapped to D/MIME 1, found out by reading it in pieces: the error of [`to_dmime1`].
pub fn check_dmime1(mime: impl Read + Seek) -> Result<(), Error> {
    format1::check(&mut Windowed::new(mime)?)
}

/// Maps a MIME message to the records of D/MIME 2 (`dmime2.md` §16.3), which name ranges of it.
///
/// Reads in pieces; holds no more than a window of 128 KiB and the header block, however large the message is.
pub fn to_dmime2(mime: impl Read + Seek) -> Result<dmime2::seal::Content, Error> {
    format2::map(&mut Windowed::new(mime)?)
}

/// The header block of chunks 33 and 34 with the empty line that ends it; the body follows directly.
///
/// `other` is empty where another writer left chunk 34 out. Both must have passed rules H1 to H3.
pub fn rebuilt_header(common: &[u8], other: &[u8]) -> Vec<u8> {
    let mut block = header::restore(common, other);
    block.extend_from_slice(b"\r\n");
    block
}

/// Maps the chunks of D/MIME 1 back; content of other software is put into a multipart message (rule F1).
pub fn from_dmime1(content: &Content) -> Rebuilt {
    format1::rebuild(content)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::Cursor;

    use proptest::prelude::*;

    use super::clean::EntryCleaner;
    use super::delivery::{ByData, Judge, by_data, safe_for_data};
    use super::leaves::find_leaves;
    use super::*;
    use crate::dime::dmime1::padding::MAX_DATA;

    const HEADER: &str = "Date: d\r\nFrom: a@b.example\r\nMIME-Version: 1.0\r\n";

    fn message(fields: &str, body: &[u8]) -> Vec<u8> {
        [HEADER.as_bytes(), fields.as_bytes(), b"\r\n", body].concat()
    }

    #[test]
    fn a_single_text_part_is_shown_whole() {
        let content = to_dmime1(message("", b"Hello\r\n")).unwrap();
        assert_eq!(content.display, [&b"Hello\r\n"[..]]);
        assert!(content.attachments.is_empty());
    }

    #[test]
    fn too_much_for_one_chunk_is_an_error_of_its_own() {
        let fits = to_dmime1(message("", &vec![b'x'; MAX_DATA])).unwrap();
        assert_eq!(fits.display[0].len(), MAX_DATA);
        let image = "Content-Type: image/png\r\n";
        let splice = "DIME-Splice: none\r\n\r\n".len();
        for (fields, most) in [("", MAX_DATA), (image, MAX_DATA - splice)] {
            let fits = message(fields, &vec![b'x'; most]);
            assert!(check_dmime1(Cursor::new(&fits)).is_ok());
            assert!(to_dmime1(fits).is_ok());
            let larger = message(fields, &vec![b'x'; most + 1]);
            assert!(matches!(check_dmime1(Cursor::new(&larger)), Err(Error::TooLarge)));
            assert!(matches!(to_dmime1(larger), Err(Error::TooLarge)));
        }
    }

    #[test]
    fn header_blocks_that_do_not_end_are_an_error_and_not_memory() {
        let endless = message(&"X: y\r\n".repeat(MAX_HEADER_BLOCK / 6 + 1), b"");
        assert!(matches!(
            to_dmime2(Cursor::new(&endless)),
            Err(Error::HeaderTooLarge)
        ));
        assert!(matches!(to_dmime1(endless), Err(Error::HeaderTooLarge)));
        let received = format!("Received: {}\r\n", "x".repeat(100_000));
        assert!(to_dmime2(Cursor::new(message(&received, b""))).is_ok());
        let kept = format!("X-Kept: {}\r\n", "x".repeat(65_531));
        let refused = to_dmime2(Cursor::new(message(&kept, b"")));
        assert!(matches!(refused, Err(Error::HeaderTooLarge)));
    }

    #[test]
    fn a_long_field_that_names_this_server_goes_whatever_comes_before_it() {
        let long = format!(
            "Authentication-Results: {} mx.a.example\r\nSubject: s\r\n\r\n",
            "x".repeat(100_000)
        );
        assert_eq!(
            clean_on_entry(long.as_bytes(), "mx.a.example"),
            b"Subject: s\r\n\r\n"
        );
        let blanks = format!(
            "Authentication-Results{}: mx.a.example\r\nA: b\r\n\r\n",
            " ".repeat(100_000)
        );
        let mut cleaner = EntryCleaner::new("mx.a.example");
        let mut out: Vec<u8> = blanks
            .as_bytes()
            .chunks(10)
            .flat_map(|piece| cleaner.push(piece))
            .collect();
        out.extend(cleaner.finish());
        assert_eq!(out, b"A: b\r\n\r\n");
    }

    #[test]
    fn a_quoted_name_of_this_server_is_its_name_too() {
        let quoted = b"Authentication-Results: \"mx.\\a.exampl\\e\"; dkim=pass\r\nSubject: s\r\n\r\n";
        assert_eq!(clean_on_entry(quoted, "mx.a.example"), b"Subject: s\r\n\r\n");
        let other = b"Authentication-Results: mx.b.example; dkim=pass (\\\\)\r\n\r\n";
        assert_eq!(clean_on_entry(other, "mx.a.example"), other);
    }

    #[test]
    fn names_that_only_start_like_removed_ones_stay() {
        let kept =
            b"DIM: a\r\nAuthentication-Result: mx.a.example\r\nAuthentication-Results-X: mx.a.example\r\nD";
        assert_eq!(clean_on_entry(kept, "mx.a.example"), kept);
    }

    #[test]
    fn wrapped_messages_keep_what_lists_show() {
        let wrapped = safe_for_data(message("Subject: s\r\nX-Other: o\r\n", b"a\nb").into());
        let text = String::from_utf8(wrapped.to_vec()).unwrap();
        assert!(text.starts_with("Date: d\r\nFrom: a@b.example\r\nSubject: s\r\nMIME-Version: 1.0\r\nContent-Type: message/rfc822\r\n"), "{text}");
    }

    #[test]
    fn a_header_block_without_end_is_wrapped_and_not_held() {
        let endless = message(&"X: y\r\n".repeat(MAX_HEADER_BLOCK / 6 + 1), b"");
        let mut judge = Judge::default();
        endless.chunks(4096).for_each(|piece| judge.push(piece));
        assert_eq!(judge.finish().verdict(), ByData::Never);
        assert_eq!(by_data(&endless), ByData::Never);
    }

    /// Bodies with many delimiter-like lines.
    fn body() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            Just(b"--b".to_vec()),
            Just(b"--b--".to_vec()),
            Just(b"--c".to_vec()),
            Just(b"\r\n".to_vec()),
            Just(b"\r".to_vec()),
            Just(b" ".to_vec()),
            Just(b"Content-Type: text/plain\r\n".to_vec()),
            Just(b"Content-Type: multipart/mixed; boundary=c\r\n".to_vec()),
            prop::collection::vec(any::<u8>(), 0..4),
        ];
        prop::collection::vec(piece, 0..30).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn leaves_are_the_same_in_memory_and_in_pieces(body in body(), window in 1_usize..40) {
            let block = b"Content-Type: multipart/mixed; boundary=b\r\n";
            let whole = 0..body.len() as u64;
            let Ok(at_once) = find_leaves(&mut &body[..], whole.clone(), block);
            let mut pieces = Windowed::of_size(Cursor::new(&body), window).unwrap();
            prop_assert_eq!(find_leaves(&mut pieces, whole, block).unwrap(), at_once);
        }

        #[test]
        fn records_join_to_the_body(body in body(), multipart: bool) {
            let kind = if multipart { "Content-Type: multipart/mixed; boundary=b\r\n" } else { "" };
            let mime = message(kind, &body);
            let mapped = to_dmime2(Cursor::new(&mime)).unwrap();
            let count = mapped.parts.len() as u16;
            let mut joined = rebuilt_header(&mapped.common_headers, &mapped.other_headers);
            for (ordinal, part) in (0..count).zip(&mapped.parts) {
                let head = part.head;
                prop_assert_eq!((head.ordinal, head.count), (ordinal, count));
                let octets = &mime[part.body.start as usize..part.body.end as usize];
                prop_assert!(u64::from(head.lead) + u64::from(head.tail) <= octets.len() as u64);
                prop_assert!(head.tail == 0 || ordinal + 1 == count);
                joined.extend_from_slice(octets);
            }
            prop_assert_eq!(joined, from_dmime1(&to_dmime1(mime).unwrap()).mime);
        }

        #[test]
        fn bodies_come_back_octet_for_octet(body in body(), multipart: bool) {
            let kind = if multipart { "Content-Type: multipart/mixed; boundary=b\r\n" } else { "" };
            let content = to_dmime1(message(kind, &body)).unwrap();
            let rebuilt = from_dmime1(&content);
            prop_assert_eq!(rebuilt.how, How::Mapped);
            prop_assert_eq!(&rebuilt.mime[rebuilt.mime.len() - body.len()..], &body[..]);
            prop_assert_eq!(to_dmime1(rebuilt.mime).unwrap(), content);
        }

        #[test]
        fn folded_headers_never_break_the_way_back(value in "[ \\t]{0,3}[a\"\\\\; \\t=-]{0,20}(\r\n[ \\t][b\"; =]{0,5}){0,3}", body in body()) {
            let fields = format!("Content-Type: multipart/mixed; boundary=\"b{value}\"\r\n");
            if let Ok(content) = to_dmime1(message(&fields, &body)) {
                prop_assert_eq!(from_dmime1(&content).how, How::Mapped);
            }
        }

        #[test]
        fn arbitrary_content_is_always_delivered(common: Vec<u8>, other: Vec<u8>, display: Vec<Vec<u8>>, attachments: Vec<Vec<u8>>) {
            let shared = |list: Vec<Vec<u8>>| list.into_iter().map(Bytes::from).collect();
            let content = Content {
                common_headers: common.into(),
                other_headers: other.into(),
                display: shared(display),
                attachments: shared(attachments),
            };
            let mime = from_dmime1(&content).mime;
            prop_assert_eq!(by_data(&safe_for_data(mime.into())), ByData::AsIs);
        }

        #[test]
        fn cleaning_is_the_same_however_the_message_is_cut(
            pieces in prop::collection::vec(prop::sample::select(vec![
                "\r", "\n", " ", "DIME-X", "Authentication-Results", ":", "mx.a.example", "di", "Subject",
            ]), 0..20),
        ) {
            let whole = pieces.concat();
            let mut cleaner = EntryCleaner::new("mx.a.example");
            let mut out: Vec<u8> = pieces.iter().flat_map(|piece| cleaner.push(piece.as_bytes())).collect();
            out.extend(cleaner.finish());
            let at_once = clean_on_entry(whole.as_bytes(), "mx.a.example");
            prop_assert_eq!(&out, &at_once);
            // Cleaning again changes nothing.
            prop_assert_eq!(clean_on_entry(&at_once, "mx.a.example"), at_once);
        }

        #[test]
        fn a_message_in_pieces_is_made_safe_as_at_once(
            body in body(), value in "[a-z ]{0,3000}", ended: bool, size in 1_usize..200,
        ) {
            let mut whole = message(&format!("X: {value}\r\n"), &body);
            if !ended {
                whole.truncate(HEADER.len() + value.len() + 5);
            }
            let mut judge = Judge::default();
            whole.chunks(size).for_each(|piece| judge.push(piece));
            let safe = judge.finish();
            prop_assert_eq!(safe.verdict(), by_data(&whole));
            let mut sender = safe.sender();
            let mut out: Vec<u8> = whole.chunks(size).flat_map(|piece| sender.push(piece)).collect();
            out.extend(sender.finish());
            prop_assert_eq!(safe.size_bytes(), out.len() as u64);
            prop_assert_eq!(out, safe_for_data(whole.into()));
        }

        #[test]
        fn whatever_is_sent_by_data_has_plain_short_lines(body in body(), value in "[a-z ]{0,3000}") {
            let safe = safe_for_data(message(&format!("X: {value}\r\n"), &body).into());
            prop_assert_eq!(by_data(&safe), ByData::AsIs);
        }
    }
}
