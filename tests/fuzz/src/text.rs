//! The text inside envelope and header chunks.

use dimed::dime::dmime1::envelope::{DestinationEnvelope, OriginEnvelope, is_sealable};
use dimed::dime::dmime1::metadata::CommonHeaders;

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
}

/// Lines have one reading, and that is written as the same lines in the one order.
pub fn headers(input: &[u8]) {
    let Ok(headers) = CommonHeaders::decode(input) else {
        return;
    };
    let written = headers.encode().expect("values that were read can be written");
    assert_eq!(CommonHeaders::decode(&written).as_ref(), Ok(&headers));
    assert_eq!(sorted_lines(&written), sorted_lines(input));
}

fn sorted_lines(text: &[u8]) -> Vec<&[u8]> {
    let mut lines: Vec<_> = text.split(|octet| *octet == b'\n').collect();
    lines.sort_unstable();
    lines
}
