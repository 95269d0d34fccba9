//! `[local]`: mail of programs and users of this host.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Config;
use super::sections::optional_text;
use crate::accounts::{AliasFile, HostNames};
use crate::mail::address::{Domain, Mailbox};

/// `[local]`: mail of programs and users of this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LocalMail {
    /// Folder in which `sendmail` leaves messages; empty for none. Default `/var/spool/dimed/drop`.
    pub drop: PathBuf,
    /// File of aliases for names of this host, as Sendmail and Postfix have it; empty for none. Default `/etc/aliases`.
    pub aliases: PathBuf,
    /// The domain of names without one. Default: `server.hostname`.
    #[serde(with = "optional_text", skip_serializing_if = "Option::is_none")]
    pub origin: Option<Domain>,
    /// Who gets mail for names of this host that are nobody's. Without it, the mail comes back.
    #[serde(with = "optional_text", skip_serializing_if = "Option::is_none")]
    pub fallback: Option<Mailbox>,
    /// Whether `Received` says which user sent a message, by number. Default `true`.
    pub names_user: bool,
}

impl Default for LocalMail {
    fn default() -> Self {
        Self {
            drop: "/var/spool/dimed/drop".into(),
            aliases: "/etc/aliases".into(),
            origin: None,
            fallback: None,
            names_user: true,
        }
    }
}

impl LocalMail {
    /// Nothing of the machine: for organizations that are only tried out.
    pub fn none() -> Self {
        Self {
            drop: PathBuf::new(),
            aliases: PathBuf::new(),
            ..Self::default()
        }
    }

    /// The drop folder, if there is to be one.
    pub fn drop_folder(&self) -> Option<PathBuf> {
        named(&self.drop)
    }

    /// The file of aliases, if there is to be one.
    pub fn aliases_file(&self) -> Option<PathBuf> {
        named(&self.aliases)
    }
}

fn named(path: &Path) -> Option<PathBuf> {
    (!path.as_os_str().is_empty()).then(|| path.to_owned())
}

impl Config {
    /// The names of this host. The file of aliases has not been read.
    pub fn host_names(&self) -> HostNames {
        HostNames {
            origin: self
                .local
                .origin
                .as_ref()
                .unwrap_or(&self.server.hostname)
                .clone(),
            hostname: self.server.hostname.clone(),
            aliases: AliasFile::new(self.local.aliases_file()),
            fallback: self.local.fallback.clone(),
        }
    }
}
