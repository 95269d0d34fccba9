//! TLS 1.2 and 1.3 by rustls with aws-lc-rs: X25519MLKEM768 is preferred, and the one suite that libdime's client
//! knows (ECDHE-RSA-AES256-GCM-SHA384) is offered (`dmtp.md` §3.2).

mod period;
mod revocation;
mod web_pki;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::{CertificateError, CommonState, DigitallySignedStruct, OtherError, SignatureScheme};
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use super::dane::{Dane, Rejected};
use super::stream::Stream;
use crate::base::machine::TlsInfo;
use crate::base::regular;
use crate::base::secret::Secret;

pub use period::Period;
pub use web_pki::{Untrusted, WebPki};

/// Octets of a file with a certificate or key at most.
const MOST_OCTETS: u64 = 1024 * 1024;

/// How long a handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(30);

/// Why a certificate, key or root store cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file cannot be read as PEM.
    #[error("cannot read {0}")]
    Pem(String, #[source] rustls_pki_types::pem::Error),
    /// The file holds no certificate.
    #[error("{0} holds no certificate")]
    NoCertificate(String),
    /// A certificate cannot be made.
    #[error("a self-signed certificate cannot be made")]
    Make(#[from] rcgen::Error),
    /// A certificate that was made cannot be kept.
    #[error("cannot write into {0}")]
    Unwritable(String, #[source] std::io::Error),
    /// A key that is another one's.
    #[error("certificate and key cannot be used: the key does not belong to the certificate")]
    Mismatch,
    /// rustls refuses the combination.
    #[error("certificate and key cannot be used")]
    Rustls(#[from] rustls::Error),
    /// The file or folder cannot be read.
    #[error("cannot read {0}")]
    Unreadable(String, #[source] io::Error),
    /// A revocation list is not one that can be used.
    #[error("{0} has a revocation list that cannot be used: {1}")]
    RevocationList(String, &'static str),
    /// A file in PEM that holds other things than revocation lists, so that nothing would be checked.
    #[error("{0} has no revocation list")]
    NoRevocationList(String),
    /// No system roots to verify certificates against.
    #[error(
        "no root certificates were found (install the package ca-certificates, or name a file with some)"
    )]
    NoRoots(#[from] rustls::client::VerifierBuilderError),
}

fn unusable(error: rustls::Error) -> Error {
    match error {
        rustls::Error::InconsistentKeys(_) => Error::Mismatch,
        other => Error::Rustls(other),
    }
}

/// Why a handshake failed, in words for whoever sent the message that waits for it.
pub fn in_words(error: &io::Error) -> String {
    use rustls::Error as E;
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<E>());
    match inner {
        Some(E::InvalidCertificate(why)) => of_certificate(why),
        Some(E::NoCertificatesPresented) => "it shows no certificate".to_owned(),
        Some(E::PeerIncompatible(_)) => "it has no version, cipher or key exchange of ours".to_owned(),
        Some(E::AlertReceived(_)) => "it does not want to go on".to_owned(),
        Some(E::PeerMisbehaved(_) | E::InvalidMessage(_) | E::DecryptError) => {
            "what it says is no TLS".to_owned()
        }
        Some(
            E::InappropriateMessage { .. }
            | E::InappropriateHandshakeMessage { .. }
            | E::PeerSentOversizedRecord,
        ) => "what it says is no TLS".to_owned(),
        // What is left is in the words of the library, or of our own doing.
        Some(_) => "it cannot be done".to_owned(),
        None => of_connection(error),
    }
}

fn of_connection(error: &io::Error) -> String {
    use io::ErrorKind as E;
    match error.kind() {
        E::TimedOut => "it takes too long".to_owned(),
        E::UnexpectedEof | E::ConnectionReset | E::ConnectionAborted | E::BrokenPipe => {
            "it hangs up".to_owned()
        }
        _ => error.to_string(),
    }
}

fn of_certificate(why: &rustls::CertificateError) -> String {
    use rustls::CertificateError as E;
    let words = match why {
        E::Expired | E::ExpiredContext { .. } => "its certificate has ended",
        E::NotValidYet | E::NotValidYetContext { .. } => "its certificate is not valid yet",
        E::UnknownIssuer => "nobody trusted here has issued its certificate",
        E::NotValidForName | E::NotValidForNameContext { .. } => "its certificate is for another name",
        E::Revoked => "its certificate was revoked",
        E::BadSignature => "the signature of its certificate is wrong",
        E::BadEncoding => "its certificate cannot be read",
        E::InvalidPurpose | E::InvalidPurposeContext { .. } => "its certificate is not one for servers",
        E::ExpiredRevocationList | E::ExpiredRevocationListContext { .. } => {
            "the revocation list of its certificate's issuer is out of date"
        }
        E::Other(other) => return of_chain(other),
        _ => UNUSABLE,
    };
    words.to_owned()
}

const UNUSABLE: &str = "its certificate cannot be used";

/// What only the library that checks chains has a name for.
fn of_chain(other: &OtherError) -> String {
    use webpki::Error as E;
    if let Some(rejected) = other.0.downcast_ref::<Rejected>() {
        return rejected.to_string();
    }
    let why = match other.0.downcast_ref::<E>() {
        Some(E::CaUsedAsEndEntity) => "it is an authority's own, or self-signed",
        Some(E::EndEntityUsedAsCa) => "one that is no authority's has issued it",
        Some(E::NameConstraintViolation | E::PathLenConstraintViolated) => {
            "an authority above it must not issue such"
        }
        _ => return UNUSABLE.to_owned(),
    };
    format!("{UNUSABLE}: {why}")
}

/// What a handshake told us about the other side.
#[derive(Debug, Clone)]
pub struct TlsPeer {
    /// Version and cipher, for trace fields and logs.
    pub info: TlsInfo,
    /// Certificates the peer sent, its own first; empty when it sent none.
    pub certificates: Vec<CertificateDer<'static>>,
}

/// A certificate chain with its private key.
#[derive(Debug)]
pub struct Identity {
    /// The leaf first.
    pub chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Identity {
    /// Reads both from PEM files.
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, Error> {
        let named = |path: &Path, error| Error::Pem(path.display().to_string(), error);
        let read = |path: &Path| {
            let octets = regular::read(path, MOST_OCTETS);
            octets.map_err(|error| named(path, pem::Error::Io(error)))
        };
        let chain = CertificateDer::pem_slice_iter(&read(certificate)?)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| named(certificate, error))?;
        if chain.is_empty() {
            return Err(Error::NoCertificate(certificate.display().to_string()));
        }
        let key = PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|error| named(key, error))?;
        Ok(Self { chain, key })
    }

    /// The end-entity certificate: what `tls=` signs.
    pub fn leaf(&self) -> &CertificateDer<'static> {
        // Both ways to make an identity put at least one certificate in.
        &self.chain[0]
    }

    /// The private key.
    pub(in crate::net) fn key(&self) -> &PrivateKeyDer<'static> {
        &self.key
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// The server side: one certificate, whatever name the client asks for (`dmtp.md` §3.2).
#[derive(Clone)]
pub struct Acceptor {
    tls: TlsAcceptor,
    period: Option<Period>,
}

impl Acceptor {
    /// Prepares the certificate for use.
    pub fn new(identity: &Identity) -> Result<Self, Error> {
        let config = rustls::ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(identity.chain.clone(), identity.key.clone_key())
            .map_err(unusable)?;
        Ok(Self {
            tls: TlsAcceptor::from(Arc::new(config)),
            period: Period::of(identity.leaf()),
        })
    }

    /// When its certificate is valid, if that can be read.
    pub fn period(&self) -> Option<Period> {
        self.period
    }

    /// Shakes hands within 30 seconds.
    pub async fn accept(&self, tcp: TcpStream) -> io::Result<(Stream, TlsPeer)> {
        tcp.set_nodelay(true)?;
        let tls = timeout(HANDSHAKE_TIMEOUT, self.tls.accept(tcp)).await??;
        let mut peer = describe(tls.get_ref().1);
        peer.info.exporter = exporter(tls.get_ref().1);
        Ok((Stream::Tls(Box::new(TlsStream::Server(tls))), peer))
    }
}

impl std::fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Acceptor")
    }
}

