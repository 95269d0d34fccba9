//! When a certificate is valid.

use x509_parser::prelude::{FromDer, X509Certificate};

use crate::base::time::Timestamp;

/// From when to when a certificate is valid. Unix seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period {
    /// The first second.
    pub from: i64,
    /// The end.
    pub until: i64,
}

impl Period {
    /// Of a certificate in DER, if that can be read.
    pub fn of(certificate: &[u8]) -> Option<Self> {
        let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
        Some(Self {
            from: parsed.validity().not_before.timestamp(),
            until: parsed.validity().not_after.timestamp(),
        })
    }

    /// Whether it has begun and not ended.
    pub fn contains(self, now: Timestamp) -> bool {
        let now = now.unix_secs();
        self.from <= now && now < self.until
    }
}
