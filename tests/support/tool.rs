//! Runs the tools that need no daemon, in a folder of their own and without any configuration.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use assert_cmd::Command;
use serde_json::Value;
use tempfile::TempDir;

/// A folder to work in.
pub struct Desk(pub TempDir);

impl Desk {
    /// With nothing in it.
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// With the organization example.org and the user alice@example.org, whose signet it signed.
    pub fn with_alice() -> Self {
        let desk = Self::new();
        desk.done("signet new-org example.org");
        desk.done("signet new-request alice@example.org");
        desk.done(
            "signet sign alice-example.org.ssr --org-key example.org.key --org-signet example.org.signet \
             --address alice@example.org --key-set alice-example.org.keyset --set Name=Alice \
             --out alice-example.org.signet",
        );
        desk
    }

    /// A file in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The content of a file in the folder.
    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// Makes a file that its owner alone may read.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path(name), content).unwrap();
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// The mode of a file in the folder.
    pub fn mode(&self, name: &str) -> u32 {
        self.path(name).metadata().unwrap().permissions().mode() & 0o777
    }

    /// Names of all files in the folder, in order.
    pub fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.0.path()).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// The tool with these arguments; words are separated by blanks.
    pub fn dimed(&self, arguments: &str) -> Command {
        self.command(&arguments.split_whitespace().collect::<Vec<_>>())
    }

    /// The tool with these arguments.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dimed"));
        command
            .current_dir(self.0.path())
            .env_remove("DIMED_MASTER_KEY")
            .env_remove("CREDENTIALS_DIRECTORY")
            .env("DIMED_CONFIG", "/nonexistent/dimed.toml")
            .args(arguments);
        command
    }

    /// What a command prints that ends with 0.
    pub fn done(&self, arguments: &str) -> String {
        let assert = self.dimed(arguments).assert().code(0);
        String::from_utf8(assert.get_output().stdout.clone()).unwrap()
    }

    /// The object that a command prints with `--json` and ends with `code`.
    pub fn json(&self, code: i32, arguments: &str) -> Value {
        let assert = self.dimed(arguments).arg("--json").assert().code(code);
        serde_json::from_slice(&assert.get_output().stdout).unwrap()
    }

    /// What a command says on standard error that ends with `code` and prints nothing.
    pub fn fails(&self, code: i32, arguments: &str) -> String {
        let assert = self.dimed(arguments).assert().code(code);
        assert_eq!(assert.get_output().stdout, b"", "{arguments}");
        String::from_utf8(assert.get_output().stderr.clone()).unwrap()
    }
}
