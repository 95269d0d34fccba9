//! The plaintext of a standard payload (`dmime.md` §5.2).
//!
//! | Offset | Size | Field |
//! |---|---|---|
//! | 0 | 64 | the author's signature over everything after itself |
//! | 64 | 3 | `n`, the length of the data, at least 1 |
//! | 67 | 1 | flags, always 0 |
//! | 68 | 1 | pad octet: the padding's length modulo 256 |
//! | 69 | n | data |
//! | 69 + n | … | padding, every octet equal to the pad octet |

use std::ops::Range;

use subtle::{Choice, ConstantTimeEq};

use super::chunk::SIGNATURE_SIZE;
use super::fault::Rule;
use super::padding::OVERHEAD;
use crate::base::bytes::put_u24;
use crate::crypto::ed25519::{Signature, SigningKey, VerifyingKey};

/// Appends the signed plaintext of `data`, `size` octets long; `size` exceeds the data and its overhead.
pub(super) fn append(out: &mut Vec<u8>, data: &[u8], size: usize, author: &SigningKey) {
    let start = out.len();
    let padding = (size - OVERHEAD - data.len()) as u8;
    out.extend_from_slice(&[0; SIGNATURE_SIZE]);
    put_u24(out, data.len() as u32);
    out.extend_from_slice(&[0, padding]);
    out.extend_from_slice(data);
    out.resize(start + size, padding);
    let signature = author.sign(&out[start + SIGNATURE_SIZE..]);
    out[start..start + SIGNATURE_SIZE].copy_from_slice(&signature.0);
}

/// Where the data lies, if size, flags and every octet of padding are right (`dmime.md` §14.2 V12, V13).
///
/// Looks at the whole payload whatever it finds, so that the time taken says nothing about the plaintext
/// (`dmime.md` §17 W1). A plaintext with a wrong length is looked at as if it were all padding.
pub(super) fn data_range(plain: &[u8]) -> Result<Range<usize>, Rule> {
    let (head, rest) = plain.split_at_checked(OVERHEAD).ok_or(Rule::V12)?;
    let claimed = u32::from_be_bytes([0, head[64], head[65], head[66]]) as usize;
    let (flags, pad) = (head[67], head[68]);
    let fits = claimed >= 1 && claimed <= rest.len();
    let length = if fits { claimed } else { 0 };
    let mut good = Choice::from(u8::from(fits));
    good &= ((rest.len() - length) as u8).ct_eq(&pad);
    good &= padding_differences(&rest[length..], pad).ct_eq(&0);
    match (bool::from(good), bool::from(flags.ct_eq(&0))) {
        (true, true) => Ok(OVERHEAD..OVERHEAD + length),
        (true, false) => Err(Rule::V13),
        (false, _) => Err(Rule::V12),
    }
}

/// Whether the author signed this plaintext.
pub(super) fn verify(plain: &[u8], author: &VerifyingKey) -> bool {
    let Some((signature, signed)) = plain.split_first_chunk::<SIGNATURE_SIZE>() else {
        return false;
    };
    author.verify(signed, &Signature(*signature)).is_ok()
}

fn padding_differences(padding: &[u8], pad: u8) -> u8 {
    padding.iter().fold(0, |found, octet| found | (octet ^ pad))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use sha2::{Digest, Sha512};

    use super::*;
    use crate::base::encoding::hex;
    use crate::crypto::suite::secp256k1_aes256::encrypt;

    fn plain(data: &[u8], size: usize) -> Vec<u8> {
        let mut out = Vec::new();
        append(&mut out, data, size, &SigningKey::from_seed(&[0; 32]));
        out
    }

    #[test]
    fn makes_the_published_payload() {
        let mut octets = plain(b"hi", 256);
        assert_eq!(
            hex(&octets[..64]),
            "6f02f57ada2d3ceb66f9121bfb65653e8b119cf036b926aec08f693d8ef4aff9\
             4e77fd7edd06c721a9a0d942f1d58c3f1cd76a8cd1a272fa7c2661d848d76008"
        );
        assert_eq!(octets[64..71], [0, 0, 2, 0, 0xb9, b'h', b'i']);
        assert_eq!(octets[71..], [0xb9; 185]);

        let key = std::array::from_fn(|place| 0x20 + place as u8);
        let iv = std::array::from_fn(|place| 0x10 + place as u8);
        encrypt(&key, &iv, &mut octets).unwrap();
        assert_eq!(
            hex(&octets[..32]),
            "b8b6cba1ba36a6fba7898d16d5ca96cf8ed34134f84eb5a23f719a77a96b1af5"
        );
        assert_eq!(
            hex(&Sha512::digest(&octets)),
            "567fdd99704c22f0f1a91f42125c7dabb7460b0aaba153a94ee61a3e9290798b\
             9c4333953418cecfca0d79c192e5a7ba074723f4acd0770fea1bb387ee9e1740"
        );
    }

    #[test]
    fn finds_the_data_and_verifies_it() {
        let octets = plain(b"hi", 256);
        assert_eq!(data_range(&octets), Ok(69..71));
        assert!(verify(&octets, &SigningKey::from_seed(&[0; 32]).verifying_key()));
        assert!(!verify(&octets, &SigningKey::from_seed(&[1; 32]).verifying_key()));
    }

    #[test]
    fn takes_padding_of_256_with_pad_octet_zero_and_padding_beyond_256() {
        let octets = plain(&[7; 11], 336);
        assert_eq!((octets[68], &octets[80..]), (0, &[0; 256][..]));
        assert_eq!(data_range(&octets), Ok(69..80));
        assert_eq!(data_range(&plain(&[7; 11], 1024)), Ok(69..80));
    }

    #[test]
    fn refuses_every_deviation_in_size_flags_and_padding() {
        let good = plain(b"hi", 256);
        // Size, flags, pad octet, first and last octet of padding.
        for place in [64, 65, 66, 67, 68, 71, 255] {
            let mut bad = good.clone();
            bad[place] ^= 1;
            let rule = if place == 67 { Rule::V13 } else { Rule::V12 };
            assert_eq!(data_range(&bad), Err(rule), "octet {place}");
        }
        let mut empty = plain(b"h", 256);
        empty[66] = 0;
        assert_eq!(data_range(&empty), Err(Rule::V12));
        assert_eq!(data_range(&good[..68]), Err(Rule::V12));
        // A size beyond the payload whose low octet fits (`dmime.md` A3).
        let mut beyond = plain(b"hi", 256);
        beyond[64] = 1;
        assert_eq!(data_range(&beyond), Err(Rule::V12));
    }

    #[test]
    fn refuses_padding_that_differs_only_past_256_octets() {
        let mut octets = plain(b"hi", 1024);
        *octets.last_mut().unwrap() ^= 1;
        assert_eq!(data_range(&octets), Err(Rule::V12));
    }
}
