//! The author's side: seal a message for one recipient (`dmime2.md` §10.1).
//!
//! All sizes are known in advance, so the object is written in one forward pass with one chunk in memory. Randomness is
//! drawn in the order of appendix A.

use std::fmt;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;

use rand_core::CryptoRng;
use zeroize::Zeroizing;

use super::MessageId;
use super::derivation::{
    self, ChunkKeys, Hash, Key, Place, author_input, blank_hash, chunk_hash, envelope_hash, info, seal_slot,
};
use super::envelope::{DestinationEnvelope, OriginEnvelope, is_sealable};
use super::layout::{
    Actor, CHUNK_HEADER_SIZE, COMMITMENT_SIZE, ChunkRef, ChunkType, HEADER_SIZE, PAYLOAD_OVERHEAD,
    SIGNATURE_SIZE, SLOT_SIZE, chunk_header, keys_payload_size, prefix, sealed_range,
};
use super::origin::fill;
use super::padding;
pub use super::plan::{Content, Part, Sizes};
use super::plan::{Data, Plan, Planned};
use super::rule::Rule;
use crate::crypto::aead::{TAG_SIZE, seal_once, tag_once};
use crate::crypto::ed25519::SigningKey;
use crate::crypto::hash::sha256;
use crate::crypto::suite::hpke::{self, Context, PublicKey, SecretKey, Suite};
use crate::dime::fingerprint::FullFingerprint;
use crate::mail::address::{Domain, Mailbox};

/// Why a message cannot be sealed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The keys are of different suites.
    #[error("the keys of the four actors are of different suites")]
    Suites,
    /// An address that chunk 4 or 5 cannot carry, or not one of its organization.
    #[error("an address cannot stand in an envelope, or its domain is not that of its organization")]
    Names,
    /// The content breaks this rule H or M.
    #[error("the content breaks rule {0}")]
    Content(Rule),
    /// Header text of more than one chunk, more than 4096 chunks, or more than 4 GiB.
    #[error("the message is too large for the format")]
    TooLarge,
    /// Padded sizes that hold too little or are no buckets.
    #[error("the padded sizes do not fit the content")]
    Sizes,
    /// A public key with which no secret can be shared.
    #[error(transparent)]
    Key(#[from] hpke::Error),
    /// Reading the body or writing the object failed.
    #[error("reading the body or writing the object failed")]
    Io(#[from] io::Error),
}

/// Who seals.
#[derive(Debug, Clone)]
pub struct Author {
    /// Its address.
    pub address: Mailbox,
    /// Its signet.
    pub signet: FullFingerprint,
    /// The key in that signet, if the author shall be able to read the sent message.
    pub copy: Option<PublicKey>,
}

/// The author's or the recipient's organization.
#[derive(Debug, Clone)]
pub struct Organization {
    /// Its domain.
    pub domain: Domain,
    /// Its signet.
    pub signet: FullFingerprint,
    /// The key in that signet.
    pub key: PublicKey,
}

/// Who the message is for.
#[derive(Debug, Clone)]
pub struct Recipient {
    /// Its address.
    pub address: Mailbox,
    /// Its signet.
    pub signet: FullFingerprint,
    /// The key in that signet.
    pub key: PublicKey,
}

/// The four actors of a message, from verified signets.
#[derive(Clone)]
pub struct Parties {
    /// When it is sealed, unix seconds.
    pub created: u64,
    /// Who seals.
    pub author: Author,
    /// The author's organization.
    pub origin: Organization,
    /// The recipient's organization.
    pub destination: Organization,
    /// Who it is for.
    pub recipient: Recipient,
}

/// Names nobody: who writes to whom is not for logs.
impl fmt::Debug for Parties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Parties([private])")
    }
}

/// A message as its origin gets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sealed {
    /// Which message it is.
    pub message_id: MessageId,
    /// The suite of the keys.
    pub suite: Suite,
    /// Octets written.
    pub size: u64,
}

