//! What is logged, and where: `[log]`.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::base::observe::Class;
use crate::queue::names::{Form, Names};
use crate::store::Store;

/// `[log]`: what is logged, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// Form of the lines. Default `text`.
    pub format: LogFormat,
    /// The least that is logged. Default `info`.
    pub level: LogLevel,
    /// How senders and recipients are named. Default `hashed`.
    pub addresses: LogAddresses,
    /// File for what became of mail. Default: standard error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mail_file: Option<PathBuf>,
    /// File for who was kept out. Default: standard error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub security_file: Option<PathBuf>,
    /// File for what operators and users have changed. Default: standard error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audit_file: Option<PathBuf>,
    /// File for how the daemon fares. Default: standard error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operations_file: Option<PathBuf>,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            format: LogFormat::Text,
            level: LogLevel::Info,
            addresses: LogAddresses::Hashed,
            mail_file: None,
            security_file: None,
            audit_file: None,
            operations_file: None,
        }
    }
}

impl Log {
    /// Where lines of a class go; `None` is standard error.
    pub fn file(&self, class: Class) -> Option<&Path> {
        let file = match class {
            Class::Mail => &self.mail_file,
            Class::Security => &self.security_file,
            Class::Audit => &self.audit_file,
            Class::Operations => &self.operations_file,
        };
        file.as_deref()
    }

    /// What writes addresses for the log.
    pub fn names(&self, store: &dyn Store) -> Names {
        Names::new(self.addresses.into(), store.log_key())
    }
}

/// How senders and recipients are named in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogAddresses {
    /// Not at all.
    None,
    /// By a hash that `dimed log hash` prints.
    Hashed,
    /// By their address in lines about mail by SMTP, and by the hash in lines that may be about mail by DMTP.
    Clear,
}

impl From<LogAddresses> for Form {
    fn from(addresses: LogAddresses) -> Self {
        match addresses {
            LogAddresses::None => Self::None,
            LogAddresses::Hashed => Self::Hashed,
            LogAddresses::Clear => Self::Clear,
        }
    }
}

/// Form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line, for programs.
    Json,
}

/// How much a log line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogLevel {
    /// A person has to act.
    Error,
    /// Something went wrong and was coped with.
    Warn,
    /// One line per stage of a message.
    Info,
    /// For investigation.
    Debug,
    /// Everything.
    Trace,
}

impl From<LogLevel> for tracing::Level {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Error => Self::ERROR,
            LogLevel::Warn => Self::WARN,
            LogLevel::Info => Self::INFO,
            LogLevel::Debug => Self::DEBUG,
            LogLevel::Trace => Self::TRACE,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn each_class_has_a_file_of_its_own() {
        let text = "addresses = \"none\"\nmail_file = \"m\"\nsecurity_file = \"s\"\naudit_file = \"a\"\noperations_file = \"o\"\n";
        let log: Log = toml::from_str(text).unwrap();
        assert_eq!(log.addresses, LogAddresses::None);
        let files = Class::ALL.map(|class| log.file(class));
        assert_eq!(files, ["m", "s", "a", "o"].map(|name| Some(Path::new(name))));
        assert!(
            Class::ALL
                .iter()
                .all(|class| Log::default().file(*class).is_none())
        );
        assert!(toml::from_str::<Log>("addresses = \"some\"").is_err());
    }
}
