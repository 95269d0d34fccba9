//! What is said of a message from another host: From, DMARC, chains of ARC, and the field of results.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use dimed::authentication::author::{Author, author};
use dimed::authentication::{Examination, Sender, arc};
use dimed::dime::convert::clean_on_entry;
use dimed::mail::address::ReversePath;
use dimed::mail::headers;

use super::dns::{Lines, now};

/// The server that examines.
const SERVER: &str = "mx.destination.example";

/// The first octet says how the message is cut; lines of the body are what DNS has.
pub fn authentication(input: &[u8]) {
    let Some((cut, message)) = input.split_first() else {
        return;
    };
    one_author(message);
    chain(message);
    nothing_in_our_name(&clean_on_entry(message, SERVER));
    for enforced in [false, true] {
        results(message, usize::from(*cut) + 1, enforced);
    }
}

/// Where an author is found, nobody finds two: not even who passes over lines that are no fields.
fn one_author(message: &[u8]) {
    if author(message) == Author::Unusable {
        return;
    }
    let lines = lines(message).take_while(|line| !line.is_empty());
    let is_from = |line: &&[u8]| {
        let name = line.split(|octet| *octet == b':').next().unwrap_or_default();
        line.contains(&b':') && name.trim_ascii_end().eq_ignore_ascii_case(b"from")
    };
    assert_eq!(lines.filter(is_from).count(), 1);
}

fn lines(message: &[u8]) -> impl Iterator<Item = &[u8]> {
    let lines = message.split(|octet| *octet == b'\n');
    lines.map(|line| line.strip_suffix(b"\r").unwrap_or(line))
}

/// A chain has each set once, and whole.
fn chain(message: &[u8]) {
    let block = headers::split(message).block;
    let Some(length) = arc::length(block) else {
        return;
    };
    assert!(length <= 50);
    for name in ["ARC-Seal", "ARC-Message-Signature", "ARC-Authentication-Results"] {
        assert_eq!(headers::count(block, name), length);
    }
}

/// Nobody who reads results as RFC 8601 says finds any that seem to be ours.
fn nothing_in_our_name(cleaned: &[u8]) {
    for field in headers::fields(cleaned).filter(|field| field.is("Authentication-Results")) {
        assert_ne!(who(field.value()), SERVER.as_bytes(), "results in our name");
    }
}

/// The one who says what stands in a field of results, in lower case and without a last dot.
fn who(value: &[u8]) -> Vec<u8> {
    let mut rest = value;
    loop {
        rest = rest.trim_ascii_start();
        match rest.first() {
            Some(b'(') => rest = after_comment(rest),
            _ => break,
        }
    }
    let name = match rest.strip_prefix(b"\"") {
        Some(quoted) => quoted_string(quoted),
        None => {
            let is_end = |octet: &u8| octet.is_ascii_whitespace() || b";(".contains(octet);
            let end = rest.iter().position(is_end).unwrap_or(rest.len());
            rest[..end].to_vec()
        }
    };
    let name = name.to_ascii_lowercase();
    name.strip_suffix(b".").unwrap_or(&name).to_vec()
}

fn after_comment(text: &[u8]) -> &[u8] {
    let (mut depth, mut at) = (0_usize, 0);
    while at < text.len() {
        match text[at] {
            b'\\' => at += 1,
            b'(' => depth += 1,
            b')' => depth -= 1,
            _ => {}
        }
        at += 1;
        if depth == 0 {
            break;
        }
    }
    text.get(at..).unwrap_or_default()
}

fn quoted_string(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut octets = text.iter();
    while let Some(octet) = octets.next() {
        match octet {
            b'"' => break,
            b'\\' => out.extend(octets.next()),
            b'\r' | b'\n' => {}
            octet => out.push(*octet),
        }
    }
    out
}

/// The fields keep their length, and say what we say and nothing else.
fn results(message: &[u8], size: usize, enforced: bool) {
    let split = headers::split(message);
    let reverse_path = headers::find(split.block, "Return-Path")
        .and_then(|field| ReversePath::parse(std::str::from_utf8(field.value()).ok()?).ok());
    let sender = Sender {
        address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
        hello: "client.example".into(),
        reverse_path: reverse_path.unwrap_or(ReversePath::NULL),
        results: Vec::new(),
    };
    let resolver = Arc::new(Lines::of(split.rest));
    let server = SERVER.parse().unwrap();
    let mut examination = Examination::new(resolver, server, sender, enforced, 1 << 16, 0);
    message.chunks(size).for_each(|piece| examination.push(piece));
    let before = now(examination.fields());
    let (after, _) = examination.conclude().expect("fields were asked for");
    assert_eq!(before.len(), after.len());
    for fields in [before, after] {
        well_formed(&fields);
    }
}

fn well_formed(fields: &[u8]) {
    assert!(headers::split(fields).rest.is_empty());
    let names: Vec<_> = headers::fields(fields).map(|field| field.name).collect();
    assert!(matches!(
        &names[..],
        [b"Authentication-Results"] | [b"Authentication-Results", b"X-Spam-Flag"]
    ));
    let field = headers::fields(fields).next().expect("one at least");
    let text = std::str::from_utf8(field.value()).expect("ASCII");
    assert!(text.chars().all(|c| matches!(c, ' '..='~' | '\t' | '\r' | '\n')));
    let mut results = text.split(';');
    assert_eq!(results.next(), Some(SERVER));
    for result in results {
        let result = result.strip_prefix("\r\n\t").expect("one to a line");
        assert!(
            ["spf=", "dkim=", "dmarc="]
                .iter()
                .any(|method| result.starts_with(method))
        );
        assert_eq!(result.matches('"').count() % 2, 0);
        assert_eq!(result.matches('(').count(), result.matches(')').count());
    }
}
