//! Certificates that must lead to a trusted root, and must not have been revoked.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::revocation::{self, Stamp};
use super::{Error, provider};

/// Checks chains and host names against root certificates, and against revocation lists where there are some. Copies share
/// both.
#[derive(Debug, Clone)]
pub struct WebPki(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    roots: Arc<RootCertStore>,
    lists: Option<Lists>,
    verifier: RwLock<Arc<WebPkiServerVerifier>>,
}

#[derive(Debug)]
struct Lists {
    path: PathBuf,
    /// Of the files that were read last.
    stamp: Mutex<Stamp>,
    /// How many lists are in use.
    count: AtomicUsize,
}

/// Why a chain is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Untrusted {
    /// It leads to no trusted root for that name, or is outside its time.
    NotTrusted,
    /// Its issuer has revoked a certificate of it.
    Revoked,
    /// The revocation list of an issuer in it is out of date, so that nobody can say.
    ListOutdated,
}

impl WebPki {
    /// Loads the system's roots; a machine without any verifies nothing.
    pub fn system() -> Result<Self, Error> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        Self::with_roots(roots)
    }

    /// Loads roots from a PEM file.
    ///
    /// Errors: [`Error::Pem`], [`Error::NoCertificate`].
    pub fn load(path: &Path) -> Result<Self, Error> {
        let named = |error| Error::Pem(path.display().to_string(), error);
        let certificates = CertificateDer::pem_file_iter(path)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(named)?;
        let mut roots = RootCertStore::empty();
        if roots.add_parsable_certificates(certificates).0 == 0 {
            return Err(Error::NoCertificate(path.display().to_string()));
        }
        Self::with_roots(roots)
    }

    /// Uses the given roots.
    pub fn with_roots(roots: RootCertStore) -> Result<Self, Error> {
        let roots = Arc::new(roots);
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::clone(&roots), provider()).build()?;
        Ok(Self(Arc::new(Shared {
            roots,
            lists: None,
            verifier: RwLock::new(verifier),
        })))
    }

    /// The same roots with the revocation lists in a file or folder: PEM, or one list in DER per file.
    ///
    /// Every certificate of a chain but the root is looked up in the list of its issuer; where there is no list, nothing
    /// is known and the certificate is accepted. A list whose time is over (`nextUpdate`) rejects everything of its issuer.
    ///
    /// Errors: [`Error::Unreadable`], [`Error::Pem`], [`Error::RevocationList`].
    pub fn with_revocation_lists(&self, path: &Path) -> Result<Self, Error> {
        let stamp = revocation::stamp(path)?;
        let (verifier, count) = checking(&self.0.roots, path)?;
        Ok(Self(Arc::new(Shared {
            roots: Arc::clone(&self.0.roots),
            lists: Some(Lists {
                path: path.to_owned(),
                stamp: Mutex::new(stamp),
                count: AtomicUsize::new(count),
            }),
            verifier: RwLock::new(verifier),
        })))
    }

    /// How many revocation lists are in use; `None` where none are named.
    pub fn revocation_lists(&self) -> Option<usize> {
        let lists = self.0.lists.as_ref()?;
        Some(lists.count.load(Ordering::Relaxed))
    }

    /// Reads the revocation lists again if a file has changed; whether one has. On an error those from before stay in use,
    /// and it is tried again. Waits for the disk.
    pub fn reload(&self) -> Result<bool, Error> {
        let Some(lists) = &self.0.lists else {
            return Ok(false);
        };
        let mut stamp = lists.stamp.lock().unwrap_or_else(PoisonError::into_inner);
        let found = revocation::stamp(&lists.path)?;
        if found == *stamp {
            return Ok(false);
        }
        let (verifier, count) = checking(&self.0.roots, &lists.path)?;
        *self.0.verifier.write().unwrap_or_else(PoisonError::into_inner) = verifier;
        *stamp = found;
        lists.count.store(count, Ordering::Relaxed);
        Ok(true)
    }

    /// Whether the chain leads to a root, nothing of it is revoked, and the leaf is valid now for `host`.
    pub fn judge(&self, chain: &[CertificateDer<'_>], host: &str) -> Result<(), Untrusted> {
        let (Some((leaf, intermediates)), Ok(name)) = (chain.split_first(), ServerName::try_from(host))
        else {
            return Err(Untrusted::NotTrusted);
        };
        let verified = self
            .current()
            .verify_server_cert(leaf, intermediates, &name, &[], UnixTime::now());
        verified.map(drop).map_err(|error| match error {
            rustls::Error::InvalidCertificate(CertificateError::Revoked) => Untrusted::Revoked,
            rustls::Error::InvalidCertificate(
                CertificateError::ExpiredRevocationList
                | CertificateError::ExpiredRevocationListContext { .. },
            ) => Untrusted::ListOutdated,
            _ => Untrusted::NotTrusted,
        })
    }

    fn current(&self) -> Arc<WebPkiServerVerifier> {
        let verifier = self.0.verifier.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&verifier)
    }
}

/// With how many lists there are.
fn checking(roots: &Arc<RootCertStore>, path: &Path) -> Result<(Arc<WebPkiServerVerifier>, usize), Error> {
    let lists = revocation::read(path)?;
    let count = lists.len();
    let builder = WebPkiServerVerifier::builder_with_provider(Arc::clone(roots), provider());
    let built = builder
        .with_crls(lists)
        .allow_unknown_revocation_status()
        .enforce_revocation_expiration()
        .build();
    // Each was read by itself before.
    let built = built.map_err(|_| Error::RevocationList(path.display().to_string(), "it cannot be used"));
    Ok((built?, count))
}

