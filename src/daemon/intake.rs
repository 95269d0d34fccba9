//! A message on its way from an SMTP session into the spool: cleaned, completed, and given its trace field.

use bytes::Bytes;
use rand::RngExt;

use crate::base::budget::Share;
use crate::base::id::QueueId;
use crate::base::time::Timestamp;
use crate::dime::convert::{self, clean::EntryCleaner};
use crate::mail::address::Domain;
use crate::mail::date::rfc5322;
use crate::mail::headers::{self, Collector, Gathered};
use crate::store::{self, BodyWriter, Store};

/// Octets of a header block at most.
const MAX_HEADER: usize = 256 * 1024;

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
    /// A submitted message with a header line that is no field: what stands behind it would not be looked at.
    #[error("the header block has a line that is no field")]
    NotAField,
    /// A submitted message without an author.
    #[error("the message has no From field")]
    NoFrom,
    /// It is for a DIME domain and does not fit into the format.
    #[error("{0}")]
    Unsealable(convert::Error),
}

/// A copy of the message as far as it has come, to see whether it can be sealed.
struct Trial {
    copy: Vec<u8>,
    share: Share,
}

/// One message coming in.
pub struct Intake {
    id: QueueId,
    writer: Box<dyn BodyWriter>,
    cleaner: EntryCleaner,
    /// Until the header block is complete.
    header: Option<Collector>,
    completion: Option<Completion>,
    /// Whether the header block must be one that D/MIME can carry.
    to_be_sealed: bool,
    trial: Option<Trial>,
    eight_bit: bool,
    failure: Option<Failure>,
}

/// What a submission server adds to a message that lacks it (RFC 6409 §8).
pub struct Completion {
    /// The domain of a new Message-ID.
    pub domain: Domain,
    /// The time of a new Date.
    pub now: Timestamp,
}

/// A message that has come in whole.
pub struct Complete {
    /// To be committed.
    pub writer: Box<dyn BodyWriter>,
    /// It has octets above 127.
    pub eight_bit: bool,
}

impl Intake {
    /// Starts a message with our trace field.
    pub async fn begin(
        store: &dyn Store,
        id: QueueId,
        server: &Domain,
        trace: &str,
        completion: Option<Completion>,
    ) -> Result<Self, store::Error> {
        let mut writer = store.begin(id).await?;
        writer.write(trace.as_bytes()).await?;
        Ok(Self {
            id,
            writer,
            cleaner: EntryCleaner::new(server.as_str()),
            header: Some(Collector::new(MAX_HEADER)),
            completion,
            to_be_sealed: false,
            trial: None,
            eight_bit: false,
            failure: None,
        })
    }

    /// Demands a header block that D/MIME can carry.
    pub fn demand_sealable_header(&mut self) {
        self.to_be_sealed = true;
    }

    /// Also keeps a copy, to refuse at the end what is too large to be sealed. `share` is the memory for it, and grows
    /// with it; when it cannot, sealing itself will tell.
    pub fn try_sealing(&mut self, share: Share) {
        self.trial = Some(Trial {
            copy: Vec::new(),
            share,
        });
    }

    /// The id under which the message will be stored.
    pub fn id(&self) -> QueueId {
        self.id
    }

    /// Takes the next piece. Failures are kept for the end: the client sends on until then.
    pub async fn push(&mut self, piece: &[u8]) {
        if self.failure.is_none() {
            self.eight_bit |= !piece.is_ascii();
            let cleaned = self.cleaner.push(piece);
            self.failure = self.take(cleaned).await.err();
        }
    }

    /// The message is complete.
    pub async fn finish(mut self) -> Result<Complete, Failure> {
        let rest = std::mem::replace(&mut self.cleaner, EntryCleaner::new("")).finish();
        if self.failure.is_none() {
            self.failure = self.take(rest).await.err();
        }
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        if let Some(header) = self.header.take() {
            self.write_front(header.finish()).await?;
        }
        if let Some(Trial { copy, share: _share }) = self.trial.take() {
            sealable(copy).await?;
        }
        Ok(Complete {
            writer: self.writer,
            eight_bit: self.eight_bit,
        })
    }

    async fn take(&mut self, octets: Vec<u8>) -> Result<(), Failure> {
        let Some(collector) = &mut self.header else {
            return self.write(&octets).await;
        };
        match collector.push(&octets) {
            Gathered::Incomplete => Ok(()),
            Gathered::TooLong => Err(Failure::HeaderTooLong),
            Gathered::Complete => match self.header.take() {
                Some(collector) => self.write_front(collector.finish()).await,
                None => Ok(()),
            },
        }
    }

