//! Accepts connections within limits and hands each to a session task of its own.

use std::collections::HashMap;
use std::future::poll_fn;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::base::observe;

/// How long to wait after `accept` failed, usually for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How many connections are served at a time, over all listeners.
#[derive(Debug, Clone)]
pub struct ConnectionLimits {
    total: Arc<Semaphore>,
    per_address: usize,
    by_address: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

impl ConnectionLimits {
    /// At most `total` connections, and `per_address` from one address.
    pub fn new(total: usize, per_address: usize) -> Self {
        Self {
            total: Arc::new(Semaphore::new(total)),
            per_address,
            by_address: Arc::default(),
        }
    }

    /// Counts one more connection from `address`, if it may have another.
    fn admit(&self, address: IpAddr, permit: OwnedSemaphorePermit) -> Option<Admission> {
        let mut by_address = self
            .by_address
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        let address = counted_as(address);
        let count = by_address.entry(address).or_insert(0);
        if *count >= self.per_address {
            return None;
        }
        *count += 1;
        Some(Admission {
            address,
            by_address: Arc::clone(&self.by_address),
            _permit: permit,
        })
    }
}

/// The address under which a peer is counted: IPv4 as it is, also when it comes mapped, and IPv6 by its /64, which is
/// what one customer has.
pub fn counted_as(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
        v4 => v4,
    }
}

/// The right to be served; counts back when dropped.
#[derive(Debug)]
pub struct Admission {
    address: IpAddr,
    by_address: Arc<Mutex<HashMap<IpAddr, usize>>>,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Admission {
    fn drop(&mut self) {
        let mut by_address = self
            .by_address
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(count) = by_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                by_address.remove(&self.address);
            }
        }
    }
}

/// A bound address.
#[derive(Debug)]
pub struct Port<P> {
    /// The socket.
    pub listener: TcpListener,
    /// What it is for.
    pub purpose: P,
    /// What peers with too many connections are told, where the protocol starts in clear text.
    pub farewell: Option<String>,
}

/// Accepts until `shutdown`, running `serve` for every admitted connection as a task of `sessions`.
///
/// All ports are one task's, so that a port without callers keeps no permit from the others.
pub async fn run<P, S, F>(
    ports: Vec<Port<P>>,
    limits: ConnectionLimits,
    sessions: TaskTracker,
    shutdown: CancellationToken,
    serve: S,
) where
    P: Copy,
    S: Fn(P, TcpStream, SocketAddr) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    for turn in (0..ports.len()).cycle() {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => return,
            accepted = accept(&ports, turn, &limits) => accepted,
        };
        let Some((purpose, tcp, peer, admission)) = accepted else {
            continue;
        };
        let session = serve(purpose, tcp, peer);
        sessions.spawn(async move {
            session.await;
            drop(admission);
        });
    }
}

/// The permit comes first, so that a full house leaves callers in the kernel's queue.
async fn accept<P: Copy>(
    ports: &[Port<P>],
    turn: usize,
    limits: &ConnectionLimits,
) -> Option<(P, TcpStream, SocketAddr, Admission)> {
    let permit = Arc::clone(&limits.total).acquire_owned().await.ok()?;
    let (port, accepted) = first_caller(ports, turn).await;
    let (tcp, peer) = match accepted {
        Ok(accepted) => accepted,
        Err(error) => {
            tracing::warn!(event = observe::LISTENER_ACCEPT_FAILED, %error, "cannot accept a connection");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            return None;
        }
    };
    let Some(admission) = limits.admit(peer.ip(), permit) else {
        tracing::info!(event = observe::LISTENER_REFUSED, peer.ip = %peer.ip(), "too many connections from one address");
        dismiss(tcp, port.farewell.as_deref());
        return None;
    };
    Some((port.purpose, tcp, peer, admission))
}

/// The next connection to any port; `turn` is the port that is looked at first, so that none is forgotten.
async fn first_caller<P>(ports: &[Port<P>], turn: usize) -> (&Port<P>, io::Result<(TcpStream, SocketAddr)>) {
    let (before, after) = ports.split_at(turn);
    poll_fn(|context| {
        for port in after.iter().chain(before) {
            if let Poll::Ready(accepted) = port.listener.poll_accept(context) {
                return Poll::Ready((port, accepted));
            }
        }
        Poll::Pending
    })
    .await
}

/// Never waits: the line fits into the empty buffer of a new connection, and if it does not, the peer does without.
fn dismiss(tcp: TcpStream, farewell: Option<&str>) {
    if let (Ok(mut tcp), Some(line)) = (tcp.into_std(), farewell) {
        let _ = tcp.write(line.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_are_counted_by_ipv4_address_and_ipv6_network() {
        let counted = |text: &str| counted_as(text.parse().unwrap()).to_string();
        assert_eq!(counted("192.0.2.1"), "192.0.2.1");
        assert_eq!(counted("::ffff:192.0.2.1"), "192.0.2.1");
        assert_eq!(counted("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
    }

    #[test]
    fn an_address_gets_its_share_and_gives_it_back() {
        let limits = ConnectionLimits::new(10, 2);
        let permit = || Arc::clone(&limits.total).try_acquire_owned().unwrap();
        let admit = |text: &str| limits.admit(text.parse().unwrap(), permit());
        let first = admit("2001:db8::1").unwrap();
        let _second = admit("2001:db8::2").unwrap();
        assert!(admit("2001:db8::3").is_none());
        assert!(admit("2001:db8:0:1::3").is_some());
        drop(first);
        assert!(admit("2001:db8::3").is_some());
    }
}
