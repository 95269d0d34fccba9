//! The forms that replies take: how we write them, and how we read a peer's (`dmtp.md` §4, §6, §8).
//!
//! Every form satisfies the bracket dialect, whose client is the stricter reader.

use std::fmt;

use super::command::{CommitHash, Protocol};
use crate::base::encoding::{base64, base64_decode, base64_decode_padded};
use crate::base::id::QueueId;
use crate::dime::fingerprint::FullFingerprint;
use crate::mail::address::Domain;
use crate::mail::reply::Reply;

/// Longest reply line that libdime's client reads, terminator included (`dmtp.md` §4.4).
pub const MAX_LINE: usize = 4095;

/// Longest reply line that there can be: the largest signet, 16 777 220 octets, in base64 (`dmtp.md` §4.4).
pub const MAX_LONG_LINE: usize = 16_777_220usize.div_ceil(3) * 4 + "250 OK []\r\n".len();

/// Octets of a line around its text: code, separator, CRLF.
const LINE_OVERHEAD: usize = 6;

/// Token that a banner needs for a client to speak DMTP.
const BANNER_TOKEN: &str = "DMTPv1";

/// What the final reply to DATA calls the message: 1–64 printable characters without white space and brackets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactionId(String);

impl TransactionId {
    /// Reads the content of the brackets; `None` if it has another form.
    pub fn parse(text: &str) -> Option<Self> {
        let sane = |octet: u8| octet.is_ascii_graphic() && !b"[]".contains(&octet);
        let fits = (1..=64).contains(&text.len());
        (fits && text.bytes().all(sane)).then(|| Self(text.to_owned()))
    }

    /// The text, without brackets.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<QueueId> for TransactionId {
    fn from(id: QueueId) -> Self {
        Self(id.to_string())
    }
}

impl fmt::Display for TransactionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A well-formed answer to VRFY.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// `CURRENT`.
    Current,
    /// `UPDATE`: the current signet is this one.
    Update(FullFingerprint),
}

/// The first line of a session; with both protocols on offer it names both (§5.1).
pub fn banner(host: &Domain, dual: bool) -> Reply {
    let smtp = if dual { "ESMTP " } else { "" };
    Reply::plain(220, format!("{host} {smtp}{BANNER_TOKEN} ready"))
}

/// Whether a banner offers DMTP: a token after the host's that is exactly `DMTPv1`.
pub fn offers_dmtp(banner: &Reply) -> bool {
    let [text] = banner.lines.as_slice() else {
        return false;
    };
    banner.code == 220 && tokens(text).skip(1).any(|token| token == BANNER_TOKEN)
}

/// The answer to MODE, and the unsolicited line after an upgrade (§5.3, §6.11).
pub fn mode(protocol: Protocol) -> Reply {
    let name = match protocol {
        Protocol::Smtp => "ESMTP",
        Protocol::Dmtp => BANNER_TOKEN,
    };
    Reply::plain(250, format!("OK {name}"))
}

/// Reads [`mode`]: `OK` and one mode name.
pub fn read_mode(reply: &Reply) -> Option<Protocol> {
    let mut tokens = tokens(single(reply)?);
    let (Some("OK"), Some(name), None) = (tokens.next(), tokens.next(), tokens.next()) else {
        return None;
    };
    match name.to_ascii_uppercase().as_str() {
        "DMTPV1" => Some(Protocol::Dmtp),
        "SMTP" | "ESMTP" => Some(Protocol::Smtp),
        _ => None,
    }
}

/// The answer to SGNT: the binary signet.
pub fn signet(object: &[u8]) -> Reply {
    Reply::plain(250, format!("OK {}", bracketed(object)))
}

/// Reads [`signet`]: `OK` in upper case, and brackets up to the very end.
pub fn read_signet(reply: &Reply) -> Option<Vec<u8>> {
    let text = single(reply)?.strip_prefix("OK")?;
    unbracketed(text.trim_start_matches([' ', '\t']))
}

/// The answer to VRFY.
pub fn verdict(verdict: Verdict) -> Reply {
    match verdict {
        Verdict::Current => Reply::plain(250, "CURRENT"),
        Verdict::Update(fingerprint) => Reply::plain(250, format!("UPDATE [{fingerprint}]")),
    }
}

