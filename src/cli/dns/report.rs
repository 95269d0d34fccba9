//! How the result of a check is told.

use serde_json::{Value, json};

use super::check::{ADDRESSES, Checked, Finding};
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
    text += match checked.exit() {
        Exit::Done => "\nEverything that mail needs is right.\n",
        Exit::No => "\nSomething that mail needs is wrong; it is marked with an exclamation mark.\n",
        _ => "\nNot everything could be looked up; try again later.\n",
    };
    if checked.exit() == Exit::No && checked.findings.iter().any(is_to_be_published) {
        text += &format!("Next: publish what `dimed dns records {domain}` prints.\n");
    }
    text
}

/// Addresses are not among what is printed.
fn is_to_be_published(finding: &Finding) -> bool {
    let mut problems = finding.problems.iter();
    finding.kind != ADDRESSES
        && problems.any(|(problem, counts)| *counts && problem.is_mended_by_publishing())
}

fn lines(finding: &Finding) -> String {
    let proof = match finding.secure {
        Some(true) => Some(String::from("proven")),
        Some(false) => Some(String::from("not proven")),
        None => None,
    };
    let ttl = finding.ttl_secs.map(|ttl| format!("TTL {ttl}"));
    let head = format!("{} {}", finding.owner, finding.kind);
    let known: Vec<String> = proof.into_iter().chain(ttl).collect();
    let tail = match known.is_empty() {
        true => String::new(),
        false => format!(" ({})", known.join(", ")),
    };
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

#[cfg(test)]
mod tests {
    use super::super::check::Problem;
    use super::*;
    use crate::dime::record;

    fn finding(owner: &str, kind: &'static str, problems: &[(Problem, bool)]) -> Finding {
        Finding {
            owner: owner.into(),
            kind,
            problems: problems.to_vec(),
            lacking: vec![],
            excess: vec![],
            ttl_secs: Some(3600),
            secure: Some(true),
        }
    }

    fn told(findings: Vec<Finding>) -> String {
        let domain: Domain = "hismail.test".parse().expect("a domain");
        text(
            &domain,
            &Checked {
                self_test: SelfTest::Passed,
                findings,
            },
        )
    }

    #[test]
    fn each_problem_stands_on_a_line_with_what_is_known_and_the_next_step_below() {
        let record = Finding {
            lacking: vec!["ver=1".into()],
            excess: vec!["ver=2".into()],
            ..finding(
                "_dx.hismail.test",
                "TXT",
                &[(Problem::Unparsable(record::Error::Version), true)],
            )
        };
        let lost = Finding {
            ttl_secs: None,
            secure: None,
            ..finding("hismail.test", "MX", &[(Problem::Failed, true)])
        };
        let expected = "\
! _dx.hismail.test TXT: not a management record: the record's version is not 1 (proven, TTL 3600)
      - ver=1
      + ver=2
! hismail.test MX: could not be looked up
  mx.hismail.test A/AAAA: right (proven, TTL 3600)

Something that mail needs is wrong; it is marked with an exclamation mark.
Next: publish what `dimed dns records hismail.test` prints.
";
        let right = finding("mx.hismail.test", ADDRESSES, &[]);
        assert_eq!(told(vec![record, lost, right]), expected);
    }

    #[test]
    fn what_publishing_does_not_mend_is_not_said_to_be() {
        for problem in [
            finding("mx.hismail.test", ADDRESSES, &[(Problem::Missing, true)]),
            finding("_dx.hismail.test", "TXT", &[(Problem::Unsigned, true)]),
        ] {
            assert!(!told(vec![problem]).contains("Next:"));
        }
    }
}
