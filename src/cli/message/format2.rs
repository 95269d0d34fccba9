//! D/MIME 2 with signets from files: the procedures of `dmime2.md` §10, as far as one call can make them.

use std::fs::File;
use std::io::{Seek, Write};

use serde_json::json;

use super::actors::Actors;
use super::keys::Keys;
use super::names::Role;
use super::report::Report;
use crate::cli::refusal::Refusal;
use crate::dime::convert::rebuilt_header;
use crate::dime::dmime2::content::Opened;
use crate::dime::dmime2::destination::{Account, Arrival};
use crate::dime::dmime2::envelope::{DestinationEnvelope, OriginEnvelope};
use crate::dime::dmime2::origin::{Admissible, Submission};
use crate::dime::dmime2::reader::{Reading, Signets};
use crate::dime::dmime2::{Error, Limits, Outline, Refused};

/// Nothing is larger than its size field can say.
const LIMITS: Limits = Limits {
    size: u32::MAX as u64 + 8,
};

/// What this format allows whom.
type Checked = super::read::Checked<Admissible, Opened>;

/// Reads the outline of an object.
pub fn outline(mut file: &File) -> anyhow::Result<Outline> {
    file.rewind()?;
    judged(Outline::read(std::io::BufReader::new(file), &LIMITS))
}

/// Makes all checks of the role at that time, and says in the report what was learned.
pub fn check(
    role: Role,
    (outline, file): (&Outline, &File),
    (actors, keys): (&Actors, &Keys),
    at: u64,
    report: &mut Report,
) -> anyhow::Result<Checked> {
    let own = keys.candidates(&actors.own(role)?);
    if own.is_empty() {
        actors.note(Refusal::new(&keys.misfit()));
    }
    match role {
        Role::Origin => {
            let submission = Submission::open(outline, &own, at).map_err(refusal)?;
            check_submission(submission, actors, report)
        }
        Role::Destination => {
            let arrival = Arrival::open(outline, &own, at).map_err(refusal)?;
            check_arrival(arrival, actors, report)
        }
        Role::Recipient => {
            let account = actors.own_address(role)?;
            let reading = Reading::as_recipient(outline, &own, &account, at, None).map_err(refusal)?;
            read(role, reading, file, actors, report)
        }
        Role::Author => {
            let account = actors.own_address(role)?;
            let reading = Reading::as_author(outline, &own, &account).map_err(refusal)?;
            read(role, reading, file, actors, report)
        }
    }
}

/// Writes the rebuilt message.
pub fn write(opened: &Opened, file: &File, out: &mut dyn Write) -> anyhow::Result<()> {
    out.write_all(&rebuilt_header(&opened.common_headers, &opened.other_headers))?;
    judged(opened.write_body(file, out))
}

/// A refusal as one, and trouble with files as that.
pub fn judged<T>(result: Result<T, Error>) -> anyhow::Result<T> {
    result.map_err(|error| match error {
        Error::Io(error) => error.into(),
        error => Refusal::new(&error).into(),
    })
}

/// The same for programs and people.
pub fn refusal(refused: Refused) -> Refusal {
    Refusal::new(&refused)
}

fn check_submission(submission: Submission, actors: &Actors, report: &mut Report) -> anyhow::Result<Checked> {
    let domain = actors.own_domain(Role::Origin)?;
    let envelope = submission.envelope().clone();
    say_origin_envelope(report, &envelope);
    let origin = actors.organization(Role::Origin, &domain)?;
    let author = actors.user(Role::Author, &envelope.author, origin.as_ref())?;
    let destination = actors.organization(Role::Destination, &envelope.destination)?;
    let author_found = author
        .as_ref()
        .and_then(|all| all.of_full(&envelope.author_signet));
    let destination_found = destination
        .as_ref()
        .and_then(|all| all.of_full(&envelope.destination_signet));
    report.user(Role::Author, &envelope.author, author_found);
    report.organization(actors, Role::Destination, destination_found);
    let may_send = actors
        .names
        .from
        .as_ref()
        .is_none_or(|from| *from == envelope.author);
    let checked = submission.check(
        &domain,
        may_send,
        author.as_ref().and_then(|all| all.known(&envelope.author_signet)),
        destination
            .as_ref()
            .and_then(|all| all.known(&envelope.destination_signet)),
    );
    Ok(Checked::Submission(Box::new(checked.map_err(refusal)?)))
}

