//! What a resolver finds out about its own name servers, so that "nothing can be proven here" is told from "this zone is
//! bogus".

use std::fmt;

/// How far the name servers allow answers to be proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SelfTest {
    /// Everything that it takes is there.
    Passed,
    /// None answers, or none with anything of use.
    Unreachable,
    /// They answer and leave DNSSEC records out.
    Strips,
    /// They never set the AD bit.
    NotValidating,
    /// Signed by other keys than the anchored ones.
    WrongAnchor,
    /// The signatures are valid at another time than ours.
    Clock,
}

impl SelfTest {
    /// A word for programs.
    pub fn code(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Unreachable => "unreachable",
            Self::Strips => "strips_dnssec",
            Self::NotValidating => "not_validating",
            Self::WrongAnchor => "wrong_anchor",
            Self::Clock => "clock",
        }
    }
}

/// A sentence without its end.
impl fmt::Display for SelfTest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Passed => "the name servers allow answers to be proven",
            Self::Unreachable => "no name server gives a usable answer",
            Self::Strips => {
                "the name servers leave DNSSEC records out, so that nothing can be proven: use others, or a resolver on this machine"
            }
            Self::NotValidating => {
                "the name server does not validate: it does not set the AD bit for a name that is signed"
            }
            Self::WrongAnchor => {
                "the keys that the name servers have are not those of the trust anchors: these are outdated, or somebody interferes"
            }
            Self::Clock => "the signatures of the trust anchors' zones are not valid now: the clock may be wrong",
        })
    }
}