/// Reads [`verdict`]; the fingerprint may stand with or without brackets.
pub fn read_verdict(reply: &Reply) -> Option<Verdict> {
    let mut tokens = tokens(single(reply)?);
    let word = tokens.next()?;
    if word.eq_ignore_ascii_case("CURRENT") {
        return Some(Verdict::Current);
    }
    if !word.eq_ignore_ascii_case("UPDATE") {
        return None;
    }
    let token = tokens.next()?;
    let bare = inside_brackets(token).unwrap_or(token);
    FullFingerprint::parse(bare).ok().map(Verdict::Update)
}

/// The answer to HIST: a line for each signet, oldest first, then `OK`.
pub fn history<T: AsRef<[u8]>>(signets: &[T]) -> Reply {
    let mut lines: Vec<_> = signets.iter().map(|signet| bracketed(signet.as_ref())).collect();
    lines.push("OK".to_owned());
    Reply {
        code: 250,
        enhanced: None,
        lines,
    }
}

/// Reads [`history`]; a line `OK` ends the list, which is never empty.
pub fn read_history(reply: &Reply) -> Option<Vec<Vec<u8>>> {
    let blank = [' ', '\t'];
    let lines = reply.lines.iter().map(|line| line.trim_matches(blank));
    let signets = lines
        .take_while(|line| !line.eq_ignore_ascii_case("OK"))
        .map(unbracketed);
    signets
        .collect::<Option<Vec<_>>>()
        .filter(|signets| !signets.is_empty())
}

/// The first answer to DATA: send the message.
pub fn send_message(token: &CommitHash) -> Reply {
    Reply::plain(354, format!("CONTINUE [{token}]"))
}

/// Whether this is [`send_message`]; later tokens are ignored.
pub fn asks_for_message(reply: &Reply) -> bool {
    let Some(text) = single(reply) else {
        return false;
    };
    let mut tokens = tokens(text);
    let word = tokens
        .next()
        .is_some_and(|word| word.eq_ignore_ascii_case("CONTINUE"));
    reply.code / 100 == 3
        && word
        && tokens
            .next()
            .is_some_and(|token| inside_brackets(token).is_some())
}

/// The final answer to DATA.
pub fn committed(transaction: &TransactionId) -> Reply {
    Reply::plain(250, format!("OK [{transaction}]"))
}

/// Reads [`committed`].
pub fn read_committed(reply: &Reply) -> Option<TransactionId> {
    let mut tokens = tokens(single(reply)?);
    tokens.next().filter(|word| word.eq_ignore_ascii_case("OK"))?;
    TransactionId::parse(inside_brackets(tokens.next()?)?)
}

/// Octets in one line of [`keys`]: lines that any client of the bracket dialect could read.
const KEYS_PER_LINE: usize = 3000;

/// The answer to KEYS: the octets in lines, then `OK` with their version.
pub fn keys(octets: &[u8], version: u64) -> Reply {
    let lines = octets.chunks(KEYS_PER_LINE).map(bracketed);
    Reply {
        code: 250,
        enhanced: None,
        lines: lines.chain([format!("OK [{version}]")]).collect(),
    }
}

/// Reads [`keys`]; the version comes last.
pub fn read_keys(reply: &Reply) -> Option<(Vec<u8>, u64)> {
    let (last, lines) = reply.lines.split_last()?;
    let parts: Option<Vec<Vec<u8>>> = lines.iter().map(|line| unbracketed(line)).collect();
    Some((parts?.concat(), version(last)?))
}

/// The answer to KEYS once the octets are durable.
pub fn deposited(version: u64) -> Reply {
    Reply::plain(250, format!("OK [{version}]"))
}

/// Reads [`deposited`].
pub fn read_deposited(reply: &Reply) -> Option<u64> {
    version(single(reply)?)
}

/// Reads the challenge of a login; `None` if it is none.
pub fn read_challenge(reply: &Reply) -> Option<Vec<u8>> {
    (reply.code == 334).then_some(())?;
    base64_decode_padded(single(reply)?).ok()
}

