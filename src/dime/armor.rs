//! Text armor of signets and keys: base64 between BEGIN and END lines, with a CRC-24 (`signet.md` §10).
//!
//! ```text
//! -----BEGIN <label>-----
//! <padded base64, 64 characters a line>
//! =<CRC-24, 4 characters>
//! -----END <label>-----
//! ```

use zeroize::Zeroizing;

use crate::base::encoding::{base64, base64_decode};

/// Characters of base64 in a line that we write.
const LINE: usize = 64;

/// Text that is not armor of the kind asked for, or damaged (§10.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No BEGIN line with a wanted label.
    #[error("no block from -----BEGIN to -----END of the expected kind")]
    NoBlock,
    /// The END line of the block is missing.
    #[error("the armor has no END line")]
    NoEnd,
    /// Characters that are not base64.
    #[error("the armor's body is not base64")]
    Body,
    /// The checksum line is missing, or comes before any data.
    #[error("the armor has no checksum after its body")]
    NoChecksum,
    /// The checksum is of other data.
    #[error("the armor's checksum does not match")]
    Checksum,
    /// Something stands between the checksum and the END line; libdime would take it as data (D10).
    #[error("text after the armor's checksum")]
    AfterChecksum,
}

/// An error, and the line of the text where it shows, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{error}")]
pub struct Misread {
    /// What is wrong.
    pub error: Error,
    /// Where. Without any block, the last line.
    pub line: usize,
}

/// A block of a text that may hold several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labelled<'a> {
    /// What stands in its BEGIN line.
    pub label: &'a str,
    /// Its data, which may be secret.
    pub data: Zeroizing<Vec<u8>>,
}

/// Writes `data` under `label`, with LF line ends, the last one included (§10.3).
pub fn encode(label: &str, data: &[u8]) -> String {
    let body = Zeroizing::new(base64(data));
    // The text may hold a key, so it is never moved while it grows.
    let mut text = String::with_capacity(body.len() + body.len() / LINE + 2 * label.len() + 48);
    text.extend(["-----BEGIN ", label, "-----\n"]);
    let mut rest = body.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(LINE));
        text.extend([line, "\n"]);
        rest = after;
    }
    text.extend(["=", &checksum(data), "\n-----END ", label, "-----\n"]);
    text
}

/// Reads the first block whose label is one of `labels`.
///
/// Text around the block, blank lines, blanks, CRLF, any line length and missing padding are accepted; damage is not.
/// The label only finds the block: what the object is, its magic number says.
pub fn decode(text: &str, labels: &[&str]) -> Result<Vec<u8>, Error> {
    locate(text, labels).map_err(|misread| misread.error)
}

/// The same as [`decode`], and where an error is.
pub fn locate(text: &str, labels: &[&str]) -> Result<Vec<u8>, Misread> {
    let mut block = Lines::new(text).next_block(labels)?;
    Ok(std::mem::take(&mut *block.data))
}

/// Reads all blocks whose label is one of `labels`; there is at least one.
pub fn decode_all<'a>(text: &'a str, labels: &[&str]) -> Result<Vec<Labelled<'a>>, Misread> {
    let mut lines = Lines::new(text);
    let mut blocks = vec![lines.next_block(labels)?];
    loop {
        match lines.next_block(labels) {
            Ok(block) => blocks.push(block),
            Err(misread) if misread.error == Error::NoBlock => return Ok(blocks),
            Err(misread) => return Err(misread),
        }
    }
}

/// OpenPGP CRC-24: initial value B704CE, polynomial 1864CFB, most significant bit first (§10.2).
pub fn crc24(data: &[u8]) -> u32 {
    const POLYNOMIAL: u32 = 0x0186_4CFB;
    data.iter().fold(0x00B7_04CE, |crc, octet| {
        (0..8).fold(crc ^ (u32::from(*octet) << 16), |crc, _| match crc << 1 {
            shifted if shifted & 0x0100_0000 != 0 => shifted ^ POLYNOMIAL,
            shifted => shifted,
        })
    })
}

fn checksum(data: &[u8]) -> String {
    base64(&crc24(data).to_be_bytes()[1..])
}

/// What stands between `-----` + `word` and `-----`.
fn marker<'a>(line: &'a str, word: &str) -> Option<&'a str> {
    line.strip_prefix("-----")?
        .strip_prefix(word)?
        .strip_suffix("-----")
}

fn wanted_label<'a>(line: &'a str, labels: &[&str]) -> Option<&'a str> {
    marker(line, "BEGIN ").filter(|label| labels.contains(label))
}

/// The rest of a text, line by line.
struct Lines<'a> {
    rest: std::str::Lines<'a>,
    /// Number of the last line read.
    line: usize,
    size: usize,
}

impl<'a> Lines<'a> {
    fn new(text: &'a str) -> Self {
        let (rest, size) = (text.lines(), text.len());
        Self { rest, line: 0, size }
    }

    fn next_block(&mut self, labels: &[&str]) -> Result<Labelled<'a>, Misread> {
        let read = self.read_block(labels);
        let line = self.line.max(1);
        read.map_err(|error| Misread { error, line })
    }

    fn read_block(&mut self, labels: &[&str]) -> Result<Labelled<'a>, Error> {
        let label = self
            .find_map(|line| wanted_label(line, labels))
            .ok_or(Error::NoBlock)?;
        let mut block = Block::with_room(self.size);
        for line in self.by_ref() {
            if marker(line, "END ") == Some(label) {
                let data = block.finish()?.into();
                return Ok(Labelled { label, data });
            }
            block.line(line)?;
        }
        Err(Error::NoEnd)
    }
}

