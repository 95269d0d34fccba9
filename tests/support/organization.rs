//! One organization: its files, its records and its daemon, set up through the command line as by hand.

use std::net::{IpAddr, SocketAddr};
use std::num::{NonZeroU16, NonZeroU32, NonZeroU64, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Parser as _;
use dimed::base::time::{Clock as _, SystemClock};
use dimed::cli::{Arguments, Exit};
use dimed::config::{Config, LogFormat};
use dimed::daemon::{Daemon, Services};
use dimed::dime::keys::UserKeys;
use dimed::dime::signet::Signer;
use dimed::mail::address::Domain;
use dimed::net::authority::{KeyKind, Zone};
use dimed::signet_service::Offer;
use dimed::store::{HistoricSignet, StoredSignet};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, SqliteConnection};

use super::child::{DIMED, Launch, Process};
use super::loopback::{self, Loopback};
use super::maildir::Maildir;
use super::observer::Witness;
use super::talk::Talk;
use super::world::{World, domain};
use super::{PATIENCE, eventually};

/// The password of every account.
pub const PASSWORD: &str = "correct horse";

/// An organization under construction.
pub struct Builder<'a> {
    world: &'a World,
    name: Domain,
    accounts: Vec<&'a str>,
    plain: bool,
    policy: &'a str,
    published: bool,
    names_dx: bool,
    opted_out: bool,
    change: Box<dyn Fn(&mut Config) + 'a>,
    rewrite: Box<dyn Fn(String) -> String + 'a>,
}

impl<'a> Builder<'a> {
    pub(super) fn new(world: &'a World, name: Domain) -> Self {
        Self {
            world,
            name,
            accounts: Vec::new(),
            plain: false,
            policy: "experimental",
            published: true,
            names_dx: true,
            opted_out: false,
            change: Box::new(|_| {}),
            rewrite: Box::new(|record| record),
        }
    }

    /// Local-parts of accounts.
    pub fn accounts(mut self, locals: &[&'a str]) -> Self {
        self.accounts = locals.to_vec();
        self
    }

    /// Without DIME.
    pub fn plain(mut self) -> Self {
        self.plain = true;
        self
    }

    /// The policy in its record.
    pub fn policy(mut self, policy: &'a str) -> Self {
        self.policy = policy;
        self
    }

    /// With DIME, and without its management record in DNS.
    pub fn unpublished(mut self) -> Self {
        self.published = false;
        self
    }

    /// Publishes a record without `dx`, so that peers try its mail hosts in dual mode.
    pub fn without_dx(mut self) -> Self {
        self.names_dx = false;
        self
    }

    /// Says in its signet that it has no keys for D/MIME 2, so that its mail goes as D/MIME 1.
    pub fn opted_out(mut self) -> Self {
        self.opted_out = true;
        self
    }

    /// Changes the configuration.
    pub fn config(mut self, change: impl Fn(&mut Config) + 'a) -> Self {
        self.change = Box::new(change);
        self
    }

    /// Publishes another management record than it should.
    pub fn record(mut self, rewrite: impl Fn(String) -> String + 'a) -> Self {
        self.rewrite = Box::new(rewrite);
        self
    }

    /// Makes files, keys and accounts, and publishes the records.
    pub async fn build(self) -> Organization {
        let folder = self.world.home().join(self.name.as_str());
        std::fs::create_dir(&folder).unwrap();
        let loopback = Loopback::take();
        let mut config = config(self.world, &self.name, &folder, loopback.ip);
        (self.change)(&mut config);
        let path = folder.join("dimed.toml");
        std::fs::write(&path, toml::to_string(&config).unwrap()).unwrap();
        let organization = Organization {
            name: self.name.clone(),
            ip: loopback.ip,
            config: path,
            folder,
            hosts: hosts(&self.name, loopback.ip),
            _loopback: loopback,
        };
        organization.add_domain(self.plain, self.policy).await;
        if self.opted_out {
            organization.opt_out().await;
        }
        for local in &self.accounts {
            organization.add_account(local).await;
        }
        let has_record = self.published && !self.plain;
        let zone = organization.zone(self.names_dx, has_record, &self.rewrite).await;
        self.world.put(self.name.as_str(), &zone);
        organization
    }
}

/// What the tests need to differ from the defaults: addresses, ports, and less work for passwords.
fn config(world: &World, name: &Domain, folder: &Path, ip: IpAddr) -> Config {
    let mut config = Config::for_host(domain(&format!("mx.{name}")));
    let at = |port| vec![SocketAddr::new(ip, port)];
    config.server.data_directory = folder.join("data");
    config.server.master_key_file = folder.join("master.key");
    // Tests stop daemons while they have sessions open.
    config.server.shutdown_grace_secs = 3;
    config.listen.smtp = at(loopback::SMTP);
    config.listen.dmtp = at(loopback::DMTP);
    config.listen.submission = at(loopback::SUBMISSION);
    config.listen.submissions = at(loopback::SUBMISSIONS);
    config.listen.operations = at(loopback::OPERATIONS);
    config.dns.servers = vec![world.name_server()];
    config.dns.trust_anchors = Some(world.anchors());
    config.outbound.smtp_port = NonZeroU16::new(loopback::SMTP).unwrap();
    config.outbound.dmtp_port = NonZeroU16::new(loopback::DMTP).unwrap();
    config.outbound.https_port = NonZeroU16::new(loopback::HTTPS).unwrap();
    config.outbound.source_address = Some(ip);
    config.limits.connections_per_address = NonZeroUsize::new(100).unwrap();
    config.accounts.password_memory_kib = NonZeroU32::new(64).unwrap();
    config.accounts.password_passes = NonZeroU32::new(1).unwrap();
    config.accounts.scram_rounds = NonZeroU32::new(4096).unwrap();
    config.queue.retry_first_secs = NonZeroU64::new(1).unwrap();
    config.local.drop = folder.join("drop");
    config.local.aliases = folder.join("aliases");
    // How full the disk of the machine is does not matter to tests.
    config.storage.min_free_mib = 0;
    config.storage.min_free_inodes = 0;
    config.log.format = LogFormat::Json;
    config
}

/// An organization with everything it needs to be served.
pub struct Organization {
    /// Its domain.
    pub name: Domain,
    /// Where it listens.
    pub ip: IpAddr,
    /// Its configuration file.
    pub config: PathBuf,
    /// Everything it keeps.
    pub folder: PathBuf,
    /// Its signed zone without the management record.
    hosts: Zone,
    _loopback: Loopback,
}

fn hosts(name: &Domain, ip: IpAddr) -> Zone {
    let zone = Zone::signed(name, KeyKind::Ed25519).unwrap();
    zone.mx("", 10, &domain(&format!("mx.{name}"))).address("mx", ip)
}

impl Organization {
    /// Runs a command of the command line to its success; what it printed.
    pub async fn cli(&self, arguments: &[&str]) -> String {
        let (exit, printed) = self.answered(arguments).await;
        assert_eq!(exit, Exit::Done, "{printed}");
        printed
    }

