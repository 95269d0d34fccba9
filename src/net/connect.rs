//! Reaching a host over TCP.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
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

/// Whether whoever connects to `to` from here comes to one of these listeners of ours.
pub fn leads_to(listeners: &[SocketAddr], to: SocketAddr) -> bool {
    let ip = to.ip().to_canonical();
    // Where no address is named, this machine is meant.
    ip.is_unspecified()
        || listeners.iter().any(|listener| {
            let at = listener.ip().to_canonical();
            let is_everywhere = at.is_unspecified() && (at.is_ipv6() || ip.is_ipv4());
            listener.port() == to.port() && (at == ip || (is_everywhere && is_of_this_machine(ip)))
        })
}

/// Whether an address is one of this machine: it speaks to itself from the address that it speaks to. Nothing is sent.
fn is_of_this_machine(address: IpAddr) -> bool {
    let any: IpAddr = match address {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let from = || {
        let socket = UdpSocket::bind((any, 0))?;
        socket.connect((address, 9))?;
        socket.local_addr()
    };
    address.is_loopback() || from().is_ok_and(|from| from.ip() == address)
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

    #[test]
    fn listeners_are_known_by_address_and_port() {
        let leads = |listener: &str, to: &str| leads_to(&[listener.parse().unwrap()], to.parse().unwrap());
        for (listener, to, expected) in [
            ("192.0.2.1:25", "192.0.2.1:25", true),
            ("192.0.2.1:25", "[::ffff:192.0.2.1]:25", true),
            ("192.0.2.1:25", "192.0.2.1:26", false),
            ("192.0.2.1:25", "127.0.0.1:25", false),
            ("192.0.2.1:25", "0.0.0.0:25", true),
            ("192.0.2.1:25", "[::]:25", true),
            ("127.64.0.1:25", "127.64.0.2:25", false),
            // TEST-NET-1 is nobody's.
            ("[::]:25", "192.0.2.1:25", false),
            ("0.0.0.0:25", "192.0.2.1:25", false),
            ("[::]:25", "127.0.0.1:25", true),
            ("0.0.0.0:25", "127.64.0.1:25", true),
            ("[::]:25", "[::1]:25", true),
            ("0.0.0.0:25", "[::1]:25", false),
            ("[::]:25", "127.0.0.1:2525", false),
        ] {
            assert_eq!(leads(listener, to), expected, "{listener} {to}");
        }
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
