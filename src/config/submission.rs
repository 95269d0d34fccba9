//! `[submission]`: what our users may send.

use serde::{Deserialize, Serialize};

/// `[submission]`: what our users may send.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Submission {
    /// Whether From and Sender of a message, and its Resent-From and Resent-Sender, must be addresses that its author may write
    /// under, as MAIL FROM must always. Default `strict`.
    pub from: FromPolicy,
    /// Messages that one account may send within an hour; 0 for no limit. Default 1000.
    pub messages_per_hour: u32,
    /// Recipients to whom one account may send within an hour; 0 for no limit. Default 10000.
    pub recipients_per_hour: u32,
}

impl Default for Submission {
    fn default() -> Self {
        Self {
            from: FromPolicy::Strict,
            messages_per_hour: 1000,
            recipients_per_hour: 10_000,
        }
    }
}

/// What is demanded of the fields that say who wrote a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FromPolicy {
    /// Every address in them must be one of the account.
    Strict,
    /// Nothing.
    Off,
}
