//! The package that makes this the mail transport agent of a machine: names, a folder, and metadata that Debian's own tools
//! understand.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use dimed::config::LocalMail;

use crate::peers::seat::is_root;
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

/// Builds the package of the binary that is tested.
pub(super) fn package(home: &Path) -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/debian/build");
    let built = done(
        Command::new(script)
            .args([Path::new(DIMED), home])
            // With all that a debugger wants it is large.
            .env("DPKG_DEB_COMPRESSOR_TYPE", "none")
            .env("SOURCE_DATE_EPOCH", "1750000000"),
    );
    PathBuf::from(built.trim_end())
}

fn dpkg_deb(action: &str, file: &Path, rest: &[&str]) -> String {
    done(Command::new("dpkg-deb").arg(action).arg(file).args(rest))
}

#[test]
fn debian_sees_a_mail_transport_agent() {
    let home = tempfile::tempdir().unwrap();
    let file = package(home.path());
    let field = |name: &str| dpkg_deb("--field", &file, &[name]).trim().to_owned();
    assert_eq!(field("Package"), "dimed");
    assert_eq!(field("Version"), env!("CARGO_PKG_VERSION"));
    assert!(
        field("Depends").contains(", libc6 (>= 2."),
        "{}",
        field("Depends")
    );
    // Certificates of web servers, DX hosts and authorities lead to its roots.
    let needed = field("Depends");
    assert!(
        needed.split(", ").any(|name| name == "ca-certificates"),
        "{needed}"
    );
    // Two of them cannot be there at once: Debian policy §11.6.
    for name in ["Provides", "Conflicts", "Replaces"] {
        assert_eq!(field(name), "mail-transport-agent");
    }
    for script in ["postinst", "prerm", "postrm"] {
        let path = home.path().join(script);
        fs::write(&path, dpkg_deb("--info", &file, &[script])).unwrap();
        done(Command::new("sh").arg("-n").arg(path));
    }
    let listed = dpkg_deb("--contents", &file, &[]);
    assert!(
        listed.lines().all(|line| line.contains(" root/root ")),
        "{listed}"
    );
    // The configuration is its owner's, about which an upgrade asks nothing.
    assert!(!listed.contains(" ./etc/"), "{listed}");
    let sample = " ./usr/share/doc/dimed/examples/dimed.toml\n";
    assert!(listed.contains(sample), "{listed}");
    for file in [
        "systemd/system/dimed.service",
        "systemd/system/dimed-smtp.socket",
        "systemd/system/dimed-dmtp.socket",
        "systemd/system/dimed-submission.socket",
        "systemd/system/dimed-submissions.socket",
        "systemd/system/dimed-acme.socket",
        "sysusers.d/dimed.conf",
        "tmpfiles.d/dimed.conf",
        "dimed/backup",
    ] {
        assert!(
            listed.contains(&format!("./usr/lib/{file}\n")),
            "{file} is missing:\n{listed}"
        );
    }
    for file in ["prometheus.yml", "alerts.yml", "dashboard.json"] {
        assert!(
            listed.contains(&format!("./usr/share/dimed/monitoring/{file}\n")),
            "{file} is missing:\n{listed}"
        );
    }
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
fn the_same_binary_makes_the_same_package() {
    let homes = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let packages = homes
        .each_ref()
        .map(|home| fs::read(package(home.path())).unwrap());
    assert!(packages[0] == packages[1]);
}

#[test]
fn pages_completions_and_the_list_of_crates_come_with_the_package() {
    let home = tempfile::tempdir().unwrap();
    let tree = home.path().join("tree");
    done(
        Command::new("dpkg-deb")
            .arg("--extract")
            .args([&package(home.path()), &tree]),
    );
    let page = |name: &str| {
        let file = tree.join("usr/share/man").join(name);
        done(Command::new("gzip").arg("-dc").arg(file))
    };
    assert!(page("man1/dimed-queue-list.1.gz").contains("\n.TH dimed-queue-list 1 "));
    assert!(page("man1/sendmail.1.gz").contains("\n.TH dimed-sendmail 1 "));
    assert!(page("man5/dimed.toml.5.gz").contains("\n.TH dimed.toml 5 "));
    for name in [
        "bash-completion/completions/dimed",
        "zsh/vendor-completions/_dimed",
        "fish/vendor_completions.d/dimed.fish",
    ] {
        let text = fs::read_to_string(tree.join("usr/share").join(name)).unwrap();
        assert!(text.contains("rotate-master"), "{name}");
    }
    let list = fs::read(tree.join("usr/share/doc/dimed/sbom.cdx.json")).unwrap();
    let list: serde_json::Value = serde_json::from_slice(&list).unwrap();
    assert_eq!(list["bomFormat"], "CycloneDX");
}

/// Unpacks the package into an empty tree, as `dpkg` does if it may.
fn unpacked(home: &Path) -> PathBuf {
    let (file, tree) = (package(home), home.join("tree"));
    for folder in ["info", "updates", "triggers"] {
        fs::create_dir_all(tree.join("var/lib/dpkg").join(folder)).unwrap();
    }
    fs::write(tree.join("var/lib/dpkg/status"), "").unwrap();
    match is_root() {
        // Nothing that it depends on is there.
        true => done(
            Command::new("dpkg")
                .arg("--root")
                .arg(&tree)
                .args(["--force-depends", "--unpack"])
                .arg(&file),
        ),
        false => done(Command::new("dpkg-deb").arg("--extract").args([&file, &tree])),
    };
    tree
}

#[test]
fn what_is_unpacked_runs_under_every_name() {
    let home = tempfile::tempdir().unwrap();
    let tree = unpacked(home.path());
    let unit = fs::read_to_string(tree.join("usr/lib/systemd/system/dimed.service")).unwrap();
    let start = unit.lines().find_map(|line| line.strip_prefix("ExecStart="));
    let binary = start.unwrap().split(' ').next().unwrap();
    assert!(
        tree.join(binary.trim_start_matches('/')).is_file(),
        "the unit starts {binary}"
    );
    let links = deploy("debian/links");
    for words in lines(&links) {
        let link = tree.join(words[1]);
        let output = Command::new(&link)
            .arg("-Z")
            .env("DIMED_CONFIG", "/nonexistent/dimed.toml")
            .output()
            .unwrap();
        let name = link.file_name().unwrap().display().to_string();
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(64), "{text}");
        assert!(text.starts_with(&format!("{name}: ")), "{text}");
    }
}
