//! The package in a fresh Debian tree, which `tests/run` makes: installed, used, replaced by a newer one, removed, purged. No
//! systemd runs there, so the daemon is started by hand.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use tempfile::TempDir;

use super::package::package;
use crate::peers::seat::is_root;
use crate::support::eventually;
use crate::support::loopback::{Loopback, SMTP};
use crate::support::talk::Talk;

const PASSWORD: &str = "correct horse battery\n";

/// Where the package has the sample of the configuration.
const SAMPLE: &str = "usr/share/doc/dimed/examples/dimed.toml";

/// A Debian system of its own, and the package outside of it.
pub(super) struct Tree {
    home: TempDir,
    package: PathBuf,
}

/// A program run as root, as `tests/run` does.
pub(super) fn as_root(program: &str) -> Command {
    match is_root() {
        true => Command::new(program),
        false => {
            let mut command = Command::new("sudo");
            command.args(["-n", program]);
            command
        }
    }
}

/// All that a program said.
pub(super) fn text(output: &Output) -> String {
    let said = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    String::from_utf8_lossy(&said).into_owned()
}

fn done(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", text(&output));
    text(&output)
}

impl Tree {
    /// A copy of one that `tests/run` has made.
    pub fn of(name: &str) -> Self {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
        let made = target.join("peers").join(name);
        assert!(made.is_dir(), "{} is missing; tests/run makes it", made.display());
        let home = tempfile::tempdir().unwrap();
        done(as_root("cp").arg("-a").arg(made).arg(home.path().join("system")));
        let package = package(home.path());
        Self { home, package }
    }

    /// Where it is.
    pub fn root(&self) -> PathBuf {
        self.home.path().join("system")
    }

    /// A folder beside it.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// The package of the binary that is tested.
    pub fn package(&self) -> &Path {
        &self.package
    }

    /// A command in the tree, as a user of it.
    fn command(&self, user: &str, words: &[&str]) -> Command {
        let mut command = as_root("chroot");
        command
            .arg(format!("--userspec={user}"))
            .arg(self.root())
            .args([
                "/usr/bin/env",
                "-i",
                "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
                "HOME=/",
            ])
            .args(["LC_ALL=C", "DEBIAN_FRONTEND=noninteractive"])
            .args(words);
        command
    }

    /// Runs a command in it as root, to its success.
    pub fn run(&self, words: &[&str]) -> String {
        done(&mut self.command("root:root", words))
    }

    /// A command of ours, as its user, who types something.
    fn dimed(&self, words: &[&str], typed: &str) -> String {
        let words = [&["dimed"][..], words].concat();
        let mut command = self.command("dimed:dimed", &words);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // Commands that ask for nothing may have ended.
        let _ = child.stdin.take().unwrap().write_all(typed.as_bytes());
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{words:?}: {}", text(&output));
        text(&output)
    }

    /// Installs a package.
    pub fn install(&self, package: &Path) {
        done(as_root("cp").arg(package).arg(self.root().join("dimed.deb")));
        // There is nobody to ask.
        self.run(&["dpkg", "--install", "/dimed.deb"]);
        self.run(&["rm", "/dimed.deb"]);
    }

    /// The same package with a later version number, and what else a release changes.
    fn newer(&self) -> PathBuf {
        self.changed("+1", |folder| {
            let sample = folder.join(SAMPLE);
            let text = fs::read_to_string(&sample).unwrap();
            fs::write(&sample, format!("{text}# A word more.\n")).unwrap();
        })
    }

    /// One as it was when the sample was a conffile.
    fn older(&self) -> PathBuf {
        self.changed("~1", |folder| {
            fs::create_dir_all(folder.join("etc/dimed")).unwrap();
            fs::rename(folder.join(SAMPLE), folder.join("etc/dimed/dimed.toml")).unwrap();
            fs::write(folder.join("DEBIAN/conffiles"), "/etc/dimed/dimed.toml\n").unwrap();
        })
    }

    /// The package with that at the end of its version number, and other files.
    fn changed(&self, version: &str, change: impl FnOnce(&Path)) -> PathBuf {
        let folder = self.home.path().join(version);
        let file = self.home.path().join(format!("{version}.deb"));
        done(Command::new("dpkg-deb").arg("-R").arg(&self.package).arg(&folder));
        let control = folder.join("DEBIAN/control");
        let ours = format!("Version: {}", env!("CARGO_PKG_VERSION"));
        let text = fs::read_to_string(&control).unwrap();
        assert!(text.contains(&ours), "{text}");
        fs::write(&control, text.replace(&ours, &format!("{ours}{version}"))).unwrap();
        change(&folder);
        done(
            Command::new("dpkg-deb")
                .args(["--root-owner-group", "-Znone", "-b"])
                .args([&folder, &file]),
        );
        file
    }

