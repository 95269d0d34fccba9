//! A D/MIME object that came in over DMTP: checked as destination, opened for a trustful recipient, and committed.
//!
//! The object is in the spool when its checks begin, held by nobody; what its format demands to be in memory is read
//! from there.

mod format1;
mod format2;
mod opening;
mod returned;
pub mod submission;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::timeout;

use super::Services;
use super::listener::counted_as;
use crate::abuse::{self, Admission};
use crate::base::allowance::Use;
use crate::base::id::QueueId;
use crate::base::observe;
use crate::base::time::Timestamp;
use crate::crypto::ed25519::VerifyingKey;
use crate::delivery::wrapper;
use crate::dime::dmime1::{self, Refused};
use crate::dime::dmime2::{self, Reason, Rule};
use crate::dime::fingerprint::{AnyFingerprint, CryptoFingerprint};
use crate::dime::signet::VerifiedOrg;
use crate::dmtp::command::Return;
use crate::domains::DxError;
use crate::mail::address::{Domain, Mailbox};
use crate::mail::reply::Reply;
use crate::mail::trace::{Arrival as Trace, Received};
use crate::signet_service::{self, LookupError, User, Wanted};
use crate::store::{self, BodyWriter, Committed, NewMessage, ReplayEntry, blocking};

/// How long checking, with all questions to other hosts, may take; senders wait for ten minutes (`dmtp.md` §9.1).
const DEADLINE: Duration = Duration::from_secs(4 * 60);

