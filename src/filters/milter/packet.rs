//! Packets of the milter protocol, as octets and values. Pure.
//!
//! Shape: the length of the rest, 4 octets, big-endian; a letter; and what belongs to it: numbers of 4 octets, big-endian, and
//! texts that end with a NUL. Source: `libmilter/mfdef.h` and `libmilter/docs` of sendmail 8.17, protocol version 6.

use crate::base::bytes::Reader;
use crate::filters::change::{Change, FieldChange, Place};
use crate::filters::{Error, header, words};
use crate::mail::address::{Mailbox, ReversePath};
use crate::mail::reply::Reply as SmtpReply;

/// Octets of a packet from a filter at most, without its length.
pub const MAX_PACKET: usize = 256 << 10;
/// Octets of a body that go in one packet at most (`MILTER_CHUNK_SIZE`).
pub const BODY_CHUNK: usize = 65_535;

/// The version of the protocol.
pub const VERSION: u32 = 6;
/// The oldest whose answers we understand.
pub const OLDEST_VERSION: u32 = 2;

/// What a filter may do (`SMFIF_`).
pub mod actions {
    /// Add header fields.
    pub const ADD_FIELDS: u32 = 0x01;
    /// Replace the body.
    pub const REPLACE_BODY: u32 = 0x02;
    /// Add recipients.
    pub const ADD_RECIPIENTS: u32 = 0x04;
    /// Delete recipients.
    pub const DELETE_RECIPIENTS: u32 = 0x08;
    /// Change and delete header fields.
    pub const CHANGE_FIELDS: u32 = 0x10;
    /// Have the message held.
    pub const QUARANTINE: u32 = 0x20;
    /// Change the reverse-path.
    pub const CHANGE_SENDER: u32 = 0x40;
    /// Add recipients with parameters, which are not used.
    pub const ADD_RECIPIENTS_WITH_PARAMETERS: u32 = 0x80;
    /// All that we can do.
    pub const OFFERED: u32 = 0xff;
}

/// What need not be sent, and what is not answered (`SMFIP_`).
pub mod steps {
    /// Do not send the connection.
    pub const NO_CONNECT: u32 = 0x01;
    /// Do not send HELO.
    pub const NO_HELO: u32 = 0x02;
    /// Do not send MAIL.
    pub const NO_MAIL: u32 = 0x04;
    /// Do not send RCPT.
    pub const NO_RCPT: u32 = 0x08;
    /// Do not send the body.
    pub const NO_BODY: u32 = 0x10;
    /// Do not send the header.
    pub const NO_HEADER: u32 = 0x20;
    /// Do not send the end of the header.
    pub const NO_END_OF_HEADER: u32 = 0x40;
    /// Header fields are not answered.
    pub const UNANSWERED_HEADER: u32 = 0x80;
    /// Do not send unknown commands, which we never do.
    pub const NO_UNKNOWN: u32 = 0x100;
    /// Do not send DATA.
    pub const NO_DATA: u32 = 0x200;
    /// The filter may say that it has seen enough of the body.
    pub const SKIP: u32 = 0x400;
    /// The connection is not answered.
    pub const UNANSWERED_CONNECT: u32 = 0x1000;
    /// HELO is not answered.
    pub const UNANSWERED_HELO: u32 = 0x2000;
    /// MAIL is not answered.
    pub const UNANSWERED_MAIL: u32 = 0x4000;
    /// RCPT is not answered.
    pub const UNANSWERED_RCPT: u32 = 0x8000;
    /// DATA is not answered.
    pub const UNANSWERED_DATA: u32 = 0x1_0000;
    /// Unknown commands are not answered.
    pub const UNANSWERED_UNKNOWN: u32 = 0x2_0000;
    /// The end of the header is not answered.
    pub const UNANSWERED_END_OF_HEADER: u32 = 0x4_0000;
    /// The body is not answered.
    pub const UNANSWERED_BODY: u32 = 0x8_0000;
    /// Values of header fields are sent, and come, with the blank after the colon.
    pub const LEADING_SPACE: u32 = 0x10_0000;
    /// All that we can do; not telling of recipients that were refused already (0x800).
    pub const OFFERED: u32 = 0x1f_f7ff;
}

