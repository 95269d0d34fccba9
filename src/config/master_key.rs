//! The master key: 32 octets, under which everything private in the database is encrypted.
//!
//! It is looked for in `$CREDENTIALS_DIRECTORY/master.key` (systemd's `LoadCredential=`), then in the environment
//! variable `DIMED_MASTER_KEY` (base64), then in the configured file. It never lies in the database.

use std::ffi::OsString;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::{Config, Error};
use crate::base::{durable, encoding, regular};
use crate::crypto::at_rest::Key;

/// Variable that holds the key itself.
const KEY_VARIABLE: &str = "DIMED_MASTER_KEY";
/// Variable that systemd sets.
pub(super) const CREDENTIALS_VARIABLE: &str = "CREDENTIALS_DIRECTORY";
/// Name of the credential.
const CREDENTIAL: &str = "master.key";
/// No key is longer: 32 octets in base64 with a line end, and some white space.
const MOST_OCTETS: u64 = 128;

/// Where the master key comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A systemd credential.
    Credential(PathBuf),
    /// The environment variable `DIMED_MASTER_KEY`.
    Environment,
    /// The configured file.
    File(PathBuf),
}

/// Loads the master key of this process.
///
/// Errors: [`Error::NoMasterKey`] if there is none, [`Error::Exposed`] if others can read its file,
/// [`Error::MasterKey`] if it is not a key.
pub fn load_master_key(config: &Config) -> Result<Key, Error> {
    load_from(&find_master_key(config), |name| std::env::var_os(name))
}

/// Loads a master key from a file that somebody names, without a configuration. Errors are those of [`load_master_key`].
pub fn read_master_key(path: &Path) -> Result<Key, Error> {
    load_from(&Origin::File(path.to_owned()), |_| None)
}

/// Where this process takes the master key from; whether it is there shows when it is loaded.
pub fn find_master_key(config: &Config) -> Origin {
    find(config, |name| std::env::var_os(name))
}

/// Writes a new key into the configured file, readable by its owner alone; an existing file is an error.
pub fn create_master_key(path: &Path, key: &Key) -> Result<(), Error> {
    let failed = |source| Error::Unreadable {
        path: path.to_owned(),
        source,
    };
    let folder = durable::folder_of(path);
    durable::create_folder(folder).map_err(failed)?;
    let text = Zeroizing::new(encoding::base64(key.expose()) + "\n");
    durable::create(path, text.as_bytes(), 0o600).map_err(failed)
}

fn find(config: &Config, variable: impl Fn(&str) -> Option<OsString>) -> Origin {
    let credential = variable(CREDENTIALS_VARIABLE).map(|folder| Path::new(&folder).join(CREDENTIAL));
    match credential.filter(|path| path.exists()) {
        Some(path) => Origin::Credential(path),
        None if variable(KEY_VARIABLE).is_some() => Origin::Environment,
        None => Origin::File(config.server.master_key_file.clone()),
    }
}