/// Why an object is not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Not an object of sound structure.
    #[error("not a usable D/MIME object: {0}")]
    Malformed(#[from] dmime1::Error),
    /// It does not open, or is not signed as it should be. What exactly is wrong is nobody's business.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// Not an object of D/MIME 2 that may be taken: ill-formed, from another time, or it does not verify.
    #[error(transparent)]
    Unverified(#[from] dmime2::Refused),
    /// It is larger than we take.
    #[error("the message is too large")]
    TooLarge,
    /// The origin is proven, and the recipient is nobody here.
    #[error("there is no such recipient")]
    NoRecipient,
    /// The recipient has no account or no signet here, or another signet than the one it was sealed for.
    #[error("the recipient's signet is not the one the message was sealed for")]
    Recipient,
    /// A signet of the other side cannot be had now. Said before the origin is proven, too, because mail that may be good
    /// is not refused for good; it tells a peer that the object names the peer's domain as its origin, which the peer
    /// would learn by being accepted, and nothing of what is wrong with it.
    #[error("a signet of the origin cannot be had now")]
    SignetUnavailable,
    /// A signet of the other side does not exist or does not verify.
    #[error("a signet of the origin is not valid")]
    SignetInvalid,
    /// Nothing that the peer sent could be verified, and signets were asked for too often because of it.
    #[error("too many messages of this peer could not be verified")]
    TooManyInquiries,
    /// The origin is proven, and it or the author, who is proven then, too, is on the block list. Which of them is not said.
    #[error("the sender is on the block list")]
    Blocked,
    /// The origin is proven, and has sent too much.
    #[error("the origin has sent too much within the hour")]
    TooMuch,
    /// A signet of the destination cannot be had now.
    #[error("a signet of the destination cannot be had now")]
    DestinationUnavailable,
    /// The author is proven, and the object goes to another domain than RCPT says.
    #[error("the message is sealed for another domain")]
    OtherDestination,
    /// There is no memory for it now.
    #[error("there is no memory for the object now")]
    TooBusy,
    /// A fault of ours.
    #[error("a fault of this server")]
    Fault,
}

impl Refusal {
    /// The final reply to DATA (`dmtp.md` §7). All that fails for cryptographic reasons looks the same.
    pub fn reply(&self) -> Reply {
        match self {
            Self::Malformed(dmime1::Error::TooLarge) => Reply::plain(552, "the message is too large"),
            Self::Malformed(error) => Reply::plain(554, error.to_string()),
            Self::Unverified(refused) => Reply::plain(
                match refused.reason() {
                    Reason::Future => 451,
                    _ => 554,
                },
                refused.to_string(),
            ),
            Self::TooLarge => Reply::plain(552, "the message is too large"),
            Self::NoRecipient => Reply::plain(510, "no such recipient"),
            Self::Refused(_) | Self::SignetInvalid => {
                Reply::plain(578, "the message cannot be opened or verified")
            }
            Self::Recipient => Reply::plain(586, "no recipient with that signet"),
            Self::SignetUnavailable => Reply::plain(470, "a signet of the origin cannot be had now"),
            Self::TooManyInquiries => {
                Reply::plain(451, "too many messages could not be verified, try again later")
            }
            Self::Blocked => Reply::plain(550, "mail of this sender is not taken here"),
            Self::TooMuch => Reply::plain(431, "too much mail from your domain, try again later"),
            Self::DestinationUnavailable => {
                Reply::plain(476, "a signet of the destination cannot be had now")
            }
            Self::OtherDestination => Reply::plain(510, "the message is sealed for another domain"),
            Self::TooBusy => Reply::plain(451, "too busy, try again later"),
            Self::Fault => Reply::plain(451, "local error, try again later"),
        }
    }
}

impl Refusal {
    /// The rule of `dmime2.md` that was broken; never for a peer.
    pub fn rule(&self) -> Option<Rule> {
        match self {
            Self::Unverified(refused) => Some(refused.rule()),
            _ => None,
        }
    }
}

impl From<dmime2::Error> for Refusal {
    fn from(error: dmime2::Error) -> Self {
        match error {
            dmime2::Error::TooLarge => Self::TooLarge,
            dmime2::Error::Refused(refused) => Self::Unverified(refused),
            _ => Self::Fault,
        }
    }
}

impl From<abuse::Refused> for Refusal {
    fn from(refused: abuse::Refused) -> Self {
        match refused {
            abuse::Refused::Blocked => Self::Blocked,
            abuse::Refused::TooMuch => Self::TooMuch,
            abuse::Refused::Store(_) => Self::Fault,
        }
    }
}

impl From<store::Error> for Refusal {
    fn from(_: store::Error) -> Self {
        Self::Fault
    }
}

impl From<signet_service::Error> for Refusal {
    fn from(_: signet_service::Error) -> Self {
        Self::Fault
    }
}

impl From<LookupError> for Refusal {
    fn from(error: LookupError) -> Self {
        match error {
            LookupError::Store(_) | LookupError::Published(_) | LookupError::Domains(_) => Self::Fault,
            LookupError::NotDime
            | LookupError::NotFound
            | LookupError::Invalid(_)
            | LookupError::WrongFingerprint
            | LookupError::Name(_)
            | LookupError::Dx(DxError::Permanent { .. }) => Self::SignetInvalid,
            _ => Self::SignetUnavailable,
        }
    }
}

/// Who sent a message, as far as that is proven and may be known here.
struct Sender {
    /// What of the origin's share it has used.
    admission: Admission,
    /// The author's signing key, if the message was opened.
    author: Option<VerifyingKey>,
}

/// One object and what the transaction said about it.
pub struct Arrival<'a> {
    /// What it takes to check it.
    pub services: &'a Services,
    /// Who hands it over.
    pub peer: IpAddr,
    /// The domain that the peer named in MAIL.
    pub origin: &'a Domain,
    /// The signet that the peer named there, if it named one. Unproven like all of MAIL.
    pub origin_signet: Option<AnyFingerprint>,
    /// The domain of ours that the peer named in RCPT.
    pub destination: &'a Domain,
    /// Octets of the object.
    pub size_bytes: u64,
    /// How much of the message the peer wants back, should it fail later.
    pub returning: Option<Return>,
}

