//! What the two daemons of a DMTP exchange write down (DESIGN.md §1, §10).

use std::collections::BTreeMap;
use std::path::Path;

use dimed::base::encoding::{base64, base64_decode, hex};
use dimed::config::LogLevel;
use dimed::daemon::Services;
use dimed::mail::address::Mailbox;
use serde_json::Value;

use crate::support::child::{Launch, Process};
use crate::support::organization::{Organization, PASSWORD};
use crate::support::talk::Talk;
use crate::support::watcher::{Answer, get};
use crate::support::world::World;

const SUBJECT: &str = "zirconium-subject";
const BODY: &str = "palladium-body";
const NAME: &str = "Osmium Display Name";

/// Somebody who writes from a domain without DIME.
const STRANGER: &str = "iridium-planted";
/// Said in a login that is refused.
const WRONG: &str = "rhodium-password";

/// Logs everything: the lines of all other levels are among those of this one.
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
pub fn files(folder: &Path, found: &mut BTreeMap<String, Vec<u8>>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files(&path, found),
            false if path.is_file() => {
                found.insert(path.display().to_string(), std::fs::read(&path).unwrap());
            }
            // The socket for `dimed reload`.
            false => {}
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

/// Everything that a daemon writes but its database, mailboxes, and what the operator has put there: other files, those in its
/// temporary folder, and its log.
fn written(organization: &Organization, locals: &[&str]) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    files(&organization.folder, &mut found);
    let mailboxes = locals.iter().map(|local| organization.maildir(local).0);
    let mailboxes: Vec<String> = mailboxes.map(|folder| folder.display().to_string()).collect();
    found.retain(|path, _| {
        let is_mail = mailboxes.iter().any(|folder| path.starts_with(folder));
        let given = ["dimed.toml", "master.key", "password"];
        let is_given = given.iter().any(|name| path.ends_with(name));
        !is_mail && !is_given && !path.contains("dimed.db")
    });
    found
}

/// What a daemon tells those who watch over its host.
async fn told(organization: &Organization) -> BTreeMap<String, Vec<u8>> {
    let mut said = BTreeMap::new();
    for path in ["/metrics", "/readyz", "/healthz", "/"] {
        let Answer { status, header, body } = get(organization.ip, path).await;
        assert!(status == 200 || path == "/readyz", "{path}: {status} {body}");
        assert!(!body.is_empty(), "{path}");
        said.insert(path.to_owned(), format!("{header}\n{body}").into_bytes());
    }
    said
}

/// A daemon whose temporary folder is in the organization's.
async fn spawn(organization: &Organization) -> Process {
    let temporary = organization.folder.join("temporary");
    std::fs::create_dir(&temporary).unwrap();
    let launch = Launch {
        environment: vec![("TMPDIR".into(), temporary.into())],
        ..Launch::default()
    };
    organization.spawn_with(&launch).await
}

/// The private keys of an organization and of a user whose keys it has, and what they are encrypted under.
pub async fn keys(services: &Services, address: &Mailbox) -> Vec<[u8; 32]> {
    let own = services.published.organization(address.domain()).await;
    let user = services.published.user(address).await;
    let user = user.unwrap().unwrap().keys.unwrap();
    let master = std::fs::read_to_string(&services.config.server.master_key_file).unwrap();
    vec![
        *own.unwrap().unwrap().keys.signing.seed(),
        *user.signing.seed(),
        base64_decode(master.trim()).unwrap().try_into().unwrap(),
    ]
}

/// A key is there in none of the forms in which keys are written.
pub fn assert_no_key(octets: &[u8], key: &[u8; 32], place: &str) {
    let text = base64(key);
    let forms = [
        key.to_vec(),
        text.trim_end_matches('=').into(),
        hex(key).into_bytes(),
    ];
    for form in forms {
        let found = octets.windows(form.len()).any(|at| at == form);
        assert!(!found, "a key is in {place}");
    }
}