    /// Writes the header block, completed, and whatever came with it.
    async fn write_front(&mut self, front: Vec<u8>) -> Result<(), Failure> {
        if headers::count(&front, "Received") >= MAX_HOPS {
            return Err(Failure::TooManyHops);
        }
        let front = match &self.completion {
            Some(completion) => completion.complete(&front)?,
            None => front,
        };
        if self.to_be_sealed {
            check_header(&front)?;
        }
        self.write(&front).await
    }

    async fn write(&mut self, octets: &[u8]) -> Result<(), Failure> {
        self.trial = self.trial.take().and_then(|trial| trial.with(octets));
        Ok(self.writer.write(octets).await?)
    }
}

impl Trial {
    /// The copy and more octets of it, if there is memory for them.
    fn with(mut self, octets: &[u8]) -> Option<Self> {
        let length = self.copy.len().saturating_add(octets.len()) as u64;
        self.share.grow_to(length).then(|| {
            self.copy.extend_from_slice(octets);
            self
        })
    }
}

/// Whether the header block can become that of a D/MIME message, found out by mapping it without a body.
fn check_header(front: &[u8]) -> Result<(), Failure> {
    let header = [headers::split(front).block, b"\r\n"].concat();
    convert::to_dmime1(Bytes::from(header))
        .map(drop)
        .map_err(Failure::Unsealable)
}

/// Whether the message can become D/MIME 1, found out by doing it.
async fn sealable(copy: Vec<u8>) -> Result<(), Failure> {
    let mapped = tokio::task::spawn_blocking(move || convert::to_dmime1(Bytes::from(copy)).map(drop));
    match mapped.await {
        Ok(Err(error)) => Err(Failure::Unsealable(error)),
        // An interrupted trial says nothing; sealing itself will tell.
        _ => Ok(()),
    }
}

impl Completion {
    /// Adds Date and Message-ID where they are missing, and takes Bcc out.
    fn complete(&self, front: &[u8]) -> Result<Vec<u8>, Failure> {
        let split = headers::split(front);
        if !split.rest.is_empty() && !split.rest.starts_with(b"\r\n") {
            return Err(Failure::NotAField);
        }
        if headers::find(front, "From").is_none() {
            return Err(Failure::NoFrom);
        }
        let mut added = String::new();
        if headers::find(front, "Date").is_none() {
            added.push_str(&format!("Date: {}\r\n", rfc5322(self.now)));
        }
        if headers::find(front, "Message-ID").is_none() {
            // Not the queue id: that one stands in our logs.
            let unique: u128 = rand::rng().random();
            added.push_str(&format!("Message-ID: <{unique:032x}@{}>\r\n", self.domain));
        }
        let block = headers::without(split.block, &["Bcc", "Resent-Bcc"]);
        Ok([added.as_bytes(), &block, split.rest].concat())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn complete(front: &str) -> Result<String, Failure> {
        let completion = Completion {
            domain: "hermail.test".parse().unwrap(),
            now: Timestamp(1_800_000_000_000),
        };
        let front = completion.complete(front.as_bytes())?;
        Ok(String::from_utf8(front).unwrap())
    }

    #[test]
    fn a_complete_header_stays_as_it_is() {
        let front = "Message-ID: <1@a.test>\r\nDate: now\r\nFrom: a@a.test\r\n\r\nBcc: is text here\r\n";
        assert_eq!(complete(front).unwrap(), front);
    }

    #[test]
    fn date_and_message_id_are_added() {
        let completed = complete("From: a@a.test\r\n\r\n").unwrap();
        let (date, rest) = completed.split_once("\r\nMessage-ID: <").unwrap();
        assert_eq!(date, "Date: Fri, 15 Jan 2027 08:00:00 +0000");
        let (id, rest) = rest.split_once('@').unwrap();
        assert_eq!(id.len(), 32);
        assert_eq!(rest, "hermail.test>\r\nFrom: a@a.test\r\n\r\n");
    }

    #[test]
    fn blind_copies_stay_blind() {
        let front =
            "From: a@a.test\r\nBCC: x@b.test,\r\n y@b.test\r\nDate: now\r\nMessage-ID: <1@a.test>\r\n\r\n";
        let completed = complete(front).unwrap();
        assert!(!completed.contains("b.test"), "{completed}");
        let hidden = "From: a@a.test\r\nno field\r\nBcc: x@b.test\r\n\r\n";
        assert!(matches!(complete(hidden), Err(Failure::NotAField)));
    }

    #[test]
    fn a_message_needs_an_author() {
        assert!(matches!(complete("To: b@b.test\r\n\r\n"), Err(Failure::NoFrom)));
    }
}
