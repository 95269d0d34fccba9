//! DKIM (RFC 6376, with RFC 8301 and RFC 8463): signatures checked against a header that is held and a body that is not.

pub mod canonical;
pub mod key;
pub mod rsa;
pub mod sign;
pub mod signature;

use std::collections::HashMap;

use futures_util::future::join_all;

use self::canonical::{BodyHash, Canonical, HashedBody};
use self::key::{Key, NoKey};
use self::signature::{FIELD, Flaw, Signature, without_own_octets};
use crate::mail::headers::{self, Field};
use crate::net::dns::Resolver;

/// Signatures of one message that are checked, from the top. What is below them was there before many hands.
pub const MAX_SIGNATURES: usize = 8;

/// What is wrong with a signature, or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It holds.
    Pass,
    /// It does not.
    Fail(&'static str),
    /// It cannot be checked, now or ever.
    Flawed(Flaw),
    /// There is no key for it.
    NoKey(NoKey),
}

/// One signature and what is known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// As far as it can be read.
    pub signature: Option<Signature>,
    /// What came of it.
    pub verdict: Verdict,
}

/// The hashes of a body in both forms, in pieces.
#[derive(Debug, Clone)]
pub struct Bodies {
    simple: BodyHash,
    relaxed: BodyHash,
}

impl Default for Bodies {
    fn default() -> Self {
        Self {
            simple: BodyHash::new(Canonical::Simple),
            relaxed: BodyHash::new(Canonical::Relaxed),
        }
    }
}

impl Bodies {
    /// Takes the next piece.
    pub fn push(&mut self, piece: &[u8]) {
        self.simple.push(piece);
        self.relaxed.push(piece);
    }

    /// The body is complete.
    pub fn finish(self) -> HashedBodies {
        HashedBodies {
            simple: self.simple.finish(),
            relaxed: self.relaxed.finish(),
        }
    }
}

/// The hashes of a body in both forms.
#[derive(Debug, Clone, Copy)]
pub struct HashedBodies {
    simple: HashedBody,
    relaxed: HashedBody,
}

impl HashedBodies {
    /// What a signature that holds for the header says of the body. One that leaves a part of it unsigned (`l=`) does not
    /// hold: anybody could have added that part.
    pub fn judge(&self, signature: &Signature) -> Verdict {
        let body = match signature.body_form {
            Canonical::Simple => &self.simple,
            Canonical::Relaxed => &self.relaxed,
        };
        match signature.body_length {
            Some(length) if length != body.length => Verdict::Fail("body length"),
            _ if body.hash != signature.body_hash => Verdict::Fail("body hash"),
            _ => Verdict::Pass,
        }
    }
}

/// Checks the signatures of a header block; those that hold so far still depend on the body. `now` in unix seconds.
pub async fn check(resolver: &dyn Resolver, block: &[u8], now: u64) -> Vec<Checked> {
    let fields = headers::fields(block).filter(|field| field.is(FIELD));
    let read = fields
        .take(MAX_SIGNATURES)
        .map(|field| (field, Signature::parse(field.value(), now)));
    let read: Vec<_> = read.collect();
    let signatures = read.iter().filter_map(|(_, signature)| signature.as_ref().ok());
    let index = Index::of(block, signatures.flat_map(|signature| &signature.signed));
    let checks = read
        .into_iter()
        .map(|(field, signature)| one(resolver, &index, field, signature));
    join_all(checks).await
}

async fn one(
    resolver: &dyn Resolver,
    index: &Index<'_>,
    field: Field<'_>,
    signature: Result<Signature, Flaw>,
) -> Checked {
    let signature = match signature {
        Ok(signature) => signature,
        Err(flaw) => {
            return Checked {
                signature: None,
                verdict: Verdict::Flawed(flaw),
            };
        }
    };
    let verdict = match key::find(resolver, &signature).await {
        Err(why) => Verdict::NoKey(why),
        Ok(key) => judge(&key, index, &field, &signature),
    };
    Checked {
        signature: Some(signature),
        verdict,
    }
}

fn judge(key: &Key, index: &Index<'_>, field: &Field<'_>, signature: &Signature) -> Verdict {
    let own = without_own_octets(field.raw);
    let own = Field {
        name: field.name,
        raw: &own,
    };
    let signed = index.signed(&signature.signed, signature.header_form, &own);
    match key.verifies(&signed, &signature.octets) {
        true => Verdict::Pass,
        false => Verdict::Fail("signature"),
    }
}

/// Fields of a header block by their names, so that many signatures over many fields cost little. Only those that somebody asks
/// for: a block may have tens of thousands of names, and this is held while DNS is asked.
pub(super) struct Index<'a>(HashMap<Vec<u8>, Vec<Field<'a>>>);

impl<'a> Index<'a> {
    /// The fields of these names, which are in lower case.
    pub(super) fn of(block: &'a [u8], names: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Self {
        let names = names.into_iter().map(|name| (name.as_ref().to_vec(), Vec::new()));
        let mut index: HashMap<Vec<u8>, Vec<Field<'a>>> = names.collect();
        for field in headers::fields(block) {
            if let Some(fields) = index.get_mut(&field.name.to_ascii_lowercase()) {
                fields.push(field);
            }
        }
        Self(index)
    }

    /// How often a field stands there.
    pub(super) fn count(&self, name: &str) -> usize {
        self.0.get(name.as_bytes()).map_or(0, Vec::len)
    }

    /// What a signature over `names` covers: of each name the last field that was not taken yet, and its own field
    /// without a line end (RFC 6376 §3.7, §5.4.2).
    pub(super) fn signed(&self, names: &[String], form: Canonical, own: &Field<'_>) -> Vec<u8> {
        let mut taken: HashMap<&str, usize> = HashMap::new();
        let mut out = Vec::new();
        for name in names {
            let taken = taken.entry(name).or_default();
            *taken += 1;
            let fields = self.0.get(name.as_bytes()).map_or(&[][..], Vec::as_slice);
            if let Some(field) = fields.len().checked_sub(*taken).and_then(|at| fields.get(at)) {
                form.field(field, &mut out);
            }
        }
        form.field(own, &mut out);
        out.truncate(out.len() - b"\r\n".len());
        out
    }
}

#[cfg(test)]
mod tests;
