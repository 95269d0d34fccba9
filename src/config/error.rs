//! What can be wrong with a configuration, said so that it can be put right.

use std::path::{Path, PathBuf};

use super::plain::sentence;
use crate::net::dns::NotLoopback;

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file that the configuration names cannot be read.
    #[error("{key} names {}: {source}", path.display())]
    Named {
        /// Where it is named.
        key: &'static str,
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not TOML, or says something that has no meaning.
    #[error("{}:{line}:{column}: {message}", path.display())]
    Invalid {
        /// Which file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// In characters, counted from 1.
        column: usize,
        /// What is wrong.
        message: String,
    },
    /// The policy that we publish keeps others from delivering to us.
    #[error(
        "mta_sts.mode is \"enforce\" and the certificate for SMTP is self-signed, so nobody would deliver here: set \
         tls.certificate or tls.smtp_certificate to one of a public authority first"
    )]
    EnforcedSelfSigned,
    /// What is to be sealed is never found out.
    #[error(
        "authentication.arc seals what authentication.incoming finds out, and that is \"off\": set it to \"mark\" or \
         \"enforce\", or leave arc out"
    )]
    NothingToSeal,
    /// An address for proxies that is not listened on.
    #[error(
        "{0} is in listen.proxied and in none of listen.smtp, dmtp, submission and submissions: name it there, too"
    )]
    ProxiedNowhere(std::net::SocketAddr),
    /// Two services cannot have one address and port.
    #[error(
        "[listen] has {0} twice, or for every address and for one, and only one service can have it: take one out"
    )]
    ListenTwice(std::net::SocketAddr),
    /// Nobody could use the addresses for proxies.
    #[error(
        "listen.proxied has addresses and listen.proxies is empty: name the networks that the proxies are in"
    )]
    NoProxies,
    /// Bits of an address that make no network.
    #[error("screening.{key} is from 1 to {most}")]
    NoNetwork {
        /// Which key.
        key: &'static str,
        /// The length of an address.
        most: u8,
    },
    /// Who waits as long as is asked is forgotten by then.
    #[error(
        "screening.greylist_wait_secs is not less than greylist_retry_hours, so nobody could come again in time"
    )]
    GreylistedForever,
    /// Everybody could send as one of us.
    #[error(
        "relay.networks has {0}, which is a large part of the internet: its hosts could send anything to anybody in our name; \
         name the networks of your own hosts"
    )]
    OpenRelay(crate::base::network::Network),
    /// The AD bit of servers elsewhere is not believed.
    #[error(transparent)]
    NotLoopback(#[from] NotLoopback),
    /// A filter as it cannot be.
    #[error("filtering.filters: {0}: {1}")]
    Filter(String, String),
    /// There is no master key in any of the places where it is looked for.
    #[error(
        "there is no master key in {}: put it back from your copy; where there is no database yet, `dimed setup` or `dimed domain add` makes one",
        path.display()
    )]
    NoMasterKey {
        /// Where it was looked for last.
        path: PathBuf,
    },
    /// A master key that is not 32 octets, raw or in base64.
    #[error("the master key in {place} is not 32 octets, raw or in base64")]
    MasterKey {
        /// A path, or the name of an environment variable.
        place: String,
    },
    /// Others than the owner can read a secret.
    #[error("{}: others can read {what} (mode {mode:03o}): run `chmod 600` on it", path.display())]
    Exposed {
        /// Which file.
        path: PathBuf,
        /// What is in it.
        what: &'static str,
        /// Its permission bits.
        mode: u32,
    },
}

impl Error {
    /// Places a TOML error in its file.
    pub(super) fn invalid(path: &Path, text: &str, error: &toml::de::Error) -> Self {
        let start = error.span().map_or(0, |span| span.start);
        let (line, column) = place(text, start);
        Self::Invalid {
            path: path.to_owned(),
            line,
            column,
            message: sentence(error.message(), text, start),
        }
    }
}

/// Line and column of an octet of `text`, both from 1.
fn place(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let line = before.matches('\n').count() + 1;
    (line, before[line_start..].chars().count() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_lines_and_characters_from_one() {
        assert_eq!(place("ab\ncd", 0), (1, 1));
        assert_eq!(place("ab\ncd", 2), (1, 3));
        assert_eq!(place("ab\ncd", 3), (2, 1));
        assert_eq!(place("äb\nöd", 6), (2, 2));
        assert_eq!(place("ab", 99), (1, 3));
    }
}
