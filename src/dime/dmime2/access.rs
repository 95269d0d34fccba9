//! An actor's way into a message: which of its keys fits (K1), and what that key opens (K2–K7).

use std::fmt;

use super::derivation::{ChunkKeys, info, open_slot};
use super::layout::{Actor, ChunkRef, ChunkType, SLOT_SIZE, sealed_range};
use super::padding::{self, Plain};
use super::rule::{Refused, Rule, demand};
use super::skeleton::Skeleton;
use crate::crypto::aead::{TAG_SIZE, open_once};
use crate::crypto::ed25519::Signature;
use crate::crypto::suite::hpke::Context;
use crate::dime::fingerprint::FullFingerprint;
use crate::dime::key_set::KemKeys;

/// One of an actor's own signets with the private keys of its key set.
///
/// An actor passes all whose keys still exist, newest first; the result does not depend on the order.
#[derive(Clone)]
pub struct Candidate {
    /// Of the signet.
    pub signet: FullFingerprint,
    /// Of its key set.
    pub keys: KemKeys,
}

impl fmt::Debug for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Candidate([private])")
    }
}

/// The context of one actor for one message. Wiped on drop.
pub(super) struct Access {
    actor: Actor,
    signet: FullFingerprint,
    context: Context,
}

impl Access {
    /// Rule K1: the one candidate whose key opens the actor's slot of the first chunk that it may read, so that the
    /// content key fits the commitment there.
    pub fn find(skeleton: &Skeleton, actor: Actor, candidates: &[Candidate]) -> Result<Self, Refused> {
        let first = match actor {
            Actor::Destination => ChunkType::DestinationEnvelope,
            _ => ChunkType::OriginEnvelope,
        };
        let (index, chunk) = skeleton.chunk(first).ok_or(Rule::K1)?;
        let mut accesses = candidates
            .iter()
            .filter_map(|candidate| Self::new(skeleton, actor, candidate));
        accesses
            .find(|access| access.keys(skeleton, index, chunk).is_ok())
            .ok_or(Rule::K1.in_chunk(index).of_type(first.id()))
    }

    /// Whether it opens anything shows later. `None` if the candidate has no key of the suite.
    fn new(skeleton: &Skeleton, actor: Actor, candidate: &Candidate) -> Option<Self> {
        let key = candidate.keys.key(skeleton.suite())?;
        let info = info(skeleton.prefix(), actor, skeleton.created(), &candidate.signet);
        let context = key.decapsulate(skeleton.encapsulation(actor), &info).ok()?;
        Some(Self {
            actor,
            signet: candidate.signet,
            context,
        })
    }

    /// The own signet whose key fits.
    pub fn signet(&self) -> FullFingerprint {
        self.signet
    }

    /// The keys of a chunk: rules K2 and K3.
    pub fn keys(&self, skeleton: &Skeleton, index: u32, chunk: ChunkRef<'_>) -> Result<ChunkKeys, Refused> {
        let broken = |rule: Rule| rule.in_chunk(index).of_type(chunk.kind.id());
        let (keys, held) = self.derive(skeleton, index, chunk).map_err(broken)?;
        held.map(|()| keys).map_err(broken)
    }

    /// Decrypts a chunk in place: rules K2–K7.
    ///
    /// It takes the same time whichever of K2 to K4 is broken: keys that must not be used are used all the same, and
    /// what comes of it is dropped (§14).
    pub fn open<'c>(
        &self,
        skeleton: &Skeleton,
        kind: ChunkType,
        index: u32,
        chunk: &'c mut [u8],
    ) -> Result<Plain<'c>, Refused> {
        let plain = self.decrypt(skeleton, kind, index, chunk);
        plain.map_err(|rule| rule.in_chunk(index).of_type(kind.id()))
    }

    fn decrypt<'c>(
        &self,
        skeleton: &Skeleton,
        kind: ChunkType,
        index: u32,
        chunk: &'c mut [u8],
    ) -> Result<Plain<'c>, Rule> {
        let (keys, held) = self.derive(skeleton, index, ChunkRef::new(kind, chunk))?;
        let range = sealed_range(kind, chunk.len());
        let (plaintext, tag) = chunk[range].split_last_chunk_mut::<TAG_SIZE>().ok_or(Rule::K4)?;
        let opened = open_once(&keys.encryption, plaintext, tag);
        held?;
        opened.map_err(|_| Rule::K4)?;
        padding::read(kind, plaintext)
    }

    /// What the slot of a chunk gives, and whether it opens (K2) and its commitment fits (K3).
    fn derive(
        &self,
        skeleton: &Skeleton,
        index: u32,
        chunk: ChunkRef<'_>,
    ) -> Result<(ChunkKeys, Result<(), Rule>), Rule> {
        let place = skeleton.place(chunk.kind, index);
        let slot: &[u8; SLOT_SIZE] = chunk.slot(self.actor).ok_or(Rule::K2)?;
        let content_key = open_slot(&place.slot_key(&self.context), slot);
        let opens = content_key.is_some();
        let keys = place.derive(&content_key.unwrap_or_default());
        let fits = keys.fit(chunk);
        let held = demand(opens, Rule::K2).and(demand(fits, Rule::K3));
        Ok((keys, held))
    }

    /// The data of one of the chunks that the skeleton keeps.
    pub fn data(&self, skeleton: &Skeleton, kind: ChunkType) -> Result<Vec<u8>, Refused> {
        let (index, chunk) = skeleton.chunk(kind).ok_or(Rule::K2)?;
        let mut octets = chunk.octets().to_vec();
        Ok(self.open(skeleton, kind, index, &mut octets)?.data.to_vec())
    }

    /// The signature in one of the signature chunks.
    pub fn signature(&self, skeleton: &Skeleton, kind: ChunkType) -> Result<Signature, Refused> {
        let data = self.data(skeleton, kind)?;
        data.try_into().map(Signature).map_err(|_| Rule::K7.into())
    }
}

/// Shows neither whose it is nor what it opens.
impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Access({:?})", self.actor)
    }
}
