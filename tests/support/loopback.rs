//! Loopback addresses that no other test uses, in this process or another.

use std::net::{IpAddr, Ipv4Addr, TcpListener};

/// Every organization listens on the same ports, each on its own address: the ports of its peers are a setting of the
/// daemon. They lie below those that the system gives to outgoing connections.
pub const SMTP: u16 = 10025;
/// DMTP alone.
pub const DMTP: u16 = 10026;
/// Submission with STARTTLS.
pub const SUBMISSION: u16 = 10587;
/// Submission with TLS from the first octet.
pub const SUBMISSIONS: u16 = 10465;

/// Web servers.
pub const HTTPS: u16 = 10443;
/// The HTTP port.
pub const HTTP: u16 = 10080;
/// For those who watch over a host.
pub const OPERATIONS: u16 = 10525;

/// Whoever listens here owns the address.
const CLAIM: u16 = 10001;

const TRIES: usize = 1000;

/// An address, ours until this is dropped.
#[derive(Debug)]
pub struct Loopback {
    /// The address.
    pub ip: IpAddr,
    _claim: TcpListener,
}

impl Loopback {
    /// Takes an address that is free.
    pub fn take() -> Self {
        (0..TRIES).find_map(|_| Self::try_take()).expect(
            "ports 10001, 10025, 10026, 10443, 10465, 10525 and 10587 are free on some address of 127.64.0.0/10",
        )
    }

    fn try_take() -> Option<Self> {
        let [a, b, c]: [u8; 3] = rand::random();
        let ip = IpAddr::V4(Ipv4Addr::new(127, 64 + a % 64, b, 1 + c % 254));
        let claim = TcpListener::bind((ip, CLAIM)).ok()?;
        let is_free = |port| TcpListener::bind((ip, port)).is_ok();
        let all_free = [SMTP, DMTP, SUBMISSION, SUBMISSIONS, HTTPS, OPERATIONS]
            .into_iter()
            .all(is_free);
        all_free.then_some(Self { ip, _claim: claim })
    }
}
