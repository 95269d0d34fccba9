//! D/MIME 1 with signets from files: the procedures of `dmime.md` §13, as far as one call can make them.

use std::fs::File;
use std::io::{Read, Seek};

use super::actors::Actors;
use super::keys::Keys;
use super::names::Role;
use super::refused::{InEnvelope, WrongKeys};
use super::report::Report;
use crate::cli::refusal::Refusal;
use crate::dime::dmime1::chunk::{Actor, ChunkType};
use crate::dime::dmime1::destination::DestinationView;
use crate::dime::dmime1::envelope::{DestinationEnvelope, OriginEnvelope};
use crate::dime::dmime1::fault::Fault;
use crate::dime::dmime1::open::{EnvelopeView, Opened};
use crate::dime::dmime1::origin::{CheckedSubmission, OriginView};
use crate::dime::dmime1::{Limits, Message, destination, open, origin};
use bytes::Bytes;

/// What this format allows whom.
type Checked = super::read::Checked<CheckedSubmission, Opened>;

/// Reads and parses a message; larger ones than the format's default limit are refused.
pub fn message(mut file: &File) -> anyhow::Result<Message> {
    let limits = Limits::default();
    file.rewind()?;
    let mut octets = Vec::new();
    file.take(limits.size as u64 + 1).read_to_end(&mut octets)?;
    let parsed = Message::read(Bytes::from(octets), &limits);
    Ok(parsed.map_err(|error| Refusal::new(&error))?)
}

/// Makes all checks of the role, and says in the report what was learned.
pub fn check(
    role: Role,
    message: &Message,
    (actors, keys): (&Actors, &Keys),
    report: &mut Report,
) -> anyhow::Result<Checked> {
    match role {
        Role::Origin => {
            let keys = (keys.organizations.as_slice(), "an organization");
            let view = first(keys, |keys| OriginView::open(message, keys))?;
            check_submission(view, actors, report)
        }
        Role::Destination => {
            let keys = (keys.organizations.as_slice(), "an organization");
            let view = first(keys, |keys| DestinationView::open(message, keys))?;
            check_arrival(view, actors, report)
        }
        Role::Recipient => {
            let keys = (keys.users.as_slice(), "a user");
            let view = first(keys, |keys| EnvelopeView::open(message, Actor::Recipient, keys))?;
            read_as_recipient(&view, actors, report)
        }
        Role::Author => {
            let keys = (keys.users.as_slice(), "a user");
            let view = first(keys, |keys| EnvelopeView::open(message, Actor::Author, keys))?;
            read_as_author(&view, actors, report)
        }
    }
}