impl Arrival<'_> {
    /// Checks, opens and commits. When this returns, the one final reply may be sent.
    ///
    /// Signets are asked for at hosts that the peer's domain names, so all of it together has a deadline, shorter than
    /// a sender waits. Cut off behind the commit, the sender's next try is answered as a copy.
    pub async fn take(&self, object: Box<dyn BodyWriter>) -> Result<QueueId, Refusal> {
        let taken = timeout(DEADLINE, self.take_in_time(object)).await;
        taken.unwrap_or(Err(Refusal::SignetUnavailable))
    }

    async fn take_in_time(&self, mut object: Box<dyn BodyWriter>) -> Result<QueueId, Refusal> {
        let first = object.read_piece(0).await?.unwrap_or_default();
        match first.first_chunk().copied().map(u16::from_be_bytes) {
            Some(dmime2::layout::MAGIC) => self.take_format2(object).await,
            Some(dmime2::returned::MAGIC) => self.take_returned(object).await,
            _ => self.take_format1(object).await,
        }
    }

    /// Leave to ask the origin for its signet, which anybody can make us do; given back once a message verifies. Nothing
    /// is needed for a signet that is at hand.
    async fn inquiry(&self, wanted: Wanted) -> Result<Option<Use<IpAddr>>, Refusal> {
        let services = self.services;
        if services.directory.has_organization(self.origin, wanted).await? {
            return Ok(None);
        }
        let leave = services.inquiries.take(counted_as(self.peer), Instant::now());
        leave.map(Some).ok_or(Refusal::TooManyInquiries)
    }

    /// Whether a message of that many octets is taken from the origin, which has just been proven.
    async fn admit(&self, origin: &VerifiedOrg, octets: u64) -> Result<Admission, Refusal> {
        let gate = &self.services.gate;
        let admitted = gate.admit(self.origin, origin.primary_key(), octets, Instant::now());
        Ok(admitted.await?)
    }

    /// Makes what came of an object durable, with the memory of the object and with what follows if it was sent to a trap.
    async fn keep_once(
        &self,
        writer: Box<dyn BodyWriter>,
        (message, recipient): (NewMessage, &Mailbox),
        entry: ReplayEntry,
        sender: Sender,
    ) -> Result<Committed, Refusal> {
        let trapped = match sender.author {
            Some(author) => self.services.gate.trapped(recipient, self.origin, author).await?,
            None => None,
        };
        let is_trapped = trapped.is_some();
        let committed = match trapped {
            Some(trapped) => writer.commit_trapped(message, entry, trapped).await?,
            None => writer.commit_once(message, entry).await?,
        };
        match committed {
            Committed::Stored if is_trapped => {
                tracing::info!(event = observe::BLOCK_TRAPPED, origin = %self.origin,
                    "somebody wrote to a trap, and the author is blocked");
            }
            Committed::Stored => {}
            Committed::Duplicate | Committed::Conflict => sender.admission.give_back(),
        }
        Ok(committed)
    }

    /// Whose signets mail for that address is sealed for.
    async fn holder_of(&self, address: &Mailbox) -> Result<Option<Mailbox>, Refusal> {
        Ok(self.services.desk.addressee(address).await?)
    }

    /// Who gets mail for that address, with the signet that it was sealed for: the current one, or an earlier one whose
    /// private keys are still here, or one over the same keys.
    async fn recipient(&self, address: &Mailbox, sealed_for: CryptoFingerprint) -> Result<User, Refusal> {
        let holder = self.holder_of(address).await?.ok_or(Refusal::Recipient)?;
        let published = &self.services.published;
        let current = published.user_as(&holder, address, None).await?;
        let current = current.ok_or(Refusal::Recipient)?;
        if current.signet.crypto_fingerprint() == sealed_for {
            return Ok(current);
        }
        let earlier = published
            .user_as(&holder, address, Some(sealed_for.into()))
            .await?;
        let usable = |earlier: &User| {
            earlier.signet.crypto_fingerprint() == sealed_for
                && (earlier.keys.is_some()
                    || earlier.signet.ssr_fingerprint() == current.signet.ssr_fingerprint())
        };
        earlier.filter(usable).ok_or(Refusal::Recipient)
    }

    /// The header of a sealed message on its way to a user who opens it elsewhere.
    fn wrapper(&self, recipient: &Mailbox, now: Timestamp) -> String {
        wrapper::header(&self.services.config.server.hostname, recipient, now)
    }

    /// Our trace field on a message that came this way.
    fn trace(&self, id: QueueId, now: Timestamp) -> String {
        let trace = Received {
            arrival: &Trace::Dmtp {
                origin: self.origin.clone(),
            },
            host: &self.services.config.server.hostname,
            id,
            time: now,
        };
        trace.to_string()
    }
}