/// How content keys are made of what the generator gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContentKeys {
    /// Hashed together with a tag over the plaintext, so that a generator that repeats itself, as in a cloned machine,
    /// still never encrypts two texts under one key (§10.1).
    Mixed,
    /// As drawn: two writers with the same randomness make the same octets (appendix A). For test vectors.
    AsDrawn,
}

/// Seals with the default padding and mixed content keys.
///
/// `body` is what the ranges of the parts refer to, from position 0 on.
pub fn write<R: CryptoRng + ?Sized>(
    parties: &Parties,
    signing_key: &SigningKey,
    content: &Content,
    body: impl Read + Seek,
    out: impl Write,
    rng: &mut R,
) -> Result<Sealed, Error> {
    let sizes = Sizes::of(content);
    write_with(
        parties,
        signing_key,
        (content, &sizes),
        body,
        out,
        (rng, ContentKeys::Mixed),
    )
}

/// Seals with given padded sizes and a given use of the randomness.
pub fn write_with<R: CryptoRng + ?Sized>(
    parties: &Parties,
    signing_key: &SigningKey,
    (content, sizes): (&Content, &Sizes),
    body: impl Read + Seek,
    out: impl Write,
    (rng, content_keys): (&mut R, ContentKeys),
) -> Result<Sealed, Error> {
    let suite = parties.check()?;
    let plan = Plan::new(parties.envelopes(), content, sizes)?;
    let size = plan.size(suite)?;
    let mut sealer = Sealer::start(parties, suite, out, rng, content_keys, size)?;
    let mut body = Body { source: body };
    for planned in plan.chunks() {
        sealer.chunk(planned, &mut body)?;
    }
    sealer.finish(signing_key)
}

impl Parties {
    /// One suite for all, names that the envelopes can carry, and rule E5.
    fn check(&self) -> Result<Suite, Error> {
        let suite = self.recipient.key.suite();
        let keys = [&self.origin.key, &self.destination.key]
            .into_iter()
            .chain(&self.author.copy);
        if keys.into_iter().any(|key| key.suite() != suite) {
            return Err(Error::Suites);
        }
        let fits = |address: &Mailbox, organization: &Organization| {
            is_sealable(address) && *address.domain() == organization.domain
        };
        match fits(&self.author.address, &self.origin) && fits(&self.recipient.address, &self.destination) {
            true => Ok(suite),
            false => Err(Error::Names),
        }
    }

    /// The text of chunks 4 and 5.
    fn envelopes(&self) -> [Vec<u8>; 2] {
        let origin = OriginEnvelope {
            author: self.author.address.clone(),
            author_signet: self.author.signet,
            destination: self.destination.domain.clone(),
            destination_signet: self.destination.signet,
        };
        let destination = DestinationEnvelope {
            recipient: self.recipient.address.clone(),
            recipient_signet: self.recipient.signet,
            origin: self.origin.domain.clone(),
            origin_signet: self.origin.signet,
        };
        [origin.encode(), destination.encode()]
    }

    /// Encapsulates to the four actors. Without an author copy, to a key that nobody keeps.
    fn contexts<R: CryptoRng + ?Sized>(
        &self,
        suite: Suite,
        rng: &mut R,
    ) -> Result<([Context; 4], Vec<u8>), Error> {
        let own = match &self.author.copy {
            Some(key) => key.clone(),
            None => SecretKey::generate(suite, rng).public_key(),
        };
        let mut encapsulations = Vec::with_capacity(keys_payload_size(suite));
        encapsulations.extend_from_slice(&self.created.to_be_bytes());
        let mut context = |actor, key: &PublicKey, signet| -> Result<Context, Error> {
            let info = info(prefix(suite), actor, self.created, signet);
            let (encapsulation, context) = key.encapsulate(&info, rng)?;
            encapsulations.extend_from_slice(&encapsulation);
            Ok(context)
        };
        let contexts = [
            context(Actor::Author, &own, &self.author.signet)?,
            context(Actor::Origin, &self.origin.key, &self.origin.signet)?,
            context(
                Actor::Destination,
                &self.destination.key,
                &self.destination.signet,
            )?,
            context(Actor::Recipient, &self.recipient.key, &self.recipient.signet)?,
        ];
        Ok((contexts, encapsulations))
    }
}

