//! `dimed key set import`: key sets that a user has signed ahead come to the server.

use std::io::Write;

use anyhow::Context as _;
use serde_json::json;

use crate::base::time::Timestamp;
use crate::cli::answer::Answer;
use crate::cli::context::Context;
use crate::cli::files::{FileName, MAX_OBJECT};
use crate::cli::refusal::Refusal;
use crate::cli::{Exit, Misuse};
use crate::crypto::ed25519::VerifyingKey;
use crate::dime::armor;
use crate::dime::key_set::{Error, FILE_LABEL, KeySetFile, Time};
use crate::dime::signet::Kind;
use crate::mail::address::Mailbox;
use crate::mail::date::rfc5322;
use crate::signet_service;
use crate::store::{self, KeySetAhead};

/// Most key sets that wait for one user.
const MAX_AHEAD: usize = 400;

/// Checks all of them, keeps them, and publishes what is due.
pub async fn run(
    context: &Context,
    address: &Mailbox,
    bundle: &FileName,
    json: bool,
    out: &mut dyn Write,
) -> anyhow::Result<Exit> {
    let published = context.published();
    let failed = || format!("the key sets of {address} cannot be taken");
    let user = published.user(address).await.with_context(failed)?;
    let user = user.ok_or(signet_service::Error::NoSignet).with_context(failed)?;
    if user.keys.is_some() {
        return Err(Misuse(format!(
            "the keys of {address} are kept here, and so are the key sets"
        ))
        .into());
    }
    let now = u64::try_from(context.now().unix_secs()).unwrap_or(0);
    let sets = read(bundle, &user.signet.signing_key(), now)?;
    let gaps = gaps(&sets);
    let until = sets.last().map_or(0, |set| set.set().expires());
    let count = sets.len();
    let ahead = sets.into_iter().map(kept).collect();
    context
        .store
        .keep_key_sets_ahead(&store::fold(address), ahead)
        .await?;
    let due = published.publish_due(address).await.with_context(failed)?;
    let mut text = format!("{count} key sets of {address}, until {}.\n", date(until));
    if due.published {
        text += "The newest one that was due is published.\n";
    }
    for gap in &gaps {
        text += &format!(
            "There are no keys from {} on, until the next key set.\n",
            date(*gap)
        );
    }
    let answer = Answer {
        text,
        json: json!({
            "result": "done",
            "name": address.to_string(),
            "key_sets": count,
            "published": due.published,
            "waiting": due.left,
            "until": until,
            "gaps": gaps,
        }),
    };
    answer.write(json, out)?;
    Ok(Exit::Done)
}

/// The key sets of a file, in their order: each the user's own, with keys that may be used (rules N2, N3, N6), and not expired.
fn read(bundle: &FileName, owner: &VerifyingKey, now: u64) -> anyhow::Result<Vec<KeySetFile>> {
    let octets = bundle.read(MAX_OBJECT)?;
    let text = String::from_utf8_lossy(&octets);
    let blocks = armor::decode_all(&text, &[FILE_LABEL]);
    let blocks = blocks.map_err(|error| Refusal::new(&error).of_file(bundle))?;
    if blocks.len() > MAX_AHEAD {
        return Err(Misuse(format!("{bundle} has more than {MAX_AHEAD} key sets")).into());
    }
    let mut sets = Vec::with_capacity(blocks.len());
    for block in &blocks {
        let file = KeySetFile::decode(&block.data);
        let file = file.map_err(|error| Refusal::new(&error).of_file(bundle))?;
        check(&file, owner, now).map_err(|error| Refusal::new(&error).of_file(bundle))?;
        sets.push(file);
    }
    sets.sort_by_key(|file| file.set().created());
    Ok(sets)
}

fn check(file: &KeySetFile, owner: &VerifyingKey, now: u64) -> Result<(), Error> {
    if file.kind() != Kind::User || file.owner() != *owner {
        return Err(Error::Signature);
    }
    let set = file.set();
    set.accept(set.created())?;
    match now < set.expires() {
        true => Ok(()),
        false => Err(Error::Time(Time::Expired)),
    }
}

fn kept(file: KeySetFile) -> KeySetAhead {
    let created = i64::try_from(file.set().created()).unwrap_or(i64::MAX);
    KeySetAhead {
        publish_at: Timestamp(created.saturating_mul(1000)),
        value: file.value().to_vec(),
    }
}

/// Times at which a key set ends before the next one begins.
fn gaps(sets: &[KeySetFile]) -> Vec<u64> {
    let pairs = sets.iter().zip(sets.iter().skip(1));
    pairs
        .filter(|(one, next)| one.set().expires() < next.set().created())
        .map(|(one, _)| one.set().expires())
        .collect()
}

fn date(secs: u64) -> String {
    let millis = i64::try_from(secs).unwrap_or(i64::MAX).saturating_mul(1000);
    rfc5322(Timestamp(millis))
}