    /// Runs a command of the command line; its answer, and what it printed.
    pub async fn answered(&self, arguments: &[&str]) -> (Exit, String) {
        let config = self.config.to_str().unwrap();
        let all = [&["dimed", "--config", config], arguments].concat();
        let arguments = Arguments::try_parse_from(all).unwrap();
        let mut out = Vec::new();
        let exit = dimed::cli::run(arguments, &mut out).await.unwrap();
        (exit, String::from_utf8(out).unwrap())
    }

    /// The same for a command whose answer may be no.
    pub async fn cli_any(&self, arguments: &[&str]) -> String {
        let config = self.config.to_str().unwrap();
        let all = [&["dimed", "--config", config], arguments].concat();
        let arguments = Arguments::try_parse_from(all).unwrap();
        let mut out = Vec::new();
        dimed::cli::run(arguments, &mut out).await.unwrap();
        String::from_utf8(out).unwrap()
    }

    /// Runs a command of the binary: its exit code, what it printed, and what it said on standard error.
    pub fn binary(&self, arguments: &[&str]) -> (i32, String, String) {
        let mut command = std::process::Command::new(DIMED);
        command
            .arg("--config")
            .arg(&self.config)
            .args(arguments)
            .env_remove("DIMED_MASTER_KEY")
            .env_remove("CREDENTIALS_DIRECTORY");
        let done = tokio::task::block_in_place(|| command.output()).unwrap();
        let text = |octets| String::from_utf8(octets).unwrap();
        (done.status.code().unwrap(), text(done.stdout), text(done.stderr))
    }

    async fn add_domain(&self, plain: bool, policy: &str) {
        let name = self.name.as_str();
        match plain {
            true => self.cli(&["domain", "add", name, "--plain"]).await,
            false => self.cli(&["domain", "add", name, "--policy", policy]).await,
        };
    }

    async fn opt_out(&self) {
        let published = self.services().await.published;
        published
            .renew_organization(&self.name, Offer::OptOut)
            .await
            .unwrap();
    }

    /// Gives bob new keys; the private halves of the old ones are gone at once.
    pub async fn rotate_bob(&self) {
        self.lose_keys_of_bob().await;
        let published = self.services().await.published;
        let keys = UserKeys::generate(&mut rand::rng());
        let address = self.address("bob").parse().unwrap();
        published.publish_user(&address, keys).await.unwrap();
        self.change_database(
            "UPDATE signets SET private_keys = NULL WHERE name LIKE 'bob@%' AND erase_keys_at IS NOT NULL",
        )
        .await;
    }

