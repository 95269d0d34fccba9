//! Services that the operator runs beside us: mailbox servers, filters.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use tokio::net::{TcpStream, UnixStream};

use super::stream::Stream;

/// Where a service listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Service {
    /// On a socket of this machine.
    Unix(PathBuf),
    /// On a port.
    Tcp(SocketAddr),
}

/// `unix:` and a path, or an address and a port.
impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(address) => address.fmt(f),
        }
    }
}

/// A text that names no place of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("neither unix: with an absolute path nor an IP address and port, such as 127.0.0.1:24")]
pub struct NotAService;

impl std::str::FromStr for Service {
    type Err = NotAService;

    fn from_str(text: &str) -> Result<Self, NotAService> {
        match text.strip_prefix("unix:") {
            Some(path) if path.starts_with('/') => Ok(Self::Unix(path.into())),
            Some(_) => Err(NotAService),
            None => text.parse().map(Self::Tcp).map_err(|_| NotAService),
        }
    }
}

impl Service {
    /// Connects, from any address of ours. Waits for as long as the system does.
    pub async fn connect(&self) -> io::Result<Stream> {
        match self {
            Self::Unix(path) => UnixStream::connect(path).await.map(Stream::Unix),
            Self::Tcp(address) => Stream::new(TcpStream::connect(address).await?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_are_sockets_or_ports() {
        for text in ["unix:/run/dovecot/lmtp", "127.0.0.1:24", "[::1]:24"] {
            assert_eq!(
                text.parse().map(|service: Service| service.to_string()),
                Ok(text.into())
            );
        }
        for text in ["", "unix:", "unix:lmtp", "localhost:24", "127.0.0.1", "/run/lmtp"] {
            assert_eq!(text.parse::<Service>(), Err(NotAService), "{text}");
        }
    }
}
