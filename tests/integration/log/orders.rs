//! Whatever operators order is in the log: each command that changes something has an event, and whoever adds one has to name it here.

use std::collections::BTreeSet;
use std::fs;

use clap::CommandFactory as _;
use dimed::base::observe::{Class, EVENTS, Event, Level};
use dimed::cli::Arguments;
use serde_json::Value;
use tokio::task::block_in_place;

use super::lines;
use crate::support::tool::Desk;
use crate::support::world::World;

/// Commands that change something, and the event that says so.
const ORDERS: &[(&str, &str)] = &[
    ("domain add", "domain.changed"),
    ("domain remove", "domain.removed"),
    ("domain recipients add", "relay.recipients_changed"),
    ("domain recipients remove", "relay.recipients_changed"),
    ("domain recipients import", "relay.recipients_changed"),
    ("domain recipients verify", "domain.changed"),
    ("domain forget-pin", "domain.pin.forgotten"),
    ("domain join", "domain.changed"),
    ("domain retire", "key.rollover"),
    ("account add", "account.changed"),
    ("account import", "account.changed"),
    ("account remove", "account.removed"),
    ("account disable", "account.changed"),
    ("account enable", "account.changed"),
    ("account passwd", "account.changed"),
    ("account trust", "account.changed"),
    ("account quota", "account.changed"),
    ("account grant", "account.changed"),
    ("account withdraw", "account.changed"),
    ("alias add", "alias.changed"),
    ("alias import", "alias.changed"),
    ("alias remove", "alias.changed"),
    ("signet request", "signet.changed"),
    ("signet publish", "signet.changed"),
    ("signet approve", "signet.changed"),
    ("signet reject", "signet.changed"),
    ("signet revoke", "signet.revoked"),
    ("key set import", "key_set.changed"),
    ("key set renew", "key_set.changed"),
    ("key set accept", "key_set.accepted"),
    ("key opt-out", "key_set.changed"),
    ("key rotate", "key.rollover"),
    ("key rotate-master", "key.master_changed"),
    ("block add", "block.added"),
    ("block remove", "block.removed"),
    ("trap add", "trap.changed"),
    ("trap remove", "trap.changed"),
    ("greylist clear", "greylist.cleared"),
    ("dkim add", "dkim.changed"),
    ("dkim rotate", "dkim.changed"),
    ("dkim retire", "dkim.changed"),
    ("acme deactivate", "tls.authority_changed"),
    ("queue hold", "queue.changed"),
    ("queue release", "queue.changed"),
    ("queue retry", "queue.changed"),
    ("queue flush", "queue.changed"),
    ("queue delete", "queue.changed"),
    ("queue drain", "queue.drain_changed"),
    ("store repair", "store.repaired"),
    ("store export", "store.copied"),
    ("store backup", "store.copied"),
    ("store restore", "store.restored"),
    ("clock confirm", "clock.confirmed"),
];

/// Commands, and whole families, that change nothing here, or of which the daemon tells, or which consist of others.
const OTHERS: &[&str] = &[
    "serve",
    "reload",
    "setup",
    "demo",
    "check",
    "doctor",
    "config",
    "domain list",
    "domain show",
    "domain pins",
    "domain recipients list",
    "account list",
    "account show",
    "alias list",
    "alias show",
    "signet new-org",
    "signet new-request",
    "signet sign",
    "signet renew",
    "signet show",
    "signet verify",
    "signet split",
    "signet fingerprint",
    "signet import",
    "signet fetch",
    "signet history",
    "key show",
    "key wrap",
    "key unwrap",
    "key upload",
    "key download",
    "key set show",
    "message",
    "block list",
    "block log",
    "trap list",
    "greylist show",
    "dkim list",
    "dns",
    "queue list",
    "queue show",
    "queue stats",
    "store verify",
    "route",
    "clock show",
    "log",
    "sendmail",
    "mailq",
    "newaliases",
    "man",
    "completions",
];

/// Every command that has none below it.
fn commands() -> BTreeSet<String> {
    let mut open = vec![(String::new(), Arguments::command())];
    let mut found = BTreeSet::new();
    while let Some((path, command)) = open.pop() {
        for below in command.get_subcommands() {
            let path = format!("{path} {}", below.get_name()).trim().to_owned();
            match below.has_subcommands() {
                true => open.push((path, below.clone())),
                false => {
                    found.insert(path);
                }
            }
        }
    }
    found
}

#[test]
fn every_command_is_known_to_change_something_or_not() {
    let is_within = |command: &str, family: &str| {
        let rest = command.strip_prefix(family);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
    };
    let all = commands();
    for command in &all {
        let orders = ORDERS.iter().filter(|(order, _)| order == command).count();
        let others = OTHERS.iter().filter(|other| is_within(command, other)).count();
        assert_eq!(orders + others, 1, "{command}: name it in one of the lists");
    }
    for (order, _) in ORDERS {
        assert!(all.contains(*order), "{order} is no command");
    }
}

#[test]
fn every_event_about_an_order_belongs_to_a_command() {
    for (order, event) in ORDERS {
        let event = Event::named(event).unwrap_or_else(|| panic!("{order}: {event}"));
        assert_eq!(event.class, Class::Audit, "{order}");
    }
    let ordered: BTreeSet<&str> = ORDERS.iter().map(|(_, event)| *event).collect();
    let is_order = |event: &&Event| event.class == Class::Audit && event.levels.contains(&Level::Warn);
    for event in EVENTS.iter().filter(is_order) {
        // The daemon tells of what `queue drain` has begun.
        assert!(
            ordered.contains(event.name) || event.name == "daemon.drained",
            "{}",
            event.name
        );
    }
}

