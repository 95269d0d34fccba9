//! Certificates from an authority that issues them by itself (ACME, RFC 8555), for one host name.
//!
//! The authority asks this host, at a well-known place, for something that only the owner of the account can know: over HTTP
//! (`http-01`, RFC 8555 §8.3) or in a certificate (`tls-alpn-01`, RFC 8737). Somebody answers there only while an order
//! runs. The private key stays the same from one certificate to the next, so that TLSA records of the key stay right.

mod answer;
mod http;
mod leave;

use std::fmt::{self, Display};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use instant_acme::{
    Account, AccountBuilder, AccountCredentials, AuthorizationStatus, ChallengeType, Identifier, NewAccount,
    NewOrder, Order, OrderStatus, Problem, RetryPolicy,
};
use rcgen::{CertificateParams, DistinguishedName, KeyPair, PKCS_RSA_SHA256};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tokio::time::timeout;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};
use zeroize::Zeroizing;

use self::answer::{Answer, Answering};
use super::connect::Outgoing;
use super::dns::Resolver;
use super::https;
use super::tls::{self, Acceptor, Connector, Identity};
use crate::base::durable::{self, Staged};
use crate::mail::address::Domain;

pub use answer::Door;

/// How long one order may take in all.
const PATIENCE: Duration = Duration::from_secs(300);
/// How long the authority may take for one step of it.
const POLLS: RetryPolicy = RetryPolicy::new().timeout(Duration::from_secs(90));
/// Characters of the authority's words that are passed on.
const MAX_WORDS: usize = 300;

/// How the authority finds out that the host is ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Challenge {
    /// `http-01`: a text on port 80.
    Http01,
    /// `tls-alpn-01`: a certificate on port 443.
    TlsAlpn01,
}

impl Challenge {
    /// Where the authority looks.
    pub fn port(self) -> u16 {
        match self {
            Self::Http01 => 80,
            Self::TlsAlpn01 => 443,
        }
    }

    fn kind(self) -> ChallengeType {
        match self {
            Self::Http01 => ChallengeType::Http01,
            Self::TlsAlpn01 => ChallengeType::TlsAlpn01,
        }
    }
}

impl Display for Challenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http01 => "http-01",
            Self::TlsAlpn01 => "tls-alpn-01",
        })
    }
}

impl FromStr for Challenge {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "http-01" => Ok(Self::Http01),
            "tls-alpn-01" => Ok(Self::TlsAlpn01),
            _ => Err("neither `http-01` nor `tls-alpn-01`"),
        }
    }
}

/// Why there is no new certificate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The authority's question cannot be heard.
    #[error("cannot listen on {0}, where the authority asks{hint}", hint = hint(.1))]
    Listen(SocketAddr, #[source] io::Error),
    /// A file of the account, the key or the certificate cannot be read or written.
    #[error("{0} cannot be used")]
    File(String, #[source] io::Error),
    /// A file that an order would end with cannot be written, so nothing was ordered.
    #[error(
        "{0} cannot be written, so no certificate is asked for: name a place below the data directory, or list its folder at \
         ReadWritePaths= in the unit"
    )]
    Unwritable(String, #[source] io::Error),
    /// The file of the account is not one.
    #[error("{0} is no account of ACME: remove it, and a new one is made")]
    Account(String),
    /// There is no account with that authority.
    #[error("there is no account with {0}")]
    NoAccount(String),
    /// The private key is none, or not one that can be used.
    #[error("the private key for the certificate cannot be used")]
    Key(#[from] rcgen::Error),
    /// What answers in TLS cannot be prepared.
    #[error("the answer to the authority cannot be prepared")]
    Answer(#[from] rustls::Error),
    /// The authority has no such challenge.
    #[error("the authority does not offer {0}")]
    NotOffered(Challenge),
    /// The authority is not content.
    #[error("the authority says: {words}")]
    Refused {
        /// Its words, without control characters.
        words: String,
        /// It will say so again.
        for_good: bool,
    },
    /// The authority cannot be asked.
    #[error("the authority cannot be asked")]
    Unreachable(#[source] https::Error),
    /// What the authority says is not ACME.
    #[error("the authority cannot be understood: {0}")]
    NotUnderstood(String),
    /// The certificate is not for our key.
    #[error("the certificate of the authority cannot be used")]
    Unusable(#[source] tls::Error),
    /// It took too long.
    #[error("the authority takes too long")]
    TimedOut,
}

/// What to do about it, where we know.
fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::PermissionDenied => {
            " (ports below 1024 need a socket of systemd, as in deploy/dimed-acme.socket, or CAP_NET_BIND_SERVICE)"
        }
        _ => "",
    }
}

impl Error {
    /// Whether the same may work later, without a change here.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Listen(_, error) => error.kind() == ErrorKind::AddrInUse,
            Self::Refused { for_good, .. } => !for_good,
            Self::Unreachable(error) => !matches!(error, https::Error::Uri(_)),
            Self::NotUnderstood(_) | Self::TimedOut => true,
            _ => false,
        }
    }
}

