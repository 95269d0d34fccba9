//! What a package has to bring so that it can be the mail transport agent of a machine: names, a folder, and metadata that
//! Debian's own tools understand.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use dimed::config::LocalMail;

use super::set;
use crate::support::child::DIMED;

fn deploy(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(name)).unwrap()
}

/// Lines that are no comments, in words.
fn lines(text: &str) -> Vec<Vec<&str>> {
    let lines = text
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty());
    lines.map(|line| line.split_whitespace().collect()).collect()
}

fn done(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_folder_of_the_package_is_the_default_one() {
    let text = deploy("dimed.tmpfiles");
    let folders = lines(&text);
    let drop = LocalMail::default().drop;
    let made = folders.iter().find(|words| Path::new(words[1]) == drop).unwrap();
    assert_eq!(made[..1], ["d"]);
    assert_eq!(made[2..4], ["1733", "dimed"]);
    let unit = deploy("dimed.service");
    assert!(
        unit.contains(&format!("\nReadWritePaths=-{}\n", drop.display())),
        "the daemon must be able to empty it"
    );
}

/// Builds a package of the metadata, the binary and the links, and unpacks it.
fn package(home: &Path) -> PathBuf {
    let root = home.join("package");
    fs::create_dir_all(root.join("DEBIAN")).unwrap();
    fs::create_dir_all(root.join("usr/bin")).unwrap();
    let control = deploy("debian/control").replace(", ${misc:Depends}, ${shlibs:Depends}", "");
    let control = control.replace("Architecture: any", "Architecture: all");
    let control = format!("{control}Version: 1\nMaintainer: nobody <nobody@example.org>\n");
    // Fields come before the description's lines only if they are not behind it.
    fs::write(root.join("DEBIAN/control"), control).unwrap();
    fs::write(root.join("usr/bin/dimed"), "").unwrap();
    let links = deploy("debian/links");
    for words in lines(&links) {
        let link = root.join(words[1]);
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        symlink(Path::new("/").join(words[0]), link).unwrap();
    }
    set(&root.join("DEBIAN"), 0o755);
    let file = home.join("dimed.deb");
    done(
        Command::new("dpkg-deb")
            .args(["--root-owner-group", "--build"])
            .args([&root, &file]),
    );
    file
}

#[test]
fn debian_sees_a_mail_transport_agent() {
    let home = tempfile::tempdir().unwrap();
    let file = package(home.path());
    let field = |name: &str| {
        done(Command::new("dpkg-deb").arg("--field").arg(&file).arg(name))
            .trim()
            .to_owned()
    };
    assert_eq!(field("Package"), "dimed");
    // Two of them cannot be there at once: Debian policy §11.6.
    for name in ["Provides", "Conflicts", "Replaces"] {
        assert_eq!(field(name), "mail-transport-agent");
    }
    let listed = done(Command::new("dpkg-deb").arg("--contents").arg(&file));
    for name in [
        "/usr/sbin/sendmail",
        "/usr/lib/sendmail",
        "/usr/bin/mailq",
        "/usr/bin/newaliases",
    ] {
        assert!(
            listed.contains(&format!(".{name} -> ")),
            "{name} is missing:\n{listed}"
        );
    }
}

#[test]
fn the_binary_knows_itself_by_every_link() {
    let home = tempfile::tempdir().unwrap();
    let links = deploy("debian/links");
    for words in lines(&links) {
        let name = Path::new(words[1]).file_name().unwrap();
        let link = home.path().join(name);
        let _ = fs::remove_file(&link);
        symlink(DIMED, &link).unwrap();
        let output = Command::new(&link)
            .arg("-Z")
            .env("DIMED_CONFIG", "/nonexistent/dimed.toml")
            .output()
            .unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(64), "{text}");
        assert!(text.starts_with(&format!("{}: ", name.display())), "{text}");
    }
}