/// A command to a filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// `O`.
    Negotiate,
    /// `D`.
    Macros,
    /// `C`.
    Connect,
    /// `H`.
    Hello,
    /// `M`.
    Mail,
    /// `R`.
    Rcpt,
    /// `T`.
    Data,
    /// `L`.
    Field,
    /// `N`.
    EndOfHeader,
    /// `B`.
    Body,
    /// `E`.
    EndOfMessage,
    /// `A`.
    Abort,
    /// `Q`.
    Quit,
}

impl Command {
    /// Its letter.
    pub fn letter(self) -> u8 {
        match self {
            Self::Negotiate => b'O',
            Self::Macros => b'D',
            Self::Connect => b'C',
            Self::Hello => b'H',
            Self::Mail => b'M',
            Self::Rcpt => b'R',
            Self::Data => b'T',
            Self::Field => b'L',
            Self::EndOfHeader => b'N',
            Self::Body => b'B',
            Self::EndOfMessage => b'E',
            Self::Abort => b'A',
            Self::Quit => b'Q',
        }
    }

    /// The whole packet.
    pub fn packet(self, data: &[u8]) -> Vec<u8> {
        let mut packet = Vec::with_capacity(5 + data.len());
        // What we send is far shorter than 4 GiB.
        let length = u32::try_from(data.len() + 1).unwrap_or(u32::MAX);
        packet.extend_from_slice(&length.to_be_bytes());
        packet.push(self.letter());
        packet.extend_from_slice(data);
        packet
    }
}

/// Texts, each with its NUL. One that a text contains is left out.
pub fn texts<T: AsRef<[u8]>>(texts: impl IntoIterator<Item = T>) -> Vec<u8> {
    let mut data = Vec::new();
    for text in texts {
        data.extend(text.as_ref().iter().filter(|octet| **octet != 0));
        data.push(0);
    }
    data
}

/// What a filter says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// `O`: what it speaks, does and wants.
    Negotiated(Negotiated),
    /// `c`.
    Continue,
    /// `a`.
    Accept,
    /// `d`.
    Discard,
    /// `r`.
    Reject,
    /// `t`.
    TempFail,
    /// `y`: refused with these words.
    Words(SmtpReply),
    /// `s`: enough of this.
    Skip,
    /// `p`: it is still busy.
    Progress,
    /// `q`, with a reason.
    Quarantine(String),
    /// `+`, `2`, `-`, `e`: a change, and the action that must have been negotiated for it.
    Change(u32, Change),
    /// `h`, `i`, `m`: a change of a header field.
    Field(u32, FieldAsked),
    /// `b`: a part of another body.
    Body(Vec<u8>),
}

/// The outcome of a negotiation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Negotiated {
    /// See [`VERSION`].
    pub version: u32,
    /// See [`actions`].
    pub actions: u32,
    /// See [`steps`].
    pub steps: u32,
}

impl Negotiated {
    /// Whether a step was agreed on.
    pub fn has(&self, step: u32) -> bool {
        self.steps & step != 0
    }

    /// As offered by us.
    pub fn offer() -> Vec<u8> {
        let offer = [VERSION, actions::OFFERED, steps::OFFERED];
        Command::Negotiate.packet(&offer.map(u32::to_be_bytes).concat())
    }
}

/// A header field as a filter has it; whether its value has the blank after the colon is a matter of negotiation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldAsked {
    /// `None` to change one that is there.
    place: Option<Place>,
    index: u32,
    name: String,
    value: String,
}

impl FieldAsked {
    /// What is to be done. [`Error::Unfit`] if it is no header field.
    pub fn change(self, leading_space: bool) -> Result<FieldChange, Error> {
        let Self {
            place,
            index,
            name,
            value,
        } = self;
        match place {
            Some(place) => Ok(FieldChange::Add(
                place,
                header::field(&name, &value, leading_space)?,
            )),
            None if value.is_empty() && header::is_name(&name) => Ok(FieldChange::Remove {
                name,
                index: i64::from(index.max(1)),
            }),
            None => {
                let field = header::field(&name, &value, leading_space)?;
                Ok(FieldChange::Replace { name, index, field })
            }
        }
    }
}

