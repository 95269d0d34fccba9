//! What hosts that have not logged in are measured by ([`crate::screening`]), and what those that are refused hear.

use std::io::Write as _;
use std::net::IpAddr;
use std::time::Duration;

use tokio::net::TcpStream;

use super::{Owner, reply};
use crate::base::id::SessionId;
use crate::base::observe;
use crate::daemon::Services;
use crate::mail::address::{Domain, Mailbox};
use crate::mail::reply::Reply;
use crate::screening::lists::Subject;
use crate::screening::names::Fault;
use crate::screening::{Error, Refused, Why};

impl Owner {
    /// EHLO or HELO came, which ends a transaction.
    pub(super) fn greeted(&mut self, hello: &str) {
        self.transaction = None;
        if let Some(visit) = &mut self.visit {
            visit.greeted(hello);
        }
    }

    /// Whether the host may write to a recipient, who is one of ours.
    pub(super) async fn screen(&mut self, recipient: &Mailbox) -> Result<(), Reply> {
        let (None, Some(visit), Some(open)) = (&self.account, &mut self.visit, &mut self.transaction) else {
            return Ok(());
        };
        let path = &open.mail.reverse_path;
        let judged = visit.recipient(&mut open.screened, path, recipient).await;
        judged.map_err(|error| self.unscreened(error, recipient.domain()))
    }

    /// Whether the text of the message may come.
    pub(super) async fn screen_data(&self) -> Result<(), Reply> {
        let (None, Some(visit), Some(open)) = (&self.account, &self.visit, &self.transaction) else {
            return Ok(());
        };
        let host = &self.services.config.server.hostname;
        let judged = visit.data(&open.screened).await;
        judged.map_err(|error| self.unscreened(error, host))
    }

    /// A field that says what speaks against the host; empty if nothing does.
    pub(super) fn mark(&self) -> String {
        let (None, Some(visit), Some(open)) = (&self.account, &self.visit, &self.transaction) else {
            return String::new();
        };
        let host = &self.services.config.server.hostname;
        visit.mark(host, &open.screened).unwrap_or_default()
    }

    /// What the field of results says of the host.
    pub(super) fn host_results(&self) -> Vec<String> {
        self.visit
            .as_ref()
            .map(|visit| visit.results())
            .unwrap_or_default()
    }

    /// `domain` is one with a postmaster who can be asked.
    fn unscreened(&self, error: Error, domain: &Domain) -> Reply {
        match error {
            Error::Store(error) => self.fault(&error),
            Error::Refused(refused) => {
                note(&self.id, self.peer.ip(), &refused);
                refusal(&refused, domain)
            }
        }
    }
}

/// Without mail addresses: whom it was about to reach is nobody's business.
fn note(session: &SessionId, peer: IpAddr, refused: &Refused) {
    let list = match &refused.why {
        Why::Listed(listing) => Some(listing.name.as_str()),
        _ => None,
    };
    tracing::info!(
        event = observe::SMTP_SCREENED,
        session.id = %session,
        peer.ip = %peer,
        reason = refused.why.word(),
        list,
        for_now = refused.for_now,
        "a host was refused, or asked to come again, by what it is measured by"
    );
}

fn refusal(refused: &Refused, domain: &Domain) -> Reply {
    let ((subject, detail), text) = words(&refused.why);
    match (refused.for_now, &refused.why) {
        (true, Why::Greylisted(_)) => reply(451, (4, subject, detail), &text),
        (true, _) => reply(450, (4, subject, detail), &format!("{text}, and try again")),
        (false, _) => reply(
            550,
            (5, subject, detail),
            &format!("{text}, or ask postmaster@{domain} about it"),
        ),
    }
}

/// Subject and detail of the enhanced status code (RFC 3463 §3.2, §3.8, RFC 7372 §3.3, RFC 7505 §4.2), and what the other side
/// can do.
fn words(why: &Why) -> ((u16, u16), String) {
    match why {
        Why::Listed(listing) => {
            let who = match listing.of {
                Subject::Address => "Your address",
                Subject::SenderDomain => "The domain of the sender",
            };
            let reason = listing.reason.as_deref().unwrap_or("no reason given");
            let name = &listing.name;
            (
                (7, 1),
                format!("{who} is listed by {name} ({reason}): have it taken off"),
            )
        }
        Why::Name(Fault::FalseHello) => (
            (7, 1),
            "The name in EHLO is no host's, or another's: set it to the full name of your host".into(),
        ),
        Why::Name(Fault::UnknownHello) => (
            (7, 1),
            "The name in EHLO does not exist in DNS: publish its address".into(),
        ),
        Why::Name(Fault::HelloUnanswered) => (
            (7, 1),
            "DNS does not answer about the name in EHLO: look after its name servers".into(),
        ),
        Why::Name(Fault::UnknownSender) => (
            (1, 8),
            "The domain of the sender has neither a mail host nor an address in DNS: publish one".into(),
        ),
        Why::Name(Fault::NullMxSender) => (
            (7, 27),
            "The domain of the sender takes no mail (null MX), so nothing could be returned to it: use another".into(),
        ),
        Why::Name(Fault::SenderUnanswered) => (
            (1, 8),
            "DNS does not answer about the domain of the sender: look after its name servers".into(),
        ),
        Why::Name(Fault::NoReverse) => (
            (7, 25),
            "Your address has no name in DNS: have a PTR record set for it".into(),
        ),
        Why::Name(Fault::UnconfirmedReverse) => (
            (7, 25),
            "The name that DNS has for your address does not lead back to it: publish its address".into(),
        ),
        Why::Name(Fault::ReverseUnanswered) => (
            (7, 25),
            "DNS does not answer about the name of your address: look after its name servers".into(),
        ),
        Why::Greylisted(rest) => (
            (7, 1),
            format!(
                "Greylisted, as everybody is at first: the message is taken when it comes again after {} s",
                whole_secs(*rest).max(1)
            ),
        ),
        Why::NetworkRate => (
            (7, 1),
            "Your network has sent too much within the hour: wait a while".into(),
        ),
        Why::DomainRate => (
            (7, 1),
            "The domain of the sender has sent too much within the hour: wait a while".into(),
        ),
    }
}

/// Rounded up: who comes again then is not too early.
fn whole_secs(rest: Duration) -> u64 {
    rest.as_secs() + u64::from(rest.subsec_nanos() > 0)
}

/// Ends a connection of a network that has had too many, in the place of the greeting (RFC 5321 §3.8). Never waits: the line fits
/// into the empty buffer of a new connection, and if it does not, the peer does without.
pub(in crate::daemon::session) fn dismiss(
    services: &Services,
    session: &SessionId,
    peer: IpAddr,
    tcp: TcpStream,
) {
    tracing::info!(
        event = observe::SMTP_SCREENED,
        session.id = %session,
        peer.ip = %peer,
        reason = "connection_rate",
        for_now = true,
        "a network has opened too many connections within the minute"
    );
    let host = &services.config.server.hostname;
    let line =
        format!("421 {host} Too many connections from your network within the minute, try again later\r\n");
    if let Ok(mut tcp) = tcp.into_std() {
        let _ = tcp.write(line.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_again_after_the_seconds_told_is_not_too_early() {
        for (millis, secs) in [(0, 0), (1, 1), (1000, 1), (299_001, 300), (300_000, 300)] {
            assert_eq!(whole_secs(Duration::from_millis(millis)), secs, "{millis} ms");
        }
    }
}
