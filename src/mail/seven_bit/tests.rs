#![allow(clippy::unwrap_used)]

use mail_parser::{MessageParser, MimeHeaders};
use proptest::prelude::*;

use super::*;

fn seven(message: &str) -> Result<String, Error> {
    convert(message.as_bytes(), Limit::SevenBit).map(|out| String::from_utf8(out).unwrap())
}

#[test]
fn text_becomes_quoted_printable_and_stays_readable() {
    let message = "From: a@b.test\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\
        Content-Transfer-Encoding: 8bit\r\nSubject: hi\r\n\r\nplain = line \r\n.Grüße\r\n";
    assert_eq!(
        seven(message).unwrap(),
        "From: a@b.test\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nSubject: hi\r\n\
         Content-Transfer-Encoding: quoted-printable\r\n\r\nplain =3D line=20\r\n.Gr=C3=BC=C3=9Fe\r\n"
    );
}

#[test]
fn text_of_another_script_becomes_base64() {
    let message = "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nПривет\r\n";
    assert_eq!(
        seven(message).unwrap(),
        "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n\
         0J/RgNC40LLQtdGCDQo=\r\n"
    );
}

#[test]
fn a_message_that_is_not_mime_becomes_one_of_an_unknown_charset() {
    let out = convert(
        b"Subject: hi\r\n\r\nna\xEFve and much more of it\r\n",
        Limit::SevenBit,
    )
    .unwrap();
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "Subject: hi\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=unknown-8bit\r\n\
         Content-Transfer-Encoding: quoted-printable\r\n\r\nna=EFve and much more of it\r\n"
    );
}

#[test]
fn parts_are_converted_one_by_one_and_the_others_stay_as_they_are() {
    let message = "MIME-Version: 1.0\r\nContent-Type: multipart/mixed;\r\n boundary=\"o u\\\"t\"\r\n\
        Content-Transfer-Encoding: 8bit\r\n\r\npreamble\r\n--o u\"t\r\nContent-Type: text/plain\r\n\r\n  odd\t \r\n\r\n\
        --o u\"t  \r\nContent-Type: multipart/alternative; boundary=o\r\n\r\n--o\r\n\r\nä and some more\r\n--ou\r\n--o--\r\n\
        --o u\"t\r\nContent-Type: message/rfc822\r\n\r\nSubject: inner\r\n\r\nö and some more\r\n--o u\"t--\r\nepilogue\r\n";
    assert_eq!(
        seven(message).unwrap(),
        "MIME-Version: 1.0\r\nContent-Type: multipart/mixed;\r\n boundary=\"o u\\\"t\"\r\n\
         \r\npreamble\r\n--o u\"t\r\nContent-Type: text/plain\r\n\r\n  odd\t \r\n\r\n\
         --o u\"t  \r\nContent-Type: multipart/alternative; boundary=o\r\n\r\n\r\n--o\r\n\
         Content-Transfer-Encoding: quoted-printable\r\n\r\n=C3=A4 and some more\r\n--ou\r\n--o--\r\n\
         --o u\"t\r\nContent-Type: message/rfc822\r\n\r\nSubject: inner\r\nMIME-Version: 1.0\r\n\
         Content-Type: text/plain; charset=unknown-8bit\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n\
         =C3=B6 and some more\r\n--o u\"t--\r\nepilogue\r\n"
            .replace("boundary=o\r\n\r\n\r\n--o\r\n", "boundary=o\r\n\r\n--o\r\n")
    );
    assert_eq!(
        seven(&message.replace("preamble", "preämble")),
        Err(Error::Structure)
    );
}

#[test]
fn what_is_signed_stays_or_nothing_goes() {
    let signed = "MIME-Version: 1.0\r\nContent-Type: multipart/signed; boundary=s\r\n\r\n\
        --s\r\nContent-Type: text/plain\r\n\r\nTEXT\r\n--s\r\n\r\nsignature\r\n--s--\r\n";
    assert_eq!(seven(&signed.replace("TEXT", "ä")), Err(Error::Sealed));
    assert_eq!(seven(signed).unwrap(), signed);
    let long = signed.replace("TEXT", &"x".repeat(2000));
    assert_eq!(convert(long.as_bytes(), Limit::Lines).unwrap(), long.as_bytes());
}

#[test]
fn what_may_not_be_encoded_is_refused() {
    for (message, error) in [
        ("Subject: ä\r\n\r\nhi\r\n", Error::Header),
        ("Subject: ä\r\n\r\nö\r\n", Error::Header),
        (
            "Content-Type: message/partial\r\n\r\nSubject: x\r\n\r\nä\r\n",
            Error::Structure,
        ),
        ("Content-Type: multipart/mixed\r\n\r\nä\r\n", Error::Structure),
        ("Content-Transfer-Encoding: base64\r\n\r\nä\r\n", Error::Structure),
        (
            "Content-Transfer-Encoding: quoted-printable\r\n\r\nä\r\n",
            Error::Structure,
        ),
        (
            "Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nContent-Disposition: ä\r\n\r\n\r\n--x--\r\n",
            Error::Header,
        ),
    ] {
        assert_eq!(seven(message), Err(error), "{message}");
    }
    let deep = "Content-Type: message/rfc822\r\n\r\n".repeat(MAX_DEPTH + 2);
    assert_eq!(seven(&format!("{deep}\r\nä\r\n")), Err(Error::Structure));
}

