//! The spool: messages, their recipients, and the leases under which work on them is done.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::{BodyWriter, Desk, Error, FollowUpBody, ReplayEntry, Tenure};
use crate::base::id::{LeaseToken, QueueId, RecipientId};
use crate::base::secret::Secret;
use crate::base::time::Timestamp;
use crate::mail::address::{Domain, Mailbox, ReversePath};
use crate::mail::demand::Demand;
use crate::mail::notify::{MessageRequest, RecipientRequest};
use crate::mail::reply::EnhancedStatus;

/// Where a message came from. Part of the envelope, so encrypted at rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// An authenticated user of ours.
    Submission(Mailbox),
    /// A host of ours that need not log in, in the name of nobody who has an account; the domain of ours that From names.
    Trusted(Option<Domain>),
    /// SMTP from elsewhere.
    Smtp,
    /// DMTP from the origin domain.
    Dmtp(Domain),
    /// Made here: bounces.
    Local,
    /// Made here in the name of a domain of ours: returned messages (`dmime2.md` §12).
    Domain(Domain),
}

/// What the stored body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// An RFC 5322 message with CRLF line ends.
    Mime,
    /// A complete, origin-signed D/MIME 1 object for one recipient.
    Dmime1,
    /// A complete, origin-signed D/MIME 2 object for one recipient.
    Dmime2,
    /// A returned message, signed by the destination, for the origin (`dmime2.md` §12).
    Returned,
}

/// One who is to get a message, as far as this host may know.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Recipient {
    /// A mailbox.
    Mailbox(Mailbox),
    /// Somebody at this domain, named inside the sealed message alone.
    Sealed(Domain),
}

impl Recipient {
    /// Where the message goes.
    pub fn domain(&self) -> &Domain {
        match self {
            Self::Mailbox(mailbox) => mailbox.domain(),
            Self::Sealed(domain) => domain,
        }
    }

    /// The mailbox, if it is known.
    pub fn mailbox(&self) -> Option<&Mailbox> {
        match self {
            Self::Mailbox(mailbox) => Some(mailbox),
            Self::Sealed(_) => None,
        }
    }

    /// Reads the form that `Display` gives.
    pub fn parse(text: &str) -> Option<Self> {
        match text.strip_prefix('@') {
            Some(domain) => Domain::parse(domain).ok().map(Self::Sealed),
            None => Mailbox::parse(text).ok().map(Self::Mailbox),
        }
    }
}

impl From<Mailbox> for Recipient {
    fn from(mailbox: Mailbox) -> Self {
        Self::Mailbox(mailbox)
    }
}

/// The mailbox, or `@domain`.
impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mailbox(mailbox) => mailbox.fmt(f),
            Self::Sealed(domain) => write!(f, "@{domain}"),
        }
    }
}

/// A recipient of a message about to enter the spool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addressee {
    /// Who.
    pub path: Recipient,
    /// What the sender wants to be told of this one. For a sealed message it names nobody.
    pub request: RecipientRequest,
    /// The address stands for others, who are addressees of their own: nothing is delivered for it, and all that is left to
    /// do is to say so (RFC 3461 §5.2.7.2).
    pub expanded: bool,
    /// The address by which this one was named, if it is another: an alias, or one with a detail.
    pub named: Option<Mailbox>,
}

impl Addressee {
    /// With what the sender asks for.
    pub fn new(path: impl Into<Recipient>, request: RecipientRequest) -> Self {
        Self {
            path: path.into(),
            request,
            expanded: false,
            named: None,
        }
    }
}

/// Somebody of whom nothing in particular is to be told.
impl<R: Into<Recipient>> From<R> for Addressee {
    fn from(path: R) -> Self {
        Self::new(path, RecipientRequest::default())
    }
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
    /// The body has octets above 127.
    pub eight_bit: bool,
    /// What the author demands of the way.
    pub demand: Demand,
    /// How often it was sealed again because its recipient had new keys; at most [`MAX_RESEALED`].
    pub resealed: u8,
    /// How long it took to come in by SMTP, in milliseconds, from MAIL on; 0 for whatever came or was made otherwise.
    pub received_in_ms: u32,
    /// What the sender wants to be told.
    pub request: MessageRequest,
}