/// The client side.
#[derive(Clone)]
pub struct Connector(TlsConnector);

impl Connector {
    /// Prepares a client without expectations of the certificate.
    ///
    /// The handshake proves that the peer holds the key of its certificate, and nothing about whose it is: SMTP without a
    /// policy encrypts to anyone, and DMTP judges the certificate afterwards by the management record
    /// ([`super::dx_certificate`]).
    pub fn new() -> Result<Self, Error> {
        Self::with_verifier(Arc::new(Judged {
            provider: provider(),
            dane: None,
        }))
    }

    /// Prepares a client for a host whose TLSA records are known; the handshake fails with any other host.
    pub fn dane(dane: Dane) -> Result<Self, Error> {
        Self::with_verifier(Arc::new(Judged {
            provider: provider(),
            dane: Some(dane),
        }))
    }

    /// Prepares a client that expects a certificate under one of the roots, for the name it asks for.
    pub fn pkix(roots: &WebPki) -> Result<Self, Error> {
        Self::with_verifier(Arc::new(roots.clone()))
    }

    fn with_verifier(verifier: Arc<dyn ServerCertVerifier>) -> Result<Self, Error> {
        let mut config = rustls::ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        // Certificates are judged after the handshake, so there must be one every time.
        config.resumption = Resumption::disabled();
        Ok(Self(TlsConnector::from(Arc::new(config))))
    }

