//! Hashes and keys (`dmime2.md` §6) and signature inputs (§8).
//!
//! Every label is ASCII and one zero octet, and every input contains the first four octets of the object.

use hkdf::Hkdf;
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::layout::{Actor, COMMITMENT_SIZE, ChunkRef, ChunkType};
use crate::crypto::aead;
use crate::crypto::hash::{Sha512, sha512};
use crate::crypto::suite::hpke::Context;
use crate::dime::fingerprint::FullFingerprint;

/// SHA-512 of a chunk or of several.
pub(super) type Hash = [u8; 64];
/// A 32-octet key, wiped on drop.
pub(super) type Key = Zeroizing<[u8; 32]>;

const CONTEXT: &[u8] = b"D/MIME 2 context\0";
const CHUNK: &[u8] = b"D/MIME 2 chunk\0";
const BLANK_CHUNK: &[u8] = b"D/MIME 2 blank chunk\0";
const ENVELOPE: &[u8] = b"D/MIME 2 envelope\0";
const SLOT: &[u8] = b"D/MIME 2 slot\0";
const CONTENT: &[u8] = b"D/MIME 2 content\0";
const AUTHOR_SIGNATURE: &[u8] = b"D/MIME 2 author signature\0";
const ORIGIN_SIGNATURE: &[u8] = b"D/MIME 2 origin signature\0";

/// INFO of an actor: 94 octets.
pub(super) fn info(prefix: [u8; 4], actor: Actor, created: u64, signet: &FullFingerprint) -> Vec<u8> {
    [
        CONTEXT,
        &prefix,
        &[actor as u8],
        &created.to_be_bytes(),
        &signet.0,
    ]
    .concat()
}

/// H(i), started: the chunk's octets follow.
pub(super) fn chunk_hasher(prefix: [u8; 4], index: u32) -> Sha512 {
    Sha512::of(&[CHUNK, &prefix, &index.to_be_bytes()])
}

/// H(i).
pub(super) fn chunk_hash(prefix: [u8; 4], index: u32, chunk: &[u8]) -> Hash {
    let mut hasher = chunk_hasher(prefix, index);
    hasher.update(chunk);
    hasher.finish()
}

/// HB(i) of a signature chunk, whatever its ciphertext and tag are now.
pub(super) fn blank_hash(prefix: [u8; 4], index: u32, chunk: ChunkRef<'_>) -> Hash {
    let octets = chunk.octets();
    let sealed = super::layout::sealed_range(chunk.kind, octets.len());
    let zeros = [0u8; super::layout::SIGNATURE_SIZE + aead::TAG_SIZE];
    let zeros = &zeros[..sealed.len().min(zeros.len())];
    let (front, back) = (&octets[..sealed.start], &octets[sealed.end..]);
    sha512(&[BLANK_CHUNK, &prefix, &index.to_be_bytes(), front, zeros, back])
}

/// ENV from H(0), H(1), H(2).
pub(super) fn envelope_hash(prefix: [u8; 4], hashes: &[Hash]) -> Hash {
    let mut hasher = Sha512::of(&[ENVELOPE, &prefix]);
    for hash in &hashes[..3] {
        hasher.update(hash);
    }
    hasher.finish()
}

/// AUTHOR_INPUT from H(0) … H(n − 3), HB(n − 2), HB(n − 1).
pub(super) fn author_input(prefix: [u8; 4], made: &[Hash], blank: &[Hash; 2]) -> Vec<u8> {
    signature_input(AUTHOR_SIGNATURE, prefix, made, blank)
}

/// ORIGIN_INPUT from H(0) … H(n − 2), HB(n − 1).
pub(super) fn origin_input(prefix: [u8; 4], made: &[Hash], blank: &Hash) -> Vec<u8> {
    signature_input(ORIGIN_SIGNATURE, prefix, made, std::slice::from_ref(blank))
}

fn signature_input(label: &[u8], prefix: [u8; 4], made: &[Hash], blank: &[Hash]) -> Vec<u8> {
    let count = made.len() + blank.len();
    let mut input = Vec::with_capacity(label.len() + 8 + 64 * count);
    input.extend_from_slice(label);
    input.extend_from_slice(&prefix);
    // At most 4096.
    input.extend_from_slice(&(count as u32).to_be_bytes());
    for hash in made.iter().chain(blank) {
        input.extend_from_slice(hash);
    }
    input
}

/// What keys of one chunk are bound to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub prefix: [u8; 4],
    pub kind: ChunkType,
    pub index: u32,
    /// MID: H(0).
    pub message_id: &'a Hash,
    /// ENV, known as soon as chunks 2, 4 and 5 are.
    pub envelope: &'a Hash,
}

impl Place<'_> {
    /// The key of an actor's slot.
    pub fn slot_key(&self, context: &Context) -> Key {
        let mut label = [0u8; SLOT.len() + 64 + 5];
        let (front, back) = label.split_at_mut(SLOT.len());
        front.copy_from_slice(SLOT);
        back[..64].copy_from_slice(self.message_id);
        back[64] = self.kind.id();
        back[65..].copy_from_slice(&self.index.to_be_bytes());
        context.export(&label)
    }

    /// What the content key stands for.
    pub fn derive(&self, content_key: &[u8; 32]) -> ChunkKeys {
        let bound_to = match self.kind {
            ChunkType::OriginEnvelope | ChunkType::DestinationEnvelope => self.message_id,
            _ => self.envelope,
        };
        let index = self.index.to_be_bytes();
        let info: [&[u8]; 4] = [&self.prefix, &[self.kind.id()], &index, bound_to];
        let mut okm = Zeroizing::new([0u8; 64]);
        let expanded = Hkdf::<Sha256>::new(Some(CONTENT), content_key).expand_multi_info(&info, &mut *okm);
        // Only more than 255 × 32 octets are refused.
        debug_assert!(expanded.is_ok());
        let mut keys = ChunkKeys {
            encryption: Key::default(),
            commitment: [0; COMMITMENT_SIZE],
        };
        let (encryption, commitment) = okm.split_at(32);
        keys.encryption.copy_from_slice(encryption);
        keys.commitment.copy_from_slice(commitment);
        keys
    }
}

/// Derived from a content key and everything that the chunk is bound to.
pub(super) struct ChunkKeys {
    /// K: encrypts the payload, once.
    pub encryption: Key,
    pub commitment: [u8; COMMITMENT_SIZE],
}

impl ChunkKeys {
    /// Whether this is the content key that the chunk commits to. In constant time.
    pub fn fit(&self, chunk: ChunkRef<'_>) -> bool {
        self.commitment.ct_eq(chunk.commitment()).into()
    }
}

/// Encrypts a content key for the owner of a slot key.
pub(super) fn seal_slot(slot_key: &[u8; 32], content_key: &[u8; 32]) -> [u8; super::layout::SLOT_SIZE] {
    let mut slot = [0u8; super::layout::SLOT_SIZE];
    slot[..32].copy_from_slice(content_key);
    let tag = aead::seal_once(slot_key, &mut slot[..32]);
    slot[32..].copy_from_slice(&tag);
    slot
}

/// Opens a slot. That it opens says nothing before the commitment fits: slots are not committing (§6).
pub(super) fn open_slot(slot_key: &[u8; 32], slot: &[u8; super::layout::SLOT_SIZE]) -> Option<Key> {
    let (sealed, tag) = slot.split_first_chunk::<32>()?;
    let mut content_key = Key::new(*sealed);
    aead::open_once(slot_key, &mut *content_key, tag.first_chunk()?).ok()?;
    Some(content_key)
}
