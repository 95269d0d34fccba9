//! DKIM: signatures, keys, and the forms of header and body that are signed.

use dimed::authentication::dkim::canonical::{BodyHash, Canonical, HashedBody};
use dimed::authentication::dkim::signature::{Signature, without_own_octets};
use dimed::authentication::dkim::{MAX_SIGNATURES, Verdict, check, key};
use dimed::crypto::hash::sha256;
use dimed::mail::headers::{self, Field};

use super::dns::{Lines, now};

/// The first octet says how the body is cut; lines of the body are the key records.
pub fn dkim(input: &[u8]) {
    let Some((cut, message)) = input.split_first() else {
        return;
    };
    let split = headers::split(message);
    for field in headers::fields(split.block) {
        forms(&field);
        signature(&field, split.rest);
    }
    body(split.rest, usize::from(*cut) + 1);
    let keys = Lines::of(split.rest);
    let checked = now(check(&keys, split.block, 0));
    assert!(checked.len() <= MAX_SIGNATURES && keys.asked() <= checked.len());
    assert!(
        checked
            .iter()
            .all(|one| one.verdict != Verdict::Pass || one.signature.is_some())
    );
}

/// Relaxed form is one line, and its own relaxed form; simple form is the field.
fn forms(field: &Field<'_>) {
    let relaxed = form(Canonical::Relaxed, field);
    let line = relaxed.strip_suffix(b"\r\n").expect("a line");
    assert!(!line.iter().any(|octet| matches!(octet, b'\r' | b'\n' | b'\t')));
    assert!(!line.ends_with(b" ") && !line.windows(2).any(|two| two == b"  "));
    let again = headers::fields(&relaxed).next().expect("a field");
    assert_eq!(again.raw, relaxed);
    assert_eq!(form(Canonical::Relaxed, &again), relaxed);
    let simple = form(Canonical::Simple, field);
    let rest = simple.strip_prefix(field.raw).expect("as it is");
    assert!(matches!(rest, b"" | b"\r\n") && simple.ends_with(b"\n"));
}

fn form(form: Canonical, field: &Field<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    form.field(field, &mut out);
    out
}

/// What a signature is over has nothing of its own octets, and nothing of them is left when they are taken away.
fn signature(field: &Field<'_>, text: &[u8]) {
    let bare = without_own_octets(field.raw);
    assert_eq!(without_own_octets(&bare), bare);
    let bare = Field {
        name: field.name,
        raw: &bare,
    };
    assert!(Signature::parse(bare.value(), 0).is_err());
    let Ok(signature) = Signature::parse(field.value(), 0) else {
        return;
    };
    assert!(signature.signed.len() <= 256 && signature.signed.iter().any(|name| name == "from"));
    assert!(!signature.octets.is_empty() && signature.octets.len() <= 512);
    assert!(signature.key_name().len() <= 253);
    let record = String::from_utf8_lossy(text);
    if key::parse(&record, &signature).is_ok() {
        assert!(record.contains('p') && record.len() <= 4096);
    }
}

/// The hash of a body in any pieces is that of the form that the RFC describes, which is its own form.
fn body(body: &[u8], size: usize) {
    for (form, text) in [
        (Canonical::Simple, simple(body)),
        (Canonical::Relaxed, relaxed(body)),
    ] {
        let expected = HashedBody {
            hash: sha256(&[&text]),
            length: text.len() as u64,
        };
        assert_eq!(hashed(form, body, body.len().max(1)), expected);
        assert_eq!(hashed(form, body, size), expected);
        assert_eq!(hashed(form, &text, size), expected);
    }
    assert_eq!(simple(&simple(body)), simple(body));
    assert_eq!(relaxed(&relaxed(body)), relaxed(body));
}

fn hashed(form: Canonical, body: &[u8], size: usize) -> HashedBody {
    let mut hash = BodyHash::new(form);
    body.chunks(size).for_each(|piece| hash.push(piece));
    hash.finish()
}

/// RFC 6376 §3.4.3.
fn simple(body: &[u8]) -> Vec<u8> {
    let mut text = body;
    while let Some(shorter) = text.strip_suffix(b"\r\n") {
        text = shorter;
    }
    [text, b"\r\n"].concat()
}

/// RFC 6376 §3.4.4.
fn relaxed(body: &[u8]) -> Vec<u8> {
    let mut lines = vec![Vec::new()];
    let mut rest = body;
    while let Some((&octet, after)) = rest.split_first() {
        rest = after;
        let line = lines.last_mut().expect("one at least");
        match octet {
            b'\r' if after.first() == Some(&b'\n') => {
                rest = &after[1..];
                lines.push(Vec::new());
            }
            b' ' | b'\t' if line.last() == Some(&b' ') => {}
            b'\t' => line.push(b' '),
            octet => line.push(octet),
        }
    }
    for line in &mut lines {
        line.pop_if(|octet| *octet == b' ');
    }
    while lines.pop_if(|line| line.is_empty()).is_some() {}
    lines
        .iter()
        .flat_map(|line| [line.as_slice(), b"\r\n"].concat())
        .collect()
}
