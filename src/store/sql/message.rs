//! A message as rows: sealing it, writing it, and reading the columns that stay in clear.

use super::connection::Connection;
use super::query::query;

use super::{blocks, body, claim, exists, replay};
use crate::base::id::{LeaseToken, RecipientId};
use crate::base::secret::Secret;
use crate::base::time::Timestamp;
use crate::mail::address::Domain;
use crate::store::sealed::{ClearColumns, MasterKey, MessageKey};
use crate::store::{
    Addressee, Claim, ClaimedRecipient, Committed, Content, Error, FollowUp, FollowUpBody, Hold, NewMessage,
    PIECE_BYTES, ReplayEntry, Tenure, Trapped,
};

/// The number of an entry in the history of a recipient that stands before all attempts.
const BEFORE_ATTEMPTS: u32 = 0;

/// A message as its rows will be; sealed before the writer sees it, so that encryption runs on all cores.
pub(super) struct SealedMessage {
    pub(super) id: String,
    wrapped_key: Vec<u8>,
    envelope: Vec<u8>,
    beside: ClearColumns,
    due_at: Timestamp,
    recipients: Vec<SealedRecipient>,
    ticket: Option<Vec<u8>>,
    /// Whether earlier pieces are stored already, and to be adopted.
    in_parts: bool,
    /// Pieces not stored yet, with their numbers.
    pieces: Vec<(u32, Vec<u8>)>,
    pub(super) replay: Option<ReplayEntry>,
    /// Of a sealed message of which no failure is to be told.
    untold: Option<ReplayEntry>,
    /// Who wrote to a trap.
    pub(super) trapped: Option<Trapped>,
    /// Its recipients are held.
    held: Option<SealedHold>,
    /// Its recipients are leased as they come.
    pub(super) lease: Option<Lease>,
}

/// A lease that a message has from the beginning.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lease {
    pub(super) token: LeaseToken,
    pub(super) until: Timestamp,
}

pub(super) struct SealedRecipient {
    id: RecipientId,
    destination: String,
    forward_path: Vec<u8>,
}

/// Why all recipients of a message are held.
struct SealedHold {
    until: Option<Timestamp>,
    /// For each recipient.
    notes: Vec<(RecipientId, Vec<u8>)>,
}

impl SealedMessage {
    /// Seals a message with its body, or with what of it is not stored yet.
    pub(super) fn follow_up(master: &MasterKey, follow_up: &FollowUp) -> Result<Self, Error> {
        let sealed = match &follow_up.body {
            FollowUpBody::Whole(body) => Self::whole(master, &follow_up.message, body),
            FollowUpBody::Spooled(body) => {
                let last = (body.pieces_stored(), body.last_piece());
                Self::seal(master, body.key(), &follow_up.message, body.size_bytes(), last)
            }
        };
        Ok(Self {
            replay: follow_up.replay,
            untold: follow_up
                .replay
                .filter(|_| is_silent(&follow_up.message))
                .map(ReplayEntry::untold),
            ..sealed?
        })
    }

    fn whole(master: &MasterKey, message: &NewMessage, body: &[u8]) -> Result<Self, Error> {
        let key = MessageKey::generate(message.id);
        let mut sealed = Self::seal(master, &key, message, body.len() as u64, (0, &[]))?;
        sealed.pieces = (0..)
            .zip(body.chunks(PIECE_BYTES))
            .map(|(number, piece)| (number, key.seal_piece(number, piece)))
            .collect();
        Ok(sealed)
    }

    /// Seals a message of which only the last piece, with its number, is not stored yet.
    pub(super) fn seal(
        master: &MasterKey,
        key: &MessageKey,
        message: &NewMessage,
        size_bytes: u64,
        (number, piece): (u32, &[u8]),
    ) -> Result<Self, Error> {
        if message.recipients.is_empty() || message.id != key.message() {
            return Err(Error::Missing);
        }
        let beside = ClearColumns {
            content: message.content,
            size_bytes,
            accepted_at: message.accepted_at,
        };
        let last = (!piece.is_empty()).then(|| (number, key.seal_piece(number, piece)));
        Ok(Self {
            id: message.id.to_string(),
            wrapped_key: master.wrap(key),
            envelope: key.seal_envelope(&message.envelope, &beside),
            beside,
            due_at: message.due_at,
            recipients: seal_recipients(key, &message.recipients),
            ticket: message.ticket.as_ref().map(|ticket| key.seal_ticket(ticket)),
            in_parts: number > 0,
            pieces: last.into_iter().collect(),
            replay: None,
            untold: None,
            trapped: None,
            held: None,
            lease: None,
        })
    }
}