/// Somebody guesses a password, and somebody writes by SMTP, to a user and to nobody.
async fn visit(organization: &Organization, local: &str) {
    let mut talk = Talk::open_tls(organization.ip, crate::support::loopback::SUBMISSIONS).await;
    talk.expect("220 ").await;
    talk.ask("EHLO client.test", "250").await;
    let guess = base64(format!("\0{}\0{WRONG}", organization.address(local)).as_bytes());
    talk.ask(&format!("AUTH PLAIN {guess}"), "535").await;
    let mut talk = Talk::smtp(organization.ip).await;
    let to = organization.address(local);
    talk.ask(&format!("MAIL FROM:<{STRANGER}@plain.test>"), "250")
        .await;
    talk.ask(&format!("RCPT TO:<nobody-planted@{}>", organization.name), "550")
        .await;
    talk.ask(&format!("RCPT TO:<{to}>"), "250").await;
    let message = format!("From: {NAME} <{STRANGER}@plain.test>\r\nSubject: {SUBJECT}\r\n\r\n{BODY}\r\n");
    let reply = talk.data(&message).await;
    assert!(reply.starts_with("250"), "{reply}");
}

/// What stands in a log in the place of a name, under the key of either organization.
async fn hashes(organizations: [&Organization; 2], address: &str) -> [String; 2] {
    let mut found = [String::new(), String::new()];
    for (hash, organization) in found.iter_mut().zip(organizations) {
        let printed = organization.cli(&["log", "hash", address]).await;
        *hash = printed.trim().to_owned();
        assert_eq!(hash.len(), 32);
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_and_databases_keep_the_two_ends_of_a_message_and_its_content_apart() {
    let world = World::new().await;
    let hermail = organization(&world, "hermail.test", &["alicia-planted"]).await;
    let hismail = organization(&world, "hismail.test", &["robert-planted"]).await;
    let (here, there) = (spawn(&hermail).await, spawn(&hismail).await);
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
    visit(&hismail, "robert-planted").await;
    hismail.maildir("robert-planted").expect(2).await;
    hermail.idle().await;
    hismail.idle().await;

    let (here, there) = (here.log(), there.log());
    let guess = base64(format!("\0{}\0{WRONG}", hismail.address("robert-planted")).as_bytes());
    let secrets = [
        "alicia-planted",
        "robert-planted",
        "nobody-planted",
        STRANGER,
        SUBJECT,
        BODY,
        NAME,
        PASSWORD,
        WRONG,
        guess.trim_end_matches('='),
    ];
    for log in [&here, &there] {
        for secret in secrets {
            assert!(!contains(log.as_bytes(), secret), "{secret} is logged: {log}");
        }
    }
    assert!(there.contains("smtp.auth.refused") && there.contains("smtp.rcpt.refused"));
    for (organization, local) in [(&hermail, "alicia-planted"), (&hismail, "robert-planted")] {
        let mut written = written(organization, &[local]);
        written.extend(told(organization).await);
        let log = organization.log().display().to_string();
        assert!(written.contains_key(&log), "{:?}", written.keys());
        for (path, octets) in &written {
            for secret in secrets {
                assert!(!contains(octets, secret), "{secret} is in {path}");
            }
        }
        let mut all = written;
        files(&organization.folder.join("data"), &mut all);
        let address = organization.address(local).parse().unwrap();
        for key in keys(&organization.services().await, &address).await {
            for (path, octets) in &all {
                assert_no_key(octets, &key, path);
            }
        }
    }
    assert!(
        here.contains("queue.attempt.dmtp") && here.contains("queue.sealed"),
        "{here}"
    );
    assert!(there.contains("dmtp.message.accepted"), "{there}");
    let both = [lines(&here), lines(&there)].concat();
    let alicia = hashes([&hermail, &hismail], "alicia-planted@hermail.test").await;
    let robert = hashes([&hermail, &hismail], "robert-planted@hismail.test").await;
    assert!(
        here.contains(&alicia[0]) && there.contains(&robert[1]),
        "each side names its own"
    );
    let names = |text: &str, organization: &Organization, hashes: &[String; 2]| {
        let ip = format!("\"{}\"", organization.ip);
        let is_hashed = hashes.iter().any(|hash| text.contains(hash));
        is_hashed || text.contains(organization.name.as_str()) || text.contains(&ip)
    };
    for group in joined(&both) {
        let named = (names(&group, &hermail, &alicia), names(&group, &hismail, &robert));
        assert_ne!(named, (true, true), "both ends can be joined: {group}");
    }

    let content = [SUBJECT, BODY, NAME, "nobody-planted", STRANGER, WRONG, PASSWORD];
    assert_absent_at_rest(&hermail, &[&content[..], &["robert-planted"]].concat());
    assert_absent_at_rest(&hismail, &[&content[..], &["alicia-planted"]].concat());
}
