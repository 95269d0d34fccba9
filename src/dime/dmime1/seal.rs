//! The author's side: makes a message that the origin can sign (`dmime.md` §13.1).

use std::ops::Range;

use bytes::Bytes;
use rand_core::CryptoRng;
use zeroize::Zeroize;

use super::chunk::{Actor, ChunkType, EPHEMERAL_SIZE, HEADER_SIZE, KEYSLOT_SIZE, Payload, SIGNATURE_SIZE};
use super::content::Content;
use super::envelope::{DestinationEnvelope, OriginEnvelope, is_sealable};
use super::keyslot::ContentKey;
use super::metadata::{self, CommonHeaders};
use super::padding::{MAX_DATA, Padding};
use super::{MAGIC, MESSAGE_HEADER_SIZE, payload, signature};
use crate::base::bytes::put_u24;
use crate::crypto::ed25519::SigningKey;
use crate::crypto::suite::secp256k1_aes256::{self as suite, Kek, SecretKey};
use crate::dime::keys::UserKeys;
use crate::dime::signet::{VerifiedOrg, VerifiedUser};
use crate::mail::address::Mailbox;

/// The four actors of a message as its author knows them.
#[derive(Debug, Clone, Copy)]
pub struct Parties<'a> {
    /// The author's address.
    pub author: &'a Mailbox,
    /// The author's private keys.
    pub author_keys: &'a UserKeys,
    /// The author's signet, of those keys.
    pub author_signet: &'a VerifiedUser,
    /// The signet of the author's organization.
    pub origin_signet: &'a VerifiedOrg,
    /// The signet of the recipient's organization.
    pub destination_signet: &'a VerifiedOrg,
    /// The recipient's address.
    pub recipient: &'a Mailbox,
    /// The recipient's signet.
    pub recipient_signet: &'a VerifiedUser,
}

/// Why a message cannot be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An address that the format cannot name: not ASCII, quoted, or too long.
    #[error("an address cannot stand in a D/MIME envelope")]
    Address,
    /// The author is not of the origin, or the recipient not of the destination.
    #[error("an address does not belong to its organization")]
    Domain,
    /// The author's or the recipient's signet was verified for another address.
    #[error("a signet belongs to another address")]
    Signet,
    /// The private keys are not those of the author's signet.
    #[error("the author's keys do not belong to the author's signet")]
    Keys,
    /// Chunk 33 without one of its fields, or broken.
    #[error("common headers: {0}")]
    CommonHeaders(#[from] metadata::Error),
    /// Other headers, display content or an attachment without data; or no display content (`dmime.md` M2, M3, M10).
    #[error("chunk {} would be empty", .0.id())]
    Empty(ChunkType),
    /// More data than a chunk or a message can hold (`dmime.md` §14.1).
    #[error("chunk {} would be too large", .0.id())]
    TooLarge(ChunkType),
}

/// Seals `content`: the author's form, with blank origin signatures.
///
/// Random octets are drawn as libdime draws them: one per padded chunk under [`Padding::Libdime`], the ephemeral
/// key, then for every encrypted chunk IV, key and 16 octets per keyslot. The author's own keyslots are real, so
/// that a sent copy can be read.
pub fn seal<R: CryptoRng + ?Sized>(
    parties: &Parties<'_>,
    content: &Content,
    padding: Padding,
    rng: &mut R,
) -> Result<Vec<u8>, Error> {
    check_parties(parties)?;
    check_content(content)?;
    let planned = plan(parties, content, padding, rng);
    let mut draft = Draft::new(parties, &planned, rng)?;
    for chunk in &planned {
        draft.append_standard(chunk, &parties.author_keys.signing, rng);
    }
    draft.append_author_signatures(&parties.author_keys.signing, rng);
    for (kind, _) in signature::ORIGIN_SIGNATURES {
        draft.append_signature(kind, [0; SIGNATURE_SIZE], rng);
    }
    Ok(draft.finish())
}

fn check_parties(parties: &Parties<'_>) -> Result<(), Error> {
    if !is_sealable(parties.author) || !is_sealable(parties.recipient) {
        return Err(Error::Address);
    }
    let origin = parties.origin_signet.governs(parties.author.domain());
    let destination = parties.destination_signet.governs(parties.recipient.domain());
    if !origin || !destination {
        return Err(Error::Domain);
    }
    if !parties.author_signet.is_of(parties.author) || !parties.recipient_signet.is_of(parties.recipient) {
        return Err(Error::Signet);
    }
    let (keys, signet) = (parties.author_keys, parties.author_signet);
    let signing = keys.signing.verifying_key() == signet.signing_key();
    let encryption = keys.encryption.public_key() == signet.encryption_key();
    if signing && encryption {
        Ok(())
    } else {
        Err(Error::Keys)
    }
}