fn check_arrival(arrival: Arrival, actors: &Actors, report: &mut Report) -> anyhow::Result<Checked> {
    let domain = actors.own_domain(Role::Destination)?;
    let peer = actors.own_domain(Role::Origin)?;
    let envelope = arrival.envelope().clone();
    say_destination_envelope(report, &envelope);
    let origin = actors.organization(Role::Origin, &envelope.origin)?;
    let destination = actors.organization(Role::Destination, &domain)?;
    let recipient = actors.user(Role::Recipient, &envelope.recipient, destination.as_ref())?;
    let origin_found = origin
        .as_ref()
        .and_then(|all| all.of_full(&envelope.origin_signet));
    let recipient_found = recipient
        .as_ref()
        .and_then(|all| all.of_full(&envelope.recipient_signet));
    report.organization(actors, Role::Origin, origin_found);
    report.user(Role::Recipient, &envelope.recipient, recipient_found);
    let origin_known = origin.as_ref().and_then(|all| all.known(&envelope.origin_signet));
    let authenticated = arrival.check(&peer, origin_known).map_err(refusal)?;
    let account = Account {
        is_served: *envelope.recipient.domain() == domain,
        exists: actors
            .names
            .to
            .as_ref()
            .is_none_or(|to| *to == envelope.recipient),
        signet: recipient
            .as_ref()
            .and_then(|all| all.known(&envelope.recipient_signet)),
    };
    authenticated.check_recipient(account).map_err(refusal)?;
    Ok(Checked::Arrival)
}

fn read(
    role: Role,
    reading: Reading,
    file: &File,
    actors: &Actors,
    report: &mut Report,
) -> anyhow::Result<Checked> {
    let (from, to) = (
        reading.origin_envelope().clone(),
        reading.destination_envelope().clone(),
    );
    say_envelopes(report, &from, &to);
    let origin = actors.organization(Role::Origin, &to.origin)?;
    let destination = actors.organization(Role::Destination, &from.destination)?;
    let author = actors.user(Role::Author, &from.author, origin.as_ref())?;
    let recipient = match role {
        Role::Author => actors.user(Role::Recipient, &to.recipient, destination.as_ref())?,
        _ => None,
    };
    let found = author.as_ref().and_then(|all| all.of_full(&from.author_signet));
    report.user(Role::Author, &from.author, found);
    let found = origin.as_ref().and_then(|all| all.of_full(&to.origin_signet));
    report.organization(actors, Role::Origin, found);
    let found = destination
        .as_ref()
        .and_then(|all| all.of_full(&from.destination_signet));
    report.organization(actors, Role::Destination, found);
    let found = recipient
        .as_ref()
        .and_then(|all| all.of_full(&to.recipient_signet));
    report.user(Role::Recipient, &to.recipient, found);
    let signets = Signets {
        author: author.as_ref().and_then(|all| all.known(&from.author_signet)),
        origin: origin.as_ref().and_then(|all| all.known(&to.origin_signet)),
        destination: destination
            .as_ref()
            .and_then(|all| all.known(&from.destination_signet)),
        recipient: recipient.as_ref().and_then(|all| all.known(&to.recipient_signet)),
    };
    let verified = reading.check(&signets).map_err(refusal)?;
    let opened = judged(verified.open(file))?;
    report.say_from_header(from_value(&opened.common_headers), &from.author);
    report.fact("parts", json!(opened.records().len()));
    report.fact("body_size", json!(opened.body_size()));
    Ok(Checked::Content(Box::new(opened)))
}

/// The value of the From field.
fn from_value(common: &[u8]) -> Option<&[u8]> {
    let mut lines = common.split(|octet| *octet == b'\n');
    lines.find_map(|line| line.strip_prefix(b"From: ")?.strip_suffix(b"\r"))
}

/// What both envelopes say.
pub fn say_envelopes(report: &mut Report, from: &OriginEnvelope, to: &DestinationEnvelope) {
    say_origin_envelope(report, from);
    say_destination_envelope(report, to);
}

/// What the origin reads.
pub fn say_origin_envelope(report: &mut Report, envelope: &OriginEnvelope) {
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