impl Reply {
    /// Reads a packet without its length: the letter and what belongs to it, all of it.
    pub fn parse(packet: &[u8]) -> Result<Self, Error> {
        let (letter, data) = packet.split_first().ok_or(Error::Protocol("an empty packet"))?;
        match letter {
            b'O' => negotiated(data).map(Self::Negotiated),
            b'c' => nothing(data, Self::Continue),
            b'a' => nothing(data, Self::Accept),
            b'd' => nothing(data, Self::Discard),
            b'r' => nothing(data, Self::Reject),
            b't' => nothing(data, Self::TempFail),
            b's' => nothing(data, Self::Skip),
            b'p' => nothing(data, Self::Progress),
            b'y' => {
                let text = only(data)?;
                words::reply(text)
                    .map(Self::Words)
                    .ok_or(Error::Unfit("a reply that nobody may be given"))
            }
            b'q' => Ok(Self::Quarantine(words::reason(only(data)?))),
            b'b' => Ok(Self::Body(data.to_vec())),
            b'h' | b'i' | b'm' => field(*letter, data),
            b'+' | b'2' | b'-' | b'e' => envelope(*letter, data),
            b'4' | b'f' => Err(Error::Protocol("it wants the connection closed")),
            _ => Err(Error::Protocol("an unknown reply")),
        }
    }
}

fn nothing(data: &[u8], reply: Reply) -> Result<Reply, Error> {
    match data.is_empty() {
        true => Ok(reply),
        false => Err(Error::Protocol("octets after a reply")),
    }
}

fn number(reader: &mut Reader<'_>) -> Result<u32, Error> {
    let octets = reader.array();
    octets
        .map(u32::from_be_bytes)
        .map_err(|_| Error::Protocol("a packet ends early"))
}

/// Lists of macros that it asks for may follow; it gets what we have.
fn negotiated(data: &[u8]) -> Result<Negotiated, Error> {
    let mut reader = Reader::new(data);
    let negotiated = Negotiated {
        version: number(&mut reader)?,
        actions: number(&mut reader)?,
        steps: number(&mut reader)?,
    };
    if !(OLDEST_VERSION..=VERSION).contains(&negotiated.version) {
        return Err(Error::Protocol("a version that we do not speak"));
    }
    if negotiated.steps & !steps::OFFERED != 0 {
        return Err(Error::Protocol("it wants steps that were not offered"));
    }
    Ok(negotiated)
}

/// All texts of a packet.
fn split(data: &[u8]) -> Result<Vec<&str>, Error> {
    let data = data
        .strip_suffix(b"\0")
        .ok_or(Error::Protocol("a text without its end"))?;
    let texts = data.split(|octet| *octet == 0).map(std::str::from_utf8);
    let texts: Result<_, _> = texts.take(4).collect();
    texts.map_err(|_| Error::Unfit("text that is not UTF-8"))
}

fn only(data: &[u8]) -> Result<&str, Error> {
    match split(data)?[..] {
        [text] => Ok(text),
        _ => Err(Error::Protocol("not one text")),
    }
}

fn field(letter: u8, data: &[u8]) -> Result<Reply, Error> {
    let mut reader = Reader::new(data);
    let index = match letter {
        b'h' => 0,
        _ => number(&mut reader)?,
    };
    let rest = reader.take(reader.remaining()).unwrap_or_default();
    let [name, value] = split(rest)?[..] else {
        return Err(Error::Protocol("not a header field"));
    };
    let (action, place) = match letter {
        b'h' => (actions::ADD_FIELDS, Some(Place::End)),
        b'i' => (actions::ADD_FIELDS, Some(Place::At(index))),
        _ => (actions::CHANGE_FIELDS, None),
    };
    let asked = FieldAsked {
        place,
        index,
        name: name.to_owned(),
        value: value.to_owned(),
    };
    Ok(Reply::Field(action, asked))
}

/// Parameters of ESMTP are not used.
fn envelope(letter: u8, data: &[u8]) -> Result<Reply, Error> {
    let (path, parameters) = match split(data)?[..] {
        [path] => (path, false),
        [path, _] => (path, true),
        _ => return Err(Error::Protocol("not an address")),
    };
    if parameters && matches!(letter, b'+' | b'-') {
        return Err(Error::Protocol("not an address"));
    }
    let address = path.strip_prefix('<').and_then(|path| path.strip_suffix('>'));
    let address = address.unwrap_or(path);
    if letter == b'e' {
        let sender = match address {
            "" => ReversePath(None),
            address => ReversePath(Some(mailbox(address)?)),
        };
        return Ok(Reply::Change(actions::CHANGE_SENDER, Change::Sender(sender)));
    }
    let mailbox = mailbox(address)?;
    Ok(match letter {
        b'-' => Reply::Change(actions::DELETE_RECIPIENTS, Change::DeleteRecipient(mailbox)),
        b'2' => Reply::Change(
            actions::ADD_RECIPIENTS_WITH_PARAMETERS,
            Change::AddRecipient(mailbox),
        ),
        _ => Reply::Change(actions::ADD_RECIPIENTS, Change::AddRecipient(mailbox)),
    })
}

