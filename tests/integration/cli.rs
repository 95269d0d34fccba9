//! The commands that set an installation up, run as processes.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;

use assert_cmd::Command;
use dimed::base::time::{SystemClock, Timestamp};
use dimed::config::Config;
use dimed::crypto::ed25519::VerifyingKey;
use dimed::dime::key_set::Pin;
use dimed::dime::record::ManagementRecord;
use dimed::store::sqlite::SqliteStore;
use dimed::store::{KeySetPin, KeySets, MasterKey};
use serde_json::{Value, json};
use tempfile::TempDir;

const PASSWORD: &str = "correct horse battery staple";

/// An installation in a folder of its own.
struct Home(TempDir);

impl Home {
    /// With a configuration and nothing else.
    fn new() -> Self {
        let home = Self(tempfile::tempdir().unwrap());
        let folder = home.0.path().display();
        let text = format!(
            "[server]\nhostname = \"mx.hermail.test\"\ndata_directory = \"{folder}/data\"\n\
             master_key_file = \"{folder}/secrets/master.key\"\n\
             [accounts]\npassword_memory_kib = 64\npassword_passes = 1\n\
             [dns]\nservers = [\"127.0.0.1:1\"]\nreply_timeout_secs = 1\nrounds = 1\n"
        );
        fs::write(home.path("dimed.toml"), text).unwrap();
        home
    }

