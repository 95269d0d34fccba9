//! A certification authority of the test's own, and certificates under it.

use std::path::{Path, PathBuf};

use dimed::net::tls::Identity;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, IsCa, KeyIdMethod,
    KeyPair, RevokedCertParams, SerialNumber, date_time_ymd,
};

/// An authority that keeps its files in a folder.
pub struct Certification {
    folder: PathBuf,
    root: CertifiedIssuer<'static, KeyPair>,
}

/// The certificate of a host.
pub struct Certificate {
    /// Chain and key; the chain ends with the authority's certificate.
    pub identity: Identity,
    /// PEM files with chain and private key.
    pub files: [PathBuf; 2],
    /// The number that the authority knows it by.
    pub serial: SerialNumber,
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

    /// The list of what the authority has revoked, in PEM.
    pub fn revoking(&self, revoked: &[&Certificate]) -> String {
        let revoked = revoked.iter().map(|certificate| RevokedCertParams {
            serial_number: certificate.serial.clone(),
            revocation_time: date_time_ymd(2026, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2026, 1, 1),
            next_update: date_time_ymd(2100, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.root).unwrap().pem().unwrap()
    }

    fn make(&self, host: &str, change: impl Fn(&mut CertificateParams)) -> Certificate {
        let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        let number: u64 = rand::random();
        let serial = SerialNumber::from(number);
        params.serial_number = Some(serial.clone());
        change(&mut params);
        let private = KeyPair::generate().unwrap();
        let leaf = params.signed_by(&private, &self.root).unwrap();
        let (chain, key) = (
            self.folder.join(format!("{host}-{number}.pem")),
            self.folder.join(format!("{host}-{number}.key")),
        );
        std::fs::write(&chain, leaf.pem() + &self.root.pem()).unwrap();
        std::fs::write(&key, private.serialize_pem()).unwrap();
        Certificate {
            identity: Identity::load(&chain, &key).unwrap(),
            files: [chain, key],
            serial,
            public_key: rcgen::PublicKeyData::subject_public_key_info(&private),
        }
    }
}
