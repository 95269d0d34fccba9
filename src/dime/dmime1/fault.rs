//! What exactly is wrong with a message that has been parsed: for tools on the owner's own machine.
//!
//! A server answers a peer with [`Refused`], which says nothing (`dmime.md` §17 W1), and the functions that it calls give
//! nothing else. Those that give a [`Fault`] do the same work: every check is made whatever the others gave, and the first
//! in their order that failed is told.

use std::fmt;

use super::chunk::ChunkType;
use super::{Message, Refused};

/// The rules that a parsed message can break (`dmime.md` §13, §14.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// Sizes or padding of a payload are wrong. So they are with a private key that does not fit.
    V12,
    /// The flags of a payload are not 0.
    V13,
    /// The lines of an envelope or of the common headers are not what they should be.
    V14,
    /// A signature does not verify, or one that the origin makes is not blank before that.
    V15,
    /// A domain, an address or a fingerprint is another one than expected.
    V16,
}

impl Rule {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::V12 => "V12",
            Self::V13 => "V13",
            Self::V14 => "V14",
            Self::V15 => "V15",
            Self::V16 => "V16",
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V12 => "size or padding of a payload is wrong, as it is with another private key",
            Self::V13 => "the flags of a payload are not 0",
            Self::V14 => "a line is malformed, missing or out of place",
            Self::V15 => "a signature does not verify",
            Self::V16 => "an identity is another one than expected",
        })
    }
}

/// A rule that is broken, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{rule}")]
pub struct Fault {
    /// Which.
    pub rule: Rule,
    /// Type of the chunk.
    pub kind: ChunkType,
    /// Its index from 0; missing if there is no such chunk.
    pub chunk: Option<usize>,
    /// The line of an envelope or of the common headers, by its label.
    pub field: Option<&'static str>,
}

/// All that a fault is from outside.
impl From<Fault> for Refused {
    fn from(_: Fault) -> Self {
        Self
    }
}

/// A rule broken in a chunk of a type, by its number among those of its type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Flaw {
    rule: Rule,
    kind: ChunkType,
    number: usize,
    field: Option<&'static str>,
}

impl Flaw {
    pub fn new(rule: Rule, kind: ChunkType) -> Self {
        Self {
            rule,
            kind,
            number: 0,
            field: None,
        }
    }

    /// In the line with that label.
    pub fn of_field(self, label: &'static str) -> Self {
        let field = Some(label);
        Self { field, ..self }
    }

    /// In that one of several chunks of the type.
    pub fn number(self, number: usize) -> Self {
        Self { number, ..self }
    }

    /// Finds the place in the message.
    pub fn of(self, message: &Message) -> Fault {
        let Self {
            rule,
            kind,
            number,
            field,
        } = self;
        let chunks = message.chunks().iter().enumerate();
        let mut of_kind = chunks.filter(|(_, chunk)| chunk.kind == kind);
        Fault {
            rule,
            kind,
            chunk: of_kind.nth(number).map(|(index, _)| index),
            field,
        }
    }
}

/// Checks that are all made; the first that failed is kept.
#[derive(Debug, Default)]
pub(super) struct Checks(Option<Flaw>);

impl Checks {
    /// The arguments are evaluated before anything depends on the checks before.
    pub fn demand(&mut self, holds: bool, otherwise: Flaw) {
        self.0 = self.0.or((!holds).then_some(otherwise));
    }

    /// What stands in that line of an envelope is as expected (V16).
    pub fn identity(&mut self, holds: bool, kind: ChunkType, label: &'static str) {
        self.demand(holds, Flaw::new(Rule::V16, kind).of_field(label));
    }

    /// The signature in or on a chunk verifies (V15).
    pub fn signature(&mut self, holds: bool, kind: ChunkType) {
        self.demand(holds, Flaw::new(Rule::V15, kind));
    }

    /// The first that failed, at its place in the message.
    pub fn conclude(self, message: &Message) -> Result<(), Fault> {
        self.0.map_or(Ok(()), |flaw| Err(flaw.of(message)))
    }
}
