//! The log: its catalogue, its files, and what others can write into it.

mod addresses;
mod delays;
mod events;
mod files;
mod injection;
mod orders;

use serde_json::Value;

/// All lines of a log in JSON that have an event.
pub fn lines(log: &str, event: &str) -> Vec<Value> {
    log.lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap_or_else(|_| panic!("not JSON: {line}")))
        .filter(|line| line["event"] == event)
        .collect()
}