    /// What the package manager thinks of the package.
    fn status(&self) -> String {
        let query = [
            "dpkg-query",
            "--show",
            "--showformat=${db:Status-Abbrev}${Version}",
            "dimed",
        ];
        let output = self.command("root:root", &query).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Names with `dimed` in them, but for those that only a running system has.
    fn names(&self) -> String {
        self.run(&["find", "/", "-xdev", "-name", "*dimed*", "-print"])
    }

    fn has_user(&self) -> bool {
        let asked = self.command("root:root", &["getent", "passwd", "dimed"]).output();
        asked.unwrap().status.success()
    }

    fn has(&self, path: &str) -> bool {
        let asked = self.command("root:root", &["test", "-e", path]).output();
        asked.unwrap().status.success()
    }

    fn configure(&self, ip: std::net::IpAddr) {
        let text = format!(
            "[server]\nhostname = \"mx.example.org\"\n[listen]\nsmtp = [\"{ip}:{SMTP}\"]\ndmtp = []\n\
             submission = []\nsubmissions = []\noperations = []\n[accounts]\npassword_memory_kib = 8\n"
        );
        let file = self.home.path().join("dimed.toml");
        fs::write(&file, text).unwrap();
        done(
            as_root("install")
                .args(["-m", "644"])
                .arg(file)
                .arg(self.root().join("etc/dimed/dimed.toml")),
        );
    }

    fn start(&self) -> Daemon {
        let log = fs::File::create(self.home.path().join("log")).unwrap();
        let child = self
            .command("dimed:dimed", &["dimed", "serve"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        Daemon(child.unwrap())
    }

    /// How many messages alice has.
    fn mail(&self) -> usize {
        let folder = "/var/lib/dimed/mail/example.org/alice/new";
        if !self.has(folder) {
            return 0;
        }
        self.run(&["find", folder, "-type", "f"]).lines().count()
    }

    /// Sends a message as programs of the host do, and waits until it is in the mailbox as the `count`th.
    async fn exchange(&self, ip: std::net::IpAddr, count: usize) {
        let daemon = self.start();
        eventually("the daemon's port", || {
            std::net::TcpStream::connect((ip, SMTP)).ok()
        })
        .await;
        Talk::open(ip, SMTP).await.expect("220 mx.example.org ").await;
        self.run(&["sh", "-c", "echo hello | sendmail alice@example.org"]);
        eventually("the message", || (self.mail() == count).then_some(())).await;
        daemon.stop().await;
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        // Its files are not those of whoever runs the tests.
        let _ = as_root("rm").arg("-rf").arg(self.root()).status();
    }
}

/// `dimed serve` in the tree.
struct Daemon(Child);

impl Daemon {
    async fn stop(mut self) {
        done(as_root("kill").arg(self.0.id().to_string()));
        let ended = eventually("the daemon's end", || self.0.try_wait().unwrap()).await;
        assert!(ended.success(), "{ended}");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Ok(None) = self.0.try_wait() {
            let _ = as_root("kill").args(["-KILL", &self.0.id().to_string()]).status();
            let _ = self.0.wait();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_package_is_installed_used_and_replaced_and_what_people_own_outlives_it() {
    let tree = Tree::of("debian");
    let loopback = Loopback::take();
    tree.install(&tree.package);
    assert_eq!(tree.status(), format!("ii {}", env!("CARGO_PKG_VERSION")));
    tree.configure(loopback.ip);
    tree.dimed(&["domain", "add", "example.org"], "");
    tree.dimed(&["account", "add", "alice@example.org"], PASSWORD);
    tree.exchange(loopback.ip, 1).await;

    tree.install(&tree.newer());
    assert_eq!(tree.status(), format!("ii {}+1", env!("CARGO_PKG_VERSION")));
    // What the owner has set is kept.
    let config = tree.run(&["cat", "/etc/dimed/dimed.toml"]);
    assert!(config.contains("password_memory_kib = 8"), "{config}");
    tree.exchange(loopback.ip, 2).await;

    tree.run(&["dpkg", "--remove", "dimed"]);
    assert!(tree.status().starts_with("rc "), "{}", tree.status());
    assert!(!tree.has("/usr/bin/dimed") && !tree.has("/usr/sbin/sendmail"));
    assert!(tree.has("/etc/dimed/dimed.toml"));
    let said = tree.run(&["dpkg", "--purge", "dimed"]);
    assert!(said.contains("are kept in /var/lib/dimed /etc/dimed;"), "{said}");
    assert!(!tree.has("/etc/dimed/dimed.toml") && !tree.has("/var/spool/dimed"));
    // Mail, and the keys without which the database is of no use.
    for path in ["/var/lib/dimed/dimed.db", "/etc/dimed/master.key"] {
        assert!(tree.has(path), "{path}");
    }
    assert_eq!(tree.mail(), 2);
    assert!(tree.has_user(), "somebody owns them");

    // And it goes on from there.
    tree.install(&tree.package);
    tree.configure(loopback.ip);
    let listed = tree.dimed(&["account", "list"], "");
    assert!(listed.starts_with("alice@example.org "), "{listed}");
}

/// dpkg leaves what was a conffile where it is, and forgets it only when the package is purged.
#[test]
fn a_configuration_that_was_a_conffile_is_kept_without_a_question() {
    let tree = Tree::of("debian");
    let (loopback, config) = (Loopback::take(), "/etc/dimed/dimed.toml");
    tree.install(&tree.older());
    tree.configure(loopback.ip);
    let before = tree.run(&["cat", config]);
    for package in [tree.package.clone(), tree.newer()] {
        tree.install(&package);
        assert_eq!(tree.run(&["cat", config]), before);
    }
    assert_eq!(tree.status(), format!("ii {}+1", env!("CARGO_PKG_VERSION")));
    tree.run(&["dpkg", "--purge", "dimed"]);
    assert!(!tree.has(config));
}

#[test]
fn a_package_that_was_never_used_leaves_nothing() {
    let tree = Tree::of("debian");
    assert_eq!(tree.names(), "");
    assert!(!tree.has_user());
    tree.install(&tree.package);
    assert!(tree.has_user() && tree.has("/usr/share/man/man1/mailq.1.gz"));
    tree.run(&["dpkg", "--purge", "dimed"]);
    assert_eq!(tree.status(), "");
    assert_eq!(tree.names(), "");
    for path in [
        "/usr/sbin/sendmail",
        "/usr/bin/mailq",
        "/usr/share/man/man1/mailq.1.gz",
    ] {
        assert!(!tree.has(path), "{path}");
    }
    assert!(!tree.has_user());
}
