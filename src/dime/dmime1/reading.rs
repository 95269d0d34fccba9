//! A message in the hands of one actor: decrypts what that actor has keyslots for, and judges nothing.

use std::ops::Range;

use super::Message;
use super::chunk::{Actor, Chunk, ChunkType};
use super::envelope::{DestinationEnvelope, OriginEnvelope};
use super::fault::{Flaw, Rule};
use super::keyslot::ContentKey;
use super::payload;
use crate::crypto::ed25519::{Signature, VerifyingKey};
use crate::crypto::suite::secp256k1_aes256::{self as suite, Kek, SecretKey};

/// The key-encryption key of one actor for one message.
#[derive(Debug, Clone)]
pub(super) struct Access {
    actor: Actor,
    kek: Kek,
}

impl Access {
    /// Agrees on the key; what it opens shows only later.
    pub fn new(message: &Message, actor: Actor, key: &SecretKey) -> Self {
        Self {
            actor,
            kek: key.agree(message.ephemeral_key()),
        }
    }

    /// Whose keyslots it opens.
    pub fn actor(&self) -> Actor {
        self.actor
    }

    /// Applies this access to the message it was made for.
    pub fn reading<'a>(&'a self, message: &'a Message) -> Reading<'a> {
        Reading {
            message,
            access: self,
        }
    }
}

/// See the module.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reading<'a> {
    message: &'a Message,
    access: &'a Access,
}

/// A decrypted standard chunk that nobody has vouched for yet.
pub(super) struct Plain {
    octets: Vec<u8>,
    data: Result<Range<usize>, Rule>,
}

impl<'a> Reading<'a> {
    /// The message that is read.
    pub fn message(&self) -> &'a Message {
        self.message
    }

    /// The content key in the actor's slot of a chunk; `None` if there is no slot.
    pub fn content_key(&self, chunk: &Chunk) -> Option<ContentKey> {
        let slot = self.message.keyslot(chunk, self.access.actor)?;
        ContentKey::unlock(&self.access.kek, slot).ok()
    }

    /// A decrypted signature chunk; `None` if it is not there or not for this actor.
    pub fn signature(&self, kind: ChunkType) -> Option<Signature> {
        let chunk = self.message.find(kind)?;
        let content_key = self.content_key(chunk)?;
        let mut octets: [u8; 64] = self.message.payload(chunk).try_into().ok()?;
        suite::decrypt(&content_key.key, &content_key.iv, &mut octets).ok()?;
        Some(Signature(octets))
    }

    /// A decrypted standard chunk; `None` if it is not for this actor.
    pub fn plain(&self, chunk: &Chunk) -> Option<Plain> {
        let content_key = self.content_key(chunk)?;
        let mut octets = self.message.payload(chunk).to_vec();
        suite::decrypt(&content_key.key, &content_key.iv, &mut octets).ok()?;
        let data = payload::data_range(&octets);
        Some(Plain { octets, data })
    }

    /// The one standard chunk of a type that does not repeat, and is for this actor.
    pub fn plain_of(&self, kind: ChunkType) -> Result<Plain, Flaw> {
        let plain = self.message.find(kind).and_then(|chunk| self.plain(chunk));
        plain.ok_or(Flaw::new(Rule::V12, kind))
    }
}

impl Plain {
    /// What chunk 4 says, if this is it.
    pub fn origin(&self) -> Result<OriginEnvelope, Flaw> {
        self.envelope(ChunkType::Origin, OriginEnvelope::read)
    }

    /// What chunk 5 says, if this is it.
    pub fn destination(&self) -> Result<DestinationEnvelope, Flaw> {
        self.envelope(ChunkType::Destination, DestinationEnvelope::read)
    }

    fn envelope<T>(
        &self,
        kind: ChunkType,
        read: impl FnOnce(&[u8]) -> Result<T, &'static str>,
    ) -> Result<T, Flaw> {
        let data = self.data().map_err(|rule| Flaw::new(rule, kind))?;
        read(data).map_err(|label| Flaw::new(Rule::V14, kind).of_field(label))
    }

    /// The data, if size, flags and padding are right.
    pub fn data(&self) -> Result<&[u8], Rule> {
        let data = self.octets.get(self.data.clone()?);
        data.ok_or(Rule::V12)
    }

    /// Whether the author signed this chunk.
    pub fn signed_by(&self, author: &VerifyingKey) -> bool {
        payload::verify(&self.octets, author)
    }

    /// The data as shared octets, without copying.
    pub fn into_data(self) -> Result<bytes::Bytes, Rule> {
        let range = self.data?;
        Ok(bytes::Bytes::from(self.octets).slice(range))
    }
}
