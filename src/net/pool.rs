//! Sessions with other hosts that may be used once more, for a short while.
//!
//! A session is kept under a key that says whom it leads to and what was demanded of its TLS when it was made, and given
//! out for that very key alone: never for a stricter demand, nor in another's name.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// How many sessions are kept, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// All together.
    pub sessions: usize,
    /// With the same key.
    pub per_key: usize,
    /// How long one waits for another use. Servers wait for five minutes (RFC 5321 §4.5.3.2.7).
    pub idle: Duration,
    /// Uses of one session.
    pub uses: u32,
    /// How old a session gets: after that, certificates and policies are looked at again.
    pub age: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            sessions: 50,
            per_key: 20,
            idle: Duration::from_secs(5),
            uses: 100,
            age: Duration::from_secs(300),
        }
    }
}

/// A session that may be kept.
pub trait Pooled: Send + 'static {
    /// The host's, if it has one.
    fn address(&self) -> Option<IpAddr>;

    /// Messages, or questions, so far.
    fn uses(&self) -> u32;

    /// How long it has lasted.
    fn age(&self) -> Duration;

    /// Whether the connection is there.
    fn is_open(&mut self) -> bool;

    /// Whether the host lets another use follow.
    fn takes_more(&mut self) -> bool;

    /// Whether the host has said nothing, and not closed the connection, since the session was left alone.
    fn is_quiet(&mut self) -> impl Future<Output = bool> + Send;

    /// Ends it, politely and soon.
    fn quit(self) -> impl Future<Output = ()> + Send;
}

/// Idle sessions.
#[derive(Debug)]
pub struct Pool<K, S> {
    limits: Limits,
    kept: Mutex<Kept<K, S>>,
    /// Somebody looks after the idle ones. Changed under their lock only.
    is_swept: AtomicBool,
}

#[derive(Debug)]
struct Kept<K, S> {
    idle: Vec<Idle<K, S>>,
    /// What was opened until then is not kept any more.
    closed_at: Option<Instant>,
}

#[derive(Debug)]
struct Idle<K, S> {
    key: K,
    session: S,
    since: Instant,
}

