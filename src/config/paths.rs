//! Where the Maildir of an account lies.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A pattern for Maildir folders, with `{domain}` and `{local}` where the account's address goes.
///
/// `{data}` at the start stands for the data directory. Both parts of the address are encoded so that each is
/// exactly one harmless folder name ([`crate::delivery::maildir::folder_name`]).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MaildirPattern(String);

/// A pattern that would put two accounts into one Maildir, or a Maildir nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a Maildir pattern: it must start with `/` or `{{data}}/` and hold `{{domain}}` and `{{local}}`")]
pub struct NotAPattern;

impl MaildirPattern {
    /// The default: a folder per domain and one per account, in the data directory.
    pub fn under_data() -> Self {
        Self("{data}/mail/{domain}/{local}".into())
    }

    /// The pattern with the data directory filled in; the address is still open.
    pub fn in_data(&self, data: &Path) -> PathBuf {
        match self.0.strip_prefix("{data}/") {
            Some(rest) => data.join(rest),
            None => PathBuf::from(&self.0),
        }
    }
}

impl FromStr for MaildirPattern {
    type Err = NotAPattern;

    fn from_str(text: &str) -> Result<Self, NotAPattern> {
        let rooted = text.starts_with('/') || text.starts_with("{data}/");
        let complete = text.contains("{domain}") && text.contains("{local}");
        let plain = !text.split('/').any(|name| name == "..") && !text.contains('\0');
        match rooted && complete && plain {
            true => Ok(Self(text.to_owned())),
            false => Err(NotAPattern),
        }
    }
}

impl TryFrom<String> for MaildirPattern {
    type Error = NotAPattern;

    fn try_from(text: String) -> Result<Self, NotAPattern> {
        text.parse()
    }
}

impl From<MaildirPattern> for String {
    fn from(pattern: MaildirPattern) -> Self {
        pattern.0
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_data_directory_is_filled_in() {
        let pattern: MaildirPattern = "{data}/mail/{domain}/{local}".parse().unwrap();
        assert_eq!(
            pattern.in_data(Path::new("/var/lib/dimed")),
            Path::new("/var/lib/dimed/mail/{domain}/{local}")
        );
        let pattern: MaildirPattern = "/home/{local}@{domain}".parse().unwrap();
        assert_eq!(
            pattern.in_data(Path::new("/d")),
            Path::new("/home/{local}@{domain}")
        );
    }

    #[test]
    fn refuses_patterns_that_mix_accounts_or_wander() {
        for bad in [
            "",
            "/mail/{local}",
            "/mail/{domain}",
            "mail/{domain}/{local}",
            "/../{domain}/{local}",
        ] {
            assert_eq!(bad.parse::<MaildirPattern>(), Err(NotAPattern), "{bad}");
        }
    }
}