fn load_from(origin: &Origin, variable: impl Fn(&str) -> Option<OsString>) -> Result<Key, Error> {
    match origin {
        // The service manager guards its folder; with an ACL the mode shows bits that mean nothing.
        Origin::Credential(path) => parse(&read(path)?, &path.display().to_string()),
        Origin::Environment => {
            let text = Zeroizing::new(variable(KEY_VARIABLE).unwrap_or_default().into_encoded_bytes());
            parse(&text, KEY_VARIABLE)
        }
        Origin::File(path) => {
            let octets = read(path)?;
            check_mode(path, "the master key")?;
            parse(&octets, &path.display().to_string())
        }
    }
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, Error> {
    let failed = |source: std::io::Error| match source.kind() {
        ErrorKind::NotFound => Error::NoMasterKey {
            path: path.to_owned(),
        },
        _ => Error::Unreadable {
            path: path.to_owned(),
            source,
        },
    };
    // Room for everything at once, so that no copy is left behind by growing.
    let mut octets = Zeroizing::new(Vec::with_capacity(MOST_OCTETS as usize + 1));
    let file = regular::open(path).map_err(failed)?;
    file.take(MOST_OCTETS).read_to_end(&mut octets).map_err(failed)?;
    Ok(octets)
}

/// [`Error::Exposed`] if others can read a file, in which there is `what`.
pub(super) fn check_mode(path: &Path, what: &'static str) -> Result<(), Error> {
    let metadata = std::fs::metadata(path).map_err(|source| Error::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    match metadata.permissions().mode() & 0o777 {
        mode if mode & 0o077 == 0 => Ok(()),
        mode => Err(Error::Exposed {
            path: path.to_owned(),
            what,
            mode,
        }),
    }
}

fn parse(octets: &[u8], place: &str) -> Result<Key, Error> {
    raw(octets)
        .or_else(|| from_base64(octets))
        .ok_or_else(|| Error::MasterKey {
            place: place.to_owned(),
        })
}

fn raw(octets: &[u8]) -> Option<Key> {
    Some(Key::from_bytes(octets.try_into().ok()?))
}

fn from_base64(octets: &[u8]) -> Option<Key> {
    let text = std::str::from_utf8(octets).ok()?.trim();
    let decoded = Zeroizing::new(encoding::base64_decode(text).ok()?);
    raw(&decoded)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn config(file: &Path) -> Config {
        let mut config = Config::for_host("mx.example".parse().unwrap());
        config.server.master_key_file = file.to_owned();
        config
    }

    #[test]
    fn a_made_key_is_private_and_loads_again() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("secrets/master.key");
        let key = Key::from_bytes([7; 32]);
        create_master_key(&path, &key).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let loaded = load_from(&find(&config(&path), |_| None), |_| None).unwrap();
        assert_eq!(loaded.expose(), key.expose());
        assert!(matches!(
            create_master_key(&path, &key),
            Err(Error::Unreadable { source, .. }) if source.kind() == ErrorKind::AlreadyExists
        ));
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("master.key");
        std::fs::write(&path, [1; 32]).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        let loaded = load_from(&Origin::File(path.clone()), |_| None);
        assert!(
            matches!(loaded, Err(Error::Exposed { mode: 0o640, .. })),
            "{loaded:?}"
        );
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o400)).unwrap();
        assert!(load_from(&Origin::File(path), |_| None).is_ok());
    }

    #[test]
    fn a_credential_comes_before_the_environment_and_that_before_the_file() {
        let home = tempfile::tempdir().unwrap();
        let config = config(&home.path().join("other.key"));
        let folder = home.path().as_os_str().to_owned();
        let both = |name: &str| match name {
            CREDENTIALS_VARIABLE => Some(folder.clone()),
            _ => Some(OsString::from(encoding::base64(&[2; 32]))),
        };
        assert_eq!(
            find(&config, |_| None),
            Origin::File(home.path().join("other.key"))
        );
        assert_eq!(find(&config, both), Origin::Environment);
        assert_eq!(load_from(&Origin::Environment, both).unwrap().expose(), &[2; 32]);
        std::fs::write(home.path().join(CREDENTIAL), [3; 32]).unwrap();
        let origin = find(&config, both);
        assert_eq!(origin, Origin::Credential(home.path().join(CREDENTIAL)));
        assert_eq!(load_from(&origin, both).unwrap().expose(), &[3; 32]);
    }

    #[test]
    fn anything_but_32_octets_is_refused() {
        for bad in [&[1u8; 31][..], &[1; 33], b"", b"AAAA\n"] {
            assert!(matches!(parse(bad, "x"), Err(Error::MasterKey { .. })));
        }
        let missing = load_from(&Origin::File("/nonexistent/master.key".into()), |_| None);
        assert!(matches!(missing, Err(Error::NoMasterKey { .. })));
    }
}
