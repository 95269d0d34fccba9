//! The origin's side: check a submitted message and sign it (`dmime2.md` §10.2).

use super::access::{Access, Candidate};
use super::derivation::ChunkKeys;
use super::envelope::{OriginEnvelope, in_origin_envelope};
use super::layout::{Actor, ChunkType, sealed_range};
use super::outline::Outline;
use super::padding;
use super::rule::{Refused, Rule, demand};
use super::signets::{KnownOrg, KnownUser};
use super::time::{Replay, SUBMISSION_AGE_SECS, check_age};
use crate::crypto::aead::{TAG_SIZE, seal_once};
use crate::crypto::ed25519::SigningKey;
use crate::dime::fingerprint::FullFingerprint;
use crate::mail::address::Domain;

/// A submitted message whose envelope for the origin is open. Its author is not proven yet.
#[derive(Debug)]
pub struct Submission {
    outline: Outline,
    access: Access,
    envelope: OriginEnvelope,
}

impl Submission {
    /// Opens chunk 4: rules T1, T2, K1–K7 and E1, at the time `now`.
    pub fn open(outline: &Outline, candidates: &[Candidate], now: u64) -> Result<Self, Refused> {
        check_age(outline.created(), now, SUBMISSION_AGE_SECS)?;
        let skeleton = outline.skeleton();
        let access = Access::find(skeleton, Actor::Origin, candidates)?;
        let text = access.data(skeleton, ChunkType::OriginEnvelope)?;
        Ok(Self {
            outline: outline.clone(),
            access,
            envelope: OriginEnvelope::decode(&text).map_err(in_origin_envelope)?,
        })
    }

    /// What the author says; which signets to look up.
    pub fn envelope(&self) -> &OriginEnvelope {
        &self.envelope
    }

    /// When the author sealed it, unix seconds.
    pub fn created(&self) -> u64 {
        self.outline.created()
    }

    /// The own signet that the author used: a key of it must sign.
    pub fn own_signet(&self) -> FullFingerprint {
        self.access.signet()
    }

    /// Makes every other check but T3: rules E4–E6, K2–K7, S1, S3.
    ///
    /// `may_send` says whether the authenticated submitter may send as the envelope's author; `domain` is the origin.
    pub fn check(
        self,
        domain: &Domain,
        may_send: bool,
        author: Option<KnownUser<'_>>,
        destination: Option<KnownOrg<'_>>,
    ) -> Result<Admissible, Refused> {
        let Self {
            outline,
            access,
            envelope,
        } = self;
        demand(may_send, in_line(Rule::E6, "Author"))?;
        demand(envelope.author.domain() == domain, in_line(Rule::E5, "Author"))?;
        let created = outline.created();
        let author = KnownUser::check(author, &envelope.author, &envelope.author_signet, created)
            .map_err(|rule| in_line(rule, "Author-Signet"))?;
        KnownOrg::check(
            destination,
            &envelope.destination,
            &envelope.destination_signet,
            created,
        )
        .map_err(|rule| in_line(rule, "Destination-Signet"))?;
        let skeleton = outline.skeleton();
        let signature = access.signature(skeleton, ChunkType::AuthorSignature)?;
        let verified = author.signing_key().verify(&skeleton.author_input(), &signature);
        verified.map_err(|_| skeleton.in_chunk(ChunkType::AuthorSignature, Rule::S1))?;
        demand(
            skeleton.is_blank(),
            skeleton.in_chunk(ChunkType::OriginSignature, Rule::S3),
        )?;
        let (index, last) = skeleton.chunk(ChunkType::OriginSignature).ok_or(Rule::K2)?;
        let keys = access.keys(skeleton, index, last)?;
        Ok(Admissible {
            outline,
            envelope,
            own_signet: access.signet(),
            keys,
        })
    }
}

fn in_line(rule: Rule, name: &'static str) -> Refused {
    in_origin_envelope(rule).of_field(name)
}

/// A submitted message that passed all checks but T3, which belongs into one step with storing the signed form.
pub struct Admissible {
    outline: Outline,
    envelope: OriginEnvelope,
    own_signet: FullFingerprint,
    keys: ChunkKeys,
}

/// The last chunk of a message, filled: what changes when the origin signs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedChunk {
    /// Where it stands in the object; its size is that of the blank one.
    pub offset: u64,
    /// All its octets.
    pub octets: Vec<u8>,
}

impl Admissible {
    /// Author and destination, verified.
    pub fn envelope(&self) -> &OriginEnvelope {
        &self.envelope
    }

    /// The own signet whose key must sign.
    pub fn own_signet(&self) -> FullFingerprint {
        self.own_signet
    }

    /// What to remember of the submitted form: entered in one durable step with the signed message (T3).
    pub fn replay(&self) -> Replay {
        self.outline.replay()
    }

    /// Signs with the POK, or a SOK with the message bit, of [`own_signet`](Self::own_signet).
    ///
    /// Deterministic, so a repetition with the same key gives the same octets; a chunk 255 must never be signed with two
    /// keys, so the result is stored in one step with the replay entry.
    pub fn sign(&self, key: &SigningKey) -> SignedChunk {
        let skeleton = self.outline.skeleton();
        let signature = key.sign(&skeleton.origin_input());
        let mut octets = match skeleton.chunk(ChunkType::OriginSignature) {
            Some((_, chunk)) => chunk.octets().to_vec(),
            None => Vec::new(),
        };
        fill(ChunkType::OriginSignature, &mut octets, &self.keys, &signature.0);
        SignedChunk {
            offset: self.outline.size() - octets.len() as u64,
            octets,
        }
    }
}

impl std::fmt::Debug for Admissible {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Admissible([private])")
    }
}

/// Puts a signature into a blank signature chunk.
pub(super) fn fill(kind: ChunkType, chunk: &mut [u8], keys: &ChunkKeys, signature: &[u8; 64]) {
    let range = sealed_range(kind, chunk.len());
    let Some((plaintext, tag)) = chunk[range].split_last_chunk_mut::<TAG_SIZE>() else {
        return;
    };
    padding::write_header(plaintext, signature.len(), false);
    let start = padding::PLAINTEXT_HEADER_SIZE;
    plaintext[start..start + signature.len()].copy_from_slice(signature);
    *tag = seal_once(&keys.encryption, plaintext);
}
