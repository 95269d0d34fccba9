//! Accepts connections within limits, learns from proxies whose they are, and hands each to a session task of its own.

use std::collections::HashMap;
use std::future::poll_fn;
use std::io::Write;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::base::network::Network;
use crate::base::observe;
use crate::net::proxy;

/// How long a port is left alone after `accept` failed, usually for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How often the log says so of one port, while it goes on.
const TOLD_EVERY: Duration = Duration::from_secs(30);

/// How many connections are served at a time, over all listeners.
#[derive(Debug, Clone)]
pub struct ConnectionLimits {
    total: Arc<Semaphore>,
    per_address: Arc<AtomicUsize>,
    by_address: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

impl ConnectionLimits {
    /// At most `total` connections, and `per_address` from one address.
    pub fn new(total: usize, per_address: usize) -> Self {
        Self {
            total: Arc::new(Semaphore::new(total)),
            per_address: Arc::new(AtomicUsize::new(per_address)),
            by_address: Arc::default(),
        }
    }

    /// From now on so many from one address. Those that are there stay.
    pub fn set_per_address(&self, per_address: usize) {
        self.per_address.store(per_address, Ordering::Relaxed);
    }

    /// Counts one more connection from `address`, if it may have another.
    fn admit(&self, address: IpAddr, permit: OwnedSemaphorePermit) -> Option<Admission> {
        let mut by_address = self
            .by_address
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        let address = counted_as(address);
        let count = by_address.entry(address).or_insert(0);
        if *count >= self.per_address.load(Ordering::Relaxed) {
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
    pub farewell: Option<Arc<str>>,
    /// The networks of proxies, if all connections come through one that says whose they are.
    pub proxies: Option<Arc<[Network]>>,
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
    P: Copy + Send + 'static,
    S: Fn(P, TcpStream, SocketAddr) -> F + Clone + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let mut ports: Vec<Door<P>> = ports.into_iter().map(Door::new).collect();
    for turn in (0..ports.len()).cycle() {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => return,
            accepted = accept(&mut ports, turn, &limits) => accepted,
        };
        let Some(caller) = accepted else { return };
        let (limits, serve) = (limits.clone(), serve.clone());
        sessions.spawn(async move {
            let purpose = caller.purpose;
            if let Some((tcp, peer, admission)) = caller.admitted(&limits).await {
                told_of_panic(serve(purpose, tcp, peer), peer).await;
                drop(admission);
            }
        });
    }
}

/// A panic ends its session alone. The peer hears nothing more, which is for now (RFC 5321 §3.8); the log says so.
async fn told_of_panic(session: impl Future<Output = ()>, peer: SocketAddr) {
    // What a session shares with others is behind locks that are used whether or not somebody panicked with them.
    if AssertUnwindSafe(session).catch_unwind().await.is_err() {
        tracing::error!(
            event = observe::SESSION_PANICKED,
            peer.ip = %peer.ip(),
            "a session ended by a fault of ours"
        );
    }
}

/// A connection that holds a permit, and nothing else yet.
struct Caller<P> {
    purpose: P,
    tcp: TcpStream,
    peer: SocketAddr,
    permit: OwnedSemaphorePermit,
    farewell: Option<Arc<str>>,
    proxies: Option<Arc<[Network]>>,
}

impl<P> Caller<P> {
    /// The connection and whose it is, if that one may have another.
    async fn admitted(mut self, limits: &ConnectionLimits) -> Option<(TcpStream, SocketAddr, Admission)> {
        if let Some(proxies) = self.proxies.take() {
            self.peer = self.behind(&proxies).await?;
        }
        let Some(admission) = limits.admit(self.peer.ip(), self.permit) else {
            tracing::info!(event = observe::LISTENER_REFUSED, peer.ip = %self.peer.ip(), "too many connections from one address");
            dismiss(self.tcp, self.farewell.as_deref());
            return None;
        };
        Some((self.tcp, self.peer, admission))
    }

