//! The key set in a signet: what it says, and which rules of `dmime2.md` §3.3 hold.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::report::Judgement;
use crate::base::time::Timestamp;
use crate::cli::refusal::Refusal;
use crate::dime::key_set::{Error, SignedKeySet};
use crate::dime::signet::{Level, Signet};
use crate::mail::date::rfc5322;

/// What is known of each rule: it holds, it is broken, or that was not looked at.
type Rules = [(&'static str, Option<bool>); 7];

/// For programs: the key set, `rules` (true, false, or null where nothing could be said), and the first error.
///
/// N4 needs verified signatures, and N7 what was pinned before, which no file tells.
pub fn json(signet: &Signet, judgement: Judgement<'_>, now: Timestamp) -> Value {
    let seen = Seen::of(signet, judgement, now);
    let mut object = Map::new();
    if let Some(set) = &seen.set {
        object.insert("created".into(), json!(set.created()));
        object.insert("expires".into(), json!(set.expires()));
        object.insert("opt_out".into(), json!(set.is_opt_out()));
        object.insert("suites".into(), json!(suites(set)));
    }
    let rules: Map<String, Value> = seen
        .rules
        .iter()
        .map(|(rule, holds)| ((*rule).to_owned(), json!(holds)))
        .collect();
    object.insert("rules".into(), Value::Object(rules));
    if let Some(error) = &seen.error {
        object.insert("refused".into(), Refusal::new(error).json());
    }
    Value::Object(object)
}

/// The same for people, indented below the field.
pub fn text(signet: &Signet, judgement: Judgement<'_>, now: Timestamp) -> String {
    let seen = Seen::of(signet, judgement, now);
    let mut text = String::new();
    // Writing to a string does not fail.
    if let Some(set) = &seen.set {
        let names = suites(set).join(", ");
        let _ = match set.is_opt_out() {
            true => writeln!(text, "           opts out of D/MIME 2"),
            false => writeln!(text, "           suites   {names}"),
        };
        let _ = writeln!(text, "           created  {}", time(set.created()));
        let _ = writeln!(text, "           expires  {}", time(set.expires()));
    }
    let named = |wanted: Option<bool>| {
        let rules = seen.rules.iter().filter(|(_, holds)| *holds == wanted);
        rules.map(|(rule, _)| *rule).collect::<Vec<_>>().join(" ")
    };
    for (what, rules) in [
        ("holds", named(Some(true))),
        ("broken", named(Some(false))),
        ("not seen", named(None)),
    ] {
        if !rules.is_empty() {
            let _ = writeln!(text, "           {what:<8} {rules}");
        }
    }
    if let Some(error) = &seen.error {
        let _ = writeln!(text, "           refused  {}", Refusal::new(error));
    }
    text
}

struct Seen {
    set: Option<SignedKeySet>,
    rules: Rules,
    error: Option<Error>,
}

impl Seen {
    fn of(signet: &Signet, judgement: Judgement<'_>, now: Timestamp) -> Self {
        let read = SignedKeySet::of(signet);
        let now = u64::try_from(now.unix_secs()).unwrap_or(0);
        let set = read.as_ref().ok().cloned().flatten();
        // Judged when it was made, a key set in order breaks no rule of time, so what is left is about its keys.
        let in_time = set.as_ref().map(|set| set.accept(now));
        let when_made = set.as_ref().map(|set| set.accept(set.created()));
        let breaks =
            |rule: &str, result: &Result<_, Error>| matches!(result, Err(error) if error.rule() == rule);
        let first = |rule: &'static str| match &read {
            Err(error) if error.rule() == rule => Some(false),
            Err(error) => (rule < error.rule()).then_some(true),
            Ok(_) => Some(true),
        };
        let rules = [
            ("N1", first("N1")),
            ("N2", first("N2")),
            ("N3", first("N3")),
            ("N4", full_signature(judgement)),
            ("N5", in_time.as_ref().map(|result| !breaks("N5", result))),
            (
                "N6",
                when_made.as_ref().and_then(|result| match breaks("N5", result) {
                    true => None,
                    false => Some(!breaks("N6", result)),
                }),
            ),
            ("N7", None),
        ];
        let error = read.err().or_else(|| in_time.and_then(Result::err));
        Self { set, rules, error }
    }
}

fn full_signature(judgement: Judgement<'_>) -> Option<bool> {
    match judgement {
        Judgement::Unverified => None,
        Judgement::Valid(checked) => Some(checked.level >= Some(Level::Full)),
        Judgement::NotValid => Some(false),
    }
}

fn suites(set: &SignedKeySet) -> Vec<&'static str> {
    set.suites().map(|suite| suite.name()).collect()
}

fn time(unix_secs: u64) -> String {
    // Beyond the year 9999 there is no date to write.
    match i64::try_from(unix_secs) {
        Ok(secs) if secs < 253_402_300_800 => rfc5322(Timestamp(secs * 1000)),
        _ => format!("{unix_secs} seconds after 1970"),
    }
}