/// So many octets are worked on where their session is: handing them to another thread takes as long. An object of that size is in
/// memory as it came.
const SMALL: u64 = 16 << 10;

/// How many octets it comes to if each of an organization's keys has to be tried on all of an object. It decides how many it has.
fn tried(size_bytes: u64, organization: &VerifiedOrg) -> u64 {
    size_bytes.saturating_mul(organization.message_signing_keys().len() as u64)
}

/// Work on so many octets that takes its time, where it keeps nobody else waiting. Each has pieces of a body in memory, so there is
/// not more of it at a time than processors can do.
async fn aside<T: Send + 'static>(
    services: &Services,
    octets: u64,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Refusal> {
    if octets <= SMALL {
        return Ok(blocking::here(work));
    }
    let turn = Arc::clone(&services.checks).acquire_owned().await;
    let turn = turn.map_err(|_| Refusal::Fault)?;
    let work = move || {
        // Kept until the work ends, also when nobody waits for it any more.
        let _turn = turn;
        work()
    };
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| Refusal::Fault)
}

/// Everything that was written, in one piece.
pub async fn whole(object: &mut dyn BodyWriter) -> Result<Vec<u8>, store::Error> {
    let mut octets = Vec::with_capacity(usize::try_from(object.size_bytes()).unwrap_or(0));
    for index in 0.. {
        match object.read_piece(index).await? {
            Some(piece) => octets.extend_from_slice(&piece),
            None => break,
        }
    }
    Ok(octets)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::dime::keys::OrgKeys;
    use crate::dime::signet::{OrgBuilder, Permissions, SecondaryKey, verify_org};

    /// Of format 1 each is tried on signatures over nearly all of it.
    #[test]
    fn a_small_object_is_much_work_if_its_origin_has_many_keys() {
        let keys = OrgKeys::generate(&mut rand::rng());
        let own = keys.signing.verifying_key();
        let domain: Domain = "hermail.test".parse().unwrap();
        let with = |secondary: usize| {
            let key = SecondaryKey {
                permissions: Permissions::MESSAGES,
                key: OrgKeys::generate(&mut rand::rng()).signing.verifying_key(),
            };
            let secondary = vec![key; secondary];
            let builder = OrgBuilder::new(&keys.signing, &keys.encryption.public_key(), &secondary);
            let signet = builder.unwrap().full().unwrap();
            tried(SMALL, &verify_org(&signet, &[own], &domain).unwrap())
        };
        assert_eq!(with(0), SMALL);
        assert_eq!(with(2), 3 * SMALL);
    }

    /// `dmime2.md` §14: one reply for all that is refused before the origin is proven, but for rules P, T1 and T2, which
    /// everybody can check who has the object.
    #[test]
    fn refusals_that_depend_on_secrets_or_signets_get_the_same_octets() {
        let hidden = |rule: &&Rule| !"PT".contains(&rule.name()[..1]) || **rule == Rule::T3;
        let rules = Rule::ALL.iter().filter(hidden);
        let replies: Vec<Reply> = rules
            .map(|rule| Refusal::from(dmime2::Refused::from(*rule)).reply())
            .collect();
        assert!(replies.len() > 20);
        for reply in replies {
            assert_eq!(reply, Reply::plain(554, "the message could not be verified"));
        }
        let older = [Refusal::from(Refused), Refusal::SignetInvalid].map(|refusal| refusal.reply());
        assert_eq!(older[0], older[1]);
    }
}
