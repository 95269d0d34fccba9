//! A certification authority of the test's own, and certificates under it.

use std::path::{Path, PathBuf};

use dimed::net::tls::Identity;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};

/// An authority that keeps its files in a folder.
pub struct Certification {
    folder: PathBuf,
    root: CertifiedIssuer<'static, KeyPair>,
}

/// The certificate of a host.
pub struct Certificate {
    /// Chain and key; the chain ends with the authority's certificate.
    pub identity: Identity,
    /// The host's public key, as TLSA records with selector 1 have it.
    pub public_key: Vec<u8>,
}

impl Certification {
    /// A new authority; `folder` exists.
    pub fn new(folder: &Path) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        std::fs::write(folder.join("roots.pem"), root.pem()).unwrap();
        Self {
            folder: folder.to_owned(),
            root,
        }
    }

    /// PEM file with the authority's certificate.
    pub fn roots(&self) -> PathBuf {
        self.folder.join("roots.pem")
    }

    /// The authority's certificate.
    pub fn certificate(&self) -> &[u8] {
        self.root.der()
    }

    /// A certificate for a host.
    pub fn issue(&self, host: &str) -> Certificate {
        self.make(host, |_| ())
    }

    /// One that has been over for years.
    pub fn issue_expired(&self, host: &str) -> Certificate {
        self.make(host, |params| {
            params.not_before = date_time_ymd(2019, 1, 1);
            params.not_after = date_time_ymd(2020, 1, 1);
        })
    }

    fn make(&self, host: &str, change: impl Fn(&mut CertificateParams)) -> Certificate {
        let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        change(&mut params);
        let private = KeyPair::generate().unwrap();
        let leaf = params.signed_by(&private, &self.root).unwrap();
        let number: u64 = rand::random();
        let (chain, key) = (
            self.folder.join(format!("{host}-{number}.pem")),
            self.folder.join(format!("{host}-{number}.key")),
        );
        std::fs::write(&chain, leaf.pem() + &self.root.pem()).unwrap();
        std::fs::write(&key, private.serialize_pem()).unwrap();
        Certificate {
            identity: Identity::load(&chain, &key).unwrap(),
            public_key: rcgen::PublicKeyData::subject_public_key_info(&private),
        }
    }
}