/// Beside those that `files` gives.
#[tokio::test(flavor = "multi_thread")]
async fn orders_about_keys_signets_traps_and_recipients_are_in_the_file() {
    let world = World::new().await;
    let audit = world.home().join("audit.log");
    let hermail = world
        .organization("hermail.test")
        .accounts(&["alice", "bob"])
        .config(|config| config.log.audit_file = Some(audit.clone()))
        .build()
        .await;
    fs::write(&audit, "").unwrap();
    let desk = Desk::new();
    block_in_place(|| desk.done("signet new-request pat@hermail.test"));
    let list = world.home().join("recipients");
    fs::write(&list, "carol@other.test\n").unwrap();
    let [request, key_set] = ["ssr", "keyset"].map(|end| desk.path(&format!("pat-hermail.test.{end}")));
    let [request, key_set] = [&request, &key_set].map(|path| path.to_str().unwrap());
    let exported = world.home().join("exported");
    let (exported, list) = (exported.to_str().unwrap(), list.to_str().unwrap());
    let password = hermail.folder.join("password");
    let password = password.to_str().unwrap();
    let name = "hermail.test";
    let [alice, bob, pat, carol, trap] = [
        "alice@hermail.test",
        "bob@hermail.test",
        "pat@hermail.test",
        "carol@other.test",
        "trap@hermail.test",
    ];
    let paranoid = [
        "account",
        "add",
        pat,
        "--trust",
        "paranoid",
        "--password-file",
        password,
    ];
    let orders: &[(&[&str], &str, &str)] = &[
        (&["trap", "add", trap], "trap.changed", "added"),
        (&["trap", "remove", trap], "trap.changed", "removed"),
        (
            &["domain", "add", "other.test", "--relay"],
            "domain.changed",
            "relayed",
        ),
        (
            &["domain", "recipients", "add", carol],
            "relay.recipients_changed",
            "added",
        ),
        (
            &["domain", "recipients", "import", "other.test", list],
            "relay.recipients_changed",
            "replaced",
        ),
        (
            &["domain", "recipients", "remove", carol],
            "relay.recipients_changed",
            "removed",
        ),
        (
            &["domain", "recipients", "verify", "other.test", "list"],
            "domain.changed",
            "verification",
        ),
        (&["key", "opt-out", alice], "key_set.changed", "opted_out"),
        (
            &["key", "opt-out", alice, "--undo"],
            "key_set.changed",
            "opted_in",
        ),
        (&["key", "set", "renew", alice], "key_set.changed", "renewed"),
        (&["key", "rotate", alice], "key.rollover", "active"),
        (&["key", "rotate", alice, "--at-once"], "key.rollover", "active"),
        (&["key", "rotate", name], "key.rollover", "generated"),
        (&["key", "rotate", name, "--cancel"], "key.rollover", "cancelled"),
        (&["signet", "revoke", bob], "signet.revoked", ""),
        (&["signet", "publish", bob], "signet.changed", "published"),
        (&paranoid, "account.changed", "added"),
        (
            &["signet", "request", pat, request],
            "signet.changed",
            "requested",
        ),
        (&["signet", "reject", pat], "signet.changed", "rejected"),
        (
            &["signet", "request", pat, request],
            "signet.changed",
            "requested",
        ),
        (&["signet", "approve", pat], "signet.changed", "approved"),
        (
            &["key", "set", "import", pat, key_set],
            "key_set.changed",
            "imported",
        ),
        (&["account", "trust", pat, "cautious"], "account.changed", "trust"),
        (&["dkim", "add", name], "dkim.changed", "added"),
        (&["dkim", "rotate", name, "--cancel"], "dkim.changed", "cancelled"),
        (&["dkim", "rotate", name], "dkim.changed", "rotated"),
        (&["clock", "confirm"], "clock.confirmed", ""),
        (&["store", "export", "--to", exported], "store.copied", "exported"),
        (&["store", "repair"], "store.repaired", ""),
        (&["domain", "retire", name], "key.rollover", "announced"),
        (
            &["domain", "retire", name, "--cancel"],
            "key.rollover",
            "cancelled",
        ),
    ];
    let read = || fs::read_to_string(&audit).unwrap();
    for (arguments, event, word) in orders {
        let before = read().len();
        let (code, _, said) = hermail.binary(arguments);
        assert_eq!(code, 0, "{arguments:?}: {said}");
        let all = read();
        let logged = lines(&all[before..], event);
        let line = logged.last().unwrap_or_else(|| panic!("{arguments:?}: {all}"));
        let found = line.get("change").or_else(|| line.get("state"));
        assert_eq!(found.and_then(Value::as_str).unwrap_or_default(), *word, "{line}");
    }
    // What changes nothing is no order.
    let before = read().len();
    let looks: &[(i32, &[&str])] = &[
        (0, &["account", "trust", pat, "cautious"]),
        (0, &["dkim", "rotate", name]),
        (1, &["key", "rotate", alice]),
        (0, &["key", "rotate", name, "--cancel"]),
        (1, &["trap", "remove", alice]),
        (1, &["domain", "recipients", "remove", carol]),
        (0, &["signet", "approve"]),
        (0, &["store", "repair", "--dry-run"]),
    ];
    for (code, arguments) in looks {
        let (ended, _, said) = hermail.binary(arguments);
        assert_eq!(ended, *code, "{arguments:?}: {said}");
    }
    assert_eq!(&read()[before..], "");
    let all = read();
    for somebody in ["alice", "bob", "pat@", "carol", "trap@"] {
        assert!(!all.contains(somebody), "{all}");
    }
}
