//! What the demo sends.

use std::fs;
use std::path::Path;

use anyhow::Context as _;
use mail_builder::MessageBuilder;

use crate::base::id::QueueId;
use crate::mail::address::Mailbox;

/// A message as it is submitted, with CRLF line ends.
#[derive(Clone)]
pub struct Letter {
    /// Header block, empty line, body.
    pub octets: Vec<u8>,
    /// What its attachment holds, if we made it ourselves.
    pub attachment: Option<Vec<u8>>,
}

/// Reads a message from a file, as mail programs save them.
///
/// Lines that end in LF or CR alone, or not at all, get CRLF, and the `From ` line of an mbox is left out, because
/// nothing else can be submitted; the rest is sent as it is.
pub fn from_file(path: &Path) -> anyhow::Result<Letter> {
    let octets = fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?;
    Ok(Letter {
        octets: without_mbox_line(with_crlf(&octets)),
        attachment: None,
    })
}

/// Message 1, from Alice to Bob: text, HTML and an attachment in which every octet stands.
pub fn greeting(from: &Mailbox, to: &Mailbox) -> anyhow::Result<Letter> {
    let attachment: Vec<u8> = (0..=u8::MAX).cycle().take(4096).collect();
    let message = addressed("Alice", from, "Bob", to)
        .subject("Grüße aus Köln — 你好, Bob ✉")
        .text_body("Hello Bob,\n\nonly you can read this. The photographs are attached.\n\nÀ bientôt\nAlice\n")
        .html_body("<p>Hello Bob,</p>\n<p>only <b>you</b> can read this. The photographs are attached.</p>\n<p>À bientôt<br>Alice</p>\n")
        .attachment("application/octet-stream", "photographs.bin", attachment.clone());
    Ok(Letter {
        octets: message.write_to_vec()?,
        attachment: Some(attachment),
    })
}

/// Message 2: Bob answers.
pub fn answer(from: &Mailbox, to: &Mailbox) -> anyhow::Result<Letter> {
    text(
        addressed("Bob", from, "Alice", to),
        "Re: Grüße aus Köln — 你好, Bob ✉",
        "Thank you, Alice!\n\nBob\n",
    )
}

/// Message 3: Alice writes to Carol, who has no DIME.
pub fn to_carol(from: &Mailbox, to: &Mailbox) -> anyhow::Result<Letter> {
    text(
        addressed("Alice", from, "Carol", to),
        "Lunch",
        "Dear Carol,\n\nare you free on Thursday?\n\nAlice\n",
    )
}

/// Message 4: Carol writes to Bob.
pub fn from_carol(from: &Mailbox, to: &Mailbox) -> anyhow::Result<Letter> {
    text(
        addressed("Carol", from, "Bob", to),
        "Alice and lunch",
        "Bob, will you come, too?\n\n.\nCarol\n",
    )
}

/// Message 5, for somebody who does not exist.
pub fn to_nobody(from: &Mailbox, to: &Mailbox) -> anyhow::Result<Letter> {
    text(
        addressed("Alice", from, "Nobody", to),
        "Are you there?",
        "Is anybody there?\n",
    )
}

fn text(message: MessageBuilder<'_>, subject: &'static str, body: &'static str) -> anyhow::Result<Letter> {
    Ok(Letter {
        octets: message.subject(subject).text_body(body).write_to_vec()?,
        attachment: None,
    })
}

fn addressed(
    from_name: &'static str,
    from: &Mailbox,
    to_name: &'static str,
    to: &Mailbox,
) -> MessageBuilder<'static> {
    let id = QueueId::random(&mut rand::rng());
    MessageBuilder::new()
        .message_id(format!("{id}@{}", from.domain()))
        .from((from_name.to_owned(), from.to_string()))
        .to((to_name.to_owned(), to.to_string()))
}

fn with_crlf(octets: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(octets.len() + octets.len() / 32);
    let mut rest = octets;
    while let Some(end) = memchr::memchr2(b'\r', b'\n', rest) {
        out.extend_from_slice(&rest[..end]);
        out.extend_from_slice(b"\r\n");
        let both = rest[end..].starts_with(b"\r\n");
        rest = &rest[end + 1 + usize::from(both)..];
    }
    out.extend_from_slice(rest);
    if !rest.is_empty() {
        out.extend_from_slice(b"\r\n");
    }
    out
}

fn without_mbox_line(octets: Vec<u8>) -> Vec<u8> {
    let end = memchr::memchr(b'\n', &octets);
    match (octets.starts_with(b"From "), end) {
        (true, Some(end)) => octets[end + 1..].to_vec(),
        _ => octets,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_ends_become_crlf_and_nothing_else_changes() {
        assert_eq!(
            with_crlf(b"a\nb\r\n\nc\rd\r\r\n\0"),
            b"a\r\nb\r\n\r\nc\r\nd\r\n\r\n\0\r\n"
        );
        assert_eq!(with_crlf(b"a\n"), b"a\r\n");
        assert_eq!(with_crlf(b""), b"");
    }

    #[test]
    fn only_the_first_line_of_an_mbox_goes() {
        let mbox = b"From a@b.example Mon Jan 1\r\nFrom: a\r\n".to_vec();
        assert_eq!(without_mbox_line(mbox), b"From: a\r\n");
        assert_eq!(without_mbox_line(b"From: a\r\n".to_vec()), b"From: a\r\n");
        assert_eq!(without_mbox_line(b"From ".to_vec()), b"From ");
    }
}
