//! Who can read what of a sealed object, found out by opening it with the keys each one has.

use serde::Serialize;

use super::letters::Letter;
use super::verify;
use super::world::{Organization, World};
use crate::cli::context::Context;
use crate::crypto::suite::hpke::Suite;
use crate::dime::dmime2::inspect::{self, Readable};
use crate::dime::dmime2::{Candidate, Limits, Outline};
use crate::mail::address::{Domain, Mailbox};

/// Number of things that are looked for.
pub const THINGS: usize = 6;
/// The things that are looked for, each in two lines of a table's head.
pub const HEADS: [(&str, &str); THINGS] = [
    ("author", "address"),
    ("recipient", "address"),
    ("author's", "domain"),
    ("recipient's", "domain"),
    ("", "subject"),
    ("", "body"),
];

/// What one party could read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// Who, and in which role.
    pub who: String,
    /// How many private keys they have that may matter.
    pub keys: usize,
    /// The author's address.
    pub author_address: bool,
    /// The recipient's address.
    pub recipient_address: bool,
    /// The author's domain.
    pub author_domain: bool,
    /// The recipient's domain.
    pub recipient_domain: bool,
    /// The subject.
    pub subject: bool,
    /// The whole body, attachments included.
    pub body: bool,
    /// Something opened that is not what was sent.
    pub wrong: bool,
}

impl Row {
    /// In the order of [`HEADS`].
    pub fn cells(&self) -> [bool; THINGS] {
        [
            self.author_address,
            self.recipient_address,
            self.author_domain,
            self.recipient_domain,
            self.subject,
            self.body,
        ]
    }
}

/// The table for one object, and what in it breaks the promise of D/MIME.
pub struct Findings {
    /// The suite of its keys.
    pub suite: Suite,
    /// One row for each party.
    pub rows: Vec<Row>,
    /// In words.
    pub problems: Vec<String>,
}

/// Shorter things may stand in a ciphertext by chance.
const SHORTEST_FIND: usize = 8;

/// Lines of the body that are looked for in the ciphertext, which may be long.
const LINES: usize = 100;

/// What was really sent.
struct Truth<'a> {
    author: &'a Mailbox,
    recipient: &'a Mailbox,
    subject: Vec<u8>,
    body: &'a [u8],
}

/// Opens `object`, a message from hermail's user to hismail's, with everybody's keys.
pub async fn examine(world: &World, object: &[u8], sent: &Letter) -> anyhow::Result<Findings> {
    let suite = Outline::read(object, &Limits::default())?.suite();
    let (hermail, alice) = keys(&world.hermail).await?;
    let (hismail, bob) = keys(&world.hismail).await?;
    let truth = Truth {
        author: &world.hermail.user,
        recipient: &world.hismail.user,
        subject: verify::unfolded(&sent.octets, "Subject"),
        body: verify::body(&sent.octets),
    };
    let in_clear = in_clear(&truth, object);
    let row = |who: &str, keys: &[&[Candidate]]| -> anyhow::Result<Row> {
        let keys = keys.concat();
        let mut row = Row {
            who: who.to_owned(),
            keys: keys.len(),
            ..in_clear.clone()
        };
        row.add_opened(&truth, &inspect::readable(object, &keys)?);
        Ok(row)
    };
    let network = row("the network", &[])?;
    let origin = row("hermail.test as origin", &[&hermail])?;
    let destination = row("hismail.test as destination", &[&hismail])?;
    let recipient = row("Bob", &[&bob])?;
    let problems = judge(&network, &origin, &destination, &recipient);
    let rows = vec![
        network,
        origin,
        destination,
        recipient,
        row("hermail.test, keeping Alice's keys", &[&hermail, &alice])?,
        row("hismail.test, keeping Bob's keys", &[&hismail, &bob])?,
    ];
    Ok(Findings {
        suite,
        rows,
        problems,
    })
}

/// The keys of an organization and of its user, out of its store.
async fn keys(of: &Organization) -> anyhow::Result<(Vec<Candidate>, Vec<Candidate>)> {
    let published = Context::open(of.config.clone()).await?.published();
    let keys = async |name: &str| -> anyhow::Result<Vec<Candidate>> {
        let stored = published.candidates(name).await?;
        anyhow::ensure!(!stored.is_empty(), "{name} has no keys");
        Ok(stored.into_iter().map(Candidate::from).collect())
    };
    Ok((keys(of.domain.as_str()).await?, keys(&of.user.to_string()).await?))
}

/// What the octets say as they are; one line of the body is bad enough.
fn in_clear(truth: &Truth<'_>, object: &[u8]) -> Row {
    let has = |value: &[u8]| value.len() >= SHORTEST_FIND && memchr::memmem::find(object, value).is_some();
    let mut lines = truth.body.split(|octet| *octet == b'\n').take(LINES);
    Row {
        who: String::new(),
        keys: 0,
        author_address: has(truth.author.to_string().as_bytes()),
        recipient_address: has(truth.recipient.to_string().as_bytes()),
        author_domain: has(truth.author.domain().as_str().as_bytes()),
        recipient_domain: has(truth.recipient.domain().as_str().as_bytes()),
        subject: has(&truth.subject),
        body: lines.any(|line| has(line.trim_ascii())),
        wrong: false,
    }
}

