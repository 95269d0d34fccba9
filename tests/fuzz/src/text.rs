//! The text inside envelope and header chunks of both formats.

use std::io::Cursor;

use dimed::dime::convert::{rebuilt_header, to_dmime2};
use dimed::dime::dmime1::envelope::{DestinationEnvelope, OriginEnvelope, is_sealable};
use dimed::dime::dmime1::metadata::CommonHeaders;
use dimed::dime::dmime2::envelope as envelope2;
use dimed::dime::dmime2::headers::{check_common, check_other};

/// Four lines have one reading; only the case of domains is folded on the way.
pub fn envelope(input: &[u8]) {
    if let Some(envelope) = OriginEnvelope::decode(input) {
        assert!(envelope.encode().eq_ignore_ascii_case(input));
        assert_eq!(
            OriginEnvelope::decode(&envelope.encode()).as_ref(),
            Some(&envelope)
        );
        assert!(is_sealable(&envelope.author));
        assert_eq!(DestinationEnvelope::decode(input), None);
    }
    if let Some(envelope) = DestinationEnvelope::decode(input) {
        assert!(envelope.encode().eq_ignore_ascii_case(input));
        assert_eq!(
            DestinationEnvelope::decode(&envelope.encode()).as_ref(),
            Some(&envelope)
        );
        assert!(is_sealable(&envelope.recipient));
    }
    envelope_of_format2(input);
}

/// Octet for octet one form, which format 1 reads too.
fn envelope_of_format2(input: &[u8]) {
    if let Ok(envelope) = envelope2::OriginEnvelope::decode(input) {
        assert_eq!(envelope.encode(), input);
        assert!(OriginEnvelope::decode(input).is_some());
    }
    if let Ok(envelope) = envelope2::DestinationEnvelope::decode(input) {
        assert_eq!(envelope.encode(), input);
        assert!(DestinationEnvelope::decode(input).is_some());
    }
}

/// Lines have one reading, and that is written as the same lines in the one order; what format 2 takes is the mapping of
/// the header block that it gives.
pub fn headers(input: &[u8]) {
    if let Ok(headers) = CommonHeaders::decode(input) {
        let written = headers.encode().expect("values that were read can be written");
        assert_eq!(CommonHeaders::decode(&written).as_ref(), Ok(&headers));
        assert_eq!(sorted_lines(&written), sorted_lines(input));
    }
    if check_common(input).is_ok() {
        common_of_format2(input);
    }
    if check_other(input).is_ok() {
        other_of_format2(input);
    }
}

fn common_of_format2(input: &[u8]) {
    let headers = CommonHeaders::decode(input).expect("format 1 takes what format 2 takes");
    assert_eq!(headers.encode().as_deref(), Ok(input));
    let again =
        to_dmime2(Cursor::new(rebuilt_header(input, b""))).expect("a header block that can be mapped");
    let empty: [&[u8]; 4] = [b"CC: \r\n", b"Organization: \r\n", b"To: \r\n", b"Subject: \r\n"];
    if empty
        .iter()
        .all(|line| !input.windows(line.len()).any(|window| window == *line))
    {
        assert_eq!(again.common_headers, input);
    }
}

fn other_of_format2(input: &[u8]) {
    const COMMON: &[u8] = b"Date: d\r\nTo: t\r\nFrom: f\r\nSubject: s\r\n";
    let again =
        to_dmime2(Cursor::new(rebuilt_header(COMMON, input))).expect("a header block that can be mapped");
    assert_eq!(again.common_headers, COMMON);
    let added = again
        .other_headers
        .strip_prefix(input)
        .expect("fields that nothing changes");
    assert!(matches!(added, b"" | b"MIME-Version: 1.0\r\n"));
}

fn sorted_lines(text: &[u8]) -> Vec<&[u8]> {
    let mut lines: Vec<_> = text.split(|octet| *octet == b'\n').collect();
    lines.sort_unstable();
    lines
}
