//! Backups every night: what the timer starts, and what it keeps.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use crate::support::child::DIMED;
use crate::support::tool::Desk;

const OLD: [&str; 3] = [
    "dimed-20200101T000000Z.backup",
    "dimed-20200102T000000Z.backup",
    "dimed-20200103T000000Z.backup",
];

fn deploy(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(name)).unwrap()
}

/// An installation, three backups of earlier days, and a file of somebody's.
fn host() -> Desk {
    let desk = Desk::new();
    let home = desk.0.path().display();
    desk.write(
        "dimed.toml",
        format!(
            "[server]\nhostname = \"mx.example.org\"\ndata_directory = \"{home}/data\"\nmaster_key_file = \"{home}/master.key\"\n"
        ),
    );
    let config = desk.path("dimed.toml");
    desk.done(&format!("domain add example.org --config {}", config.display()));
    fs::create_dir(desk.path("kept")).unwrap();
    for name in OLD.iter().chain(&["notes"]) {
        fs::write(desk.path("kept").join(name), "").unwrap();
    }
    desk
}

/// What the unit starts, with our places.
fn back_up(desk: &Desk, words: &[&str]) -> Output {
    let binaries = Path::new(DIMED).parent().unwrap().display();
    Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/backup"))
        .args(words)
        .current_dir(desk.0.path())
        .env("PATH", format!("{binaries}:{}", std::env::var("PATH").unwrap()))
        .env("DIMED_CONFIG", desk.path("dimed.toml"))
        .env_remove("DIMED_MASTER_KEY")
        .output()
        .unwrap()
}

fn kept(desk: &Desk) -> Vec<String> {
    let entries = fs::read_dir(desk.path("kept")).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn the_newest_backups_are_kept_and_can_be_restored() {
    let desk = host();
    let output = back_up(&desk, &["kept", "2", "--without-keys"]);
    assert!(output.status.success(), "{output:?}");
    let names = kept(&desk);
    assert_eq!(
        (names.len(), names[0].as_str(), names[2].as_str()),
        (3, OLD[2], "notes")
    );
    assert!(names[1].as_str() > OLD[2], "{names:?}");

    // On another machine, with the master key that was kept apart.
    let other = Desk::new();
    let home = other.0.path().display();
    other.write(
        "dimed.toml",
        format!(
            "[server]\nhostname = \"mx.example.org\"\ndata_directory = \"{home}/data\"\nmaster_key_file = \"{home}/master.key\"\n"
        ),
    );
    other.write("master.key", desk.read("master.key"));
    let backup = desk.path("kept").join(&names[1]);
    let config = other.path("dimed.toml");
    other.done(&format!(
        "store restore {} --config {}",
        backup.display(),
        config.display()
    ));
    let listed = other.done(&format!("domain list --config {}", config.display()));
    assert!(listed.contains("example.org"), "{listed}");
}

#[test]
fn a_backup_that_fails_costs_none_of_the_others() {
    let desk = host();
    fs::remove_file(desk.path("master.key")).unwrap();
    let before = kept(&desk);
    let output = back_up(&desk, &["kept", "1"]);
    assert!(!output.status.success(), "{output:?}");
    assert_eq!(kept(&desk), before);
}

#[test]
fn a_number_that_keeps_nothing_is_refused() {
    let desk = host();
    let before = kept(&desk);
    for number in ["0", "00", "-1", "", "two"] {
        let output = back_up(&desk, &["kept", number]);
        assert_eq!(output.status.code(), Some(2), "{number}: {output:?}");
    }
    assert_eq!(back_up(&desk, &["kept"]).status.code(), Some(2));
    assert_eq!(kept(&desk), before);
}

#[test]
fn the_units_start_what_the_package_has() {
    let (service, timer) = (deploy("dimed-backup.service"), deploy("dimed-backup.timer"));
    let start = service.lines().find_map(|line| line.strip_prefix("ExecStart="));
    let words: Vec<_> = start.unwrap().split(' ').collect();
    let (program, folder) = (words[0].trim_start_matches('/'), words[1]);
    assert!(deploy("debian/build").contains(&format!("put 755 \"$top/deploy/backup\" {program}\n")));
    // The one folder that it may write to, but for the database's.
    let state = service
        .lines()
        .find_map(|line| line.strip_prefix("StateDirectory="));
    let folders: Vec<_> = state
        .unwrap()
        .split(' ')
        .map(|name| format!("/var/lib/{name}"))
        .collect();
    assert_eq!(folders, ["/var/lib/dimed", folder]);
    // The key and the log are where the daemon has them.
    let daemon = deploy("dimed.service");
    for name in [
        "User=",
        "Group=",
        "LoadCredential=",
        "LogsDirectory=",
        "LogsDirectoryMode=",
    ] {
        let line = |unit: &str| {
            unit.lines()
                .find(|line| line.starts_with(name))
                .map(str::to_owned)
        };
        assert!(line(&service).is_some(), "{name}");
        assert_eq!(line(&service), line(&daemon));
    }
    // A backup that was not made does not pass for one.
    assert!(!service.contains("\nCondition"), "{service}");
    // No key beside what it protects.
    assert_eq!(words.last(), Some(&"--without-keys"));
    assert!(timer.contains("\nOnCalendar=daily\n") && timer.contains("\nPersistent=yes\n"));
}