#[test]
fn long_lines_are_broken_up_and_eight_bits_left_alone() {
    let long = "x".repeat(MAX_LINE + 1);
    let head = "MIME-Version: 1.0\r\nContent-Type: text/plain\r\n";
    let out = convert(format!("{head}\r\n{long}\r\n").as_bytes(), Limit::Lines).unwrap();
    assert!(!has_long_line(&out));
    let message = MessageParser::default().parse(&out).unwrap();
    assert_eq!(message.body_text(0).unwrap(), format!("{long}\r\n"));
    let fits = format!("{head}\r\n{}ä\r\n", "x".repeat(MAX_LINE - 2));
    assert_eq!(convert(fits.as_bytes(), Limit::Lines).unwrap(), fits.as_bytes());
    let coded = base64(&[7; 3000]);
    let message = format!("Content-Transfer-Encoding: base64\r\n\r\n{coded}\r\n");
    let out = convert(message.as_bytes(), Limit::Lines).unwrap();
    assert!(!has_long_line(&out));
    assert_eq!(decoded(headers::split(&out).rest).unwrap(), [7; 3000]);
}

#[test]
fn nothing_is_left_out_though_no_delimiter_is_where_it_should_be() {
    let long = "x".repeat(MAX_LINE + 1);
    for (boundary, body) in [
        ("y", format!("--x\r\n\r\n{long}\r\n--x--\r\n")),
        ("x", format!("{long}\r\n--x\r\n\r\nhi\r\n--x--\r\n{long}\r\n")),
    ] {
        let message = format!("Content-Type: multipart/mixed; boundary=\"{boundary}\"\r\n\r\n{body}");
        let out = convert(message.as_bytes(), Limit::Lines).unwrap();
        assert_eq!(out, message.as_bytes());
        assert_eq!(seven(&message.replace(&long, "ä")), Err(Error::Structure));
    }
    // A blank at the end of a boundary is none of it.
    let message = format!(
        "Content-Type: multipart/mixed; boundary=\"x \"\r\n\r\n--x\r\nContent-Type: text/plain\r\n\r\n{long}\r\n--x--\r\n"
    );
    let out = convert(message.as_bytes(), Limit::Lines).unwrap();
    assert!(!has_long_line(&out));
    let text = String::from_utf8(out).unwrap();
    assert!(
        text.replace("=\r\n", "")
            .contains(&format!("\r\n\r\n{long}\r\n--x--")),
        "{text}"
    );
}

#[test]
fn parts_of_a_digest_are_messages() {
    let message = "Content-Type: multipart/digest; boundary=x\r\n\r\n--x\r\n\r\nSubject: inner\r\n\r\nö and more text\r\n--x--\r\n";
    let out = seven(message).unwrap();
    assert!(
        out.contains("--x\r\n\r\nSubject: inner\r\nMIME-Version: 1.0\r\n"),
        "{out}"
    );
    assert!(out.contains("=C3=B6 and more text"), "{out}");
}

#[test]
fn headers_of_parts_are_looked_at_for_utf_8() {
    for (message, expected) in [
        ("Subject: hi\r\n\r\nä\r\n", false),
        ("Subject: ä\r\n\r\nhi\r\n", true),
        (
            "Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nContent-Type: text/plain; name=ä\r\n\r\n\r\n--x--\r\n",
            true,
        ),
        (
            "Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nContent-Type: text/plain\r\n\r\nä\r\n--x--\r\n",
            false,
        ),
        (
            "Content-Type: message/rfc822\r\n\r\nSubject: ä\r\n\r\nhi\r\n",
            true,
        ),
    ] {
        assert_eq!(
            has_international_headers(message.as_bytes()),
            expected,
            "{message}"
        );
    }
}

proptest! {
    /// Another implementation reads the same out of both.
    #[test]
    fn the_content_is_the_same_afterwards(lines in proptest::collection::vec("[a-zä€=. \t\u{1}]{0,90}", 0..20), binary in proptest::collection::vec(any::<u8>(), 0..300)) {
        let text = lines.join("\r\n") + "\r\n";
        let binary: Vec<u8> = binary.into_iter().filter(|octet| !b"\r\n".contains(octet)).collect();
        let mut message = format!(
            "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=xyz\r\n\r\n--xyz\r\n\
             Content-Type: text/plain; charset=utf-8\r\n\r\n{text}\r\n--xyz\r\nContent-Type: application/x\r\n\
             Content-Transfer-Encoding: binary\r\n\r\n").into_bytes();
        message.extend_from_slice(&binary);
        message.extend_from_slice(b"\r\n--xyz--\r\n");
        let out = convert(&message, Limit::SevenBit).unwrap();
        prop_assert!(out.is_ascii() && !has_long_line(&out));
        let parsed = MessageParser::default().parse(&out).unwrap();
        let read = parsed.body_text(0).unwrap().into_owned();
        prop_assert_eq!(&read, &text);
        let attachment = parsed.attachments().next().unwrap();
        prop_assert_eq!(attachment.contents(), binary.as_slice());
        prop_assert!(attachment.content_type().is_some());
    }

    #[test]
    fn arbitrary_octets_never_panic_and_are_clean_afterwards(message in proptest::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(out) = convert(&message, Limit::SevenBit) {
            prop_assert!(out.is_ascii());
        }
        let _ = has_international_headers(&message);
        convert(&message, Limit::Lines).unwrap();
    }

    #[test]
    fn pieces_make_the_body(body in "[-x\r\n]{0,60}") {
        let joined: Vec<u8> = Pieces::of(body.as_bytes(), b"x")
            .flat_map(|piece| match piece { Piece::Around(t) | Piece::Delimiter(t) | Piece::Part(t) => t.to_vec() })
            .collect();
        prop_assert_eq!(joined, body.into_bytes());
    }
}
