//! `dimed key set import`: key sets that a user has signed ahead come to the server, in a file or from home.

use std::io::Write;
use std::path::Path;

use anyhow::Context as _;
use clap::Args;
use serde_json::json;

use crate::base::time::Timestamp;
use crate::cli::answer::Answer;
use crate::cli::context::Context;
use crate::cli::files::{FileName, MAX_OBJECT, check_inputs};
use crate::cli::refusal::Refusal;
use crate::cli::submit::{self, Access, Account, Server, Session};
use crate::cli::{Exit, Misuse, audit, load};
use crate::dime::armor;
use crate::dime::key_set::{self, FILE_LABEL, KeySetFile};
use crate::dime::signet::Kind;
use crate::dmtp::handed_in::{KeySetsTaken, MAX_KEY_SETS, MAX_KEY_SETS_OCTETS, pack};
use crate::mail::address::Mailbox;
use crate::mail::date::rfc5322;
use crate::signet_service;

/// Take key sets that a user has signed ahead in the place of those that wait; what is due is published at once.
///
/// With --submit the user hands them in at home, without configuration, and logs in as ADDRESS. The session is that of
/// `dimed message send`, with the command SETS, which other servers do not have. Without it an administrator does this on the
/// server.
#[derive(Debug, Args)]
pub struct Import {
    /// Address of the user.
    address: Mailbox,
    /// What `dimed key set --ahead` wrote; - is standard input.
    bundle: FileName,
    /// Server of the user's domain, and its submission port if that is not 587.
    #[arg(long, value_name = "HOST[:PORT]")]
    submit: Option<Server>,
    #[command(flatten)]
    access: Access,
}

/// Has all of them checked and kept, and published what is due.
pub async fn run(arguments: &Import, config: &Path, json: bool, out: &mut dyn Write) -> anyhow::Result<Exit> {
    check_inputs(
        [&arguments.bundle]
            .into_iter()
            .chain(&arguments.access.password_file),
    )?;
    let sets = read(&arguments.bundle)?;
    let values: Vec<&[u8]> = sets.iter().map(KeySetFile::value).collect();
    let taken = match &arguments.submit {
        None => store(arguments, &values, config).await?,
        Some(server) => match submit(arguments, server, &values).await? {
            Ok(taken) => taken,
            Err(error) => return error.conclude(json, out),
        },
    };
    answer(&arguments.address, &sets, taken).write(json, out)?;
    Ok(Exit::Done)
}

async fn store(arguments: &Import, values: &[&[u8]], config: &Path) -> anyhow::Result<KeySetsTaken> {
    let address = &arguments.address;
    let context = Context::open(load(config)?).await?;
    let kept = context.published().keep_key_sets(address, values).await;
    let due = kept.map_err(|error| match error {
        signet_service::Error::KeySet(error) => Refusal::new(&error).of_file(&arguments.bundle).into(),
        signet_service::Error::KeptHere => Misuse(format!(
            "the keys of {address} are kept here, and so are the key sets"
        ))
        .into(),
        error => anyhow::Error::new(error),
    });
    let due = due.with_context(|| format!("the key sets of {address} cannot be taken"))?;
    audit::key_set(&context, address.domain(), "imported");
    Ok(KeySetsTaken {
        published: due.published,
        waiting: u32::try_from(due.left).unwrap_or(u32::MAX),
    })
}

async fn submit(
    arguments: &Import,
    server: &Server,
    values: &[&[u8]],
) -> anyhow::Result<Result<KeySetsTaken, submit::Error>> {
    let octets = pack(values.iter().copied());
    if octets.len() > MAX_KEY_SETS_OCTETS {
        let text = format!("the key sets have more than {MAX_KEY_SETS_OCTETS} octets");
        return Err(Misuse(text).into());
    }
    let password = arguments.access.password()?;
    let account = Account {
        submit: server.clone(),
        user: arguments.address.clone(),
        access: arguments.access.clone(),
    };
    let handed_in = async {
        let mut session = Session::open(&account, &password).await?;
        let taken = session.key_sets(&octets).await?;
        session.quit().await;
        Ok(taken)
    };
    Ok(handed_in.await)
}

fn answer(address: &Mailbox, sets: &[KeySetFile], taken: KeySetsTaken) -> Answer {
    let gaps = gaps(sets);
    let until = sets.last().map_or(0, |set| set.set().expires());
    let count = sets.len();
    let mut text = format!("{count} key sets of {address}, until {}.\n", date(until));
    if taken.published {
        text += "The newest one that was due is published.\n";
    }
    for gap in &gaps {
        text += &format!(
            "There are no keys from {} on, until the next key set.\n",
            date(*gap)
        );
    }
    Answer {
        text,
        json: json!({
            "result": "done",
            "name": address.to_string(),
            "key_sets": count,
            "published": taken.published,
            "waiting": taken.waiting,
            "until": until,
            "gaps": gaps,
        }),
    }
}

/// The key sets of a file in their order, each signed by the user whom it names.
fn read(bundle: &FileName) -> anyhow::Result<Vec<KeySetFile>> {
    let octets = bundle.read(MAX_OBJECT)?;
    let text = String::from_utf8_lossy(&octets);
    let blocks = armor::decode_all(&text, &[FILE_LABEL]);
    let blocks = blocks.map_err(|error| Refusal::new(&error).of_file(bundle))?;
    if blocks.len() > MAX_KEY_SETS {
        return Err(Misuse(format!("{bundle} has more than {MAX_KEY_SETS} key sets")).into());
    }
    let mut sets = Vec::with_capacity(blocks.len());
    for block in &blocks {
        let file = KeySetFile::decode(&block.data);
        let file = file.map_err(|error| Refusal::new(&error).of_file(bundle))?;
        if file.kind() != Kind::User {
            return Err(Refusal::new(&key_set::Error::Signature).of_file(bundle).into());
        }
        sets.push(file);
    }
    sets.sort_by_key(|file| file.set().created());
    Ok(sets)
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
