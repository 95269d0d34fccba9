#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

const BOUNDS: Bounds = Bounds {
    message: 1000,
    line: 100,
    bare: BareLineEnds::Refused,
};

const LENIENT: Bounds = Bounds {
    bare: BareLineEnds::Kept,
    ..BOUNDS
};

type Decoded<'a> = (Result<Vec<u8>, Fault>, &'a [u8]);

/// What became of data: the message or the fault, and the octets left over after its end.
fn decode(wire: &[u8]) -> Option<Decoded<'_>> {
    decode_within(BOUNDS, wire)
}

fn decode_within(bounds: Bounds, wire: &[u8]) -> Option<Decoded<'_>> {
    let mut decoder = Decoder::new(bounds);
    let mut message = Vec::new();
    let consumed = decoder.decode(wire, &mut message);
    decoder
        .is_complete()
        .then(|| (decoder.fault().map_or(Ok(message), Err), &wire[consumed..]))
}

/// Cuts `input` at the given places, wrapping them into its length.
fn cut<'a>(input: &'a [u8], places: &[usize]) -> Vec<&'a [u8]> {
    let mut places: Vec<_> = places.iter().map(|place| place % (input.len() + 1)).collect();
    places.extend([0, input.len()]);
    places.sort_unstable();
    places.windows(2).map(|pair| &input[pair[0]..pair[1]]).collect()
}

#[test]
fn dots_are_undoubled_and_the_end_is_exact() {
    for (wire, message) in [
        (".\r\n", ""),
        ("a\r\n.\r\n", "a\r\n"),
        ("..\r\n.\r\n", ".\r\n"),
        ("...\r\n.\r\n", "..\r\n"),
        (".a\r\n.\r\n", "a\r\n"),
        ("a.\r\n.\r\n", "a.\r\n"),
        ("\r\n\r\n.\r\n", "\r\n\r\n"),
    ] {
        let expected = Some((Ok(message.as_bytes().to_vec()), b"".as_slice()));
        assert_eq!(decode(wire.as_bytes()), expected, "{wire:?}");
    }
}

#[test]
fn what_follows_the_end_is_left_alone() {
    let (message, rest) = decode(b"a\r\n.\r\n.\r\nQUIT\r\n").unwrap();
    assert_eq!(message, Ok(b"a\r\n".to_vec()));
    assert_eq!(rest, b".\r\nQUIT\r\n");
}

/// Every sequence that some server has taken for the end of data. None is one here, and none is delivered.
#[test]
fn smuggled_ends_of_data_end_nothing() {
    for (end, fault) in [
        ("\n.\n", Fault::BareLf),
        ("\n.\r\n", Fault::BareLf),
        ("\r.\r", Fault::BareCr),
        ("\r.\r\n", Fault::BareCr),
        ("\r\n.\n", Fault::BareLf),
        ("\r\n.\r", Fault::BareCr),
        ("\n\n.\r\n", Fault::BareLf),
        ("\r\n.\r\r\n", Fault::BareCr),
        ("\r\n\0.\r\n", Fault::Nul),
        ("\r\n.\0\r\n", Fault::Nul),
    ] {
        let wire = format!("a{end}MAIL FROM:<x@a.test>\r\n");
        assert_eq!(decode(wire.as_bytes()), None, "{end:?} ended the data");
        let wire = format!("{wire}.\r\n");
        assert_eq!(
            decode(wire.as_bytes()),
            Some((Err(fault), b"".as_slice())),
            "{end:?}"
        );
    }
}

#[test]
fn kept_line_ends_are_part_of_the_message_and_end_nothing() {
    for (end, kept) in [
        ("\n.\n", "\n.\n"),
        ("\n.\r\n", "\n.\r\n"),
        ("\r.\r", "\r.\r"),
        ("\r\n.\n", "\r\n\n"),
        ("\r\n.\r", "\r\n\r"),
        ("\r\n.\r\r\n", "\r\n\r\r\n"),
        ("\n..\r\n", "\n..\r\n"),
    ] {
        let wire = format!("a{end}x\r\n.\r\nrest");
        let (message, rest) = decode_within(LENIENT, wire.as_bytes()).unwrap();
        assert_eq!(message.unwrap(), format!("a{kept}x\r\n").as_bytes(), "{end:?}");
        assert_eq!(rest, b"rest", "{end:?}");
    }
    let lines = "x\n".repeat(200);
    assert!(
        decode_within(LENIENT, format!("{lines}\r\n.\r\n").as_bytes())
            .unwrap()
            .0
            .is_ok()
    );
    let nul = decode_within(LENIENT, b"a\0\r\n.\r\n").unwrap().0;
    assert_eq!(nul, Err(Fault::Nul));
}

