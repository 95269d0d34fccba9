//! Certificates judged by TLSA records, as SMTP has it (RFC 6698, RFC 7671, RFC 7672 §3).

use std::fmt;

use rustls::crypto::aws_lc_rs;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use sha2::{Digest, Sha256, Sha512};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::dns::Tlsa;
use crate::mail::address::Domain;

/// A record names the trust anchor that the host's chain leads to.
const DANE_TA: u8 = 2;
/// A record names the host's own certificate.
const DANE_EE: u8 = 3;
/// The selector of a whole certificate.
const WHOLE: u8 = 0;
/// The selector of its public key.
const PUBLIC_KEY: u8 = 1;

/// Why a certificate is not the one that the TLSA records stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Rejected {
    /// The host sent none, or not one that can be read.
    #[error("the host has no readable certificate")]
    Unreadable,
    /// No record matches any of the certificates.
    #[error("no TLSA record matches the host's certificates")]
    NoMatch,
    /// A record matches the trust anchor, and the host's certificate does not lead to it now.
    #[error("the host's certificate does not lead to the trust anchor of its TLSA record")]
    Chain,
    /// It does, and is for other names.
    #[error("the host's certificate is not for any of its names")]
    Name,
}

/// The TLSA records of a host, and the names that its certificate may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dane {
    records: Vec<Tlsa>,
    names: Vec<Domain>,
}

/// Shows how many records there are.
impl fmt::Display for Dane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} usable TLSA records", self.records.len())
    }
}

/// The records that a client can use: usages 2 and 3, known selectors, data as long as its type has it; of several
/// digests for one usage and selector only the strongest (RFC 7671 §9).
///
/// Usages 0 and 1 are not for SMTP (RFC 7672 §3.1.3).
pub fn usable(records: &[Tlsa]) -> Vec<Tlsa> {
    let known: Vec<&Tlsa> = records.iter().filter(|record| is_usable(record)).collect();
    let outdone = |record: &Tlsa| {
        record.matching == 1
            && known.iter().any(|other| {
                (other.usage, other.selector, other.matching) == (record.usage, record.selector, 2)
            })
    };
    let strongest = known.iter().filter(|record| !outdone(record));
    strongest.map(|record| (*record).clone()).collect()
}

fn is_usable(record: &Tlsa) -> bool {
    let is_whole = match (record.selector, record.matching) {
        (WHOLE, 0) => X509Certificate::from_der(&record.data).is_ok_and(|(rest, _)| rest.is_empty()),
        (PUBLIC_KEY, 0) => !record.data.is_empty(),
        (WHOLE | PUBLIC_KEY, 1) => record.data.len() == 32,
        (WHOLE | PUBLIC_KEY, 2) => record.data.len() == 64,
        _ => false,
    };
    matches!(record.usage, DANE_TA | DANE_EE) && is_whole
}

impl Dane {
    /// `None` if no record can be used. The first name is the TLSA base domain, which is also the name to ask for; the
    /// others are those of RFC 7672 §3.2.2.
    pub fn new(records: &[Tlsa], names: Vec<Domain>) -> Option<Self> {
        let records = usable(records);
        (!records.is_empty() && !names.is_empty()).then_some(Self { records, names })
    }

    /// The TLSA base domain.
    pub fn base_domain(&self) -> &Domain {
        // There is at least one name, or there would be no value of this type.
        &self.names[0]
    }

    /// Whether a host that sent this chain, its own certificate first, is the right one.
    ///
    /// A match of the host's own certificate is enough, whatever names and dates it has (RFC 7672 §3.1.1). A match of a
    /// trust anchor takes a valid chain to it and one of the names (§3.1.2).
    ///
    /// Deviation: names are looked for among the subject's alternative names alone, not in its common name.
    pub fn judge(&self, chain: &[CertificateDer<'_>], now: UnixTime) -> Result<(), Rejected> {
        let (leaf, above) = chain.split_first().ok_or(Rejected::Unreadable)?;
        if self.of(DANE_EE).any(|record| matches(record, leaf)) {
            return Ok(());
        }
        let anchors = self.anchors(above);
        if anchors.is_empty() {
            return Err(Rejected::NoMatch);
        }
        let end_entity = EndEntityCert::try_from(leaf).map_err(|_| Rejected::Unreadable)?;
        let trusted = leads_to(&end_entity, above, &anchors, now);
        match (trusted, self.names.iter().any(|name| is_for(&end_entity, name))) {
            (false, _) => Err(Rejected::Chain),
            (true, false) => Err(Rejected::Name),
            (true, true) => Ok(()),
        }
    }

    fn of(&self, usage: u8) -> impl Iterator<Item = &Tlsa> {
        self.records.iter().filter(move |record| record.usage == usage)
    }

    /// Certificates above the host's that a record names, and those that stand in records whole.
    fn anchors<'a>(&'a self, above: &'a [CertificateDer<'_>]) -> Vec<CertificateDer<'a>> {
        let named = above
            .iter()
            .filter(|certificate| self.of(DANE_TA).any(|record| matches(record, certificate)))
            .map(|certificate| CertificateDer::from(certificate.as_ref()));
        let whole = self
            .of(DANE_TA)
            .filter(|record| (record.selector, record.matching) == (WHOLE, 0))
            .map(|record| CertificateDer::from(record.data.as_slice()));
        named.chain(whole).collect()
    }
}

fn matches(record: &Tlsa, certificate: &CertificateDer<'_>) -> bool {
    let Some(selected) = select(record.selector, certificate) else {
        return false;
    };
    match record.matching {
        0 => record.data == selected,
        1 => record.data == Sha256::digest(selected).as_slice(),
        2 => record.data == Sha512::digest(selected).as_slice(),
        _ => false,
    }
}

fn select<'a>(selector: u8, certificate: &'a CertificateDer<'_>) -> Option<&'a [u8]> {
    match selector {
        WHOLE => Some(certificate.as_ref()),
        PUBLIC_KEY => X509Certificate::from_der(certificate)
            .ok()
            .map(|(_, parsed)| parsed.tbs_certificate.subject_pki.raw),
        _ => None,
    }
}

/// One search for all anchors, so that however many a domain names, webpki's bound on the work of a search is the bound.
fn leads_to(
    end_entity: &EndEntityCert<'_>,
    above: &[CertificateDer<'_>],
    anchors: &[CertificateDer<'_>],
    now: UnixTime,
) -> bool {
    let anchors: Vec<_> = anchors
        .iter()
        .filter_map(|anchor| anchor_from_trusted_cert(anchor).ok())
        .collect();
    let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms;
    end_entity
        .verify_for_usage(
            algorithms.all,
            &anchors,
            above,
            now,
            KeyUsage::server_auth(),
            None,
            None,
        )
        .is_ok()
}

fn is_for(end_entity: &EndEntityCert<'_>, name: &Domain) -> bool {
    ServerName::try_from(name.as_str())
        .is_ok_and(|name| end_entity.verify_is_valid_for_subject_name(&name).is_ok())
}

#[cfg(test)]
mod tests;
