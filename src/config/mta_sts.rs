//! `[mta_sts]`: the policy that our own domains publish.

use std::num::NonZeroU32;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::sections::texts;
use super::{Config, Error};
use crate::domains::sts::{MAX_AGE, MAX_PATTERNS, Mode, Pattern, Policy};

/// `[mta_sts]`: the policy that our own domains publish (RFC 8461). Others' policies are always followed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, try_from = "RawMtaSts")]
pub struct MtaSts {
    /// What others are asked to do. Default `off`.
    pub mode: Publication,
    /// Hosts that take our mail; `*.` before a name stands for one label. Default: the server's hostname.
    #[serde(with = "texts")]
    pub mx: Vec<Pattern>,
    /// How long others believe the policy. Seconds, a year at most, default 604800 (a week).
    pub max_age_secs: NonZeroU32,
}

/// What others are asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Publication {
    /// Nothing is published.
    #[default]
    Off,
    /// To report, and to deliver as before.
    Testing,
    /// To deliver to hosts with a verified certificate only.
    Enforce,
    /// To forget the policy: the way back to `off`.
    None,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawMtaSts {
    mode: Publication,
    #[serde(with = "texts")]
    mx: Vec<Pattern>,
    max_age_secs: NonZeroU32,
}

impl Default for RawMtaSts {
    fn default() -> Self {
        Self {
            mode: Publication::Off,
            mx: Vec::new(),
            max_age_secs: const { NonZeroU32::new(604_800).unwrap() },
        }
    }
}

impl Default for MtaSts {
    fn default() -> Self {
        let RawMtaSts {
            mode,
            mx,
            max_age_secs,
        } = RawMtaSts::default();
        Self {
            mode,
            mx,
            max_age_secs,
        }
    }
}

impl TryFrom<RawMtaSts> for MtaSts {
    type Error = &'static str;

    fn try_from(raw: RawMtaSts) -> Result<Self, Self::Error> {
        if raw.mx.len() > MAX_PATTERNS {
            return Err("`mx` has more hosts than a policy can list");
        }
        if Duration::from_secs(raw.max_age_secs.get().into()) > MAX_AGE {
            return Err("`max_age_secs` is a year at most (31557600)");
        }
        let RawMtaSts {
            mode,
            mx,
            max_age_secs,
        } = raw;
        Ok(Self {
            mode,
            mx,
            max_age_secs,
        })
    }
}

impl Config {
    /// Whether others can follow the policy and still deliver here. Errors: [`Error::EnforcedSelfSigned`].
    pub(super) fn check_own_policy(&self) -> Result<(), Error> {
        let self_signed = self.tls.certificate.is_none() && self.tls.smtp_certificate.is_none();
        let demands = |policy: Policy| policy.mode == Mode::Enforce && policy.covers(&self.server.hostname);
        match self_signed && self.own_policy().is_some_and(demands) {
            true => Err(Error::EnforcedSelfSigned),
            false => Ok(()),
        }
    }

    /// The policy that our domains publish, if they do.
    pub fn own_policy(&self) -> Option<Policy> {
        let MtaSts {
            mode,
            mx,
            max_age_secs,
        } = &self.mta_sts;
        let mode = match mode {
            Publication::Off => return None,
            Publication::Testing => Mode::Testing,
            Publication::Enforce => Mode::Enforce,
            Publication::None => Mode::None,
        };
        let hosts = match mx.is_empty() {
            true => vec![self.server.hostname.clone().into()],
            false => mx.clone(),
        };
        Some(Policy {
            mode,
            max_age: Duration::from_secs(max_age_secs.get().into()),
            hosts,
        })
    }
}
