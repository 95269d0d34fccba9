//! Private keys under a passphrase or the master key.
//!
//! | Offset | Size | Content |
//! |---|---|---|
//! | 0 | 8 | `dimedwk1` |
//! | 8 | 1 | what is inside: 1 organizational key, 2 user key, 3 bare signing key, 4 private keys of a key set |
//! | 9 | 1 | 1 passphrase, 2 master key |
//! | 10 | 4 | passphrase only: memory of Argon2id, KiB |
//! | 14 | 4 | passphrase only: passes |
//! | 18 | 1 | passphrase only: lanes |
//! | 19 | 16 | passphrase only: salt |
//! | 10 or 35 | 12 | random nonce |
//! | … | … | ChaCha20-Poly1305 ciphertext of the binary key file, and its tag (16) |
//!
//! Everything before the nonce is authenticated with the ciphertext. The key is Argon2id of the passphrase (version 19, 32 octets), or the master
//! key itself. Parameters are bounded before any work is done with them, so that a file cannot ask for all memory, or for a day.
//! Armored under [`LABEL`].

use argon2::{Algorithm, Argon2, Params, Version};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use super::{armor, private};
use crate::base::bytes::Reader;
use crate::crypto::at_rest::{self, Key};

/// Label of the armor.
pub const LABEL: &str = "WRAPPED PRIVATE KEY";

/// Longest passphrase, in octets.
pub const MAX_PASSPHRASE: usize = 1024;

const MAGIC: &[u8; 8] = b"dimedwk1";
const BY_PASSPHRASE: u8 = 1;
const BY_MASTER_KEY: u8 = 2;
const SALT_OFFSET: usize = 19;
/// Largest ciphertext: no private key comes near it.
const MAX_SEALED: usize = 4096;

/// What is wrong with a wrapped key, or the wish to make or open one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Not laid out as a wrapped key; the octet where that shows, counted from 0.
    #[error("not laid out as a wrapped key at octet {0}")]
    Layout(usize),
    /// The parameters of Argon2id are outside of [`Work`]'s bounds.
    #[error("{} KiB of memory, {} passes and {} lanes are out of bounds", .0.memory_kib, .0.passes, .0.lanes)]
    Work(Work),
    /// The passphrase is empty or longer than [`MAX_PASSPHRASE`].
    #[error("a passphrase has 1 to 1024 octets, not {0}")]
    Passphrase(usize),
    /// It is under a passphrase and a key was given, or the other way round.
    #[error("the key is under {0}")]
    Protection(&'static str),
    /// Another passphrase or master key, or damage: they cannot be told apart.
    #[error("the passphrase or master key is another one, or the file is damaged")]
    Locked,
    /// What is inside is not what the file says.
    #[error("inside is no {0}")]
    Inside(private::Kind),
}

/// Whether octets are armored text that holds keys of a user, each wrapped under a passphrase, and nothing else.
pub fn are_user_keys(octets: &[u8]) -> bool {
    let Some(blocks) = std::str::from_utf8(octets)
        .ok()
        .and_then(|text| armor::decode_all(text, private::ALL_LABELS).ok())
    else {
        return false;
    };
    let is_wrapped = |block| match private::Stored::from_block(block) {
        Ok(private::Stored::Wrapped(wrapped)) => {
            let by_passphrase = matches!(wrapped.protection(), Protection::Passphrase(_));
            by_passphrase && wrapped.inside() != private::Kind::Organization
        }
        _ => false,
    };
    !blocks.is_empty() && blocks.iter().all(is_wrapped)
}

/// Work of Argon2id: what a guess costs, and opening.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Work {
    /// Memory in KiB: at least 8 for each lane, at most 1 GiB.
    pub memory_kib: u32,
    /// Passes over it: 1 to 64; passes times memory at most 4 GiB.
    pub passes: u32,
    /// Lanes: 1 to 16.
    pub lanes: u8,
}

impl Default for Work {
    /// 64 MiB, 3 passes, 4 lanes: the second recommended choice of RFC 9106 §4.
    fn default() -> Self {
        Self {
            memory_kib: 65_536,
            passes: 3,
            lanes: 4,
        }
    }
}

impl Work {
    /// Most memory. KiB.
    pub const MAX_MEMORY_KIB: u32 = 1 << 20;

    fn check(self) -> Result<Self, Error> {
        let filled = u64::from(self.memory_kib) * u64::from(self.passes);
        let bounded = (8 * u32::from(self.lanes)..=Self::MAX_MEMORY_KIB).contains(&self.memory_kib)
            && (1..=64).contains(&self.passes)
            && (1..=16).contains(&self.lanes)
            && filled <= 4 * u64::from(Self::MAX_MEMORY_KIB);
        bounded.then_some(self).ok_or(Error::Work(self))
    }
}

/// What a wrapped key is under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protection {
    /// A passphrase.
    Passphrase(Work),
    /// The master key of an installation.
    MasterKey,
}

/// A private key that cannot be used without a passphrase or the master key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrapped {
    inside: private::Kind,
    protection: Protection,
    header: Vec<u8>,
    sealed: Vec<u8>,
}

