//! Names of what can be wrong with a message, for programs.

use std::fmt;

use crate::cli::refusal::{Place, Refused};
use crate::dime::selection::Hold;
use crate::dime::{convert, dmime1, dmime2};

/// Octets that are no message, in no format.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("neither a sealed message nor a mail with one")]
pub struct NotAMessage;

impl Refused for NotAMessage {
    fn variant(&self) -> &'static str {
        "message.none"
    }

    fn place(&self) -> Place {
        Place {
            offset: Some(0),
            ..Place::default()
        }
    }
}

/// The private keys are not those that are needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WrongKeys {
    /// There is no key of the kind of actor.
    #[error("there is no private key of {0} among the keys")]
    None(&'static str),
    /// They are not the keys in the signet.
    #[error("the private keys do not belong to the signet")]
    Other,
    /// None of them may sign for the organization.
    #[error("none of the private keys may sign messages of the organization")]
    NotASigner,
}

impl Refused for WrongKeys {
    fn variant(&self) -> &'static str {
        match self {
            Self::None(_) => "keys.none",
            Self::Other => "keys.other",
            Self::NotASigner => "keys.not_a_signer",
        }
    }
}

/// A message that must not be sealed now.
#[derive(Debug, Clone)]
pub struct Held {
    /// The rule, and whose keys are the reason.
    pub hold: Hold,
    /// What is wrong with those keys.
    pub because: Option<String>,
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.hold.actor, &self.because) {
            (Some(actor), Some(because)) => write!(f, "held: the keys of the {} are {because}", actor.name()),
            (Some(actor), None) => write!(f, "held: the keys of the {} do not allow it", actor.name()),
            (None, _) => f.write_str("held: no suite that is good enough is common to all"),
        }
    }
}

impl Refused for Held {
    fn variant(&self) -> &'static str {
        "selection.hold"
    }

    fn place(&self) -> Place {
        use crate::dime::selection::Rule;
        of_rule(match self.hold.rule {
            Rule::Q1 => "Q1",
            Rule::Q2 => "Q2",
            Rule::Q3 => "Q3",
        })
    }
}

fn of_rule(rule: &'static str) -> Place {
    Place {
        rule: Some(rule),
        ..Place::default()
    }
}

fn of_chunk(kind: dmime1::chunk::ChunkType) -> Place {
    Place {
        chunk_type: Some(kind.id()),
        ..Place::default()
    }
}

impl Refused for dmime1::Error {
    fn variant(&self) -> &'static str {
        match self {
            Self::TooLarge => "dmime1.too_large",
            Self::Truncated => "dmime1.truncated",
            Self::Magic => "dmime1.magic",
            Self::EmptyTracing => "dmime1.empty_tracing",
            Self::Size => "dmime1.size",
            Self::UnknownType(_) => "dmime1.unknown_type",
            Self::Order(_) => "dmime1.order",
            Self::PayloadSize(_) => "dmime1.payload_size",
            Self::EphemeralKey => "dmime1.ephemeral_key",
            Self::Missing(_) => "dmime1.missing",
        }
    }

    fn place(&self) -> Place {
        match self {
            Self::UnknownType(id) => Place {
                chunk_type: Some(*id),
                ..Place::default()
            },
            Self::Order(kind) | Self::PayloadSize(kind) | Self::Missing(kind) => of_chunk(*kind),
            Self::EphemeralKey => of_chunk(dmime1::chunk::ChunkType::Ephemeral),
            _ => Place::default(),
        }
    }
}

/// Named as its error is.
impl Refused for dmime1::Misread {
    fn variant(&self) -> &'static str {
        self.error.variant()
    }

    fn place(&self) -> Place {
        Place {
            offset: Some(self.offset),
            chunk: self.chunk,
            ..self.error.place()
        }
    }
}

/// Of a step behind all checks, such as signing.
impl Refused for dmime1::Refused {
    fn variant(&self) -> &'static str {
        "dmime1.refused"
    }
}

impl Refused for dmime1::fault::Fault {
    fn variant(&self) -> &'static str {
        "dmime1.refused"
    }

    fn place(&self) -> Place {
        Place {
            chunk: self.chunk,
            field_name: self.field,
            rule: Some(self.rule.name()),
            ..of_chunk(self.kind)
        }
    }
}