impl SealedMessage {
    pub(super) fn is_held(&self) -> bool {
        self.held.is_some()
    }

    /// Leases the message, and says what whoever has the lease is to know. All recipients are of that destination.
    pub(super) fn leased(
        &mut self,
        lease: Lease,
        message: &NewMessage,
        (destination, is_ours): (&Domain, bool),
        tenure: Tenure,
        body: Option<Secret<Vec<u8>>>,
    ) -> Claim {
        self.lease = Some(lease);
        let claimed = |(addressee, sealed): (&Addressee, &SealedRecipient)| ClaimedRecipient {
            id: sealed.id,
            forward_path: addressee.path.clone(),
            request: addressee.request.clone(),
            expanded: addressee.expanded,
            named: addressee.named.clone(),
            attempts: 0,
            delay_reported: false,
            condemned: false,
        };
        Claim {
            message: message.id,
            lease: lease.token,
            leased_until: lease.until,
            tenure,
            envelope: message.envelope.clone(),
            content: message.content,
            size_bytes: self.beside.size_bytes,
            accepted_at: message.accepted_at,
            counted_from: message.accepted_at,
            destination: destination.clone(),
            is_ours,
            recipients: message
                .recipients
                .iter()
                .zip(&self.recipients)
                .map(claimed)
                .collect(),
            body,
        }
    }

    /// Has all recipients held.
    pub(super) fn hold(&mut self, key: &MessageKey, hold: &Hold) {
        let note = |id| (id, key.seal_note(id, BEFORE_ATTEMPTS, &hold.reason));
        self.held = Some(SealedHold {
            until: hold.until,
            notes: self
                .recipients
                .iter()
                .map(|recipient| note(recipient.id))
                .collect(),
        });
    }
}

/// Nobody is to be told if it fails.
fn is_silent(message: &NewMessage) -> bool {
    let is_silent = |addressee: &Addressee| !addressee.request.notify.of_failure();
    message.recipients.iter().all(is_silent)
}

pub(super) fn seal_recipients(key: &MessageKey, recipients: &[Addressee]) -> Vec<SealedRecipient> {
    let seal = |addressee| {
        let id = RecipientId::random(&mut rand::rng());
        (id, key.seal_addressee(id, addressee))
    };
    recipients
        .iter()
        .map(|addressee| (addressee, seal(addressee)))
        .map(|(addressee, (id, forward_path))| SealedRecipient {
            id,
            destination: addressee.path.domain().to_string(),
            forward_path,
        })
        .collect()
}

/// Writes all rows of a message, unless what it came of was taken before. [`Error::Exists`] if its id is taken.
pub(super) async fn store_message(
    db: &mut Connection,
    now: Timestamp,
    message: &SealedMessage,
) -> Result<Committed, Error> {
    let remembered = match message.replay {
        Some(entry) => replay::remember(db, entry, now).await?,
        None => Committed::Stored,
    };
    if remembered == Committed::Stored {
        if message.in_parts {
            body::adopt_pieces(db, &message.id).await?;
        }
        insert_message(db, message).await?;
        if let Some(untold) = message.untold {
            replay::remember(db, untold, now).await?;
        }
        if let Some(trapped) = &message.trapped {
            blocks::spring(db, trapped, now).await?;
        }
    }
    Ok(remembered)
}

