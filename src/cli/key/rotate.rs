//! `dimed key rotate`.

use std::fmt::Display;
use std::io::Write;
use std::path::Path;

use anyhow::Context as _;
use clap::Args;
use serde_json::json;

use crate::base::time::Timestamp;
use crate::cli::answer::Answer;
use crate::cli::context::Context;
use crate::cli::{Exit, audit, load, lost};
use crate::dmtp::name::Name;
use crate::mail::address::{Domain, Mailbox};
use crate::mail::date::rfc5322;
use crate::signet_service::{Error, Progress, Rotation, TakenAlong};
use crate::store::{self, Rollover, RolloverState};

/// Replace the keys of a domain, or of a user whose keys are kept here, and say how far that is and what comes next.
///
/// Repeat it as often as you like: while a change is under way, this takes the steps that are due, as the daemon does every
/// hour, and begins no other; of a user's, whose new keys are in use already, it says so and ends with 1. What mail under way
/// needs is kept until nothing can need it any more.
///
/// For a domain the management record is published twice: with both keys, and weeks later without the old one. A user
/// who keeps the keys makes a request (`dimed signet new-request --rotate`) and hands it in (`dimed signet request`).
#[derive(Debug, Args)]
pub struct Rotate {
    /// The domain or address.
    name: Name,
    /// Only say how far it is.
    #[arg(long)]
    status: bool,
    /// Call the change off, and erase the new keys; where others keep the database's log in use, that takes another try (75).
    /// Refused once a signet with the new keys is published.
    ///
    /// What is published stays valid. Where DNS has both keys of a domain already, publish what `dimed dns records` prints
    /// after this, without haste.
    #[arg(long, conflicts_with = "status")]
    cancel: bool,
    /// New keys now, whatever is under way: the keys of a domain are lost, or somebody else may have those of a domain or a user.
    /// Repeat it if it was cut off.
    ///
    /// A user's old keys sign the new ones, so that others can follow, and then only open mail that is under way. If they are lost:
    /// `dimed signet revoke` and `dimed signet publish`.
    ///
    /// A domain's old keys vouch for nothing any more. Until DNS has the new one, others can use nothing that is signed with it, and mail
    /// waits; where DNSSEC does not vouch for the record, until their operators have asked and run `dimed domain forget-pin`. Mail
    /// that has been sealed and signed with the old keys, and waits, comes back to its authors. Users keep their keys; those
    /// whose keys were kept here and are lost get new ones, which others take once they have run `dimed key set accept`.
    #[arg(long, conflicts_with_all = ["status", "cancel"])]
    at_once: bool,
}

/// Takes the steps that are due.
pub async fn run(rotate: &Rotate, path: &Path, json: bool, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let context = Context::open(load(path)?).await?;
    let rotation = context.rotation()?;
    let name = &rotate.name;
    if !rotate.status {
        audit::begin(&context.config);
    }
    if rotate.at_once {
        return match name {
            Name::Organization(domain) => domain_at_once(&rotation, domain, json, out).await,
            Name::User(address) => user_at_once(&rotation, address, json, out).await,
        };
    }
    if rotate.cancel {
        let cancelled = rotation.cancel(name).await;
        let is_partly_done = matches!(cancelled, Err(Error::Store(store::Error::LogInUse)));
        let cancelled = cancelled.with_context(|| match is_partly_done {
            true => format!(
                "the change of keys of {name} is called off, but its new keys are not erased everywhere; repeat this later"
            ),
            false => format!("the change of keys of {name} cannot be called off"),
        })?;
        called_off(name, cancelled).write(json, out)?;
        return Ok(Exit::Done);
    }
    let before = rotation.progress(name).await?;
    let progress = match rotate.status {
        true => rotation.progress(name).await,
        false => rotation.rotate(name).await,
    };
    let is_without_keys = matches!(progress, Err(Error::NoKeys));
    let progress = progress.with_context(|| match (is_without_keys, name) {
        (true, Name::User(_)) => format!(
            "the keys of {name} cannot be replaced here: their holder makes a request (`dimed signet new-request {name} \
             --rotate OLDKEY`) and hands it in (`dimed signet request {name} FILE --submit HOST`)"
        ),
        (true, Name::Organization(_)) => without_keys(name),
        (false, _) => format!("the keys of {name} cannot be replaced"),
    })?;
    match (rotate.status, in_use_before(name, &before, &progress)) {
        (false, Some(rollover)) => {
            nothing_begun(name, rollover).write(json, out)?;
            Ok(Exit::No)
        }
        _ => {
            answer(name, &progress).write(json, out)?;
            Ok(Exit::Done)
        }
    }
}

/// A user's change that was there before, and that nothing is to be done about: whoever asked for new keys gets none.
fn in_use_before<'a>(name: &Name, before: &'a Progress, after: &Progress) -> Option<&'a Rollover> {
    match (name, before) {
        (Name::User(_), Progress::UnderWay(rollover))
            if rollover.state == RolloverState::Active && before == after =>
        {
            Some(rollover)
        }
        _ => None,
    }
}

fn nothing_begun(name: &Name, rollover: &Rollover) -> Answer {
    let (from, until) = (
        rfc5322(rollover.started_at),
        rollover.due_at.map_or_else(|| "soon".into(), rfc5322),
    );
    let says = format!(
        "Nothing new is begun: a change of keys from {from} is under way until {until}; --at-once does not wait for its end."
    );
    let mut answer = answer(name, &Progress::UnderWay(rollover.clone()));
    answer.text = format!("{name}: {says}\n");
    answer.json["result"] = json!("refused");
    answer.json["message"] = json!(says);
    answer
}

