//! Between MIME messages and what is sealed, and the cleaning of mail from outside.

use std::io::{Cursor, Read, Result as IoResult, Seek, SeekFrom};
use std::mem::discriminant;

use bytes::Bytes;
use dimed::dime::convert::clean::EntryCleaner;
use dimed::dime::convert::delivery::{ByData, by_data, safe_for_data};
use dimed::dime::convert::{
    Error, How, Rebuilt, check_dmime1, clean_on_entry, from_dmime1, rebuilt_header, to_dmime1, to_dmime2,
};
use dimed::dime::dmime1::Content;
use dimed::dime::dmime2::ChunkType;
use dimed::dime::dmime2::record::RecordHead;
use dimed::dime::dmime2::seal;

/// Name of the server that cleans.
const SERVER: &str = "mx.destination.example";

/// A mapped message comes back with its body, and maps again to the same content; any content can be delivered.
pub fn mapping(input: &[u8]) {
    let first = format1(input);
    let second = format2(input);
    if let (Err(first), Err(second)) = (&first, &second) {
        assert_eq!(discriminant(first), discriminant(second));
    }
    assert_eq!(first.is_ok(), second.is_ok(), "small messages fit both formats");
    check_delivery(&foreign(input));
}

fn format1(input: &[u8]) -> Result<(), Error> {
    let checked = check_dmime1(Cursor::new(input)).map_err(|error| discriminant(&error));
    let mapped = to_dmime1(input.to_vec());
    assert_eq!(checked, mapped.as_ref().map(|_| ()).map_err(discriminant));
    let content = mapped?;
    let Rebuilt { mime, how } = from_dmime1(&content);
    assert_eq!(how, How::Mapped);
    assert_eq!(body(&mime), body(input), "the body changed");
    assert_eq!(to_dmime1(mime).expect("a mapped message can be mapped"), content);
    Ok(())
}

fn format2(input: &[u8]) -> Result<(), Error> {
    let mapped = to_dmime2(Cursor::new(input))?;
    let slow = to_dmime2(Slow(Cursor::new(input))).expect("the same message in other pieces");
    assert_eq!(slow, mapped);
    check_records(&mapped, input);
    let mime = rebuilt(&mapped, input);
    assert_eq!(body(&mime), body(input), "the body changed");
    let again = to_dmime2(Cursor::new(&mime)).expect("a mapped message can be mapped");
    assert_eq!(rebuilt(&again, &mime), mime, "no canonical form");
    assert_eq!(heads(&again), heads(&mapped));
    Ok(())
}

/// Rules M2 and M3, and that the records stand in the order of their ordinals (`dmime2.md` §16.3).
fn check_records(mapped: &seal::Content, input: &[u8]) {
    let count = u16::try_from(mapped.parts.len()).expect("at most 512 parts");
    assert!((1..=512).contains(&count));
    for (ordinal, part) in (0..count).zip(&mapped.parts) {
        let head = part.head;
        assert_eq!((head.ordinal, head.count), (ordinal, count));
        let [lead, tail] = [head.lead, head.tail].map(u64::from);
        assert!(lead + tail <= part.body.end - part.body.start);
        assert!(tail == 0 || ordinal + 1 == count);
        assert!(part.body.end <= input.len() as u64);
    }
}

/// The message as a reader puts it together: header block, then the records in order of their ordinals.
fn rebuilt(mapped: &seal::Content, mime: &[u8]) -> Vec<u8> {
    let mut out = rebuilt_header(&mapped.common_headers, &mapped.other_headers);
    for part in &mapped.parts {
        out.extend_from_slice(&mime[part.body.start as usize..part.body.end as usize]);
    }
    out
}

fn heads(mapped: &seal::Content) -> Vec<(ChunkType, RecordHead)> {
    mapped.parts.iter().map(|part| (part.kind, part.head)).collect()
}

/// A source that gives three octets at a time.
struct Slow<R>(R);

impl<R: Read> Read for Slow<R> {
    fn read(&mut self, buffer: &mut [u8]) -> IoResult<usize> {
        let size = buffer.len().min(3);
        self.0.read(&mut buffer[..size])
    }
}

impl<R: Seek> Seek for Slow<R> {
    fn seek(&mut self, place: SeekFrom) -> IoResult<u64> {
        self.0.seek(place)
    }
}

/// What follows the first empty line.
fn body(mime: &[u8]) -> &[u8] {
    if let Some(body) = mime.strip_prefix(b"\r\n") {
        return body;
    }
    let end = mime.windows(4).position(|window| window == b"\r\n\r\n");
    end.map_or(&[], |end| &mime[end + 4..])
}

/// Content that other software might have sealed: pieces of the input, cut at zero octets.
fn foreign(input: &[u8]) -> Content {
    let mut pieces = input.split(|octet| *octet == 0).map(Bytes::copy_from_slice);
    let mut next = || pieces.next().unwrap_or_default();
    let (common_headers, other_headers, display) = (next(), next(), vec![next()]);
    Content {
        common_headers,
        other_headers,
        display,
        attachments: pieces.collect(),
    }
}

/// Whatever was sealed can be handed on in lines, and two readers of a mapped message see one text.
fn check_delivery(content: &Content) {
    let Rebuilt { mime, how } = from_dmime1(content);
    if how == How::Mapped {
        let again = to_dmime1(mime.clone()).expect("a mapped message can be mapped");
        assert_eq!(again.display, content.display, "two texts under one signature");
        assert_eq!(again.attachments, content.attachments);
    }
    assert_eq!(by_data(&safe_for_data(mime.into())), ByData::AsIs);
}

/// However a message is cut, it is cleaned alike; no marker and no bare line end is left; cleaning again changes nothing.
///
/// The first octet of the input is the size of the pieces.
pub fn clean(input: &[u8]) {
    let Some((size, message)) = input.split_first() else {
        return;
    };
    let at_once = clean_on_entry(message, SERVER);
    let mut cleaner = EntryCleaner::new(SERVER);
    let pieces = message.chunks(usize::from(*size) + 1);
    let mut out: Vec<u8> = pieces.flat_map(|piece| cleaner.push(piece)).collect();
    out.extend(cleaner.finish());
    assert_eq!(out, at_once);
    assert_eq!(clean_on_entry(&at_once, SERVER), at_once);
    assert_no_bare_line_end(&at_once);
    let header = at_once
        .split(|octet| *octet == b'\n')
        .take_while(|line| *line != b"\r");
    for line in header {
        let marker = line
            .get(..5)
            .is_some_and(|name| name.eq_ignore_ascii_case(b"DIME-"));
        assert!(!marker || !line.contains(&b':'), "a marker from outside");
    }
}

fn assert_no_bare_line_end(message: &[u8]) {
    let mut before = None;
    for &octet in message {
        assert_eq!(before == Some(b'\r'), octet == b'\n', "a bare CR or LF");
        before = Some(octet);
    }
    assert_ne!(before, Some(b'\r'));
}
