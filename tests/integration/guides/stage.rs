//! The world in which a guide's commands are run: its reader's domain and host, a correspondent, DNS for both, and a folder to work in.
//! Guides have `example.org` for the one and `example.net` for the other; here these are `hermail.test` and `hismail.test`.

use std::net::IpAddr;
use std::path::PathBuf;

use dimed::net::authority::{KeyKind, Zone};
use serde_json::Value;
use tokio::task::block_in_place;

use super::elsewhere::{self, Daemon};
use super::shell::{self, Answer};
use super::support::child::{Launch, Process};
use super::support::eventually;
use super::support::loopback::{DMTP, Loopback, OPERATIONS, SMTP, SUBMISSION, SUBMISSIONS};
use super::support::organization::{Builder, Organization, PASSWORD};
use super::support::tool::Desk;
use super::support::world::{World, domain};
use super::text::{self, Step};

/// The reader's domain.
const OURS: &str = "hermail.test";
/// Somebody else's.
const THEIRS: &str = "hismail.test";

/// For keys; no login password.
const PASSPHRASE: &str = "a long one for the keys alone";

/// Where the reader's domain is.
enum Host {
    /// Set up, and DNS has its records.
    SetUp(Box<Organization>),
    /// A host on which there is nothing, and the zone without records for mail.
    Bare { loopback: Loopback, zone: Zone },
}

/// The world, and how far the reader has come.
pub struct Stage {
    /// DNS.
    pub world: World,
    /// Where commands are run.
    pub desk: Desk,
    /// The correspondent, whose user is bob.
    pub theirs: Organization,
    host: Host,
    daemon: Option<Process>,
    message: Option<String>,
    exceptions: Vec<(&'static str, &'static [i32])>,
    last: Option<Answer>,
}

impl Stage {
    /// With a set-up organization of alice, which is not served yet.
    pub async fn new() -> Self {
        Self::with(|builder| builder, |builder| builder).await
    }

