//! Messages of format 1 as each of the four actors meets them.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use dimed::dime::dmime1::chunk::{Actor, ChunkType};
use dimed::dime::dmime1::open::{self, Opened};
use dimed::dime::dmime1::{Limits, Message, ReplayToken, destination, inspect, origin};

use super::actors::{CAST, vector};

/// Every message that the author sealed for this recipient, as the origin sent it on.
static SENT: LazyLock<Vec<Message>> = LazyLock::new(|| {
    [
        vector!("messages/basic.dmime"),
        vector!("messages/full-headers-attachment.dmime"),
        vector!("messages/large.dmime"),
        vector!("messages/two-display-two-attach.dmime"),
        vector!("messages/padding-256.dmime"),
        vector!("messages/display-1.dmime"),
        vector!("messages/display-187.dmime"),
        vector!("messages/two-display-unequal.dmime"),
        vector!("messages/two-display-large-first-author.dmime"),
        vector!("messages/alternate-padding.dmime"),
        vector!("messages/flag-compressed.dmime"),
        vector!("messages/flag-continuation.dmime"),
        vector!("messages/bounce-flags-0.dmime"),
        vector!("messages/bounce-flags-1.dmime"),
        vector!("messages/bounce-flags-2.dmime"),
    ]
    .into_iter()
    .map(|octets| Message::parse(octets, &Limits::default()).expect("a message of the vectors"))
    .collect()
});

/// What those messages say.
static SAID: LazyLock<Vec<Opened>> = LazyLock::new(|| SENT.iter().filter_map(open_sent).collect());

static TOKENS: LazyLock<BTreeSet<[u8; 32]>> = LazyLock::new(|| {
    let tokens = SENT.iter().map(Message::replay_token);
    tokens.map(|ReplayToken(token)| token).collect()
});

/// Chunks tile the message; whatever an actor accepts is a message that was sealed, as far as signatures reach.
pub fn message(input: &[u8]) {
    let Ok(message) = Message::parse(input.to_vec(), &Limits::default()) else {
        return;
    };
    assert_eq!(message.encode(), input);
    check_layout(&message);
    at_origin(&message);
    at_destination(&message);
    for opened in [open_received(&message), open_sent(&message)]
        .into_iter()
        .flatten()
    {
        assert!(SAID.contains(&opened), "a text that nobody wrote");
    }
    let _ = inspect::readable(&message, &CAST.recipient.keys.encryption).content();
}

/// See `dmime.md` §14.2.
fn check_layout(message: &Message) {
    let octets = message.without_tracing();
    let mut end = 6;
    let mut last = None;
    for chunk in message.chunks() {
        assert_eq!(chunk.range().start, end, "a gap between chunks");
        end = chunk.range().end;
        assert!(last < Some(chunk.kind) || chunk.kind.repeats() && last == Some(chunk.kind));
        last = Some(chunk.kind);
        assert_eq!(message.payload(chunk).len(), chunk.payload_size);
        let slots = Actor::ALL.map(|actor| message.keyslot(chunk, actor).is_some());
        let readers = Actor::ALL.map(|actor| chunk.kind.readers().contains(&actor));
        assert_eq!(slots, readers);
    }
    assert_eq!(end, octets.len());
    assert!(
        ChunkType::REQUIRED
            .iter()
            .all(|kind| message.find(*kind).is_some())
    );
    let tracing = message.tracing().map_or(0, |tracing| tracing.len() + 4);
    assert_eq!(tracing + octets.len(), message.encode().len());
}

/// The author's signatures cover everything before themselves.
fn at_origin(message: &Message) {
    let expected = origin::Expected {
        submitter: &CAST.author.address,
        origin: &CAST.origin.domain,
        author: &CAST.author.signet,
        destination: &CAST.destination.signet,
    };
    let view = origin::open(message, &CAST.origin.keys);
    if view.and_then(|view| view.check(&expected)).is_ok() {
        assert_sealed(message, ChunkType::AuthorSignature);
    }
}

/// The origin's full signature covers everything but itself, so nobody can make the destination forget a message.
fn at_destination(message: &Message) {
    let expected = destination::Expected {
        peer: &CAST.origin.domain,
        destination: &CAST.destination.domain,
        origin: &CAST.origin.signet,
        recipient: &CAST.recipient.signet,
    };
    let view = destination::open(message, &CAST.destination.keys);
    if view.and_then(|view| view.check(&expected)).is_ok() {
        assert_sealed(message, ChunkType::OriginSignature);
        assert!(
            TOKENS.contains(&message.replay_token().0),
            "a replay under another name"
        );
    }
}

fn assert_sealed(message: &Message, until: ChunkType) {
    let same = |sent: &Message| sent.octets_before(until) == message.octets_before(until);
    assert!(SENT.iter().any(same), "a message that nobody sealed");
}

fn open_received(message: &Message) -> Option<Opened> {
    let expected = open::Expected {
        address: &CAST.recipient.address,
        own: &CAST.recipient.signet,
        author: &CAST.author.signet,
        origin: &CAST.origin.signet,
        destination: &CAST.destination.signet,
    };
    let view = open::open_envelope(message, &CAST.recipient.keys).ok()?;
    open::open(&view, &expected).ok()
}

fn open_sent(message: &Message) -> Option<Opened> {
    let view = open::open_sent_envelope(message, &CAST.author.keys).ok()?;
    open::open_sent(&view, &CAST.author.address, &CAST.author.signet).ok()
}
