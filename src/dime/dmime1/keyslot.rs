//! Keyslots: the content key of a chunk, once for each actor who may read it (`dmime.md` §6).
//!
//! | Offset | Size | Before encryption |
//! |---|---|---|
//! | 0 | 16 | fresh random octets `RND` |
//! | 16 | 16 | content IV ^ `RND` |
//! | 32 | 32 | content key |
//!
//! Encrypted with AES-256-CBC under the actor's key-encryption key and IV. Nothing tells a right slot from a wrong
//! one: a wrong key gives garbage that a signature catches later.

use std::array;
use std::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::chunk::KEYSLOT_SIZE;
use crate::crypto::suite::secp256k1_aes256::{self as suite, Kek};

/// Key and IV of one chunk. Wiped on drop.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct ContentKey {
    /// CBC initialisation vector.
    pub iv: [u8; 16],
    /// AES-256 key.
    pub key: [u8; 32],
}

impl ContentKey {
    /// The keyslot for the owner of `kek`; `random` must be fresh in every slot (`dmime.md` §17 W3).
    pub fn lock(&self, kek: &Kek, random: &[u8; 16]) -> Result<[u8; KEYSLOT_SIZE], suite::Error> {
        let mut slot = [0; KEYSLOT_SIZE];
        slot[..16].copy_from_slice(random);
        slot[16..32].copy_from_slice(&xor(&self.iv, random));
        slot[32..].copy_from_slice(&self.key);
        suite::encrypt(&kek.key, &kek.iv, &mut slot)?;
        Ok(slot)
    }

    /// What a keyslot holds for the owner of `kek`, right or not.
    pub fn unlock(kek: &Kek, slot: &[u8; KEYSLOT_SIZE]) -> Result<Self, suite::Error> {
        let mut plain = Zeroizing::new(*slot);
        suite::decrypt(&kek.key, &kek.iv, plain.as_mut_slice())?;
        Ok(Self {
            iv: array::from_fn(|place| plain[place] ^ plain[place + 16]),
            key: array::from_fn(|place| plain[place + 32]),
        })
    }
}

impl fmt::Debug for ContentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ContentKey([secret])")
    }
}

fn xor(a: &[u8; 16], b: &[u8; 16]) -> [u8; 16] {
    array::from_fn(|place| a[place] ^ b[place])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::base::encoding::hex;
    use crate::crypto::suite::secp256k1_aes256::{PublicKey, SecretKey};

    /// `dmime.md` §20: ephemeral private key 1, actor private key 2.
    fn published_kek() -> Kek {
        let mut one = [0; 32];
        one[31] = 1;
        let mut two = [0; 32];
        two[31] = 2;
        let actor = SecretKey::from_bytes(&two).unwrap().public_key();
        assert_eq!(
            hex(&actor.to_compressed()),
            "02c6047f9441ed7d6d3045406e95c07cd85c778e4b8cef3ca7abac09b95c709ee5"
        );
        SecretKey::from_bytes(&one).unwrap().agree(&actor)
    }

    #[test]
    fn derives_the_published_key_encryption_key() {
        let kek = published_kek();
        assert_eq!(hex(&kek.iv), "7928a1f8985dffba7bb6e639e6296e83");
        assert_eq!(
            hex(&kek.key),
            "7162dc961d2dc676a31caa14e07120ff4f7b44da25e64a934fc8cd815adc9ae5"
        );
        let ephemeral = "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798";
        let mut one = [0; 32];
        one[31] = 1;
        let public: PublicKey = SecretKey::from_bytes(&one).unwrap().public_key();
        assert_eq!(hex(&public.to_compressed()), ephemeral);
    }

    #[test]
    fn locks_the_published_slot_and_unlocks_it() {
        let content = ContentKey {
            iv: array::from_fn(|place| 0x10 + place as u8),
            key: array::from_fn(|place| 0x20 + place as u8),
        };
        let slot = content
            .lock(&published_kek(), &array::from_fn(|place| place as u8))
            .unwrap();
        assert_eq!(
            hex(&slot),
            "2ff6f770c232649d384b2b3919f1eef04cc625a23ae04250bec2d32adb0cf191\
             e37f983e58c7ce27082c9054eb2504456223ca7bdcb814a20fb1a484ccdda8cd"
        );
        assert_eq!(ContentKey::unlock(&published_kek(), &slot), Ok(content));
    }

    #[test]
    fn a_wrong_key_gives_something_else() {
        let content = ContentKey {
            iv: [1; 16],
            key: [2; 32],
        };
        let slot = content.lock(&published_kek(), &[3; 16]).unwrap();
        let other = Kek {
            iv: [0; 16],
            key: [0; 32],
        };
        assert_ne!(ContentKey::unlock(&other, &slot), Ok(content));
    }
}
