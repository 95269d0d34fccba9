//! An author and an origin who have all keys and do not keep the rules: any plaintext in any chunk, rightly encrypted and
//! rightly signed (`dmime2.md` §6–§8, written a second time here, so that nothing is tested against itself).

use std::ops::Range;

use dimed::crypto::aead::{TAG_SIZE, open_once, seal_once};
use dimed::crypto::ed25519::SigningKey;
use dimed::crypto::suite::hpke::Suite;
use dimed::dime::dmime2::seal::Content;
use hkdf::Hkdf;
use rand_core::Rng;
use sha2::{Digest, Sha256, Sha512};

use super::correspondents::{CORRESPONDENTS, Counter};

const SLOT: usize = 48;

/// A message taken apart.
#[derive(Clone)]
pub struct Hostile {
    prefix: [u8; 4],
    object: Vec<u8>,
    chunks: Vec<Chunk>,
}

#[derive(Clone)]
struct Chunk {
    kind: u8,
    /// In the object.
    place: Range<usize>,
    /// Ciphertext and tag, in the object.
    sealed: Range<usize>,
    content_key: [u8; 32],
    plaintext: Vec<u8>,
}

impl Hostile {
    /// Seals, and keeps the content keys.
    pub fn new(suite: Suite, content: &Content, body: &[u8], seed: u64) -> Self {
        let object = CORRESPONDENTS
            .seal(suite, content, body, seed)
            .expect("good content");
        let mut keys = Counter(seed);
        let encapsulations = match suite {
            Suite::X25519 => 4 * 32,
            Suite::XWing => 4 * 64,
        };
        keys.fill_bytes(&mut vec![0; encapsulations]);
        let prefix = *object.first_chunk().unwrap();
        let mut hostile = Self {
            prefix,
            chunks: split(&object, &mut keys),
            object,
        };
        for index in 1..hostile.chunks.len() - 1 {
            hostile.chunks[index].plaintext = hostile.decrypt(index);
        }
        hostile.chunks.last_mut().unwrap().plaintext = vec![0; 256];
        hostile
    }

    /// How many chunks there are.
    pub fn count(&self) -> usize {
        self.chunks.len()
    }

    /// Where a chunk lies in the object.
    pub fn place(&self, index: usize) -> Range<usize> {
        self.chunks[index].place.clone()
    }

    /// Where its ciphertext and tag lie in the object.
    pub fn sealed_place(&self, index: usize) -> Range<usize> {
        self.chunks[index].sealed.clone()
    }

    /// The plaintext of a chunk, padding and all; its size is given.
    pub fn plaintext(&mut self, index: usize) -> &mut [u8] {
        &mut self.chunks[index].plaintext
    }

    /// Puts data into a chunk as a writer does: no flag, length, data, zeros. What does not fit is cut off.
    pub fn put(&mut self, index: usize, data: &[u8]) {
        let plaintext = &mut self.chunks[index].plaintext;
        let data = &data[..data.len().min(plaintext.len() - 5)];
        plaintext.fill(0);
        plaintext[1..5].copy_from_slice(&(data.len() as u32).to_be_bytes());
        plaintext[5..5 + data.len()].copy_from_slice(data);
    }

    /// Encrypts everything again and signs as the author.
    pub fn sealed(mut self) -> Vec<u8> {
        self.seal();
        self.object
    }

    /// As [`sealed`](Self::sealed), then signed as the origin without looking at anything.
    pub fn signed(mut self) -> Vec<u8> {
        self.seal();
        self.fill(self.count() - 1, &CORRESPONDENTS.origin.keys.signing);
        self.object
    }

    fn seal(&mut self) {
        let last = self.count() - 1;
        for index in 1..last - 1 {
            self.encrypt(index);
        }
        self.commit(last);
        self.commit(last - 1);
        self.fill(last - 1, &CORRESPONDENTS.author.keys.signing);
    }

    fn fill(&mut self, index: usize, key: &SigningKey) {
        let (label, blanks): (&[u8], usize) = match self.chunks[index].kind {
            225 => (b"D/MIME 2 author signature\0", 2),
            _ => (b"D/MIME 2 origin signature\0", 1),
        };
        let count = self.chunks.len();
        let hashes: Vec<u8> = (0..count)
            .flat_map(|index| match index + blanks < count {
                true => self.hash(index),
                false => self.blank_hash(index),
            })
            .collect();
        let count = (count as u32).to_be_bytes();
        let signature = key.sign(&[label, &self.prefix, &count, &hashes].concat());
        self.put(index, &signature.0);
        self.encrypt(index);
    }

