//! Refusals are alike from outside: how much work one costs shows the step that it came from and nothing else
//! (`dmime2.md` §14). Work is counted in instructions, by valgrind, so that the answer does not depend on the machine's load.

use std::fmt::Write;
use std::path::Path;
use std::process::Command;

use dimed::crypto::suite::hpke::Suite;
use dimed::dime::dmime2::{Error, Rule};

use super::fuzz::correspondents::CORRESPONDENTS;
use super::fuzz::hostile::Hostile;
use super::fuzz::message2::mapped;

/// Names the file into which the counted process writes its cases.
const CASES_FILE: &str = "DIMED_TIMING_CASES";

/// Where the reader's secrets decide: counts may differ by one part in so many.
const SECRETS: u64 = 300;

/// Where only the author's plaintext differs, counted in code that is not optimized: one part in so many.
const PLAINTEXT: u64 = 25;

const LETTER: &[u8] = b"Date: Fri, 15 Jan 2027 10:00:00 +0000\r\nFrom: ada@origin.example\r\n\r\nHello\r\n";

/// A refusal: who, at which step, by which rule, and what exactly is wrong.
struct Case {
    step: &'static str,
    rule: Rule,
    what: String,
    object: Vec<u8>,
    refuse: fn(&[u8]) -> Result<(), Error>,
}

fn at_origin(object: &[u8]) -> Result<(), Error> {
    CORRESPONDENTS.sign(object).map(|_| ())
}

fn at_destination(object: &[u8]) -> Result<(), Error> {
    CORRESPONDENTS.arrive(object).map(|_| ())
}

/// The only thing that is counted; valgrind finds it by its name.
#[inline(never)]
fn counted(case: &Case) -> Result<(), Error> {
    (case.refuse)(&case.object)
}

const COUNTED: &str = concat!(module_path!(), "::counted");

#[test]
#[ignore = "run under valgrind by the tests below"]
fn refuse_every_case() {
    let Ok(file) = std::env::var(CASES_FILE) else {
        return;
    };
    let mut names = String::new();
    for suite in [Suite::X25519, Suite::XWing] {
        let cases = cases(suite);
        // Once without counting, for what is prepared at the first use.
        assert!((cases[0].refuse)(&cases[0].object).is_err());
        for case in cases {
            let error = counted(&case).expect_err(&case.what);
            assert_eq!(error.rule(), Some(case.rule), "{}", case.what);
            writeln!(names, "{suite}, {}\t{} {}", case.step, case.rule, case.what).unwrap();
        }
    }
    std::fs::write(file, names).unwrap();
}

/// Chunks 1 and 2 are the envelopes, the last two the signatures.
fn cases(suite: Suite) -> Vec<Case> {
    let hostile = Hostile::new(suite, &mapped(LETTER), LETTER, 4);
    let (sealed, signed) = (hostile.clone().sealed(), hostile.clone().signed());
    let last = hostile.count() - 1;
    let mut cases = Vec::new();
    let origin = Actor {
        step: "origin, envelope",
        refuse: at_origin,
        first: 1,
        slot: 1,
    };
    let destination = Actor {
        step: "destination, envelope",
        refuse: at_destination,
        first: 2,
        slot: 1,
    };
    origin.envelope(&hostile, &sealed, &mut cases);
    destination.envelope(&hostile, &signed, &mut cases);
    let origin = Actor {
        step: "origin, signature",
        first: last - 1,
        ..origin
    };
    let destination = Actor {
        step: "destination, signature",
        first: last,
        slot: 2,
        ..destination
    };
    origin.damaged(&hostile, &sealed, [Rule::K2, Rule::K3, Rule::K4], &mut cases);
    destination.damaged(&hostile, &signed, [Rule::K2, Rule::K3, Rule::K4], &mut cases);
    cases
}

/// Who refuses, which chunk it reads and which slot there is its own.
#[derive(Clone, Copy)]
struct Actor {
    step: &'static str,
    refuse: fn(&[u8]) -> Result<(), Error>,
    first: usize,
    slot: usize,
}