    /// Shakes hands within 30 seconds; `name` goes into SNI.
    pub async fn connect(&self, tcp: TcpStream, name: &str) -> io::Result<(Stream, TlsPeer)> {
        let name = ServerName::try_from(name.to_owned())
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "not a host name"))?;
        tcp.set_nodelay(true)?;
        let handshake = timeout(HANDSHAKE_TIMEOUT, self.0.connect(name, tcp)).await?;
        let tls = handshake.map_err(in_our_words)?;
        let mut peer = describe(tls.get_ref().1);
        peer.info.exporter = exporter(tls.get_ref().1);
        Ok((Stream::Tls(Box::new(TlsStream::Client(tls))), peer))
    }
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Connector")
    }
}

fn describe(state: &CommonState) -> TlsPeer {
    let version = match state.protocol_version() {
        Some(rustls::ProtocolVersion::TLSv1_2) => "TLS1.2",
        Some(rustls::ProtocolVersion::TLSv1_3) => "TLS1.3",
        _ => "unknown",
    };
    let cipher = state
        .negotiated_cipher_suite()
        .and_then(|suite| suite.suite().as_str());
    TlsPeer {
        info: TlsInfo {
            version: version.into(),
            cipher: cipher.unwrap_or("unknown").into(),
            exporter: None,
        },
        certificates: state.peer_certificates().map(<[_]>::to_vec).unwrap_or_default(),
    }
}

/// Why we reject a certificate is known better here than in the words of the TLS library.
fn in_our_words(error: io::Error) -> io::Error {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    let rejected = match inner {
        Some(rustls::Error::InvalidCertificate(CertificateError::Other(other))) => {
            other.0.downcast_ref::<Rejected>()
        }
        _ => None,
    };
    match rejected.copied() {
        Some(rejected) => io::Error::new(io::ErrorKind::InvalidData, rejected),
        None => error,
    }
}

/// The value that a login can be bound to (RFC 9266 §2). Not under TLS 1.2, where it is unique only with an extension that
/// the peer may not have.
fn exporter<Side>(session: &rustls::ConnectionCommon<Side>) -> Option<Secret<[u8; 32]>> {
    if session.protocol_version() != Some(rustls::ProtocolVersion::TLSv1_3) {
        return None;
    }
    let value = session.export_keying_material([0; 32], b"EXPORTER-Channel-Binding", Some(b""));
    value.ok().map(Secret::new)
}

/// Accepts what the TLSA records stand for, or every certificate if there are none; signatures made with its key are
/// checked as usual.
#[derive(Debug)]
struct Judged {
    provider: Arc<CryptoProvider>,
    dane: Option<Dane>,
}

impl ServerCertVerifier for Judged {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let chain = [std::slice::from_ref(end_entity), intermediates].concat();
        match self.dane.as_ref().map(|dane| dane.judge(&chain, now)) {
            None | Some(Ok(())) => Ok(ServerCertVerified::assertion()),
            Some(Err(rejected)) => Err(CertificateError::Other(OtherError(Arc::new(rejected))).into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(error: rustls::Error) -> String {
        in_words(&io::Error::new(io::ErrorKind::InvalidData, error))
    }

    fn chain(error: webpki::Error) -> String {
        said(CertificateError::Other(OtherError(Arc::new(error))).into())
    }

    #[test]
    fn no_word_of_the_library_reaches_people() {
        use webpki::Error as E;
        assert_eq!(
            chain(E::CaUsedAsEndEntity),
            "its certificate cannot be used: it is an authority's own, or self-signed"
        );
        assert_eq!(
            chain(E::EndEntityUsedAsCa),
            "its certificate cannot be used: one that is no authority's has issued it"
        );
        assert_eq!(chain(E::UnsupportedCertVersion), UNUSABLE);
        assert_eq!(
            said(CertificateError::BadEncoding.into()),
            "its certificate cannot be read"
        );
        assert_eq!(
            said(CertificateError::Other(OtherError(Arc::new(Rejected::NoMatch))).into()),
            "no TLSA record matches the host's certificates"
        );
        assert_eq!(
            said(rustls::Error::General("internal".into())),
            "it cannot be done"
        );
        for (kind, words) in [
            (io::ErrorKind::TimedOut, "it takes too long"),
            (io::ErrorKind::UnexpectedEof, "it hangs up"),
        ] {
            assert_eq!(in_words(&kind.into()), words);
        }
    }
}
