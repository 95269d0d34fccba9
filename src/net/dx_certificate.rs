//! Whether a DX host's certificate is the one its domain stands by (`dmtp.md` §3.4, `management-record.md` §6).

use rustls_pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::dns::Proof;
use super::tls::{Untrusted, WebPki};
use crate::base::time::Timestamp;
use crate::dime::record::ManagementRecord;
use crate::mail::address::Domain;

/// Why a certificate is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Rejected {
    /// The peer sent none, or not one that can be read.
    #[error("the host has no readable certificate")]
    Unreadable,
    /// Not yet, or no longer, valid.
    #[error("the certificate is outside its validity period")]
    OutsideValidity,
    /// The record signs certificates, and not this one.
    #[error("the management record does not sign the certificate")]
    NotSigned,
    /// No chain to a root certificate for the host's name, where one is needed.
    #[error("the certificate does not lead to a trusted root for the host's name")]
    NotTrusted,
    /// Its issuer has revoked it, or the issuer's certificate has been.
    #[error("the certificate has been revoked")]
    Revoked,
    /// The list that would say whether it has been revoked is out of date.
    #[error("the revocation list for the certificate is out of date")]
    RevocationUnknown,
}

/// Why a certificate is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accepted {
    /// The record, which DNSSEC proves, signs it.
    Signed,
    /// The record, which nothing proves, signs it, and it leads to a trusted root for the host's name.
    SignedAndTrusted,
    /// The record signs none; it leads to a trusted root for the host's name.
    Trusted,
}

