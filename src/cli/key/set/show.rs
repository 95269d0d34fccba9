//! `dimed key set show`.

use std::io::Write;

use serde_json::{Value, json};

use crate::base::time::Timestamp;
use crate::cli::answer::Answer;
use crate::cli::context::Context;
use crate::cli::{Exit, lost};
use crate::dime::key_set::SignedKeySet;
use crate::dime::signet::Signet;
use crate::dmtp::name::Name;
use crate::mail::date::rfc5322;

/// Names asked for in one query.
const PAGE: u32 = 100;

/// What is known of one name: of ours from the signet, of others' from what was seen.
pub async fn run(context: &Context, name: &Name, json: bool, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let text = name.to_string();
    let now = context.now();
    let pin = context.store.key_set_pin(&text, now).await?;
    let ours = context.store.current_signet(&text).await?;
    let signet = ours.map(|stored| Signet::decode(&stored.object)).transpose()?;
    let mut lines = vec![("name", text.clone())];
    let mut object = json!({ "name": text, "ours": signet.is_some() });
    let mut is_lost = false;
    if let Some(signet) = &signet {
        let set = SignedKeySet::of(signet);
        lines.extend(describe(&set, now));
        object["key_set"] = view(&set);
        let kept = match context.published().candidates(&text).await {
            Ok(kept) => Some(kept.len()),
            Err(error) if lost::is_lost(&error) => None,
            Err(error) => return Err(error.into()),
        };
        is_lost = kept.is_none();
        let ahead = context.store.key_sets_ahead(&text).await?;
        lines.push(match kept {
            Some(count) => ("private keys", format!("of {count} signets")),
            None => ("private keys", "some are lost: they cannot be opened".into()),
        });
        for set in &ahead {
            lines.push(("due", rfc5322(set.publish_at)));
        }
        object["private_keys"] = json!(kept);
        let due = ahead.iter().map(|set| set.publish_at.unix_secs());
        object["ahead"] = json!(due.collect::<Vec<_>>());
    }
    if let Some(stored) = &pin {
        let keys = if stored.pin.ever_usable {
            "keys"
        } else {
            "an opt-out"
        };
        lines.push((
            "seen",
            format!("{keys}, the newest of {}", date(stored.pin.created)),
        ));
        object["pin"] = json!({
            "signing_key": crate::base::encoding::base64_unpadded(&stored.pin.signing_key.0),
            "created": stored.pin.created,
            "ever_usable": stored.pin.ever_usable,
            "kept_until": stored.expires_at.unix_secs(),
        });
    }
    let known = signet.is_some() || pin.is_some();
    if !known {
        lines.push(("key set", "nothing is known".into()));
    }
    let answer = Answer {
        text: render(&lines),
        json: object,
    };
    answer.write(json, out)?;
    Ok(match known && !is_lost {
        true => Exit::Done,
        false => Exit::No,
    })
}

/// Users whose keys are elsewhere and who have no further key set signed ahead.
pub async fn running_out(context: &Context, json: bool, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let published = context.published();
    let (mut found, mut unread) = (Vec::new(), Vec::new());
    let mut after: Option<String> = None;
    loop {
        let names = context.store.signet_names(after.as_deref(), PAGE).await?;
        for name in &names {
            let Ok(Name::User(address)) = Name::parse(name) else {
                continue;
            };
            let user = match published.user(&address).await {
                Err(error) if lost::is_lost(&error) => {
                    unread.push((name.clone(), lost::whose(context, &address).await?));
                    continue;
                }
                user => user?,
            };
            let Some(user) = user.filter(|user| user.keys.is_none()) else {
                continue;
            };
            let set = SignedKeySet::of(user.signet.signet()).ok().flatten();
            if let Some(set) = set
                && context.store.key_sets_ahead(name).await?.is_empty()
            {
                found.push((name.clone(), set.expires()));
            }
        }
        match names.into_iter().next_back() {
            Some(last) => after = Some(last),
            None => break,
        }
    }
    let line = |(name, expires): &(String, u64)| format!("{name}  keys until {}\n", date(*expires));
    let of_unread = |(name, lost): &(String, String)| format!("{name}  cannot be looked at: {lost}\n");
    let text: String = found
        .iter()
        .map(line)
        .chain(unread.iter().map(of_unread))
        .collect();
    let is_complete = unread.is_empty();
    let objects = found
        .iter()
        .map(|(name, expires)| json!({ "name": name, "expires": expires }));
    let of_unread = unread
        .iter()
        .map(|(name, _)| json!({ "name": name, "lost": true }));
    let answer = Answer {
        text: match found.is_empty() && is_complete {
            true => "Nobody's key sets signed ahead run out.\n".into(),
            false => text,
        },
        json: objects.chain(of_unread).collect(),
    };
    answer.write(json, out)?;
    Ok(match is_complete {
        true => Exit::Done,
        false => Exit::No,
    })
}

type Found = Result<Option<SignedKeySet>, crate::dime::key_set::Error>;

fn describe(set: &Found, now: Timestamp) -> Vec<(&'static str, String)> {
    match set {
        Ok(None) => vec![("key set", "none".into())],
        Err(error) => vec![("key set", format!("cannot be used: {error}"))],
        Ok(Some(set)) => {
            let now = u64::try_from(now.unix_secs()).unwrap_or(0);
            let word = match (set.is_opt_out(), set.accept(now)) {
                (true, _) => "opted out".into(),
                (false, Ok(keys)) => {
                    let suites: Vec<_> = keys.suites().map(|suite| suite.to_string()).collect();
                    suites.join(", ")
                }
                (false, Err(error)) => format!("cannot be used: {error}"),
            };
            vec![
                ("key set", word),
                ("created", date(set.created())),
                ("expires", date(set.expires())),
            ]
        }
    }
}

fn view(set: &Found) -> Value {
    match set {
        Ok(None) => Value::Null,
        Err(error) => json!({ "rule": error.rule(), "error": error.to_string() }),
        Ok(Some(set)) => json!({
            "created": set.created(),
            "expires": set.expires(),
            "opted_out": set.is_opt_out(),
        }),
    }
}

fn render(lines: &[(&str, String)]) -> String {
    lines
        .iter()
        .map(|(name, value)| format!("{name:<12} {value}\n"))
        .collect()
}

fn date(secs: u64) -> String {
    let millis = i64::try_from(secs).unwrap_or(i64::MAX).saturating_mul(1000);
    rfc5322(Timestamp(millis))
}
