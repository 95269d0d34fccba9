//! A message on its way from an SMTP session into the spool: repaired if one of our users submits it, cleaned, and
//! given its trace field.

use rand::RngExt;

use crate::authentication::{Examination, Summary};
use crate::base::id::QueueId;
use crate::base::time::Timestamp;
use crate::dime::convert::{self, MAX_HEADER_BLOCK, clean::EntryCleaner};
use crate::mail::address::{Domain, Mailbox};
use crate::mail::date::rfc5322;
use crate::mail::demand::{self, Demand};
use crate::mail::headers::{self, Collector, Gathered};
use crate::mail::local::{self, Author};
use crate::mail::mailboxes::{Unreadable, originators};
use crate::mail::repair::{self, Supplied};
use crate::mail::trace;
use crate::store::blocking::{Reader, store_error};
use crate::store::{self, BodyWriter, Store};

/// Octets of a header block at most; with our own fields it stays below what can be mapped.
pub const MAX_HEADER: usize = MAX_HEADER_BLOCK / 2;

/// `Received` fields from which on a message is taken to go in circles (RFC 5321 §6.3 asks for at least 100).
const MAX_HOPS: usize = 100;

/// Why a message is not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The header block is too long.
    #[error("the header block is too long")]
    HeaderTooLong,
    /// It has passed too many hosts.
    #[error("the message has passed too many hosts")]
    TooManyHops,
    /// The header block of a submitted message cannot be repaired.
    #[error(transparent)]
    Header(#[from] repair::Error),
    /// It is for a DIME domain and cannot be mapped to the format.
    #[error(transparent)]
    Unsealable(convert::Error),
    /// Its author demands something that cannot be understood.
    #[error(transparent)]
    Demand(#[from] demand::Error),
    /// Whether it can be sealed could not be found out.
    #[error("the check whether the message can be sealed was interrupted")]
    Interrupted,
}

/// Whether a message of one of our users would be taken, as far as its front shows: the header block, and whatever came with
/// it. The block has `most` octets at most, before and after it is repaired.
pub fn demand_submittable(front: &[u8], most: usize) -> Result<(), Failure> {
    let nothing = Supplied {
        date: "",
        message_id: "",
    };
    let is_too_long = |front: &[u8]| Collector::new(most).push(front) == Gathered::TooLong;
    if is_too_long(front) {
        return Err(Failure::HeaderTooLong);
    }
    let repaired = repair::repair(front, &nothing)?;
    if is_too_long(&repaired) {
        return Err(Failure::HeaderTooLong);
    }
    demand::forbids_smtp(&repaired)?;
    match headers::count(&repaired, "Received") >= MAX_HOPS {
        true => Err(Failure::TooManyHops),
        false => Ok(()),
    }
}

/// One message coming in.
pub struct Intake {
    id: QueueId,
    writer: Box<dyn BodyWriter>,
    /// Our trace field, until the header block is written.
    trace: String,
    /// Of mail from other hosts.
    examination: Option<Examination>,
    cleaner: EntryCleaner,
    /// The header block of a submitted message as it came, until it is complete.
    raw: Option<Collector>,
    /// The cleaned header block, until it is complete.
    header: Option<Collector>,
    completion: Option<Completion>,
    /// Whether it must be one that D/MIME can carry.
    to_be_sealed: bool,
    /// Whether MAIL said REQUIRETLS.
    require_tls: bool,
    demand: Demand,
    originators: Option<Result<Vec<Mailbox>, Unreadable>>,
    deliveries: Vec<Mailbox>,
    eight_bit: bool,
    failure: Option<Failure>,
}

/// What a submission server adds to a message that lacks it (RFC 6409 §8).
pub struct Completion {
    /// The domain of a new Message-ID.
    pub domain: Domain,
    /// The time of a new Date.
    pub now: Timestamp,
    /// Of mail of hosts that need not log in.
    pub names: Option<Names>,
}

/// What a message means that is written as programs of this host write it.
pub struct Names {
    /// The author, if it names none.
    pub author: Mailbox,
    /// The domain of names without one.
    pub origin: Domain,
}

/// A message that has come in whole.
pub struct Complete {
    /// To be committed.
    pub writer: Box<dyn BodyWriter>,
    /// It has octets above 127.
    pub eight_bit: bool,
    /// What its author demands of the way.
    pub demand: Demand,
    /// What its examination brought.
    pub examined: Option<Summary>,
    /// Whom it names as authors and sender, if one of our users submits it.
    pub originators: Option<Result<Vec<Mailbox>, Unreadable>>,
    /// The mailboxes that it has been in before.
    pub deliveries: Vec<Mailbox>,
}

impl Intake {
    /// Starts a message with our trace field. With `completion` one of our users submits it: it is repaired.
    pub async fn begin(
        store: &dyn Store,
        id: QueueId,
        server: &Domain,
        trace: &str,
        completion: Option<Completion>,
    ) -> Result<Self, store::Error> {
        Ok(Self {
            id,
            writer: store.begin(id).await?,
            trace: trace.to_owned(),
            examination: None,
            cleaner: EntryCleaner::new(server.as_str()),
            raw: completion.is_some().then(|| Collector::new(MAX_HEADER)),
            header: Some(Collector::new(MAX_HEADER)),
            completion,
            to_be_sealed: false,
            require_tls: false,
            demand: Demand::default(),
            originators: None,
            deliveries: Vec::new(),
            eight_bit: false,
            failure: None,
        })
    }

    /// The message is examined while it comes in.
    pub fn examine(&mut self, examination: Examination) {
        self.examination = Some(examination);
    }

    /// Refuses the message at its end unless it can be mapped to D/MIME 2. Whether a peer takes format 1 alone, whose
    /// chunks hold less, is known when the message is sealed.
    pub fn demand_sealable(&mut self) {
        self.to_be_sealed = true;
    }

    /// MAIL said REQUIRETLS.
    pub fn require_tls(&mut self) {
        self.require_tls = true;
    }

    /// The id under which the message will be stored.
    pub fn id(&self) -> QueueId {
        self.id
    }

    /// Takes the next piece. Failures are kept for the end: the client sends on until then.
    pub async fn push(&mut self, piece: &[u8]) {
        if self.failure.is_none() {
            self.eight_bit |= !piece.is_ascii();
            // Signatures are over what came, not over what cleaning leaves.
            if let Some(examination) = &mut self.examination {
                examination.push(piece);
            }
            self.failure = self.take(piece).await.err();
        }
    }

    /// The message is complete.
    pub async fn finish(mut self) -> Result<Complete, Failure> {
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        if let Some(raw) = self.raw.take() {
            self.take_front(raw).await?;
        }
        let rest = std::mem::replace(&mut self.cleaner, EntryCleaner::new("")).finish();
        self.take_cleaned(&rest).await?;
        if let Some(header) = self.header.take() {
            self.write_front(header).await?;
        }
        let examined = self.conclude_examination().await?;
        let writer = match self.to_be_sealed {
            true => check(self.writer).await?,
            false => self.writer,
        };
        Ok(Complete {
            writer,
            eight_bit: self.eight_bit,
            demand: self.demand,
            examined,
            originators: self.originators,
            deliveries: self.deliveries,
        })
    }

    /// The body is known now: the fields of results stand first, and are as long as before.
    async fn conclude_examination(&mut self) -> Result<Option<Summary>, Failure> {
        let Some((fields, summary)) = self.examination.take().and_then(Examination::conclude) else {
            return Ok(None);
        };
        self.writer.overwrite(0, &fields).await?;
        Ok(Some(summary))
    }

    /// Takes octets as they come.
    async fn take(&mut self, octets: &[u8]) -> Result<(), Failure> {
        match gather(&mut self.raw, octets)? {
            Front::None => {
                let cleaned = self.cleaner.push(octets);
                self.take_cleaned(&cleaned).await
            }
            Front::Incomplete => Ok(()),
            Front::Complete(raw) => self.take_front(raw).await,
        }
    }

    /// Repairs the front of a submitted message and takes it. What it says in fields that cleaning removes is heard first.
    async fn take_front(&mut self, raw: Collector) -> Result<(), Failure> {
        let front = match &self.completion {
            Some(completion) => completion.repair(&raw.finish())?,
            None => raw.finish(),
        };
        self.originators = Some(originators(&front));
        self.demand.dime = demand::forbids_smtp(&front)?;
        let cleaned = self.cleaner.push(&front);
        self.take_cleaned(&cleaned).await
    }

    async fn take_cleaned(&mut self, octets: &[u8]) -> Result<(), Failure> {
        match gather(&mut self.header, octets)? {
            Front::None => Ok(self.writer.write(octets).await?),
            Front::Incomplete => Ok(()),
            Front::Complete(header) => self.write_front(header).await,
        }
    }

    /// Writes the header block and whatever came with it.
    async fn write_front(&mut self, header: Collector) -> Result<(), Failure> {
        let front = header.finish();
        if headers::count(&front, "Received") >= MAX_HOPS {
            return Err(Failure::TooManyHops);
        }
        self.deliveries = trace::deliveries(&front).collect();
        if let Some(examination) = &mut self.examination {
            let fields = examination.fields().await;
            self.writer.write(&fields).await?;
        }
        self.writer.write(self.trace.as_bytes()).await?;
        // A fold that continues no field would continue our trace field. What starts with one has no header.
        if front.starts_with(b" ") || front.starts_with(b"\t") {
            self.writer.write(b"\r\n").await?;
        }
        self.demand.tls = demand::tls(&front, self.require_tls);
        Ok(self.writer.write(&front).await?)
    }
}

/// What a collector says to more octets.
enum Front {
    /// The header block is past.
    None,
    Incomplete,
    /// With these octets.
    Complete(Collector),
}

fn gather(collector: &mut Option<Collector>, octets: &[u8]) -> Result<Front, Failure> {
    let Some(open) = collector else {
        return Ok(Front::None);
    };
    match open.push(octets) {
        Gathered::Incomplete => Ok(Front::Incomplete),
        Gathered::TooLong => Err(Failure::HeaderTooLong),
        Gathered::Complete => Ok(collector.take().map_or(Front::None, Front::Complete)),
    }
}

/// Whether the message can be mapped, found out by reading it back: its body is never held whole.
pub async fn check(writer: Box<dyn BodyWriter>) -> Result<Box<dyn BodyWriter>, Failure> {
    let mut reader = Reader::new(writer);
    let work = move || {
        let checked = convert::to_dmime2(&mut reader).map(drop);
        (reader.into_inner(), checked)
    };
    let (writer, checked) = tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| Failure::Interrupted)?;
    checked.map(|()| writer).map_err(unsealable)
}

