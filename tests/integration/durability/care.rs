//! Rows that cannot be read are set aside, found, and rescued as far as they can be, and all other mail goes on.

use std::num::NonZeroU64;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use serde_json::Value;

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
    let (code, found, counts) = care(&hismail, &["verify"]);
    assert_eq!((code, &counts["faults"]), (1, &FOUND.len().into()));
    assert_eq!(found, FOUND);
    let (code, _, counts) = care(&hismail, &["repair"]);
    let expected = (0, &0.into());
    assert_eq!(
        (code, &counts["set_aside"]),
        expected,
        "they are set aside already"
    );

    let to = hismail.folder.join("rescued");
    let to = to.to_str().unwrap();
    let (code, out, err) = hismail.binary(&["store", "export", "--to", to, "--quarantined", "--json"]);
    let counts: Value = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{err}"));
    let counted = ["whole", "in_part", "lost"].map(|name| counts[name].as_u64().unwrap());
    assert_eq!((code, counted), (1, [0, 4, 1]));
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
    let (code, found, _) = care(&hismail, &["repair", "--dry-run"]);
    assert_eq!((code, &found[..]), (0, &wrong.map(String::from)[..]));
    let (code, found, _) = care(&hismail, &["verify"]);
    assert_eq!(
        (code, &found[..]),
        (1, &wrong.map(String::from)[..]),
        "nothing was done"
    );
    let (code, _, counts) = care(&hismail, &["repair"]);
    // Setting mail aside has made the lane of its domain anew already.
    assert_eq!((code, &counts["set_aside"]), (0, &1.into()));
    assert_eq!(care(&hismail, &["verify"]).1, wrong[..1]);
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
        "UPDATE signets SET private_keys = CAST('x' || substr(private_keys, 2) AS BLOB) WHERE name LIKE 'bob@%'",
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