#[test]
fn bounds_are_exact() {
    let line = "x".repeat(100);
    assert!(decode(format!("{line}\r\n.\r\n").as_bytes()).unwrap().0.is_ok());
    let long = decode(format!("{line}x\r\n.\r\n").as_bytes()).unwrap().0;
    assert_eq!(long, Err(Fault::LineTooLong));
    let full = format!("{}\r\n", "x".repeat(98)).repeat(10);
    assert_eq!(full.len(), 1000);
    assert!(decode(format!("{full}.\r\n").as_bytes()).unwrap().0.is_ok());
    assert_eq!(
        decode(format!("{full}x\r\n.\r\n").as_bytes()).unwrap().0,
        Err(Fault::TooLarge)
    );
}

#[test]
fn nothing_is_kept_of_data_beyond_the_bound() {
    let mut decoder = Decoder::new(BOUNDS);
    let mut message = Vec::new();
    for _ in 0..100 {
        decoder.decode(&b"xxxxxxxxx\r\n".repeat(100), &mut message);
    }
    assert_eq!(decoder.fault(), Some(Fault::TooLarge));
    assert!(message.len() <= 1000);
}

#[test]
fn encoder_never_lets_a_bare_line_end_out() {
    for (body, wire) in [
        ("", ".\r\n"),
        ("a", "a\r\n.\r\n"),
        ("a\r", "a\r\n.\r\n"),
        ("a\n.\nb", "a\r\n..\r\nb\r\n.\r\n"),
        ("a\r.\rb", "a\r\n..\r\nb\r\n.\r\n"),
        ("a\r\r\nb", "a\r\n\r\nb\r\n.\r\n"),
        (".\r\n..", "..\r\n...\r\n.\r\n"),
    ] {
        let mut encoder = Encoder::default();
        let mut out = Vec::new();
        encoder.encode(body.as_bytes(), &mut out);
        encoder.finish(&mut out);
        assert_eq!(String::from_utf8(out).unwrap(), wire, "{body:?}");
    }
}

fn encode(pieces: &[&[u8]]) -> Vec<u8> {
    let mut encoder = Encoder::default();
    let mut wire = Vec::new();
    for piece in pieces {
        encoder.encode(piece, &mut wire);
    }
    encoder.finish(&mut wire);
    wire
}

proptest! {
    #[test]
    fn decode_inverts_encode_in_any_pieces(
        lines in proptest::collection::vec("[.a\u{e9}]{0,5}", 0..12),
        places in proptest::collection::vec(any::<usize>(), 0..8),
    ) {
        let message: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
        let wire = encode(&cut(message.as_bytes(), &places));
        let mut decoder = Decoder::new(BOUNDS);
        let mut decoded = Vec::new();
        for piece in cut(&wire, &places) {
            prop_assert_eq!(decoder.decode(piece, &mut decoded), piece.len());
        }
        prop_assert!(decoder.is_complete());
        prop_assert_eq!(decoder.fault(), None);
        prop_assert_eq!(decoder.size_bytes(), message.len() as u64);
        prop_assert_eq!(decoded, message.into_bytes());
    }

    #[test]
    fn cutting_changes_nothing(
        wire in proptest::collection::vec(prop::sample::select(b"\r\n.a\0".to_vec()), 0..40),
        places in proptest::collection::vec(any::<usize>(), 0..6),
    ) {
        let mut decoder = Decoder::new(BOUNDS);
        let mut message = Vec::new();
        let mut consumed = 0;
        for piece in cut(&wire, &places) {
            consumed += decoder.decode(piece, &mut message);
        }
        let outcome = decoder.is_complete().then(|| (decoder.fault().map_or(Ok(message), Err), &wire[consumed..]));
        prop_assert_eq!(outcome, decode(&wire));
    }

    #[test]
    fn whatever_is_encoded_is_accepted_as_one_message(
        body in proptest::collection::vec(prop::sample::select(b"\r\n.a".to_vec()), 0..40),
        places in proptest::collection::vec(any::<usize>(), 0..6),
    ) {
        let wire = encode(&cut(&body, &places));
        prop_assert_eq!(&wire, &encode(&[&body]));
        let (message, rest) = decode(&wire).unwrap();
        prop_assert!(message.is_ok());
        prop_assert!(rest.is_empty());
    }
}
