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
    /// Connects to the first address that answers, at most `limit` of them, both families by turns: a family that leads
    /// nowhere must not use up the tries.
    pub async fn connect(&self, addresses: &[IpAddr], port: u16, limit: usize) -> io::Result<TcpStream> {
        let mut last = io::Error::new(io::ErrorKind::AddrNotAvailable, "no address");
        for address in by_turns(addresses).into_iter().take(limit) {
            match timeout(self.timeout, self.connect_one(SocketAddr::new(address, port))).await {
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

/// One of each family after the other, the family of the first address first.
fn by_turns(addresses: &[IpAddr]) -> Vec<IpAddr> {
    let is_v6 = addresses.first().is_some_and(IpAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) = addresses.iter().partition(|address| address.is_ipv6() == is_v6);
    let longest = first.len().max(second.len());
    (0..longest)
        .flat_map(|turn| [first.get(turn), second.get(turn)])
        .flatten()
        .copied()
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use tokio::net::TcpListener;

    use super::*;

    fn addresses(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn families_take_turns() {
        let mixed = addresses(&["::1", "::2", "::3", "::4", "127.0.0.1", "127.0.0.2"]);
        let expected = addresses(&["::1", "127.0.0.1", "::2", "127.0.0.2", "::3", "::4"]);
        assert_eq!(by_turns(&mixed), expected);
        assert_eq!(by_turns(&[]), addresses(&[]));
    }

    /// Nothing listens on the IPv6 addresses, of which there are as many as tries.
    #[tokio::test]
    async fn a_host_is_reached_by_ipv4_when_ipv6_leads_nowhere_and_the_other_way_round() {
        let outgoing = Outgoing {
            source: None,
            timeout: Duration::from_secs(5),
        };
        for (listens, others) in [
            ("127.0.0.1", ["::1", "::2", "::3"]),
            ("::1", ["127.0.0.2", "127.0.0.3", "127.0.0.4"]),
        ] {
            let listener = TcpListener::bind((listens, 0)).await.unwrap();
            let port = listener.local_addr().unwrap().port();
            let all = [addresses(&others), addresses(&[listens])].concat();
            let tcp = outgoing.connect(&all, port, 3).await.unwrap();
            assert_eq!(tcp.peer_addr().unwrap().ip().to_string(), listens);
        }
    }
}
