//! The destination's side: what it keeps of a message so that it can return it later.

use std::fmt;
use std::io::{Read, Seek, SeekFrom};

use super::{HASHED, LABEL, MAGIC, SIZE_END, Scope, Status, VERSION, WHOLE};
use crate::crypto::ed25519::SigningKey;
use crate::crypto::suite::hpke::Suite;
use crate::dime::dmime2::destination::Authenticated;
use crate::dime::dmime2::outline::Outline;
use crate::dime::dmime2::rule::{Error, Rule};

/// Octets of a ticket and of the object around its entries.
const FRAME_SIZE: u64 = 24 + 64;

/// The hash list of a message and the chunks that may have to go back. A destination stores it with the mail, encrypted.
///
/// | Offset | Size | Field |
/// |---|---|---|
/// | 0 | 1 | suite |
/// | 1 | 1 | scope |
/// | 2 | 4 | n |
/// | 6 | … | entries as in the object |
#[derive(Clone, PartialEq, Eq)]
pub struct Ticket {
    suite: Suite,
    scope: Scope,
    /// n and the entries.
    list: Vec<u8>,
}

impl Ticket {
    /// Takes what the sender asked to have back from a message that was accepted, or less of it if the object would
    /// have more than `limit` octets; never less than the envelope.
    ///
    /// `source` holds the message from position 0 on.
    pub fn take(
        message: &Authenticated,
        wanted: Scope,
        mut source: impl Read + Seek,
        limit: u64,
    ) -> Result<Self, Error> {
        let outline = message.outline();
        let fitting = Scope::ALL.into_iter().filter(|scope| *scope <= wanted);
        let scope = fitting
            .filter(|scope| object_size(outline, *scope) <= limit)
            .max()
            .unwrap_or(Scope::Envelope);
        let mut list = (outline.chunks().len() as u32).to_be_bytes().to_vec();
        for (chunk, hash) in outline.chunks().iter().zip(outline.skeleton().hashes()) {
            if scope.has(chunk.kind) {
                list.push(WHOLE);
                let start = list.len();
                list.resize(start + chunk.size, 0);
                source.seek(SeekFrom::Start(chunk.offset))?;
                source.read_exact(&mut list[start..])?;
            } else {
                list.push(HASHED);
                list.extend_from_slice(hash);
            }
        }
        Ok(Self {
            suite: outline.suite(),
            scope,
            list,
        })
    }

    /// How much can go back.
    pub fn scope(&self) -> Scope {
        self.scope
    }

    /// The stored form.
    pub fn encode(&self) -> Vec<u8> {
        [&[self.suite.id(), self.scope as u8], &self.list[..]].concat()
    }

    /// Reads the stored form; what is in its list only the receiver of the object checks.
    pub fn decode(octets: &[u8]) -> Result<Self, Error> {
        match octets {
            [suite, scope, list @ ..] if list.len() >= 4 => Ok(Self {
                suite: Suite::from_id(*suite).ok_or(Rule::B1)?,
                scope: Scope::from_id(*scope).ok_or(Rule::B1)?,
                list: list.to_vec(),
            }),
            _ => Err(Rule::B1.into()),
        }
    }

    /// Makes the object, signed with the POK or a message SOK of the destination.
    ///
    /// `reported` is when it gave up, in unix seconds. A message is returned once: the object is stored before it is sent.
    pub fn report(&self, reported: u64, status: Status, key: &SigningKey) -> Vec<u8> {
        let magic = MAGIC.to_be_bytes();
        let size = (FRAME_SIZE as usize - 4 + self.list.len() - SIZE_END) as u32;
        let mut signed = LABEL.to_vec();
        for part in [
            &[magic[0], magic[1], VERSION, self.suite.id()][..],
            &size.to_be_bytes(),
            &reported.to_be_bytes(),
            &[self.scope as u8, 5, status.subject, status.detail],
            &self.list,
        ] {
            signed.extend_from_slice(part);
        }
        let signature = key.sign(&signed);
        signed.extend_from_slice(&signature.0);
        signed.split_off(LABEL.len())
    }
}

/// Shows nothing that tells which message it was.
impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ticket({:?})", self.scope)
    }
}

fn object_size(outline: &Outline, scope: Scope) -> u64 {
    let entry = |whole: bool, size: usize| 1 + if whole { size as u64 } else { 64 };
    let entries = outline
        .chunks()
        .iter()
        .map(|chunk| entry(scope.has(chunk.kind), chunk.size));
    FRAME_SIZE + entries.sum::<u64>()
}