/// How often a message is sealed again before its failure stands.
pub const MAX_RESEALED: u8 = 3;

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
    pub recipients: Vec<Addressee>,
    /// When it was accepted; the age of the message counts from here.
    pub accepted_at: Timestamp,
    /// When delivery is first tried.
    pub due_at: Timestamp,
    /// What it takes to return it, kept beside it and encrypted like it: see [`Spool::ticket`].
    pub ticket: Option<Vec<u8>>,
}

/// A message made here, with its body: bounces and sealed objects.
#[derive(Debug, Clone)]
pub struct FollowUp {
    /// Envelope and recipients.
    pub message: NewMessage,
    /// The body; cheap to clone, for another try.
    pub body: FollowUpBody,
    /// Remembered with it. If it is remembered already with this digest, the message is left out.
    pub replay: Option<ReplayEntry>,
}

impl FollowUp {
    /// A message that nothing need be remembered of.
    pub fn new(message: NewMessage, body: impl Into<FollowUpBody>) -> Self {
        Self {
            message,
            body: body.into(),
            replay: None,
        }
    }
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
    /// Whether it may still be counted on before that.
    pub tenure: Tenure,
    /// Reverse-path and source.
    pub envelope: Envelope,
    /// What the body is.
    pub content: Content,
    /// Octets of the body.
    pub size_bytes: u64,
    /// When the message was accepted.
    pub accepted_at: Timestamp,
    /// From when on it is counted how long the message is tried: since then, or since it was released last.
    pub counted_from: Timestamp,
    /// The domain all these recipients share.
    pub destination: Domain,
    /// Whether that is one of ours.
    pub is_ours: bool,
    /// At least one.
    pub recipients: Vec<ClaimedRecipient>,
    /// The body, if it is a small one: then nobody has to ask for it.
    pub body: Option<Secret<Vec<u8>>>,
}

/// What there was to be leased.
#[derive(Debug, Default)]
pub struct Claimed {
    /// The groups.
    pub claims: Vec<Claim>,
    /// Whether more is due, for which there was no room, or that was beyond the limit.
    pub has_more: bool,
    /// When the next recipient becomes due or a lease ends in a destination that there is room for, if any waits.
    pub next_due: Option<Timestamp>,
}

/// One leased recipient.
#[derive(Debug, Clone)]
pub struct ClaimedRecipient {
    /// Names the row.
    pub id: RecipientId,
    /// Where it goes.
    pub forward_path: Recipient,
    /// What the sender wants to be told.
    pub request: RecipientRequest,
    /// See [`Addressee::expanded`].
    pub expanded: bool,
    /// See [`Addressee::named`].
    pub named: Option<Mailbox>,
    /// Attempts made before this one.
    pub attempts: u32,
    /// Whether a delay has been reported already.
    pub delay_reported: bool,
    /// An operator wants it failed, not tried: see [`Spool::condemn`].
    pub condemned: bool,
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
    /// Recipients of the same message that take the place of an expanded one: due at once, or held if it is.
    pub instead: Vec<Addressee>,
}

/// The states an attempt can lead to; all but `Deferred` and `Postponed` are final.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SettledState {
    /// In a mailbox of ours.
    Delivered,
    /// Accepted by the next host.
    Relayed,
    /// Replaced by other recipients ([`Settlement::instead`]) or follow-up messages of the same call (sealed, or elsewhere).
    Expanded,
    /// Given up. The report to the reverse-path is a follow-up of the same call.
    Failed(EnhancedStatus),
    /// Nothing was tried, and it does not count as an attempt.
    Postponed {
        /// When it is due again.
        due_at: Timestamp,
    },
    /// To be tried again.
    Deferred {
        /// When.
        due_at: Timestamp,
        /// Set when a report of the delay is among the follow-ups.
        delay_reported: bool,
    },
}