/// Judges the chain that `host` presented.
///
/// | Record's `tls` | DNSSEC | Demanded |
/// |---|---|---|
/// | present | secure | a match |
/// | present | insecure | a match, host name and chain |
/// | absent | either | host name and chain |
///
/// A certificate that leads to a root must not be in the revocation list of its issuer, where the operator has one, and that
/// counts after a match, too. For one that a record signs, taking the signature out of the record is the revocation: it holds
/// as soon as the record is looked up again, at the latest when its TTL is over, as a session is kept for that very record, and
/// none is resumed.
///
/// Deviations: the validity period always counts (the reference client ignores it after a match); all `tls` values are
/// tried, not the first alone; no OCSP, whose answer the reference client ignores, and which would tell the responder whom we
/// write to.
pub fn judge(
    record: &ManagementRecord,
    proof: Proof,
    chain: &[CertificateDer<'_>],
    host: &Domain,
    roots: Option<&WebPki>,
    now: Timestamp,
) -> Result<Accepted, Rejected> {
    let leaf = chain.first().ok_or(Rejected::Unreadable)?;
    check_validity(leaf, now)?;
    let signs = !record.tls_signatures.is_empty();
    if signs && !record.matches_certificate(leaf) {
        return Err(Rejected::NotSigned);
    }
    let trusted = roots.map_or(Err(Untrusted::NotTrusted), |roots| {
        roots.judge(chain, host.as_str())
    });
    match trusted {
        Err(Untrusted::Revoked) => Err(Rejected::Revoked),
        _ if signs && proof == Proof::Secure => Ok(Accepted::Signed),
        Ok(()) if signs => Ok(Accepted::SignedAndTrusted),
        Ok(()) => Ok(Accepted::Trusted),
        Err(Untrusted::ListOutdated) => Err(Rejected::RevocationUnknown),
        Err(Untrusted::NotTrusted) => Err(Rejected::NotTrusted),
    }
}

fn check_validity(leaf: &[u8], now: Timestamp) -> Result<(), Rejected> {
    let (_, certificate) = X509Certificate::from_der(leaf).map_err(|_| Rejected::Unreadable)?;
    let (from, until) = (
        certificate.validity().not_before,
        certificate.validity().not_after,
    );
    match (from.timestamp()..=until.timestamp()).contains(&now.unix_secs()) {
        true => Ok(()),
        false => Err(Rejected::OutsideValidity),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
    use rustls::RootCertStore;

    use super::*;
    use crate::crypto::ed25519::SigningKey;
    use crate::dime::record::{self, Policy, SubdomainPolicy};

    const NOON: Timestamp = Timestamp(1_800_000_000_000);

    fn record(signed: Option<&[u8]>) -> ManagementRecord {
        let key = SigningKey::from_seed(&[1; 32]);
        ManagementRecord {
            primary_keys: vec![key.verifying_key()],
            tls_signatures: signed
                .map(|der| record::sign_certificate(&key, der))
                .into_iter()
                .collect(),
            policy: Policy::Mixed,
            delivery_hosts: Vec::new(),
            subdomain_policy: SubdomainPolicy::Strict,
            expiry_days: None,
            syndicates: None,
        }
    }

    fn host() -> Domain {
        Domain::parse("dx.hismail.test").unwrap()
    }

    fn params() -> CertificateParams {
        CertificateParams::new(vec!["dx.hismail.test".into()]).unwrap()
    }

    fn self_signed() -> CertificateDer<'static> {
        params()
            .self_signed(&KeyPair::generate().unwrap())
            .unwrap()
            .der()
            .clone()
    }

    /// A root store and a certificate under it; both valid for as long as rcgen's defaults say.
    fn by_authority() -> (WebPki, CertificateDer<'static>) {
        let mut root = CertificateParams::new(Vec::new()).unwrap();
        root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = CertifiedIssuer::self_signed(root, KeyPair::generate().unwrap()).unwrap();
        let leaf = params().signed_by(&KeyPair::generate().unwrap(), &root).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(root.der().clone()).unwrap();
        (WebPki::with_roots(roots).unwrap(), leaf.der().clone())
    }

    #[test]
    fn a_proven_signature_is_enough() {
        let leaf = self_signed();
        let judged = judge(&record(Some(&leaf)), Proof::Secure, &[leaf], &host(), None, NOON);
        assert_eq!(judged, Ok(Accepted::Signed));
    }

    #[test]
    fn an_unproven_signature_needs_name_and_chain_too() {
        let leaf = self_signed();
        let judged = judge(
            &record(Some(&leaf)),
            Proof::Insecure,
            &[leaf],
            &host(),
            None,
            NOON,
        );
        assert_eq!(judged, Err(Rejected::NotTrusted));
        let (roots, leaf) = by_authority();
        let record = record(Some(&leaf));
        assert_eq!(
            judge(
                &record,
                Proof::Insecure,
                std::slice::from_ref(&leaf),
                &host(),
                Some(&roots),
                NOON
            ),
            Ok(Accepted::SignedAndTrusted)
        );
        let other = Domain::parse("dx.hermail.test").unwrap();
        let judged = judge(&record, Proof::Insecure, &[leaf], &other, Some(&roots), NOON);
        assert_eq!(judged, Err(Rejected::NotTrusted));
    }

    #[test]
    fn a_signature_over_another_certificate_is_final() {
        let (roots, leaf) = by_authority();
        let judged = judge(
            &record(Some(b"another")),
            Proof::Secure,
            &[leaf],
            &host(),
            Some(&roots),
            NOON,
        );
        assert_eq!(judged, Err(Rejected::NotSigned));
    }

    #[test]
    fn without_signatures_only_name_and_chain_count() {
        let judged = judge(
            &record(None),
            Proof::Secure,
            &[self_signed()],
            &host(),
            None,
            NOON,
        );
        assert_eq!(judged, Err(Rejected::NotTrusted));
        let (roots, leaf) = by_authority();
        assert_eq!(
            judge(&record(None), Proof::Secure, &[leaf], &host(), Some(&roots), NOON),
            Ok(Accepted::Trusted)
        );
    }

    #[test]
    fn an_expired_or_missing_certificate_is_refused_even_if_signed() {
        let mut params = params();
        params.not_after = date_time_ymd(2020, 1, 1);
        let leaf = params
            .self_signed(&KeyPair::generate().unwrap())
            .unwrap()
            .der()
            .clone();
        let record = record(Some(&leaf));
        let judged = judge(&record, Proof::Secure, &[leaf], &host(), None, NOON);
        assert_eq!(judged, Err(Rejected::OutsideValidity));
        assert_eq!(
            judge(&record, Proof::Secure, &[], &host(), None, NOON),
            Err(Rejected::Unreadable)
        );
    }
}