/// What is to be done about a domain of ours whose private keys are gone.
pub fn without_keys(name: &impl Display) -> String {
    format!("the private keys of {name} are lost; `dimed key rotate {name} --at-once` makes new ones")
}

async fn user_at_once(
    rotation: &Rotation,
    address: &Mailbox,
    json: bool,
    out: &mut dyn Write,
) -> anyhow::Result<Exit> {
    let replaced = rotation.replace_user_at_once(address).await;
    let is_without_keys = replaced.as_ref().is_err_and(lost::is_lost);
    let domain = address.domain();
    // Nothing of a user can be read without the domain's.
    let of_domain = rotation.published.organization(domain).await;
    if is_without_keys && of_domain.as_ref().is_err_and(lost::is_lost) {
        return Err(Error::NoKeys).context(without_keys(domain));
    }
    let progress = replaced.with_context(|| match is_without_keys {
        true => format!(
            "the keys of {address} cannot be replaced here: if they are lost, `dimed signet revoke {address}` takes them out of \
             service, and `dimed signet publish {address}` makes new ones; a user who keeps them makes a request (`dimed signet \
             new-request {address} --rotate OLDKEY`)"
        ),
        false => format!("the keys of {address} cannot be replaced"),
    })?;
    answer(&Name::User(address.clone()), &progress).write(json, out)?;
    Ok(Exit::Done)
}

async fn domain_at_once(
    rotation: &Rotation,
    name: &Domain,
    json: bool,
    out: &mut dyn Write,
) -> anyhow::Result<Exit> {
    let taken = rotation.replace_at_once(name).await;
    let TakenAlong { kept, renewed } =
        taken.with_context(|| format!("the keys of {name} cannot be replaced"))?;
    let next =
        format!("Next: publish what `dimed dns records {name}` prints, at once; until then mail waits.");
    let answer = Answer {
        text: format!(
            "{name} has new keys, which are in use; the old ones vouch for nothing any more.\nUsers whose keys are \
             as before: {kept}; users with new ones, because theirs are lost: {renewed}.\n{next}\n"
        ),
        json: json!({
            "name": name.to_string(), "state": "replaced", "users_kept": kept, "users_renewed": renewed,
            "next": "publish_records", "message": next,
        }),
    };
    answer.write(json, out)?;
    Ok(Exit::Done)
}

fn answer(name: &Name, progress: &Progress) -> Answer {
    let rollover = match progress {
        Progress::UnderWay(rollover) => rollover,
        Progress::None => return ended(name, "none", "No change of keys is under way."),
        Progress::Done => {
            let says =
                "The keys are replaced. Repeated once more, this begins another change; --status does not.";
            return ended(name, "done", says);
        }
    };
    let (word, next) = next(name, rollover);
    Answer {
        text: format!(
            "{name}: {} since {}.\n{next}\n",
            rollover.state.name(),
            rfc5322(rollover.since)
        ),
        json: json!({
            "name": name.to_string(),
            "state": rollover.state.name(),
            "started": rollover.started_at.unix_secs(),
            "since": rollover.since.unix_secs(),
            "due": rollover.due_at.map(Timestamp::unix_secs),
            "next": word,
            "message": next,
        }),
    }
}

fn called_off(name: &Name, was: Option<RolloverState>) -> Answer {
    let Some(was) = was else {
        return ended(name, "none", "No change of keys is under way.");
    };
    let mut answer = ended(
        name,
        "cancelled",
        "The change of keys is called off, and the new keys are erased.",
    );
    answer.json["was"] = json!(was.name());
    if matches!(name, Name::Organization(_)) {
        answer.text += &format!(
            "Next: if DNS has both keys, publish what `dimed dns records {name}` prints; until then nothing breaks.\n"
        );
    }
    answer
}

fn ended(name: &Name, state: &str, says: &str) -> Answer {
    Answer {
        text: format!("{name}: {says}\n"),
        json: json!({ "name": name.to_string(), "state": state, "next": "none", "message": says }),
    }
}

/// What is to be done, by whom, and when: for programs, and for people.
fn next(name: &Name, rollover: &Rollover) -> (&'static str, String) {
    let due = rollover.due_at.map_or_else(|| "soon".into(), rfc5322);
    match (rollover.state, name) {
        (RolloverState::Generated, Name::Organization(_)) => (
            "publish_records",
            format!("Next: publish what `dimed dns records {name}` prints; it has both keys."),
        ),
        (RolloverState::Published, _) => (
            "wait",
            format!("Next: on {due} the new keys are put to use; leave the record as it is."),
        ),
        (RolloverState::Generated | RolloverState::Seen, _) => (
            "repeat",
            "Next: the new keys are being put to use; repeat this command, or wait for the daemon.".into(),
        ),
        (RolloverState::Active, Name::Organization(_)) => (
            "wait",
            format!("Next: on {due} the old key leaves the record; until then leave the record as it is."),
        ),
        (RolloverState::Active, Name::User(_)) => {
            ("wait", format!("Next: on {due} the old keys are erased."))
        }
        (RolloverState::Retired, _) => (
            "publish_records",
            format!("Next: publish what `dimed dns records {name}` prints; the old key is not in it."),
        ),
    }
}