    /// Whom the proxy speaks for. Anybody else who speaks for others is not heard.
    async fn behind(&mut self, proxies: &[Network]) -> Option<SocketAddr> {
        let address = self.peer.ip();
        if !proxies.iter().any(|network| network.contains(address)) {
            tracing::info!(event = observe::LISTENER_PROXY_REFUSED, peer.ip = %address, "no proxy of ours");
            return None;
        }
        match proxy::read(&mut self.tcp).await {
            Ok(peer) => Some(peer.unwrap_or(self.peer)),
            Err(error) => {
                tracing::warn!(event = observe::LISTENER_PROXY_REFUSED, peer.ip = %address, %error, "a proxy did not say whom it speaks for");
                None
            }
        }
    }
}

/// A port, which is left alone for a while after it has failed. The others go on.
struct Door<P> {
    port: Port<P>,
    pause: Option<Pin<Box<Sleep>>>,
    failures: Failures,
}

/// How often `accept` has failed since the log said so.
#[derive(Debug, Default)]
struct Failures {
    untold: u64,
    told_at: Option<Instant>,
}

impl Failures {
    /// One more. How many there were since the last line, if there is to be another one: at once, and then now and again.
    fn note(&mut self, now: Instant) -> Option<u64> {
        self.untold += 1;
        let is_too_early = |told_at: Instant| now.duration_since(told_at) < TOLD_EVERY;
        if self.told_at.is_some_and(is_too_early) {
            return None;
        }
        self.told_at = Some(now);
        Some(std::mem::take(&mut self.untold))
    }
}

impl<P> Door<P> {
    fn new(port: Port<P>) -> Self {
        Self {
            port,
            pause: None,
            failures: Failures::default(),
        }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<(TcpStream, SocketAddr)> {
        loop {
            if let Some(pause) = &mut self.pause {
                std::task::ready!(pause.as_mut().poll(context));
                self.pause = None;
            }
            match std::task::ready!(self.port.listener.poll_accept(context)) {
                Ok(caller) => return Poll::Ready(caller),
                Err(error) => {
                    if let Some(count) = self.failures.note(Instant::now()) {
                        tracing::warn!(event = observe::LISTENER_ACCEPT_FAILED, count, %error, "cannot accept a connection");
                    }
                    self.pause = Some(Box::pin(sleep(ACCEPT_PAUSE)));
                }
            }
        }
    }
}

/// The permit comes first, so that a full house leaves callers in the kernel's queue.
async fn accept<P: Copy>(doors: &mut [Door<P>], turn: usize, limits: &ConnectionLimits) -> Option<Caller<P>> {
    let permit = Arc::clone(&limits.total).acquire_owned().await.ok()?;
    let (port, (tcp, peer)) = first_caller(doors, turn).await;
    Some(Caller {
        purpose: port.purpose,
        tcp,
        peer,
        permit,
        farewell: port.farewell.clone(),
        proxies: port.proxies.clone(),
    })
}

/// The next connection to any port; `turn` is the port that is looked at first, so that none is forgotten.
async fn first_caller<P>(doors: &mut [Door<P>], turn: usize) -> (&Port<P>, (TcpStream, SocketAddr)) {
    let (index, caller) = poll_fn(|context| {
        let (before, after) = doors.split_at_mut(turn);
        let order = (turn..).zip(after).chain((0..).zip(before));
        for (index, door) in order {
            if let Poll::Ready(caller) = door.poll(context) {
                return Poll::Ready((index, caller));
            }
        }
        Poll::Pending
    })
    .await;
    (&doors[index].port, caller)
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
        let third = admit("2001:db8::3");
        assert!(third.is_some() && admit("2001:db8::4").is_none());
        // Another configuration may allow more, or less to those who come then.
        limits.set_per_address(3);
        let fourth = admit("2001:db8::4");
        assert!(fourth.is_some());
        limits.set_per_address(1);
        drop((third, fourth));
        assert!(admit("2001:db8::5").is_none());
    }