/// By how much new mail is due before it comes, at most: then it comes before what is due when it comes.
pub const AHEAD: Duration = Duration::from_secs(120);

impl SettledState {
    /// Whether there may be something to be tried afterwards.
    pub fn leaves_work(self) -> bool {
        match self {
            Self::Expanded | Self::Postponed { .. } | Self::Deferred { .. } => true,
            Self::Delivered | Self::Relayed | Self::Failed(_) => false,
        }
    }
}

/// Place of a recipient in the order of [`Spool::list`]; stays valid when the recipient is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct QueuePosition(pub i64);

/// Whether a listed recipient takes part in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueueState {
    /// It is tried when due.
    Waiting,
    /// An operator holds it back.
    Held,
    /// It was set aside because it cannot be read.
    Quarantined,
}

/// One line of `queue list`.
#[derive(Debug, Clone)]
pub struct QueueEntry {
    /// To list on from here.
    pub position: QueuePosition,
    /// The message.
    pub message: QueueId,
    /// The recipient.
    pub recipient: RecipientId,
    /// Waiting or held.
    pub state: QueueState,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// Octets of the body.
    pub size_bytes: u64,
    /// What the body is.
    pub content: Content,
    /// Reverse-path, decrypted for the operator.
    pub reverse_path: ReversePath,
    /// Forward-path, decrypted for the operator.
    pub forward_path: Recipient,
    /// Attempts made.
    pub attempts: u32,
    /// When the next attempt is due; while in progress, when the lease ends; `None` when held.
    pub due_at: Option<Timestamp>,
    /// When it is deleted, if it was held as it came and nobody decides by then.
    pub held_until: Option<Timestamp>,
    /// Leased by a runner at this moment.
    pub in_progress: bool,
    /// Note of the last attempt, or why it was held when it came.
    pub last_note: Option<String>,
}

/// A recipient whose row or body could not be read; see [`Spool::quarantined`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuarantinedEntry {
    /// The message.
    pub message: QueueId,
    /// The recipient.
    pub recipient: RecipientId,
    /// Its domain.
    pub destination: Domain,
    /// What could not be read.
    pub reason: String,
}

/// One attempt in the history of a recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptEntry {
    /// Counted from 1; 0 for why it was held when it came.
    pub number: u32,
    /// When it was settled.
    pub ended_at: Timestamp,
    /// What happened.
    pub note: String,
}

/// What a queue operation applies to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// All recipients of one message.
    Message(QueueId),
    /// One recipient.
    Recipient(RecipientId),
    /// All recipients in one domain.
    Destination(Domain),
    /// The recipients at these places.
    Rows(Vec<QueuePosition>),
    /// Everything.
    All,
}

/// What a queue operation was done to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Changed {
    /// Recipients.
    pub recipients: u64,
    /// Those of them for which an attempt was under way, which it does not stop.
    pub being_tried: u64,
}

impl std::ops::AddAssign for Changed {
    fn add_assign(&mut self, other: Self) {
        self.recipients += other.recipients;
        self.being_tried += other.being_tried;
    }
}

/// How many more groups may be claimed for each destination, and of each kind of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rooms {
    /// For these.
    pub of: HashMap<Domain, usize>,
    /// For each of the others.
    pub others: usize,
    /// Destinations with one next hop in common, by its place in `hops`.
    pub behind: HashMap<Domain, usize>,
    /// For all those behind each of these next hops together.
    pub hops: Vec<usize>,
    /// For all domains of ours together.
    pub ours: usize,
    /// For all domains of others together.
    pub elsewhere: usize,
    /// Domains of others that have been reached lately.
    pub reached: HashSet<Domain>,
    /// For all the other ones of others together.
    pub unproven: usize,
}

impl Rooms {
    /// As many as there are.
    pub fn unbounded() -> Self {
        Self {
            of: HashMap::new(),
            others: usize::MAX,
            behind: HashMap::new(),
            hops: Vec::new(),
            ours: usize::MAX,
            elsewhere: usize::MAX,
            reached: HashSet::new(),
            unproven: usize::MAX,
        }
    }

