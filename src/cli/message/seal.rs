//! `dimed message seal`.

use std::fs::File;
use std::io::{BufReader, Read, Seek, Write};

use clap::{Args, ValueEnum};
use rand::RngExt;
use serde_json::json;

use super::actors::{Actors, Organization, User};
use super::input;
use super::keys::Keys;
use super::names::Role;
use super::output::{self, Access};
use super::read::now;
use super::refused::{Held, Missing};
use crate::base::time::{Clock, SystemClock};
use crate::cli::answer::{Answer, check_output};
use crate::cli::files::{FileName, check_inputs};
use crate::cli::key::Unlock;
use crate::cli::refusal::Refusal;
use crate::cli::{Exit, Misuse};
use crate::crypto::suite::hpke::Suite as Kem;
use crate::dime::convert;
use crate::dime::dmime1::padding::Padding;
use crate::dime::dmime1::seal as one;
use crate::dime::dmime2::Rule;
use crate::dime::dmime2::seal as two;
use crate::dime::key_set::{Capability, Change, Owner, State, capability};
use crate::dime::keys::UserKeys;
use crate::dime::selection::{self, Choice, Hold, Policy, Standing, choose};
use crate::mail::address::Mailbox;
use crate::mail::date::rfc5322;
use crate::mail::headers::{Collector, Gathered};
use crate::mail::repair::{Supplied, repair};

/// Most octets of a mail that goes by D/MIME 1: two full chunks.
const MAX_FORMAT_1: u64 = 34 << 20;

/// Most octets of a mail in which its header must end to be repaired; what a submission server takes is less.
const REPAIRED_FRONT: usize = 1 << 20;

/// Octets that are read at a time until it has ended.
const REPAIRED_PIECE: usize = 64 << 10;

/// Seal a mail for one recipient. The author's organization has to sign the result: see
/// origin-sign.
///
/// FILE is an RFC 5322 message with CRLF line ends, Date and From; --repair mends its header. Bcc
/// and trace fields do not travel. The body comes back octet for octet.
///
/// Format and suite follow from the keys that the signets of both organizations and of the
/// recipient advertise: D/MIME 2 with the highest common suite if all have keys, D/MIME 1 if one of
/// them has none or has signed an opt-out. Keys that are expired, or break another rule, hold the
/// message: it is not sealed, and the rule (Q1, Q2 or Q3) is named. --format and --suite narrow the
/// choice; --suite xwing insists on confidentiality against later quantum computers. A copy that
/// the author can open is made if the author's keys have the suite.
///
/// Exit codes: 0 sealed; 1 held, a signet is not valid, or the mail cannot be mapped; 2 usage; 75
/// no room to write.
///
/// Examples:
///
///     dimed message seal --from alice@example.org --to bob@example.net \
///         --author-key alice-example.org.key --author-signet alice-example.org.signet \
///         --origin-signet example.org.signet --destination-signet example.net.signet \
///         --recipient-signet bob-example.net.signet letter.eml --out new.dmime
///     dimed message seal --suite xwing --no-author-copy \
///         --from alice@example.org --to bob@example.net \
///         --author-key alice-example.org.key --author-signet alice-example.org.signet \
///         --origin-signet example.org.signet --destination-signet example.net.signet \
///         --recipient-signet bob-example.net.signet - < letter.eml
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub struct Seal {
    #[command(flatten)]
    actors: Actors,
    /// The author's private keys; more than once for more files.
    #[arg(long, value_name = "FILE", required = true)]
    author_key: Vec<FileName>,
    #[command(flatten)]
    unlock: Unlock,
    /// Demand a format: 1 or 2.
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=2))]
    format: Option<u8>,
    /// Demand a suite, and thereby D/MIME 2.
    #[arg(long, value_enum)]
    suite: Option<Suite>,
    /// Make no copy that the author can open.
    #[arg(long)]
    no_author_copy: bool,
    /// Mend the header of the mail as a submission server does: line ends, octets that may not stand there, a missing Date or Message-ID.
    #[arg(long)]
    repair: bool,
    /// Where to write the sealed message; - is standard output.
    #[arg(long, short, value_name = "FILE", default_value = "-")]
    out: FileName,
    /// Replace an existing file.
    #[arg(long)]
    force: bool,
    /// Mail to seal; - is standard input.
    file: FileName,
}