fn check_content(content: &Content) -> Result<(), Error> {
    CommonHeaders::decode(&content.common_headers)?;
    if content.display.is_empty() {
        return Err(Error::Empty(ChunkType::Display));
    }
    for (kind, data) in sections(content) {
        match data.len() {
            0 => return Err(Error::Empty(kind)),
            1..=MAX_DATA => {}
            _ => return Err(Error::TooLarge(kind)),
        }
    }
    Ok(())
}

/// The content's chunks in wire order.
fn sections(content: &Content) -> impl Iterator<Item = (ChunkType, &Bytes)> {
    let headers = [
        (ChunkType::CommonHeaders, &content.common_headers),
        (ChunkType::OtherHeaders, &content.other_headers),
    ];
    let display = content.display.iter().map(|data| (ChunkType::Display, data));
    let attachments = content
        .attachments
        .iter()
        .map(|data| (ChunkType::Attachment, data));
    headers.into_iter().chain(display).chain(attachments)
}

/// A standard chunk to be made.
struct Planned {
    kind: ChunkType,
    data: Bytes,
    payload_size: usize,
}

impl Planned {
    fn wire_size(&self) -> usize {
        wire_size(self.kind, self.payload_size)
    }
}

fn plan<R: CryptoRng + ?Sized>(
    parties: &Parties<'_>,
    content: &Content,
    padding: Padding,
    rng: &mut R,
) -> Vec<Planned> {
    let mut planned: Vec<Planned> = envelopes(parties)
        .into_iter()
        .map(|(kind, data)| Planned {
            kind,
            payload_size: padding.envelope_size(data.len(), rng),
            data,
        })
        .collect();
    planned.extend(sections(content).map(|(kind, data)| Planned {
        kind,
        payload_size: padding.payload_size(data.len(), rng),
        data: data.clone(),
    }));
    if padding == Padding::Buckets {
        level(&mut planned, ChunkType::Display);
        level(&mut planned, ChunkType::Attachment);
    }
    planned
}

/// Gives all chunks of a type the size of the largest.
fn level(planned: &mut [Planned], kind: ChunkType) {
    let of_kind = planned.iter().filter(|chunk| chunk.kind == kind);
    let largest = of_kind.map(|chunk| chunk.payload_size).max().unwrap_or(0);
    for chunk in planned.iter_mut().filter(|chunk| chunk.kind == kind) {
        chunk.payload_size = largest;
    }
}

fn envelopes(parties: &Parties<'_>) -> [(ChunkType, Bytes); 2] {
    let origin = OriginEnvelope {
        author: parties.author.clone(),
        author_signet: parties.author_signet.crypto_fingerprint(),
        destination: parties.recipient.domain().clone(),
        destination_signet: parties.destination_signet.crypto_fingerprint(),
    };
    let destination = DestinationEnvelope {
        recipient: parties.recipient.clone(),
        recipient_signet: parties.recipient_signet.crypto_fingerprint(),
        origin: parties.author.domain().clone(),
        origin_signet: parties.origin_signet.crypto_fingerprint(),
    };
    [
        (ChunkType::Origin, origin.encode().into()),
        (ChunkType::Destination, destination.encode().into()),
    ]
}

/// A message being written front to back into one buffer.
struct Draft {
    out: Vec<u8>,
    /// Every chunk so far.
    chunks: Vec<(ChunkType, Range<usize>)>,
    /// In the order of [`Actor::ALL`].
    keks: [Kek; 4],
}

impl Draft {
    /// Draws the ephemeral key and writes header and chunk 2.
    fn new<R: CryptoRng + ?Sized>(
        parties: &Parties<'_>,
        planned: &[Planned],
        rng: &mut R,
    ) -> Result<Self, Error> {
        let size = area_size(planned);
        let field = u32::try_from(size).map_err(|_| Error::TooLarge(ChunkType::Display))?;
        let ephemeral = SecretKey::generate(rng);
        let mut out = Vec::with_capacity(MESSAGE_HEADER_SIZE + size);
        out.extend_from_slice(&MAGIC.to_be_bytes());
        out.extend_from_slice(&field.to_be_bytes());
        let mut draft = Self {
            out,
            chunks: Vec::new(),
            keks: keks(parties, &ephemeral),
        };
        draft.append(ChunkType::Ephemeral, EPHEMERAL_SIZE, |out| {
            out.extend_from_slice(&ephemeral.public_key().to_compressed());
        });
        Ok(draft)
    }

