//! `[dmime]`: which format messages are sealed in, and how long keys for it live.

use std::num::NonZeroU16;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::crypto::suite::hpke::Suite;
use crate::dime::{key_set, selection};
use crate::signet_service;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Longest life of a key set that a peer accepts. Days.
const MAX_LIFE_DAYS: u64 = key_set::MAX_LIFE / DAY.as_secs();

/// `[dmime]`: which format messages are sealed in, and how long keys for it live.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, try_from = "RawDmime")]
pub struct Dmime {
    /// The least suite of D/MIME 2: `x25519`, or `xwing` to insist on confidentiality against later quantum
    /// computers; then format 1 is never used. Default `x25519`.
    pub minimum_suite: MinimumSuite,
    /// Whether D/MIME 1 may be used for peers without keys for D/MIME 2. Without it their mail waits. Default `true`.
    pub allow_format_1: bool,
    /// Age at which a key set is replaced. Days, default 14.
    pub key_set_renew_days: NonZeroU16,
    /// Life of a key set; 16 days after its end the private keys are destroyed. Days, more than
    /// `key_set_renew_days`, 400 at most, default 30.
    pub key_set_life_days: NonZeroU16,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawDmime {
    minimum_suite: MinimumSuite,
    allow_format_1: bool,
    key_set_renew_days: NonZeroU16,
    key_set_life_days: NonZeroU16,
}

impl TryFrom<RawDmime> for Dmime {
    type Error = &'static str;

    fn try_from(raw: RawDmime) -> Result<Self, Self::Error> {
        if raw.key_set_life_days <= raw.key_set_renew_days {
            return Err("`key_set_life_days` must be more than `key_set_renew_days`");
        }
        if u64::from(raw.key_set_life_days.get()) > MAX_LIFE_DAYS {
            return Err("`key_set_life_days` is 400 at most: no peer accepts more");
        }
        Ok(Self {
            minimum_suite: raw.minimum_suite,
            allow_format_1: raw.allow_format_1,
            key_set_renew_days: raw.key_set_renew_days,
            key_set_life_days: raw.key_set_life_days,
        })
    }
}

impl Default for Dmime {
    fn default() -> Self {
        Self {
            minimum_suite: MinimumSuite::X25519,
            allow_format_1: true,
            key_set_renew_days: const { NonZeroU16::new(14).unwrap() },
            key_set_life_days: const { NonZeroU16::new(30).unwrap() },
        }
    }
}

impl Default for RawDmime {
    fn default() -> Self {
        let default = Dmime::default();
        Self {
            minimum_suite: default.minimum_suite,
            allow_format_1: default.allow_format_1,
            key_set_renew_days: default.key_set_renew_days,
            key_set_life_days: default.key_set_life_days,
        }
    }
}

/// A suite of D/MIME 2, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MinimumSuite {
    /// X25519 alone.
    X25519,
    /// X25519 with ML-KEM-768.
    XWing,
}

impl From<MinimumSuite> for Suite {
    fn from(suite: MinimumSuite) -> Self {
        match suite {
            MinimumSuite::X25519 => Self::X25519,
            MinimumSuite::XWing => Self::XWing,
        }
    }
}

impl From<&Dmime> for selection::Policy {
    fn from(dmime: &Dmime) -> Self {
        Self {
            minimum_suite: dmime.minimum_suite.into(),
            allow_format_1: dmime.allow_format_1,
        }
    }
}

impl From<&Dmime> for signet_service::Times {
    fn from(dmime: &Dmime) -> Self {
        Self {
            renew_after: DAY * u32::from(dmime.key_set_renew_days.get()),
            life: DAY * u32::from(dmime.key_set_life_days.get()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_defaults_of_the_file_and_of_the_services_agree() {
        let dmime = Dmime::default();
        assert_eq!(selection::Policy::from(&dmime), selection::Policy::default());
        assert_eq!(
            signet_service::Times::from(&dmime),
            signet_service::Times::default()
        );
    }

    #[test]
    fn suites_have_the_names_they_have_everywhere() {
        for suite in [MinimumSuite::X25519, MinimumSuite::XWing] {
            let name = serde_json::to_value(suite).unwrap();
            assert_eq!(name, Suite::from(suite).name());
        }
    }

    #[test]
    fn lives_that_leave_gaps_or_that_nobody_accepts_are_refused() {
        let parse = |text: &str| toml::from_str::<Dmime>(text).map_err(|error| error.to_string());
        let refused = |text: &str| parse(text).unwrap_err();
        assert!(refused("key_set_renew_days = 30").contains("must be more than"));
        assert!(refused("key_set_life_days = 14").contains("must be more than"));
        assert!(refused("key_set_life_days = 401").contains("400 at most"));
        assert!(parse("key_set_renew_days = 399\nkey_set_life_days = 400").is_ok());
        assert!(refused("minimum_suite = \"kyber\"").contains("unknown variant"));
    }
}