fn version(line: &str) -> Option<u64> {
    let mut tokens = tokens(line);
    tokens.next().filter(|word| word.eq_ignore_ascii_case("OK"))?;
    inside_brackets(tokens.next()?)?.parse().ok()
}

/// The lines of a reply, each an item of its own so that each travels in its own TLS record (§4.4).
///
/// Octets other than printable ASCII become `?`. A line longer than `max_line` is cut; callers that carry data in
/// a line check [`fits`] first.
pub fn lines(reply: &Reply, max_line: usize) -> impl Iterator<Item = Vec<u8>> {
    let last = reply.lines.len().saturating_sub(1);
    reply.lines.iter().enumerate().map(move |(at, text)| {
        let separator = if at == last { ' ' } else { '-' };
        let enhanced = reply
            .enhanced
            .map_or_else(String::new, |status| format!("{status} "));
        let text = enhanced + text;
        let room = max_line.saturating_sub(LINE_OVERHEAD);
        let clean: String = text.chars().map(printable).take(room).collect();
        format!("{}{separator}{clean}\r\n", reply.code).into_bytes()
    })
}

/// Whether every line of a reply stays within `max_line` octets.
pub fn fits(reply: &Reply, max_line: usize) -> bool {
    reply
        .lines
        .iter()
        .all(|line| line.len() + LINE_OVERHEAD <= max_line)
}

/// A refusal in the one line that most commands allow (§4.3). Codes that would not refuse become 451.
pub fn refusal(reply: &Reply) -> Reply {
    let code = if (400..600).contains(&reply.code) {
        reply.code
    } else {
        451
    };
    Reply {
        code,
        enhanced: reply.enhanced,
        lines: vec![reply.lines.join(" ")],
    }
}

fn printable(c: char) -> char {
    if matches!(c, ' '..='~') { c } else { '?' }
}

pub(super) fn single(reply: &Reply) -> Option<&str> {
    match reply.lines.as_slice() {
        [text] => Some(text),
        _ => None,
    }
}

pub(super) fn tokens(text: &str) -> impl Iterator<Item = &str> {
    text.split([' ', '\t']).filter(|token| !token.is_empty())
}

fn bracketed(object: &[u8]) -> String {
    format!("[{}]", base64(object))
}

fn unbracketed(text: &str) -> Option<Vec<u8>> {
    base64_decode(inside_brackets(text)?)
        .ok()
        .filter(|object| !object.is_empty())
}

