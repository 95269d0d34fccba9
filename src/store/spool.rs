//! The spool: messages, their recipients, and the leases under which work on them is done.

use async_trait::async_trait;

use super::Error;
use crate::base::id::{LeaseToken, QueueId, RecipientId};
use crate::base::time::Timestamp;
use crate::mail::address::{Domain, Mailbox, ReversePath};
use crate::mail::reply::EnhancedStatus;

/// Where a message came from. Part of the envelope, so encrypted at rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// An authenticated user of ours.
    Submission(Mailbox),
    /// SMTP from elsewhere.
    Smtp,
    /// DMTP from the origin domain.
    Dmtp(Domain),
    /// Made here: bounces.
    Local,
}

/// What the stored body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// An RFC 5322 message with CRLF line ends.
    Mime,
    /// A complete, origin-signed D/MIME 1 object for one recipient.
    Dmime1,
}

/// What is known of a message beside its recipients and body. Encrypted at rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// Where failures are reported.
    pub reverse_path: ReversePath,
    /// Where it came from.
    pub source: Source,
    /// The client declared SMTPUTF8.
    pub smtputf8: bool,
}

/// A message about to enter the spool. Each recipient becomes one row.
#[derive(Debug, Clone)]
pub struct NewMessage {
    /// Drawn by the caller, who may have written it into a trace field already.
    pub id: QueueId,
    /// Reverse-path and source.
    pub envelope: Envelope,
    /// What the body is.
    pub content: Content,
    /// At least one.
    pub recipients: Vec<Mailbox>,
    /// When it was accepted; the age of the message counts from here.
    pub accepted_at: Timestamp,
    /// When delivery is first tried.
    pub due_at: Timestamp,
}

/// A body given whole, for messages made here: bounces and sealed objects.
#[derive(Debug, Clone)]
pub struct FollowUp {
    /// Envelope and recipients.
    pub message: NewMessage,
    /// The whole body.
    pub body: Vec<u8>,
}

/// Recipients of one message in one domain, leased together.
#[derive(Debug, Clone)]
pub struct Claim {
    /// The message.
    pub message: QueueId,
    /// The right to settle it, until the lease ends.
    pub lease: LeaseToken,
    /// When the lease ends.
    pub leased_until: Timestamp,
    /// Reverse-path and source.
    pub envelope: Envelope,
    /// What the body is.
    pub content: Content,
    /// Octets of the body.
    pub size_bytes: u64,
    /// When the message was accepted.
    pub accepted_at: Timestamp,
    /// The domain all these recipients share.
    pub destination: Domain,
    /// At least one.
    pub recipients: Vec<ClaimedRecipient>,
}

/// One leased recipient.
#[derive(Debug, Clone)]
pub struct ClaimedRecipient {
    /// Names the row.
    pub id: RecipientId,
    /// Where it goes.
    pub forward_path: Mailbox,
    /// Attempts made before this one.
    pub attempts: u32,
    /// Whether a delay has been reported already.
    pub delay_reported: bool,
}

/// What became of one recipient in one attempt.
#[derive(Debug, Clone)]
pub struct Settlement {
    /// The row.
    pub recipient: RecipientId,
    /// Its new state.
    pub state: SettledState,
    /// One line for the history: route and remote reply, cleaned of control characters. Encrypted at rest.
    pub note: String,
}

/// The states an attempt can lead to; all but `Deferred` are final.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SettledState {
    /// In a mailbox of ours.
    Delivered,
    /// Accepted by the next host.
    Relayed,
    /// Replaced by the follow-up messages of the same call (sealed, or an alias's targets).
    Expanded,
    /// Given up. The report to the reverse-path is a follow-up of the same call.
    Failed(EnhancedStatus),
    /// To be tried again.
    Deferred {
        /// When.
        due_at: Timestamp,
        /// Set when a report of the delay is among the follow-ups.
        delay_reported: bool,
    },
}

/// One line of `queue list`.
#[derive(Debug, Clone)]
pub struct QueueEntry {
    /// The message.
    pub message: QueueId,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// Octets of the body.
    pub size_bytes: u64,
    /// What the body is.
    pub content: Content,
    /// Reverse-path, decrypted for the operator.
    pub reverse_path: ReversePath,
    /// Forward-path, decrypted for the operator.
    pub forward_path: Mailbox,
    /// Attempts made.
    pub attempts: u32,
    /// When the next attempt is due.
    pub due_at: Timestamp,
    /// Leased by a runner at this moment.
    pub in_progress: bool,
    /// Note of the last attempt.
    pub last_note: Option<String>,
}

/// Bodies are cut into pieces of at most this many octets, so that a large message costs bounded memory.
pub const PIECE_BYTES: usize = 256 * 1024;

/// A body on its way in. Dropped without [`Spool::commit`] it leaves nothing claimable, and what it had written is
/// swept at the next start.
#[async_trait]
pub trait BodyWriter: Send {
    /// Appends octets.
    async fn write(&mut self, octets: &[u8]) -> Result<(), Error>;
    /// Octets written so far.
    fn size_bytes(&self) -> u64;
    /// Makes message, recipients and body durable, in one transaction. When this returns, the `250` may be sent.
    async fn commit(self: Box<Self>, message: NewMessage) -> Result<(), Error>;
}

/// The queue on disk.
#[async_trait]
pub trait Spool: Send + Sync {
    /// Starts a body for the message `id`.
    async fn begin(&self, id: QueueId) -> Result<Box<dyn BodyWriter>, Error>;

    /// Stores a message with its whole body; as durable as [`BodyWriter::commit`].
    async fn enqueue(&self, message: FollowUp) -> Result<(), Error>;

    /// Leases up to `limit` groups of due recipients until `leased_until`, oldest due first, fair across destinations.
    /// Counts the attempt in the same transaction. Rows whose lease has run out are due again.
    async fn claim(&self, now: Timestamp, leased_until: Timestamp, limit: usize)
    -> Result<Vec<Claim>, Error>;

    /// Piece `index` of a body, from 0; `None` after the last.
    async fn read_piece(&self, message: QueueId, index: u32) -> Result<Option<Vec<u8>>, Error>;

    /// Records what became of claimed recipients and stores what follows from it, in one transaction.
    /// A message whose recipients are all final is erased with its key.
    /// [`Error::LeaseLost`] if another runner may have taken over: then nothing is changed.
    async fn settle(
        &self,
        lease: LeaseToken,
        settlements: Vec<Settlement>,
        follow_ups: Vec<FollowUp>,
    ) -> Result<(), Error>;

    /// When the next recipient becomes due, if any waits.
    async fn next_due(&self) -> Result<Option<Timestamp>, Error>;

    /// Waits until something was enqueued in this process; may wake without cause.
    async fn changed(&self);

    /// What waits, oldest first, at most `limit` entries after `after`.
    async fn list(&self, after: Option<RecipientId>, limit: usize) -> Result<Vec<QueueEntry>, Error>;

    /// Remembers `token` until `until`. `false` if it is remembered already: a replay (`dmime.md` §17 W11).
    async fn remember_once(&self, token: [u8; 32], now: Timestamp, until: Timestamp) -> Result<bool, Error>;
}
