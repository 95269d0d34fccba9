//! `queue.schedules`: when mail for some domains is tried again, and given up.

use std::num::NonZeroU64;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::sections::texts;
use crate::queue::schedule::{self, Rule};
use crate::routing::transport::Pattern;

/// One entry of `queue.schedules`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, try_from = "RawSchedule")]
pub struct Schedule {
    /// For which recipients' domains: `example.org`, `*.example.org` for those below it, `*` for all. The narrowest counts.
    #[serde(with = "texts")]
    pub domains: Vec<Pattern>,
    /// After what. Default: anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Trouble>,
    /// In the place of `queue.retry_first_secs`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_first_secs: Option<NonZeroU64>,
    /// In the place of `queue.retry_max_secs`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_max_secs: Option<NonZeroU64>,
    /// In the place of `queue.lifetime_secs`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lifetime_secs: Option<NonZeroU64>,
}

/// What an attempt failed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trouble {
    /// No host could be found or reached, or none went on answering.
    Unreachable,
    /// A host said no for now.
    Refused,
    /// Something else: keys, mailboxes here, or a fault.
    Other,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSchedule {
    #[serde(with = "texts")]
    domains: Vec<Pattern>,
    after: Option<Trouble>,
    retry_first_secs: Option<NonZeroU64>,
    retry_max_secs: Option<NonZeroU64>,
    lifetime_secs: Option<NonZeroU64>,
}

impl TryFrom<RawSchedule> for Schedule {
    type Error = &'static str;

    fn try_from(raw: RawSchedule) -> Result<Self, Self::Error> {
        let times = [raw.retry_first_secs, raw.retry_max_secs, raw.lifetime_secs];
        match (raw.domains.is_empty(), times.iter().flatten().count()) {
            (true, _) => Err("a schedule names the `domains` that it is for: `[\"*\"]` for all"),
            (false, 0) => Err(
                "a schedule says what is different: `retry_first_secs`, `retry_max_secs` or `lifetime_secs`",
            ),
            (false, _) => Ok(Self {
                domains: raw.domains,
                after: raw.after,
                retry_first_secs: raw.retry_first_secs,
                retry_max_secs: raw.retry_max_secs,
                lifetime_secs: raw.lifetime_secs,
            }),
        }
    }
}

impl From<&Schedule> for Rule {
    fn from(entry: &Schedule) -> Self {
        let time = |secs: Option<NonZeroU64>| secs.map(|secs| Duration::from_secs(secs.get()));
        Self {
            domains: entry.domains.clone(),
            after: entry.after.map(|after| match after {
                Trouble::Unreachable => schedule::Trouble::Unreachable,
                Trouble::Refused => schedule::Trouble::Refused,
                Trouble::Other => schedule::Trouble::Other,
            }),
            first: time(entry.retry_first_secs),
            longest: time(entry.retry_max_secs),
            lifetime: time(entry.lifetime_secs),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::path::Path;

    use crate::config::Config;

    fn parse(entry: &str) -> Result<Config, String> {
        let text = format!("[server]\nhostname = \"mx.example\"\n[[queue.schedules]]\n{entry}\n");
        Config::parse(&text, Path::new("x")).map_err(|error| error.to_string())
    }

    #[test]
    fn a_schedule_says_for_whom_it_is_and_what_is_different() {
        let config =
            parse("domains = [\"*.example.org\"]\nafter = \"refused\"\nretry_first_secs = 60").unwrap();
        let schedules = config.queue.schedules();
        assert_eq!(schedules.rules.len(), 1);
        for (entry, complaint) in [
            ("domains = []\nlifetime_secs = 1", "names the `domains`"),
            ("domains = [\"*\"]", "says what is different"),
            ("domains = [\"*\"]\nlifetime_secs = 0", "above 0"),
            ("domains = [\"*\"]\nafter = \"rain\"\nlifetime_secs = 1", "rain"),
            ("domains = [\"a b\"]\nlifetime_secs = 1", "a b"),
        ] {
            let refused = parse(entry).unwrap_err();
            assert!(refused.contains(complaint), "{entry}: {refused}");
        }
    }
}