impl<K: PartialEq + Send + 'static, S: Pooled> Pool<K, S> {
    /// With nothing in it.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            kept: Mutex::new(Kept {
                idle: Vec::new(),
                closed_at: None,
            }),
            is_swept: AtomicBool::new(false),
        }
    }

    /// A session made for that key, with a host at one of those addresses; `addresses` of `None` do not matter.
    pub async fn take(&self, key: &K, addresses: Option<&[IpAddr]>) -> Option<S> {
        while let Some(mut session) = self.find(key, addresses) {
            if session.is_quiet().await {
                return Some(session);
            }
        }
        None
    }

    fn find(&self, key: &K, addresses: Option<&[IpAddr]>) -> Option<S> {
        let leads_there = |idle: &Idle<K, S>| match (addresses, idle.session.address()) {
            (Some(addresses), Some(address)) => addresses.contains(&address),
            (Some(_), None) => false,
            (None, _) => true,
        };
        let idle = &mut self.locked().idle;
        let fits = |idle: &Idle<K, S>| {
            idle.key == *key && leads_there(idle) && idle.since.elapsed() < self.limits.idle
        };
        // The one used last is the least likely to have been given up by the host.
        let at = idle.iter().rposition(fits)?;
        Some(idle.remove(at).session)
    }

    /// Keeps a session if it may be used again and there is room, and ends it otherwise.
    pub async fn put(self: &Arc<Self>, key: K, session: S) {
        if let Some(left_over) = self.keep(key, session) {
            left_over.quit().await;
        }
    }

    /// The same, for whoever does not wait for its end: gives back what is to be ended.
    pub fn keep(self: &Arc<Self>, key: K, mut session: S) -> Option<S> {
        if !session.is_open() {
            return None;
        }
        let is_worn =
            session.uses() >= self.limits.uses || session.age() >= self.limits.age || !session.takes_more();
        if is_worn {
            return Some(session);
        }
        let left_over = self.add(key, session);
        if left_over.is_none() {
            self.sweep_later();
        }
        left_over
    }

    /// Gives the session back if there is no room for it, or all like it have been ended while it was used.
    fn add(&self, key: K, session: S) -> Option<S> {
        let mut kept = self.locked();
        let age = session.age();
        if kept.closed_at.is_some_and(|at| age >= at.elapsed()) {
            return Some(session);
        }
        let idle = &mut kept.idle;
        let same = idle.iter().filter(|idle| idle.key == key).count();
        if idle.len() >= self.limits.sessions || same >= self.limits.per_key {
            return Some(session);
        }
        idle.push(Idle {
            key,
            session,
            since: Instant::now(),
        });
        None
    }

    /// Sees to it that what is idle for too long is ended. Does not keep the pool alive.
    fn sweep_later(self: &Arc<Self>) {
        if self.is_swept.swap(true, Ordering::Relaxed) {
            return;
        }
        let (pool, idle) = (Arc::downgrade(self), self.limits.idle);
        tokio::spawn(async move {
            loop {
                sleep(idle).await;
                let Some(pool) = pool.upgrade() else { return };
                pool.end(|idle| idle.since.elapsed() >= pool.limits.idle).await;
                if pool.is_left_alone() {
                    return;
                }
            }
        });
    }

    /// Whether nothing is left to be looked after; then nobody looks any more.
    fn is_left_alone(&self) -> bool {
        let idle = &self.locked().idle;
        if idle.is_empty() {
            self.is_swept.store(false, Ordering::Relaxed);
        }
        idle.is_empty()
    }

    /// Ends an idle session with that host, if there is one: hosts count connections, whatever they are kept for. Whoever dials asks
    /// for this first, and so there are never more of them than were used at one time.
    pub async fn make_room(&self, address: IpAddr) {
        let spare = {
            let idle = &mut self.locked().idle;
            let at = idle
                .iter()
                .position(|idle| idle.session.address() == Some(address));
            at.map(|at| idle.remove(at).session)
        };
        if let Some(session) = spare {
            session.quit().await;
        }
    }

    /// Ends all sessions; those that are being used are not kept afterwards.
    pub async fn close(&self) {
        self.locked().closed_at = Some(Instant::now());
        self.end(|_| true).await;
    }

    async fn end(&self, is_over: impl Fn(&Idle<K, S>) -> bool) {
        let over: Vec<_> = {
            let idle = &mut self.locked().idle;
            idle.extract_if(.., |idle| is_over(idle)).collect()
        };
        let farewells = over.into_iter().map(|idle| idle.session.quit());
        futures_util::future::join_all(farewells).await;
    }

    fn locked(&self) -> MutexGuard<'_, Kept<K, S>> {
        self.kept.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const HOST: &str = "192.0.2.1";

    /// One that was opened then.
    struct Opened(Instant);

    impl Pooled for Opened {
        fn address(&self) -> Option<IpAddr> {
            HOST.parse().ok()
        }

        fn uses(&self) -> u32 {
            1
        }

        fn age(&self) -> Duration {
            self.0.elapsed()
        }

        fn is_open(&mut self) -> bool {
            true
        }

        fn takes_more(&mut self) -> bool {
            true
        }

        async fn is_quiet(&mut self) -> bool {
            true
        }

        async fn quit(self) {}
    }

    #[tokio::test]
    async fn the_oldest_idle_session_with_a_host_makes_room() {
        let pool = Arc::new(Pool::new(Limits::default()));
        for key in ["d1.test", "d2.test"] {
            pool.put(key, Opened(Instant::now())).await;
        }
        let [here, other] = [HOST, "192.0.2.2"].map(|address| address.parse().unwrap());
        pool.make_room(other).await;
        pool.make_room(here).await;
        assert!(pool.take(&"d1.test", None).await.is_none());
        assert!(pool.take(&"d2.test", None).await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_opened_before_all_were_ended_is_not_kept_after_it() {
        let pool = Arc::new(Pool::new(Limits::default()));
        pool.put((), Opened(Instant::now())).await;
        let used = pool.take(&(), None).await.unwrap();
        pool.put((), Opened(Instant::now())).await;
        tokio::time::advance(Duration::from_secs(1)).await;
        pool.close().await;
        assert!(pool.take(&(), None).await.is_none());
        pool.put((), used).await;
        assert!(pool.take(&(), None).await.is_none());
        tokio::time::advance(Duration::from_secs(1)).await;
        pool.put((), Opened(Instant::now())).await;
        assert!(pool.take(&(), None).await.is_some());
    }
}