async fn insert_message(db: &mut Connection, message: &SealedMessage) -> Result<(), Error> {
    query(
        "INSERT INTO messages (id, wrapped_key, envelope, content, size_bytes, accepted_at) \
         VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(&message.id)
    .bind(&message.wrapped_key)
    .bind(&message.envelope)
    .bind(content_number(message.beside.content))
    .bind(i64::try_from(message.beside.size_bytes).unwrap_or(i64::MAX))
    .bind(message.beside.accepted_at.0)
    .execute(&mut *db)
    .await
    .map_err(exists)?;
    for (number, sealed) in &message.pieces {
        insert_piece(db, &message.id, *number, sealed).await?;
    }
    if let Some(ticket) = &message.ticket {
        query("INSERT INTO tickets (message, sealed) VALUES ($1, $2)")
            .bind(&message.id)
            .bind(ticket)
            .execute(&mut *db)
            .await?;
    }
    let turn = match (&message.held, message.lease) {
        (Some(_), _) => Turn::Held,
        (None, Some(lease)) => Turn::Leased(lease),
        (None, None) => Turn::At(message.due_at),
    };
    insert_recipients(db, &message.id, &message.recipients, turn).await?;
    match &message.held {
        Some(held) => insert_hold(db, message, held).await,
        None => Ok(()),
    }
}

/// When it is the turn of new recipients.
#[derive(Debug, Clone, Copy)]
pub(super) enum Turn {
    At(Timestamp),
    Held,
    /// It is now: somebody has them, and the attempt is counted.
    Leased(Lease),
}

/// Adds recipients to a message.
pub(super) async fn insert_recipients(
    db: &mut Connection,
    message: &str,
    recipients: &[SealedRecipient],
    turn: Turn,
) -> Result<(), Error> {
    let (due_at, lease) = match turn {
        Turn::At(due_at) => (Some(due_at), None),
        Turn::Held => (None, None),
        Turn::Leased(lease) => (Some(lease.until), Some(lease)),
    };
    let mut destinations: Vec<&str> = Vec::new();
    for recipient in recipients {
        query(
            "INSERT INTO recipients \
             (id, message, destination, forward_path, due_at, state, lease, leased_until, attempts) \
             VALUES ($1, $2, $3, $4, $5, CASE WHEN $5 IS NULL THEN 'held' ELSE 'waiting' END, $6, $7, $8)",
        )
        .bind(recipient.id.to_string())
        .bind(message)
        .bind(&recipient.destination)
        .bind(&recipient.forward_path)
        .bind(due_at.map(|due_at| due_at.0))
        .bind(lease.map(|lease| lease.token.to_string()))
        .bind(lease.map(|lease| lease.until.0))
        .bind(i64::from(lease.is_some()))
        .execute(&mut *db)
        .await?;
        destinations.push(&recipient.destination);
    }
    destinations.sort_unstable();
    destinations.dedup();
    for destination in destinations {
        if let Some(due_at) = due_at {
            claim::bring_lane_forward(db, destination, due_at).await?;
        }
    }
    Ok(())
}

/// Why the recipients of a new message are held, and until when.
async fn insert_hold(db: &mut Connection, message: &SealedMessage, held: &SealedHold) -> Result<(), Error> {
    query("UPDATE recipients SET held_until = $1 WHERE message = $2")
        .bind(held.until.map(|until| until.0))
        .bind(&message.id)
        .execute(&mut *db)
        .await?;
    for (recipient, note) in &held.notes {
        query("INSERT INTO attempts (recipient, number, ended_at, note) VALUES ($1, $2, $3, $4)")
            .bind(recipient.to_string())
            .bind(BEFORE_ATTEMPTS)
            .bind(message.beside.accepted_at.0)
            .bind(note)
            .execute(&mut *db)
            .await?;
    }
    Ok(())
}

/// Writes one piece.
pub(super) async fn insert_piece(
    db: &mut Connection,
    message: &str,
    number: u32,
    sealed: &[u8],
) -> Result<(), Error> {
    query("INSERT INTO pieces (message, number, sealed) VALUES ($1, $2, $3)")
        .bind(message)
        .bind(number)
        .bind(sealed)
        .execute(db)
        .await
        .map_err(exists)?;
    Ok(())
}

/// Number of pieces of a body of that size.
pub(super) fn pieces_in(size_bytes: i64) -> i64 {
    size_bytes.unsigned_abs().div_ceil(PIECE_BYTES as u64) as i64
}

/// How a kind of content is stored.
fn content_number(content: Content) -> i64 {
    match content {
        Content::Mime => 1,
        Content::Dmime1 => 2,
        Content::Dmime2 => 3,
        Content::Returned => 4,
    }
}

/// Reads the stored kind back.
pub(super) fn content_from(number: i64) -> Result<Content, Error> {
    match number {
        1 => Ok(Content::Mime),
        2 => Ok(Content::Dmime1),
        3 => Ok(Content::Dmime2),
        4 => Ok(Content::Returned),
        _ => Err(Error::Unreadable("content")),
    }
}

/// The columns of a message that stay in clear, as read.
pub(super) fn clear_columns(content: i64, size_bytes: i64, accepted_at: i64) -> Result<ClearColumns, Error> {
    Ok(ClearColumns {
        content: content_from(content)?,
        size_bytes: u64::try_from(size_bytes).map_err(|_| Error::Unreadable("size"))?,
        accepted_at: Timestamp(accepted_at),
    })
}
