//! Returned messages as origin and author meet them.

use std::io::Cursor;
use std::sync::LazyLock;

use dimed::dime::dmime2::returned::{Evidence, Returned, Scope, Status, Ticket};
use dimed::dime::dmime2::{Limits, Refused};

use super::correspondents::{CORRESPONDENTS, NOW};
use super::message2::sent;

/// Returned messages that the destination has signed: of two messages, in every scope.
static SIGNED: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let objects = sent().iter().map(|[_, signed]| signed).take(2);
    objects
        .flat_map(|object| Scope::ALL.map(|scope| report(object, scope)))
        .collect()
});

/// All of them: seeds that accept.
pub fn signed() -> &'static [Vec<u8>] {
    &SIGNED
}

fn report(object: &[u8], scope: Scope) -> Vec<u8> {
    let taken = CORRESPONDENTS
        .arrive(object)
        .expect("a message that the destination takes");
    let ticket = Ticket::take(&taken, scope, Cursor::new(object), 1 << 20).expect("octets in memory");
    let stored = Ticket::decode(&ticket.encode()).expect("a ticket of ours");
    let status = Status {
        subject: 2,
        detail: 2,
    };
    stored.report(NOW, status, &CORRESPONDENTS.destination.keys.signing)
}

/// Only what the destination signed passes, octet for octet, and what is whole in it is what the scope allows.
pub fn returned(input: &[u8]) {
    if let Ok(ticket) = Ticket::decode(input) {
        assert_eq!(ticket.encode(), input);
    }
    let limits = Limits { size: 1 << 20 };
    let Ok(object) = Returned::decode(input.to_vec(), &limits) else {
        return;
    };
    assert_eq!(object.octets(), input);
    assert!(object.chunks().all(|(_, chunk)| object.scope().has(chunk.kind)));
    let signed = SIGNED.iter().any(|signed| signed == input);
    assert_eq!(at_origin(object).is_ok(), signed, "the origin");
    let object = Returned::decode(input.to_vec(), &limits).expect("the same octets");
    assert_eq!(at_author(object).is_ok(), signed, "the author");
}

fn at_origin(object: Returned) -> Result<(), Refused> {
    let them = &*CORRESPONDENTS;
    let opened = object.open_as_origin(&them.origin.candidates())?;
    let own = [them.origin.keys.signing.verifying_key()];
    opened.check(
        &own,
        &them.destination.domain,
        &[them.destination.known()],
        true,
        NOW,
    )?;
    Ok(())
}

fn at_author(object: Returned) -> Result<(), Refused> {
    let them = &*CORRESPONDENTS;
    let opened = object.open_as_author(&them.author.candidates())?;
    opened.check(&Evidence {
        account: &them.author.address,
        own_key: Some(them.author.keys.signing.verifying_key()),
        origin: Some(them.origin.known()),
        destination: &[them.destination.known()],
        sent_to: None,
        now: NOW,
    })?;
    Ok(())
}