impl From<instant_acme::Error> for Error {
    fn from(error: instant_acme::Error) -> Self {
        use instant_acme::Error as E;
        match error {
            E::Api(problem) => refused(&problem),
            E::Timeout(_) => Self::TimedOut,
            E::Other(source) => match source.downcast::<https::Error>() {
                Ok(error) => Self::Unreachable(*error),
                Err(other) => Self::NotUnderstood(words(&other.to_string())),
            },
            other => Self::NotUnderstood(words(&other.to_string())),
        }
    }
}

fn refused(problem: &Problem) -> Error {
    const FOR_GOOD: &[&str] = &[
        "accountDoesNotExist",
        "badCSR",
        "badPublicKey",
        "caa",
        "malformed",
        "rejectedIdentifier",
        "unsupportedIdentifier",
        "userActionRequired",
    ];
    let kind = problem.r#type.as_deref().unwrap_or_default();
    let kind = kind.rsplit(':').next().unwrap_or_default();
    let detail = problem.detail.as_deref().unwrap_or("no");
    Error::Refused {
        words: words(&format!("{detail} ({kind})")),
        for_good: FOR_GOOD.contains(&kind),
    }
}

/// What somebody else says, made safe for a line of ours.
fn words(text: &str) -> String {
    let plain = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    plain.take(MAX_WORDS).collect()
}

/// Who is asked for a certificate, how, and where it goes.
pub struct Issuer {
    /// Address of the authority's directory, which begins with `https://`.
    pub directory: String,
    /// How it finds out that the host is ours.
    pub challenge: Challenge,
    /// Where we listen while it does.
    pub listen: Vec<SocketAddr>,
    /// Finds the authority.
    pub resolver: Arc<dyn Resolver>,
    /// How to connect.
    pub outgoing: Outgoing,
    /// TLS that verifies the authority's own certificate.
    pub connector: Connector,
    /// File with the account, made if it is not there.
    pub account: PathBuf,
    /// File for the chain.
    pub certificate: PathBuf,
    /// File with the private key, made if it is not there.
    pub key: PathBuf,
}

impl Issuer {
    /// Asks for a certificate for `host`, and puts it in place once it is known to be good; until then nothing changes there. The
    /// authority is answered at the `door`, or without one where we listen for as long as it takes.
    pub async fn issue(&self, host: &Domain, door: Option<&Door>) -> Result<(), Error> {
        timeout(PATIENCE, self.order(host, door))
            .await
            .unwrap_or(Err(Error::TimedOut))
    }

    async fn order(&self, host: &Domain, door: Option<&Door>) -> Result<(), Error> {
        // The authority counts what it issues, also if it can be kept nowhere.
        self.demand_writable()?;
        let own;
        let door = match door {
            Some(door) => door,
            None => {
                // First, because the authority counts orders that fail.
                own = Door::on(&self.listen).await?;
                &own
            }
        };
        let request = self.request(host)?;
        let account = self.account().await?;
        let names = [Identifier::Dns(host.to_string())];
        let mut order = account.new_order(&NewOrder::new(&names)).await?;
        let answering = self.prove(&mut order, host, door).await?;
        if order.poll_ready(&POLLS).await? != OrderStatus::Ready {
            return Err(why(&mut order).await);
        }
        drop(answering);
        order.finalize_csr(&request).await?;
        let chain = order.poll_certificate(&POLLS).await?;
        self.put(&chain)
    }

