//! Messages and mails as they come in: a private copy that nobody changes while it is checked and written.
//!
//! The copy has no name and is gone when the command ends, however that is.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek};

use base64::engine::general_purpose::STANDARD;
use base64::read::DecoderReader;

use super::refused::NotAMessage;
use crate::cli::files::{Error, FileName};
use crate::cli::refusal::Refusal;

/// Most octets of an input: the largest object of D/MIME 2, and a third more for its base64.
const MAX_INPUT: u64 = 6 << 30;

/// Most octets of the header of a mail around a message.
const MAX_WRAPPER_HEADER: u64 = 256 << 10;

/// Which kind of object an input holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// D/MIME 1, perhaps with tracing before it.
    Format1,
    /// D/MIME 2.
    Format2,
    /// A returned message of D/MIME 2.
    Returned,
}

/// A message that was copied; the file stands at its start.
pub struct Object {
    /// What its first octets say.
    pub kind: Kind,
    /// The copy.
    pub file: File,
    /// Whether it stood in a mail.
    pub wrapped: bool,
}

/// Copies a message, out of the mail around it if there is one.
pub fn object(name: &FileName) -> anyhow::Result<Object> {
    let file = copied(name)?;
    let (file, kind, wrapped) = match kind(&file).map_err(unreadable(name))? {
        Some(kind) => (file, Some(kind), false),
        None => unwrapped(file).map_err(unreadable(name))?,
    };
    match kind {
        Some(kind) => Ok(Object { kind, file, wrapped }),
        None => Err(Refusal::new(&NotAMessage).of_file(name).into()),
    }
}

/// Copies any file; the copy stands at its start.
pub fn copied(name: &FileName) -> Result<File, Error> {
    let copy = || -> io::Result<File> {
        match name.is_standard() {
            true => spooled(io::stdin().lock().take(MAX_INPUT)),
            false => spooled(File::open(name.path())?.take(MAX_INPUT)),
        }
    };
    copy().map_err(unreadable(name))
}

/// An error of reading that file.
pub fn unreadable(name: &FileName) -> impl FnOnce(io::Error) -> Error {
    let file = name.clone();
    |source| Error::Read { file, source }
}

fn spooled(mut source: impl Read) -> io::Result<File> {
    let mut file = tempfile::tempfile()?;
    io::copy(&mut source, &mut file)?;
    file.rewind()?;
    Ok(file)
}

fn kind(mut file: &File) -> io::Result<Option<Kind>> {
    let mut magic = Vec::with_capacity(2);
    file.take(2).read_to_end(&mut magic)?;
    file.rewind()?;
    Ok(match magic.as_slice() {
        [0x07, 0x37] | [0x07, 0x2d] => Some(Kind::Format1),
        [0x07, 0xc0] => Some(Kind::Format2),
        [0x07, 0xc1] => Some(Kind::Returned),
        _ => None,
    })
}

/// The object in a mail of the type application/vnd.dime, decoded.
fn unwrapped(file: File) -> io::Result<(File, Option<Kind>, bool)> {
    let mut mail = BufReader::new(&file);
    if !announces_message(&mut mail)? {
        return Ok((file, None, false));
    }
    let mut object = tempfile::tempfile()?;
    let body = DecoderReader::new(Unfolded(mail), &STANDARD);
    let decoded = io::copy(&mut { body }, &mut object);
    object.rewind()?;
    match decoded {
        Ok(_) => {
            let kind = kind(&object)?;
            Ok((object, kind, true))
        }
        // What is no base64 is no message.
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok((object, None, true)),
        Err(error) => Err(error),
    }
}

/// Reads a header up to its empty line; whether it is that of a message in base64.
fn announces_message(mail: &mut impl BufRead) -> io::Result<bool> {
    let mut field = String::new();
    let (mut is_dime, mut is_base64) = (false, false);
    let mut header = mail.take(MAX_WRAPPER_HEADER);
    let mut judge = |field: &str| {
        is_dime |= value(field, "content-type").is_some_and(|value| value == "application/vnd.dime");
        is_base64 |= value(field, "content-transfer-encoding").is_some_and(|value| value == "base64");
    };
    loop {
        let mut line = Vec::new();
        if header.read_until(b'\n', &mut line)? == 0 {
            return Ok(false);
        }
        let line = String::from_utf8_lossy(&line);
        match line.trim_end_matches(['\r', '\n']) {
            "" => {
                judge(&field);
                return Ok(is_dime && is_base64);
            }
            more if more.starts_with([' ', '\t']) => field.push_str(more),
            next => {
                judge(&field);
                field = next.to_owned();
            }
        }
    }
}

/// The value of a field in lower case, without parameters.
fn value(field: &str, name: &str) -> Option<String> {
    let (found, value) = field.split_once(':')?;
    let value = value.split(';').next().unwrap_or_default();
    found
        .trim()
        .eq_ignore_ascii_case(name)
        .then(|| value.trim().to_ascii_lowercase())
}

/// Text without its line ends and blanks.
struct Unfolded<R>(R);

impl<R: BufRead> Read for Unfolded<R> {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        loop {
            let available = self.0.fill_buf()?;
            let (mut used, mut written) = (0, 0);
            for octet in available {
                if written == target.len() {
                    break;
                }
                used += 1;
                if !octet.is_ascii_whitespace() {
                    target[written] = *octet;
                    written += 1;
                }
            }
            let at_end = available.is_empty();
            self.0.consume(used);
            if written > 0 || at_end || target.is_empty() {
                return Ok(written);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::io::Write;

    use super::*;

    fn of(text: &str) -> (Option<Kind>, Vec<u8>) {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file.rewind().unwrap();
        let (mut file, kind, _) = unwrapped(file).unwrap();
        let mut octets = Vec::new();
        file.read_to_end(&mut octets).unwrap();
        (kind, octets)
    }

    const HEADER: &str = "To: <bob@hismail.test>\r\nContent-Type:\r\n Application/vnd.DIME; x=y\r\n";

    #[test]
    fn a_message_is_taken_out_of_its_mail() {
        let mail = format!("{HEADER}Content-Transfer-Encoding: BASE64\r\n\r\nB8\r\n AB\r\nAg==\r\n");
        assert_eq!(of(&mail), (Some(Kind::Format2), vec![0x07, 0xc0, 1, 2]));
        let lines = mail.replace("\r\n", "\n");
        assert_eq!(of(&lines), (Some(Kind::Format2), vec![0x07, 0xc0, 1, 2]));
    }

    #[test]
    fn other_mails_hold_no_message() {
        let encoding = "Content-Transfer-Encoding: base64\r\n\r\nB8ABAg==\r\n";
        for mail in [
            format!("{HEADER}\r\nB8ABAg=="),
            format!("Content-Type: text/plain\r\n{encoding}"),
            format!("{HEADER}{encoding}%"),
            format!("{HEADER}Content-Transfer-Encoding: base64\r\n\r\nB8"),
            format!("{HEADER}Content-Transfer-Encoding: base64\r\n\r\nAAAA"),
            HEADER.to_owned(),
            String::new(),
        ] {
            assert_eq!(of(&mail).0, None, "{mail}");
        }
    }
}
