//! How much padding a standard payload gets (`dmime.md` §8), and what that hides (§16).

use rand_core::CryptoRng;

use super::chunk::MAX_STANDARD_SIZE;

/// Signature, data size, flags and pad octet in front of the data.
pub const OVERHEAD: usize = 69;
/// The most data a chunk carries whatever padding is drawn (`dmime.md` §14.1).
pub const MAX_DATA: usize = 16_776_890;
/// The shortest payload a writer makes.
pub const MIN_SIZE: usize = 256;
/// The size of envelope chunks under [`Padding::Buckets`], unless the addresses are very long.
const ENVELOPE_SIZE: usize = 768;

/// A policy for choosing the size of payloads. Every choice of either is accepted by libdime.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Padding {
    /// Coarse buckets: sizes tell little about lengths, and all chunks of a section have the size of its longest,
    /// which also keeps libdime's reader from miscounting them (`dmime.md` M6). Draws nothing.
    #[default]
    Buckets,
    /// libdime's own algorithm: one random octet per chunk moves the size by up to 240 octets.
    Libdime,
}

impl Padding {
    /// The payload size for `data` octets; at most [`MAX_STANDARD_SIZE`] for data up to [`MAX_DATA`].
    pub fn payload_size<R: CryptoRng + ?Sized>(self, data: usize, rng: &mut R) -> usize {
        match self {
            Self::Buckets => bucket(data + OVERHEAD),
            Self::Libdime => {
                let mut random = [0];
                rng.fill_bytes(&mut random);
                libdime(data + OVERHEAD, random[0])
            }
        }
    }

    /// The payload size for an envelope chunk.
    pub fn envelope_size<R: CryptoRng + ?Sized>(self, data: usize, rng: &mut R) -> usize {
        match self {
            Self::Buckets => bucket(data + OVERHEAD).max(ENVELOPE_SIZE),
            Self::Libdime => self.payload_size(data, rng),
        }
    }
}

/// The smallest Padmé size above `length` that is whole cipher blocks: at most 12 % more.
fn bucket(length: usize) -> usize {
    let least = (length + 1).max(MIN_SIZE);
    let exponent = least.ilog2();
    let granularity = (1usize << (exponent - (exponent.ilog2() + 1))).max(16);
    least.next_multiple_of(granularity).min(MAX_STANDARD_SIZE)
}

/// libdime's size for data and overhead of `length` octets and one random octet.
fn libdime(length: usize, random: u8) -> usize {
    let random = usize::from(random);
    if length < MIN_SIZE {
        MIN_SIZE + 16 * (random % (length / 16 + 1))
    } else {
        length + 16 - length % 16 + 16 * (random % 16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libdime_sizes_are_the_published_ones() {
        // d, r, L, P of `dmime.md` §20.
        for (length, random, padding, size) in [
            (70, 0, 186, 256),
            (71, 0, 185, 256),
            (80, 5, 256, 336),
            (255, 15, 241, 496),
            (256, 0, 16, 272),
            (256, 15, 256, 512),
            (342, 0, 10, 352),
        ] {
            assert_eq!(libdime(length, random), size);
            assert_eq!(size - length, padding);
        }
    }

    #[test]
    fn buckets_hold_the_data_and_at_least_one_octet_of_padding() {
        for length in (70..20_000).chain(MAX_DATA - 20_000..=MAX_DATA + OVERHEAD) {
            let size = bucket(length);
            assert!(size > length && size.is_multiple_of(16), "{length} {size}");
            assert!((MIN_SIZE..=MAX_STANDARD_SIZE).contains(&size), "{length} {size}");
            assert!(
                length < MIN_SIZE || size - length <= length / 8 + 16,
                "{length} {size}"
            );
        }
    }

    #[test]
    fn the_longest_data_fits_whatever_is_drawn() {
        assert!((0..=255).all(|random| libdime(MAX_DATA + OVERHEAD, random) <= MAX_STANDARD_SIZE));
    }
}
