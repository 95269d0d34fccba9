//! What `sendmail` knows of the installation. The configuration is not for everybody to read; without it, the defaults count.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::{Failure, Status};
use crate::config::{self, Config};
use crate::daemon::pickup::MESSAGE_BYTES;
use crate::mail::address::Domain;

/// Where messages are left, and what else has to be known.
pub struct Place {
    /// The drop folder.
    pub drop: PathBuf,
    /// Octets of a message at most.
    pub message_bytes: u64,
    /// This host, as far as it is known.
    pub host: Domain,
    /// The configuration, if it could be read.
    pub config: Option<Config>,
}

impl Place {
    /// By a configuration file that was named, or the usual one.
    pub fn find(named: Option<&Path>) -> Result<Self, Failure> {
        let usual = Path::new(config::DEFAULT_PATH);
        let path = named.unwrap_or(usual);
        match Config::load(path) {
            Ok(config) => Self::of(config),
            Err(config::Error::Unreadable { source, .. })
                if source.kind() == ErrorKind::PermissionDenied
                    || (path == usual && source.kind() == ErrorKind::NotFound) =>
            {
                Self::default()
            }
            Err(error) => Err(Failure::new(
                Status::Config,
                format!("the configuration cannot be used: {error}"),
            )),
        }
    }

    fn of(config: Config) -> Result<Self, Failure> {
        let Some(drop) = config.local.drop_folder() else {
            let text = "this host takes no mail from programs: [local] names no drop folder";
            return Err(Failure::new(Status::Unavailable, text));
        };
        Ok(Self {
            drop,
            message_bytes: config.limits.message_bytes.get(),
            host: config.server.hostname.clone(),
            config: Some(config),
        })
    }

    fn default() -> Result<Self, Failure> {
        let host =
            Domain::parse("localhost").map_err(|error| Failure::new(Status::Config, error.to_string()))?;
        Ok(Self {
            drop: config::LocalMail::default().drop,
            message_bytes: MESSAGE_BYTES,
            host,
            config: None,
        })
    }
}
