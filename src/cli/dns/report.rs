//! How the result of a check is told.

use serde_json::{Value, json};

use super::check::{Checked, Finding};
use crate::cli::Exit;
use crate::cli::answer::printable;
use crate::mail::address::Domain;
use crate::net::dns::SelfTest;

/// For people: a line for each name and type, and below it what is wrong.
pub fn text(domain: &Domain, checked: &Checked) -> String {
    let mut text = String::new();
    if checked.self_test != SelfTest::Passed {
        text += &format!(
            "Nothing can be said about {domain} from here: {}.\n\n",
            checked.self_test
        );
    }
    for finding in &checked.findings {
        text += &lines(finding);
    }
    text + match checked.exit() {
        Exit::Done => "\nEverything that mail needs is right.\n",
        Exit::No => "\nSomething that mail needs is wrong; it is marked with an exclamation mark.\n",
        _ => "\nNot everything could be looked up; try again later.\n",
    }
}

fn lines(finding: &Finding) -> String {
    let proof = match finding.secure {
        Some(true) => ", proven",
        Some(false) => ", not proven",
        None => "",
    };
    let ttl = finding.ttl_secs.map(|ttl| format!(", TTL {ttl}"));
    let head = format!("{} {}", finding.owner, finding.kind);
    let tail = format!("{proof}{}", ttl.unwrap_or_default());
    let mut text = match finding.problems.is_empty() {
        true => format!("  {head}: right{tail}\n"),
        false => String::new(),
    };
    for (problem, counts) in &finding.problems {
        let mark = if *counts { '!' } else { ' ' };
        text += &format!("{mark} {head}: {}{tail}\n", problem.sentence());
    }
    for (sign, items) in [('-', &finding.lacking), ('+', &finding.excess)] {
        for item in items {
            text += &format!("      {sign} {}\n", printable(item));
        }
    }
    text
}

/// For programs.
pub fn object(domain: &Domain, checked: &Checked) -> Value {
    let finding = |finding: &Finding| {
        let problems: Vec<Value> = finding
            .problems
            .iter()
            .map(|(problem, counts)| json!({ "code": problem.code(), "counts": counts }))
            .collect();
        json!({
            "name": finding.owner,
            "type": finding.kind,
            "right": finding.problems.is_empty(),
            "problems": problems,
            "lacking": finding.lacking,
            "excess": finding.excess,
            "ttl_secs": finding.ttl_secs,
            "secure": finding.secure,
        })
    };
    json!({
        "domain": domain.as_str(),
        "result": match checked.exit() {
            Exit::Done => "right",
            Exit::No => "wrong",
            _ => "try_later",
        },
        "self_test": checked.self_test.code(),
        "records": checked.findings.iter().map(finding).collect::<Vec<_>>(),
    })
}
