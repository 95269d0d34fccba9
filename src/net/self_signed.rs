//! A certificate of our own making, for hosts whose management records vouch for it (`dmtp.md` §3.4).

use std::path::{Path, PathBuf};

use rcgen::{CertificateParams, KeyPair, PKCS_RSA_SHA256};
use zeroize::Zeroizing;

use super::tls::{Error, Identity};
use crate::base::durable;
use crate::mail::address::Domain;

const CERTIFICATE: &str = "certificate.pem";
const KEY: &str = "key.pem";

/// Certificate and key of the pair in `folder`, whether or not it has been made.
pub fn pair(folder: &Path) -> (PathBuf, PathBuf) {
    (folder.join(CERTIFICATE), folder.join(KEY))
}

/// Loads the pair in `folder`, or makes one for `hostname` if there is none.
///
/// The key is RSA with 2048 bits, which libdime's client needs; the certificate has no end that anybody lives to see,
/// because it changes only together with the records that vouch for it.
pub fn load_or_make(folder: &Path, hostname: &Domain) -> Result<Identity, Error> {
    let (certificate, key) = pair(folder);
    if !certificate.exists() {
        make(folder, hostname)?;
    }
    Identity::load(&certificate, &key)
}

fn make(folder: &Path, hostname: &Domain) -> Result<(), Error> {
    let key = KeyPair::generate_for(&PKCS_RSA_SHA256)?;
    let mut params = CertificateParams::new(vec![hostname.to_string()])?;
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, hostname.as_str());
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2120, 1, 1);
    let certificate = params.self_signed(&key)?;
    let failed = |error| Error::Unwritable(folder.display().to_string(), error);
    durable::create_folder(folder).map_err(failed)?;
    // The certificate comes last, so that one without its key is never there.
    let private = Zeroizing::new(key.serialize_pem());
    let (public_file, private_file) = pair(folder);
    durable::replace(&private_file, private.as_bytes(), 0o600).map_err(failed)?;
    durable::replace(&public_file, certificate.pem().as_bytes(), 0o644).map_err(failed)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn makes_an_rsa_pair_once_and_keeps_its_key_private() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("tls");
        let host: Domain = "mx.example".parse().unwrap();
        let made = load_or_make(&folder, &host).unwrap();
        let again = load_or_make(&folder, &host).unwrap();
        assert_eq!(made.leaf(), again.leaf());
        let mode = folder.join(KEY).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);

        let (_, certificate) = x509_parser::parse_x509_certificate(made.leaf()).unwrap();
        let algorithm = &certificate.public_key().algorithm.algorithm;
        assert_eq!(algorithm.to_id_string(), "1.2.840.113549.1.1.1");
        let names = certificate.subject_alternative_name().unwrap().unwrap();
        assert_eq!(
            names.value.general_names,
            [x509_parser::extensions::GeneralName::DNSName("mx.example")]
        );
    }
}