/// What the first key opens that opens the envelope; if none does, what is wrong by the key that came farthest.
fn first<K, V>(
    (keys, whose): (&[K], &'static str),
    open: impl Fn(&K) -> Result<V, Fault>,
) -> Result<V, Refusal> {
    let mut farthest: Option<Fault> = None;
    for keys in keys {
        match open(keys) {
            Ok(view) => return Ok(view),
            Err(fault) if farthest.is_none_or(|far| far.rule < fault.rule) => farthest = Some(fault),
            Err(_) => {}
        }
    }
    Err(match farthest {
        Some(fault) => Refusal::new(&fault),
        None => Refusal::new(&WrongKeys::None(whose)),
    })
}

/// The signet named in that line of an envelope does not count.
fn refused_in(chunk: ChunkType, line: &'static str) -> Refusal {
    Refusal::new(&InEnvelope { chunk, line })
}

fn check_submission(view: OriginView, actors: &Actors, report: &mut Report) -> anyhow::Result<Checked> {
    let domain = actors.own_domain(Role::Origin)?;
    let envelope = view.envelope().clone();
    say_origin_envelope(report, &envelope);
    let own = actors.organization(Role::Origin, &domain)?;
    let author = actors.user(Role::Author, &envelope.author, own.as_ref())?;
    let destination = actors.organization(Role::Destination, &envelope.destination)?;
    let author = author
        .as_ref()
        .and_then(|all| all.of_crypto(&envelope.author_signet));
    let destination = destination
        .as_ref()
        .and_then(|all| all.of_crypto(&envelope.destination_signet));
    report.user(Role::Author, &envelope.author, author);
    report.organization(actors, Role::Destination, destination);
    let (author, _) = author.ok_or_else(|| refused_in(ChunkType::Origin, "Author-Signet"))?;
    let (destination, _) = destination.ok_or_else(|| refused_in(ChunkType::Origin, "Destination-Signet"))?;
    let checked = view.examine(&origin::Expected {
        submitter: actors.names.from.as_ref().unwrap_or(&envelope.author),
        origin: &domain,
        author: &author.signet,
        destination: &destination.signet,
    });
    let checked = checked.map_err(|fault| Refusal::new(&fault))?;
    Ok(Checked::Submission(Box::new(checked)))
}

fn check_arrival(view: DestinationView, actors: &Actors, report: &mut Report) -> anyhow::Result<Checked> {
    let domain = actors.own_domain(Role::Destination)?;
    let peer = actors.own_domain(Role::Origin)?;
    let envelope = view.envelope().clone();
    say_destination_envelope(report, &envelope);
    let own = actors.organization(Role::Destination, &domain)?;
    let origin = actors.organization(Role::Origin, &envelope.origin)?;
    let recipient = actors.user(Role::Recipient, &envelope.recipient, own.as_ref())?;
    let origin = origin
        .as_ref()
        .and_then(|all| all.of_crypto(&envelope.origin_signet));
    let recipient = recipient
        .as_ref()
        .and_then(|all| all.of_crypto(&envelope.recipient_signet));
    report.organization(actors, Role::Origin, origin);
    report.user(Role::Recipient, &envelope.recipient, recipient);
    let (origin, _) = origin.ok_or_else(|| refused_in(ChunkType::Destination, "Origin-Signet"))?;
    let (recipient, _) = recipient.ok_or_else(|| refused_in(ChunkType::Destination, "Recipient-Signet"))?;
    let checked = view.examine(&destination::Expected {
        peer: &peer,
        destination: &domain,
        origin: &origin.signet,
        recipient: &recipient.signet,
    });
    checked.map_err(|fault| Refusal::new(&fault))?;
    Ok(Checked::Arrival)
}

fn read_as_recipient(view: &EnvelopeView, actors: &Actors, report: &mut Report) -> anyhow::Result<Checked> {
    let address = actors.own_address(Role::Recipient)?;
    let (from, to) = (&view.envelope().origin, &view.envelope().destination);
    say_origin_envelope(report, from);
    say_destination_envelope(report, to);
    let origin = actors.organization(Role::Origin, &to.origin)?;
    let destination = actors.organization(Role::Destination, &from.destination)?;
    let author = actors.user(Role::Author, &from.author, origin.as_ref())?;
    let own = actors.user(Role::Recipient, &to.recipient, destination.as_ref())?;
    let author = author.as_ref().and_then(|all| all.of_crypto(&from.author_signet));
    let origin = origin.as_ref().and_then(|all| all.of_crypto(&to.origin_signet));
    let destination = destination
        .as_ref()
        .and_then(|all| all.of_crypto(&from.destination_signet));
    let own = own.as_ref().and_then(|all| all.of_crypto(&to.recipient_signet));
    report.user(Role::Author, &from.author, author);
    report.organization(actors, Role::Origin, origin);
    report.organization(actors, Role::Destination, destination);
    report.user(Role::Recipient, &to.recipient, own);
    let (author, _) = author.ok_or_else(|| refused_in(ChunkType::Origin, "Author-Signet"))?;
    let (destination, _) = destination.ok_or_else(|| refused_in(ChunkType::Origin, "Destination-Signet"))?;
    let (origin, _) = origin.ok_or_else(|| refused_in(ChunkType::Destination, "Origin-Signet"))?;
    let (own, _) = own.ok_or_else(|| refused_in(ChunkType::Destination, "Recipient-Signet"))?;
    let expected = open::Expected {
        address: &address,
        own: &own.signet,
        author: &author.signet,
        origin: &origin.signet,
        destination: &destination.signet,
    };
    content(open::examine(view, &expected), report)
}

fn read_as_author(view: &EnvelopeView, actors: &Actors, report: &mut Report) -> anyhow::Result<Checked> {
    let address = actors.own_address(Role::Author)?;
    let (from, to) = (&view.envelope().origin, &view.envelope().destination);
    say_origin_envelope(report, from);
    say_destination_envelope(report, to);
    let origin = actors.organization(Role::Origin, address.domain())?;
    let own = actors.user(Role::Author, &from.author, origin.as_ref())?;
    let own = own.as_ref().and_then(|all| all.of_crypto(&from.author_signet));
    report.user(Role::Author, &from.author, own);
    let (own, _) = own.ok_or_else(|| refused_in(ChunkType::Origin, "Author-Signet"))?;
    content(open::examine_sent(view, &address, &own.signet), report)
}

fn content(opened: Result<Opened, Fault>, report: &mut Report) -> anyhow::Result<Checked> {
    let opened = opened.map_err(|fault| Refusal::new(&fault))?;
    let headers = opened.common_headers()?;
    report.say_from_header(Some(&headers.from_header), &opened.envelope.origin.author);
    Ok(Checked::Content(Box::new(opened)))
}

fn say_origin_envelope(report: &mut Report, envelope: &OriginEnvelope) {
    report.origin_envelope(
        (&envelope.author, envelope.author_signet),
        (&envelope.destination, envelope.destination_signet),
    );
}

fn say_destination_envelope(report: &mut Report, envelope: &DestinationEnvelope) {
    report.destination_envelope(
        (&envelope.recipient, envelope.recipient_signet),
        (&envelope.origin, envelope.origin_signet),
    );
}
