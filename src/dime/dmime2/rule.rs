//! The acceptance rules of `dmime2.md` §12 and §13, and the one error that a broken rule becomes.

use std::fmt;

macro_rules! rules {
    ($($(#[$meta:meta])* $name:ident)*) => {
        /// A rule of `dmime2.md` §12.3, §12.4 or §13. Its name is for diagnosis, never for a peer.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Rule {
            $($(#[$meta])* $name,)*
        }

        impl Rule {
            /// Every rule.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// Its number in the chapter, such as `K3`.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)*
                }
            }
        }
    };
}

rules! {
    /// Eight octets at least, and the magic.
    P1
    /// Version 1.
    P2
    /// A suite of §2.
    P3
    /// The size says how many octets follow.
    P4
    /// Every chunk complete and inside the object.
    P5
    /// Chunk types of §5.2.
    P6
    /// Types ascend; only display and attachment chunks repeat.
    P7
    /// Nothing is missing.
    P8
    /// At most 4096 chunks.
    P9
    /// Payload of chunk 2.
    P10
    /// Acceptable encapsulations.
    P11
    /// Plaintext sizes.
    P12
    /// Not from the future.
    T1
    /// Not too old.
    T2
    /// No other object with the same message id.
    T3
    /// A key of the actor opens the first chunk that it may read.
    K1
    /// Its slot of every further chunk opens.
    K2
    /// The commitment of every further chunk fits.
    K3
    /// The payload opens.
    K4
    /// Flags.
    K5
    /// Data length and padding.
    K6
    /// Data lengths of single chunks.
    K7
    /// Runs.
    K8
    /// Text of chunk 4.
    E1
    /// Text of chunk 5.
    E2
    /// The reading actor is the one named.
    E3
    /// The other signets named are valid and in force.
    E4
    /// The domains agree.
    E5
    /// Submitter is author; DMTP peer is origin.
    E6
    /// Author signature.
    S1
    /// Origin signature.
    S2
    /// Chunk 255 is blank at submission.
    S3
    /// Text of chunk 33.
    H1
    /// Text of chunk 34.
    H2
    /// No reserved name in chunk 34.
    H3
    /// Size of a record.
    M1
    /// Ordinals and counts of the records.
    M2
    /// Lead and tail of a record.
    M3
    /// Layout of a returned message.
    B1
    /// Chunks of a returned message.
    B2
    /// Signed by this origin.
    B3
    /// Returned and signed by the destination.
    B4
    /// Written by an account here.
    B5
    /// Times of a returned message, and only one for each message.
    B6
    /// As B1, B2, B4 and B6, for the author.
    B7
    /// Written by this author.
    B8
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a refusal may tell a peer (§14).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Rules P: visible to everybody who has the object.
    Malformed,
    /// T1: final for all but the destination, which asks to try again.
    Future,
    /// T2.
    TooOld,
    /// Everything else, whichever rule it was.
    Unverified,
}

/// Where in an object a rule is broken, as far as it is broken at one place. For diagnosis, never for a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Site {
    /// Octet, counted from the start of the object.
    pub offset: Option<u64>,
    /// Index of the chunk, from 0; its offset is in the outline.
    pub chunk: Option<u32>,
    /// Type of the chunk that is wrong or missing.
    pub chunk_type: Option<u8>,
    /// Line of the envelope, such as `Author-Signet`.
    pub field: Option<&'static str>,
}

/// An object that is refused. What it shows is the same for every rule that depends on a secret (§14).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    rule: Rule,
    site: Site,
}

impl Refused {
    /// The rule that was broken: for a log at debug level, never for a peer.
    pub fn rule(&self) -> Rule {
        self.rule
    }

    /// Where it was broken: for whoever holds the object, never for a peer.
    pub fn site(&self) -> Site {
        self.site
    }

    /// The same in a chunk of that type.
    pub(super) fn of_type(mut self, id: u8) -> Self {
        self.site.chunk_type = Some(id);
        self
    }

    /// The same in that chunk.
    pub(super) fn of_chunk(mut self, index: u32) -> Self {
        self.site.chunk = Some(index);
        self
    }

    /// The same in that line of an envelope.
    pub(super) fn of_field(mut self, name: &'static str) -> Self {
        self.site.field = Some(name);
        self
    }

    /// Another rule, broken at the same place.
    pub(super) fn as_rule(self, rule: Rule) -> Self {
        Self { rule, ..self }
    }

    /// What a peer may know.
    pub fn reason(&self) -> Reason {
        use Rule::*;
        match self.rule {
            P1 | P2 | P3 | P4 | P5 | P6 | P7 | P8 | P9 | P10 | P11 | P12 => Reason::Malformed,
            T1 => Reason::Future,
            T2 => Reason::TooOld,
            _ => Reason::Unverified,
        }
    }

    /// Whether no key of the actor fits at all, as opposed to an object that is ours and broken.
    pub fn is_not_ours(&self) -> bool {
        self.rule == Rule::K1
    }
}

impl From<Rule> for Refused {
    fn from(rule: Rule) -> Self {
        let site = Site::default();
        Self { rule, site }
    }
}

impl Rule {
    /// Broken at an octet of the object.
    pub(super) fn at(self, offset: u64) -> Refused {
        let mut refused = Refused::from(self);
        refused.site.offset = Some(offset);
        refused
    }

    /// Broken in the chunk with that index.
    pub(super) fn in_chunk(self, index: u32) -> Refused {
        Refused::from(self).of_chunk(index)
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.reason() {
            Reason::Malformed => "not a well-formed message object",
            Reason::Future => "the message is from the future",
            Reason::TooOld => "the message is too old",
            Reason::Unverified => "the message could not be verified",
        })
    }
}

/// As uniform as [`Display`](fmt::Display): a refusal that is logged by accident names no rule.
impl fmt::Debug for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Refused({:?})", self.reason())
    }
}

impl std::error::Error for Refused {}

/// A refusal, or trouble with the storage that the object lies in.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Larger than the caller allows; found before anything is kept.
    #[error("the message exceeds the limits")]
    TooLarge,
    /// A rule is broken.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// Reading or writing failed; says nothing about the message.
    #[error("reading or writing the message failed")]
    Io(#[from] std::io::Error),
}

impl Error {
    /// The rule that was broken, if it was one.
    pub fn rule(&self) -> Option<Rule> {
        match self {
            Self::Refused(refused) => Some(refused.rule()),
            _ => None,
        }
    }
}

impl From<Rule> for Error {
    fn from(rule: Rule) -> Self {
        Self::Refused(rule.into())
    }
}

/// `Ok` if `holds`, else the rule, or its refusal with a place.
pub(super) fn demand<E>(holds: bool, otherwise: E) -> Result<(), E> {
    if holds { Ok(()) } else { Err(otherwise) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_refusals_that_depend_on_secrets_look_the_same() {
        for rule in Rule::ALL.iter().filter(|rule| !"PT".contains(&rule.name()[..1])) {
            let refused = Refused::from(*rule);
            let refused = refused.of_chunk(7).of_type(67).of_field("Author");
            assert_eq!(refused.to_string(), "the message could not be verified");
            assert_eq!(format!("{refused:?}"), "Refused(Unverified)");
            assert_eq!(refused.rule(), *rule);
        }
        assert_eq!(Refused::from(Rule::T3).reason(), Reason::Unverified);
    }
}