/// A signet named in an envelope that is not among the files, or does not count.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the signet that the envelope names is not there or does not count")]
pub struct InEnvelope {
    /// The envelope chunk.
    pub chunk: dmime1::chunk::ChunkType,
    /// Its line.
    pub line: &'static str,
}

impl Refused for InEnvelope {
    fn variant(&self) -> &'static str {
        "dmime1.refused"
    }

    fn place(&self) -> Place {
        Place {
            field_name: Some(self.line),
            rule: Some(dmime1::fault::Rule::V16.name()),
            ..of_chunk(self.chunk)
        }
    }
}

impl Refused for dmime2::Refused {
    fn variant(&self) -> &'static str {
        "dmime2.refused"
    }

    fn place(&self) -> Place {
        let site = self.site();
        let size = |number: u64| usize::try_from(number).ok();
        Place {
            offset: site.offset.and_then(size),
            chunk: site.chunk.and_then(|index| size(index.into())),
            chunk_type: site.chunk_type,
            field_name: site.field,
            ..of_rule(self.rule().name())
        }
    }
}

/// Reading and writing are no matter of a message; `format2::judged` sorts them out before.
impl Refused for dmime2::Error {
    fn variant(&self) -> &'static str {
        match self {
            Self::TooLarge => "dmime2.too_large",
            Self::Refused(refused) => refused.variant(),
            _ => "dmime2.io",
        }
    }

    fn place(&self) -> Place {
        match self {
            Self::Refused(refused) => refused.place(),
            _ => Place::default(),
        }
    }
}

impl Refused for dmime1::seal::Error {
    fn variant(&self) -> &'static str {
        match self {
            Self::Address => "seal.address",
            Self::Domain => "seal.domain",
            Self::Signet => "seal.signet",
            Self::Keys => "seal.keys",
            Self::CommonHeaders(_) => "seal.common_headers",
            Self::Empty(_) => "seal.empty",
            Self::TooLarge(_) => "seal.too_large",
        }
    }

    fn place(&self) -> Place {
        match self {
            Self::Empty(kind) | Self::TooLarge(kind) => of_chunk(*kind),
            _ => Place::default(),
        }
    }
}

impl Refused for dmime2::seal::Error {
    fn variant(&self) -> &'static str {
        match self {
            Self::Suites => "seal.suites",
            Self::Names => "seal.names",
            Self::Content(_) => "seal.content",
            Self::TooLarge => "seal.too_large",
            Self::Sizes => "seal.sizes",
            Self::Key(_) => "seal.key",
            Self::Io(_) => "seal.io",
        }
    }

    fn place(&self) -> Place {
        match self {
            Self::Content(rule) => of_rule(rule.name()),
            _ => Place::default(),
        }
    }
}

impl Refused for convert::Error {
    fn variant(&self) -> &'static str {
        match self {
            Self::Header(_) => "mime.header",
            Self::Repeated(_) => "mime.repeated",
            Self::Missing(_) => "mime.missing",
            Self::HeaderTooLarge => "mime.header_too_large",
            Self::TooLarge => "mime.too_large",
            Self::Source(_) => "mime.source",
        }
    }

    fn place(&self) -> Place {
        match self {
            Self::Header(line) => Place {
                line: Some(*line),
                ..of_rule("C1")
            },
            Self::Repeated(_) => of_rule("C2"),
            Self::Missing(_) => of_rule("C3"),
            Self::TooLarge => of_rule("F2"),
            _ => Place::default(),
        }
    }
}

/// A party without a signet that counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no signet of the {0} counts: it is for another name than was given")]
pub struct Missing(pub &'static str);

impl Refused for Missing {
    fn variant(&self) -> &'static str {
        "signet.wrong_name"
    }
}

impl Refused for crate::mail::repair::Error {
    fn variant(&self) -> &'static str {
        match self {
            Self::NotAField(_) => "repair.not_a_field",
            Self::NoFrom => "repair.no_from",
            Self::Repeated(_) => "repair.repeated",
        }
    }

    fn place(&self) -> Place {
        match self {
            Self::NotAField(line) => Place {
                line: Some(*line),
                ..Place::default()
            },
            _ => Place::default(),
        }
    }
}
