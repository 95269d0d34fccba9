//! Rows that cannot be read are set aside, found, and rescued as far as they can be, and all other mail goes on.

use std::num::NonZeroU64;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use dimed::base::secret::Secret;
use dimed::dime::keys::UserKeys;
use dimed::dime::keys::private::PrivateKey;
use dimed::dime::keys::wrapped::{Work, Wrapped};
use dimed::mail::address::Mailbox;
use dimed::store::{DkimKey, DkimState, Pin};
use serde_json::Value;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};

use crate::support::PATIENCE;
use crate::support::maildir::split;
use crate::support::organization::Organization;
use crate::support::talk::Talk;
use crate::support::world::World;

const MESSAGES: usize = 7;

async fn hismail(world: &World) -> Organization {
    let builder = world.organization("hismail.test").accounts(&["bob"]);
    let quick = |config: &mut dimed::config::Config| config.queue.retry_max_secs = NonZeroU64::MIN;
    let hismail = builder.config(quick).build().await;
    hismail.block_mailbox("bob");
    hismail
}

async fn submit(hismail: &Organization) {
    let mut talk = Talk::smtp(hismail.ip).await;
    for number in 0..MESSAGES {
        let message = format!("From: alice@plain.test\r\n\r\n{number}\r\n");
        let reply = talk
            .transfer("alice@plain.test", &["bob@hismail.test"], &message)
            .await;
        assert!(reply.starts_with("250"), "{reply}");
    }
}

fn numbers(hismail: &Organization) -> Vec<usize> {
    let mut numbers: Vec<usize> = hismail
        .maildir("bob")
        .messages()
        .iter()
        .map(|message| split(message).1.trim_end().parse().unwrap())
        .collect();
    numbers.sort();
    numbers
}

/// One of each thing that a message consists of.
const DAMAGE: [&str; 5] = [
    "UPDATE pieces SET sealed = zeroblob(length(sealed)) WHERE message = (SELECT id FROM messages WHERE seq = 2)",
    "UPDATE messages SET wrapped_key = zeroblob(length(wrapped_key)) WHERE seq = 3",
    "UPDATE messages SET size_bytes = size_bytes + 1 WHERE seq = 4",
    "UPDATE recipients SET forward_path = zeroblob(length(forward_path)) WHERE message = (SELECT id FROM messages WHERE seq = 5)",
    "DELETE FROM pieces WHERE message = (SELECT id FROM messages WHERE seq = 6)",
];

/// What `store verify` or `repair` says: its exit code, what is wrong, and the counts.
fn care(hismail: &Organization, arguments: &[&str]) -> (i32, Vec<String>, Value) {
    let (code, out, err) = hismail.binary(&[&["store"], arguments, &["--json"]].concat());
    let mut lines: Vec<Value> = out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{out} {err}")))
        .collect();
    let counts = lines.pop().unwrap_or_else(|| panic!("{err}"));
    let fault = |line: &Value| {
        format!(
            "{}: {}",
            line["part"].as_str().unwrap(),
            line["what"].as_str().unwrap()
        )
    };
    (code, lines.iter().map(fault).collect(), counts)
}

const FOUND: [&str; 5] = [
    "messages: body piece",
    "messages: message key",
    "messages: envelope",
    "messages: body piece",
    "recipients: forward-path",
];

