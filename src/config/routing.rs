//! `[routing]`: where the policy of routing leaves a choice.

use std::num::NonZeroU64;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::queue::plan;
use crate::routing::Allowances;

/// `[routing]`: where the policy of routing leaves a choice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Routing {
    /// Whether mail goes by SMTP when a domain's management record could not be looked up for `smtp_after_secs`, and
    /// none was seen before. Default false: it waits, and comes back in the end.
    pub smtp_after_failed_lookup: bool,
    /// Whether mail goes by SMTP when an experimental domain's delivery hosts have shown no acceptable certificate for
    /// `smtp_after_secs`. Default false.
    pub smtp_after_rejected_certificate: bool,
    /// Age of a message at which a failure counts as lasting. Seconds, default 86400 (a day).
    pub smtp_after_secs: NonZeroU64,
    /// Whether `sub` of proven records above a recipient's domain counts: where the domain above is strict, SMTP is
    /// refused. Costs a look-up for each level of long names. Default false.
    pub parent_records: bool,
}

impl Default for Routing {
    fn default() -> Self {
        Self {
            smtp_after_failed_lookup: false,
            smtp_after_rejected_certificate: false,
            smtp_after_secs: const { NonZeroU64::new(86_400).unwrap() },
            parent_records: false,
        }
    }
}

impl From<&Routing> for plan::Settings {
    fn from(routing: &Routing) -> Self {
        Self {
            allowances: Allowances {
                smtp_after_failed_lookup: routing.smtp_after_failed_lookup,
                smtp_after_rejected_certificate: routing.smtp_after_rejected_certificate,
            },
            lasting_after: Duration::from_secs(routing.smtp_after_secs.get()),
            parent_records: routing.parent_records,
        }
    }
}
