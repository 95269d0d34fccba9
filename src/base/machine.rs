//! The shape of every protocol machine: bytes and time in, bytes and events out, never waiting.

use std::time::Duration;

use super::secret::Secret;

/// A protocol machine without I/O.
///
/// The driver owns the socket and the buffer of unread octets. It repeats: write everything
/// [`poll_transmit`](Machine::poll_transmit) yields, answer every event of [`poll_event`](Machine::poll_event),
/// offer the unread octets to [`receive`](Machine::receive), and read more only when the machine took none
/// and has nothing to say. The offer is made even when nothing is unread: so the machine learns what time it is
/// after an answer. Instead of writing at once the driver may gather what several offers yield, as long as it writes
/// before it reads or turns to a TLS handshake. `elapsed` is the time since the session began.
pub trait Machine {
    /// What the machine asks of, or reports to, its owner.
    type Event;

    /// Offers unread octets and returns how many were consumed.
    ///
    /// A machine that waits for an answer to an event consumes nothing, so a peer cannot make it
    /// buffer. Input it cannot use yet (half a line) it leaves with the driver, or copies into a buffer it bounds.
    fn receive(&mut self, elapsed: Duration, input: &[u8]) -> usize;

    /// The peer has closed its sending side.
    fn end_of_input(&mut self, elapsed: Duration);

    /// The time given by [`timeout`](Machine::timeout) has come.
    fn expire(&mut self, elapsed: Duration);

    /// When [`expire`](Machine::expire) is to be called, as time since the session began.
    fn timeout(&self) -> Option<Duration>;

    /// Octets to send. Each item is written and flushed by itself, so that over TLS it is a record of its own
    /// (`dmtp.md` §4.4).
    fn poll_transmit(&mut self) -> Option<Vec<u8>>;

    /// The next event.
    fn poll_event(&mut self) -> Option<Self::Event>;

    /// Whether the session is over: the driver sends what is left and closes.
    fn is_closed(&self) -> bool;
}

/// What a machine learns once the driver has completed a TLS handshake for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsInfo {
    /// `TLS1.2` or `TLS1.3`.
    pub version: String,
    /// Cipher suite in the registry's spelling.
    pub cipher: String,
    /// What a login can be bound to (RFC 9266); TLS 1.3 only.
    pub exporter: Option<Secret<[u8; 32]>>,
}

/// Measures a machine's wait for its peer; the time spent on answers to its own events does not count.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wait {
    since: Option<Duration>,
    last_seen: Duration,
}

impl Wait {
    /// To be called whenever the machine is told the time. Starts the wait if none runs.
    pub fn observe(&mut self, elapsed: Duration) {
        self.last_seen = elapsed;
        self.since.get_or_insert(elapsed);
    }

    /// The peer did its part: the next wait starts with the next [`observe`](Self::observe).
    pub fn restart(&mut self) {
        self.since = None;
    }

    /// When the wait has lasted `limit`.
    pub fn deadline(&self, limit: Duration) -> Duration {
        self.since.unwrap_or(self.last_seen).saturating_add(limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wait_starts_at_the_first_observation_after_a_restart() {
        let secs = Duration::from_secs;
        let mut wait = Wait::default();
        wait.observe(secs(10));
        wait.observe(secs(20));
        assert_eq!(wait.deadline(secs(5)), secs(15));
        wait.restart();
        assert_eq!(wait.deadline(secs(5)), secs(25));
        wait.observe(secs(90));
        assert_eq!(wait.deadline(secs(5)), secs(95));
    }
}