#[tokio::test(flavor = "multi_thread")]
async fn unreadable_rows_are_set_aside_under_a_running_daemon_and_all_else_is_delivered() {
    let world = World::new().await;
    let hismail = hismail(&world).await;
    let mut process = hismail.spawn().await;
    submit(&hismail).await;
    let (code, found, counts) = care(&hismail, &["verify"]);
    assert_eq!(
        (code, found.len(), &counts["result"]),
        (0, 0, &"done".into()),
        "{found:?}"
    );
    for sql in DAMAGE {
        hismail.change_database(sql).await;
    }
    std::fs::remove_file(hismail.maildir("bob").0).unwrap();
    hismail.maildir("bob").expect(MESSAGES - DAMAGE.len()).await;
    assert_eq!(numbers(&hismail), [0, 6]);
    let deadline = Instant::now() + PATIENCE;
    let quarantined = loop {
        let (_, out, _) = hismail.binary(&["queue", "list", "--status", "quarantined", "--json"]);
        if out.lines().count() == DAMAGE.len() {
            break out;
        }
        assert!(Instant::now() < deadline, "{out}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    for line in quarantined.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        assert!(line["fault"].is_string(), "{line}");
    }
    process.check();
    // What is set aside is known, and no fault: there is nothing left to repair.
    for command in ["verify", "repair"] {
        let (code, found, counts) = care(&hismail, &[command]);
        assert_eq!((code, &found[..]), (0, &[][..]), "{command}");
        let counted = ["faults", "set_aside", "quarantined"].map(|name| counts[name].as_u64().unwrap());
        assert_eq!(counted, [0, 0, DAMAGE.len() as u64], "{command}");
    }

    let to = hismail.folder.join("rescued");
    let to = to.to_str().unwrap();
    let (code, out, err) = hismail.binary(&["store", "export", "--to", to, "--quarantined", "--json"]);
    let counts: Value = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{err}"));
    let counted = ["whole", "in_part", "lost"].map(|name| counts[name].as_u64().unwrap());
    assert_eq!((code, counted), (1, [0, 4, 1]));
    let (code, _, err) = hismail.binary(&["store", "export", "--to", to, "--quarantined"]);
    assert_eq!(code, 2, "{err}");
    assert!(err.contains(&format!("{to} has ")), "{err}");
    assert!(err.contains("name another folder with --to"), "{err}");
    let mut bodies = Vec::new();
    for entry in std::fs::read_dir(to).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let text = std::fs::read_to_string(&path).unwrap();
        match path.extension().unwrap().to_str().unwrap() {
            "eml" => bodies.push(split(&text).1.trim_end().to_owned()),
            _ => {
                let envelope: Value = serde_json::from_str(&text).unwrap();
                assert_eq!(envelope["recipients"][0]["domain"], "hismail.test", "{envelope}");
            }
        }
    }
    bodies.sort();
    // Two bodies are gone, and one key.
    assert_eq!(bodies, ["", "", "3", "4"]);
    assert_eq!(
        hismail.count("SELECT count(*) FROM messages").await,
        DAMAGE.len() as i64
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn repair_sets_aside_what_cannot_be_read_and_makes_lanes_anew() {
    let world = World::new().await;
    let hismail = hismail(&world).await;
    let mut process = hismail.spawn().await;
    submit(&hismail).await;
    process.kill();
    // What was being tried when the daemon was killed is nobody's.
    hismail
        .change_database("UPDATE recipients SET lease = NULL, leased_until = NULL, due_at = 1")
        .await;
    hismail.change_database(DAMAGE[0]).await;
    hismail.change_database("DELETE FROM lanes").await;
    let wrong = ["messages: body piece", "lanes: turn"];
    let (code, found, counts) = care(&hismail, &["repair", "--dry-run"]);
    assert_eq!((code, &found[..]), (0, &wrong.map(String::from)[..]));
    let counted = ["set_aside", "rebuilt", "left", "quarantined"].map(|name| counts[name].as_u64().unwrap());
    assert_eq!(counted, [1, 1, 0, 0], "what it would do");
    let (code, found, _) = care(&hismail, &["verify"]);
    assert_eq!(
        (code, &found[..]),
        (1, &wrong.map(String::from)[..]),
        "nothing was done"
    );
    let (code, _, counts) = care(&hismail, &["repair"]);
    // Setting mail aside has made the lane of its domain anew already.
    assert_eq!((code, &counts["set_aside"]), (0, &1.into()));
    let (code, found, counts) = care(&hismail, &["verify"]);
    assert_eq!((code, found.len(), &counts["quarantined"]), (0, 0, &1.into()));
    std::fs::remove_file(hismail.maildir("bob").0).unwrap();
    let _process = hismail.spawn().await;
    hismail.maildir("bob").expect(MESSAGES - 1).await;
    assert_eq!(numbers(&hismail), [0, 2, 3, 4, 5, 6]);
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_finds_what_is_wrong_with_keys_and_names() {
    let world = World::new().await;
    let hismail = hismail(&world).await;
    hismail
        .cli(&["alias", "add", "sales@hismail.test", "bob@hismail.test"])
        .await;
    hismail.cli(&["dkim", "add", "hismail.test"]).await;
    assert_eq!(care(&hismail, &["verify"]).1, [""; 0]);
    for sql in [
        "UPDATE signets SET private_keys = substr(private_keys, 2) WHERE name LIKE 'bob@%'",
        "UPDATE signets SET object = zeroblob(length(object)) WHERE name LIKE 'bob@%'",
        "UPDATE kem_keys SET sealed = substr(sealed, 2) WHERE name LIKE 'bob@%'",
        "UPDATE dkim_keys SET record = record || ' ' WHERE selector = (SELECT MIN(selector) FROM dkim_keys)",
        "UPDATE accounts SET address = 'eve@hismail.test'",
        "UPDATE aliases SET target = 'nobody'",
        "UPDATE local_domains SET delivery_hosts = 'not a host!'",
    ] {
        hismail.change_database(sql).await;
    }
    let (code, found, _) = care(&hismail, &["verify"]);
    assert_eq!(code, 1);
    let expected = [
        "signets: object",
        "private keys: sealed value",
        "private KEM keys: sealed value",
        "DKIM keys: sealed value",
        "accounts: name",
        "aliases: target",
    ];
    assert_eq!(found[..6], expected, "{found:?}");
    assert!(
        found[6..].iter().all(|fault| fault == "domains: delivery hosts"),
        "{found:?}"
    );
    let (code, _, counts) = care(&hismail, &["repair"]);
    assert_eq!(
        (code, &counts["left"]),
        (1, &found.len().into()),
        "it needs an operator"
    );
}

/// What opens, and is not what is to be there.
#[tokio::test(flavor = "multi_thread")]
async fn verify_reads_keys_that_are_kept_for_others_keys_for_dkim_and_pinned_records() {
    let world = World::new().await;
    let hismail = hismail(&world).await;
    hismail.cli(&["dkim", "add", "hismail.test"]).await;
    let services = hismail.services().await;
    let (store, now) = (&services.store, services.clock.now());
    let bob: Mailbox = "bob@hismail.test".parse().unwrap();
    let rng = &mut rand::rng();
    let work = Work {
        memory_kib: 8,
        passes: 1,
        lanes: 1,
    };
    let keys = PrivateKey::User(UserKeys::generate(rng));
    let wrapped = Wrapped::with_passphrase(&keys, b"correct horse", work, rng).unwrap();
    let deposit = wrapped.to_armor().into_bytes();
    let pin = |record: &str| Pin {
        domain: "hermail.test".parse().unwrap(),
        record: record.to_owned(),
        secure: true,
        first_seen_at: now,
        refresh_at: now,
        expires_at: now.after(Duration::from_secs(86_400)),
    };
    let record = "ver=1 pok=A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg";
    store.put_key_deposit(&bob, deposit, 0, now).await.unwrap();
    store.set_pin(pin(record)).await.unwrap();
    assert_eq!(care(&hismail, &["verify"]).1, [""; 0]);

    let key = |selector: &str, algorithm: &str, private: &[u8]| DkimKey {
        domain: "hismail.test".parse().unwrap(),
        selector: selector.to_owned(),
        algorithm: algorithm.to_owned(),
        record: "v=DKIM1".to_owned(),
        private: Some(Secret::new(private.to_vec())),
        state: DkimState::Generated,
        created_at: now,
        since: now,
    };
    let no_keys = [
        key("x", "rsa-sha256", b"no key"),
        key("y", "ed25519-sha256", &[7; 31]),
        key("z", "dsa-sha1", &[7; 32]),
    ];
    let no_deposit = b"no keys".to_vec();
    store.put_key_deposit(&bob, no_deposit, 1, now).await.unwrap();
    store.add_dkim_keys(no_keys.into()).await.unwrap();
    store.set_pin(pin("ver=1 pok=none")).await.unwrap();
    let (code, found, _) = care(&hismail, &["verify"]);
    let expected = [
        "key deposits: content",
        "DKIM keys: content",
        "DKIM keys: content",
        "DKIM keys: content",
        "pinned records: content",
    ];
    assert_eq!(found, expected);
    assert_eq!(code, 1);
}

/// Mail that is due, and no daemon that works on it.
async fn due(hismail: &Organization) {
    let mut process = hismail.spawn().await;
    submit(hismail).await;
    process.kill();
    hismail
        .change_database("UPDATE recipients SET lease = NULL, leased_until = NULL, due_at = 1")
        .await;
    hismail
        .change_database("UPDATE lanes SET turn_at = served_at")
        .await;
}

/// Changes the database as a program does that knows nothing of its rules, or a disk.
async fn break_rules(hismail: &Organization, sql: &'static str) {
    let config = dimed::config::Config::load(&hismail.config).unwrap();
    let options = SqliteConnectOptions::new()
        .filename(config.server.database())
        .pragma("ignore_check_constraints", "on")
        .foreign_keys(false);
    let mut connection = options.connect().await.unwrap();
    let changed = sqlx::query(sql).execute(&mut connection).await.unwrap();
    assert!(changed.rows_affected() > 0, "{sql}");
    connection.close().await.unwrap();
}

/// One value each, and what is said of it.
const WRONG_VALUES: [(&str, &str); 6] = [
    (
        "UPDATE recipients SET due_at = 'soon' WHERE seq = 1",
        "recipients: due time",
    ),
    (
        "UPDATE recipients SET attempts = -3 WHERE seq = 2",
        "recipients: attempts",
    ),
    (
        "UPDATE recipients SET state = 'lost' WHERE seq = 3",
        "recipients: state",
    ),
    (
        "UPDATE recipients SET leased_until = 'for ever', lease = 'x' WHERE seq = 4",
        "recipients: lease",
    ),
    (
        "UPDATE messages SET size_bytes = 'large' WHERE id = (SELECT message FROM recipients WHERE seq = 5)",
        "messages: value of a wrong kind",
    ),
    (
        "UPDATE messages SET size_bytes = -1 WHERE id = (SELECT message FROM recipients WHERE seq = 6)",
        "messages: size",
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn values_of_a_wrong_kind_or_out_of_range_are_found_and_set_aside_and_hide_nothing() {
    let world = World::new().await;
    let hismail = hismail(&world).await;
    due(&hismail).await;
    for (sql, _) in WRONG_VALUES {
        break_rules(&hismail, sql).await;
    }
    // One such row is in nobody's way who looks at the queue.
    let (code, out, err) = hismail.binary(&["queue", "list", "--json"]);
    assert_eq!(code, 0, "{err}");
    let listed: Vec<Value> = out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(listed.len(), MESSAGES, "{out}");
    let readable = listed.iter().filter(|line| line["unreadable"].is_null()).count();
    // A lease of a wrong kind is not shown.
    assert!((1..=2).contains(&readable), "{out}");
    assert_eq!(listed[MESSAGES - 1]["forward_path"], "bob@hismail.test");
    let (code, _, err) = hismail.binary(&["mailq"]);
    assert_eq!(code, 0, "{err}");

    let (code, found, _) = care(&hismail, &["verify"]);
    assert_eq!(code, 1);
    for (sql, what) in WRONG_VALUES {
        assert!(found.iter().any(|found| found == what), "{sql}: {found:?}");
    }
    let (code, _, counts) = care(&hismail, &["repair", "--dry-run"]);
    assert_eq!(
        (code, &counts["set_aside"]),
        (1, &WRONG_VALUES.len().into()),
        "a rule of the database is still broken"
    );
    let (code, found, counts) = care(&hismail, &["repair"]);
    assert_eq!(
        (code, &counts["set_aside"]),
        (0, &WRONG_VALUES.len().into()),
        "{found:?}"
    );
    let (code, found, counts) = care(&hismail, &["verify"]);
    assert_eq!(
        (code, &counts["quarantined"]),
        (0, &WRONG_VALUES.len().into()),
        "{found:?}"
    );

    // All else goes on.
    std::fs::remove_file(hismail.maildir("bob").0).unwrap();
    let _process = hismail.spawn().await;
    hismail.maildir("bob").expect(MESSAGES - WRONG_VALUES.len()).await;
    assert_eq!(numbers(&hismail), [6]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runner_steps_over_values_of_a_wrong_kind() {
    let world = World::new().await;
    let hismail = hismail(&world).await;
    due(&hismail).await;
    for sql in [
        "UPDATE recipients SET due_at = 'soon' WHERE seq = 1",
        "UPDATE recipients SET attempts = -3 WHERE seq = 2",
        "UPDATE messages SET size_bytes = 'large' WHERE id = (SELECT message FROM recipients WHERE seq = 3)",
        "UPDATE messages SET wrapped_key = 'text' WHERE id = (SELECT message FROM recipients WHERE seq = 4)",
        "DELETE FROM messages WHERE id = (SELECT message FROM recipients WHERE seq = 5)",
        "UPDATE lanes SET turn_no = 'first'",
    ] {
        break_rules(&hismail, sql).await;
    }
    std::fs::remove_file(hismail.maildir("bob").0).unwrap();
    let mut process = hismail.spawn().await;
    hismail.maildir("bob").expect(2).await;
    assert_eq!(numbers(&hismail), [5, 6]);
    process.check();
    let (_, _, counts) = care(&hismail, &["repair"]);
    assert_eq!(counts["quarantined"], 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_of_each_kind_is_found_and_set_aside_without_a_daemon() {
    let world = World::new().await;
    let hismail = hismail(&world).await;
    due(&hismail).await;
    for sql in DAMAGE {
        hismail.change_database(sql).await;
    }
    let (code, found, counts) = care(&hismail, &["verify"]);
    assert_eq!((code, &counts["faults"]), (1, &FOUND.len().into()));
    assert_eq!(found, FOUND);
    let (code, _, counts) = care(&hismail, &["repair"]);
    assert_eq!((code, &counts["set_aside"]), (0, &FOUND.len().into()));
    assert_eq!(care(&hismail, &["verify"]).0, 0);
}

/// What is not mail cannot be set aside; every kind of row is looked at.
#[tokio::test(flavor = "multi_thread")]
async fn verify_looks_at_what_has_a_form_and_at_what_is_kept_under_hashes() {
    let world = World::new().await;
    let hismail = hismail(&world).await;
    for sql in [
        "INSERT INTO senders (folded, sender) VALUES ('nobody@hismail.test', 'bob@hismail.test'), ('bob@hismail.test', 'no address')",
        "INSERT INTO relay_domains (name, verification, created_at) VALUES ('relayed.test', 'list', 1)",
        "INSERT INTO relay_recipients (domain, folded) VALUES ('relayed.test', 'pat@other.test')",
        "INSERT INTO blocks (kind, value, doer, reason, since) VALUES ('pok', 'no key', 'operator', '', 1)",
        "INSERT INTO signing_requests (name, object, submitted_at) VALUES ('bob@hismail.test', x'00', 1)",
        "INSERT INTO retirements (name, state, since) VALUES ('hismail.test', 'announced', -1)",
        "INSERT INTO rollovers (name, state, replaces, sealed, started_at, since) VALUES ('hismail.test', 'seen', x'00', x'11', 1, 1)",
        "INSERT INTO key_set_pins (name_tag, sealed, expires_at) VALUES (x'00', x'00', 1)",
        "INSERT INTO custody_pins (name_tag, sealed, expires_at, written_to) VALUES (zeroblob(32), x'00', 1, 1)",
        "INSERT INTO remote_signets (name_tag, signet_tag, crypto_tag, sealed, fetched_at, expires_at) \
         VALUES (zeroblob(32), zeroblob(32), zeroblob(31), x'00', 1, 1)",
        "INSERT INTO replay_entries (entry, digest, expires_at) VALUES (zeroblob(32), x'00', 1)",
        "INSERT INTO greylist (tag, network, since, proven, until) VALUES (zeroblob(32), zeroblob(32), 1, 0, -1)",
        "INSERT INTO callouts (tag, asked_at) VALUES (zeroblob(5), 1)",
        "INSERT INTO accounts (folded, domain, address, password_hash, trust_mode, created_at) \
         VALUES ('pat@hismail.test', 'hismail.test', x'00ff', '', 'trustful', 1)",
    ] {
        break_rules(&hismail, sql).await;
    }
    let (code, found, _) = care(&hismail, &["verify"]);
    assert_eq!(code, 1);
    let expected = [
        "rollovers: sealed value",
        "rollovers: fingerprint",
        "signing requests: object",
        "retirements: time",
        "accounts: value of a wrong kind",
        "senders: sender",
        "senders: account",
        "relay recipients: domain",
        "block list: identity",
        "copies of signets: hash",
        "pinned key sets: hash",
        "pinned signing keys: sealed value",
        "replay entries: digest",
        "greylist: time",
        "known recipients: hash",
    ];
    assert_eq!(found, expected);
    let (code, _, counts) = care(&hismail, &["repair"]);
    assert_eq!((code, &counts["left"]), (1, &expected.len().into()));
}