impl Wrapped {
    /// Puts a key under a passphrase.
    ///
    /// Errors: [`Error::Passphrase`], [`Error::Work`].
    pub fn with_passphrase<R: CryptoRng + ?Sized>(
        key: &private::PrivateKey,
        passphrase: &[u8],
        work: Work,
        rng: &mut R,
    ) -> Result<Self, Error> {
        let mut salt = [0; 16];
        rng.fill_bytes(&mut salt);
        let mut header = header(key.kind(), BY_PASSPHRASE);
        header.extend_from_slice(&work.memory_kib.to_be_bytes());
        header.extend_from_slice(&work.passes.to_be_bytes());
        header.push(work.lanes);
        header.extend_from_slice(&salt);
        let wrapping = derive(passphrase, &salt, work)?;
        Ok(Self::seal(
            key,
            Protection::Passphrase(work),
            header,
            &wrapping,
            rng,
        ))
    }

    /// Puts a key under the master key.
    pub fn with_master_key<R: CryptoRng + ?Sized>(
        key: &private::PrivateKey,
        master: &Key,
        rng: &mut R,
    ) -> Self {
        let header = header(key.kind(), BY_MASTER_KEY);
        Self::seal(key, Protection::MasterKey, header, master, rng)
    }

    fn seal<R: CryptoRng + ?Sized>(
        key: &private::PrivateKey,
        protection: Protection,
        header: Vec<u8>,
        wrapping: &Key,
        rng: &mut R,
    ) -> Self {
        Self {
            inside: key.kind(),
            protection,
            sealed: wrapping.seal(rng, &header, key.encode().expose()),
            header,
        }
    }

    /// What it says is inside.
    pub fn inside(&self) -> private::Kind {
        self.inside
    }

    /// What it is under.
    pub fn protection(&self) -> Protection {
        self.protection
    }

    /// Takes the key out with the passphrase.
    ///
    /// Errors: [`Error::Protection`], [`Error::Passphrase`], [`Error::Locked`], [`Error::Inside`].
    pub fn open_with_passphrase(&self, passphrase: &[u8]) -> Result<private::PrivateKey, Error> {
        let Protection::Passphrase(work) = self.protection else {
            return Err(Error::Protection("a master key"));
        };
        let salt = self.header.get(SALT_OFFSET..).unwrap_or_default();
        self.open(&derive(passphrase, salt, work)?)
    }

    /// Takes the key out with the master key.
    ///
    /// Errors: [`Error::Protection`], [`Error::Locked`], [`Error::Inside`].
    pub fn open_with_master_key(&self, master: &Key) -> Result<private::PrivateKey, Error> {
        match self.protection {
            Protection::MasterKey => self.open(master),
            Protection::Passphrase(_) => Err(Error::Protection("a passphrase")),
        }
    }

    fn open(&self, wrapping: &Key) -> Result<private::PrivateKey, Error> {
        let plain = wrapping.open(&self.header, &self.sealed);
        let plain = Zeroizing::new(plain.map_err(|_| Error::Locked)?);
        let key = private::PrivateKey::decode(&plain).ok();
        key.filter(|key| key.kind() == self.inside)
            .ok_or(Error::Inside(self.inside))
    }

    /// Reads the binary form.
    ///
    /// Errors: [`Error::Layout`], [`Error::Work`].
    pub fn decode(octets: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(octets);
        let cut = |_| Error::Layout(octets.len());
        if reader.array().map_err(cut)? != *MAGIC {
            return Err(Error::Layout(0));
        }
        let inside = private::Kind::from_code(reader.u8().map_err(cut)?).ok_or(Error::Layout(8))?;
        let protection = match reader.u8().map_err(cut)? {
            BY_PASSPHRASE => {
                let work = Work {
                    memory_kib: reader.u32().map_err(cut)?,
                    passes: reader.u32().map_err(cut)?,
                    lanes: reader.u8().map_err(cut)?,
                };
                reader.array::<16>().map_err(cut)?;
                Protection::Passphrase(work.check()?)
            }
            BY_MASTER_KEY => Protection::MasterKey,
            _ => return Err(Error::Layout(9)),
        };
        let sealed = reader.rest();
        let (header, _) = octets.split_at(octets.len() - sealed.len());
        match (at_rest::OVERHEAD + 1..=MAX_SEALED).contains(&sealed.len()) {
            true => Ok(Self {
                inside,
                protection,
                header: header.to_vec(),
                sealed: sealed.to_vec(),
            }),
            false => Err(Error::Layout(octets.len().min(header.len() + MAX_SEALED))),
        }
    }

    /// The binary form.
    pub fn encode(&self) -> Vec<u8> {
        [&self.header[..], &self.sealed].concat()
    }

    /// The armored form.
    pub fn to_armor(&self) -> String {
        armor::encode(LABEL, &self.encode())
    }
}

fn header(inside: private::Kind, by: u8) -> Vec<u8> {
    [&MAGIC[..], &[inside.code(), by]].concat()
}

fn derive(passphrase: &[u8], salt: &[u8], work: Work) -> Result<Key, Error> {
    if !(1..=MAX_PASSPHRASE).contains(&passphrase.len()) {
        return Err(Error::Passphrase(passphrase.len()));
    }
    let Work {
        memory_kib,
        passes,
        lanes,
    } = work.check()?;
    let params = Params::new(memory_kib, passes, lanes.into(), Some(32)).map_err(|_| Error::Work(work))?;
    let mut key = Zeroizing::new([0; 32]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(passphrase, salt, &mut *key)
        .map_err(|_| Error::Work(work))?;
    Ok(Key::from_bytes(*key))
}

#[cfg(test)]
mod tests;
