//! The body of a message in the spool, piece by piece or whole.

use std::sync::Arc;

use async_trait::async_trait;

use crate::authentication::{Bodies, HashedBodies};
use crate::base::id::QueueId;
use crate::dime::convert::MAX_HEADER_BLOCK;
use crate::dime::convert::delivery::{Judge, Safe, Sender};
use crate::mail::headers::{self, Collector, Gathered};
use crate::mail::survey::Survey;
use crate::store::blocking::StoredBody;
use crate::store::{BodyWriter, Claim, Error, Pieces, Store};

/// Octets of a message, in their order.
#[async_trait]
pub trait Octets: Send {
    /// The next piece; `None` after the last.
    async fn next(&mut self) -> Result<Option<Vec<u8>>, Error>;

    /// Whether the last one was given, as far as that is known without reading.
    fn is_over(&self) -> bool {
        false
    }

    /// Goes back to the first.
    fn rewind(&mut self);
}

/// Reads a body from its beginning.
pub struct Body {
    store: Arc<dyn Store>,
    message: QueueId,
    size_bytes: u64,
    next: u32,
    unreadable: Option<&'static str>,
    safe: Option<Safe>,
    sender: Option<Sender>,
    /// Given in the place of what is stored.
    converted: Option<Box<dyn BodyWriter>>,
    /// The first piece, if it is the only one: messages are read several times.
    only_piece: Option<Vec<u8>>,
    /// Fields that go before the message.
    signatures: Vec<u8>,
    /// They are next.
    at_start: bool,
}

impl Body {
    /// Starts at the first piece of the body of what was claimed.
    pub fn new(store: Arc<dyn Store>, claim: &Claim) -> Self {
        let whole = claim.body.as_ref().map(|body| body.expose().clone());
        Self {
            store,
            message: claim.message,
            size_bytes: claim.size_bytes,
            next: 0,
            unreadable: None,
            safe: None,
            sender: None,
            converted: None,
            only_piece: whole.filter(|body| body.len() as u64 == claim.size_bytes),
            signatures: Vec::new(),
            at_start: true,
        }
    }

    /// From now on gives the message in a form that may go by DATA (`dmime2.md` §17), and says how large that is. For
    /// mail that was opened here: its body may hold anything.
    pub async fn make_safe(&mut self) -> Result<u64, Error> {
        self.as_stored();
        let mut judge = Judge::default();
        while let Some(piece) = self.next().await? {
            judge.push(&piece);
        }
        let size_bytes = self.safe.insert(judge.finish()).size_bytes();
        self.rewind();
        Ok(size_bytes)
    }

    /// What signatures cover: all octets up to somewhere in the body, and the hashes of the body, as the message is given now.
    ///
    /// `None` for a message whose header has no clear end: others would see another body.
    pub async fn to_be_signed(&mut self) -> Result<Option<(Vec<u8>, HashedBodies)>, Error> {
        self.signatures.clear();
        self.rewind();
        let (mut front, mut bodies) = (Some(Collector::new(MAX_HEADER_BLOCK)), Bodies::default());
        let mut header = Vec::new();
        while let Some(piece) = self.next().await? {
            let Some(mut open) = front.take() else {
                bodies.push(&piece);
                continue;
            };
            match open.push(&piece) {
                Gathered::Incomplete => front = Some(open),
                Gathered::TooLong => break,
                Gathered::Complete => {
                    header = open.finish();
                    let rest = headers::split(&header).rest;
                    bodies.push(rest.strip_prefix(b"\r\n").unwrap_or_default());
                }
            }
        }
        self.rewind();
        let is_clear = headers::split(&header).rest.starts_with(b"\r\n");
        Ok(is_clear.then(|| (header, bodies.finish())))
    }

    /// From now on gives these fields before the message.
    pub fn put_before(&mut self, fields: Vec<u8>) {
        self.signatures = fields;
        self.rewind();
    }

    /// Gives the message as it is stored again.
    pub fn as_stored(&mut self) {
        self.safe = None;
        self.converted = None;
        self.signatures.clear();
        self.rewind();
    }

    /// Goes back to the first piece, for another host.
    pub fn rewind(&mut self) {
        self.next = 0;
        self.at_start = true;
        self.sender = self.safe.as_ref().map(Safe::sender);
    }

    /// The next piece; `None` after the last.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, Error> {
        if std::mem::take(&mut self.at_start) && !self.signatures.is_empty() {
            return Ok(Some(self.signatures.clone()));
        }
        let piece = self.read().await?;
        Ok(match (&mut self.sender, piece) {
            (None, piece) => piece,
            (Some(sender), Some(piece)) => Some(sender.push(&piece)),
            (Some(_), None) => self.sender.take().map(Sender::finish),
        })
    }

    /// Whether the last piece was given, as far as that is known without reading.
    pub fn is_over(&self) -> bool {
        let is_stored = self.sender.is_none() && self.converted.is_none();
        is_stored && self.only_piece.is_some() && self.next > 0
    }

    /// The next piece as it is stored, or as it was converted.
    async fn read(&mut self) -> Result<Option<Vec<u8>>, Error> {
        let index = self.next;
        self.next += 1;
        if let Some(converted) = &mut self.converted {
            return converted.read_piece(index).await;
        }
        if let (0, Some(piece)) = (index, &self.only_piece) {
            return Ok(Some(piece.clone()));
        }
        if self.only_piece.is_some() {
            return Ok(None);
        }
        let piece = self.store.read_piece(self.message, index).await;
        match &piece {
            Ok(Some(piece)) if index == 0 && piece.len() as u64 == self.size_bytes => {
                self.only_piece = Some(piece.clone());
            }
            Err(Error::Unreadable(what)) => self.unreadable = Some(what),
            _ => {}
        }
        piece
    }

    /// What the message is like as it is given now.
    pub async fn survey(&mut self) -> Result<Survey, Error> {
        self.rewind();
        let mut survey = Survey::default();
        while let Some(piece) = self.next().await? {
            survey.push(&piece);
        }
        self.rewind();
        Ok(survey)
    }

    /// From now on gives these octets, which are kept in the spool meanwhile and belong to nobody. Their number.
    pub async fn give_instead(&mut self, octets: &[u8]) -> Result<u64, Error> {
        let id = QueueId::random(&mut rand::rng());
        let mut writer = self.store.begin(id).await?;
        writer.write(octets).await?;
        self.as_stored();
        self.converted = Some(writer);
        Ok(octets.len() as u64)
    }

    /// What of the message was found not to be readable, if anything was: trying again will not help.
    pub fn unreadable(&self) -> Option<&'static str> {
        self.unreadable
    }

    /// Everything at once, for what cannot be done in pieces: a D/MIME 1 message is signed as a whole.
    pub async fn whole(&mut self) -> Result<Vec<u8>, Error> {
        self.rewind();
        let mut octets = Vec::with_capacity(usize::try_from(self.size_bytes).unwrap_or(0));
        while let Some(piece) = self.next().await? {
            octets.extend_from_slice(&piece);
        }
        Ok(octets)
    }

    /// The same body for work on a thread that may wait.
    pub fn stored(&self) -> StoredBody {
        StoredBody {
            store: Arc::clone(&self.store),
            message: self.message,
            size_bytes: self.size_bytes,
        }
    }
}

#[async_trait]
impl Pieces for Body {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    async fn piece(&mut self, index: u32) -> Result<Option<Vec<u8>>, Error> {
        self.next = index;
        self.read().await
    }
}
