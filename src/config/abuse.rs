//! `[abuse]`: how much others may leave by DMTP, and what happens to those who write to traps.

use std::num::NonZeroU16;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::abuse;
use crate::mail::address::Domain;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// `[abuse]`: how much others may leave by DMTP, and what happens to those who write to traps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Abuse {
    /// Messages that one origin domain may leave by DMTP: so many at once, and as many again over each hour. Counted once
    /// the origin's signature is verified; forgotten when the daemon stops. 0 for no limit, default 100000.
    pub origin_messages_per_hour: u32,
    /// The same in MiB, default 20480 (20 GiB).
    pub origin_mib_per_hour: u32,
    /// Domains that are never blocked, nor are their authors and the domains below them. Ours never are. Default none.
    #[serde(with = "domains")]
    pub never_blocked: Vec<Domain>,
    /// How long an author who wrote to a trap is blocked. Days, default 30.
    pub trap_block_days: NonZeroU16,
    /// From how many such authors on, blocked at the same time, their domain is blocked, too: 1 for at once, 0 for never.
    /// Default 0, because one spammer is not the whole of a large provider.
    pub trap_origin_after_authors: u32,
    /// What becomes of mail for traps. Default `discard`.
    pub trap_mail: TrapMail,
}

impl Default for Abuse {
    fn default() -> Self {
        Self {
            origin_messages_per_hour: 100_000,
            origin_mib_per_hour: 20_480,
            never_blocked: Vec::new(),
            trap_block_days: const { NonZeroU16::new(30).unwrap() },
            trap_origin_after_authors: 0,
            trap_mail: TrapMail::Discard,
        }
    }
}

/// What becomes of mail for traps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TrapMail {
    /// It is taken and dropped.
    Discard,
    /// It goes into the trap's Maildir.
    Keep,
}

impl From<&Abuse> for abuse::Settings {
    fn from(abuse: &Abuse) -> Self {
        Self {
            messages_per_hour: abuse.origin_messages_per_hour,
            mib_per_hour: abuse.origin_mib_per_hour,
            never_blocked: abuse.never_blocked.clone(),
            trapped_for: DAY * u32::from(abuse.trap_block_days.get()),
            trap_origin_after: abuse.trap_origin_after_authors,
        }
    }
}

/// Domains as text.
mod domains {
    use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

    use crate::mail::address::Domain;

    pub fn serialize<S: Serializer>(domains: &[Domain], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(domains.iter().map(Domain::as_str))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Domain>, D::Error> {
        let texts = Vec::<String>::deserialize(deserializer)?;
        let parse = |text: String| {
            let domain = Domain::parse(&text);
            domain.map_err(|error| D::Error::custom(format_args!("`{text}` is {error}")))
        };
        texts.into_iter().map(parse).collect()
    }
}