    /// Destroys the private KEM keys of bob, and leaves his signet as it is.
    pub async fn lose_keys_of_bob(&self) {
        self.change_database("DELETE FROM kem_keys WHERE name LIKE 'bob@%'")
            .await;
    }

    /// Publishes the record as it is to be now.
    pub async fn publish(&self, world: &World) {
        let text = self.cli(&["dns", "records", self.name.as_str()]).await;
        world.update(&self.hosts.clone().txt("_dx", record(&text)));
    }

    /// Publishes that record, whatever it should say.
    pub fn publish_record(&self, world: &World, record: &str) {
        world.update(&self.hosts.clone().txt("_dx", record));
    }

    /// The same domain on another machine: with an address of its own, and a folder with a configuration and nothing else. DNS
    /// does not lead there before a record is published from there: then by that name and by the old one, `mx`.
    pub fn elsewhere(&self, world: &World, host: &str, change: impl Fn(&mut Config)) -> Self {
        let loopback = Loopback::take();
        let folder = world.home().join(format!("{host}.{}", self.name));
        std::fs::create_dir(&folder).unwrap();
        let mut config = config(world, &self.name, &folder, loopback.ip);
        let name = domain(&format!("{host}.{}", self.name));
        config.server.hostname = name.clone();
        change(&mut config);
        let path = folder.join("dimed.toml");
        std::fs::write(&path, toml::to_string(&config).unwrap()).unwrap();
        let zone = self.hosts.clone().remove("").remove("mx").mx("", 10, &name);
        let zone = zone.address("mx", loopback.ip);
        Self {
            name: self.name.clone(),
            ip: loopback.ip,
            config: path,
            folder,
            hosts: match host {
                "mx" => zone,
                _ => zone.address(host, loopback.ip),
            },
            _loopback: loopback,
        }
    }

    /// Publishes every text that is to be published now.
    pub async fn publish_texts(&self, world: &World) {
        let text = self.cli(&["dns", "records", self.name.as_str()]).await;
        let texts: Vec<&str> = text.lines().filter(|line| line.contains(" IN TXT ")).collect();
        let texts = texts.join("\n") + "\n";
        world.update(&self.hosts.clone().with_text(&texts).unwrap());
    }

    /// Publishes one text at the domain itself, and no others.
    pub fn publish_text(&self, world: &World, text: &str) {
        world.update(&self.hosts.clone().txt("", text));
    }

    /// Takes all texts out of DNS.
    pub fn unpublish_texts(&self, world: &World) {
        world.update(&self.hosts);
    }

    /// Has it look the record of a domain up again.
    pub async fn forget_record(&self, domain: &str) {
        let store = self.services().await.store;
        store.drop_pin(&domain.parse().unwrap()).await.unwrap();
    }

    /// Every signet of a domain or address, oldest first.
    pub async fn history(&self, name: &str) -> Vec<HistoricSignet> {
        let store = self.services().await.store;
        store.signet_history(name).await.unwrap()
    }

    /// Publishes another signet for a user, which is that many octets longer.
    pub async fn enlarge(&self, address: &str, octets: usize) {
        let Services { store, published, .. } = self.services().await;
        let domain = published.organization(&self.name).await.unwrap().unwrap();
        let address = address.parse().unwrap();
        let user = published.user(&address).await.unwrap().unwrap();
        let signer = Signer::new(&domain.signet, &domain.keys.signing).unwrap();
        let mut builder = signer.edit(&user.signet).unwrap();
        let profile = builder.profile_mut();
        profile.add_undefined(b"padding", &vec![7; octets]).unwrap();
        let signet = builder.identifiable(&address).unwrap();
        let stored = StoredSignet {
            name: address.to_string(),
            crypto: signet.crypto_fingerprint().unwrap(),
            full: signet.full_fingerprint().unwrap(),
            id: signet.id_fingerprint().unwrap(),
            object: signet.encode(),
            published_at: SystemClock.now(),
        };
        store.publish_signet(stored.into()).await.unwrap();
    }

    /// Adds an account with [`PASSWORD`].
    pub async fn add_account(&self, local: &str) {
        let file = self.folder.join("password");
        std::fs::write(&file, PASSWORD).unwrap();
        let file = file.to_str().unwrap();
        let address = self.address(local);
        self.cli(&["account", "add", &address, "--password-file", file])
            .await;
    }

    /// What `dimed dns records` prints, as a signed zone.
    async fn zone(&self, names_dx: bool, has_record: bool, rewrite: &dyn Fn(String) -> String) -> Zone {
        let text = self.cli(&["dns", "records", self.name.as_str()]).await;
        let host = domain(&format!("mx.{}", self.name));
        let mut zone = self.hosts.clone();
        assert!(text.contains(&format!("{}. 3600 IN MX 10 {host}.", self.name)));
        if has_record {
            let mut record = record(&text);
            if !names_dx {
                record = record.replace(&format!(" dx={host}"), "");
                assert!(!record.contains("dx="));
            }
            zone = zone.txt("_dx", rewrite(record));
        }
        zone
    }

