//! Drills: machines and keys that are lost or stolen, and versions that change. Each runs the commands of a section of
//! `deploy/recovery.md` or `deploy/upgrade.md` as they stand there, in their order, with other names and places.

mod lost_machine;
mod lost_master_key;
mod lost_pok;
mod lost_user_keys;
mod stolen_pok;
mod upgrade;

use std::collections::VecDeque;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use dimed::config::Config;
use tokio::task::block_in_place;

use crate::support::PATIENCE;
use crate::support::child::{DIMED, Process};
use crate::support::organization::Organization;
use crate::support::world::World;

const RECOVERY: &str = "recovery.md";
const UPGRADE: &str = "upgrade.md";

/// The domain in the guides, and that of a correspondent.
const NAMES: [(&str, &str); 2] = [("example.org", "hismail.test"), ("example.net", "hermail.test")];

/// The commands of a section of a guide.
struct Drill {
    lines: VecDeque<String>,
    /// What stands in the guide, and what is meant here.
    places: Vec<(String, String)>,
}

impl Drill {
    /// Backups and keys that are kept apart lie below the home of the world.
    fn of(guide: &str, heading: &str, world: &World) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(guide);
        let text = std::fs::read_to_string(path).unwrap();
        let (_, rest) = text
            .split_once(&format!("\n## {heading}\n"))
            .unwrap_or_else(|| panic!("{guide} has no section {heading}"));
        let section = rest.split("\n## ").next().unwrap().replace("\\\n", " ");
        let mut lines = VecDeque::new();
        for block in section.split("\n```sh\n").skip(1) {
            let block = block.split("\n```").next().unwrap();
            lines.extend(
                block
                    .lines()
                    .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")),
            );
        }
        let home = world.home();
        let mut places: Vec<(String, String)> = Vec::new();
        for folder in ["backup", "safe"] {
            std::fs::create_dir_all(home.join(folder)).unwrap();
            places.push((
                format!("/srv/{folder}/"),
                format!("{}/", home.join(folder).display()),
            ));
        }
        places.extend(NAMES.map(|(there, here)| (there.to_owned(), here.to_owned())));
        Self { lines, places }
    }

    /// Another word of the guide, and what it stands for here.
    fn meaning(mut self, there: &str, here: &str) -> Self {
        self.places.push((there.to_owned(), here.to_owned()));
        self
    }

    /// The next command, which starts like this, as it is meant for an organization.
    fn take(&mut self, organization: &Organization, start: &str) -> String {
        let line = self.lines.pop_front().unwrap_or_default();
        assert!(line.starts_with(start), "the guide has {line:?}, not {start:?}");
        let folder = organization.folder.display();
        let mut meant = line
            .replace("/etc/dimed/", &format!("{folder}/"))
            .replace("/var/lib/dimed", &format!("{folder}/data"));
        for (there, here) in &self.places {
            meant = meant.replace(there, here);
        }
        meant
    }

    /// Runs the next command: its exit code, and all that it said.
    fn run(&mut self, organization: &Organization, start: &str) -> (i32, String) {
        let line = self.take(organization, start);
        let binaries = Path::new(DIMED).parent().unwrap().display();
        let mut shell = Command::new("sh");
        shell
            .args(["-c", &line])
            .env("PATH", format!("{binaries}:{}", std::env::var("PATH").unwrap()))
            .env("DIMED_CONFIG", &organization.config)
            .env_remove("DIMED_MASTER_KEY")
            .env_remove("CREDENTIALS_DIRECTORY");
        let output = block_in_place(|| shell.output()).unwrap();
        let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
        let said = text(&output.stdout) + &text(&output.stderr);
        println!("$ {line}\n{said}");
        (output.status.code().unwrap(), said)
    }

    /// The same to its success.
    fn done(&mut self, organization: &Organization, start: &str) -> String {
        let (code, said) = self.run(organization, start);
        assert_eq!(code, 0, "{start}: {said}");
        said
    }

    /// Passes over what is done otherwise here: systemd does not run, and packages are not installed.
    fn otherwise(&mut self, start: &str) {
        let line = self.lines.pop_front().unwrap_or_default();
        assert!(line.starts_with(start), "the guide has {line:?}, not {start:?}");
    }

    /// Nothing is left.
    fn end(self) {
        assert_eq!(self.lines, VecDeque::<String>::new());
    }
}

/// A letter that both formats take; the number is its text.
fn letter(from: &str, to: &str, number: usize) -> String {
    format!(
        "Date: Tue, 3 Jun 2025 10:00:00 +0200\r\nFrom: <{from}>\r\nTo: <{to}>\r\nSubject: drill\r\n\
         Message-ID: <{number}@{from}>\r\nMIME-Version: 1.0\r\n\r\nletter {number}\r\n"
    )
}

async fn write(organization: &Organization, local: &str, to: &str, number: usize) {
    let from = organization.address(local);
    organization
        .submit(local, &[to], &letter(&from, to, number))
        .await;
}

/// Alice's organization, which is another's in every drill.
async fn hermail(world: &World) -> Organization {
    let builder = world.organization("hermail.test").accounts(&["alice"]);
    builder.config(patient).build().await
}

/// The organization that loses something.
async fn hismail(world: &World, accounts: &[&str]) -> Organization {
    let builder = world.organization("hismail.test").accounts(accounts);
    builder.config(patient).build().await
}

/// Tries again soon, and goes on with it.
fn patient(config: &mut Config) {
    config.queue.retry_max_secs = std::num::NonZeroU64::MIN;
}

/// Waits until so many recipients wait in a queue.
async fn waiting(organization: &Organization, count: i64) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let found = organization
            .count("SELECT count(*) FROM recipients WHERE state = 'waiting'")
            .await;
        if found == count {
            return;
        }
        assert!(
            tokio::time::Instant::now() < deadline,
            "{found} wait, not {count}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The lines of `dimed dns records` with the domain's keys: the management record, and those for DKIM.
async fn records(organization: &Organization) -> Vec<String> {
    let text = organization
        .cli(&["dns", "records", organization.name.as_str()])
        .await;
    let is_key = |line: &&str| line.starts_with("_dx.") || line.contains("._domainkey.");
    text.lines().filter(is_key).map(str::to_owned).collect()
}

/// The value of a field of a management record.
fn field<'a>(record: &'a str, name: &str) -> Vec<&'a str> {
    let fields = record.split_whitespace();
    fields.filter_map(|field| field.strip_prefix(name)).collect()
}

/// The daemon again, so that it asks DNS anew.
async fn again(organization: &Organization, process: &mut Process) {
    process.kill();
    *process = organization.spawn().await;
}

/// What the log says of keys that somebody does not have as they were.
fn alerts(process: &Process) -> Vec<String> {
    let log = process.log();
    let is_alert = |line: &&str| {
        ["\"signet.custody_broken\"", "\"domain.record.keys_conflict\""]
            .iter()
            .any(|event| line.contains(event))
    };
    log.lines().filter(is_alert).map(str::to_owned).collect()
}