    /// Has the authority ask, and answers for as long as what it returns is kept; nothing where it need not ask.
    async fn prove<'a>(
        &self,
        order: &mut Order,
        host: &Domain,
        door: &'a Door,
    ) -> Result<Option<Answering<'a>>, Error> {
        // One name, so one authorization.
        let mut authorizations = order.authorizations();
        let Some(found) = authorizations.next().await else {
            return Ok(None);
        };
        let mut authorization = found?;
        if authorization.status == AuthorizationStatus::Valid {
            return Ok(None);
        }
        let mut challenge = authorization
            .challenge(self.challenge.kind())
            .ok_or(Error::NotOffered(self.challenge))?;
        let proof = challenge.key_authorization();
        let answer = match self.challenge {
            Challenge::Http01 => Answer::text(&challenge.token, proof.as_str()),
            Challenge::TlsAlpn01 => Answer::tls(host, proof.digest().as_ref())?,
        };
        let answering = door.answer(answer);
        challenge.set_ready().await?;
        Ok(Some(answering))
    }

    /// What the authority is to certify: that the name of the host has our key.
    fn request(&self, host: &Domain) -> Result<Vec<u8>, Error> {
        let mut params = CertificateParams::new(vec![host.to_string()])?;
        params.distinguished_name = DistinguishedName::new();
        let request = params.serialize_request(&self.private_key()?)?;
        Ok(request.der().to_vec())
    }

    fn private_key(&self) -> Result<KeyPair, Error> {
        match std::fs::read_to_string(&self.key) {
            Ok(text) => Ok(KeyPair::from_pem(&Zeroizing::new(text))?),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let key = KeyPair::generate_for(&PKCS_RSA_SHA256)?;
                let text = Zeroizing::new(key.serialize_pem());
                self.write(&self.key, text.as_bytes(), 0o600)?;
                Ok(key)
            }
            Err(error) => Err(unusable(&self.key, error)),
        }
    }

    fn builder(&self) -> AccountBuilder {
        Account::builder_with_http(Box::new(http::Https {
            resolver: Arc::clone(&self.resolver),
            outgoing: self.outgoing,
            connector: self.connector.clone(),
        }))
    }

    async fn account(&self) -> Result<Account, Error> {
        let builder = self.builder();
        if let Some(known) = self.known_account()? {
            return Ok(builder.from_credentials(known).await?);
        }
        let new = NewAccount {
            contact: &[],
            terms_of_service_agreed: true,
            only_return_existing: false,
        };
        let (account, credentials) = builder.create(&new, self.directory.clone(), None).await?;
        let text = serde_json::to_vec(&credentials).map_err(instant_acme::Error::from)?;
        self.write(&self.account, &Zeroizing::new(text), 0o600)?;
        Ok(account)
    }

    /// The account, unless it is one of another authority.
    fn known_account(&self) -> Result<Option<AccountCredentials>, Error> {
        let text = match std::fs::read(&self.account) {
            Ok(text) => Zeroizing::new(text),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unusable(&self.account, error)),
        };
        let no_account = |_| Error::Account(self.account.display().to_string());
        let place: Place = serde_json::from_slice(&text).map_err(no_account)?;
        match place.directory == self.directory {
            true => Ok(Some(serde_json::from_slice(&text).map_err(no_account)?)),
            false => Ok(None),
        }
    }

    /// Puts a chain in place, if it is one for our key.
    fn put(&self, chain: &str) -> Result<(), Error> {
        let mut fresh = self.certificate.as_os_str().to_owned();
        fresh.push(".new");
        let fresh = PathBuf::from(fresh);
        self.write(&fresh, chain.as_bytes(), 0o644)?;
        let tried = Identity::load(&fresh, &self.key).and_then(|identity| Acceptor::new(&identity));
        if let Err(error) = tried {
            // It is of no use to anybody.
            let _ = std::fs::remove_file(&fresh);
            return Err(Error::Unusable(error));
        }
        std::fs::rename(&fresh, &self.certificate)
            .and_then(|()| durable::sync_folder(durable::folder_of(&self.certificate)))
            .map_err(|error| unusable(&self.certificate, error))
    }

    /// Demands that what is still to be written can be. What is there already of the account and the key stays as it is.
    fn demand_writable(&self) -> Result<(), Error> {
        let made_once = [&self.account, &self.key]
            .into_iter()
            .filter(|path| !path.exists());
        for path in made_once.chain([&self.certificate]) {
            try_to_write(path).map_err(|error| Error::Unwritable(path.display().to_string(), error))?;
        }
        Ok(())
    }

    fn write(&self, path: &Path, octets: &[u8], mode: u32) -> Result<(), Error> {
        durable::create_folder(durable::folder_of(path))
            .and_then(|()| durable::replace(path, octets, mode))
            .map_err(|error| unusable(path, error))
    }
}