impl ServerCertVerifier for WebPki {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.current()
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.current().verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.current().verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.current().supported_verify_schemes()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;

    use rcgen::{
        BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType, IsCa,
        KeyIdMethod, KeyPair, RevokedCertParams, SerialNumber, date_time_ymd,
    };

    use super::*;

    const HOST: &str = "mx.hismail.test";

    struct Authority(CertifiedIssuer<'static, KeyPair>);

    impl Authority {
        fn new() -> Self {
            Self::named("Authority")
        }

        fn named(name: &str) -> Self {
            let mut params = CertificateParams::new(Vec::new()).unwrap();
            params.distinguished_name.push(DnType::CommonName, name);
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
        }

        fn issue(&self, number: u64) -> CertificateDer<'static> {
            let mut params = CertificateParams::new(vec![HOST.into()]).unwrap();
            params.serial_number = Some(SerialNumber::from(number));
            let leaf = params.signed_by(&KeyPair::generate().unwrap(), &self.0);
            leaf.unwrap().der().clone()
        }

        fn list(&self, revoked: &[u64], until_year: i32) -> rcgen::CertificateRevocationList {
            let revoked = revoked.iter().map(|number| RevokedCertParams {
                serial_number: SerialNumber::from(*number),
                revocation_time: date_time_ymd(2020, 1, 1),
                reason_code: None,
                invalidity_date: None,
            });
            let params = CertificateRevocationListParams {
                this_update: date_time_ymd(2020, 1, 1),
                next_update: date_time_ymd(until_year, 1, 1),
                crl_number: SerialNumber::from(1),
                issuing_distribution_point: None,
                revoked_certs: revoked.collect(),
                key_identifier_method: KeyIdMethod::Sha256,
            };
            params.signed_by(&self.0).unwrap()
        }
    }

    fn trusting(authorities: &[&Authority]) -> WebPki {
        let mut roots = RootCertStore::empty();
        for authority in authorities {
            roots.add(authority.0.der().clone()).unwrap();
        }
        WebPki::with_roots(roots).unwrap()
    }

    #[test]
    fn what_an_issuer_revokes_is_refused_once_its_list_is_there() {
        let (authority, silent) = (Authority::new(), Authority::named("Silent"));
        let folder = tempfile::tempdir().unwrap();
        let pki = trusting(&[&authority, &silent]);
        let pki = pki.with_revocation_lists(folder.path()).unwrap();
        let judged = |leaf: &CertificateDer<'static>| pki.judge(std::slice::from_ref(leaf), HOST);
        let (first, second, other) = (authority.issue(1), authority.issue(2), silent.issue(1));
        for leaf in [&first, &second, &other] {
            assert_eq!(judged(leaf), Ok(()));
        }
        assert!(!pki.reload().unwrap());
        assert_eq!(pki.revocation_lists(), Some(0));
        let list = authority.list(&[1], 2100);
        let (pem, der) = (list.pem().unwrap().into_bytes(), list.der().to_vec());
        for octets in [pem, der] {
            fs::write(folder.path().join("list"), octets).unwrap();
            assert!(pki.reload().unwrap());
            assert_eq!(pki.revocation_lists(), Some(1));
            assert_eq!(judged(&first), Err(Untrusted::Revoked));
            assert_eq!(judged(&second), Ok(()));
            // The same number of an issuer without a list.
            assert_eq!(judged(&other), Ok(()));
        }
        fs::write(folder.path().join("list"), "neither form").unwrap();
        let error = pki.reload().unwrap_err().to_string();
        let file = folder.path().join("list");
        assert_eq!(
            error,
            format!(
                "{} has a revocation list that cannot be used: it is damaged, or neither PEM nor DER",
                file.display()
            )
        );
        assert_eq!(pki.revocation_lists(), Some(1));
        assert_eq!(judged(&first), Err(Untrusted::Revoked));
        fs::remove_file(folder.path().join("list")).unwrap();
        assert!(pki.reload().unwrap());
        assert_eq!(judged(&first), Ok(()));
    }

    #[test]
    fn a_list_out_of_date_vouches_for_nothing_of_its_issuer() {
        let (authority, silent) = (Authority::new(), Authority::named("Silent"));
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), authority.list(&[1], 2021).pem().unwrap()).unwrap();
        let pki = trusting(&[&authority, &silent]);
        let pki = pki.with_revocation_lists(file.path()).unwrap();
        assert_eq!(
            pki.judge(&[authority.issue(2)], HOST),
            Err(Untrusted::ListOutdated)
        );
        assert_eq!(pki.judge(&[silent.issue(2)], HOST), Ok(()));
    }

    #[test]
    fn somebody_else_s_list_under_the_issuer_s_name_is_not_believed() {
        let (authority, forger) = (Authority::new(), Authority::new());
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), forger.list(&[1], 2100).pem().unwrap()).unwrap();
        let pki = trusting(&[&authority])
            .with_revocation_lists(file.path())
            .unwrap();
        assert_eq!(pki.judge(&[authority.issue(1)], HOST), Err(Untrusted::NotTrusted));
    }

    #[test]
    fn a_place_that_is_not_there_is_an_error() {
        let pki = trusting(&[&Authority::new()]);
        let missing = pki.with_revocation_lists(Path::new("/nonexistent"));
        assert!(matches!(missing, Err(Error::Unreadable(..))));
    }
}
