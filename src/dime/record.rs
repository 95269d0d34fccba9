//! The DIME management record: the TXT record at `_dx.<domain>` (`management-record.md`).

use crate::crypto::ed25519::{Signature, VerifyingKey};
use crate::mail::address::Domain;

/// A management record that has passed the parser: at least one key, version 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManagementRecord {
    /// `pok`: primary organizational keys, in record order, without repeats; at least one.
    pub primary_keys: Vec<VerifyingKey>,
    /// `tls`: signatures over the SHA-512 of a DX certificate, in record order.
    pub tls_signatures: Vec<Signature>,
    /// `pol`.
    pub policy: Policy,
    /// `dx`: delivery hosts in record order. Empty: the domain's MX hosts are used.
    pub delivery_hosts: Vec<Domain>,
    /// `sub`.
    pub subdomain_policy: SubdomainPolicy,
    /// `exp`: days from first sight until the record must be discarded, 1–3650.
    pub expiry_days: Option<u16>,
    /// `syn`, kept as opaque text.
    pub syndicates: Option<String>,
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