    /// The same with other settings of ours and of theirs.
    pub async fn with(
        ours: impl Fn(Builder<'_>) -> Builder<'_>,
        theirs: impl Fn(Builder<'_>) -> Builder<'_>,
    ) -> Self {
        let world = World::new().await;
        let organization = ours(world.organization(OURS).accounts(&["alice"])).build().await;
        organization.publish_texts(&world).await;
        let theirs = theirs(world.organization(THEIRS).accounts(&["bob"]))
            .build()
            .await;
        Self::on(world, Host::SetUp(Box::new(organization)), theirs)
    }

    /// On a host of the name `label` in the zone, on which there is nothing.
    pub async fn bare(label: &str) -> Self {
        let world = World::new().await;
        let theirs = world.organization(THEIRS).accounts(&["bob"]).build().await;
        let loopback = Loopback::take();
        let zone = Zone::signed(&domain(OURS), KeyKind::Ed25519).unwrap();
        let zone = zone.address(label, loopback.ip);
        world.put(OURS, &zone);
        Self::on(world, Host::Bare { loopback, zone }, theirs)
    }

    fn on(world: World, host: Host, theirs: Organization) -> Self {
        let desk = Desk::new();
        desk.write("password", PASSWORD);
        desk.write("anchors", std::fs::read(world.anchors()).unwrap());
        Self {
            world,
            desk,
            theirs,
            host,
            daemon: None,
            message: None,
            exceptions: Vec::new(),
            last: None,
        }
    }

    /// Lines that begin like this may end with those codes; all others with 0.
    pub fn may_end(&mut self, start: &'static str, codes: &'static [i32]) {
        self.exceptions.retain(|(other, _)| *other != start);
        self.exceptions.push((start, codes));
    }

    /// The reader's organization.
    pub fn ours(&self) -> &Organization {
        match &self.host {
            Host::SetUp(organization) => organization,
            Host::Bare { .. } => panic!("nothing is set up"),
        }
    }

    /// Where the reader's host is.
    pub fn ip(&self) -> IpAddr {
        match &self.host {
            Host::SetUp(organization) => organization.ip,
            Host::Bare { loopback, .. } => loopback.ip,
        }
    }

    fn config(&self) -> PathBuf {
        match &self.host {
            Host::SetUp(organization) => organization.config.clone(),
            Host::Bare { .. } => self.desk.path("etc/dimed.toml"),
        }
    }

    fn data(&self) -> PathBuf {
        match &self.host {
            Host::SetUp(organization) => organization.folder.join("data"),
            Host::Bare { .. } => self.desk.path("data"),
        }
    }

    /// Runs the commands of a guide, in their order, and looks at what it shows of them.
    pub async fn play(&mut self, guide: &str) {
        let steps = text::steps(&text::read(guide));
        for step in &steps {
            self.take(step).await;
        }
    }

    /// Does one thing that a guide has its reader do.
    pub async fn take(&mut self, step: &Step) {
        match step {
            Step::Run(line) => self.run(line).await,
            Step::See(shown) => {
                let shown: Vec<String> = shown.iter().map(|line| here(line)).collect();
                let said = &self.last.as_ref().expect("a command comes first").said;
                if let Err(line) = shell::shows(said, &shown) {
                    panic!("not shown: {line}\nbut:\n{said}");
                }
            }
        }
    }

    /// Runs a line as it stands in a guide, unless a test cannot.
    pub async fn run(&mut self, line: &str) {
        if let Some(what) = elsewhere::daemon(line) {
            return self.serve(what).await;
        }
        if elsewhere::why(line).is_some() {
            return;
        }
        let (placed, config) = (self.placed(line), self.config());
        let answer = block_in_place(|| {
            let keys = keys(line);
            shell::typed(self.desk.0.path(), &config, &placed, keys.as_bytes())
        });
        let codes = self
            .exceptions
            .iter()
            .find(|(start, _)| line.starts_with(start))
            .map_or(&[0][..], |(_, codes)| *codes);
        assert!(
            codes.contains(&answer.code),
            "{line}\n({placed})\nended with {}:\n{}",
            answer.code,
            answer.said
        );
        if line.starts_with("dimed dns records ") {
            self.publish(&answer.said).await;
        }
        self.last = Some(answer);
    }

    /// The line, with the places of this world.
    fn placed(&self, line: &str) -> String {
        let ip = self.ip();
        let mut placed = here(line);
        if let Some(id) = &self.message {
            let words: Vec<&str> = placed
                .split(' ')
                .map(|word| if word == "ID" { id.as_str() } else { word })
                .collect();
            placed = words.join(" ");
        }
        let certificate = self.data().join("tls/certificate.pem");
        let submit = format!(
            "--submit mx.{OURS}:{SUBMISSION} --address {ip} --ca-file {}",
            certificate.display()
        );
        placed = placed.replace(&format!("--submit mx.{OURS}"), &submit);
        placed = placed.replace("127.0.0.1:8525", &format!("{ip}:{OPERATIONS}"));
        placed = placed.replace(&format!("--server mx2.{OURS}"), &format!("--server {ip}:{SMTP}"));
        if placed.starts_with("dimed setup ") {
            placed += &format!(
                " --data-directory data --master-key-file etc/master.key --dns-server {} --trust-anchors anchors \
                 --listen-smtp {ip}:{SMTP} --listen-dmtp {ip}:{DMTP} --listen-submission {ip}:{SUBMISSION} \
                 --listen-submissions {ip}:{SUBMISSIONS} --listen-operations {ip}:{OPERATIONS}",
                self.world.name_server()
            );
        }
        placed
    }

    /// The reader puts into DNS what is printed.
    async fn publish(&self, printed: &str) {
        match &self.host {
            Host::SetUp(organization) => organization.publish_texts(&self.world).await,
            Host::Bare { zone, .. } => {
                // What was typed stands there, too.
                let lines = printed.lines().filter(|line| line.contains(" IN "));
                let lines: String = lines.map(|line| format!("{line}\n")).collect();
                self.world.update(&zone.clone().with_text(&lines).unwrap());
            }
        }
    }

    /// Does with the daemon what systemd would.
    pub async fn serve(&mut self, what: Daemon) {
        if matches!(what, Daemon::Stop | Daemon::Restart) {
            let mut running = self.daemon.take().expect("the daemon runs");
            running.terminate();
            assert!(running.ended().await.success(), "{}", running.log());
        }
        if matches!(what, Daemon::Start | Daemon::Restart) && self.daemon.is_none() {
            self.daemon = Some(self.started().await);
        }
        if what == Daemon::Reload {
            self.daemon.as_ref().expect("the daemon runs").hang_up();
        }
    }

    async fn started(&self) -> Process {
        let log = self.desk.path("log");
        let started = |log: &str| log.matches("daemon.started").count();
        let before = started(&std::fs::read_to_string(&log).unwrap_or_default());
        let mut process = Process::start(&self.config(), &log, &Launch::default());
        eventually("the daemon to start", || {
            process.check();
            (started(&process.log()) > before).then_some(())
        })
        .await;
        process
    }

    /// A sealed message that waits, which guides call ID.
    pub async fn waits(&mut self) {
        let deadline = tokio::time::Instant::now() + super::support::PATIENCE;
        loop {
            let listed = self.ours().cli(&["queue", "list", "--json"]).await;
            let mut entries = listed
                .lines()
                .map(|line| serde_json::from_str::<Value>(line).unwrap());
            let tried = entries.find(|entry| entry["attempts"] != 0 && entry["content"] != "MIME");
            if let Some(entry) = tried {
                self.message = Some(entry["message"].as_str().unwrap().to_owned());
                return;
            }
            assert!(tokio::time::Instant::now() < deadline, "{listed}");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }
}

/// What a guide says, with the names of this world.
fn here(text: &str) -> String {
    text.replace("example.org", OURS).replace("example.net", THEIRS)
}

/// What is typed where a line asks: a passphrase for keys, and the login password; or that one, twice.
fn keys(line: &str) -> String {
    match line.starts_with("dimed key upload ") || line.starts_with("dimed key wrap ") {
        true => format!("{PASSPHRASE}\n{PASSPHRASE}\n{PASSWORD}\n"),
        false => format!("{PASSWORD}\n{PASSWORD}\n"),
    }
}