pub(super) fn inside_brackets(text: &str) -> Option<&str> {
    text.strip_prefix('[')?.strip_suffix(']')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::mail::reply::EnhancedStatus;

    fn fingerprint() -> FullFingerprint {
        FullFingerprint([7; 64])
    }

    #[test]
    fn forms_read_back_what_they_carry() {
        assert_eq!(read_signet(&signet(b"signet")), Some(b"signet".to_vec()));
        assert_eq!(
            read_history(&history(&[b"a", b"b"])),
            Some(vec![b"a".to_vec(), b"b".to_vec()])
        );
        for answer in [Verdict::Current, Verdict::Update(fingerprint())] {
            assert_eq!(read_verdict(&verdict(answer)), Some(answer));
        }
        for protocol in [Protocol::Smtp, Protocol::Dmtp] {
            assert_eq!(read_mode(&mode(protocol)), Some(protocol));
        }
        let id = TransactionId::parse("20240611-7f3a9c").unwrap();
        assert_eq!(read_committed(&committed(&id)), Some(id));
        assert!(asks_for_message(&send_message(
            &CommitHash::parse("c51e").unwrap()
        )));
        let host = Domain::parse("dx.example.com").unwrap();
        assert!(offers_dmtp(&banner(&host, true)) && offers_dmtp(&banner(&host, false)));
    }

    #[test]
    fn banners_need_the_exact_token_behind_the_host() {
        for bad in [
            "DMTPv1",
            "a.example ESMTP",
            "a.example dmtpv1",
            "<a.example> (DMTPv1)",
            "",
        ] {
            assert!(!offers_dmtp(&Reply::plain(220, bad)), "{bad:?}");
        }
        assert!(offers_dmtp(&Reply::plain(220, "a.example ESMTP\tDMTPv1")));
        assert!(!offers_dmtp(&Reply::plain(554, "a.example DMTPv1")));
        assert!(!offers_dmtp(&Reply {
            code: 220,
            enhanced: None,
            lines: vec!["a DMTPv1".into(), "a DMTPv1".into()]
        }));
    }

    #[test]
    fn signets_are_read_as_strictly_as_libdime_does() {
        for good in ["OK [YQ==]", "OK   [YQ]", "OK[YQ]"] {
            assert_eq!(
                read_signet(&Reply::plain(250, good)),
                Some(b"a".to_vec()),
                "{good:?}"
            );
        }
        for bad in [
            "ok [YQ==]",
            "OK [YQ==] ",
            "OK [YQ== ] extra",
            "OK YQ==",
            "OK []",
            "OK [Y Q==]",
            "",
        ] {
            assert_eq!(read_signet(&Reply::plain(250, bad)), None, "{bad:?}");
        }
    }

    #[test]
    fn verdicts_take_both_forms_of_a_fingerprint() {
        let text = fingerprint().to_string();
        for good in [format!("UPDATE {text}"), format!("update [{text}] trailing")] {
            assert_eq!(
                read_verdict(&Reply::plain(250, good)),
                Some(Verdict::Update(fingerprint()))
            );
        }
        assert_eq!(
            read_verdict(&Reply::plain(250, "current as of now")),
            Some(Verdict::Current)
        );
        for bad in ["UPDATE", "UPDATE []", "OK", "", "CURRENTLY", "UPDATE [x]"] {
            assert_eq!(read_verdict(&Reply::plain(250, bad)), None, "{bad:?}");
        }
    }

    #[test]
    fn histories_end_at_ok_and_are_never_empty() {
        let reply = |lines: &[&str]| Reply {
            code: 250,
            enhanced: None,
            lines: lines.iter().map(|line| (*line).to_owned()).collect(),
        };
        assert_eq!(
            read_history(&reply(&[" [YQ==] ", "ok", "noise"])),
            Some(vec![b"a".to_vec()])
        );
        assert_eq!(read_history(&reply(&["[YQ==]"])), Some(vec![b"a".to_vec()]));
        assert_eq!(read_history(&reply(&["OK"])), None);
        assert_eq!(read_history(&reply(&["YQ==", "OK"])), None);
    }

    #[test]
    fn each_line_is_an_item_and_carries_clean_text() {
        let mut reply = Reply::new(550, EnhancedStatus(5, 1, 1), "nö\r\nsuch");
        reply.lines.push(String::new());
        let items: Vec<_> = lines(&reply, 100).collect();
        assert_eq!(
            items,
            [b"550-5.1.1 n???such\r\n".to_vec(), b"550 5.1.1 \r\n".to_vec()]
        );
        let cut: Vec<_> = lines(&Reply::plain(250, "x".repeat(50)), 20).collect();
        assert_eq!(cut[0].len(), 20);
    }

    #[test]
    fn lines_fit_up_to_the_limit_of_libdime() {
        assert!(fits(&signet(&[0; 3063]), MAX_LINE));
        assert!(!fits(&signet(&[0; 3064]), MAX_LINE));
        assert!(fits(&history(&[[0; 3063]]), MAX_LINE));
    }

    #[test]
    fn refusals_refuse_in_one_line() {
        let odd = Reply {
            code: 250,
            enhanced: None,
            lines: vec!["a".into(), "b".into()],
        };
        assert_eq!(refusal(&odd), Reply::plain(451, "a b"));
        assert_eq!(refusal(&Reply::plain(575, "x")), Reply::plain(575, "x"));
    }

    #[test]
    fn transaction_ids_hold_no_space_and_no_bracket() {
        for bad in ["", "a b", "a]", "[a", "é", &"x".repeat(65)] {
            assert_eq!(TransactionId::parse(bad), None, "{bad:?}");
        }
        assert!(TransactionId::parse(&"x".repeat(64)).is_some());
    }
}
