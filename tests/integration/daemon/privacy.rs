//! What the two daemons of a DMTP exchange write down (DESIGN.md §1, §10).

use std::collections::BTreeMap;
use std::path::Path;

use dimed::config::LogLevel;
use serde_json::Value;

use crate::support::organization::Organization;
use crate::support::world::World;

const SUBJECT: &str = "zirconium-subject";
const BODY: &str = "palladium-body";
const NAME: &str = "Osmium Display Name";

async fn organization<'a>(world: &'a World, name: &str, locals: &[&'a str]) -> Organization {
    world
        .organization(name)
        .accounts(locals)
        .config(|config| config.log.level = LogLevel::Trace)
        .build()
        .await
}

/// All lines of a log, as objects with an event.
fn lines(log: &str) -> Vec<Value> {
    let lines: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("not JSON: {line}")))
        .collect();
    for line in &lines {
        assert!(line["event"].is_string(), "no event: {line}");
    }
    lines
}

/// Lines that can be joined by the value of a field whose name ends in `id`, as one text for each group.
fn joined(lines: &[Value]) -> Vec<String> {
    let mut groups: Vec<(Vec<String>, String)> = Vec::new();
    for line in lines {
        let ids = ids(line);
        let (joining, apart): (Vec<_>, Vec<_>) = groups
            .into_iter()
            .partition(|(known, _)| known.iter().any(|id| ids.contains(id)));
        let mut merged = (ids, format!("{line}\n"));
        for (known, text) in joining {
            merged.0.extend(known);
            merged.1 += &text;
        }
        groups = apart;
        groups.push(merged);
    }
    groups.into_iter().map(|(_, text)| text).collect()
}

fn ids(line: &Value) -> Vec<String> {
    let fields = line.as_object().unwrap();
    let ids = fields.iter().filter(|(name, _)| name.ends_with(".id"));
    ids.map(|(_, value)| value.as_str().unwrap().to_owned()).collect()
}

/// All files below a folder, with what is in them.
fn files(folder: &Path, found: &mut BTreeMap<String, Vec<u8>>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files(&path, found),
            false => {
                found.insert(path.display().to_string(), std::fs::read(&path).unwrap());
            }
        }
    }
}

pub fn contains(octets: &[u8], text: &str) -> bool {
    let (octets, text) = (octets.to_ascii_lowercase(), text.to_ascii_lowercase());
    octets.windows(text.len()).any(|at| at == text.as_bytes())
}

/// Database files of an organization hold none of the texts.
pub fn assert_absent_at_rest(organization: &Organization, secrets: &[&str]) {
    let mut found = BTreeMap::new();
    files(&organization.folder.join("data"), &mut found);
    let database: Vec<_> = found
        .iter()
        .filter(|(path, _)| path.contains("dimed.db"))
        .collect();
    assert!(database.iter().any(|(_, octets)| !octets.is_empty()));
    for (path, octets) in database {
        for secret in secrets {
            assert!(!contains(octets, secret), "{secret} is in {path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_and_databases_keep_the_two_ends_of_a_message_and_its_content_apart() {
    let world = World::new().await;
    let hermail = organization(&world, "hermail.test", &["alicia-planted"]).await;
    let hismail = organization(&world, "hismail.test", &["robert-planted"]).await;
    let (here, there) = (hermail.spawn().await, hismail.spawn().await);
    let message = format!(
        "From: {NAME} <alicia-planted@hermail.test>\r\nTo: robert-planted@hismail.test\r\n\
         Subject: {SUBJECT}\r\n\r\n{BODY}\r\n"
    );
    // A message that arrives, and one that comes back.
    let to = ["robert-planted@hismail.test", "nobody-planted@hismail.test"];
    hermail.submit("alicia-planted", &to, &message).await;
    let delivered = hismail.maildir("robert-planted").only().await;
    assert!(
        delivered.contains(SUBJECT) && delivered.contains(BODY),
        "{delivered}"
    );
    let bounce = hermail.maildir("alicia-planted").only().await;
    assert!(bounce.contains("nobody-planted@hismail.test"), "{bounce}");
    hermail.idle().await;
    hismail.idle().await;

    let (here, there) = (here.log(), there.log());
    for log in [&here, &there] {
        for secret in [
            "alicia-planted",
            "robert-planted",
            "nobody-planted",
            SUBJECT,
            BODY,
            NAME,
            "correct horse",
        ] {
            assert!(!contains(log.as_bytes(), secret), "{secret} is logged: {log}");
        }
    }
    assert!(
        here.contains("queue.attempt.dmtp") && here.contains("queue.sealed"),
        "{here}"
    );
    assert!(there.contains("dmtp.message.accepted"), "{there}");
    let both = [lines(&here), lines(&there)].concat();
    let names = |text: &str, organization: &Organization| {
        let ip = format!("\"{}\"", organization.ip);
        text.contains(organization.name.as_str()) || text.contains(&ip)
    };
    for group in joined(&both) {
        let named = (names(&group, &hermail), names(&group, &hismail));
        assert_ne!(named, (true, true), "both ends can be joined: {group}");
    }

    let content = [SUBJECT, BODY, NAME, "nobody-planted"];
    assert_absent_at_rest(&hermail, &[&content[..], &["robert-planted"]].concat());
    assert_absent_at_rest(&hismail, &[&content[..], &["alicia-planted"]].concat());
}
