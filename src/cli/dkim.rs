//! `dimed dkim …`.

use std::io::Write;
use std::path::Path;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde_json::json;

use super::answer::Answer;
use super::context::Context;
use super::{Exit, audit, load};
use crate::accounts;
use crate::authentication::Keys;
use crate::mail::address::Domain;
use crate::mail::date::rfc5322;
use crate::store::{self, DkimKey, DkimState};

/// Keys that sign the mail which leaves by SMTP (DKIM), with RSA and Ed25519 at the same time.
///
/// A key is generated, published by you, and put to use once DNS has it; the key before it stays published for eight days.
/// The daemon takes the steps that are due every hour, and `rotate` takes them at once.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Answer with a JSON object.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make the first keys of a domain.
    Add {
        /// A domain that is served here.
        domain: Domain,
    },
    /// Show the keys of a domain and what comes next.
    List {
        /// A domain that is served here.
        domain: Domain,
    },
    /// Take the steps that are due; if none is under way, make new keys to replace those in use. Keys that wait already stay the next
    /// ones: --cancel erases them first.
    Rotate {
        /// A domain that is served here.
        domain: Domain,
        /// Only say how far it is.
        #[arg(long)]
        status: bool,
        /// Call the change off, and erase the keys that wait to be published. Those that are in use stay so.
        #[arg(long, conflicts_with = "status")]
        cancel: bool,
    },
    /// Erase a key at once, whatever state it is in: for one that somebody else may have.
    ///
    /// A daemon that runs signs with it for half a minute more, at most. Take its record out of DNS, too: until then mail that somebody
    /// else signs with it is taken for yours. `dimed dns records` does not print it any more.
    Retire {
        /// A domain that is served here.
        domain: Domain,
        /// The name of the key.
        selector: String,
    },
}

impl Command {
    fn domain(&self) -> &Domain {
        match self {
            Self::Add { domain }
            | Self::List { domain }
            | Self::Rotate { domain, .. }
            | Self::Retire { domain, .. } => domain,
        }
    }

    /// Whether new keys are asked for, unless a step is due.
    fn is_rotation(&self) -> bool {
        matches!(
            self,
            Self::Rotate {
                status: false,
                cancel: false,
                ..
            }
        )
    }
}

/// Changes of a domain's keys, of which the log is told at once: what comes after one may fail.
struct Changes<'a> {
    context: &'a Context,
    domain: &'a Domain,
    last: Option<&'static str>,
}

impl Changes<'_> {
    /// A change that was to be made, in a word for the log, and what came of it. It is made also where what it has erased is still in
    /// the log of the database.
    fn note(&mut self, change: &'static str, done: Result<(), store::Error>) -> Result<(), store::Error> {
        let is_made = matches!(done, Ok(()) | Err(store::Error::LogInUse));
        if is_made && self.last != Some(change) {
            audit::dkim(self.context, self.domain, change);
            self.last = Some(change);
        }
        done
    }
}

/// Does as the command says, and shows the keys.
pub async fn run(arguments: Arguments, path: &Path, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let context = Context::open(load(path)?).await?;
    let keys = context.dkim_keys()?;
    let domain = arguments.command.domain().clone();
    if context.store.local_domain(&domain).await?.is_none() {
        let why = match context.store.relay_domain(&domain).await? {
            Some(_) => format!(
                "mail for {domain} is passed on, and mail from it is signed by whoever serves it: it has no keys here"
            ),
            None => format!("{domain} has no keys"),
        };
        return Err(accounts::Error::ForeignDomain).context(why);
    }
    let before = keys.list(&domain).await?;
    let mut changes = Changes {
        context: &context,
        domain: &domain,
        last: None,
    };
    let done = obey(&keys, &arguments.command, &mut changes).await;
    let change = changes.last;
    let is_in_log = matches!(done, Err(store::Error::LogInUse));
    done.with_context(|| match (change, is_in_log) {
        (Some(_), true) => format!(
            "the keys of {domain} are changed, but what is erased may still be in the log of the database; repeat this later"
        ),
        (Some(_), false) => format!(
            "the keys of {domain} are changed, but not all is done that was to be: `dimed dkim list {domain}` shows them"
        ),
        (None, _) => format!("the keys of {domain} cannot be changed"),
    })?;
    if change.is_none() && matches!(arguments.command, Command::Rotate { cancel: true, .. }) {
        // Repeated because the log was in use.
        context.store.finish_erasing().await?;
    }
    let mut answer = answer(&domain, &keys.list(&domain).await?);
    if change.is_none() && arguments.command.is_rotation() {
        nothing_begun(&mut answer, &domain, &before);
    }
    answer.write(arguments.json, out)?;
    Ok(Exit::Done)
}

