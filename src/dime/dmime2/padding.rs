//! Plaintext of a chunk and its padding (`dmime2.md` §7).
//!
//! | Offset | Size | Field |
//! |---|---|---|
//! | 0 | 1 | flags: 128 = the run continues in the next chunk |
//! | 1 | 4 | n, data length |
//! | 5 | n | data |
//! | 5 + n | P − 5 − n | zero octets |

use super::layout::ChunkType;
use super::rule::{Rule, demand};

/// Largest plaintext of a chunk.
pub const MAX_PLAINTEXT: usize = 65_536;
/// Flags and data length in front of the data.
pub const PLAINTEXT_HEADER_SIZE: usize = 5;
/// Most data in one chunk.
pub const MAX_DATA: usize = MAX_PLAINTEXT - PLAINTEXT_HEADER_SIZE;
const MIN_PLAINTEXT: u64 = 256;
const CONTINUES: u8 = 128;

/// 2^(e − s) with e = ⌊log2 v⌋ and s = ⌊log2 e⌋ + 1, for v ≥ 256.
fn grain(v: u64) -> u64 {
    let e = v.ilog2();
    1 << (e - (e.ilog2() + 1))
}

/// The smallest padded size that holds `x` octets: at most 6.3 % more, at least 256.
///
/// Source: §7. For `x` up to 2^63.
pub fn padme(x: u64) -> u64 {
    match x {
        ..=MIN_PLAINTEXT => MIN_PLAINTEXT,
        _ => x.next_multiple_of(grain(x)),
    }
}

/// Whether a plaintext may have this size (P12).
pub fn is_bucket(size: usize) -> bool {
    let v = size as u64;
    (MIN_PLAINTEXT..=MAX_PLAINTEXT as u64).contains(&v) && v.is_multiple_of(grain(v))
}

/// The padded size of a whole run with so many octets of data, by the default rule.
pub fn run_total(data: u64) -> u64 {
    let chunks = data.div_ceil(MAX_DATA as u64).max(1);
    padme(data + PLAINTEXT_HEADER_SIZE as u64 * chunks)
}

/// Plaintext sizes of the chunks of a run with this padded size: all but the last are full.
pub(super) fn run_chunks(total: u64) -> impl ExactSizeIterator<Item = usize> + Clone {
    let chunks = usize::try_from(total.div_ceil(MAX_PLAINTEXT as u64)).unwrap_or(usize::MAX);
    let last = (total.saturating_sub(1) % MAX_PLAINTEXT as u64) as usize + 1;
    (1..chunks.saturating_add(1)).map(move |number| if number == chunks { last } else { MAX_PLAINTEXT })
}

/// Writes flags and length of `n` octets of data that stand or will stand behind them; everything behind is zero already.
pub(super) fn write_header(plaintext: &mut [u8], n: usize, continues: bool) {
    plaintext[0] = if continues { CONTINUES } else { 0 };
    // At most 65 531.
    plaintext[1..PLAINTEXT_HEADER_SIZE].copy_from_slice(&(n as u32).to_be_bytes());
}

/// The content of a plaintext.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Plain<'a> {
    pub data: &'a [u8],
    /// The run goes on in the next chunk.
    pub continues: bool,
}

/// Reads a plaintext: rules K5–K7, and of K8 that only full chunks continue.
pub(super) fn read(kind: ChunkType, plaintext: &[u8]) -> Result<Plain<'_>, Rule> {
    let (flags, rest) = plaintext.split_first().ok_or(Rule::K6)?;
    let (length, rest) = rest.split_first_chunk().ok_or(Rule::K6)?;
    let continues = match *flags {
        0 => false,
        CONTINUES if kind.repeats() => true,
        _ => return Err(Rule::K5),
    };
    let n = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| Rule::K6)?;
    let (data, zeros) = rest.split_at_checked(n).ok_or(Rule::K6)?;
    // All of it is looked at, wherever the first octet is that should not be there.
    demand(zeros.iter().fold(0, |all, octet| all | octet) == 0, Rule::K6)?;
    check_length(kind, n)?;
    demand(!continues || plaintext.len() == MAX_PLAINTEXT, Rule::K8)?;
    Ok(Plain { data, continues })
}

fn check_length(kind: ChunkType, n: usize) -> Result<(), Rule> {
    match kind {
        ChunkType::AuthorSignature | ChunkType::OriginSignature => demand(n == 64, Rule::K7),
        ChunkType::Display | ChunkType::Attachment => Ok(()),
        _ => demand(n >= 1, Rule::K7),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn there_are_129_buckets() {
        let buckets: Vec<_> = (0..=70_000).filter(|size| is_bucket(*size)).collect();
        assert_eq!(buckets.len(), 129);
        assert_eq!(buckets[..3], [256, 272, 288]);
        assert_eq!(buckets[128], 65_536);
        assert!(is_bucket(1088) && !is_bucket(1040));
    }

    #[test]
    fn runs_are_split_as_the_chapter_says() {
        let chunks = |total| run_chunks(total).collect::<Vec<_>>();
        assert_eq!(chunks(run_total(0)), [256]);
        assert_eq!(chunks(run_total(65_531)), [65_536]);
        // One octet more needs a second chunk, and both are padded as one.
        assert_eq!(run_total(65_532), padme(65_542));
        assert_eq!(chunks(run_total(65_532)), [65_536, 2048]);
        assert_eq!(chunks(131_072), [65_536, 65_536]);
    }

    #[test]
    fn faults_of_a_plaintext_have_their_rules() {
        let mut good = vec![0; 256];
        write_header(&mut good, 64, false);
        let changed = |place: usize, value: u8| {
            let mut plaintext = good.clone();
            plaintext[place] = value;
            plaintext
        };
        let rule = |kind, plaintext: &[u8]| read(kind, plaintext).unwrap_err();
        assert_eq!(read(ChunkType::Display, &good).unwrap().data, [0; 64]);
        assert_eq!(rule(ChunkType::Display, &changed(0, 1)), Rule::K5);
        assert_eq!(rule(ChunkType::CommonHeaders, &changed(0, 128)), Rule::K5);
        assert_eq!(rule(ChunkType::Display, &changed(0, 128)), Rule::K8);
        assert_eq!(rule(ChunkType::Display, &changed(1, 1)), Rule::K6);
        assert_eq!(rule(ChunkType::Display, &changed(4, 252)), Rule::K6);
        assert_eq!(rule(ChunkType::Display, &changed(69, 1)), Rule::K6);
        assert_eq!(rule(ChunkType::OriginSignature, &changed(4, 65)), Rule::K7);
        assert_eq!(rule(ChunkType::OriginEnvelope, &changed(4, 0)), Rule::K7);
    }

    proptest! {
        #[test]
        fn padded_sizes_are_tight_and_give_buckets(x in 0u64..1 << 32) {
            let total = run_total(x);
            let chunks: Vec<_> = run_chunks(total).collect();
            prop_assert_eq!(chunks.iter().map(|p| *p as u64).sum::<u64>(), total);
            prop_assert!(chunks.iter().all(|p| is_bucket(*p)));
            let room: u64 = chunks.iter().map(|p| (*p - PLAINTEXT_HEADER_SIZE) as u64).sum();
            prop_assert!(room >= x);
            prop_assert!(total <= 256 || (total - x) as f64 <= 0.063 * total as f64 + 10.0 * chunks.len() as f64);
        }
    }
}