    fn append_standard<R: CryptoRng + ?Sized>(&mut self, chunk: &Planned, author: &SigningKey, rng: &mut R) {
        self.append_encrypted(chunk.kind, chunk.payload_size, rng, |out| {
            payload::append(out, &chunk.data, chunk.payload_size, author);
        });
    }

    fn append_author_signatures<R: CryptoRng + ?Sized>(&mut self, author: &SigningKey, rng: &mut R) {
        let chunks = self
            .chunks
            .iter()
            .map(|(kind, range)| (*kind, &self.out[range.clone()]));
        let tree = author.sign(&signature::tree_of(chunks));
        self.append_signature(ChunkType::TreeSignature, tree.0, rng);
        let full = author.sign(&self.out[MESSAGE_HEADER_SIZE..]);
        self.append_signature(ChunkType::AuthorSignature, full.0, rng);
    }

    fn append_signature<R: CryptoRng + ?Sized>(
        &mut self,
        kind: ChunkType,
        value: [u8; SIGNATURE_SIZE],
        rng: &mut R,
    ) {
        self.append_encrypted(kind, SIGNATURE_SIZE, rng, |out| out.extend_from_slice(&value));
    }

    fn append_encrypted<R: CryptoRng + ?Sized>(
        &mut self,
        kind: ChunkType,
        payload_size: usize,
        rng: &mut R,
        plaintext: impl FnOnce(&mut Vec<u8>),
    ) {
        let content_key = draw_content_key(rng);
        let keks = self.keks.clone();
        self.append(kind, payload_size, |out| {
            let start = out.len();
            plaintext(out);
            encrypt(&content_key, &mut out[start..]);
            for actor in kind.readers() {
                out.extend_from_slice(&lock(&content_key, &keks[*actor as usize], rng));
            }
        });
    }

    fn append(&mut self, kind: ChunkType, payload_size: usize, body: impl FnOnce(&mut Vec<u8>)) {
        let start = self.out.len();
        self.out.push(kind.id());
        put_u24(&mut self.out, payload_size as u32);
        body(&mut self.out);
        debug_assert_eq!(self.out.len() - start, wire_size(kind, payload_size));
        self.chunks.push((kind, start..self.out.len()));
    }

    fn finish(self) -> Vec<u8> {
        self.out
    }
}

fn keks(parties: &Parties<'_>, ephemeral: &SecretKey) -> [Kek; 4] {
    Actor::ALL.map(|actor| {
        ephemeral.agree(&match actor {
            Actor::Author => parties.author_signet.encryption_key(),
            Actor::Origin => parties.origin_signet.encryption_key(),
            Actor::Destination => parties.destination_signet.encryption_key(),
            Actor::Recipient => parties.recipient_signet.encryption_key(),
        })
    })
}

fn draw_content_key<R: CryptoRng + ?Sized>(rng: &mut R) -> ContentKey {
    let mut key = ContentKey {
        iv: [0; 16],
        key: [0; 32],
    };
    rng.fill_bytes(&mut key.iv);
    rng.fill_bytes(&mut key.key);
    key
}

/// Payload sizes come from [`plan`] or are 64, so they are whole blocks and encryption cannot fail; if it ever did,
/// nothing readable may stay.
fn encrypt(key: &ContentKey, plaintext: &mut [u8]) {
    if suite::encrypt(&key.key, &key.iv, plaintext).is_err() {
        plaintext.zeroize();
    }
}

/// A slot is four whole blocks, so encryption cannot fail.
fn lock<R: CryptoRng + ?Sized>(content_key: &ContentKey, kek: &Kek, rng: &mut R) -> [u8; KEYSLOT_SIZE] {
    let mut random = [0; 16];
    rng.fill_bytes(&mut random);
    content_key.lock(kek, &random).unwrap_or([0; KEYSLOT_SIZE])
}

fn wire_size(kind: ChunkType, payload_size: usize) -> usize {
    HEADER_SIZE + payload_size + KEYSLOT_SIZE * kind.readers().len()
}

fn area_size(planned: &[Planned]) -> usize {
    let standard: usize = planned.iter().map(Planned::wire_size).sum();
    let signatures: usize = ChunkType::ALL
        .into_iter()
        .filter(|kind| kind.payload() == Payload::Signature)
        .map(|kind| wire_size(kind, SIGNATURE_SIZE))
        .sum();
    wire_size(ChunkType::Ephemeral, EPHEMERAL_SIZE) + standard + signatures
}