/// Keys wait from before, which somebody else may have by now: whoever wants others has to know.
fn nothing_begun(answer: &mut Answer, domain: &Domain, before: &[DkimKey]) {
    let waiting = before.iter().filter(|key| key.state == DkimState::Generated);
    if let Some(since) = waiting.map(|key| key.since).min() {
        let says = format!(
            "Nothing new is begun: keys wait to be published since {}; `dimed dkim rotate {domain} --cancel` erases them.\n",
            rfc5322(since)
        );
        answer.text.insert_str(0, &says);
    }
    answer.json["begun"] = json!(false);
}

async fn obey(keys: &Keys, command: &Command, changes: &mut Changes<'_>) -> Result<(), store::Error> {
    match command {
        Command::List { .. } | Command::Rotate { status: true, .. } => Ok(()),
        Command::Rotate {
            domain, cancel: true, ..
        } => cancel(keys, domain, changes).await,
        Command::Add { domain } => match keys.list(domain).await?.is_empty() {
            true => changes.note("added", keys.generate(domain).await),
            false => Err(store::Error::Exists),
        },
        Command::Rotate { domain, .. } => rotate(keys, domain, changes).await,
        Command::Retire { domain, selector } => changes.note("retired", keys.remove(domain, selector).await),
    }
}

async fn cancel(keys: &Keys, domain: &Domain, changes: &mut Changes<'_>) -> Result<(), store::Error> {
    let mut done = Ok(());
    for key in waiting(keys, domain).await? {
        match changes.note("cancelled", keys.remove(domain, &key.selector).await) {
            // The others are erased all the same.
            Err(store::Error::LogInUse) => done = Err(store::Error::LogInUse),
            removed => removed?,
        }
    }
    done
}

async fn rotate(keys: &Keys, domain: &Domain, changes: &mut Changes<'_>) -> Result<(), store::Error> {
    let is_begun = !waiting(keys, domain).await?.is_empty();
    let (is_step, advanced) = keys.advance(domain).await;
    if is_step {
        changes.note("advanced", Ok(()))?;
    }
    advanced?;
    match is_begun {
        true => Ok(()),
        false => changes.note("rotated", keys.generate(domain).await),
    }
}

/// Keys that are to be published.
async fn waiting(keys: &Keys, domain: &Domain) -> Result<Vec<DkimKey>, store::Error> {
    let mut all = keys.list(domain).await?;
    all.retain(|key| key.state == DkimState::Generated);
    Ok(all)
}

fn answer(domain: &Domain, keys: &[DkimKey]) -> Answer {
    let line = |key: &DkimKey| {
        let since = rfc5322(key.since);
        format!(
            "{} {} {} since {since}\n",
            key.selector,
            key.algorithm,
            key.state.name()
        )
    };
    let lines: String = keys.iter().map(line).collect();
    let (word, next) = next(domain, keys);
    let object = |key: &DkimKey| {
        json!({
            "selector": key.selector,
            "algorithm": key.algorithm,
            "state": key.state.name(),
            "created": key.created_at.unix_secs(),
            "since": key.since.unix_secs(),
            "record": key.record,
        })
    };
    Answer {
        text: format!("{lines}{next}\n"),
        json: json!({
            "domain": domain.as_str(),
            "keys": keys.iter().map(object).collect::<Vec<_>>(),
            "next": word,
            "message": next,
        }),
    }
}

/// For programs, and for people.
fn next(domain: &Domain, keys: &[DkimKey]) -> (&'static str, String) {
    let any = |state| keys.iter().any(|key| key.state == state);
    if any(DkimState::Generated) {
        let says = format!(
            "Next: publish what `dimed dns records {domain}` prints; once DNS has the new keys, the daemon puts them \
             to use within the hour; `dimed dkim list {domain}` shows it."
        );
        ("publish_records", says)
    } else if any(DkimState::Replaced) {
        let is_signed = any(DkimState::Active);
        let unsigned = match is_signed {
            true => String::new(),
            false => format!(
                "No key is in use, and mail is not signed: `dimed dkim rotate {domain}` makes new ones. "
            ),
        };
        let says = format!(
            "{unsigned}Next: leave the records as they are; eight days after a key was replaced it is forgotten, and its \
             record can go."
        );
        (if is_signed { "wait" } else { "make_keys" }, says)
    } else if any(DkimState::Active) {
        let says = format!("Mail is signed. `dimed dkim rotate {domain}` replaces the keys.");
        ("none", says)
    } else {
        let says = format!("There are no keys, and mail is not signed. Next: dimed dkim add {domain}");
        ("make_keys", says)
    }
}
