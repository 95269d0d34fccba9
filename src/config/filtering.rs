//! `[filtering]`: who is asked about mail, and what follows.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::sections::text;
use super::{Config, Error};
use crate::base::regular;
use crate::base::secret::Secret;
use crate::filters::{self, Protocol, Rules};
use crate::net::service::Service;

/// Seconds that all filters together may take over a command. Clients wait for 5 minutes (RFC 5321 §4.5.3.2).
const COMMANDS_WITHIN: u64 = 120;
/// The same over a message; clients wait for 10 minutes.
const MESSAGES_WITHIN: u64 = 240;
/// Octets of a file with a password at most.
const LONGEST_PASSWORD: u64 = 4096;
/// Characters of a filter's name at most.
const MAX_NAME: usize = 40;

/// `[filtering]`: who is asked about mail, and what follows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Filtering {
    /// Days after which mail that was held as it came is deleted, if nobody has decided; 0 for never. Default 30.
    pub held_days: u16,
    /// Filters, in the order in which they are asked. Default: none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub filters: Vec<Filter>,
}

impl Default for Filtering {
    fn default() -> Self {
        Self {
            held_days: 30,
            filters: Vec::new(),
        }
    }
}

/// One entry of `filtering.filters`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Filter {
    /// What it is called in logs and in reasons of held mail: letters, digits, `-` and `_`.
    pub name: String,
    /// What it speaks.
    pub protocol: FilterProtocol,
    /// Where it listens: `unix:` and a path, or an IP address and port.
    #[serde(with = "text")]
    pub address: Service,
    /// Which mail it is asked about. Default: all.
    #[serde(default = "all_mail")]
    pub mail: BTreeSet<FilteredMail>,
    /// File with the password of rspamd's worker. Default: none is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// How long it may take over MAIL, and over RCPT. Seconds, default 10.
    #[serde(default = "command_timeout_secs")]
    pub command_timeout_secs: u64,
    /// How long it may take over a message once that is complete. Seconds, default 60.
    #[serde(default = "message_timeout_secs")]
    pub message_timeout_secs: u64,
    /// What follows if it cannot be reached, takes too long, or breaks a rule. `accept` and `mark` count only for one that
    /// cannot be reached: one that is there and fails puts mail off at least. Default `defer`.
    #[serde(default = "defer")]
    pub unavailable: Action,
    /// What follows if it says "reject". Default `reject`.
    #[serde(default = "reject")]
    pub on_reject: Action,
    /// If it says "refuse for now", or rspamd "soft reject". Default `defer`.
    #[serde(default = "defer")]
    pub on_defer: Action,
    /// If it says "take it and throw it away". Default `quarantine`: nothing that was taken is lost without a person's word.
    #[serde(default = "quarantine")]
    pub on_discard: Action,
    /// If it says "quarantine". Default `quarantine`.
    #[serde(default = "quarantine")]
    pub on_quarantine: Action,
    /// If rspamd says "add header" or "rewrite subject". Default `mark`.
    #[serde(default = "mark")]
    pub on_mark: Action,
}

/// What a filter speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FilterProtocol {
    /// The milter protocol, version 6.
    Milter,
    /// HTTP, as rspamd's worker for scanning does.
    Rspamd,
}

/// Mail by the port that it comes in on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FilteredMail {
    /// By SMTP from other hosts.
    Incoming,
    /// By SMTP from our users.
    Submission,
}

/// What is done about mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// It is taken.
    Accept,
    /// It is taken, with `X-Spam-Flag: YES`.
    Mark,
    /// It is taken, and held until the operator decides.
    Quarantine,
    /// It is refused for now.
    Defer,
    /// It is refused.
    Reject,
}

impl From<Action> for filters::Action {
    fn from(action: Action) -> Self {
        match action {
            Action::Accept => Self::Accept,
            Action::Mark => Self::Mark,
            Action::Quarantine => Self::Quarantine,
            Action::Defer => Self::Defer,
            Action::Reject => Self::Reject,
        }
    }
}

fn all_mail() -> BTreeSet<FilteredMail> {
    [FilteredMail::Incoming, FilteredMail::Submission].into()
}

fn command_timeout_secs() -> u64 {
    10
}

fn message_timeout_secs() -> u64 {
    60
}

fn reject() -> Action {
    Action::Reject
}

fn defer() -> Action {
    Action::Defer
}

fn quarantine() -> Action {
    Action::Quarantine
}