fn mailbox(address: &str) -> Result<Mailbox, Error> {
    Mailbox::parse(address).map_err(|_| Error::Unfit("an address"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    fn fault(packet: &[u8]) -> &'static str {
        match Reply::parse(packet) {
            Err(Error::Protocol(what) | Error::Unfit(what)) => what,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn commands_are_framed() {
        assert_eq!(
            Negotiated::offer(),
            b"\0\0\0\x0dO\0\0\0\x06\0\0\0\xff\0\x1f\xf7\xff"
        );
        assert_eq!(Command::EndOfMessage.packet(b""), b"\0\0\0\x01E");
        assert_eq!(
            Command::Field.packet(&texts(["a", "b\0c"])),
            b"\0\0\0\x06La\0bc\0"
        );
    }

    #[test]
    fn replies_are_read() {
        assert_eq!(Reply::parse(b"c").unwrap(), Reply::Continue);
        assert_eq!(Reply::parse(b"qwhy\0").unwrap(), Reply::Quarantine("why".into()));
        assert_eq!(
            Reply::parse(b"O\0\0\0\x06\0\0\0\x01\0\0\0\x02\0\0\0\0i j\0").unwrap(),
            Reply::Negotiated(Negotiated {
                version: 6,
                actions: 1,
                steps: 2
            })
        );
        let bob: Mailbox = "bob@hismail.test".parse().unwrap();
        assert_eq!(
            Reply::parse(b"+<bob@hismail.test>\0").unwrap(),
            Reply::Change(actions::ADD_RECIPIENTS, Change::AddRecipient(bob.clone()))
        );
        assert_eq!(
            Reply::parse(b"-bob@hismail.test\0").unwrap(),
            Reply::Change(actions::DELETE_RECIPIENTS, Change::DeleteRecipient(bob))
        );
        assert_eq!(
            Reply::parse(b"e<>\0\0").unwrap(),
            Reply::Change(actions::CHANGE_SENDER, Change::Sender(ReversePath(None)))
        );
        let Reply::Field(action, asked) = Reply::parse(b"m\0\0\0\x02X\0\0").unwrap() else {
            panic!()
        };
        assert_eq!(action, actions::CHANGE_FIELDS);
        assert_eq!(
            asked.change(false).unwrap(),
            FieldChange::Remove {
                name: "X".into(),
                index: 2
            }
        );
    }

    #[test]
    fn neighbours_of_replies_are_faults() {
        for (packet, what) in [
            (&b""[..], "an empty packet"),
            (b"cx", "octets after a reply"),
            (b"z", "an unknown reply"),
            (b"4", "it wants the connection closed"),
            (b"O\0\0\0\x06\0\0\0\x01\0\0\0", "a packet ends early"),
            (b"O\0\0\0\x07\0\0\0\x01\0\0\0\0", "a version that we do not speak"),
            (
                b"O\0\0\0\x06\0\0\0\x01\0\x20\0\0",
                "it wants steps that were not offered",
            ),
            (b"y", "a text without its end"),
            (b"y250 fine\0", "a reply that nobody may be given"),
            (b"y550 a\nb\0", "a reply that nobody may be given"),
            (b"y550 a\0b\0", "not one text"),
            (b"hX\0", "not a header field"),
            (b"hX\0y\0z\0", "not a header field"),
            (b"i\0\0\0", "a packet ends early"),
            (b"h\xff\0y\0", "text that is not UTF-8"),
            (b"+bob\0", "an address"),
            (b"+<a@b.test>\0x\0", "not an address"),
        ] {
            assert_eq!(fault(packet), what, "{packet:?}");
        }
    }

    proptest! {
        #[test]
        fn no_packet_makes_the_parser_panic(
            letter in prop::sample::select(&b"Ocadrtspyqbhim+2-e4fz"[..]),
            data in proptest::collection::vec(prop_oneof![Just(0u8), any::<u8>()], 0..60),
        ) {
            let packet = [&[letter][..], &data].concat();
            if let Ok(Reply::Field(_, asked)) = Reply::parse(&packet) {
                let _ = asked.change(letter & 1 == 0);
            }
        }
    }
}