    /// For that destination.
    pub fn of(&self, destination: &Domain) -> usize {
        let own = self.of.get(destination).copied().unwrap_or(self.others);
        let hop = self.behind.get(destination).and_then(|hop| self.hops.get(*hop));
        own.min(hop.copied().unwrap_or(usize::MAX))
    }

    /// For all destinations of one kind.
    pub fn of_kind(&self, is_ours: bool) -> usize {
        match is_ours {
            true => self.ours,
            false => self.elsewhere,
        }
    }

    /// For that destination, and all that share room with it.
    pub fn among(&self, destination: &Domain, is_ours: bool) -> usize {
        let room = self.of(destination).min(self.of_kind(is_ours));
        match is_ours || self.reached.contains(destination) {
            true => room,
            false => room.min(self.unproven),
        }
    }

    /// Whether of others only those who were reached lately may have any.
    pub fn only_reached(&self) -> bool {
        self.unproven == 0
    }

    /// Those who were reached lately and may have some.
    pub fn open_and_reached(&self) -> impl Iterator<Item = &Domain> {
        let is_open = |destination: &&Domain| self.of(destination) > 0;
        self.reached.iter().filter(is_open)
    }

    /// Some groups are claimed for a destination.
    pub fn take(&mut self, destination: &Domain, groups: usize) {
        let own = self.of.get(destination).copied().unwrap_or(self.others);
        self.of.insert(destination.clone(), own.saturating_sub(groups));
        if let Some(hop) = self.behind.get(destination)
            && let Some(room) = self.hops.get_mut(*hop)
        {
            *room = room.saturating_sub(groups);
        }
    }

    /// And for its kind.
    pub fn take_of_kind(&mut self, destination: &Domain, is_ours: bool, groups: usize) {
        if is_ours {
            self.ours = self.ours.saturating_sub(groups);
            return;
        }
        self.elsewhere = self.elsewhere.saturating_sub(groups);
        if !self.reached.contains(destination) {
            self.unproven = self.unproven.saturating_sub(groups);
        }
    }

    /// Destinations for which there is none.
    pub fn closed(&self) -> impl Iterator<Item = &Domain> {
        let alone = self.of.keys().filter(|name| !self.behind.contains_key(*name));
        alone
            .chain(self.behind.keys())
            .filter(|destination| self.of(destination) == 0)
    }
}

/// The queue on disk.
#[async_trait]
pub trait Spool: Send + Sync {
    /// Starts a body for the message `id`.
    async fn begin(&self, id: QueueId) -> Result<Box<dyn BodyWriter>, Error>;

    /// Stores a message with its body; as durable as [`BodyWriter::commit`].
    /// [`Error::Conflict`] as for [`settle`](Self::settle).
    async fn enqueue(&self, message: FollowUp) -> Result<(), Error>;

    /// Leases up to `limit` groups of due recipients until `leased_until`, oldest due first, fair across destinations.
    /// Counts the attempt in the same transaction. Rows whose lease has run out are due again.
    async fn claim(
        &self,
        now: Timestamp,
        leased_until: Timestamp,
        limit: usize,
    ) -> Result<Vec<Claim>, Error> {
        let claimed = self.claim_within(now, leased_until, limit, Rooms::unbounded());
        Ok(claimed.await?.claims)
    }

    /// The same, for each destination, and each kind of them, no more than there is room for.
    async fn claim_within(
        &self,
        now: Timestamp,
        leased_until: Timestamp,
        limit: usize,
        rooms: Rooms,
    ) -> Result<Claimed, Error>;

    /// Has what is accepted from now on offered to a desk, as it comes, and no longer to another one. Where several nodes share a
    /// database nothing is offered: who works on what is decided there alone.
    fn set_desk(&self, desk: Option<Arc<dyn Desk>>);

    /// Piece `index` of a body, from 0; `None` after the last.
    async fn read_piece(&self, message: QueueId, index: u32) -> Result<Option<Vec<u8>>, Error>;