    #[test]
    fn a_port_that_goes_on_failing_is_told_of_at_once_and_then_every_half_minute_with_a_count() {
        let start = Instant::now();
        let mut failures = Failures::default();
        let mut told = Vec::new();
        // As often as a port is tried: for 65 seconds.
        for tenths in 0..650 {
            let after = ACCEPT_PAUSE * tenths;
            told.extend(failures.note(start + after).map(|count| (after.as_secs(), count)));
        }
        assert_eq!(told, [(0, 1), (30, 300), (60, 300)]);
        // What comes after a long while is told at once, with what was left.
        let later = start + Duration::from_secs(1000);
        assert_eq!(failures.note(later), Some(50));
        assert_eq!(failures.note(later), None);
        // Other ports are counted apart.
        assert_eq!(Failures::default().note(later), Some(1));
    }

    fn port(listener: TcpListener) -> Port<()> {
        Port {
            listener,
            purpose: (),
            farewell: None,
            proxies: None,
        }
    }

    /// So many are greeted one after the other that each pause of the other port would be noticed.
    #[tokio::test]
    async fn a_port_that_fails_holds_up_no_other() {
        use rustix::net::{AddressFamily, SocketType, bind, socket};

        // It is bound, and does not listen.
        let dead = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        bind(&dead, &"127.0.0.1:0".parse::<SocketAddr>().unwrap()).unwrap();
        let dead = std::net::TcpListener::from(dead);
        dead.set_nonblocking(true).unwrap();
        let dead = TcpListener::from_std(dead).unwrap();
        assert!(dead.accept().await.is_err());
        let well = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = well.local_addr().unwrap();
        let (sessions, stop) = (TaskTracker::new(), CancellationToken::new());
        let serve = |(), mut tcp: TcpStream, _: SocketAddr| async move {
            let _ = tokio::io::AsyncWriteExt::write_all(&mut tcp, b"220").await;
        };
        let limits = ConnectionLimits::new(10, 10);
        let ports = vec![port(dead), port(well)];
        let listening = tokio::spawn(run(ports, limits, sessions, stop.clone(), serve));
        let calling = async {
            for _ in 0..700 {
                let mut caller = TcpStream::connect(address).await.unwrap();
                let mut greeting = Vec::new();
                tokio::io::AsyncReadExt::read_to_end(&mut caller, &mut greeting)
                    .await
                    .unwrap();
                assert_eq!(greeting, b"220");
            }
        };
        tokio::time::timeout(Duration::from_secs(60), calling)
            .await
            .unwrap();
        stop.cancel();
        listening.await.unwrap();
    }

    /// There is room for one session, which the first gives back.
    #[tokio::test]
    async fn a_session_that_panics_ends_alone() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sessions, stop) = (TaskTracker::new(), CancellationToken::new());
        let served = Arc::new(Mutex::new(0));
        let count = Arc::clone(&served);
        let serve = move |(), _tcp: TcpStream, _peer: SocketAddr| {
            let count = Arc::clone(&count);
            async move {
                let number = {
                    let mut count = count.lock().unwrap();
                    *count += 1;
                    *count
                };
                assert_ne!(number, 1, "the first one panics");
            }
        };
        let limits = ConnectionLimits::new(1, 1);
        let listening = tokio::spawn(run(
            vec![port(listener)],
            limits,
            sessions.clone(),
            stop.clone(),
            serve,
        ));
        for _ in 0..3 {
            let mut caller = TcpStream::connect(address).await.unwrap();
            let mut rest = Vec::new();
            // It is closed, or broken off.
            let _ = tokio::io::AsyncReadExt::read_to_end(&mut caller, &mut rest).await;
        }
        stop.cancel();
        listening.await.unwrap();
        sessions.close();
        sessions.wait().await;
        assert_eq!(*served.lock().unwrap(), 3);
    }
}
