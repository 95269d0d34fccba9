//! Where a database of PostgreSQL is.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// The scheme of addresses; the other usual one is read, too.
const SCHEME: &str = "postgres://";
const LONG_SCHEME: &str = "postgresql://";

const PORT: u16 = 5432;

/// `postgres://USER@HOST[:PORT][,HOST[:PORT]...]/DATABASE`. A host is a name, an IP address (IPv6 in brackets), or the folder of a
/// Unix socket, with `%2F` for each `/`. There is no password in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// The role.
    pub user: String,
    /// Where the server may be: the first that takes writes is used.
    pub hosts: Vec<Host>,
    /// The name of the database.
    pub database: String,
}

/// Where a server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// Reached by TCP and TLS.
    Tcp {
        /// Name or IP address; also the one in its certificate.
        name: String,
        /// Port.
        port: u16,
    },
    /// A socket of this host.
    Socket {
        /// The folder of the socket.
        folder: PathBuf,
        /// Part of its name.
        port: u16,
    },
}

/// Why a text is no address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Another shape.
    #[error("it must be postgres://USER@HOST/DATABASE")]
    Shape,
    /// A password in it.
    #[error("a password belongs in a file of its own (storage.password_file)")]
    Password,
    /// Not a host.
    #[error("a host in it is none")]
    Host,
}

impl FromStr for Address {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let rest = text
            .strip_prefix(SCHEME)
            .or_else(|| text.strip_prefix(LONG_SCHEME));
        let (user, rest) = rest.and_then(|rest| rest.split_once('@')).ok_or(Error::Shape)?;
        let (hosts, database) = rest.split_once('/').ok_or(Error::Shape)?;
        if user.contains(':') {
            return Err(Error::Password);
        }
        let is_name = |name: &str| !name.is_empty() && !name.contains(['/', '?', '#', '%', '@']);
        if !is_name(user) || !is_name(database) {
            return Err(Error::Shape);
        }
        Ok(Self {
            user: user.to_owned(),
            hosts: hosts.split(',').map(host).collect::<Result<_, _>>()?,
            database: database.to_owned(),
        })
    }
}

fn host(text: &str) -> Result<Host, Error> {
    let is_v6_alone = text.ends_with(']');
    let (name, port) = match text.rsplit_once(':') {
        Some((name, port)) if !is_v6_alone => (name, port.parse().map_err(|_| Error::Host)?),
        _ => (text, PORT),
    };
    let name = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'))
        .unwrap_or(name)
        .replace("%2F", "/")
        .replace("%2f", "/");
    if name.starts_with('/') {
        return Ok(Host::Socket {
            folder: name.into(),
            port,
        });
    }
    let is_host = |name: &str| {
        name.bytes()
            .all(|octet| octet.is_ascii_alphanumeric() || b".-_:".contains(&octet))
    };
    match !name.is_empty() && is_host(&name) {
        true => Ok(Host::Tcp { name, port }),
        false => Err(Error::Host),
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}@", self.user)?;
        for (place, host) in self.hosts.iter().enumerate() {
            write!(f, "{}{host}", if place == 0 { "" } else { "," })?;
        }
        write!(f, "/{}", self.database)
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { name, port } if name.contains(':') => write!(f, "[{name}]:{port}"),
            Self::Tcp { name, port } => write!(f, "{name}:{port}"),
            Self::Socket { folder, port } => {
                write!(f, "{}:{port}", folder.display().to_string().replace('/', "%2F"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn addresses_are_read_and_written() {
        let text = "postgres://dimed@db1.example.org,[2001:db8::1]:5433,%2Fvar%2Frun%2Fpostgresql/mail";
        let address: Address = text.parse().unwrap();
        let tcp = |name: &str, port| Host::Tcp {
            name: name.to_owned(),
            port,
        };
        let socket = Host::Socket {
            folder: "/var/run/postgresql".into(),
            port: 5432,
        };
        assert_eq!(
            address,
            Address {
                user: "dimed".into(),
                hosts: vec![tcp("db1.example.org", 5432), tcp("2001:db8::1", 5433), socket],
                database: "mail".into(),
            }
        );
        assert_eq!(address.to_string().parse(), Ok(address));
        let long: Address = "postgresql://dimed@[::1]/mail".parse().unwrap();
        assert_eq!(long.hosts, [tcp("::1", 5432)]);
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for (text, error) in [
            ("mysql://dimed@db/mail", Error::Shape),
            ("postgres://db/mail", Error::Shape),
            ("postgres://dimed@db", Error::Shape),
            ("postgres://dimed@db/", Error::Shape),
            ("postgres://dimed@db/mail?sslmode=disable", Error::Shape),
            ("postgres://dimed:secret@db/mail", Error::Password),
            ("postgres://dimed@/mail", Error::Host),
            ("postgres://dimed@db:port/mail", Error::Host),
            ("postgres://dimed@db one/mail", Error::Host),
            ("postgres://dimed@db,/mail", Error::Host),
        ] {
            assert_eq!(text.parse::<Address>(), Err(error), "{text}");
        }
    }
}