    /// What was kept beside a message to return it with, if anything was.
    async fn ticket(&self, message: QueueId) -> Result<Option<Vec<u8>>, Error>;

    /// Whether an entry is remembered, whatever its digest.
    async fn remembers(&self, entry: ReplayEntry) -> Result<bool, Error>;

    /// Records what became of claimed recipients and stores what follows from it, in one transaction.
    /// A message whose recipients are all final is erased with its key.
    /// Nothing is changed in case of [`Error::LeaseLost`]: another runner may have taken over; and of
    /// [`Error::Conflict`]: the entry of a follow-up is remembered with another digest.
    async fn settle(
        &self,
        lease: LeaseToken,
        settlements: Vec<Settlement>,
        follow_ups: Vec<FollowUp>,
    ) -> Result<(), Error>;

    /// Ends a lease without an attempt: its recipients are due at `now` again and the attempt is not counted.
    async fn give_back(&self, lease: LeaseToken, now: Timestamp) -> Result<(), Error>;

    /// Sets claimed recipients aside because their message cannot be read; [`release`](Self::release) brings them back.
    /// The reason is a fixed phrase: it is logged, and kept in clear.
    /// [`Error::LeaseLost`] as for [`settle`](Self::settle).
    async fn quarantine(&self, lease: LeaseToken, reason: &str) -> Result<(), Error>;

    /// When the next recipient becomes due or a lease ends, if any waits.
    async fn next_due(&self) -> Result<Option<Timestamp>, Error>;

    /// Waits until something was enqueued in this process; may wake without cause. For one waiter: a change that
    /// nobody waits for is kept for the next call.
    async fn changed(&self);

    /// What waits, oldest first, at most `limit` entries after `after`. Entries that cannot be read are left out.
    async fn list(&self, after: Option<QueuePosition>, limit: usize) -> Result<Vec<QueueEntry>, Error>;

    /// Those of one message, in the same form and order.
    async fn entries(&self, message: QueueId) -> Result<Vec<QueueEntry>, Error>;

    /// What was set aside, oldest first, at most `limit` entries.
    async fn quarantined(&self, limit: usize) -> Result<Vec<QuarantinedEntry>, Error>;

    /// The attempts of a recipient, the last 50, oldest first; empty when it has left the queue.
    async fn attempts(&self, recipient: RecipientId) -> Result<Vec<AttemptEntry>, Error>;

    /// Keeps waiting recipients from being claimed until they are released, and those that were held as they came from being
    /// deleted. An attempt under way at `now` is not stopped.
    async fn hold(&self, selection: Selection, now: Timestamp) -> Result<Changed, Error>;

    /// Makes held and quarantined recipients due at `now`, from when on it is counted how long their messages are tried. Returns
    /// how many.
    async fn release(&self, selection: Selection, now: Timestamp) -> Result<u64, Error>;

    /// Makes waiting recipients that no attempt is under way for due at `now` at the latest. Returns how many.
    async fn retry(&self, selection: Selection, now: Timestamp) -> Result<u64, Error>;

    /// Makes recipients that wait for longer than `longest` from `now` on due at `now`: a clock that was ahead, and is right again, has
    /// measured that. What is leased stays so. Returns how many.
    async fn bring_forward(&self, longest: Duration, now: Timestamp) -> Result<u64, Error>;

    /// Removes up to `limit` recipients that were held as they came and whose time was over at `now`, as
    /// [`delete`](Self::delete) does. Returns how many.
    async fn expire_held(&self, now: Timestamp, limit: usize) -> Result<u64, Error>;

    /// Removes recipients without a report, and messages left without unfinished recipients. An attempt under way at `now` is
    /// settled for the recipients that are left; if there are none, it finds its lease lost.
    async fn delete(&self, selection: Selection, now: Timestamp) -> Result<Changed, Error>;

    /// Has waiting and held recipients failed by the next attempt, with a report, and not tried: at once, or after the attempt
    /// under way at `now`, if that does not settle them.
    async fn condemn(&self, selection: Selection, now: Timestamp) -> Result<Changed, Error>;
}
