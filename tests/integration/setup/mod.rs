//! `dimed setup`, from a host where there is nothing to a message in the first account's mailbox.

mod acme;
mod from_nothing;
mod gone;
mod half;
mod owner;
mod pebble;
mod secrets;
mod wrong;

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use dimed::net::authority::{KeyKind, Zone};
use serde_json::Value;
use tokio::task::block_in_place;

use super::support::child::{DIMED, Launch, Process};
use super::support::eventually;
use super::support::loopback::{DMTP, Loopback, OPERATIONS, SMTP, SUBMISSION, SUBMISSIONS};
use super::support::maildir::Maildir;
use super::support::organization::PASSWORD;
use super::support::talk::Talk;
use super::support::tool::Desk;
use super::support::world::{World, domain};

const NAME: &str = "hermail.test";
const ALICE: &str = "alice@hermail.test";
/// What is set up where nothing else is said.
const USUAL: &str = "--account alice@hermail.test --password-file password";
const MESSAGE: &str =
    "From: alice@hermail.test\r\nTo: alice@hermail.test\r\nSubject: first\r\n\r\nIt works.\r\n";

/// A host of hermail.test on which nothing has been set up.
struct Host {
    world: World,
    desk: Desk,
    loopback: Loopback,
}

impl Host {
    async fn new() -> Self {
        let (world, desk) = (World::new().await, Desk::new());
        desk.write("password", PASSWORD);
        desk.write("anchors", std::fs::read(world.anchors()).unwrap());
        Self {
            world,
            desk,
            loopback: Loopback::take(),
        }
    }

    fn ip(&self) -> IpAddr {
        self.loopback.ip
    }

    fn config(&self) -> PathBuf {
        self.desk.path("etc/dimed.toml")
    }

    /// DNS has the address of the host, and those lines of a zone file.
    fn publish(&self, lines: &str) {
        let zone = Zone::signed(&domain(NAME), KeyKind::Ed25519).unwrap();
        let mut zone = zone.address("mx", self.ip());
        if !lines.is_empty() {
            zone = zone.with_text(lines).unwrap();
        }
        self.world.put(NAME, &zone);
    }

    /// A command about the installation.
    fn command(&self, words: &str) -> Command {
        let mut command = Command::new(DIMED);
        command
            .current_dir(self.desk.0.path())
            .env_remove("DIMED_MASTER_KEY")
            .env_remove("CREDENTIALS_DIRECTORY")
            .stdin(Stdio::null())
            .arg("--config")
            .arg(self.config())
            .args(words.split_whitespace());
        command
    }

    /// Options that any host in a test needs.
    fn place(&self) -> String {
        let ip = self.ip();
        format!(
            "--data-directory data --master-key-file etc/master.key --listen-smtp {ip}:{SMTP} --listen-dmtp {ip}:{DMTP} \
             --listen-submission {ip}:{SUBMISSION} --listen-submissions {ip}:{SUBMISSIONS} --listen-operations {ip}:{OPERATIONS} --dns-server {} --trust-anchors anchors",
            self.world.name_server()
        )
    }

    fn setting_up(&self, more: &str) -> Command {
        self.command(&format!("setup {NAME} {} {more}", self.place()))
    }

    /// The object that a set-up prints which ends with `code`.
    fn set_up(&self, code: i32, more: &str) -> Value {
        let done = output(&mut self.setting_up(&format!("{USUAL} {more} --json")));
        let errors = String::from_utf8_lossy(&done.stderr);
        assert_eq!(done.status.code(), Some(code), "{more}\n{errors}");
        serde_json::from_slice(&done.stdout).unwrap()
    }

    /// What is said of a set-up that ends with `code`: one line.
    fn refused(&self, code: i32, more: &str) -> String {
        let done = output(&mut self.setting_up(more));
        let said = String::from_utf8(done.stderr).unwrap();
        assert_eq!(done.status.code(), Some(code), "{more}\n{said}");
        said
    }

    /// Nothing has been made but what the test made.
    fn is_untouched(&self) -> bool {
        !self.config().exists()
            && !self.desk.path("etc/master.key").exists()
            && !self.desk.path("data").exists()
    }

    async fn serve(&self) -> Process {
        let log = self.desk.path("log");
        let mut process = Process::start(&self.config(), &log, &Launch::default());
        eventually("the daemon to start", || {
            process.check();
            process.log().contains("daemon.started").then_some(())
        })
        .await;
        process
    }

    /// Alice submits a message to herself, and gets it.
    async fn first_message(&self) {
        let mut talk = Talk::submission(self.ip(), ALICE).await;
        let reply = talk.transfer(ALICE, &[ALICE], MESSAGE).await;
        assert!(reply.starts_with("250"), "{reply}");
        let maildir = Maildir(self.desk.path("data/mail/hermail.test/alice"));
        let messages = maildir.expect(1).await;
        assert!(messages[0].contains("It works."), "{}", messages[0]);
    }
}

fn output(command: &mut Command) -> Output {
    block_in_place(|| command.output()).unwrap()
}

/// The steps of a set-up with that result.
fn steps(object: &Value, result: &str) -> Vec<String> {
    let all = object["steps"].as_array().unwrap();
    let with = all.iter().filter(|step| step["result"] == result);
    with.map(|step| step["step"].as_str().unwrap().to_owned())
        .collect()
}