/// What we need to know of an account before it is used.
#[derive(serde::Deserialize)]
struct Place {
    directory: String,
}

/// Begins to write a file as [`Issuer::write`] does; nothing of it stays.
fn try_to_write(path: &Path) -> io::Result<()> {
    durable::create_folder(durable::folder_of(path))?;
    Staged::at(path, 0o600).map(drop)
}

fn unusable(path: &Path, error: io::Error) -> Error {
    Error::File(path.display().to_string(), error)
}

/// Why an order has failed: what the authority found when it asked us.
async fn why(order: &mut Order) -> Error {
    let mut authorizations = order.authorizations();
    while let Some(Ok(authorization)) = authorizations.next().await {
        let mut problems = authorization.challenges.iter();
        if let Some(problem) = problems.find_map(|challenge| challenge.error.as_ref()) {
            return refused(problem);
        }
    }
    Error::Refused {
        words: "the order is not valid".into(),
        for_good: false,
    }
}

/// Whether the certificate in a file has to be replaced: two thirds of its life are over, it is for another name, or it
/// is not there.
pub fn is_due(certificate: &Path, host: &Domain, now_secs: i64) -> bool {
    let leaf = CertificateDer::pem_file_iter(certificate).map(|mut chain| chain.next());
    let Ok(Some(Ok(leaf))) = leaf else {
        return true;
    };
    let Ok((_, leaf)) = X509Certificate::from_der(&leaf) else {
        return true;
    };
    let (from, until) = (
        leaf.validity().not_before.timestamp(),
        leaf.validity().not_after.timestamp(),
    );
    let life = until.saturating_sub(from);
    let left = until.saturating_sub(now_secs);
    left <= life / 3 || !names(&leaf, host)
}

fn names(leaf: &X509Certificate<'_>, host: &Domain) -> bool {
    let Ok(Some(names)) = leaf.subject_alternative_name() else {
        return false;
    };
    names.value.general_names.iter().any(|name| match name {
        GeneralName::DNSName(name) => name.eq_ignore_ascii_case(host.as_str()),
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_certificate_is_due_when_a_third_of_its_life_is_left() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("chain.pem");
        let host: Domain = "mx.example".parse().unwrap();
        assert!(is_due(&path, &host, 0));
        let mut params = CertificateParams::new(vec!["MX.example".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(2026, 4, 1);
        let key = KeyPair::generate().unwrap();
        std::fs::write(&path, params.self_signed(&key).unwrap().pem()).unwrap();
        // 1 January 2026, and 60 of 90 days later.
        let start = 1_767_225_600;
        let third = start + 60 * 24 * 3600;
        assert!(!is_due(&path, &host, start));
        assert!(!is_due(&path, &host, third - 1));
        assert!(is_due(&path, &host, third));
        assert!(is_due(&path, &"mail.example".parse().unwrap(), start));
        std::fs::write(&path, "").unwrap();
        assert!(is_due(&path, &host, start));
    }

    #[test]
    fn trying_to_write_leaves_nothing_behind() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("tls");
        try_to_write(&folder.join("chain.pem")).unwrap();
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
        std::fs::write(home.path().join("file"), "").unwrap();
        assert!(try_to_write(&home.path().join("file/chain.pem")).is_err());
    }

    #[test]
    fn what_an_authority_says_stays_on_one_line() {
        let problem = |kind: &str| Problem {
            r#type: Some(format!("urn:ietf:params:acme:error:{kind}")),
            detail: Some("no\x1b[2J\nsuch host".into()),
            status: Some(400),
            subproblems: Vec::new(),
        };
        let error = refused(&problem("dns"));
        assert_eq!(error.to_string(), "the authority says: no [2J such host (dns)");
        assert!(error.is_passing());
        assert!(!refused(&problem("rejectedIdentifier")).is_passing());
    }
}