/// Where parts are read from.
struct Body<B> {
    source: B,
}

impl<B: Read + Seek> Body<B> {
    fn read(&mut self, range: &Range<u64>, target: &mut [u8]) -> io::Result<()> {
        self.source.seek(SeekFrom::Start(range.start))?;
        self.source.read_exact(target)
    }
}

/// The pass that writes the object.
struct Sealer<'r, W, R: ?Sized> {
    out: W,
    rng: &'r mut R,
    content_keys: ContentKeys,
    suite: Suite,
    size: u32,
    contexts: [Context; 4],
    hashes: Vec<Hash>,
    /// ENV, once three chunks are done.
    envelope: Hash,
    chunk: Zeroizing<Vec<u8>>,
}

impl<'r, W: Write, R: CryptoRng + ?Sized> Sealer<'r, W, R> {
    /// Writes header and chunk 2.
    fn start(
        parties: &Parties,
        suite: Suite,
        mut out: W,
        rng: &'r mut R,
        content_keys: ContentKeys,
        size: u32,
    ) -> Result<Self, Error> {
        let (contexts, payload) = parties.contexts(suite, rng)?;
        let mut keys = chunk_header(ChunkType::Keys, payload.len()).to_vec();
        keys.extend_from_slice(&payload);
        out.write_all(&prefix(suite))?;
        out.write_all(&size.to_be_bytes())?;
        out.write_all(&keys)?;
        Ok(Self {
            out,
            rng,
            content_keys,
            suite,
            size,
            contexts,
            hashes: vec![chunk_hash(prefix(suite), 0, &keys)],
            envelope: [0; 64],
            chunk: Zeroizing::new(Vec::new()),
        })
    }

    /// Seals and writes one chunk that is not a signature.
    fn chunk(&mut self, planned: &Planned<'_>, body: &mut Body<impl Read + Seek>) -> Result<(), Error> {
        self.blank(planned.kind, planned.plaintext);
        let range = sealed_range(planned.kind, self.chunk.len());
        let plaintext = &mut self.chunk[range.start..range.end - TAG_SIZE];
        place_data(planned, body, plaintext)?;
        let drawn = self.draw();
        let content_key = match self.content_keys {
            ContentKeys::AsDrawn => drawn,
            // A keyed tag instead of another hash, because the chunk is hashed as it is.
            ContentKeys::Mixed => mix(
                &drawn,
                &[&tag_once(&drawn, &self.chunk[range.start..range.end - TAG_SIZE])],
            ),
        };
        let keys = self.prepare(planned.kind, self.hashes.len() as u32, &content_key);
        if let Some((plaintext, tag)) = self.chunk[range].split_last_chunk_mut::<TAG_SIZE>() {
            *tag = seal_once(&keys.encryption, plaintext);
        }
        self.put()?;
        if self.hashes.len() == super::layout::FIRST_CONTENT as usize {
            self.envelope = envelope_hash(prefix(self.suite), &self.hashes);
        }
        Ok(())
    }

    /// Prepares both signature chunks, signs, and writes them; the second one stays blank.
    fn finish(mut self, signing_key: &SigningKey) -> Result<Sealed, Error> {
        let index = self.hashes.len() as u32;
        let keys = self.signature_chunk(ChunkType::AuthorSignature, index);
        let mut own = std::mem::take(&mut *self.chunk);
        self.signature_chunk(ChunkType::OriginSignature, index + 1);
        let prefix = prefix(self.suite);
        let blank = [
            blank_hash(prefix, index, ChunkRef::new(ChunkType::AuthorSignature, &own)),
            blank_hash(
                prefix,
                index + 1,
                ChunkRef::new(ChunkType::OriginSignature, &self.chunk),
            ),
        ];
        let signature = signing_key.sign(&author_input(prefix, &self.hashes, &blank));
        fill(ChunkType::AuthorSignature, &mut own, &keys, &signature.0);
        self.out.write_all(&own)?;
        self.out.write_all(&self.chunk)?;
        self.out.flush()?;
        Ok(Sealed {
            message_id: MessageId(self.hashes[0]),
            suite: self.suite,
            size: HEADER_SIZE as u64 + u64::from(self.size),
        })
    }

