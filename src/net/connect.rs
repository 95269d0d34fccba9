//! Reaching a host over TCP.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

/// How outgoing connections are made.
#[derive(Debug, Clone, Copy)]
pub struct Outgoing {
    /// Local IPv4 or IPv6 address to connect from; peers of the other family are reached from any.
    pub source: Option<IpAddr>,
    /// How long one address may take.
    pub timeout: Duration,
}

impl Outgoing {
    /// Connects to the first address that answers, at most `limit` of them.
    pub async fn connect(&self, addresses: &[IpAddr], port: u16, limit: usize) -> io::Result<TcpStream> {
        let mut last = io::Error::new(io::ErrorKind::AddrNotAvailable, "no address");
        for address in addresses.iter().take(limit) {
            match timeout(self.timeout, self.connect_one(SocketAddr::new(*address, port))).await {
                Ok(Ok(tcp)) => return Ok(tcp),
                Ok(Err(error)) => last = error,
                Err(_) => last = io::ErrorKind::TimedOut.into(),
            }
        }
        Err(last)
    }

    async fn connect_one(&self, peer: SocketAddr) -> io::Result<TcpStream> {
        let socket = if peer.is_ipv4() {
            TcpSocket::new_v4()?
        } else {
            TcpSocket::new_v6()?
        };
        if let Some(source) = self.source.filter(|source| source.is_ipv4() == peer.is_ipv4()) {
            socket.bind(SocketAddr::new(source, 0))?;
        }
        socket.connect(peer).await
    }
}
