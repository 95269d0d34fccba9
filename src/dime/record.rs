//! The DIME management record: the TXT record at `_dx.<domain>` (`management-record.md`).

mod parse;
mod render;

use std::fmt;

use sha2::{Digest, Sha512};

use crate::crypto::ed25519::{Signature, SigningKey, VerifyingKey};
use crate::mail::address::Domain;

/// Longest record we read, in octets: what the reference resolver's answer buffer holds (§2).
pub const MAX_RECORD_OCTETS: usize = 4096;

/// Octets of a record as we keep it, which can be longer than it was: defaults are written out, and host names in ASCII.
const MAX_KEPT_OCTETS: usize = 4 * MAX_RECORD_OCTETS;
/// Largest value of `exp`, in days (§7.2).
pub const MAX_EXPIRY_DAYS: u16 = 3650;

/// Text that is not a management record. Refusal is total: there is no partial record (§3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Longer than [`MAX_RECORD_OCTETS`].
    #[error("the record is too long")]
    TooLong,
    /// A NUL, CR or LF inside the text.
    #[error("the record has a control character inside")]
    ControlCharacter,
    /// `ver` is not `1`.
    #[error("the record's version is not 1")]
    Version,
    /// A `pok` is not 43 characters of unpadded base64.
    #[error("a primary key (pok) is not 43 characters of base64")]
    PrimaryKey,
    /// There is no `pok`.
    #[error("the record has no primary key (pok)")]
    NoPrimaryKey,
    /// A `tls` is not 86 characters of unpadded base64.
    #[error("a certificate signature (tls) is not 86 characters of base64")]
    TlsSignature,
    /// `pol` is none of the three.
    #[error("the policy (pol) is not experimental, mixed or strict")]
    Policy,
    /// `sub` is none of the three.
    #[error("the subdomain policy (sub) is not strict, relaxed or explicit")]
    SubdomainPolicy,
    /// A `dx` is not a host name.
    #[error("a delivery host (dx) is not a host name")]
    DeliveryHost,
    /// `exp` is not a number of days from 1 to 3650.
    #[error("the expiry (exp) is not a number of days from 1 to 3650")]
    Expiry,
    /// `syn` is not text.
    #[error("the syndicates (syn) are not text")]
    Syndicates,
    /// A value to be written does not read back as itself.
    #[error("the record would not read back as it is")]
    NotRepresentable,
}

/// A management record that has passed the parser: at least one key, version 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManagementRecord {
    /// `pok`: primary organizational keys, in record order, without repeats; at least one.
    pub primary_keys: Vec<VerifyingKey>,
    /// `tls`: signatures over the SHA-512 of a DX certificate, in record order.
    pub tls_signatures: Vec<Signature>,
    /// `pol`.
    pub policy: Policy,
    /// `dx`: delivery hosts in record order, without repeats. Empty: the domain's MX hosts are used.
    pub delivery_hosts: Vec<Domain>,
    /// `sub`.
    pub subdomain_policy: SubdomainPolicy,
    /// `exp`: days from first sight until the record must be discarded, 1–3650.
    pub expiry_days: Option<u16>,
    /// `syn`, kept as opaque text.
    pub syndicates: Option<String>,
}

/// What the TXT records say that stand where a domain publishes its record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Published {
    /// The domain has no record.
    Nothing,
    /// This one.
    Record(ManagementRecord),
    /// What was meant to be one cannot be used: by itself, or, with `None`, because it is not alone (§2).
    Unusable(Option<Error>),
}

/// Where `domain` publishes its record, without a trailing dot.
pub fn owner_name(domain: &Domain) -> String {
    format!("_dx.{domain}")
}

/// Signs a DX certificate, for `tls` (§6): plain Ed25519 over the SHA-512 of the whole DER certificate.
pub fn sign_certificate(primary_key: &SigningKey, der: &[u8]) -> Signature {
    primary_key.sign(&certificate_digest(der))
}

impl ManagementRecord {
    /// Whether a `tls` value, under any `pok`, signs this end-entity certificate (§6 step 3).
    ///
    /// Says nothing about the certificate's name or validity period.
    pub fn matches_certificate(&self, der: &[u8]) -> bool {
        let digest = certificate_digest(der);
        self.tls_signatures.iter().any(|signature| {
            self.primary_keys
                .iter()
                .any(|key| key.verify(&digest, signature).is_ok())
        })
    }

    /// Whether the two records have a primary key in common (§7.4).
    pub fn shares_key_with(&self, other: &Self) -> bool {
        self.primary_keys
            .iter()
            .any(|key| other.primary_keys.contains(key))
    }
}

fn certificate_digest(der: &[u8]) -> [u8; 64] {
    Sha512::digest(der).into()
}

/// How firmly a domain stands by DMTP; ordered from weak to strong (§9.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Policy {
    /// DMTP is on trial: failures may fall back to SMTP.
    #[default]
    Experimental,
    /// DMTP whenever the recipient has a signet.
    Mixed,
    /// DMTP only.
    Strict,
}

impl Policy {
    const NAMES: [(Self, &'static str); 3] = [
        (Self::Experimental, "experimental"),
        (Self::Mixed, "mixed"),
        (Self::Strict, "strict"),
    ];

    /// Reads the record's word for it, in any case.
    pub fn parse(text: &str) -> Option<Self> {
        by_name(&Self::NAMES, text)
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(name_of(&Self::NAMES, *self))
    }
}

/// Whether subdomains may publish records of their own (§8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum SubdomainPolicy {
    /// The parent's record governs.
    #[default]
    Strict,
    /// A subdomain's own record is used if there is one.
    Relaxed,
    /// A subdomain without its own record is not a DIME domain.
    Explicit,
}

impl SubdomainPolicy {
    const NAMES: [(Self, &'static str); 3] = [
        (Self::Strict, "strict"),
        (Self::Relaxed, "relaxed"),
        (Self::Explicit, "explicit"),
    ];

    /// Reads the record's word for it, in any case.
    pub fn parse(text: &str) -> Option<Self> {
        by_name(&Self::NAMES, text)
    }
}

impl fmt::Display for SubdomainPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(name_of(&Self::NAMES, *self))
    }
}

fn by_name<T: Copy>(names: &[(T, &str)], text: &str) -> Option<T> {
    let found = names.iter().find(|(_, name)| name.eq_ignore_ascii_case(text))?;
    Some(found.0)
}

fn name_of<T: Copy + PartialEq>(names: &[(T, &'static str)], value: T) -> &'static str {
    names
        .iter()
        .find(|(known, _)| *known == value)
        .map_or("", |(_, name)| *name)
}

#[cfg(test)]
mod tests;