    /// The address of an account.
    pub fn address(&self, local: &str) -> String {
        format!("{local}@{}", self.name)
    }

    /// The Maildir of an account.
    pub fn maildir(&self, local: &str) -> Maildir {
        let config = Config::load(&self.config).unwrap();
        let address = self.address(local).parse().unwrap();
        Maildir(config.maildirs().folder(&address))
    }

    /// Everything that its daemon works with, beside the daemon or without one.
    pub async fn services(&self) -> Services {
        let config = Config::load(&self.config).unwrap();
        Services::open(config, Arc::new(Witness::default()))
            .await
            .unwrap()
    }

    async fn database(&self) -> SqliteConnection {
        let config = Config::load(&self.config).unwrap();
        let options = SqliteConnectOptions::new().filename(config.server.database());
        options.connect().await.unwrap()
    }

    /// A number out of the database.
    pub async fn count(&self, sql: &'static str) -> i64 {
        let mut connection = self.database().await;
        let counted = sqlx::query_scalar(sql).fetch_one(&mut connection).await;
        connection.close().await.unwrap();
        counted.unwrap()
    }

    /// Changes the database in a way for which there is no command.
    pub async fn change_database(&self, sql: &'static str) {
        let mut connection = self.database().await;
        let changed = sqlx::query(sql).execute(&mut connection).await.unwrap();
        assert!(changed.rows_affected() > 0, "{sql}");
        connection.close().await.unwrap();
        // Rows in memory are used for 10 ms before others' changes are looked for.
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }

    /// Puts a file where the Maildir of an account would be, so that nothing can be delivered there.
    pub fn block_mailbox(&self, local: &str) {
        let maildir = self.maildir(local).0;
        std::fs::create_dir_all(maildir.parent().unwrap()).unwrap();
        std::fs::write(maildir, "").unwrap();
    }

    /// Serves in this process.
    pub async fn start(&self) -> Served {
        let config = Config::load(&self.config).unwrap();
        let witness = Arc::new(Witness::default());
        let daemon = Daemon::start(config, Arc::clone(&witness) as _).await.unwrap();
        Served { daemon, witness }
    }

    /// Serves in a process of its own, and returns once it says that it is ready.
    pub async fn spawn(&self) -> Process {
        self.spawn_with(&Launch::default()).await
    }

    /// The same in other surroundings.
    pub async fn spawn_with(&self, launch: &Launch) -> Process {
        let started = |log: &str| log.matches("\"daemon.started\"").count();
        let before = std::fs::read_to_string(self.log()).unwrap_or_default();
        let mut process = Process::start(&self.config, &self.log(), launch);
        eventually("the daemon to start", || {
            process.check();
            (started(&process.log()) > started(&before)).then_some(())
        })
        .await;
        process
    }

    /// Where the log of the process goes.
    pub fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    /// Submits a message as one of the accounts; it must be accepted.
    pub async fn submit(&self, local: &str, to: &[&str], message: &str) {
        let from = self.address(local);
        let mut talk = Talk::submission(self.ip, &from).await;
        let reply = talk.transfer(&from, to, message).await;
        assert!(reply.starts_with("250 2.0.0 Ok: queued as "), "{reply}");
        talk.ask("QUIT", "221").await;
    }

    /// Waits until nothing is left to do.
    pub async fn idle(&self) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let listed = self.cli(&["queue", "list"]).await;
            if listed.contains("empty") {
                return;
            }
            assert!(
                tokio::time::Instant::now() < deadline,
                "the queue does not empty: {listed}"
            );
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }
}

/// The text of the management record among zone-file lines.
pub fn record(text: &str) -> String {
    let is_record = |line: &&str| line.starts_with("_dx.") && line.contains(" IN TXT ");
    let line = text.lines().find(is_record).unwrap();
    let (_, strings) = line.split_once(" IN TXT ").unwrap();
    let inner = strings.strip_prefix('"').unwrap().strip_suffix('"').unwrap();
    inner.split("\" \"").collect()
}

/// A daemon in this process.
pub struct Served {
    daemon: Daemon,
    /// What it saw.
    pub witness: Arc<Witness>,
}

impl Served {
    /// Stops it in stages.
    pub async fn stop(self) {
        self.daemon.shutdown().await;
    }

    /// Waits until a number of objects has come in over DMTP.
    pub async fn objects(&self, count: usize) -> Vec<Vec<u8>> {
        eventually("sealed messages", || {
            let objects = self.witness.objects();
            (objects.len() >= count).then_some(objects)
        })
        .await
    }
}
