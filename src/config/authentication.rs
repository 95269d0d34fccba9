//! `[authentication]`.

use serde::{Deserialize, Serialize};

use super::Error;

/// `[authentication]`: SPF, DKIM and DMARC.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Authentication {
    /// What follows from the authentication of mail that other hosts bring on `listen.smtp`. Default `mark`.
    pub incoming: Incoming,
    /// What `enforce` does where the author's domain says "quarantine". Default `mark`.
    pub on_quarantine: OnQuarantine,
    /// Whether mail that an alias passes on to another host goes under a seal (ARC) that says what was found when it came.
    /// Needs keys of the domain that the host is in (`dimed dkim`), and `incoming` other than `off`. Default false.
    pub arc: bool,
}

impl Authentication {
    /// Errors: [`Error::NothingToSeal`].
    pub(super) fn check(&self) -> Result<(), Error> {
        match self.arc && self.incoming == Incoming::Off {
            true => Err(Error::NothingToSeal),
            false => Ok(()),
        }
    }
}

/// What follows from the authentication of mail from other hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Incoming {
    /// It is not checked.
    Off,
    /// A field says what was found.
    #[default]
    Mark,
    /// And what the author's domain says by DMARC is done.
    Enforce,
}

/// What is done with mail that its author's domain wants in quarantine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnQuarantine {
    /// It is taken, with `X-Spam-Flag: YES`.
    #[default]
    Mark,
    /// It is held, too, until the operator decides.
    Hold,
}