    /// A blank signature chunk with commitment and slots.
    fn signature_chunk(&mut self, kind: ChunkType, index: u32) -> ChunkKeys {
        self.blank(kind, SIGNATURE_SIZE);
        let drawn = self.draw();
        let content_key = match self.content_keys {
            ContentKeys::AsDrawn => drawn,
            // What will be signed is not known yet, but follows from this.
            ContentKeys::Mixed => {
                let made: Vec<&[u8]> = self.hashes.iter().map(|hash| &hash[..]).collect();
                mix(&drawn, &made)
            }
        };
        self.prepare(kind, index, &content_key)
    }

    /// Starts a chunk: header, then zeros.
    fn blank(&mut self, kind: ChunkType, plaintext: usize) {
        let payload = plaintext + PAYLOAD_OVERHEAD;
        // What it held last has been encrypted in place.
        self.chunk.clear();
        self.chunk.extend_from_slice(&chunk_header(kind, payload));
        self.chunk.resize(kind.chunk_size(payload), 0);
    }

    fn draw(&mut self) -> Key {
        let mut drawn = Key::default();
        self.rng.fill_bytes(&mut *drawn);
        drawn
    }

    /// Puts commitment and slots into the chunk.
    fn prepare(&mut self, kind: ChunkType, index: u32, content_key: &[u8; 32]) -> ChunkKeys {
        let place = Place {
            prefix: prefix(self.suite),
            kind,
            index,
            message_id: &self.hashes[0],
            envelope: &self.envelope,
        };
        let keys = place.derive(content_key);
        self.chunk[CHUNK_HEADER_SIZE..CHUNK_HEADER_SIZE + COMMITMENT_SIZE].copy_from_slice(&keys.commitment);
        let slots = sealed_range(kind, self.chunk.len()).end;
        for (slot, actor) in self.chunk[slots..]
            .chunks_exact_mut(SLOT_SIZE)
            .zip(kind.readers())
        {
            let slot_key = place.slot_key(&self.contexts[*actor as usize]);
            slot.copy_from_slice(&seal_slot(&slot_key, content_key));
        }
        keys
    }

    fn put(&mut self) -> io::Result<()> {
        let index = self.hashes.len() as u32;
        self.hashes
            .push(derivation::chunk_hash(prefix(self.suite), index, &self.chunk));
        self.out.write_all(&self.chunk)
    }
}

/// Writes flags, length and data into a plaintext of zeros.
fn place_data(
    planned: &Planned<'_>,
    body: &mut Body<impl Read + Seek>,
    plaintext: &mut [u8],
) -> io::Result<()> {
    padding::write_header(plaintext, planned.data.len(), planned.continues);
    let data = &mut plaintext[padding::PLAINTEXT_HEADER_SIZE..][..planned.data.len()];
    match &planned.data {
        Data::Text(text) => data.copy_from_slice(text),
        Data::Body { head, range } => {
            let head = head.as_slice();
            let (front, back) = data.split_at_mut(head.len());
            front.copy_from_slice(head);
            if !back.is_empty() {
                body.read(range, back)?;
            }
        }
    }
    Ok(())
}

/// A content key from fresh randomness and what stands for the text that it will encrypt.
fn mix(drawn: &[u8; 32], pieces: &[&[u8]]) -> Key {
    let labelled: [&[u8]; 2] = [b"dimed content key\0", drawn];
    Key::new(sha256(&[&labelled[..], pieces].concat()))
}