impl Actor {
    fn envelope(self, hostile: &Hostile, object: &[u8], cases: &mut Vec<Case>) {
        self.damaged(hostile, object, [Rule::K1, Rule::K1, Rule::K4], cases);
        let size = hostile.clone().plaintext(self.first).len();
        let used =
            u32::from_be_bytes(*hostile.clone().plaintext(self.first)[1..].first_chunk().unwrap()) as usize;
        for (rule, place, value) in [
            (Rule::K5, 0, 1),
            (Rule::K6, 1, 1),
            (Rule::K6, 5 + used, 1),
            (Rule::K6, size - 1, 128),
        ] {
            let mut hostile = hostile.clone();
            hostile.plaintext(self.first)[place] = value;
            self.push(
                rule,
                format!("octet {place} of the plaintext"),
                self.finished(hostile),
                cases,
            );
        }
        let mut empty = hostile.clone();
        empty.put(self.first, b"");
        self.push(Rule::K7, "no data".into(), self.finished(empty), cases);
    }

    /// Slot, commitment and payload, each changed in its first and in its last octet.
    fn damaged(self, hostile: &Hostile, object: &[u8], rules: [Rule; 3], cases: &mut Vec<Case>) {
        let chunk = hostile.place(self.first);
        let sealed = hostile.sealed_place(self.first);
        let slot = sealed.end + 48 * self.slot;
        let parts = [
            ("slot", slot..slot + 48),
            ("commitment", chunk.start + 4..sealed.start),
            ("payload", sealed),
        ];
        for ((name, part), rule) in parts.into_iter().zip(rules) {
            for place in [part.start, part.end - 1] {
                let mut object = object.to_vec();
                object[place] ^= 1;
                self.push(
                    rule,
                    format!("octet {} of the {name}", place - part.start),
                    object,
                    cases,
                );
            }
        }
    }

    fn finished(self, hostile: Hostile) -> Vec<u8> {
        match self.first {
            1 => hostile.sealed(),
            _ => hostile.signed(),
        }
    }

    fn push(self, rule: Rule, what: String, object: Vec<u8>, cases: &mut Vec<Case>) {
        cases.push(Case {
            step: self.step,
            rule,
            what,
            object,
            refuse: self.refuse,
        });
    }
}

#[test]
fn refusals_at_one_step_cost_the_same() {
    for (step, counts) in counts() {
        let of = |rules: &[&str]| -> Vec<&(String, u64)> {
            counts
                .iter()
                .filter(|(what, _)| rules.contains(&&what[..2]))
                .collect()
        };
        // Finding the key is a step of its own (§10.2, §10.3).
        assert_alike(&step, &of(&["K1"]), SECRETS);
        assert_alike(&step, &of(&["K2", "K3", "K4"]), SECRETS);
        assert_alike(&step, &of(&["K2", "K3", "K4", "K5", "K6", "K7"]), PLAINTEXT);
    }
}

/// The counts differ by no more than one part in so many.
fn assert_alike(step: &str, counts: &[&(String, u64)], part: u64) {
    let counted = counts.iter().map(|(_, count)| *count);
    let (least, most) = (counted.clone().min().unwrap_or(0), counted.max().unwrap_or(0));
    assert!(
        most - least <= least / part,
        "{step}: {counts:#?} differ by {}",
        most - least
    );
}

/// Instructions of every case, by step.
fn counts() -> Vec<(String, Vec<(String, u64)>)> {
    let folder = tempfile::tempdir().unwrap();
    let cases = count_into(folder.path());
    let mut steps: Vec<(String, Vec<(String, u64)>)> = Vec::new();
    for (number, line) in (1..).zip(cases.lines()) {
        let (step, what) = line.split_once('\t').unwrap();
        let count = (
            what.to_owned(),
            summary(&folder.path().join(format!("count.{number}"))),
        );
        match steps.iter_mut().find(|(other, _)| other == step) {
            Some((_, counts)) => counts.push(count),
            None => steps.push((step.to_owned(), vec![count])),
        }
    }
    steps
}

/// Runs this program under valgrind, which leaves a file for every case; gives the list of the cases.
fn count_into(folder: &Path) -> String {
    let cases = folder.join("cases");
    let output = Command::new("valgrind")
        .args([
            "--tool=callgrind",
            "--collect-atstart=no",
            "--read-inline-info=no",
        ])
        .arg(format!("--toggle-collect={COUNTED}"))
        .arg(format!("--dump-after={COUNTED}"))
        .arg(format!("--callgrind-out-file={}", folder.join("count").display()))
        .arg(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "timing::refuse_every_case",
            "--ignored",
            "--test-threads=1",
        ])
        .env(CASES_FILE, &cases)
        .output()
        .expect("valgrind, which tests/run installs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    std::fs::read_to_string(cases).unwrap()
}

fn summary(file: &Path) -> u64 {
    let text = std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let line = text.lines().find_map(|line| line.strip_prefix("summary: "));
    line.unwrap().trim().parse().unwrap()
}