fn mark() -> Action {
    Action::Mark
}

impl Filter {
    /// With the defaults.
    pub fn new(name: &str, protocol: FilterProtocol, address: Service) -> Self {
        Self {
            name: name.to_owned(),
            protocol,
            address,
            mail: all_mail(),
            password_file: None,
            command_timeout_secs: command_timeout_secs(),
            message_timeout_secs: message_timeout_secs(),
            unavailable: defer(),
            on_reject: reject(),
            on_defer: defer(),
            on_discard: quarantine(),
            on_quarantine: quarantine(),
            on_mark: mark(),
        }
    }

    fn check(&self) -> Result<(), Error> {
        let is_plain = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_');
        let named = (1..=MAX_NAME).contains(&self.name.len()) && self.name.bytes().all(is_plain);
        let fault = if !named {
            "its name is not of letters, digits, - and _"
        } else if self.mail.is_empty() {
            "`mail` is empty: leave it out for all mail"
        } else if self.command_timeout_secs == 0 || self.message_timeout_secs == 0 {
            "it gets no time"
        } else if self.password_file.is_some() && self.protocol != FilterProtocol::Rspamd {
            "`password_file` is for the protocol \"rspamd\""
        } else {
            return Ok(());
        };
        Err(Error::Filter(self.name.clone(), fault.to_owned()))
    }

    fn rules(&self) -> Rules {
        Rules {
            reject: self.on_reject.into(),
            defer: self.on_defer.into(),
            discard: self.on_discard.into(),
            quarantine: self.on_quarantine.into(),
            mark: self.on_mark.into(),
            unavailable: self.unavailable.into(),
        }
    }

    /// With its password.
    ///
    /// Errors: [`Error::Unreadable`] and [`Error::Filter`] about the file.
    fn load(&self) -> Result<filters::Filter, Error> {
        let password = match self.protocol {
            FilterProtocol::Milter => None,
            FilterProtocol::Rspamd => self.password()?,
        };
        Ok(filters::Filter {
            name: self.name.clone(),
            protocol: match self.protocol {
                FilterProtocol::Milter => Protocol::Milter,
                FilterProtocol::Rspamd => Protocol::Rspamd { password },
            },
            address: self.address.clone(),
            command_time: Duration::from_secs(self.command_timeout_secs),
            message_time: Duration::from_secs(self.message_timeout_secs),
            rules: self.rules(),
        })
    }

    fn password(&self) -> Result<Option<Secret<String>>, Error> {
        let Some(path) = &self.password_file else {
            return Ok(None);
        };
        let unreadable = |source| Error::Unreadable {
            path: path.clone(),
            source,
        };
        let mode = std::fs::metadata(path).map_err(unreadable)?.permissions().mode();
        if mode & 0o077 != 0 {
            let fault = format!("others can read {}: run `chmod 600` on it", path.display());
            return Err(Error::Filter(self.name.clone(), fault));
        }
        let octets = regular::read(path, LONGEST_PASSWORD).map_err(unreadable)?;
        // What is no text is no password, and neither is nothing.
        let text = std::str::from_utf8(&octets).unwrap_or_default();
        let password = text.trim_end_matches(['\r', '\n']);
        let is_clean = password.bytes().all(|octet| (b' '..=b'~').contains(&octet));
        match is_clean && !password.is_empty() {
            true => Ok(Some(Secret::new(password.to_owned()))),
            false => {
                let fault = format!("{} is not one line of printable ASCII", path.display());
                Err(Error::Filter(self.name.clone(), fault))
            }
        }
    }
}

impl Filtering {
    /// Errors: [`Error::Filter`].
    pub(super) fn check(&self) -> Result<(), Error> {
        let mut names = BTreeSet::new();
        for filter in &self.filters {
            filter.check()?;
            if !names.insert(&filter.name) {
                return Err(Error::Filter(
                    filter.name.clone(),
                    "there are two of that name".into(),
                ));
            }
        }
        for mail in all_mail() {
            let asked = || self.of(mail);
            let commands: u64 = asked().map(|filter| filter.command_timeout_secs).sum();
            let messages: u64 = asked().map(|filter| filter.message_timeout_secs).sum();
            if let Some(last) = asked().last()
                && (commands > COMMANDS_WITHIN || messages > MESSAGES_WITHIN)
            {
                let fault = format!(
                    "clients do not wait for so long: all filters together may take {COMMANDS_WITHIN} s over a command and \
                     {MESSAGES_WITHIN} s over a message"
                );
                return Err(Error::Filter(last.name.clone(), fault));
            }
        }
        Ok(())
    }

