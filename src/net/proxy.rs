//! The PROXY protocol, version 2: a proxy says before the first octet of a connection whose it is.
//!
//! | Octets | Content |
//! |---|---|
//! | 12 | signature |
//! | 1 | version 2 in the upper half, command in the lower: 0 LOCAL, 1 PROXY |
//! | 1 | address family in the upper half (1 IPv4, 2 IPv6), transport in the lower (1 stream) |
//! | 2 | octets that follow, big-endian |
//! | n | source address, destination address, source port, destination port; then what we have no use for |
//!
//! Version 1 is a line of text, and refused, as is a connection that comes over anything but TCP.
//!
//! Source: `https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt`, section 2.2.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;

use crate::base::bytes::Reader;

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
const START: usize = 16;
/// Octets of addresses and extensions that are read at most; proxies send a few hundred.
const MOST: usize = 4096;
/// How long a proxy may take: it has everything at hand.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why what came is no header.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The connection failed or ended.
    #[error("the connection ended before the PROXY header did")]
    Io(#[from] io::Error),
    /// It took too long.
    #[error("the PROXY header did not come in time")]
    TimedOut,
    /// Something else came, version 1 included.
    #[error("there is no PROXY header of version 2")]
    NoHeader,
    /// It names no TCP connection.
    #[error("the PROXY header names no TCP connection")]
    NoTcp,
    /// It is longer than anybody needs.
    #[error("the PROXY header is too long")]
    TooLong,
}

/// Reads the header, and not an octet more. The address of the peer whom the proxy speaks for; `None` if it speaks for
/// itself.
pub async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Result<Option<SocketAddr>, Error> {
    timeout(PATIENCE, read_now(stream))
        .await
        .map_err(|_| Error::TimedOut)?
}

async fn read_now(stream: &mut (impl AsyncRead + Unpin)) -> Result<Option<SocketAddr>, Error> {
    let mut start = [0; START];
    stream.read_exact(&mut start).await?;
    let length = length(&start)?;
    let mut rest = vec![0; length];
    stream.read_exact(&mut rest).await?;
    peer(start[12], start[13], &rest)
}

fn length(start: &[u8; START]) -> Result<usize, Error> {
    if start[..12] != SIGNATURE || !matches!(start[12], 0x20 | 0x21) {
        return Err(Error::NoHeader);
    }
    match usize::from(u16::from_be_bytes([start[14], start[15]])) {
        length if length > MOST => Err(Error::TooLong),
        length => Ok(length),
    }
}

fn peer(command: u8, transport: u8, rest: &[u8]) -> Result<Option<SocketAddr>, Error> {
    if command == 0x20 {
        return Ok(None);
    }
    let mut reader = Reader::new(rest);
    let source = match transport {
        0x11 => source(&mut reader, |octets: [u8; 4]| Ipv4Addr::from(octets).into()),
        0x21 => source(&mut reader, |octets: [u8; 16]| Ipv6Addr::from(octets).into()),
        _ => None,
    };
    source.map(Some).ok_or(Error::NoTcp)
}

fn source<const N: usize>(reader: &mut Reader<'_>, address: fn([u8; N]) -> IpAddr) -> Option<SocketAddr> {
    let source = address(reader.array().ok()?);
    let _destination: [u8; N] = reader.array().ok()?;
    let port = reader.u16().ok()?;
    let _destination_port = reader.u16().ok()?;
    Some(SocketAddr::new(source.to_canonical(), port))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    fn header(command: u8, transport: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[command, transport], &length, rest].concat()
    }

    /// From 192.0.2.1 port 1025 to 192.0.2.2 port 25, with an extension.
    const V4: [u8; 15] = [192, 0, 2, 1, 192, 0, 2, 2, 4, 1, 0, 25, 4, 0, 0];

    async fn read_from(octets: &[u8]) -> (Result<Option<SocketAddr>, Error>, usize) {
        let mut input = octets;
        let result = read(&mut input).await;
        (result, input.len())
    }

    #[tokio::test]
    async fn the_source_is_read_and_nothing_after_the_header() {
        let octets = [header(0x21, 0x11, &V4), b"EHLO".to_vec()].concat();
        let (peer, left) = read_from(&octets).await;
        assert_eq!(peer.unwrap(), Some("192.0.2.1:1025".parse().unwrap()));
        assert_eq!(left, 4);
        let mut v6 = Ipv6Addr::from_bits(0x2001_0db8 << 96 | 7).octets().to_vec();
        v6.extend([0; 16]);
        v6.extend([0, 99, 0, 25]);
        let (peer, _) = read_from(&header(0x21, 0x21, &v6)).await;
        assert_eq!(peer.unwrap(), Some("[2001:db8::7]:99".parse().unwrap()));
    }

    #[tokio::test]
    async fn a_proxy_may_speak_for_itself() {
        for rest in [&[][..], &V4] {
            let (peer, left) = read_from(&header(0x20, 0x00, rest)).await;
            assert_eq!((peer.unwrap(), left), (None, 0));
        }
    }

    #[tokio::test]
    async fn everything_else_is_refused() {
        let refused = async |octets: Vec<u8>| read_from(&octets).await.0.unwrap_err().to_string();
        let none = "there is no PROXY header of version 2";
        let v1 = b"PROXY TCP4 192.0.2.1 192.0.2.2 1025 25\r\n".to_vec();
        assert_eq!(refused(v1).await, none);
        assert_eq!(refused(b"EHLO client.test\r\n".to_vec()).await, none);
        assert_eq!(refused(header(0x11, 0x11, &V4)).await, none);
        assert_eq!(refused(header(0x22, 0x11, &V4)).await, none);
        let no_tcp = "the PROXY header names no TCP connection";
        for transport in [0x00, 0x12, 0x22, 0x31, 0x41] {
            assert_eq!(refused(header(0x21, transport, &[0; 216])).await, no_tcp);
        }
        assert_eq!(refused(header(0x21, 0x11, &V4[..11])).await, no_tcp);
        assert_eq!(refused(header(0x21, 0x21, &V4)).await, no_tcp);
        assert_eq!(
            refused(header(0x21, 0x11, &[0; MOST + 1])).await,
            "the PROXY header is too long"
        );
        let cut = "the connection ended before the PROXY header did";
        assert_eq!(refused(header(0x21, 0x11, &V4)[..20].to_vec()).await, cut);
        assert_eq!(refused(SIGNATURE.to_vec()).await, cut);
    }

    proptest! {
        #[test]
        fn whatever_comes_is_read_within_bounds(rest in proptest::collection::vec(any::<u8>(), 0..300), start: [u8; 4]) {
            let octets = [&SIGNATURE[..], &start, &rest].concat();
            let mut all = [0; START];
            all.copy_from_slice(&octets[..START]);
            if let Ok(length) = length(&all) {
                prop_assert!(length <= MOST);
                let named = peer(all[12], all[13], &rest);
                prop_assert!(all[12] == 0x21 || matches!(named, Ok(None)));
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_proxy_that_says_nothing_is_not_waited_for() {
        let (_proxy, mut stream) = tokio::io::duplex(64);
        assert!(matches!(read(&mut stream).await, Err(Error::TimedOut)));
    }
}