impl Row {
    /// What a key opened; whatever it is, it must be true.
    fn add_opened(&mut self, truth: &Truth<'_>, readable: &Readable) {
        if let Some(envelope) = readable.origin_envelope() {
            self.learn_author(truth, &envelope.author);
            self.learn_recipient_domain(truth, &envelope.destination);
        }
        if let Some(envelope) = readable.destination_envelope() {
            self.learn_recipient(truth, &envelope.recipient);
            self.learn_author_domain(truth, &envelope.origin);
        }
        if let Some(headers) = readable.common_headers() {
            let is_true = verify::unfolded(headers, "Subject") == truth.subject;
            self.subject |= is_true;
            self.wrong |= !is_true;
        }
        if let Some(body) = readable.body() {
            let is_true = body == truth.body;
            self.body |= is_true;
            self.wrong |= !is_true;
        }
    }

    fn learn_author(&mut self, truth: &Truth<'_>, author: &Mailbox) {
        self.author_address |= author == truth.author;
        self.wrong |= author != truth.author;
        self.learn_author_domain(truth, author.domain());
    }

    fn learn_recipient(&mut self, truth: &Truth<'_>, recipient: &Mailbox) {
        self.recipient_address |= recipient == truth.recipient;
        self.wrong |= recipient != truth.recipient;
        self.learn_recipient_domain(truth, recipient.domain());
    }

    fn learn_author_domain(&mut self, truth: &Truth<'_>, domain: &Domain) {
        self.author_domain |= domain == truth.author.domain();
        self.wrong |= domain != truth.author.domain();
    }

    fn learn_recipient_domain(&mut self, truth: &Truth<'_>, domain: &Domain) {
        self.recipient_domain |= domain == truth.recipient.domain();
        self.wrong |= domain != truth.recipient.domain();
    }
}

/// The separation that D/MIME promises (`dmime2.md` §18).
fn judge(network: &Row, origin: &Row, destination: &Row, recipient: &Row) -> Vec<String> {
    const NOTHING: [bool; THINGS] = [false; THINGS];
    const ORIGIN: [bool; THINGS] = [true, false, true, true, false, false];
    const DESTINATION: [bool; THINGS] = [false, true, true, true, false, false];
    const EVERYTHING: [bool; THINGS] = [true; THINGS];
    let promised = [
        (network, NOTHING),
        (origin, ORIGIN),
        (destination, DESTINATION),
        (recipient, EVERYTHING),
    ];
    let broken = promised
        .into_iter()
        .flat_map(|(row, promise)| differences(row, promise));
    broken.collect()
}

fn differences(row: &Row, promise: [bool; THINGS]) -> Vec<String> {
    let mut problems = Vec::new();
    if row.wrong {
        problems.push(format!("{} opened something that was not sent", row.who));
    }
    for (((one, two), found), expected) in HEADS.into_iter().zip(row.cells()).zip(promise) {
        let thing = format!("{one} {two}");
        match (found, expected) {
            (true, false) => problems.push(format!("{} could read the {}", row.who, thing.trim())),
            (false, true) => problems.push(format!("{} could not read the {}", row.who, thing.trim())),
            _ => {}
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(cells: [bool; THINGS]) -> Row {
        let [
            author_address,
            recipient_address,
            author_domain,
            recipient_domain,
            subject,
            body,
        ] = cells;
        Row {
            who: "somebody".into(),
            keys: 1,
            author_address,
            recipient_address,
            author_domain,
            recipient_domain,
            subject,
            body,
            wrong: false,
        }
    }

    #[test]
    fn every_broken_promise_is_named() {
        let origin = [true, false, true, true, false, false];
        let destination = [false, true, true, true, false, false];
        let (none, all) = ([false; THINGS], [true; THINGS]);
        assert_eq!(
            judge(&row(none), &row(origin), &row(destination), &row(all)),
            [""; 0]
        );
        for place in 0..THINGS {
            let flipped = |mut cells: [bool; THINGS]| {
                cells[place] = !cells[place];
                row(cells)
            };
            let judged = [
                judge(&flipped(none), &row(origin), &row(destination), &row(all)),
                judge(&row(none), &flipped(origin), &row(destination), &row(all)),
                judge(&row(none), &row(origin), &flipped(destination), &row(all)),
                judge(&row(none), &row(origin), &row(destination), &flipped(all)),
            ];
            assert!(judged.iter().all(|problems| problems.len() == 1), "{judged:?}");
        }
    }

    #[test]
    fn what_is_not_true_counts_as_wrong() {
        let wrong = Row {
            wrong: true,
            ..row([true; THINGS])
        };
        assert_eq!(
            differences(&wrong, [true; THINGS]),
            ["somebody opened something that was not sent"]
        );
    }
}
