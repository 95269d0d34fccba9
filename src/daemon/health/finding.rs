//! Something that is not as it should be.

use serde_json::{Value, json};

/// What follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// It could be better.
    Risky,
    /// It could not be found out.
    Unknown,
    /// Mail is kept out, waits, or can be read by others.
    Wrong,
}

impl Weight {
    /// One word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Risky => "risky",
            Self::Unknown => "unknown",
            Self::Wrong => "wrong",
        }
    }
}

/// Something that is not as it should be. It names no person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// A word for programs, which does not change once released.
    pub code: &'static str,
    /// How much it counts.
    pub weight: Weight,
    /// What is the matter: a clause without its full stop.
    pub what: String,
    /// Why it matters: the same.
    pub why: String,
    /// What to do: the same.
    pub advice: String,
}

impl Finding {
    /// Mail is kept out, waits, or can be read by others.
    pub fn wrong(code: &'static str, what: impl Into<String>, why: &str, advice: impl Into<String>) -> Self {
        Self {
            code,
            weight: Weight::Wrong,
            what: what.into(),
            why: why.to_owned(),
            advice: advice.into(),
        }
    }

    /// The same, but it could be better.
    pub fn risky(code: &'static str, what: impl Into<String>, why: &str, advice: impl Into<String>) -> Self {
        Self {
            weight: Weight::Risky,
            ..Self::wrong(code, what, why, advice)
        }
    }

    /// The same, but nobody knows.
    pub fn unknown(
        code: &'static str,
        what: impl Into<String>,
        why: &str,
        advice: impl Into<String>,
    ) -> Self {
        Self {
            weight: Weight::Unknown,
            ..Self::wrong(code, what, why, advice)
        }
    }

    /// For programs.
    pub fn object(&self) -> Value {
        json!({
            "code": self.code,
            "weight": self.weight.name(),
            "what": self.what,
            "why": self.why,
            "advice": self.advice,
        })
    }
}
