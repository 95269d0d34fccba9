//! What a test cannot run, and why. Everything else that a guide has a reader type is run.

use std::path::PathBuf;

use super::text::root;

/// Lines that begin like this, and why they are not run.
const ELSEWHERE: &[(&str, &str)] = &[
    (
        "systemctl status ",
        "systemd does not run on the machine of the tests",
    ),
    (
        "systemctl enable --now dimed-backup.timer",
        "the same; host::backups runs what it starts",
    ),
    (
        "systemctl disable --now postfix",
        "the same, and Postfix is not installed as a service",
    ),
    ("journalctl ", "there is no journal without systemd"),
    (
        "apt-get install ",
        "it changes the machine; host::fresh does it in a Debian system of its own",
    ),
    ("postconf ", "of Postfix, as it is on the host that is left"),
    ("postqueue ", "the same"),
];

/// Why a line is not run, if it is one of those; what it names of ours must be in `deploy`.
pub fn why(line: &str) -> Option<&'static str> {
    let (_, why) = ELSEWHERE.iter().find(|(start, _)| line.starts_with(start))?;
    for file in named(line) {
        assert!(
            root().join(&file).exists(),
            "{line}: {} is not there",
            file.display()
        );
    }
    Some(why)
}

/// What of `deploy` the words of a line mean.
fn named(line: &str) -> Vec<PathBuf> {
    let of = |word: &str| match word {
        "dimed" => Some("dimed.service".to_owned()),
        "dimed.conf" => Some("dimed.tmpfiles".to_owned()),
        package if package.ends_with(".deb") => Some("debian/build".to_owned()),
        unit if [".service", ".socket", ".timer"]
            .iter()
            .any(|end| unit.ends_with(end)) =>
        {
            Some(unit.to_owned())
        }
        _ => None,
    };
    let words = line.split_whitespace().skip(1).filter_map(of);
    words.map(|name| PathBuf::from("deploy").join(name)).collect()
}

/// What the daemon does on a line for systemd, which stands in for it here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Daemon {
    /// It is started.
    Start,
    /// It is stopped.
    Stop,
    /// Both.
    Restart,
    /// What `ExecReload` of the unit does.
    Reload,
}

/// Whether a line is for the daemon.
pub fn daemon(line: &str) -> Option<Daemon> {
    let words = line.strip_prefix("systemctl ")?.strip_suffix(" dimed")?;
    match words {
        "start" | "enable --now" => Some(Daemon::Start),
        // Without its sockets, the next caller starts it again.
        "stop 'dimed*.socket'" => Some(Daemon::Stop),
        "restart" => Some(Daemon::Restart),
        "reload" => Some(Daemon::Reload),
        _ => None,
    }
}

#[test]
fn only_what_is_in_the_table_is_not_run() {
    assert!(why("systemctl status dimed").is_some());
    assert!(why("systemctl restart nginx").is_none());
    assert!(why("dimed check").is_none());
    assert_eq!(
        named("journalctl -u dimed"),
        [PathBuf::from("deploy/dimed.service")]
    );
    assert_eq!(daemon("systemctl stop 'dimed*.socket' dimed"), Some(Daemon::Stop));
    assert_eq!(daemon("systemctl stop dimed"), None);
    assert_eq!(daemon("systemctl stop postfix"), None);
}

#[test]
#[should_panic(expected = "deploy/dimed-none.socket is not there")]
fn a_unit_that_is_not_there_is_found() {
    why("systemctl status dimed-none.socket");
}
