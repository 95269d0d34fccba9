//! The signatures around a message (`dmime.md` §10): two of the author, up to three of the origin.
//!
//! Each but the tree covers all chunks before a certain type, as transmitted, keyslots included.

use sha2::{Digest, Sha512};

use super::chunk::ChunkType;
use super::fault::Checks;
use super::reading::Reading;
use super::{Message, ReplayToken};
use crate::crypto::ed25519::VerifyingKey;

/// The origin's signatures in the order they are made, each with the first type it does not cover.
pub(super) const ORIGIN_SIGNATURES: [(ChunkType, ChunkType); 3] = [
    (ChunkType::MetadataBounce, ChunkType::Display),
    (ChunkType::DisplayBounce, ChunkType::Attachment),
    (ChunkType::OriginSignature, ChunkType::OriginSignature),
];

/// What the tree signature covers (`dmime.md` §10.1).
///
/// SHA-512 of every chunk before the signatures but the destination chunk, then 64 zero octets. The gap is
/// libdime's (M1), and a corrected input would be refused by it; the full signature covers the destination chunk.
pub fn tree_input(message: &Message) -> Vec<u8> {
    tree_of(
        message
            .chunks()
            .iter()
            .filter(|chunk| chunk.kind < ChunkType::TreeSignature)
            .map(|chunk| (chunk.kind, message.chunk_octets(chunk))),
    )
}

/// The tree input of chunks given with their type.
pub(super) fn tree_of<'a>(chunks: impl Iterator<Item = (ChunkType, &'a [u8])>) -> Vec<u8> {
    let mut input: Vec<u8> = chunks
        .filter(|(kind, _)| *kind != ChunkType::Destination)
        .flat_map(|(_, octets)| Sha512::digest(octets))
        .collect();
    input.extend_from_slice(&[0; 64]);
    input
}

/// Demands that both signatures of the author verify. Always checks both.
pub(super) fn author_signed(reading: &Reading<'_>, author: &VerifyingKey, checks: &mut Checks) {
    let message = reading.message();
    let tree = signed_by(
        reading,
        ChunkType::TreeSignature,
        &tree_input(message),
        &[*author],
    );
    let before = message.octets_before(ChunkType::AuthorSignature);
    let full = signed_by(reading, ChunkType::AuthorSignature, before, &[*author]);
    checks.signature(tree, ChunkType::TreeSignature);
    checks.signature(full, ChunkType::AuthorSignature);
}

/// Demands that every origin signature that is present verifies with one of `keys`. Always checks all.
pub(super) fn origin_signed(reading: &Reading<'_>, keys: &[VerifyingKey], checks: &mut Checks) {
    let message = reading.message();
    let present = ORIGIN_SIGNATURES
        .into_iter()
        .filter(|(kind, _)| message.find(*kind).is_some());
    for (kind, until) in present {
        let signed = signed_by(reading, kind, message.octets_before(until), keys);
        checks.signature(signed, kind);
    }
}

/// See [`Message::replay_token`].
pub(super) fn replay_token(message: &Message) -> ReplayToken {
    let mut hash = Sha512::new();
    hash.update(message.ephemeral_key().to_compressed());
    for chunk in message.all(ChunkType::AuthorSignature) {
        hash.update(message.chunk_octets(chunk));
    }
    let digest: [u8; 64] = hash.finalize().into();
    ReplayToken(std::array::from_fn(|place| digest[place]))
}

fn signed_by(reading: &Reading<'_>, kind: ChunkType, input: &[u8], keys: &[VerifyingKey]) -> bool {
    let Some(signature) = reading.signature(kind) else {
        return false;
    };
    keys.iter().any(|key| key.verify(input, &signature).is_ok())
}
