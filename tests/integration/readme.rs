//! The README's commands do what it says: each section's are run as they stand there, in their order, in one folder.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use super::support::tool::Desk;

/// What is typed where commands ask: a password or passphrase, the same again, and the login password of whoever gives both.
const TYPED: &[u8] = b"correct horse battery\ncorrect horse battery\nanother one for the login\n";

/// The submission server in the README, and a port where nobody answers.
const SERVER: &str = "mx.example.org";
const NOBODY: &str = "localhost:1";

/// A mail as a mail program saves it.
const LETTER: &str =
    "From: Pat <pat@example.org>\nTo: Bob <bob@example.net>\nSubject: The plan\n\nMeet at noon.\n";

/// The indented commands below a heading; continued lines are joined.
fn commands(heading: &str) -> Vec<String> {
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let (_, rest) = readme.split_once(&format!("\n## {heading}\n")).unwrap();
    let section = rest.split("\n## ").next().unwrap().replace("\\\n", " ");
    let indented = section.lines().filter(|line| line.starts_with("    "));
    let commands = indented.map(str::trim).filter(|line| line.starts_with("dimed "));
    commands.map(str::to_owned).collect()
}

/// Makes an installation that `dimed` finds there.
fn install(desk: &Desk) {
    let home = desk.0.path().display();
    desk.write(
        "dimed.toml",
        format!(
            "[server]\nhostname = \"mx.example.org\"\ndata_directory = \"{home}/data\"\nmaster_key_file = \"{home}/master.key\"\n"
        ),
    );
}

/// Runs a command line on a terminal of its own, in the folder.
fn typed(desk: &Desk, line: &str) -> Output {
    answered(desk, line, TYPED)
}

/// The same, with what is typed there.
fn answered(desk: &Desk, line: &str, keys: &[u8]) -> Output {
    let binary = Path::new(env!("CARGO_BIN_EXE_dimed")).parent().unwrap();
    let mut terminal = Command::new("script")
        .args(["--quiet", "--return", "--command", line, "/dev/null"])
        .current_dir(desk.0.path())
        .env(
            "PATH",
            format!("{}:{}", binary.display(), std::env::var("PATH").unwrap()),
        )
        .env("DIMED_CONFIG", desk.path("dimed.toml"))
        .env("SHELL", "/bin/sh")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut terminal.stdin.take().unwrap(), keys).unwrap();
    terminal.wait_with_output().unwrap()
}

fn submits(line: &str) -> bool {
    line.contains(" --submit ")
}

fn done(desk: &Desk, line: &str) {
    let output = typed(desk, line);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{line}\n{said}");
}

/// A set-up that is all in the folder, on ports that are free, and asks nobody outside.
fn placed(line: &str) -> String {
    let services = ["smtp", "dmtp", "submission", "submissions", "operations"];
    let listen: String = services
        .iter()
        .map(|service| format!(" --listen-{service} 127.0.0.1:0"))
        .collect();
    let mut placed = format!("{line} --data-directory data --master-key-file master.key{listen}");
    for (option, value) in [("--tls", " self-signed"), ("--no-wait", "")] {
        if !line.contains(option) {
            placed += &format!(" {option}{value}");
        }
    }
    placed
}

#[test]
fn a_domain_is_set_up_by_one_command_as_the_readme_says() {
    let desk = Desk::new();
    let lines = commands("Set up a domain");
    assert_eq!(lines.len(), 2, "{lines:?}");
    // The name of the host is as proposed.
    let keys = b"\nalice@example.org\ncorrect horse battery\ncorrect horse battery\n";
    let output = answered(&desk, &placed(&lines[0]), keys);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    assert!(
        said.contains("alice@example.org has an account and a signet"),
        "{said}"
    );
    // The other one says the same, so there is nothing left to do, and does all of it elsewhere.
    desk.write("password", "correct horse battery\n");
    let again = typed(&desk, &placed(&lines[1]));
    let said = String::from_utf8_lossy(&again.stdout);
    assert!(again.status.success(), "{said}");
    assert_eq!(said.matches("Done already: ").count(), 6, "{said}");
    done(&desk, "dimed check");
    let other = Desk::new();
    other.write("password", "correct horse battery\n");
    done(&other, &placed(&lines[1]));
    done(&other, "dimed check");
}

#[test]
fn a_domain_is_set_up_by_hand_as_the_readme_says() {
    let desk = Desk::new();
    install(&desk);
    let lines = commands("Set up a domain by hand");
    assert_eq!(lines.last().unwrap(), "dimed serve");
    for line in &lines[..lines.len() - 1] {
        done(&desk, line);
    }
    done(&desk, "dimed check");
    let config = desk.path("dimed.toml");
    let shown = desk.json(
        0,
        &format!("key set show pat@example.org --config {}", config.display()),
    );
    assert_eq!(
        (&shown["key_set"]["opted_out"], &shown["private_keys"]),
        (&false.into(), &0.into()),
        "{shown}"
    );
}

#[test]
fn signets_keys_and_messages_are_made_by_hand_as_the_readme_says() {
    let desk = Desk::new();
    let (asking, written): (Vec<_>, Vec<_>) = commands("Signets and keys by hand")
        .into_iter()
        .partition(|line| line.starts_with("dimed signet fetch"));
    let (handing_in, lines): (Vec<_>, Vec<_>) = written.into_iter().partition(|line| submits(line));
    assert!(lines.len() >= 8, "{lines:?}");
    // What asks other domains is understood. Tests of the daemon run it.
    assert_eq!(asking.len(), 2, "{asking:?}");
    for line in &asking {
        done(&desk, &format!("{line} --help"));
    }
    for line in &lines {
        // These are about the installation that Pat's request has been handed in to.
        if line.starts_with("dimed key set import") {
            install(&desk);
            done(&desk, "dimed domain add example.org");
            done(
                &desk,
                "dimed account add pat@example.org --trust paranoid --request pat-example.org.ssr",
            );
        }
        done(&desk, line);
    }
    let made = |line: &&String| line.contains(" new-") || line.contains(" sign ");
    for line in lines.iter().filter(made) {
        let line = line.replace("example.org", "example.net");
        done(&desk, &line.replace("pat", "bob").replace("Pat", "Bob"));
    }
    desk.write("letter.eml", LETTER);
    let (sending, local): (Vec<_>, Vec<_>) = commands("Messages by hand")
        .into_iter()
        .partition(|line| submits(line));
    assert_eq!(local.len(), 4, "{local:?}");
    for line in &local {
        done(&desk, line);
    }
    // What needs a server is understood as far as there is none: 75, try later. Tests of the daemon run it with one.
    assert_eq!((handing_in.len(), sending.len()), (3, 3));
    for line in handing_in.iter().chain(&sending) {
        let line = line.replace("pat.wrapped", "kept.wrapped");
        let output = typed(
            &desk,
            &line.replace(&format!("--submit {SERVER}"), &format!("--submit {NOBODY}")),
        );
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(75), "{line}\n{said}");
    }
    let opened = desk.read("opened.eml");
    assert!(opened.contains("Subject: The plan\r\n"), "{opened}");
    assert!(opened.ends_with("\r\n\r\nMeet at noon.\n"), "{opened}");
}
