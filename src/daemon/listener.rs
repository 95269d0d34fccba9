//! Accepts connections within limits and hands each to a session task of its own.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
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

/// Accepts until `shutdown`, running `serve` for every admitted connection as a task of `sessions`.
pub async fn run<S, F>(
    listener: TcpListener,
    limits: ConnectionLimits,
    sessions: TaskTracker,
    shutdown: CancellationToken,
    serve: S,
) where
    S: Fn(TcpStream, SocketAddr) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => return,
            accepted = accept(&listener, &limits) => accepted,
        };
        let Some((tcp, peer, admission)) = accepted else {
            continue;
        };
        let session = serve(tcp, peer);
        sessions.spawn(async move {
            session.await;
            drop(admission);
        });
    }
}

/// The permit comes first, so that a full house leaves callers in the kernel's queue.
async fn accept(
    listener: &TcpListener,
    limits: &ConnectionLimits,
) -> Option<(TcpStream, SocketAddr, Admission)> {
    let permit = Arc::clone(&limits.total).acquire_owned().await.ok()?;
    let (tcp, peer) = match listener.accept().await {
        Ok(accepted) => accepted,
        Err(error) => {
            tracing::warn!(event = observe::LISTENER_ACCEPT_FAILED, %error, "cannot accept a connection");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            return None;
        }
    };
    let admission = limits.admit(peer.ip(), permit);
    if admission.is_none() {
        tracing::info!(event = observe::LISTENER_REFUSED, peer.ip = %peer.ip(), "too many connections from one address");
    }
    Some((tcp, peer, admission?))
}
