//! All of it, with a self-signed certificate.

use std::io::{Read as _, Write as _};
use std::process::Child;

use super::super::support::PATIENCE;
use super::*;

const ALL: [&str; 6] = [
    "configuration",
    "keys",
    "domain",
    "account",
    "dkim",
    "certificate",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_first_message_is_submitted_and_delivered() {
    let host = Host::new().await;
    let object = host.set_up(0, "--tls self-signed --no-wait");
    assert_eq!(steps(&object, "done"), ALL.map(str::to_owned));
    assert_eq!(object["dns"], Value::Null);
    let text = host.desk.read("etc/dimed.toml");
    assert!(
        text.contains("hostname = \"mx.hermail.test\"")
            && !text.contains("[queue]")
            && !text.contains("[tls]"),
        "{text}"
    );
    assert_eq!(host.desk.mode("etc/master.key"), 0o600);
    let checked = output(&mut host.command("check"));
    assert!(
        checked.status.success(),
        "{}",
        String::from_utf8_lossy(&checked.stderr)
    );
    let _daemon = host.serve().await;
    host.first_message().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_been_done_is_left_as_it_is_also_beside_the_daemon() {
    let host = Host::new().await;
    let first = host.set_up(0, "--tls self-signed --no-wait");
    let before = host.desk.read("etc/dimed.toml");
    let _daemon = host.serve().await;
    for more in ["--tls self-signed --no-wait", "--no-wait"] {
        let again = host.set_up(0, more);
        assert_eq!(steps(&again, "already"), ALL.map(str::to_owned));
        assert_eq!(again["records"], first["records"]);
    }
    assert_eq!(host.desk.read("etc/dimed.toml"), before);
    // Nobody has to say again what the file says.
    let bare = output(&mut host.command("setup hermail.test --no-wait"));
    assert!(bare.status.success(), "{}", String::from_utf8_lossy(&bare.stderr));
}

/// As if each step had been a command of its own.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_set_up_is_in_the_log_once() {
    let host = Host::new().await;
    let more = format!("{USUAL} --tls self-signed --no-wait");
    for expected in [1, 0] {
        let done = output(&mut host.setting_up(&more));
        let said = String::from_utf8(done.stderr).unwrap();
        assert!(done.status.success(), "{said}");
        for event in ["domain.changed", "account.changed", "dkim.changed"] {
            let count = said.matches(&format!("event={event} ")).count();
            assert_eq!(count, expected, "{event}: {said}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_waits_until_dns_has_the_records() {
    let host = Host::new().await;
    host.publish("");
    let once = host.set_up(75, "--tls self-signed --wait 0");
    assert_eq!(once["result"], "try_later");
    assert_eq!(once["dns"]["result"], "wrong");

    let mut waiting = host.setting_up("--wait 600");
    let child = waiting.stdout(Stdio::piped()).spawn().unwrap();
    let records = output(&mut host.command("dns records hermail.test"));
    host.publish(&String::from_utf8(records.stdout).unwrap());
    let done = block_in_place(|| child.wait_with_output()).unwrap();
    let said = String::from_utf8(done.stdout).unwrap();
    assert_eq!(done.status.code(), Some(0), "{said}");
    assert!(said.contains("Everything that mail needs is right."), "{said}");
    assert!(said.contains("hermail.test is set up."), "{said}");
}

/// A terminal on which a shell runs that line.
fn terminal(host: &Host, line: &str) -> Child {
    Command::new("script")
        .args(["--quiet", "--return", "--command", line, "/dev/null"])
        .current_dir(host.desk.0.path())
        .env("SHELL", "/bin/sh")
        .env_remove("DIMED_MASTER_KEY")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// A set-up on a terminal, where somebody types those lines: how it ended, and what stood there.
async fn typed(host: &Host, answers: &str) -> (bool, String) {
    let line = format!(
        "{DIMED} --config {} setup {NAME} --no-wait {}",
        host.config().display(),
        host.place()
    );
    let mut terminal = terminal(host, &line);
    let mut keys = terminal.stdin.take().unwrap();
    keys.write_all(answers.as_bytes()).unwrap();
    drop(keys);
    let ended = tokio::time::timeout(
        PATIENCE,
        tokio::task::spawn_blocking(move || terminal.wait_with_output().unwrap()),
    );
    let done = ended.await.expect("it ends").unwrap();
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    (done.status.success(), said)
}

/// The first host is no name, and is asked for again; the account and the host are as proposed.
#[tokio::test(flavor = "multi_thread")]
async fn on_a_terminal_it_asks() {
    let host = Host::new().await;
    let answers = format!("a..b\n\n\nself-signed\n{PASSWORD}\n{PASSWORD}\n");
    let (is_done, said) = typed(&host, &answers).await;
    assert!(is_done, "{said}");
    assert!(said.contains("a..b is not a domain name."), "{said}");
    assert!(said.contains("postmaster@hermail.test has an account"), "{said}");
    let text = host.desk.read("etc/dimed.toml");
    assert!(text.contains("hostname = \"mx.hermail.test\""), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_is_mistyped_changes_nothing() {
    let host = Host::new().await;
    for (first, second, words) in [
        (PASSWORD, "another one", "the two passwords are not the same"),
        ("short", "short", "octets"),
    ] {
        let (is_done, said) = typed(&host, &format!("\n\nself-signed\n{first}\n{second}\n")).await;
        assert!(!is_done && said.contains(words), "{said}");
        assert_eq!(said.contains("Again: "), first == PASSWORD, "{said}");
        assert!(host.is_untouched(), "{said}");
    }
}

/// A shell without an editor of its own, such as dash, would go on with a terminal that shows nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_is_as_it_was_after_ctrl_c_at_a_password() {
    let host = Host::new().await;
    let line = format!(
        "echo before $(stty -g) .; {DIMED} --config {} setup {NAME} --hostname mx.hermail.test --account {ALICE} --tls self-signed \
         --no-wait {}; echo after $? $(stty -g) .",
        host.config().display(),
        host.place()
    );
    let mut terminal = terminal(&host, &line);
    let (mut keys, mut screen) = (terminal.stdin.take().unwrap(), terminal.stdout.take().unwrap());
    let session = tokio::task::spawn_blocking(move || {
        let (mut said, mut octet) = (Vec::new(), [0]);
        while screen.read(&mut octet).unwrap() == 1 {
            said.extend(octet);
            if said.ends_with(b"Password: ") {
                keys.write_all(b"abc\x03").unwrap();
            }
        }
        terminal.wait().unwrap();
        String::from_utf8_lossy(&said).into_owned()
    });
    let said = tokio::time::timeout(PATIENCE, session)
        .await
        .expect("it ends")
        .unwrap();
    let settings = |word: &str| {
        let (_, rest) = said.split_once(word).unwrap_or_else(|| panic!("{said}"));
        rest.split(" .").next().unwrap().to_owned()
    };
    // 128 and the number of SIGINT.
    assert_eq!(settings("after 130 "), settings("before "), "{said}");
    assert!(!said.contains("abc"), "{said}");
    assert!(host.is_untouched());
}

/// Both have found nothing there.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_changed_where_another_set_up_was_quicker() {
    let host = Host::new().await;
    let line = format!(
        "{DIMED} --config {} setup {NAME} --hostname mx.hermail.test --account bob@hermail.test --tls self-signed --no-wait {}",
        host.config().display(),
        host.place()
    );
    let mut other = host.setting_up(&format!("{USUAL} --tls self-signed --no-wait"));
    let mut terminal = terminal(&host, &line);
    let (mut keys, mut screen) = (terminal.stdin.take().unwrap(), terminal.stdout.take().unwrap());
    let session = tokio::task::spawn_blocking(move || {
        let (mut said, mut octet) = (Vec::new(), [0]);
        while screen.read(&mut octet).unwrap() == 1 {
            said.extend(octet);
            if said.ends_with(b"Password: ") {
                assert!(other.output().unwrap().status.success());
                keys.write_all(format!("{PASSWORD}\n{PASSWORD}\n").as_bytes())
                    .unwrap();
            }
        }
        let code = terminal.wait().unwrap().code();
        (code, String::from_utf8_lossy(&said).into_owned())
    });
    let (code, said) = tokio::time::timeout(PATIENCE, session)
        .await
        .expect("it ends")
        .unwrap();
    assert_eq!(code, Some(75), "{said}");
    assert!(said.contains("another `dimed setup` has written"), "{said}");
    let bob = output(&mut host.command("account show bob@hermail.test"));
    assert_eq!(bob.status.code(), Some(1));
}

/// As if it had been cut off once the configuration was there.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_cut_off_asks_for_the_account_again() {
    let host = Host::new().await;
    host.set_up(0, "--tls self-signed --no-wait");
    host.desk.write("etc/dimed.toml.begun", "");
    std::fs::remove_dir_all(host.desk.path("data")).unwrap();
    std::fs::remove_file(host.desk.path("etc/master.key")).unwrap();
    let (is_done, said) = typed(&host, &format!("bob@hermail.test\n{PASSWORD}\n{PASSWORD}\n")).await;
    assert!(is_done, "{said}");
    assert!(said.contains("bob@hermail.test has an account"), "{said}");
}
