//! The units under a real systemd: a Debian system that `tests/run` makes, booted in a container by systemd-nspawn, with a network
//! of its own. `boot.sh` is what happens there.

use std::fs;
use std::process::Stdio;

use super::fresh::{Tree, as_root, text};

/// What each step comes to. The daemon has no name server there.
const EXPECTED: &str = "\
set up: 0
enabled: 0
active: 5 active
ready: ready to serve
greeting: 220
mail: 0
reload: 0
wrong reload: 1
after it: active
port of an authority: disabled inactive
opened: 0
restart: 0
greetings: 20 220
port then: active
sent away: 0
after a crash: 220
stopped: 0
set up again: 0
still: inactive
credential: 0
more mail: 0
timer: 0
backup: 0
backups: 1
upgrade: 0
upgraded: active 1
stopped with its sockets: 0
nobody there: inactive inactive inactive
wrong start: 1
failed: 0 78
given up: 6 failed
forgotten: 0
put right: 0
all active: 6 active
greeting again: 220
sent away from the other port: 0
nobody at the one before: 1
errors: event=dns.self_test.failed
removed: 0
left: 0
purged: 0
kept: /etc/dimed /var/lib/dimed /var/lib/dimed-backup
configuration: 0
";

/// Starts when the system has started, and ends it.
const UNIT: &str = "[Unit]\nAfter=basic.target dbus.service\n[Service]\nType=oneshot\nExecStart=/bin/bash /boot.sh\n\
    ExecStopPost=/bin/systemctl --no-block poweroff\n";

/// Puts a file of root's into the tree.
fn put(tree: &Tree, name: &str, content: impl AsRef<[u8]>, to: &str) {
    let file = tree.home().join(name);
    fs::write(&file, content).unwrap();
    let copied = as_root("install")
        .args(["-D", "-m", "644"])
        .arg(file)
        .arg(tree.root().join(to))
        .status();
    assert!(copied.unwrap().success(), "{to}");
}

/// What was written there.
fn read(tree: &Tree, name: &str) -> String {
    text(&as_root("cat").arg(tree.root().join(name)).output().unwrap())
}

#[test]
fn the_units_work_under_systemd() {
    let tree = Tree::of("debian-systemd");
    tree.install(tree.package());
    put(&tree, "boot.sh", include_str!("boot.sh"), "boot.sh");
    put(&tree, "boot.service", UNIT, "etc/systemd/system/boot.service");
    put(&tree, "again.deb", fs::read(tree.package()).unwrap(), "again.deb");
    tree.run(&["systemctl", "add-wants", "multi-user.target", "boot.service"]);
    // A system that never ends its work is ended.
    let booted = as_root("timeout")
        .args([
            "--kill-after=5",
            "180",
            "systemd-nspawn",
            "--quiet",
            "--boot",
            "--register=no",
            "--keep-unit",
        ])
        .args(["--private-network", "--link-journal=no", "--console=pipe"])
        .arg(format!("--machine=dimed-{}", std::process::id()))
        .arg("--directory")
        .arg(tree.root())
        .stdin(Stdio::null())
        .output()
        .expect("systemd-nspawn is installed (tests/run installs it)");
    assert!(tree.root().join("result").exists(), "{}", text(&booted));
    let result = read(&tree, "result");
    assert!(result == EXPECTED, "{result}\n{}", read(&tree, "said"));
    assert!(booted.status.success(), "{}", text(&booted));
}