/// Suites of D/MIME 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Suite {
    /// DHKEM(X25519).
    X25519,
    /// X25519 and ML-KEM-768.
    Xwing,
}

impl From<Suite> for Kem {
    fn from(suite: Suite) -> Self {
        match suite {
            Suite::X25519 => Self::X25519,
            Suite::Xwing => Self::XWing,
        }
    }
}

/// Everybody whom a message concerns, verified.
struct Parties {
    from: Mailbox,
    to: Mailbox,
    author: User,
    origin: Organization,
    destination: Organization,
    recipient: User,
}

/// The keys that their current signets advertise.
struct Capabilities {
    author: Capability,
    origin: Capability,
    destination: Capability,
    recipient: Capability,
}

/// Seals.
pub fn run(arguments: &Seal, json: bool, out: &mut dyn Write) -> anyhow::Result<Exit> {
    arguments.check(json)?;
    let parties = parties(&arguments.actors)?;
    let keys = Keys::read(&arguments.author_key, &arguments.unlock)?;
    let own = keys.of_user(parties.author.current().signet.signet())?;
    let capabilities = Capabilities::of(&parties, now());
    let choice = arguments.choose(&capabilities)?;
    let mail = arguments.mail(&parties.from)?;
    let answer = match choice {
        Choice::Format2 { suite, author_copy } => {
            let parties = parties.of_format2(&capabilities, suite, author_copy)?;
            seal_format2(arguments, &parties, own, mail, author_copy, out)?
        }
        Choice::Format1 => seal_format1(arguments, &parties, own, mail, out)?,
        Choice::Hold(hold) => return Err(held(hold, &capabilities).into()),
    };
    if json || !arguments.out.is_standard() {
        answer.write(json, out)?;
    }
    Ok(Exit::Done)
}

impl Seal {
    fn check(&self, json: bool) -> anyhow::Result<()> {
        check_output(json, &self.out)?;
        if self.format == Some(1) && (self.suite.is_some() || self.no_author_copy) {
            return Err(Misuse("D/MIME 1 has no suites, and always a copy for the author".into()).into());
        }
        let inputs = self.author_key.iter().chain(self.actors.files());
        check_inputs(inputs.chain([&self.file]).chain(&self.unlock.passphrase_file))?;
        Ok(())
    }

    /// Format and suite by the rules, within what the arguments demand.
    fn choose(&self, capabilities: &Capabilities) -> anyhow::Result<Choice> {
        let demanded = self.suite.map(Kem::from);
        let policy = Policy {
            minimum_suite: demanded.unwrap_or(Kem::X25519),
            allow_format_1: self.format != Some(2) && demanded.is_none(),
        };
        let actors = capabilities.standings(demanded);
        let author_suites = capabilities.author.suites();
        Ok(match (choose(&actors, &author_suites, policy), self.format) {
            (Choice::Format2 { .. }, Some(1)) => {
                warn("all parties have keys of D/MIME 2, and D/MIME 1 was demanded");
                Choice::Format1
            }
            (Choice::Format2 { suite, .. }, _) if self.no_author_copy => Choice::Format2 {
                suite,
                author_copy: false,
            },
            (choice, _) => choice,
        })
    }

    /// The mail, repaired if that was asked for.
    fn mail(&self, author: &Mailbox) -> anyhow::Result<File> {
        let mail = input::copied(&self.file)?;
        match self.repair {
            true => repaired(&mail, author, &self.file),
            false => Ok(mail),
        }
    }

    /// What was done, for people.
    fn told(&self, format: u8, suite: &str) -> String {
        format!(
            "sealed as D/MIME {format} ({suite}), for the origin to sign; in {}\n",
            self.out
        )
    }

    /// Writes the sealed message.
    fn write(
        &self,
        out: &mut dyn Write,
        write: impl FnOnce(&mut dyn Write) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        output::write(&self.out, self.force, Access::Public, out, write)
    }
}

