//! Certificate revocation lists in files (RFC 5280 §5). Their signatures are checked where they are used.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustls_pki_types::CertificateRevocationListDer;
use rustls_pki_types::pem::PemObject;
use webpki::BorrowedCertRevocationList;

use super::Error;

/// How a list in PEM begins; anything else is one in DER.
const PEM: &[u8] = b"-----BEGIN";

/// Which files there are, how large, and from when: whether anything has changed since.
pub type Stamp = Vec<(PathBuf, u64, Option<SystemTime>)>;

/// The lists in a file, or in every file of a folder whose name does not begin with a dot.
///
/// Errors: [`Error::Unreadable`], [`Error::Pem`], [`Error::NoRevocationList`], [`Error::RevocationList`]; all of them name the file.
pub fn read(path: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, Error> {
    let mut lists = Vec::new();
    for file in files(path)? {
        let found = in_file(&file)?;
        for list in &found {
            let parsed = BorrowedCertRevocationList::from_der(list);
            parsed.map_err(|error| Error::RevocationList(file.display().to_string(), why(&error)))?;
        }
        lists.extend(found);
    }
    Ok(lists)
}

fn in_file(file: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, Error> {
    let octets = fs::read(file).map_err(unreadable(file))?;
    if !octets.starts_with(PEM) {
        return Ok(vec![octets.into()]);
    }
    let read = CertificateRevocationListDer::pem_slice_iter(&octets).collect::<Result<Vec<_>, _>>();
    let read = read.map_err(|error| Error::Pem(file.display().to_string(), error))?;
    match read.is_empty() {
        true => Err(Error::NoRevocationList(file.display().to_string())),
        false => Ok(read),
    }
}

fn why(error: &webpki::Error) -> &'static str {
    use webpki::Error as E;
    match error {
        E::UnsupportedCrlVersion => "it is not of version 2",
        E::UnsupportedDeltaCrl => "it is a delta list; only complete ones can be used",
        E::UnsupportedIndirectCrl => "it is an indirect list, about certificates of several issuers",
        E::UnsupportedCriticalExtension => "it has a critical extension that is not known here",
        E::UnsupportedRevocationReason => "it gives a reason for a revocation that is not known here",
        _ => "it is damaged, or neither PEM nor DER",
    }
}

/// The state of the files now. Errors: [`Error::Unreadable`].
pub fn stamp(path: &Path) -> Result<Stamp, Error> {
    let stamp = files(path)?.into_iter().map(|file| {
        let metadata = fs::metadata(&file).map_err(unreadable(&file))?;
        Ok((file, metadata.len(), metadata.modified().ok()))
    });
    stamp.collect()
}

fn files(path: &Path) -> Result<Vec<PathBuf>, Error> {
    if !fs::metadata(path).map_err(unreadable(path))?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(unreadable(path))? {
        let entry = entry.map_err(unreadable(path))?;
        let is_hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        let file = entry.path();
        // A link that leads nowhere is an error: what it led to must not be forgotten in silence.
        if !is_hidden && fs::metadata(&file).map_err(unreadable(&file))?.is_file() {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

fn unreadable(path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.display().to_string();
    |error| Error::Unreadable(path, error)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// A certificate in its place, say: nobody would notice that nothing is checked.
    #[test]
    fn a_file_in_pem_without_a_list_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        fs::write(
            &file,
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        )
        .unwrap();
        assert!(matches!(read(&file), Err(Error::NoRevocationList(_))));
        assert!(matches!(read(folder.path()), Err(Error::NoRevocationList(_))));
        fs::remove_file(&file).unwrap();
        assert!(read(folder.path()).unwrap().is_empty());
        std::os::unix::fs::symlink(folder.path().join("nowhere"), &file).unwrap();
        assert!(matches!(read(folder.path()), Err(Error::Unreadable(..))));
    }
}