    fn hash(&self, index: usize) -> [u8; 64] {
        let chunk = &self.object[self.chunks[index].place.clone()];
        self.hashed(b"D/MIME 2 chunk\0", index, chunk)
    }

    fn blank_hash(&self, index: usize) -> [u8; 64] {
        let Chunk { place, sealed, .. } = &self.chunks[index];
        let mut chunk = self.object[place.clone()].to_vec();
        chunk[sealed.start - place.start..sealed.end - place.start].fill(0);
        self.hashed(b"D/MIME 2 blank chunk\0", index, &chunk)
    }

    fn hashed(&self, label: &[u8], index: usize, chunk: &[u8]) -> [u8; 64] {
        let mut hash = Sha512::new();
        for piece in [label, &self.prefix, &(index as u32).to_be_bytes(), chunk] {
            hash.update(piece);
        }
        hash.finalize().into()
    }

    /// K and commitment as the chunks before this one now stand.
    fn keys(&self, index: usize) -> ([u8; 32], [u8; 32]) {
        let bound = match index {
            1 | 2 => self.hash(0),
            _ => {
                let hashes = [self.hash(0), self.hash(1), self.hash(2)].concat();
                let envelope = [b"D/MIME 2 envelope\0".as_slice(), &self.prefix, &hashes].concat();
                Sha512::digest(envelope).into()
            }
        };
        let chunk = &self.chunks[index];
        let place = (index as u32).to_be_bytes();
        let info = [self.prefix.as_slice(), &[chunk.kind], &place, &bound].concat();
        let mut okm = [0; 64];
        let hkdf = Hkdf::<Sha256>::new(Some(b"D/MIME 2 content\0"), &chunk.content_key);
        hkdf.expand(&info, &mut okm).unwrap();
        (*okm.first_chunk().unwrap(), *okm.last_chunk().unwrap())
    }

    fn decrypt(&self, index: usize) -> Vec<u8> {
        let (key, commitment) = self.keys(index);
        let Chunk { place, sealed, .. } = &self.chunks[index];
        assert_eq!(self.object[place.start + 4..sealed.start], commitment);
        let mut plaintext = self.object[sealed.clone()].to_vec();
        let tag = plaintext.split_off(plaintext.len() - TAG_SIZE);
        open_once(&key, &mut plaintext, tag.first_chunk().unwrap()).expect("our own ciphertext");
        plaintext
    }

    fn commit(&mut self, index: usize) -> [u8; 32] {
        let (key, commitment) = self.keys(index);
        let Chunk { place, sealed, .. } = &self.chunks[index];
        self.object[place.start + 4..sealed.start].copy_from_slice(&commitment);
        key
    }

    fn encrypt(&mut self, index: usize) {
        let key = self.commit(index);
        let Chunk {
            sealed, plaintext, ..
        } = &self.chunks[index];
        let mut ciphertext = plaintext.clone();
        let tag = seal_once(&key, &mut ciphertext);
        ciphertext.extend_from_slice(&tag);
        self.object[sealed.clone()].copy_from_slice(&ciphertext);
    }
}

/// Cuts an object into chunks, whose content keys are drawn in order.
fn split(object: &[u8], keys: &mut Counter) -> Vec<Chunk> {
    let mut chunks = Vec::new();
    let mut at = 8;
    while at < object.len() {
        let kind = object[at];
        let payload = u32::from_be_bytes([0, object[at + 1], object[at + 2], object[at + 3]]) as usize;
        let slots = match kind {
            2 => 0,
            4 | 5 | 225 => 3,
            255 => 4,
            _ => 2,
        };
        let end = at + 4 + payload;
        let mut content_key = [0; 32];
        if kind != 2 {
            keys.fill_bytes(&mut content_key);
        }
        chunks.push(Chunk {
            kind,
            place: at..end + slots * SLOT,
            sealed: at + 36..end,
            content_key,
            plaintext: Vec::new(),
        });
        at = end + slots * SLOT;
    }
    chunks
}
