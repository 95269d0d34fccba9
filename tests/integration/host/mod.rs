//! Programs and users of a host that runs dimed: `sendmail` and its kin as real processes, the drop folder, aliases.

mod aliases;
mod backups;
mod boot;
mod clients;
mod crates;
mod drops;
mod filtering;
mod fresh;
mod package;
mod pages;
mod pressure;
mod sending;

use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

use crate::peers::seat::{User, is_root};
use crate::support::child::DIMED;
use crate::support::organization::{Builder, Organization};
use crate::support::world::World;

/// A host with the domain `hismail.test`, its user bob, and a drop folder that other users can reach.
struct Host {
    organization: Organization,
    world: World,
    home: TempDir,
}

impl Host {
    async fn new() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(change: impl Fn(&mut dimed::config::Config)) -> Self {
        Self::made(change, |builder| builder.plain()).await
    }

    /// With DIME or without.
    async fn made(
        change: impl Fn(&mut dimed::config::Config),
        more: impl Fn(Builder<'_>) -> Builder<'_>,
    ) -> Self {
        let world = World::new().await;
        let home = tempfile::tempdir().unwrap();
        let drop = home.path().join("drop");
        std::fs::create_dir(&drop).unwrap();
        set(&drop, 0o1733);
        set(home.path(), 0o755);
        let organization = more(world.organization("hismail.test").accounts(&["bob"]))
            .config(|config| {
                config.local.drop = drop.clone();
                change(config);
            })
            .build()
            .await;
        let host = Self {
            organization,
            world,
            home,
        };
        host.install();
        host
    }

    /// The binary under all its names, and what everybody may know of the configuration.
    fn install(&self) {
        let binary = self.path("dimed");
        if std::fs::hard_link(DIMED, &binary).is_err() {
            std::fs::copy(DIMED, &binary).unwrap();
        }
        for name in ["sendmail", "mailq", "newaliases"] {
            symlink("dimed", self.path(name)).unwrap();
        }
        let public = format!(
            "[server]\nhostname = \"mx.hismail.test\"\n[local]\ndrop = \"{}\"\n",
            self.drop().display()
        );
        std::fs::write(self.path("public.toml"), public).unwrap();
        set(&self.path("public.toml"), 0o644);
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn drop(&self) -> PathBuf {
        self.path("drop")
    }

    fn dropped(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.drop()).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    }

    /// One of the commands, as the user who runs the tests.
    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(self.path(name));
        command
            .env("DIMED_CONFIG", &self.organization.config)
            .env_remove("LOGNAME");
        command
    }

    /// The same as an ordinary user, who may not read the configuration.
    fn as_other(&self, name: &str) -> Command {
        let mut command = self.command(name);
        command
            .env("DIMED_CONFIG", self.path("public.toml"))
            .current_dir("/");
        if is_root() {
            let (uid, gid) = User::ordinary().ids();
            command.uid(uid).gid(gid);
        }
        command
    }

    /// Runs `sendmail` with these arguments and this message.
    fn send(&self, arguments: &[&str], message: impl AsRef<[u8]>) -> Output {
        feed(self.command("sendmail").args(arguments), message)
    }

    /// The same, which must be done.
    fn sent(&self, arguments: &[&str], message: impl AsRef<[u8]>) {
        let output = self.send(arguments, message);
        assert_eq!(told(&output), (0, String::new()), "{arguments:?}");
    }

    /// Writes the file of aliases.
    fn aliases(&self, text: &str) {
        std::fs::write(self.organization.folder.join("aliases"), text).unwrap();
    }
}

fn set(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// Runs a command with that on its standard input.
fn feed(command: &mut Command, input: impl AsRef<[u8]>) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may not want all of it.
    let _ = child.stdin.take().unwrap().write_all(input.as_ref());
    child.wait_with_output().unwrap()
}

/// The exit code and what was said on standard error.
fn told(output: &Output) -> (i32, String) {
    let text = String::from_utf8(output.stderr.clone()).unwrap();
    (output.status.code().unwrap(), text)
}