impl<'a> Iterator for Lines<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let line = self.rest.next()?.trim();
        self.line += 1;
        Some(line)
    }
}

/// The lines of a block as they are read.
struct Block<'a> {
    body: Zeroizing<String>,
    checksum: Option<&'a str>,
}

impl<'a> Block<'a> {
    fn with_room(size: usize) -> Self {
        Self {
            body: Zeroizing::new(String::with_capacity(size)),
            checksum: None,
        }
    }

    fn line(&mut self, line: &'a str) -> Result<(), Error> {
        if line.is_empty() {
            return Ok(());
        }
        if self.checksum.is_some() {
            return Err(Error::AfterChecksum);
        }
        match line.strip_prefix('=').filter(|digits| digits.len() == 4) {
            Some(_) if self.body.is_empty() => return Err(Error::NoChecksum),
            Some(digits) => self.checksum = Some(digits),
            None => self.body.extend(line.split_ascii_whitespace()),
        }
        Ok(())
    }

    fn finish(self) -> Result<Vec<u8>, Error> {
        let expected = self.checksum.ok_or(Error::NoChecksum)?;
        let data = base64_decode(&self.body).map_err(|_| Error::Body)?;
        match checksum(&data) == expected {
            true => Ok(data),
            false => Err(Error::Checksum),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    const HELLO: &str = "-----BEGIN USER KEY-----\naGVsbG8=\n=R/WK\n-----END USER KEY-----\n";

    fn read(text: &str) -> Result<Vec<u8>, Error> {
        decode(text, &["USER KEY", "OTHER"])
    }

    #[test]
    fn checksum_is_the_openpgp_one() {
        assert_eq!(crc24(b""), 0x00B7_04CE);
        assert_eq!(crc24(b"123456789"), 0x0021_CF02);
    }

    #[test]
    fn all_blocks_are_read_and_errors_have_lines() {
        let text = format!("two keys\n{HELLO}between\n{}", HELLO.replace("USER KEY", "OTHER"));
        let blocks = decode_all(&text, &["USER KEY", "OTHER"]).unwrap();
        let read: Vec<_> = blocks
            .iter()
            .map(|block| (block.label, block.data.as_slice()))
            .collect();
        assert_eq!(read, [("USER KEY", &b"hello"[..]), ("OTHER", b"hello")]);
        let misread = |text: &str, error, line| {
            assert_eq!(
                decode_all(text, &["USER KEY"]).unwrap_err(),
                Misread { error, line }
            );
        };
        misread("a\nb\n", Error::NoBlock, 2);
        misread(&HELLO.replace("=R", "=S"), Error::Checksum, 4);
        misread(
            &format!("{HELLO}{}", HELLO.replace("aGVsbG8=", "?")),
            Error::Body,
            8,
        );
        let (unended, _) = HELLO.split_once("-----END").unwrap();
        misread(unended, Error::NoEnd, 3);
    }

    #[test]
    fn writes_one_canonical_form() {
        assert_eq!(encode("USER KEY", b"hello"), HELLO);
        let full_line = encode("X", &[0; 48]);
        assert_eq!(
            full_line.lines().map(str::len).collect::<Vec<_>>(),
            [17, 64, 5, 15]
        );
    }

    #[test]
    fn accepts_other_layouts_of_the_same_object() {
        for text in [
            format!("note\n\n  {HELLO}"),
            HELLO.replace('\n', "\r\n"),
            HELLO.replace('\n', "\n \t\r\n\n"),
            HELLO.replace("aGVsbG8=", "aG\nVs bG8"),
            HELLO.trim_end().to_owned(),
            HELLO.replace("USER KEY", "OTHER"),
            format!("{}{HELLO}", HELLO.replace("USER KEY", "THIRD")),
        ] {
            assert_eq!(read(&text), Ok(b"hello".to_vec()), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_damaged() {
        for (text, error) in [
            (HELLO.replace("USER", "USEFUL"), Error::NoBlock),
            (HELLO.replace("END USER", "END OTHER"), Error::AfterChecksum),
            (HELLO.replace("-----END USER KEY-----\n", ""), Error::NoEnd),
            (HELLO.replace("=R/WK\n", ""), Error::NoChecksum),
            (HELLO.replace("aGVsbG8=\n", ""), Error::NoChecksum),
            (
                HELLO.replace("aGVsbG8=\n=R/WK", "=R/WK\naGVsbG8="),
                Error::NoChecksum,
            ),
            (HELLO.replace("=R/WK", "=R/WL"), Error::Checksum),
            (HELLO.replace("aGVs", "aGVt"), Error::Checksum),
            (HELLO.replace("aGVs", "aG%s"), Error::Body),
            (HELLO.replace("aGVs", "aG=s"), Error::Body),
            (HELLO.replace("=R/WK", "=R/WK\naGVs"), Error::AfterChecksum),
            (HELLO.replace("=R/WK", "=R/WK\n=R/WK"), Error::AfterChecksum),
        ] {
            assert_eq!(read(&text), Err(error), "{text}");
        }
    }

    proptest! {
        #[test]
        fn reads_what_it_wrote(data in proptest::collection::vec(any::<u8>(), 1..300)) {
            prop_assert_eq!(read(&encode("USER KEY", &data)), Ok(data));
        }

        #[test]
        fn arbitrary_text_never_panics(body in "[-=A-Za-z0-9+/ \r\n]*", text in any::<String>()) {
            let _ = read(&text);
            let _ = read(&format!("-----BEGIN USER KEY-----\n{body}\n-----END USER KEY-----"));
        }
    }
}
