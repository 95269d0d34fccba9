//! A bound on guessing passwords: how many refused logins one address has. Beyond it nothing is checked, so that a refusal
//! costs no work and tells nothing.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::accounts;
use crate::base::allowance::{Allowance, Use};
use crate::base::causes::Causes;
use crate::base::id::SessionId;
use crate::base::observe;
use crate::daemon::listener::counted_as;

/// Time in which a used-up share comes back.
const SPAN: Duration = Duration::from_secs(3600);

/// What is said where no login is checked any more.
pub const TOO_MANY: &str = "Too many refused logins from your address, try again later";

/// Counts refused logins by address.
#[derive(Debug, Clone)]
pub struct Refusals(Allowance<IpAddr>);

impl Refusals {
    /// So many refused logins within an hour.
    pub fn new(per_hour: u32) -> Self {
        Self(Allowance::new(per_hour, SPAN / per_hour.max(1)))
    }
}

/// The login that a session is at.
#[derive(Debug)]
pub struct Login {
    refusals: Refusals,
    peer: IpAddr,
    leave: Option<Use<IpAddr>>,
}

impl Login {
    /// Nobody has begun to log in.
    pub fn new(refusals: Refusals, peer: IpAddr) -> Self {
        Self {
            refusals,
            peer: counted_as(peer),
            leave: None,
        }
    }

    /// Whether somebody may log in now. What was begun before counts as refused, unless it is the same login.
    pub fn begin(&mut self) -> bool {
        if self.leave.is_none() {
            self.leave = self.refusals.0.take(self.peer, Instant::now());
        }
        self.leave.is_some()
    }

    /// It succeeded, and does not count.
    pub fn succeeded(&mut self) {
        if let Some(leave) = self.leave.take() {
            leave.give_back();
        }
    }

    /// Nobody could say whether it was right, so it does not count either.
    pub fn undecided(&mut self) {
        self.succeeded();
    }

    /// It was refused.
    pub fn refused(&mut self) {
        self.leave = None;
    }
}

/// A login that nobody can judge, by whichever protocol.
pub fn note_undecided(session: &SessionId, error: &accounts::Error) {
    tracing::error!(event = observe::LOGIN_UNDECIDED, session.id = %session, error = %Causes(error), "a login could not be judged");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(refusals: &Refusals, peer: &str) -> Login {
        Login::new(refusals.clone(), peer.parse().unwrap_or(IpAddr::from([0; 4])))
    }

    #[test]
    fn an_address_has_its_share_of_refusals_whatever_session_they_come_from() {
        let refusals = Refusals::new(2);
        for _ in 0..2 {
            let mut session = login(&refusals, "192.0.2.1");
            assert!(session.begin() && session.begin(), "a challenge and its response");
            session.refused();
        }
        assert!(!login(&refusals, "::ffff:192.0.2.1").begin());
        assert!(login(&refusals, "192.0.2.2").begin());
    }

    #[test]
    fn logins_that_succeed_do_not_count_and_those_broken_off_do() {
        let refusals = Refusals::new(1);
        for _ in 0..5 {
            let mut session = login(&refusals, "192.0.2.1");
            assert!(session.begin());
            session.succeeded();
        }
        assert!(login(&refusals, "192.0.2.1").begin());
        assert!(
            !login(&refusals, "192.0.2.1").begin(),
            "the one before was dropped"
        );
    }
}
