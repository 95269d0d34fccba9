//! A sealed message on its way into the mailbox of somebody who opens it elsewhere: a small RFC 5322 message around it
//! (`dmime2.md` §17). It names no author.

use std::io::{self, Read, Write};

use crate::base::encoding::base64;
use crate::base::time::Timestamp;
use crate::mail::address::{Domain, Mailbox};
use crate::mail::date::rfc5322;

/// Columns of base64.
const LINE: usize = 76;

/// Octets of an object that are encoded at a time: whole lines.
const BLOCK: usize = 1024 * LINE / 4 * 3;

/// For somebody who sees nothing else.
const HOW_TO_OPEN: &str = "This is sealed for you, and your keys are with you.\r\n \
    Save this mail in a file, and open it there:\r\n dimed message open --as recipient --help";

/// The header, with the empty line behind it, of a message that came in at that time.
pub fn header(host: &Domain, recipient: &Mailbox, accepted_at: Timestamp) -> String {
    format!(
        "Date: {}\r\nFrom: <MAILER-DAEMON@{host}>\r\nTo: <{recipient}>\r\nSubject: Sealed message\r\n\
         MIME-Version: 1.0\r\nContent-Type: application/vnd.dime\r\nContent-Transfer-Encoding: base64\r\n\
         Content-Description: {HOW_TO_OPEN}\r\n\r\n",
        rfc5322(accepted_at),
    )
}

/// The body: the object as it is, in base64.
pub fn body(object: impl Read, mut out: impl Write) -> io::Result<()> {
    let mut source = object;
    loop {
        let mut block = Vec::with_capacity(BLOCK);
        if source.by_ref().take(BLOCK as u64).read_to_end(&mut block)? == 0 {
            return Ok(());
        }
        out.write_all(lines(&block).as_bytes())?;
    }
}

fn lines(block: &[u8]) -> String {
    let encoded = base64(block);
    let mut lines = String::with_capacity(encoded.len() + encoded.len() / LINE * 2 + 2);
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(LINE));
        lines.push_str(line);
        lines.push_str("\r\n");
        rest = after;
    }
    lines
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::base::encoding::base64_decode;

    #[test]
    fn the_wrapper_has_the_date_of_arrival_and_says_how_to_open_it() {
        let arrived = Timestamp(1_728_892_800_000);
        let host = "mx.hismail.test".parse().unwrap();
        let header = header(&host, &"pat@hismail.test".parse().unwrap(), arrived);
        assert!(header.starts_with(
            "Date: Mon, 14 Oct 2024 08:00:00 +0000\r\nFrom: <MAILER-DAEMON@mx.hismail.test>\r\n"
        ));
        assert!(header.contains("open it there:\r\n dimed message open --as recipient --help\r\n\r\n"));
        assert!(header.ends_with("\r\n\r\n") && header.lines().all(|line| line.len() <= 78));
    }

    #[test]
    fn an_object_of_any_length_comes_back_from_whole_lines() {
        for length in [0, 1, 57, 58, BLOCK, BLOCK + 1] {
            let object: Vec<u8> = (0..length).map(|octet| octet as u8).collect();
            let mut out = Vec::new();
            body(object.as_slice(), &mut out).unwrap();
            let text = String::from_utf8(out).unwrap();
            let (last, full) = text
                .split_terminator("\r\n")
                .collect::<Vec<_>>()
                .split_last()
                .map(|(last, full)| (last.len(), full.iter().all(|line| line.len() == LINE)))
                .unwrap_or((0, true));
            assert!(last <= LINE && full, "{length}");
            assert_eq!(base64_decode(&text.replace("\r\n", "")).unwrap(), object);
        }
    }
}
