//! SPF (RFC 7208): whether a host may send mail in a domain's name.

mod check;
pub mod expand;
pub mod record;

pub use check::{Client, Identity, check};

/// What a domain says of a host (RFC 7208 §2.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The domain says nothing, or there is no domain.
    None,
    /// It says that it says nothing.
    Neutral,
    /// The host may.
    Pass,
    /// The host may not.
    Fail,
    /// The host probably may not.
    SoftFail,
    /// DNS does not answer now.
    TempError,
    /// What the domain published cannot be understood, or asks for too much.
    PermError,
}

impl Verdict {
    /// The word of RFC 8601 §2.7.2.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Neutral => "neutral",
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::SoftFail => "softfail",
            Self::TempError => "temperror",
            Self::PermError => "permerror",
        }
    }
}
