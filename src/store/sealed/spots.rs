//! Where things lie that are sealed under the master key, by what stands beside them in their rows.

use super::{DomainPin, MasterKey, StsEntry, derived, domain_pin_text, sts_text};
use crate::base::id::QueueId;
use crate::base::secret::Secret;
use crate::crypto::at_rest::Unreadable;
use crate::dime::fingerprint::{CryptoFingerprint, FullFingerprint};
use crate::mail::address::Domain;

/// What a key is derived for, and the associated data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store) struct Spot {
    purpose: String,
    text: String,
}

impl Spot {
    fn of(purpose: String) -> Self {
        let text = purpose.clone();
        Self { purpose, text }
    }

    pub(in crate::store) fn message_key(message: QueueId) -> Self {
        Self::of(format!("dimed/1 message key {message}"))
    }

    pub(in crate::store) fn tags() -> Self {
        Self::of("dimed/1 master key ring tags".to_owned())
    }

    pub(in crate::store) fn next_key() -> Self {
        Self::of("dimed/1 master key ring next".to_owned())
    }

    pub(in crate::store) fn previous_key() -> Self {
        Self::of("dimed/1 master key ring previous".to_owned())
    }

    pub(in crate::store) fn private_keys(name: &str, signet: &CryptoFingerprint) -> Self {
        Self::of(format!("dimed/1 private keys {signet} {name}"))
    }

    pub(in crate::store) fn kem_keys(name: &str, signet: &FullFingerprint) -> Self {
        Self::of(format!("dimed/1 private KEM keys {signet} {name}"))
    }

    pub(in crate::store) fn rollover(name: &str) -> Self {
        Self::of(format!("dimed/1 rollover {name}"))
    }

    pub(in crate::store) fn key_deposit(name: &str, version: u64) -> Self {
        Self {
            purpose: format!("key deposit {name}"),
            text: format!("dimed/1 key deposit {version} {name}"),
        }
    }

    pub(in crate::store) fn dkim_key(domain: &Domain, selector: &str, record: &str) -> Self {
        Self::of(format!("dimed/1 dkim key {selector} {domain} {record}"))
    }

    pub(in crate::store) fn srs_path(id: &str) -> Self {
        Self::of(format!("dimed/1 srs path {id}"))
    }

    pub(in crate::store) fn domain_pin(pin: &DomainPin) -> Self {
        Self {
            purpose: "dimed/1 domain pin".to_owned(),
            text: domain_pin_text(pin),
        }
    }

    pub(in crate::store) fn sts_policy(entry: &StsEntry) -> Self {
        Self {
            purpose: "dimed/1 mta-sts policy".to_owned(),
            text: sts_text(entry),
        }
    }
}

impl MasterKey {
    /// Seals for a spot.
    pub(in crate::store) fn seal_at(&self, spot: &Spot, plain: &[u8]) -> Vec<u8> {
        self.derive(&spot.purpose)
            .seal(&mut rand::rng(), spot.text.as_bytes(), plain)
    }

    /// Opens what was sealed for it.
    pub(in crate::store) fn open_at(
        &self,
        spot: &Spot,
        sealed: &[u8],
    ) -> Result<Secret<Vec<u8>>, Unreadable> {
        let open = |key| derived(key, &spot.purpose).open(spot.text.as_bytes(), sealed);
        let plain = match (open(&self.current), &self.previous) {
            (Err(Unreadable), Some(previous)) => open(previous),
            (opened, _) => opened,
        };
        plain.map(Secret::new)
    }

    /// What was sealed under the previous key, sealed under the current one; `None` if it is already.
    pub(in crate::store) fn rewrapped(
        &self,
        spot: &Spot,
        sealed: &[u8],
    ) -> Result<Option<Vec<u8>>, Unreadable> {
        let key = self.derive(&spot.purpose);
        if key.open(spot.text.as_bytes(), sealed).is_ok() {
            return Ok(None);
        }
        let plain = self.open_at(spot, sealed)?;
        Ok(Some(self.seal_at(spot, plain.expose())))
    }
}
