//! The certificate that peers go by, and its private key, while another one waits for its time (`management-record.md` §6 step 4):
//! a file of ours, because those of the configuration have the other one already.

use std::io::ErrorKind;
use std::path::Path;

use rustls_pki_types::PrivateKeyDer;
use zeroize::Zeroizing;

use super::tls::{Error, Identity};
use crate::base::durable;
use crate::base::encoding::base64;

/// Characters of one line in PEM (RFC 7468 §2).
const LINE: usize = 64;

/// The one that is kept in a file, if there is one.
///
/// Errors: those of [`Identity::load`].
pub fn load(file: &Path) -> Result<Option<Identity>, Error> {
    match file.exists() {
        true => Identity::load(file, file).map(Some),
        false => Ok(None),
    }
}

/// Keeps it: the chain, leaf first, and then the key, for the owner alone.
pub fn keep(file: &Path, identity: &Identity) -> Result<(), Error> {
    let folder = durable::folder_of(file);
    durable::create_folder(folder)
        .and_then(|()| durable::replace(file, pem(identity).as_bytes(), 0o600))
        .map_err(|error| Error::Unwritable(folder.display().to_string(), error))
}

/// Keeps none any more.
pub fn forget(file: &Path) -> Result<(), Error> {
    let folder = durable::folder_of(file);
    let forgotten = match std::fs::remove_file(file) {
        Ok(()) => durable::sync_folder(folder),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    };
    forgotten.map_err(|error| Error::Unwritable(folder.display().to_string(), error))
}

fn pem(identity: &Identity) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::new());
    for certificate in &identity.chain {
        section(&mut text, "CERTIFICATE", certificate);
    }
    let (label, der) = match identity.key() {
        PrivateKeyDer::Pkcs1(key) => ("RSA PRIVATE KEY", key.secret_pkcs1_der()),
        PrivateKeyDer::Sec1(key) => ("EC PRIVATE KEY", key.secret_sec1_der()),
        key => ("PRIVATE KEY", key.secret_der()),
    };
    section(&mut text, label, der);
    text
}

fn section(text: &mut String, label: &str, der: &[u8]) {
    let encoded = Zeroizing::new(base64(der));
    // Room for all of it at once, so that no copy of a key is left where the text was before.
    text.reserve(encoded.len() + encoded.len() / LINE + 2 * label.len() + 64);
    let mut rest = encoded.as_str();
    *text += "-----BEGIN ";
    *text += label;
    *text += "-----\n";
    while !rest.is_empty() {
        let (line, more) = rest.split_at(rest.len().min(LINE));
        *text += line;
        *text += "\n";
        rest = more;
    }
    *text += "-----END ";
    *text += label;
    *text += "-----\n";
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::net::self_signed;

    #[test]
    fn what_is_kept_is_found_again_until_it_is_forgotten() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("tls/kept.pem");
        assert!(load(&file).unwrap().is_none());
        let host = "mx.example".parse().unwrap();
        let made = self_signed::load_or_make(&home.path().join("tls"), &host).unwrap();
        forget(&file).unwrap();
        keep(&file, &made).unwrap();
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.lines().all(|line| line.len() <= LINE), "{text}");
        let found = load(&file).unwrap().unwrap();
        assert_eq!((&found.chain, found.key()), (&made.chain, made.key()));
        std::fs::write(&file, "half").unwrap();
        assert!(load(&file).is_err());
        forget(&file).unwrap();
        assert!(load(&file).unwrap().is_none());
    }
}
