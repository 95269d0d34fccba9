//! The README's commands do what it says: each section's are run as they stand there, in their order, in one folder.

use super::shell::{self, Answer};
use super::support::tool::Desk;
use super::text;

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
    let readme = text::read("README.md");
    let (_, rest) = readme.split_once(&format!("\n## {heading}\n")).unwrap();
    let section = rest.split("\n## ").next().unwrap();
    let indented = section.lines().filter(|line| line.starts_with("    "));
    let indented = indented.collect::<Vec<_>>().join("\n");
    let commands = text::commands(&indented).into_iter();
    commands.filter(|line| line.starts_with("dimed ")).collect()
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
fn typed(desk: &Desk, line: &str) -> Answer {
    answered(desk, line, TYPED)
}

/// The same, with what is typed there.
fn answered(desk: &Desk, line: &str, keys: &[u8]) -> Answer {
    shell::typed(desk.0.path(), &desk.path("dimed.toml"), line, keys)
}

fn submits(line: &str) -> bool {
    line.contains(" --submit ")
}

fn done(desk: &Desk, line: &str) {
    let Answer { code, said } = typed(desk, line);
    assert_eq!(code, 0, "{line}\n{said}");
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

/// Sections whose commands of ours are run below.
const RUN: [&str; 4] = [
    "Set up a domain",
    "Set up a domain by hand",
    "Signets and keys by hand",
    "Messages by hand",
];

/// What the README shows and is not run here, and why.
const NOT_RUN: &[(&str, &str)] = &[
    ("cargo run --release -- demo", "tests of the demo run it"),
    ("deploy/debian/build", "host::package does"),
    (
        "apt-get install ",
        "host::fresh does, in a Debian system of its own",
    ),
    (
        "install -m 644 deploy/dimed.tmpfiles ",
        "it is for root; the package has the file there",
    ),
    ("systemd-tmpfiles ", "the same; host::package looks at the file"),
    (
        "ln -sf ",
        "the same; host::package holds the links to deploy/debian/links",
    ),
    ("tests/run", "it runs this"),
    ("tests/fuzz/run ", "it takes 20 minutes"),
    ("DIMED_LONG_TESTS=1 ", "it takes long"),
];

#[test]
fn every_line_that_the_readme_shows_is_run_or_it_is_said_why_not() {
    let mut wrong = Vec::new();
    for section in text::read("README.md").split("\n## ").skip(1) {
        let heading = section.lines().next().unwrap();
        let shown: Vec<&str> = section.lines().filter(|line| line.starts_with("    ")).collect();
        for line in text::commands(&shown.join("\n")) {
            let is_setting = line.starts_with('[') || line.contains(" = ");
            let is_run = line.starts_with("dimed ") && RUN.contains(&heading);
            let is_told = NOT_RUN.iter().any(|(start, _)| line.starts_with(start));
            // What the demo prints is that of a test of the demo.
            if heading != "See it work" && !is_setting && !is_run && !is_told {
                wrong.push(format!("{heading}: {line}"));
            }
        }
    }
    assert_eq!(wrong, [""; 0]);
}

#[test]
fn a_domain_is_set_up_by_one_command_as_the_readme_says() {
    let desk = Desk::new();
    let lines = commands("Set up a domain");
    assert_eq!(lines.len(), 2, "{lines:?}");
    // The name of the host is as proposed.
    let keys = b"\nalice@example.org\ncorrect horse battery\ncorrect horse battery\n";
    let Answer { code, said } = answered(&desk, &placed(&lines[0]), keys);
    assert_eq!(code, 0, "{said}");
    assert!(
        said.contains("alice@example.org has an account and a signet"),
        "{said}"
    );
    // The other one says the same, so there is nothing left to do, and does all of it elsewhere.
    desk.write("password", "correct horse battery\n");
    let Answer { code, said } = typed(&desk, &placed(&lines[1]));
    assert_eq!(code, 0, "{said}");
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
        let Answer { code, said } = typed(
            &desk,
            &line.replace(&format!("--submit {SERVER}"), &format!("--submit {NOBODY}")),
        );
        assert_eq!(code, 75, "{line}\n{said}");
    }
    let opened = desk.read("opened.eml");
    assert!(opened.contains("Subject: The plan\r\n"), "{opened}");
    assert!(opened.ends_with("\r\n\r\nMeet at noon.\n"), "{opened}");
}