fn parties(actors: &Actors) -> anyhow::Result<Parties> {
    let names = &actors.names;
    let needed = |address: &Option<Mailbox>, option: &str| {
        let missing = || Misuse(format!("{option} is needed"));
        address.clone().ok_or_else(missing)
    };
    let (from, to) = (needed(&names.from, "--from")?, needed(&names.to, "--to")?);
    let organization = |role, domain| {
        let found = actors.organization(role, domain)?;
        found.ok_or_else(|| why(actors, role))
    };
    let user = |role, address, organization| {
        let found = actors.user(role, address, Some(organization))?;
        found.ok_or_else(|| why(actors, role))
    };
    let origin = organization(Role::Origin, names.domain(Role::Origin).unwrap_or(from.domain()))?;
    let there = names.domain(Role::Destination).unwrap_or(to.domain());
    let destination = organization(Role::Destination, there)?;
    Ok(Parties {
        author: user(Role::Author, &from, &origin)?,
        recipient: user(Role::Recipient, &to, &destination)?,
        origin,
        destination,
        from,
        to,
    })
}

/// Why there is no signet of a party.
fn why(actors: &Actors, role: Role) -> anyhow::Error {
    match actors.trouble() {
        Some(refusal) => refusal.into(),
        None => Refusal::new(&Missing(role.name())).into(),
    }
}

impl Capabilities {
    fn of(parties: &Parties, now: u64) -> Self {
        let of = |owner| capability(Some(owner), None, Change::Unproven, now);
        Self {
            author: of(Owner::from(&parties.author.current().signet)),
            origin: of(Owner::from(&parties.origin.current().signet)),
            destination: of(Owner::from(&parties.destination.current().signet)),
            recipient: of(Owner::from(&parties.recipient.current().signet)),
        }
    }

    /// What the choice needs; a suite that was demanded is the only one that counts.
    fn standings(&self, demanded: Option<Kem>) -> selection::Actors {
        let of = |capability: &Capability| {
            let mut standing = Standing::new(capability, None);
            standing
                .suites
                .retain(|suite| demanded.is_none_or(|demanded| demanded == *suite));
            standing
        };
        selection::Actors {
            origin: of(&self.origin),
            destination: of(&self.destination),
            recipient: of(&self.recipient),
        }
    }

    fn actor(&self, actor: selection::Actor) -> &Capability {
        match actor {
            selection::Actor::Origin => &self.origin,
            selection::Actor::Destination => &self.destination,
            selection::Actor::Recipient => &self.recipient,
        }
    }
}

fn held(hold: Hold, capabilities: &Capabilities) -> Refusal {
    let because = hold.actor.map(|actor| match capabilities.actor(actor) {
        Capability::Unusable(error) => format!("{} ({error})", State::Unusable),
        capability => capability.state().to_string(),
    });
    Refusal::new(&Held { hold, because })
}

impl Parties {
    fn of_format1<'a>(&'a self, keys: &'a UserKeys) -> one::Parties<'a> {
        one::Parties {
            author: &self.from,
            author_keys: keys,
            author_signet: &self.author.current().signet,
            origin_signet: &self.origin.current().signet,
            destination_signet: &self.destination.current().signet,
            recipient: &self.to,
            recipient_signet: &self.recipient.current().signet,
        }
    }

    /// [`Rule::E4`] for a signet without a full signature, which has no usable keys and was held before.
    fn of_format2(&self, keys: &Capabilities, suite: Kem, author_copy: bool) -> anyhow::Result<two::Parties> {
        let none = || Refusal::new(&crate::dime::dmime2::Refused::from(Rule::E4));
        let key = |capability: &Capability| {
            let set = capability.keys();
            set.and_then(|set| set.key(suite)).cloned()
        };
        let organization = |owner: &Organization, capability| -> Result<two::Organization, Refusal> {
            let signet = &owner.current().signet;
            Ok(two::Organization {
                domain: signet.domain().clone(),
                signet: signet.full_fingerprint().ok_or_else(none)?,
                key: key(capability).ok_or_else(none)?,
            })
        };
        Ok(two::Parties {
            created: now(),
            author: two::Author {
                address: self.from.clone(),
                signet: self.author.current().signet.full_fingerprint().ok_or_else(none)?,
                copy: author_copy.then(|| key(&keys.author)).flatten(),
            },
            origin: organization(&self.origin, &keys.origin)?,
            destination: organization(&self.destination, &keys.destination)?,
            recipient: two::Recipient {
                address: self.to.clone(),
                signet: self
                    .recipient
                    .current()
                    .signet
                    .full_fingerprint()
                    .ok_or_else(none)?,
                key: key(&keys.recipient).ok_or_else(none)?,
            },
        })
    }
}