/// A failure of the store is no fault of the message.
fn unsealable(error: convert::Error) -> Failure {
    match error {
        convert::Error::Source(error) => match store_error(error) {
            Ok(error) => Failure::Store(error),
            Err(error) => Failure::Unsealable(convert::Error::Source(error)),
        },
        error => Failure::Unsealable(error),
    }
}

impl Names {
    fn complete(&self, front: &[u8]) -> Vec<u8> {
        let author = Author {
            mailbox: &self.author,
            name: "",
            origin: &self.origin,
        };
        local::complete(front, &author)
    }
}

impl Completion {
    fn repair(&self, front: &[u8]) -> Result<Vec<u8>, repair::Error> {
        let completed = self.names.as_ref().map(|names| names.complete(front));
        // Not the queue id: that one stands in our logs.
        let unique: u128 = rand::rng().random();
        let supplied = Supplied {
            date: &rfc5322(self.now),
            message_id: &format!("<{unique:032x}@{}>", self.domain),
        };
        repair::repair(completed.as_deref().unwrap_or(front), &supplied)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn date_and_a_message_id_of_the_domain_are_supplied() {
        let completion = Completion {
            domain: "hermail.test".parse().unwrap(),
            now: Timestamp(1_800_000_000_000),
            names: None,
        };
        let front = completion.repair(b"From: a@a.test\r\n\r\n").unwrap();
        let front = String::from_utf8(front).unwrap();
        let (date, rest) = front.split_once("\r\nMessage-ID: <").unwrap();
        assert_eq!(date, "Date: Fri, 15 Jan 2027 08:00:00 +0000");
        let (id, rest) = rest.split_once('@').unwrap();
        assert_eq!(id.len(), 32);
        assert_eq!(rest, "hermail.test>\r\nFrom: a@a.test\r\n\r\n");
    }
}
