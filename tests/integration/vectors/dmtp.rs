//! Kind `dmtp-commands`: what libdime's command module writes and reads, which is the key=value grammar.

use dimed::dime::fingerprint::AnyFingerprint;
use dimed::dmtp::command::{Command, Dialect, MAX_LINE, Mail, Protocol, Upgrade, parse};
use dimed::dmtp::name::Name;
use dimed::mail::address::Domain;
use serde_json::Value;

use super::Set;
use super::exceptions::{self, Case};

/// The arguments of a command as the vectors give them, three at most.
type Arguments = [Option<String>; 3];

fn cases(set: &Set, list: &str) -> Vec<Value> {
    let mut cases = Vec::new();
    for entry in set.entries("dmtp-commands") {
        let file: Value = serde_json::from_slice(&set.file(&entry["files"]["json"])).unwrap();
        cases.extend(file[list].as_array().unwrap().iter().cloned());
        let counted = &entry["expected"][if list == "format" {
            "formatted_lines"
        } else {
            "parsed_lines"
        }];
        assert_eq!(counted.as_u64(), Some(cases.len() as u64));
    }
    cases
}

fn arguments(case: &Value) -> Arguments {
    [0, 1, 2].map(|at| case["args"][at].as_str().map(str::to_owned))
}

/// The command that the vectors describe; `None` if there is no such value.
fn command(verb: &str, [first, second, third]: &Arguments) -> Option<Command> {
    let domain = |text: &Option<String>| Domain::parse(text.as_deref()?).ok();
    let optional = |text: &Option<String>| match text {
        None => Some(None),
        Some(text) => AnyFingerprint::parse(text).ok().map(Some),
    };
    let name = || match (first, second) {
        (Some(name), None) | (None, Some(name)) => Name::parse(name).ok(),
        _ => None,
    };
    Some(match verb {
        "STARTTLS" => Command::StartTls(Some(Upgrade {
            host: domain(first)?,
            mode: second.as_deref().map(protocol),
        })),
        "EHLO" => Command::Ehlo(domain(first)?),
        "HELO" => Command::Helo(domain(first)?),
        "MAIL" => Command::Mail(Mail {
            origin: domain(first)?,
            fingerprint: optional(second)?,
            size: None,
            returning: None,
            width: None,
        }),
        "RCPT" => Command::Rcpt {
            destination: domain(first)?,
            fingerprint: optional(second)?,
        },
        "DATA" => Command::Data(None),
        "SGNT" => Command::Signet {
            name: name()?,
            fingerprint: optional(third)?,
        },
        "VRFY" => Command::Verify {
            name: name()?,
            fingerprint: optional(third)??,
        },
        "HIST" => Command::History {
            address: Name::parse(first.as_deref()?).ok()?.address()?.clone(),
            start: optional(second)?,
            stop: optional(third)?,
        },
        "MODE" => Command::Mode,
        "NOOP" => Command::Noop,
        "RSET" => Command::Rset,
        "HELP" => Command::Help,
        "QUIT" => Command::Quit,
        other => panic!("unknown verb {other}"),
    })
}

fn protocol(mode: &str) -> Protocol {
    match mode {
        "DMTP" => Protocol::Dmtp,
        "SMTP" => Protocol::Smtp,
        other => panic!("unknown mode {other}"),
    }
}

#[test]
fn commands_are_written_as_by_libdime() {
    let set = Set::load();
    for case in cases(&set, "format") {
        let verb = case["command"].as_str().unwrap();
        let ours =
            command(verb, &arguments(&case)).and_then(|command| command.format(Dialect::KeyValue).ok());
        let libdime = case["formatted"].as_str();
        let exception = exceptions::ours(&Case::Format {
            verb,
            has_arguments: arguments(&case).iter().any(Option::is_some),
        });
        assert_eq!(ours.as_deref(), exception.or(libdime), "{case}");
    }
}

/// Reads a text that should be exactly one line with its end.
fn read(text: &str) -> Option<Command> {
    let line = text.strip_suffix('\n')?;
    let line = line.strip_suffix('\r').unwrap_or(line);
    let is_one_line = text.len() <= MAX_LINE && !line.contains('\n');
    parse(line.as_bytes()).ok().filter(|_| is_one_line)
}

#[test]
fn commands_are_read_as_by_libdime() {
    let set = Set::load();
    for case in cases(&set, "parse") {
        let line = case["line"].as_str().unwrap();
        let ours = read(line);
        let libdime = case["result"] == "success";
        let exception = exceptions::ours(&Case::Line(line));
        let expected = exception.map_or(libdime, |ours| ours == "accepted");
        assert_eq!(ours.is_some(), expected, "{line:?}");
        if let (Some(ours), true) = (ours, libdime) {
            let verb = case["command"].as_str().unwrap();
            assert_eq!(Some(ours), command(verb, &arguments(&case)), "{line:?}");
        }
    }
}
