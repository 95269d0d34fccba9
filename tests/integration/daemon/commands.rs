//! What the command line changes in another process is what a running daemon says and does from then on.

use dimed::base::encoding::base64;
use dimed::cli::Exit;
use dimed::dime::signet::{Level, Signet};
use dimed::store::HistoricSignet;

use crate::support::organization::{Organization, PASSWORD};
use crate::support::talk::Talk;
use crate::support::world::World;

const BOB: &str = "bob@hismail.test";

/// The signet as it is served, in base64.
fn served(past: &HistoricSignet) -> String {
    let signet = Signet::decode(&past.signet.object).unwrap();
    base64(&signet.split(Level::Full).unwrap().encode())
}

/// The daemon has the newest signet for the current one, and no other.
async fn expect_newest(talk: &mut Talk, hismail: &Organization, name: &str) {
    let history = hismail.history(name).await;
    let (newest, before) = history.split_last().unwrap();
    let reply = talk.ask(&format!("SGNT <{name}>"), "").await;
    assert_eq!(reply, format!("250 OK [{}]", served(newest)), "{name}");
    let full = newest.signet.full;
    talk.ask(&format!("VRFY <{name}> [{full}]"), "250 CURRENT").await;
    for older in before.iter().filter(|past| past.revoked_at.is_none()) {
        let ask = format!("VRFY <{name}> [{}]", older.signet.full);
        talk.ask(&ask, &format!("250 UPDATE [{full}]")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn signets_that_a_command_changes_are_served_at_once() {
    let world = World::new().await;
    let hismail = world.organization("hismail.test").accounts(&["bob"]);
    let hismail = hismail.build().await;
    let _daemon = hismail.spawn().await;
    let mut talk = Talk::dmtp(hismail.ip, "hermail.test").await;
    expect_newest(&mut talk, &hismail, BOB).await;
    let commands: [&[&str]; 4] = [
        &["key", "opt-out", BOB],
        &["key", "opt-out", BOB, "--undo"],
        &["key", "rotate", BOB],
        &["key", "opt-out", "hismail.test"],
    ];
    for command in commands {
        hismail.cli(command).await;
        for name in [BOB, "hismail.test"] {
            expect_newest(&mut talk, &hismail, name).await;
        }
    }
    hismail.cli(&["signet", "revoke", BOB]).await;
    talk.ask(&format!("SGNT <{BOB}>"), "450 ").await;
    let history = hismail.history(BOB).await;
    for revoked in history.iter().filter(|past| past.revoked_at.is_some()) {
        let full = revoked.signet.full;
        talk.ask(&format!("SGNT <{BOB}> [{full}]"), "450 ").await;
        talk.ask(&format!("VRFY <{BOB}> [{full}]"), "450 ").await;
    }
    hismail.cli(&["signet", "publish", BOB]).await;
    expect_newest(&mut talk, &hismail, BOB).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn domains_and_accounts_that_a_command_adds_are_served_at_once() {
    let world = World::new().await;
    let hismail = world.organization("hismail.test").build().await;
    let _daemon = hismail.spawn().await;
    let mut talk = Talk::smtp(hismail.ip).await;
    talk.ask("MAIL FROM:<carol@plain.test>", "250").await;
    let rcpt = "RCPT TO:<bob@other.test>";
    // It is asked for twice, so that what is known of it comes from memory.
    for _ in 0..2 {
        talk.ask(rcpt, "550 5.7.1").await;
    }
    hismail.cli(&["domain", "add", "other.test", "--plain"]).await;
    for _ in 0..2 {
        talk.ask(rcpt, "550 5.1.1").await;
    }
    let file = hismail.folder.join("password");
    std::fs::write(&file, PASSWORD).unwrap();
    let add = [
        "account",
        "add",
        "bob@other.test",
        "--password-file",
        file.to_str().unwrap(),
    ];
    hismail.cli(&add).await;
    talk.ask(rcpt, "250").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_dovecot_checks_passwords_none_is_asked_for() {
    let world = World::new().await;
    let at_dovecot = |config: &mut dimed::config::Config| {
        config.accounts.authentication = dimed::config::PasswordsAt::Dovecot("/nonexistent/auth".into());
    };
    let hismail = world.organization("hismail.test").plain().config(at_dovecot);
    let hismail = hismail.build().await;
    hismail.cli(&["account", "add", BOB]).await;
    assert!(hismail.cli(&["account", "list"]).await.contains(BOB));
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_other_servers_are_imported_line_by_line() {
    let world = World::new().await;
    let hismail = world.organization("hismail.test").accounts(&["bob"]);
    let hismail = hismail.build().await;
    let file = hismail.folder.join("list");
    let file_name = file.to_str().unwrap();
    let users = "# users\nbob@hismail.test:{PLAIN}x:1000:1000::/home/bob\nben@hismail.test,x\nroot:x\neve@else.test\n";
    std::fs::write(&file, users).unwrap();
    let (exit, said) = hismail.answered(&["account", "import", file_name]).await;
    assert_eq!(exit, Exit::No);
    for line in [
        "line 2: bob@hismail.test: there already\n",
        "line 3: ben@hismail.test: added\n",
        "line 4: root: refused: not a mailbox\n",
        "line 5: eve@else.test: refused: the domain is not served here\n",
        "1 added, 1 there already, 2 refused.\nThey cannot log in yet: ",
    ] {
        assert!(said.contains(line), "{line} in {said}");
    }
    hismail.history("ben@hismail.test").await.last().unwrap();

    std::fs::write(
        &file,
        "sales@hismail.test bob@hismail.test,\n  ben@hismail.test\n@hismail.test,bob@hismail.test\n",
    )
    .unwrap();
    for outcome in ["added", "there already"] {
        let said = hismail.cli(&["alias", "import", file_name]).await;
        for what in [
            "line 1: sales@hismail.test to bob@hismail.test",
            "line 1: sales@hismail.test to ben@hismail.test",
            "line 3: @hismail.test to bob@hismail.test",
        ] {
            assert!(said.contains(&format!("{what}: {outcome}\n")), "{said}");
        }
    }
    std::fs::write(&file, "ops@hismail.test\nbob@hismail.test ben@hismail.test\n").unwrap();
    let (exit, said) = hismail.answered(&["alias", "import", file_name]).await;
    assert_eq!(exit, Exit::No);
    assert!(
        said.contains("line 1: ops@hismail.test: refused: it leads to nobody"),
        "{said}"
    );
    assert!(said.ends_with("0 added, 0 there already, 2 refused.\n"), "{said}");
}
