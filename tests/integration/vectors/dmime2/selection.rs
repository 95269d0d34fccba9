//! `select.json`: which format and suite a message goes in.

use dimed::crypto::suite::hpke::Suite;
use dimed::dime::key_set::State;
use dimed::dime::selection::{Actors, Choice, Policy, Standing, choose};
use serde_json::{Value, json};

use super::Set;

#[test]
fn every_choice_is_the_one_of_the_chapter() {
    let set = Set::load().file("select.json");
    let cases = set["cases"].as_array().expect("cases");
    assert!(!cases.is_empty());
    for case in cases {
        let actors = Actors {
            origin: standing(&case["origin"]),
            destination: standing(&case["destination"]),
            recipient: standing(&case["recipient"]),
        };
        let policy = Policy {
            minimum_suite: suite(&case["minimum_suite"]),
            allow_format_1: case["allow_format1"].as_bool().expect("a flag"),
        };
        let found = choose(&actors, &suites(&case["author_suites"]), policy);
        assert_eq!(case["result"], result(found), "{}", case["case"]);
    }
}

fn standing(value: &Value) -> Standing {
    let states = [
        State::Unknown,
        State::Absent,
        State::OptedOut,
        State::Usable,
        State::Unusable,
    ];
    let state = states.into_iter().find(|state| value["state"] == state.name());
    Standing {
        state: state.expect("a state"),
        suites: suites(&value["suites"]),
        // The vectors give it for organizations alone.
        ever_usable: value["pinned_usable"].as_bool().unwrap_or(false),
    }
}

fn suites(value: &Value) -> Vec<Suite> {
    value.as_array().expect("suites").iter().map(suite).collect()
}

fn suite(value: &Value) -> Suite {
    let id = value.as_u64().and_then(|id| u8::try_from(id).ok());
    id.and_then(Suite::from_id).expect("a suite")
}

fn result(choice: Choice) -> Value {
    match choice {
        Choice::Format2 { suite, author_copy } => {
            json!({"format": 2, "suite": suite.id(), "author_copy": author_copy})
        }
        Choice::Format1 => json!({"format": 1}),
        Choice::Hold(hold) => json!({"hold": hold.rule.to_string()}),
    }
}