fn seal_format2(
    arguments: &Seal,
    parties: &two::Parties,
    keys: &UserKeys,
    mut mail: File,
    author_copy: bool,
    out: &mut dyn Write,
) -> anyhow::Result<Answer> {
    let content = convert::to_dmime2(&mail).map_err(|error| of_mail(error, arguments))?;
    mail.rewind()?;
    let mut sealed = None;
    arguments.write(out, |to| {
        let body = BufReader::new(&mail);
        let done = two::write(parties, &keys.signing, &content, body, to, &mut rand::rng());
        sealed = Some(done.map_err(|error| match error {
            two::Error::Io(error) => anyhow::Error::from(error),
            error => Refusal::new(&error).of_file(&arguments.file).into(),
        })?);
        Ok(())
    })?;
    let Some(sealed) = sealed else {
        return Err(Refusal::new(&two::Error::TooLarge).into());
    };
    Ok(Answer {
        text: arguments.told(2, sealed.suite.name()),
        json: json!({
            "result": "sealed",
            "format": 2,
            "suite": sealed.suite.name(),
            "author_copy": author_copy,
            "created": parties.created,
            "message_id": sealed.message_id.to_string(),
            "size": sealed.size,
            "written_to": arguments.out.to_string(),
        }),
    })
}

fn seal_format1(
    arguments: &Seal,
    parties: &Parties,
    keys: &UserKeys,
    mail: File,
    out: &mut dyn Write,
) -> anyhow::Result<Answer> {
    convert::check_dmime1(&mail).map_err(|error| of_mail(error, arguments))?;
    let mut octets = Vec::new();
    let mut source = &mail;
    source.rewind()?;
    source.take(MAX_FORMAT_1).read_to_end(&mut octets)?;
    let content = convert::to_dmime1(octets).map_err(|error| of_mail(error, arguments))?;
    let padding = Padding::default();
    let sealed = one::seal(&parties.of_format1(keys), &content, padding, &mut rand::rng());
    let sealed = sealed.map_err(|error| Refusal::new(&error).of_file(&arguments.file))?;
    arguments.write(out, |to| Ok(to.write_all(&sealed)?))?;
    Ok(Answer {
        text: arguments.told(1, "secp256k1"),
        json: json!({
            "result": "sealed",
            "format": 1,
            "suite": "secp256k1",
            "author_copy": true,
            "size": sealed.len(),
            "written_to": arguments.out.to_string(),
        }),
    })
}

/// The mail with the header that a submission server would have made of it; the body stays.
fn repaired(mut mail: &File, author: &Mailbox, file: &FileName) -> anyhow::Result<File> {
    let mut header = Collector::new(REPAIRED_FRONT);
    let mut piece = Vec::with_capacity(REPAIRED_PIECE);
    loop {
        piece.clear();
        let read = mail.take(REPAIRED_PIECE as u64).read_to_end(&mut piece)?;
        match header.push(&piece) {
            Gathered::Incomplete if read > 0 => {}
            Gathered::TooLong => {
                return Err(Refusal::new(&convert::Error::HeaderTooLarge).of_file(file).into());
            }
            _ => break,
        }
    }
    let front = header.finish();
    let unique: u128 = rand::rng().random();
    let supplied = Supplied {
        date: &rfc5322(SystemClock.now()),
        message_id: &format!("<{unique:032x}@{}>", author.domain()),
    };
    let front = repair(&front, &supplied).map_err(|error| Refusal::new(&error).of_file(file))?;
    let mut repaired = tempfile::tempfile()?;
    repaired.write_all(&front)?;
    std::io::copy(&mut mail, &mut repaired)?;
    repaired.rewind()?;
    Ok(repaired)
}

fn of_mail(error: convert::Error, arguments: &Seal) -> anyhow::Error {
    match error {
        convert::Error::Source(error) => input::unreadable(&arguments.file)(error).into(),
        error => {
            let mut refusal = Refusal::new(&error).of_file(&arguments.file);
            let is_mended = matches!(error, convert::Error::Header(_) | convert::Error::Missing(_));
            if is_mended && !arguments.repair {
                refusal.message += "; --repair mends headers";
            }
            refusal.into()
        }
    }
}

fn warn(what: &str) {
    // Nobody is left to be warned if this fails.
    let _ = writeln!(std::io::stderr(), "dimed: warning: {what}");
}