    fn of(&self, mail: FilteredMail) -> impl Iterator<Item = &Filter> {
        self.filters
            .iter()
            .filter(move |filter| filter.mail.contains(&mail))
    }

    /// How long mail is held that was held as it came.
    pub fn held_for(&self) -> Option<Duration> {
        let days = u64::from(self.held_days);
        (days > 0).then(|| Duration::from_secs(days * 24 * 3600))
    }
}

impl Config {
    /// The filters for that mail, with their passwords.
    ///
    /// Errors: [`Error::Unreadable`] and [`Error::Filter`] about files of passwords.
    pub fn filters(&self, mail: FilteredMail) -> Result<Vec<filters::Filter>, Error> {
        self.filtering.of(mail).map(Filter::load).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::path::Path;

    use super::*;

    fn parse(text: &str) -> Result<Config, Error> {
        let text = format!("[server]\nhostname = \"mx.example\"\n{text}");
        Config::parse(&text, Path::new("x"))
    }

    const FILTER: &str =
        "[[filtering.filters]]\nname = \"a\"\nprotocol = \"milter\"\naddress = \"127.0.0.1:11332\"\n";

    #[test]
    fn a_filter_needs_a_name_a_protocol_and_a_place() {
        let config = parse(FILTER).unwrap();
        let address = "127.0.0.1:11332".parse().unwrap();
        assert_eq!(
            config.filtering.filters,
            [Filter::new("a", FilterProtocol::Milter, address)]
        );
        let text = toml::to_string(&config).unwrap();
        assert_eq!(Config::parse(&text, Path::new("x")).unwrap(), config);
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for (text, fault) in [
            (FILTER.replace("\"a\"", "\"a b\""), "its name is not"),
            (format!("{FILTER}mail = []\n"), "`mail` is empty"),
            (format!("{FILTER}command_timeout_secs = 0\n"), "it gets no time"),
            (
                format!("{FILTER}password_file = \"/x\"\n"),
                "`password_file` is for",
            ),
            (format!("{FILTER}{FILTER}"), "there are two of that name"),
            (
                format!("{FILTER}command_timeout_secs = 121\n"),
                "clients do not wait",
            ),
            (
                format!("{FILTER}message_timeout_secs = 241\n"),
                "clients do not wait",
            ),
            (
                format!(
                    "{FILTER}message_timeout_secs = 121\n{}message_timeout_secs = 120\n",
                    FILTER.replace("\"a\"", "\"b\"")
                ),
                "clients do not wait",
            ),
            (
                format!("{FILTER}on_reject = \"discard\"\n"),
                "is \"discard\", and must be ",
            ),
            (
                FILTER.replace("127.0.0.1:11332", "localhost:11332"),
                "neither unix:",
            ),
        ] {
            let error = parse(&text).unwrap_err().to_string();
            assert!(error.contains(fault), "{error}");
        }
    }

    #[test]
    fn filters_for_different_mail_do_not_wait_for_each_other() {
        let incoming = format!("{FILTER}message_timeout_secs = 200\nmail = [\"incoming\"]\n");
        let submission = incoming
            .replace("\"incoming\"", "\"submission\"")
            .replace("\"a\"", "\"b\"");
        let config = parse(&format!("{incoming}{submission}")).unwrap();
        assert_eq!(config.filters(FilteredMail::Incoming).unwrap().len(), 1);
    }

    #[test]
    fn passwords_are_for_their_owner_alone() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("password");
        let text = FILTER.replace("milter", "rspamd");
        let config = parse(&format!("{text}password_file = \"{}\"\n", path.display())).unwrap();
        let load = || {
            config
                .filters(FilteredMail::Incoming)
                .map_err(|error| error.to_string())
        };
        assert!(load().unwrap_err().contains("password: "));
        let write = |text: &str, mode| {
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        write("secret\n", 0o644);
        assert!(load().unwrap_err().contains("others can read"));
        write("", 0o600);
        assert!(load().unwrap_err().contains("is not one line"));
        write("secret\n", 0o600);
        let filters = load().unwrap();
        let [
            filters::Filter {
                protocol: Protocol::Rspamd {
                    password: Some(password),
                },
                ..
            },
        ] = &filters[..]
        else {
            panic!()
        };
        assert_eq!(password.expose(), "secret");
    }
}