    /// With the domain hermail.test and the user Alice.
    fn with_alice() -> Self {
        let home = Self::new();
        home.done(&["domain", "add", "hermail.test", "--policy", "mixed"]);
        home.dimed(&["account", "add", "Alice@hermail.test"])
            .write_stdin(PASSWORD)
            .assert()
            .code(0);
        home
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn dimed(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dimed"));
        command
            .env_remove("DIMED_MASTER_KEY")
            .env_remove("CREDENTIALS_DIRECTORY");
        command
            .env("DIMED_CONFIG", self.path("dimed.toml"))
            .args(arguments);
        command
    }

    /// What a command prints that ends with 0.
    fn done(&self, arguments: &[&str]) -> String {
        let assert = self.dimed(arguments).assert().code(0);
        String::from_utf8(assert.get_output().stdout.clone()).unwrap()
    }

    /// What a command says on standard error that ends with `code`.
    fn fails(&self, code: i32, arguments: &[&str]) -> String {
        let assert = self.dimed(arguments).write_stdin(PASSWORD).assert().code(code);
        String::from_utf8(assert.get_output().stderr.clone()).unwrap()
    }
}

#[test]
fn a_domain_comes_with_a_private_master_key_and_database() {
    let home = Home::new();
    let assert = home.dimed(&["domain", "add", "hermail.test"]).assert().code(0);
    let notice = String::from_utf8(assert.get_output().stderr.clone()).unwrap();
    assert!(notice.contains("made a master key in"), "{notice}");
    for file in ["secrets/master.key", "data/dimed.db"] {
        let mode = home.path(file).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    assert_eq!(
        home.done(&["domain", "add", "plain.test", "--plain"]),
        "plain.test is served here, without DIME.\nNext: publish what `dimed dns records plain.test` prints.\n"
    );
    let again = home.fails(1, &["domain", "add", "hermail.test"]);
    assert!(
        again.ends_with("hermail.test cannot be added: it exists already\n"),
        "{again}"
    );
}

#[test]
fn a_lost_master_key_is_not_replaced_under_an_existing_database() {
    let home = Home::with_alice();
    fs::remove_file(home.path("secrets/master.key")).unwrap();
    let message = home.fails(78, &["domain", "add", "other.test"]);
    assert!(message.contains("put the key back"), "{message}");
    assert!(!home.path("secrets/master.key").exists());
}

#[test]
fn no_database_is_made_in_the_place_of_one_that_is_gone() {
    let home = Home::new();
    let add = ["domain", "add", "hermail.test"];
    home.done(&add);
    let (data, disk, note) = (
        home.path("data"),
        home.path("disk"),
        home.path("dimed.toml.begun"),
    );
    assert!(!note.exists());
    fs::rename(&data, &disk).unwrap();
    let message = home.fails(78, &add);
    assert!(message.contains("mount its disk"), "{message}");
    assert!(!data.exists() && !note.exists());
    fs::rename(&disk, &data).unwrap();
    home.fails(1, &add);
    // Cut off before there was a database.
    fs::rename(&data, &disk).unwrap();
    fs::write(&note, "").unwrap();
    home.done(&add);
    assert!(!note.exists());
    fs::remove_dir_all(&data).unwrap();
    home.done(&[&add[..], &["--new"]].concat());
}

/// It would stand for any database that is gone later.
#[test]
fn no_note_is_left_where_nothing_could_be_made() {
    let home = Home::new();
    let (add, note) = (["domain", "add", "hermail.test"], home.path("dimed.toml.begun"));
    fs::write(home.path("secrets"), "").unwrap();
    let message = home.fails(78, &add);
    assert!(message.contains("secrets/master.key"), "{message}");
    assert!(!note.exists());
    fs::remove_file(home.path("secrets")).unwrap();
    home.done(&add);
    assert!(!note.exists());
}

/// Whoever began to make a database may have been cut off, and have a backup restored after that.
#[test]
fn no_database_is_made_in_the_place_of_a_restored_one_that_is_gone() {
    let home = Home::with_alice();
    let (backup, note) = (
        home.path("backup").display().to_string(),
        home.path("dimed.toml.begun"),
    );
    home.done(&["store", "backup", &backup]);
    fs::remove_dir_all(home.path("data")).unwrap();
    fs::write(&note, "").unwrap();
    home.done(&["store", "restore", &backup]);
    assert!(!note.exists());
    fs::rename(home.path("data"), home.path("disk")).unwrap();
    let message = home.fails(78, &["domain", "add", "other.test"]);
    assert!(message.contains("mount its disk"), "{message}");
}

#[test]
fn another_master_key_does_not_open_the_database() {
    let home = Home::with_alice();
    let command = home
        .dimed(&["queue", "list"])
        .env("DIMED_MASTER_KEY", "A".repeat(43))
        .assert();
    command.code(78);
}

#[test]
fn the_printed_management_record_vouches_for_the_certificate_in_use() {
    let home = Home::with_alice();
    let records = home.done(&["dns", "records", "hermail.test"]);
    let published: Vec<&str> = published(&records).collect();
    assert!(
        published.contains(&"hermail.test. 3600 IN MX 10 mx.hermail.test."),
        "{records}"
    );
    let text = published
        .iter()
        .find_map(|line| line.strip_prefix("_dx.hermail.test. 3600 IN TXT "))
        .unwrap();
    let record = ManagementRecord::parse(text.replace("\" \"", "").trim_matches('"')).unwrap();
    assert_eq!(record.policy.to_string(), "mixed");
    assert_eq!(record.delivery_hosts, ["mx.hermail.test".parse().unwrap()]);

    let pem = fs::read(home.path("data/tls/certificate.pem")).unwrap();
    let (_, pem) = x509_parser::pem::parse_x509_pem(&pem).unwrap();
    assert!(record.matches_certificate(&pem.contents));
    assert!(!record.matches_certificate(b"another certificate"));
    // Asked again, nothing has changed.
    assert_eq!(home.done(&["dns", "records", "hermail.test"]), records);
}

#[test]
fn records_of_a_plain_domain_have_no_dime() {
    let home = Home::new();
    home.done(&["domain", "add", "plain.test", "--plain"]);
    let records = home.done(&["dns", "records", "plain.test"]);
    let published: Vec<&str> = published(&records).collect();
    assert!(
        published.contains(&"plain.test. 3600 IN MX 10 mx.hermail.test."),
        "{records}"
    );
    assert!(!published.iter().any(|line| line.contains("_dx.")), "{records}");
    let missing = home.fails(1, &["dns", "records", "other.test"]);
    assert!(
        missing.ends_with("other.test has no records: the domain is not served here\n"),
        "{missing}"
    );
}

/// The records in a zone fragment, without its comments.
fn published(fragment: &str) -> impl Iterator<Item = &str> {
    fragment.lines().filter(|line| !line.starts_with(';'))
}

#[test]
fn accounts_are_refused_where_they_do_not_belong() {
    let home = Home::with_alice();
    let taken = home.fails(1, &["account", "add", "ALICE@hermail.test"]);
    assert!(
        taken.ends_with("cannot be added: there is an account of that name\n"),
        "{taken}"
    );
    home.done(&["alias", "add", "sales@hermail.test", "alice@hermail.test"]);
    let taken = home.fails(1, &["account", "add", "Sales@hermail.test"]);
    assert!(
        taken.contains("an alias of that name leads to alice@hermail.test; `dimed alias remove`"),
        "{taken}"
    );
    for everybody in ["*@hermail.test", "\"*\"@hermail.test"] {
        let taken = home.fails(1, &["account", "add", everybody]);
        assert!(taken.contains("can be an alias only"), "{taken}");
    }
    let taken = home.fails(1, &["alias", "add", "ALICE@hermail.test", "bob@hismail.test"]);
    assert!(taken.ends_with("there is an account of that name\n"), "{taken}");
    let foreign = home.fails(1, &["account", "add", "bob@hismail.test"]);
    assert!(foreign.contains("not served here"), "{foreign}");
    home.fails(2, &["account", "add", "not an address"]);
    let weak = home
        .dimed(&["account", "add", "carol@hermail.test"])
        .write_stdin("short")
        .assert();
    let message = String::from_utf8(weak.code(1).get_output().stderr.clone()).unwrap();
    assert!(message.contains("8 to 1024 octets"), "{message}");
}

#[test]
fn the_user_of_an_account_gets_a_signet_by_trust_mode() {
    let home = Home::with_alice();
    fs::write(home.path("password"), PASSWORD).unwrap();
    let password = home.path("password");
    let add = |address: &str, trust: &str| {
        let file = password.to_str().unwrap();
        home.done(&[
            "account",
            "add",
            address,
            "--trust",
            trust,
            "--password-file",
            file,
        ])
    };
    assert_eq!(
        add("dave@hermail.test", "trustful"),
        "dave@hermail.test has an account and a signet.\n"
    );
    assert_eq!(
        add("pat@hermail.test", "paranoid"),
        "pat@hermail.test has an account, and no signet.\n"
    );
}

#[test]
fn a_signing_request_becomes_the_signet_of_a_paranoid_user() {
    let home = Home::with_alice();
    let keys = dimed::dime::keys::UserKeys::generate(&mut rand::rng());
    let request = dimed::dime::signet::request(&keys).unwrap();
    fs::write(home.path("pat.ssr"), request.to_armor()).unwrap();
    let file = home.path("pat.ssr");
    let file = file.to_str().unwrap();
    let arguments = [
        "account",
        "add",
        "pat@hermail.test",
        "--trust",
        "paranoid",
        "--request",
        file,
    ];
    let assert = home.dimed(&arguments).write_stdin(PASSWORD).assert().code(0);
    assert.stdout("pat@hermail.test has an account and a signet.\n");
    let refused = home.fails(2, &["account", "add", "eve@hermail.test", "--request", file]);
    assert!(refused.contains("trustful"), "{refused}");
}

#[test]
fn routes_are_explained_without_sending() {
    let home = Home::with_alice();
    let local = home.done(&["route", "explain", "alice+shop@hermail.test"]);
    assert!(
        local.contains("address    known here\ndelivery   into the Maildir ")
            && local.contains("/hermail.test/alice, of Alice@hermail.test\nroute      local\n"),
        "{local}"
    );
    let unknown = home
        .dimed(&["route", "explain", "nobody@hermail.test"])
        .assert()
        .code(1);
    let text = String::from_utf8(unknown.get_output().stdout.clone()).unwrap();
    assert!(text.contains("unknown here"), "{text}");
    // No name server answers on that port, and a failed look-up is no absence: mail would wait.
    let waits = home
        .dimed(&["route", "explain", "--json", "bob@hismail.test"])
        .assert()
        .code(75);
    let report: Value = serde_json::from_slice(&waits.get_output().stdout).unwrap();
    assert_eq!(report["record"]["state"], "failed");
    assert_eq!(report["route"], "defer");
    assert_eq!(report["reason"]["code"], "record_lookup_failed");
}

/// Runs a command to its end; what it says on standard output.
fn ends(home: &Home, code: i32, arguments: &[&str]) -> String {
    let assert = home.dimed(arguments).write_stdin(PASSWORD).assert().code(code);
    String::from_utf8(assert.get_output().stdout.clone()).unwrap()
}

#[test]
fn accounts_are_looked_after_by_programs() {
    let home = Home::with_alice();
    let object = |code: i32, arguments: &[&str]| -> Value {
        let said = ends(&home, code, &[arguments, &["--json"]].concat());
        serde_json::from_str(&said).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {said}"))
    };
    let alice = "Alice@hermail.test";
    home.done(&["alias", "add", "sales@hermail.test", alice]);
    assert_eq!(object(0, &["account", "disable", alice])["disabled"], true);
    assert!(object(0, &["account", "list"])["disabled"].is_i64());
    assert_eq!(object(0, &["account", "enable", alice])["changed"], true);
    assert_eq!(object(0, &["account", "enable", alice])["changed"], false);
    assert_eq!(object(0, &["account", "passwd", alice])["in_use"], true);
    let granted = object(0, &["account", "grant", alice, "ceo@bank.test"]);
    assert_eq!(granted["may_write_as"], true);
    let quota = object(0, &["account", "quota", alice, "1M"]);
    assert_eq!(
        (&quota["quota_octets"], &quota["used_octets"], &quota["own"]),
        (&json!(1 << 20), &json!(0), &json!(true))
    );
    let shown = object(0, &["account", "show", "alice@hermail.test"]);
    assert_eq!(shown["address"], alice);
    assert_eq!(shown["aliases"], json!(["sales@hermail.test"]));
    assert_eq!(shown["may_write_as"], json!(["ceo@bank.test"]));
    assert_eq!(
        (&shown["trust"], &shown["private_keys"]),
        (&json!("trustful"), &json!(true))
    );
    assert!(shown["signet"].is_string());
    let text = home.done(&["account", "show", alice]);
    assert!(text.contains("\n  may write as  ceo@bank.test\n"), "{text}");
    assert_eq!(
        object(0, &["account", "withdraw", alice, "ceo@bank.test"])["may_write_as"],
        false
    );
    assert_eq!(
        object(1, &["account", "withdraw", alice, "ceo@bank.test"])["may_write_as"],
        false
    );
    assert_eq!(
        object(0, &["alias", "list"]),
        json!({ "alias": "sales@hermail.test", "target": alice })
    );
    let leads = object(0, &["alias", "show", "sales@hermail.test"]);
    assert_eq!(
        (&leads["targets"], &leads["recipients"]),
        (&json!([alice]), &json!([alice]))
    );
    assert_eq!(
        object(1, &["alias", "show", "nobody@hermail.test"])["result"],
        "nobody"
    );
    assert_eq!(object(0, &["domain", "list"])["policy"], "mixed");
    assert_eq!(
        object(0, &["domain", "show", "hermail.test"])["postmaster"],
        json!([alice])
    );
    assert_eq!(
        object(1, &["domain", "remove", "hermail.test"])["reason"],
        "in_dime"
    );
    let refused = object(1, &["account", "remove", alice]);
    assert_eq!(
        (&refused["result"], &refused["aliases"]),
        (&json!("refused"), &json!(["sales@hermail.test"]))
    );
    assert_eq!(
        object(0, &["alias", "remove", "sales@hermail.test"])["removed"],
        1
    );
    // She was the last.
    let removed = object(0, &["account", "remove", alice]);
    assert_eq!(removed["result"], "done");
    assert_eq!(
        removed["nobody_gets"],
        json!(["postmaster@hermail.test", "abuse@hermail.test"])
    );
    assert_eq!(
        object(0, &["domain", "remove", "hermail.test", "--at-once"])["result"],
        "done"
    );
    assert_eq!(home.done(&["domain", "list"]), "No domain is served here.\n");
}

#[test]
fn what_is_not_there_or_has_no_meaning_is_refused() {
    let home = Home::with_alice();
    let bob = "bob@hermail.test";
    for arguments in [
        &["account", "show", bob][..],
        &["account", "remove", bob],
        &["account", "disable", bob],
        &["account", "passwd", bob],
        &["account", "quota", bob, "1M"],
        &["account", "grant", bob, "sales@hermail.test"],
        &["alias", "remove", bob],
        &["domain", "show", "other.test"],
        &["domain", "remove", "other.test"],
    ] {
        let message = home.fails(1, arguments);
        let says = match arguments[0] {
            "account" => "bob@hermail.test has no account\n",
            _ => ": there is none\n",
        };
        assert!(message.ends_with(says), "{arguments:?}: {message}");
    }
    let alice = "alice@hermail.test";
    home.fails(2, &["account", "quota", alice, "much"]);
    home.fails(2, &["account", "passwd", alice, "a password in the open"]);
    let short = home
        .dimed(&["account", "passwd", alice])
        .write_stdin("short")
        .assert();
    let message = String::from_utf8(short.code(1).get_output().stderr.clone()).unwrap();
    assert!(message.contains("8 to 1024 octets"), "{message}");
}

#[test]
fn aliases_are_made_once() {
    let home = Home::with_alice();
    let arguments = ["alias", "add", "sales@hermail.test", "alice@hermail.test"];
    assert_eq!(
        home.done(&arguments),
        "sales@hermail.test leads to alice@hermail.test.\n"
    );
    home.fails(1, &arguments);
    home.fails(1, &["alias", "add", "alice@hermail.test", "bob@hismail.test"]);
    home.done(&["route", "explain", "sales@hermail.test"]);
}

#[test]
fn an_alias_that_leads_to_nobody_says_so() {
    let home = Home::with_alice();
    for (alias, target) in [
        ("a@hermail.test", "b@hermail.test"),
        ("b@hermail.test", "a@hermail.test"),
    ] {
        assert_eq!(
            home.done(&["alias", "add", alias, target]),
            format!("{alias} leads to {target}, and so far to nobody: mail for it is refused.\n")
        );
    }
}

#[test]
fn a_signing_request_in_a_plain_domain_is_refused() {
    let home = Home::new();
    home.done(&["domain", "add", "plain.test", "--plain"]);
    let arguments = ["account", "add", "pat@plain.test", "--trust", "paranoid"];
    let message = home.fails(1, &[&arguments[..], &["--request", "pat.ssr"]].concat());
    assert!(message.contains("plain.test has no DIME"), "{message}");
}

#[test]
fn an_empty_queue_says_so() {
    let home = Home::with_alice();
    assert_eq!(home.done(&["queue", "list"]), "The queue is empty.\n");
    assert_eq!(home.done(&["queue", "list", "--json"]), "");
    let id = "0".repeat(25);
    let missing = home.dimed(&["queue", "show", &id]).assert().code(1);
    assert_eq!(
        missing.get_output().stdout,
        b"There is no such message in the queue.\n"
    );
    for change in ["hold", "release", "retry", "delete"] {
        home.dimed(&["queue", change, &id]).assert().code(1);
        home.fails(2, &["queue", change]);
        assert!(
            home.fails(2, &["queue", change, "x"])
                .contains("`x` is not an id")
        );
    }
    let none = home.dimed(&["queue", "retry", "--all"]).assert().code(1);
    assert_eq!(none.get_output().stdout, b"There was nothing to be retried.\n");
    home.fails(2, &["queue", "retry", "--all", &id]);
    home.fails(2, &["queue", "delete", "--all"]);
    // It would be in everything.
    for change in ["list", "hold", "delete"] {
        home.fails(2, &["queue", change, "--reason", ""]);
    }
}

#[test]
fn check_names_what_is_wrong() {
    let home = Home::new();
    let message = home.fails(78, &["check"]);
    assert!(message.contains("`dimed domain add` makes one"), "{message}");
    home.done(&["domain", "add", "hermail.test"]);
    let message = home.fails(78, &["check"]);
    assert_eq!(
        message,
        "dimed: nobody gets mail for postmaster@hermail.test: add an account or alias of that name, or set \
         `postmaster` in [accounts]\n"
    );
    home.done(&["alias", "add", "postmaster@hermail.test", "carol@plain.test"]);
    home.done(&["alias", "add", "abuse@hermail.test", "nobody@hermail.test"]);
    let message = home.fails(78, &["check"]);
    assert!(
        message.contains("nobody gets mail for abuse@hermail.test"),
        "{message}"
    );
    home.done(&["alias", "add", "abuse@hermail.test", "carol@plain.test"]);
    assert_eq!(
        home.done(&["check"]),
        "The configuration of mx.hermail.test can be used.\nLook again: no name server gives a usable answer; mail to other \
         domains waits until answers can be proven: name other servers in [dns], or put these right.\n"
    );

    let text = fs::read_to_string(home.path("dimed.toml")).unwrap();
    fs::write(home.path("dimed.toml"), format!("{text}ports = 25\n")).unwrap();
    let message = home.fails(78, &["check"]);
    assert!(
        message.contains("dimed.toml:12:1: there is no setting `dns.ports`"),
        "{message}"
    );
    let message = home.fails(78, &["--config", "/nonexistent.toml", "check"]);
    assert!(message.contains("there is no configuration"), "{message}");
}

#[test]
fn check_tells_what_is_worth_a_second_look_and_refuses_what_does_nothing() {
    let home = Home::with_alice();
    home.done(&["alias", "add", "postmaster@hermail.test", "alice@hermail.test"]);
    home.done(&["alias", "add", "abuse@hermail.test", "alice@hermail.test"]);
    let plain = fs::read_to_string(home.path("dimed.toml")).unwrap();
    let check = |more: &str, code: i32| {
        fs::write(home.path("dimed.toml"), format!("{plain}{more}")).unwrap();
        match code {
            0 => home.done(&["check"]),
            _ => home.fails(code, &["check"]),
        }
    };
    let said = check("[mta_sts]\nmode = \"testing\"\n", 0);
    assert!(
        said.contains(
            "can be used.\nLook again: [mta_sts] has a policy, and without listen.http the daemon does not serve it: a web \
             server must have a copy.\n"
        ),
        "{said}"
    );
    let refused = check("[authentication]\nincoming = \"off\"\narc = true\n", 78);
    assert!(refused.contains("authentication.arc seals what"), "{refused}");
    let refused = check(
        "[[screening.lists]]\nzone = \"no zone\"\naction = \"reject\"\n",
        78,
    );
    assert!(refused.contains("`no zone` is not a domain name"), "{refused}");
    let refused = check("[screening]\ngreylist_wait_secs = 172800\n", 78);
    assert!(refused.contains("nobody could come again in time"), "{refused}");
}

#[test]
fn check_tells_what_is_named_and_missing() {
    let home = Home::with_alice();
    let plain = fs::read_to_string(home.path("dimed.toml")).unwrap();
    let short = plain.replace("hostname = \"mx.hermail.test\"", "hostname = \"mx\"");
    fs::write(home.path("dimed.toml"), short).unwrap();
    let said = home.done(&["check"]);
    assert!(
        said.contains("server.hostname is mx, which is no full name"),
        "{said}"
    );
    let local = "[local]\norigin = \"hermail.test\"\nfallback = \"gone@hermail.test\"\n\
                 drop = \"/nonexistent/drop\"\naliases = \"/nonexistent/aliases\"\n";
    fs::write(home.path("dimed.toml"), format!("{plain}{local}")).unwrap();
    fs::set_permissions(home.path("dimed.toml"), fs::Permissions::from_mode(0o640)).unwrap();
    let said = home.done(&["check"]);
    for part in [
        "/nonexistent/drop (local.drop) is not there",
        "leave mail in /var/spool/dimed/drop, and it is taken from /nonexistent/drop (local.drop): make the one a symbolic link",
        "/nonexistent/aliases (local.aliases) is not there",
        "local.fallback names gone@hermail.test, who has neither account nor alias",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let named = "[accounts]\npostmaster = \"gone@hermail.test\"\n";
    fs::write(home.path("dimed.toml"), plain.replace("[accounts]\n", named)).unwrap();
    let refused = home.fails(78, &["check"]);
    assert!(
        refused.contains("`postmaster` in [accounts] names gone@hermail.test, who has neither account"),
        "{refused}"
    );
    home.done(&["alias", "add", "postmaster@hermail.test", "alice@hermail.test"]);
    home.done(&["alias", "add", "abuse@hermail.test", "alice@hermail.test"]);
    let said = home.done(&["check"]);
    assert!(
        said.contains("accounts.postmaster names gone@hermail.test"),
        "{said}"
    );
}

#[test]
fn every_family_tells_programs_why_it_fails() {
    let home = Home::with_alice();
    for (code, line) in [
        (1, "alias add eve@elsewhere.test alice@hermail.test"),
        (1, "alias add bob@hermail.test Bob@hermail.test"),
        (2, "block add domain hermail.test. --reason x"),
        (1, "domain add hermail.test"),
        (1, "domain retire elsewhere.test"),
        (1, "dns check elsewhere.test"),
        (1, "key rotate nobody@hermail.test"),
        (1, "signet history nobody@hermail.test"),
        (1, "trap add postmaster@hermail.test"),
        (1, "dkim add elsewhere.test"),
        (2, "signet show nosuch"),
        (2, "signet fetch hermail.test --trust-anchors nosuch"),
        (2, "signet fetch hermail.test --roots nosuch"),
    ] {
        let mut words: Vec<&str> = line.split(' ').collect();
        words.push("--json");
        let assert = home.dimed(&words).assert().code(code);
        let output = assert.get_output();
        let said: Value =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{line}: {output:?}"));
        let message = said["message"]
            .as_str()
            .unwrap_or_else(|| panic!("{line}: {said}"));
        assert_eq!(said["result"], "refused", "{line}");
        let people = String::from_utf8_lossy(&output.stderr);
        assert!(
            people.ends_with(&format!("dimed: {message}\n")),
            "{line}: {people}"
        );
    }
}

#[test]
fn check_reads_what_the_configuration_names() {
    let home = Home::new();
    for domain in ["hermail.test", "hismail.test"] {
        home.done(&["domain", "add", domain]);
    }
    let plain = fs::read_to_string(home.path("dimed.toml")).unwrap();
    let plain = plain.replace("[accounts]\n", "[accounts]\npostmaster = \"admin@plain.test\"\n");
    let (first, second) = (certificate(&home, "first"), certificate(&home, "second"));
    let tls = |certificate: &str, key: &str| {
        format!("{plain}[tls]\ncertificate = \"{certificate}.pem\"\nkey = \"{key}.key\"\n")
    };
    fs::write(home.path("dimed.toml"), tls(&first, &first)).unwrap();
    home.done(&["check"]);
    fs::write(home.path("dimed.toml"), tls(&first, &second)).unwrap();
    let message = home.fails(78, &["check"]);
    assert!(
        message.contains(
            "second.key: certificate and key cannot be used: the key does not belong to the certificate"
        ),
        "{message}"
    );
    fs::write(
        home.path("dimed.toml"),
        plain.replace("[dns]\n", "[dns]\ntrust_anchors = \"/nonexistent\"\n"),
    )
    .unwrap();
    let message = home.fails(78, &["check"]);
    assert_eq!(
        message,
        "dimed: dns.trust_anchors names /nonexistent: No such file or directory (os error 2)\n"
    );
    let empty = home.path("empty.pem").display().to_string();
    fs::write(&empty, "no certificates\n").unwrap();
    let roots = format!("{plain}[outbound]\nroot_certificates = \"{empty}\"\n");
    fs::write(home.path("dimed.toml"), roots).unwrap();
    let message = home.fails(78, &["check"]);
    assert!(
        message.contains("empty.pem has no root certificates"),
        "{message}"
    );
}

/// Makes `name.pem` and `name.key`, and returns the path without the ending.
fn certificate(home: &Home, name: &str) -> String {
    let made = rcgen::generate_simple_self_signed(["mx.hermail.test".to_owned()]).unwrap();
    fs::write(home.path(&format!("{name}.pem")), made.cert.pem()).unwrap();
    fs::write(
        home.path(&format!("{name}.key")),
        made.signing_key.serialize_pem(),
    )
    .unwrap();
    home.path(name).display().to_string()
}

#[test]
fn wrong_arguments_exit_with_2() {
    let home = Home::new();
    home.fails(2, &["frobnicate"]);
    home.fails(2, &["domain", "add", "hermail.test", "--policy", "lenient"]);
    home.fails(
        2,
        &["domain", "add", "hermail.test", "--plain", "--policy", "strict"],
    );
}

#[test]
fn secrets_are_never_printed() {
    let home = Home::with_alice();
    let key = fs::read_to_string(home.path("secrets/master.key")).unwrap();
    for arguments in [
        &["check"][..],
        &["dns", "records", "hermail.test"],
        &["queue", "list"],
        &["route", "explain", "alice@hermail.test"],
    ] {
        let output = home.dimed(arguments).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8(text).unwrap();
        assert!(
            !text.contains(key.trim()) && !text.contains(PASSWORD),
            "{arguments:?}"
        );
    }
}

/// Pat's keys are at home: key file, request, account, and key sets signed ahead.
fn with_pat_at_home() -> Home {
    let home = Home::with_alice();
    let keys = dimed::dime::keys::UserKeys::generate(&mut rand::rng());
    let request = dimed::dime::signet::request(&keys).unwrap();
    let (key, ssr) = (home.path("pat.key"), home.path("pat.ssr"));
    fs::write(&key, keys.to_armor().expose()).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&ssr, request.to_armor()).unwrap();
    let arguments = ["account", "add", "pat@hermail.test", "--trust", "paranoid"];
    home.dimed(&arguments)
        .args(["--request", ssr.to_str().unwrap()])
        .write_stdin(PASSWORD)
        .assert()
        .code(0);
    home
}

#[test]
fn a_removal_tells_whose_mail_nobody_gets_because_of_it() {
    let home = Home::with_alice();
    // Nobody has got its mail before.
    home.done(&["domain", "add", "plain.test", "--plain"]);
    let said = home.done(&["account", "remove", "alice@hermail.test", "--json"]);
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(
        said["nobody_gets"],
        json!(["postmaster@hermail.test", "abuse@hermail.test"])
    );
}

#[test]
fn the_trust_mode_of_a_user_changes_with_the_keys() {
    let home = with_pat_at_home();
    let trust = |code: i32, words: &[&str]| -> Value {
        let arguments = [&["account", "trust"][..], words, &["--json"]].concat();
        serde_json::from_str(&ends(&home, code, &arguments)).unwrap()
    };
    let (alice, pat) = ("Alice@hermail.test", "pat@hermail.test");
    assert_eq!(trust(0, &[pat, "paranoid"])["result"], "unchanged");
    // Both keep their keys at home.
    assert_eq!(trust(0, &[pat, "cautious"])["signet"], true);
    for (address, mode, kept) in [(pat, "trustful", "cautious"), (alice, "paranoid", "trustful")] {
        let refused = trust(1, &[address, mode]);
        assert_eq!(
            (&refused["reason"], &refused["trust"]),
            (&json!("other_keys"), &json!(kept))
        );
        home.done(&["signet", "revoke", address]);
    }
    let done = trust(0, &[pat, "trustful"]);
    assert_eq!((&done["result"], &done["signet"]), (&json!("done"), &json!(true)));
    let shown = home.done(&["account", "show", pat]);
    assert!(
        shown.contains("  trust mode    trustful\n") && shown.contains("private keys here"),
        "{shown}"
    );
    let said = home.done(&["account", "trust", alice, "paranoid"]);
    let expected = "Alice@hermail.test is paranoid.\nNext: the user makes keys at home";
    assert!(said.starts_with(expected), "{said}");
    // What she hands in is put to use.
    let keys = dimed::dime::keys::UserKeys::generate(&mut rand::rng());
    let request = dimed::dime::signet::request(&keys).unwrap();
    fs::write(home.path("alice.ssr"), request.to_armor()).unwrap();
    let file = home.path("alice.ssr").display().to_string();
    home.fails(1, &["account", "trust", "nobody@hermail.test", "paranoid"]);
    home.done(&["signet", "request", alice, &file]);
    home.done(&["signet", "approve", alice]);
    let shown = home.done(&["account", "show", alice, "--json"]);
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert!(shown["signet"].is_string());
    assert_eq!(
        (&shown["trust"], &shown["private_keys"]),
        (&json!("paranoid"), &json!(false))
    );
}

/// Nobody can hand keys in there.
#[test]
fn the_trust_mode_of_a_user_without_dime_is_for_when_their_domain_has_it() {
    let home = Home::new();
    home.done(&["domain", "add", "plain.test", "--plain"]);
    home.dimed(&["account", "add", "carol@plain.test"])
        .write_stdin(PASSWORD)
        .assert()
        .code(0);
    for mode in ["paranoid", "paranoid", "cautious", "trustful", "trustful"] {
        let said = home.done(&["account", "trust", "carol@plain.test", mode]);
        assert!(
            said.starts_with(&format!("carol@plain.test is {mode}.\nThat matters once")),
            "{said}"
        );
        assert!(said.contains("`dimed domain join plain.test`"), "{said}");
        assert!(!said.contains("dimed signet"), "{said}");
    }
    home.done(&["account", "trust", "carol@plain.test", "paranoid"]);
    home.done(&["domain", "join", "plain.test"]);
    let said = home.done(&["account", "trust", "carol@plain.test", "paranoid"]);
    assert!(
        said.contains("dimed signet new-request carol@plain.test"),
        "{said}"
    );
}

/// Somebody reads the database, so that its log cannot be emptied yet.
async fn reader(home: &Home) -> sqlx::SqliteConnection {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(home.path("data/dimed.db"));
    let mut reader = sqlx::ConnectOptions::connect(&options).await.unwrap();
    for sql in ["BEGIN", "SELECT COUNT(*) FROM accounts"] {
        sqlx::query(sql).execute(&mut reader).await.unwrap();
    }
    reader
}

/// What a command says that ends with `code`, and how often it tells of that event.
fn logged(home: &Home, code: i32, arguments: &[&str], event: &str) -> (String, usize) {
    let said = home.fails(code, arguments);
    let count = said.matches(event).count();
    (said, count)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trust_mode_is_logged_also_where_the_log_of_the_database_has_keys_left() {
    let home = with_pat_at_home();
    let trust = |mode| ["account", "trust", "pat@hermail.test", mode];
    home.done(&trust("cautious"));
    let reader = reader(&home).await;
    let (said, count) = logged(&home, 75, &trust("paranoid"), "account.changed");
    assert!(said.contains("repeat this until there is none"), "{said}");
    assert_eq!(count, 1, "{said}");
    sqlx::Connection::close(reader).await.unwrap();
    assert_eq!(logged(&home, 0, &trust("paranoid"), "account.changed").1, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_is_logged_also_where_the_log_of_the_database_has_keys_left() {
    let home = Home::with_alice();
    let (alice, sales) = ("alice@hermail.test", "sales@hermail.test");
    home.done(&["alias", "add", sales, alice]);
    let reader = reader(&home).await;
    let remove = ["account", "remove", alice];
    // Nothing is erased, so nothing is in the way.
    let kept = home.dimed(&remove).assert().code(1);
    let kept = String::from_utf8_lossy(&kept.get_output().stdout).into_owned();
    assert!(kept.contains("stays: aliases lead to it"), "{kept}");
    let domain = ["domain", "remove", "hermail.test", "--at-once"];
    for (arguments, event) in [
        (&["alias", "remove", sales][..], "alias.changed"),
        (&remove[..], "account.removed"),
        (&domain[..], "domain.removed"),
    ] {
        let (said, count) = logged(&home, 75, arguments, event);
        assert!(said.contains("repeat this until there is none"), "{said}");
        assert_eq!(count, 1, "{said}");
    }
    sqlx::Connection::close(reader).await.unwrap();
    let (said, count) = logged(&home, 1, &domain, "domain.removed");
    assert_eq!(count, 0, "{said}");
    assert!(said.contains("hermail.test is not served here"), "{said}");
}

/// Signs key sets ahead as Pat, with the names of files for private and signed key sets.
fn sign_ahead(home: &Home, options: &[&str]) -> (PathBuf, PathBuf) {
    let (kem, bundle) = (home.path("pat.kem"), home.path("pat.keyset"));
    let text = |name: &str| home.path(name).to_str().unwrap().to_owned();
    home.dimed(&[
        "key",
        "set",
        "--key",
        &text("pat.key"),
        "--signet",
        &text("pat.ssr"),
    ])
    .args(["--kem", kem.to_str().unwrap(), "--out", bundle.to_str().unwrap()])
    .args(options)
    .env("DIMED_CONFIG", "/nonexistent")
    .assert()
    .code(0);
    (kem, bundle)
}

fn shown(home: &Home, name: &str) -> Value {
    serde_json::from_str(&home.done(&["key", "set", "show", name, "--json"])).unwrap()
}

#[test]
fn key_sets_signed_at_home_are_published_and_wait_on_the_server() {
    let home = with_pat_at_home();
    assert_eq!(shown(&home, "pat@hermail.test")["key_set"], Value::Null);
    let (kem, bundle) = sign_ahead(&home, &["--ahead", "3"]);
    let private = fs::read_to_string(&kem).unwrap();
    assert_eq!(private.matches("-----BEGIN KEY SET PRIVATE KEYS-----").count(), 3);
    assert_eq!(kem.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let public = fs::read_to_string(&bundle).unwrap();
    assert_eq!(public.matches("-----BEGIN KEY SET-----").count(), 3);

    let bundle = bundle.to_str().unwrap();
    let import = ["key", "set", "import", "pat@hermail.test", bundle, "--json"];
    let done: Value = serde_json::from_str(&home.done(&import)).unwrap();
    assert_eq!((&done["key_sets"], &done["published"]), (&3.into(), &true.into()));
    assert_eq!(
        (&done["waiting"], &done["gaps"]),
        (&2.into(), &Value::Array(Vec::new()))
    );
    let shown = shown(&home, "pat@hermail.test");
    assert_eq!(shown["key_set"]["opted_out"], false);
    assert_eq!(shown["private_keys"], 0, "they are at home");
    let created = shown["key_set"]["created"].as_u64().unwrap();
    let days: Vec<_> = shown["ahead"]
        .as_array()
        .unwrap()
        .iter()
        .map(|due| (due.as_u64().unwrap() - created) / 86_400)
        .collect();
    assert_eq!(days, [14, 28]);
    assert_eq!(
        home.done(&["key", "set", "show"]),
        "Nobody's key sets signed ahead run out.\n"
    );
    let told = home.fails(1, &["key", "opt-out", "pat@hermail.test"]);
    assert!(told.contains("at home") && told.contains("--opt-out"), "{told}");
}

#[test]
fn a_file_that_is_no_request_adds_nobody() {
    let home = with_pat_at_home();
    let add = [
        "account",
        "add",
        "eve@hermail.test",
        "--trust",
        "paranoid",
        "--request",
    ];
    let refused = |code: i32, name: &str| {
        let file = home.path(name);
        home.fails(code, &[&add[..], &[file.to_str().unwrap()]].concat())
    };
    assert!(refused(2, "missing").contains("missing cannot be read"));
    let key = refused(1, "pat.key");
    assert!(
        key.contains("pat.key") && key.contains("(armor.no_block"),
        "{key}"
    );
    let standard = home.fails(2, &[&add[..], &["-"]].concat());
    assert!(standard.contains("--password-file"), "{standard}");
    let request = fs::read(home.path("pat.ssr")).unwrap();
    let binary = dimed::dime::signet::Signet::from_armor(std::str::from_utf8(&request).unwrap()).unwrap();
    fs::write(home.path("binary.ssr"), binary.encode()).unwrap();
    fs::write(home.path("password"), PASSWORD).unwrap();
    let (ssr, password) = (home.path("binary.ssr"), home.path("password"));
    let rest = [
        ssr.to_str().unwrap(),
        "--password-file",
        password.to_str().unwrap(),
    ];
    let done = home.done(&[&add[..], &rest].concat());
    assert_eq!(done, "eve@hermail.test has an account and a signet.\n");
}

#[test]
fn the_last_key_set_signed_ahead_and_gaps_between_them_are_told() {
    let home = with_pat_at_home();
    let (_, bundle) = sign_ahead(&home, &["--ahead", "1", "--opt-out"]);
    let bundle = bundle.to_str().unwrap();
    home.done(&["key", "set", "import", "pat@hermail.test", bundle]);
    assert_eq!(shown(&home, "pat@hermail.test")["key_set"]["opted_out"], true);
    let running_out = home.done(&["key", "set", "show"]);
    assert!(
        running_out.starts_with("pat@hermail.test  keys until "),
        "{running_out}"
    );
    // Days without keys are not signed by mistake.
    let misuse = home.fails(
        2,
        &[
            "key", "set", "--ahead", "2", "--key", "x", "--signet", "y", "--every", "30",
        ],
    );
    assert!(misuse.contains("days without keys"), "{misuse}");
}

#[test]
fn only_a_users_own_key_sets_are_imported() {
    let home = with_pat_at_home();
    let (_, bundle) = sign_ahead(&home, &["--ahead", "2"]);
    let file = bundle.to_str().unwrap();
    // Alice's keys are kept on the server.
    let refused = home.fails(2, &["key", "set", "import", "alice@hermail.test", file]);
    assert!(refused.contains("are kept here"), "{refused}");
    let refused = home.fails(1, &["key", "set", "import", "nobody@hermail.test", file]);
    assert!(refused.contains("has no signet here"), "{refused}");
    // Another user's bundle, rightly signed by that user.
    let other = dimed::dime::keys::UserKeys::generate(&mut rand::rng());
    fs::write(home.path("eve.key"), other.to_armor().expose()).unwrap();
    let request = dimed::dime::signet::request(&other).unwrap();
    fs::write(home.path("eve.ssr"), request.to_armor()).unwrap();
    let text = |name: &str| home.path(name).to_str().unwrap().to_owned();
    let mut sign = home.dimed(&["key", "set", "--ahead", "1", "--key", &text("eve.key")]);
    sign.args(["--signet", &text("eve.ssr"), "--out", &text("eve.keyset")])
        .args(["--kem", &text("eve.kem")])
        .assert()
        .code(0);
    let refused = home.fails(
        1,
        &["key", "set", "import", "pat@hermail.test", &text("eve.keyset")],
    );
    assert!(refused.contains("N3"), "{refused}");
    // A key file that does not belong to the signet.
    let refused = home.fails(
        1,
        &[
            "key",
            "set",
            "--ahead",
            "1",
            "--key",
            &text("eve.key"),
            "--signet",
            &text("pat.ssr"),
        ],
    );
    assert!(
        refused.contains("there is no key here that") && refused.contains("(keys.other)"),
        "{refused}"
    );
}

#[test]
fn owners_opt_out_and_come_back() {
    let home = Home::with_alice();
    for name in ["hermail.test", "alice@hermail.test"] {
        assert_eq!(shown(&home, name)["key_set"]["opted_out"], false);
        home.done(&["key", "opt-out", name]);
        assert_eq!(shown(&home, name)["key_set"]["opted_out"], true);
        home.done(&["key", "opt-out", name, "--undo"]);
        assert_eq!(shown(&home, name)["key_set"]["opted_out"], false);
        assert_eq!(shown(&home, name)["private_keys"], 2);
    }
    home.fails(1, &["key", "opt-out", "nobody@hermail.test"]);
    assert_eq!(
        home.dimed(&["key", "set", "accept", "bob@hismail.test"])
            .assert()
            .code(1)
            .get_output()
            .stdout,
        b"Nothing was known of the keys of bob@hismail.test.\n"
    );
}

/// Changes the database, as a fault of the disk or a restore without keys may have.
async fn damage(home: &Home, sql: &'static str) {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(home.path("data/dimed.db"));
    let mut db = sqlx::ConnectOptions::connect(&options).await.unwrap();
    sqlx::query(sql).execute(&mut db).await.unwrap();
    sqlx::Connection::close(db).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_known_without_lost_keys_is_shown() {
    let home = with_pat_at_home();
    let object = |code: i32, arguments: &[&str]| -> Value {
        let said = ends(&home, code, &[arguments, &["--json"]].concat());
        serde_json::from_str(&said).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {said}"))
    };
    let (alice, domain) = ("alice@hermail.test", "hermail.test");
    let before = [
        object(0, &["account", "show", alice]),
        object(0, &["domain", "show", domain]),
    ];
    assert!(before.iter().all(|shown| shown["lost"].is_null()));

    damage(
        &home,
        "UPDATE signets SET private_keys = x'0102' WHERE name = 'alice@hermail.test'",
    )
    .await;
    damage(
        &home,
        "UPDATE kem_keys SET sealed = x'0102' WHERE name = 'alice@hermail.test'",
    )
    .await;
    let shown = object(1, &["account", "show", alice]);
    assert_eq!(
        (&shown["signet"], &shown["private_keys"]),
        (&before[0]["signet"], &json!(false))
    );
    let lost = shown["lost"].as_str().unwrap();
    let named = lost.to_lowercase();
    assert!(named.contains("the private keys of alice@hermail.test"), "{lost}");
    assert_eq!(object(0, &["domain", "show", domain])["lost"], Value::Null);
    let set = object(1, &["key", "set", "show", alice]);
    assert!(
        set["private_keys"].is_null() && set["key_set"]["created"].is_number(),
        "{set}"
    );
    let running_out = object(1, &["key", "set", "show"]);
    assert_eq!(running_out, json!([{ "name": alice, "lost": true }]));
    let text = ends(&home, 1, &["key", "set", "show"]);
    assert!(text.to_lowercase().contains(&named), "{text}");
    let message = home.fails(1, &["key", "rotate", alice, "--at-once"]);
    assert!(
        message.contains("`dimed signet revoke alice@hermail.test`"),
        "{message}"
    );

    damage(
        &home,
        "UPDATE signets SET private_keys = NULL WHERE name = 'hermail.test'",
    )
    .await;
    let shown = object(1, &["domain", "show", domain]);
    assert_eq!(shown["signet"], before[1]["signet"]);
    let advice = "`dimed key rotate hermail.test --at-once` makes new ones";
    for (shown, what) in [
        (shown, "domain"),
        (object(1, &["account", "show", alice]), "account"),
    ] {
        assert!(
            shown["lost"].as_str().unwrap().contains(advice),
            "{what}: {shown}"
        );
    }
    let text = ends(&home, 1, &["account", "show", "pat@hermail.test"]);
    assert!(
        text.contains("  trust mode    paranoid\n") && text.contains(advice),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn accepting_other_keys_leaves_a_line_in_the_log_that_names_the_domain_alone() {
    let home = Home::with_alice();
    let config = Config::load(&home.path("dimed.toml")).unwrap();
    let master = MasterKey::new(dimed::config::load_master_key(&config).unwrap());
    let clock = Arc::new(SystemClock);
    let store = SqliteStore::open(&config.server.database(), master, clock).await;
    let store = store.unwrap();
    let pin = KeySetPin {
        pin: Pin {
            signing_key: VerifyingKey([7; 32]),
            created: 1,
            ever_usable: true,
        },
        expires_at: Timestamp(i64::MAX),
    };
    let bob = "bob@hismail.test";
    let now = Timestamp(0);
    assert!(store.pin_key_set(bob, None, pin, now).await.unwrap());
    let accepted = home.dimed(&["key", "set", "accept", bob]).assert().code(0);
    let log = String::from_utf8(accepted.get_output().stderr.clone()).unwrap();
    assert!(log.contains("key_set.accepted"), "{log}");
    assert!(log.contains("hismail.test") && !log.contains("bob"), "{log}");
    assert_eq!(store.key_set_pin(bob, now).await.unwrap(), None);
}

/// Objects on lines of their own.
fn json_lines(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn the_block_list_is_kept_at_the_command_line() {
    let home = Home::with_alice();
    assert_eq!(home.done(&["block", "list"]), "Nobody is blocked.\n");
    let key = "A".repeat(43);
    let spam = [
        "block",
        "add",
        "domain",
        "Spam.Test",
        "--reason",
        "complaints\u{1b}[2J",
    ];
    home.done(&spam);
    let said = home.done(&[
        "block",
        "add",
        "author-key",
        &key,
        "--reason",
        "x",
        "--days",
        "3",
        "--json",
    ]);
    let said: Value = serde_json::from_str(&said).unwrap();
    let span = |entry: &Value| {
        entry["until"]
            .as_i64()
            .map(|until| until - entry["since"].as_i64().unwrap())
    };
    assert_eq!(span(&said["entry"]), Some(3 * 24 * 3600));

    let listed = json_lines(&home.done(&["block", "list", "--json"]));
    let shown: Vec<_> = listed
        .iter()
        .map(|entry| (&entry["kind"], &entry["value"], span(entry).is_some()))
        .collect();
    assert_eq!(
        shown,
        [
            (&"author-key".into(), &key.as_str().into(), true),
            (&"domain".into(), &"spam.test".into(), false)
        ]
    );
    let text = home.done(&["block", "list"]);
    assert!(
        text.contains("domain spam.test\n    by operator since "),
        "{text}"
    );
    assert!(text.contains("without end: complaints\\u{1b}[2J\n"), "{text}");

    home.done(&["block", "remove", "domain", "spam.test"]);
    home.dimed(&["block", "remove", "domain", "spam.test"])
        .assert()
        .code(1);
    home.dimed(&["block", "remove", "pok", &key]).assert().code(1);
    let log = json_lines(&home.done(&["block", "log", "--json", "--limit", "2"]));
    let deeds: Vec<_> = log
        .iter()
        .map(|line| (&line["by"], &line["what"], &line["kind"]))
        .collect();
    let operator = Value::from("operator");
    assert_eq!(
        deeds,
        [
            (&operator, &"removed".into(), &"domain".into()),
            (&operator, &"added".into(), &"author-key".into())
        ]
    );
    let log = home.done(&["block", "log"]);
    assert_eq!(log.lines().count(), 3, "{log}");
    assert!(
        log.lines()
            .last()
            .unwrap()
            .contains("  operator added domain spam.test: complaints"),
        "{log}"
    );
}

#[test]
fn what_cannot_be_blocked_is_said() {
    let home = Home::with_alice();
    let add = |kind, value| ["block", "add", kind, value, "--reason", "x"];
    assert!(
        home.fails(2, &add("pok", "short"))
            .contains("43 characters of base64")
    );
    assert!(home.fails(2, &add("domain", "-")).contains("not a domain"));
    home.fails(2, &["block", "add", "domain", "spam.test"]);
    home.fails(2, &["block", "add", "domain", "spam.test", "--reason", ""]);
    home.fails(
        2,
        &[
            "block",
            "add",
            "domain",
            "spam.test",
            "--reason",
            "x",
            "--days",
            "0",
        ],
    );
    let own = home.fails(1, &add("domain", "hermail.test"));
    assert!(own.contains("hermail.test is never blocked"), "{own}");
}

#[test]
fn traps_are_made_of_addresses_that_nobody_needs() {
    let home = Home::with_alice();
    assert_eq!(home.done(&["trap", "list"]), "There are no traps.\n");
    home.done(&["trap", "add", "trap@hermail.test"]);
    home.done(&["trap", "add", "ALICE@hermail.test", "--existing"]);
    home.done(&["trap", "add", "alice@hermail.test"]);
    let listed = json_lines(&home.done(&["trap", "list", "--json"]));
    let addresses: Vec<_> = listed
        .iter()
        .map(|trap| trap["address"].as_str().unwrap())
        .collect();
    assert_eq!(addresses, ["Alice@hermail.test", "trap@hermail.test"]);
    home.done(&["trap", "remove", "alice@hermail.test"]);
    home.dimed(&["trap", "remove", "alice@hermail.test"])
        .assert()
        .code(1);
    home.dimed(&["trap", "remove", "nobody@hermail.test"])
        .assert()
        .code(1);

    home.done(&["alias", "add", "sales@hermail.test", "alice@hermail.test"]);
    home.dimed(&["account", "add", "pat@hermail.test", "--trust", "paranoid"])
        .write_stdin(PASSWORD)
        .assert()
        .code(0);
    for (address, why) in [
        ("postmaster@hermail.test", "honest people write to it"),
        ("Abuse@hermail.test", "honest people write to it"),
        ("sales@hermail.test", "there is an alias of that name"),
        ("pat@hermail.test", "its keys are not kept here"),
        ("alice@hermail.test", "--existing takes it from its user"),
        ("trap@elsewhere.test", "the domain is not served here"),
    ] {
        let said = home.fails(1, &["trap", "add", address]);
        assert!(said.contains(why), "{address}: {said}");
    }
}

#[test]
fn domains_accounts_aliases_and_the_check_answer_programs() {
    let home = Home::new();
    let json = |code: i32, arguments: &[&str], typed: &str| -> Value {
        let all = [arguments, &["--json"]].concat();
        let assert = home.dimed(&all).write_stdin(typed).assert().code(code);
        serde_json::from_slice(&assert.get_output().stdout).unwrap()
    };
    let missing = json(78, &["check"], "");
    assert_eq!(missing["result"], "refused");
    assert!(
        missing["message"].as_str().unwrap().contains("master key"),
        "{missing}"
    );
    let added = json(0, &["domain", "add", "hermail.test"], "");
    assert_eq!(
        added,
        json!({ "result": "done", "domain": "hermail.test", "dime": true })
    );
    let nobody = json(78, &["check"], "");
    assert!(
        nobody["message"]
            .as_str()
            .unwrap()
            .contains("postmaster@hermail.test"),
        "{nobody}"
    );
    let alice = json(0, &["account", "add", "alice@hermail.test"], "correct horse\n");
    let checked = json(0, &["check"], "");
    assert_eq!(
        checked,
        json!({ "result": "done", "hostname": "mx.hermail.test", "warnings": [{
            "code": "name_servers",
            "message": "no name server gives a usable answer; mail to other domains waits until answers can be proven: name other \
                servers in [dns], or put these right",
        }] })
    );
    assert_eq!(
        alice,
        json!({ "result": "done", "address": "alice@hermail.test", "trust": "trustful", "signet": true })
    );
    let alias = json(
        0,
        &["alias", "add", "sales@hermail.test", "alice@hermail.test"],
        "",
    );
    assert_eq!(
        (&alias["leads_to_somebody"], &alias["own_signet"]),
        (&json!(true), &json!(false))
    );
    let alias = json(
        0,
        &["alias", "add", "press@hermail.test", "eve@elsewhere.test"],
        "",
    );
    assert_eq!(
        (&alias["target"], &alias["own_signet"]),
        (&json!("eve@elsewhere.test"), &json!(true))
    );
    let leaving = json(0, &["domain", "retire", "hermail.test"], "");
    assert_eq!(
        (&leaving["state"], &leaving["due"]),
        (&json!("announced"), &json!(null))
    );
    assert_eq!(leaving["next"], "publish_records");
    let status = json(0, &["domain", "retire", "hermail.test", "--status"], "");
    assert_eq!(status, leaving);
    let staying = json(0, &["domain", "retire", "hermail.test", "--cancel"], "");
    assert_eq!(staying["state"], "cancelled");
    json(1, &["domain", "retire", "hermail.test", "--status"], "");
    // DNS does not answer here.
    json(1, &["domain", "retire", "hermail.test", "--never-published"], "");
    let records = json(0, &["dns", "records", "hermail.test"], "");
    let mx = &records["records"][0];
    assert_eq!(
        (&mx["name"], &mx["type"], &mx["value"], &mx["ttl"]),
        (
            &json!("hermail.test"),
            &json!("MX"),
            &json!("10 mx.hermail.test."),
            &json!(3600)
        )
    );
    let rotating = json(0, &["key", "rotate", "hermail.test"], "");
    assert_eq!(
        (&rotating["state"], &rotating["next"]),
        (&json!("generated"), &json!("publish_records"))
    );
    json(0, &["key", "rotate", "hermail.test", "--cancel"], "");
}

#[test]
fn programs_are_told_of_wrong_arguments_too() {
    let home = Home::new();
    let assert = home
        .dimed(&["domain", "add", "hermail.test", "--policy", "lenient", "--json"])
        .assert()
        .code(2);
    let said: Value = serde_json::from_slice(&assert.get_output().stdout).unwrap();
    assert_eq!(said["result"], "refused");
    let message = said["message"].as_str().unwrap();
    assert!(
        message.starts_with("invalid value 'lenient' for '--policy <POLICY>'"),
        "{message}"
    );
    // Help is no error.
    let assert = home.dimed(&["dns", "check", "--json", "--help"]).assert();
    assert!(!String::from_utf8_lossy(&assert.get_output().stdout).contains("\"result\""));
}

#[test]
fn a_change_of_keys_for_dkim_is_called_off_until_they_are_in_use() {
    let home = Home::with_alice();
    let keys = |arguments: &[&str]| -> Value {
        let said = home.done(&[&["dkim"], arguments, &["hermail.test", "--json"]].concat());
        serde_json::from_str(&said).unwrap()
    };
    let count = |answer: &Value| answer["keys"].as_array().unwrap().len();
    let added = keys(&["add"]);
    assert_eq!((count(&added), &added["next"]), (2, &json!("publish_records")));
    assert_eq!(keys(&["rotate", "--status"]), added);
    let again = keys(&["rotate"]);
    assert_eq!((&again["begun"], &again["keys"]), (&json!(false), &added["keys"]));
    let said = home.done(&["dkim", "rotate", "hermail.test"]);
    assert!(
        said.starts_with("Nothing new is begun: keys wait to be published since "),
        "{said}"
    );
    let cancelled = keys(&["rotate", "--cancel"]);
    assert_eq!((count(&cancelled), &cancelled["next"]), (0, &json!("make_keys")));
    let others = keys(&["rotate"]);
    assert_eq!((count(&others), &others["begun"]), (2, &Value::Null));
    assert_ne!(others["keys"], added["keys"]);
}

/// Keys from before are forgotten, and then no others can be made.
#[tokio::test(flavor = "multi_thread")]
async fn a_step_for_dkim_is_logged_also_where_the_next_one_fails() {
    let home = Home::with_alice();
    home.done(&["dkim", "add", "hermail.test"]);
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(home.path("data/dimed.db"));
    let mut database = sqlx::ConnectOptions::connect(&options).await.unwrap();
    for sql in [
        "UPDATE dkim_keys SET state = 'replaced', since = 0, sealed = zeroblob(length(sealed))",
        "CREATE TRIGGER no_others BEFORE INSERT ON dkim_keys BEGIN SELECT RAISE(ABORT, 'no'); END",
    ] {
        sqlx::query(sql).execute(&mut database).await.unwrap();
    }
    sqlx::Connection::close(database).await.unwrap();
    let failed = home.dimed(&["dkim", "rotate", "hermail.test"]).assert().failure();
    let said = String::from_utf8_lossy(&failed.get_output().stderr).into_owned();
    assert_eq!(said.matches("dkim.changed").count(), 1, "{said}");
    assert!(said.contains("advanced") && !said.contains("rotated"), "{said}");
    assert!(
        said.contains("are changed, but not all is done that was to be"),
        "{said}"
    );
    let left: Value = serde_json::from_str(&home.done(&["dkim", "list", "hermail.test", "--json"])).unwrap();
    assert_eq!(left["keys"], json!([]));
}

#[test]
fn check_looks_around_the_configuration() {
    let home = Home::with_alice();
    for name in ["postmaster", "abuse"] {
        home.done(&[
            "alias",
            "add",
            &format!("{name}@hermail.test"),
            "alice@hermail.test",
        ]);
    }
    let plain = fs::read_to_string(home.path("dimed.toml")).unwrap();
    let made = |name: &str, host: &str, year: i32| {
        let mut params = rcgen::CertificateParams::new([host.to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let key = rcgen::KeyPair::generate().unwrap();
        fs::write(
            home.path(&format!("{name}.pem")),
            params.self_signed(&key).unwrap().pem(),
        )
        .unwrap();
        let path = home.path(&format!("{name}.key"));
        fs::write(&path, key.serialize_pem()).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    };
    made("good", "*.hermail.test", 2100);
    made("other", "mx.other.test", 2100);
    made("old", "mx.hermail.test", 2020);
    made("open", "mx.hermail.test", 2100);
    fs::set_permissions(home.path("open.key"), fs::Permissions::from_mode(0o644)).unwrap();
    let codes = |more: &str| -> Vec<String> {
        fs::write(home.path("dimed.toml"), format!("{plain}{more}")).unwrap();
        let said: Value = serde_json::from_str(&home.done(&["check", "--json"])).unwrap();
        let warnings = said["warnings"].as_array().unwrap().iter();
        warnings
            .map(|one| one["code"].as_str().unwrap().to_owned())
            .filter(|code| code != "name_servers")
            .collect()
    };
    let folder = home.0.path().display().to_string();
    let tls =
        |name: &str| format!("[tls]\ncertificate = \"{folder}/{name}.pem\"\nkey = \"{folder}/{name}.key\"\n");
    assert_eq!(codes(&tls("good")), [""; 0]);
    assert_eq!(codes(&tls("other")), ["certificate_of_others"]);
    assert_eq!(codes(&tls("old")), ["certificate_ended"]);
    assert_eq!(codes(&tls("open")), ["key_readable"]);
    let delivery =
        format!("[delivery]\nlmtp = \"unix:{folder}/lmtp\"\n[delivery.domains]\n\"other.test\" = \"lmtp\"\n");
    assert_eq!(
        codes(&delivery),
        ["mailbox_server_unreachable", "delivery_domain_not_served"]
    );
    assert_eq!(codes(""), [""; 0]);
    for (name, code) in [("dimed.toml", 0o644), ("data", 0o700)] {
        let is_open = |mode: u32| {
            fs::set_permissions(home.path(name), fs::Permissions::from_mode(mode)).unwrap();
            codes("") == ["writable_by_all"]
        };
        assert!(is_open(code | 0o002) && !is_open(code), "{name}");
    }
    // The daemon would not start.
    fs::rename(home.path("data"), home.path("gone")).unwrap();
    let without = |code: &str| {
        let assert = home.dimed(&["check", "--json"]).assert().code(78);
        let said: Value = serde_json::from_slice(&assert.get_output().stdout).unwrap();
        assert_eq!(said["result"], "refused");
        let mut warnings = said["warnings"].as_array().unwrap().iter();
        assert!(warnings.any(|one| one["code"] == code), "{code}: {said}");
    };
    without("data_directory_missing");
    fs::create_dir(home.path("data")).unwrap();
    without("no_database");
}

#[test]
fn check_refuses_what_the_daemon_would_not_start_with() {
    let home = Home::with_alice();
    for name in ["postmaster", "abuse"] {
        let alias = format!("{name}@hermail.test");
        home.done(&["alias", "add", &alias, "alice@hermail.test"]);
    }
    let plain = fs::read_to_string(home.path("dimed.toml")).unwrap();
    let log_to = |name: &str| {
        let path = home.path(name);
        let text = format!("{plain}[log]\nmail_file = \"{}\"\n", path.display());
        fs::write(home.path("dimed.toml"), text).unwrap();
    };
    for (name, told) in [
        ("missing/mail.log", "No such file"),
        ("data", "Is a directory"),
        ("secrets/master.key", "something else of the daemon"),
        ("data/dimed.db", "something else of the daemon"),
        ("data/dimed.db-wal", "something else of the daemon"),
    ] {
        log_to(name);
        let message = home.fails(78, &["check"]);
        assert!(message.contains("the log cannot be written"), "{message}");
        assert!(message.contains(told), "{name}: {message}");
    }
    log_to("mail.log");
    home.done(&["check"]);
    assert!(!home.path("mail.log").exists());

    let twice = "[listen]\nsmtp = [\"127.0.0.1:2525\"]\ndmtp = [\"127.0.0.1:2525\"]\n";
    fs::write(home.path("dimed.toml"), format!("{plain}{twice}")).unwrap();
    for command in ["check", "serve"] {
        let message = home.fails(78, &[command]);
        assert!(message.contains("[listen] has 127.0.0.1:2525 twice"), "{message}");
    }
    log_to("mail.log");

    // The pair that is made for DMTP.
    home.done(&["dns", "records", "hermail.test"]);
    home.done(&["check"]);
    let key = home.path("data/tls/key.pem");
    fs::write(&key, "garbage\n").unwrap();
    let message = home.fails(78, &["check"]);
    assert!(message.contains("the certificate cannot be used"), "{message}");
    fs::remove_file(&key).unwrap();
    home.fails(78, &["check"]);
}

#[test]
fn a_damaged_database_is_for_the_operator_who_is_told_what_to_do() {
    let home = Home::with_alice();
    fs::write(home.path("data/dimed.db"), [7; 8192]).unwrap();
    for command in [
        &["check"][..],
        &["serve"],
        &["queue", "list"],
        &["store", "verify"],
    ] {
        let message = home.fails(78, command);
        assert!(message.contains("restore a backup"), "{command:?}: {message}");
    }
    let doctor = home
        .dimed(&["doctor", "--json", "--reach", "none"])
        .assert()
        .code(1);
    let said: Value = serde_json::from_slice(&doctor.get_output().stdout).unwrap();
    let findings = said["findings"].as_array().unwrap();
    let found = findings
        .iter()
        .find(|found| found["code"] == "store_unusable")
        .unwrap();
    assert_eq!(found["what"], "the database is damaged");
    assert!(
        found["advice"].as_str().unwrap().contains("dimed store restore"),
        "{found}"
    );
}
