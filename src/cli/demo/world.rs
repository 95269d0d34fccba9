//! Three organizations on loopback, each set up by the commands that an operator types, and their name server.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU16;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use clap::Parser as _;

use super::ports::Ports;
use super::watch::Watch;
use super::zones;
use crate::base::encoding::base64;
use crate::base::secret::Secret;
use crate::cli::{self, Exit};
use crate::config::{self, Config, FromPolicy, LocalMail};
use crate::crypto::at_rest::Key;
use crate::daemon::Daemon;
use crate::mail::address::{Domain, Mailbox};
use crate::net::authority::Authority;

/// Domain, user, address, and what follows `dimed domain add`.
const CAST: [(&str, &str, Ipv4Addr, &[&str]); 3] = [
    (
        "hermail.test",
        "alice",
        Ipv4Addr::new(127, 0, 0, 2),
        &["--policy", "mixed"],
    ),
    (
        "hismail.test",
        "bob",
        Ipv4Addr::new(127, 0, 0, 3),
        &["--policy", "mixed"],
    ),
    ("plain.test", "carol", Ipv4Addr::new(127, 0, 0, 4), &["--plain"]),
];

/// Everybody, running.
pub struct World {
    /// Alice's.
    pub hermail: Organization,
    /// Bob's.
    pub hismail: Organization,
    /// Carol's, without DIME.
    pub plain: Organization,
    authority: Authority,
}

/// One organization with its daemon and its one user.
pub struct Organization {
    /// Its domain.
    pub domain: Domain,
    /// What its daemon runs on.
    pub config: Config,
    /// Where that was loaded from.
    pub config_file: PathBuf,
    /// Its user.
    pub user: Mailbox,
    /// Their password.
    pub password: Secret<String>,
    /// Where they submit mail.
    pub submission: SocketAddr,
    /// What the daemon reports.
    pub watch: Arc<Watch>,
    daemon: Daemon,
}

impl World {
    /// Sets everything up in `home`, an empty directory, and starts it.
    pub async fn start(home: &Path) -> anyhow::Result<Self> {
        let ports = Ports::find(&CAST.map(|(_, _, address, _)| address))?;
        let name_server = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let authority = Authority::start(name_server, Vec::new()).await?;
        let anchors = home.join("trust-anchors");
        let surroundings = Surroundings {
            home,
            ports,
            name_server: authority.address(),
            anchors: &anchors,
        };
        let mut founded = Vec::new();
        for (domain, user, address, options) in CAST {
            let plan = Plan::new(&surroundings, domain, user, address)?;
            let records = plan.set_up(&surroundings, options).await?;
            publish(&authority, home, &plan, &records)?;
            founded.push(plan);
        }
        fs::write(&anchors, authority.trust_anchors())?;
        Self::run(founded, ports, authority).await
    }

    async fn run(founded: Vec<Plan>, ports: Ports, authority: Authority) -> anyhow::Result<Self> {
        let mut running = Vec::new();
        for plan in founded {
            running.push(plan.start(ports).await?);
        }
        let [hermail, hismail, plain] = running
            .try_into()
            .map_err(|_| anyhow::anyhow!("not all organizations were set up"))?;
        Ok(Self {
            hermail,
            hismail,
            plain,
            authority,
        })
    }

    /// Stops everything, letting running work finish.
    pub async fn shutdown(self) {
        for organization in [self.hermail, self.hismail, self.plain] {
            organization.daemon.shutdown().await;
        }
        self.authority.shutdown().await;
    }
}

impl Organization {
    /// The Maildir of its user.
    pub fn maildir(&self) -> PathBuf {
        self.config.maildirs().folder(&self.user)
    }

    /// The name of its mail host.
    pub fn host(&self) -> &Domain {
        &self.config.server.hostname
    }

    /// What waits in its queue and why, as `dimed queue list` has it.
    pub async fn queue(&self) -> anyhow::Result<String> {
        dimed(&self.config_file, &["queue", "list"]).await
    }
}

/// What all organizations share.
struct Surroundings<'a> {
    home: &'a Path,
    ports: Ports,
    name_server: SocketAddr,
    anchors: &'a Path,
}

/// An organization before its daemon runs.
struct Plan {
    domain: Domain,
    host: Domain,
    user: Mailbox,
    address: Ipv4Addr,
    folder: PathBuf,
    password: Secret<String>,
}

impl Plan {
    fn new(around: &Surroundings<'_>, domain: &str, user: &str, address: Ipv4Addr) -> anyhow::Result<Self> {
        Ok(Self {
            domain: domain.parse()?,
            host: format!("mx.{domain}").parse()?,
            user: format!("{user}@{domain}").parse()?,
            address,
            folder: around.home.join(domain),
            password: random_password(),
        })
    }

    fn config_file(&self) -> PathBuf {
        self.folder.join("dimed.toml")
    }

    /// Does what an operator does on a new machine; returns what to publish in DNS.
    async fn set_up(&self, around: &Surroundings<'_>, options: &[&str]) -> anyhow::Result<String> {
        let (domain, user) = (self.domain.to_string(), self.user.to_string());
        let failed = || format!("{domain} cannot be set up in {}", self.folder.display());
        fs::create_dir_all(&self.folder).with_context(failed)?;
        let config = self.config(around);
        fs::write(self.config_file(), toml::to_string(&config)?).with_context(failed)?;
        config::create_master_key(&config.server.master_key_file, &Key::generate(&mut rand::rng()))?;
        let password = self.folder.join("password");
        write_secret(&password, &format!("{}\n", self.password.expose())).with_context(failed)?;
        let password = password.display().to_string();

        let file = self.config_file();
        // Its key is there before it, so that nobody is told of one.
        dimed(&file, &[&["domain", "add", &domain, "--new"], options].concat()).await?;
        dimed(&file, &["account", "add", &user, "--password-file", &password]).await?;
        dimed(&file, &["dns", "records", &domain]).await
    }

    /// The defaults, but for places and ports.
    fn config(&self, around: &Surroundings<'_>) -> Config {
        let mut config = Config::for_host(self.host.clone());
        config.server.data_directory = self.folder.join("data");
        config.server.master_key_file = self.folder.join("master.key");
        config.server.shutdown_grace_secs = 2;
        let at = |port| vec![SocketAddr::from((self.address, port))];
        config.listen.smtp = at(around.ports.smtp);
        config.listen.dmtp = at(around.ports.dmtp);
        config.listen.submission = at(around.ports.submission);
        config.listen.submissions = Vec::new();
        config.listen.operations = Vec::new();
        // Whoever tries a message of theirs (--eml) is in its From field.
        config.submission.from = FromPolicy::Off;
        config.dns.servers = vec![around.name_server];
        config.dns.trust_anchors = Some(around.anchors.to_owned());
        config.local = LocalMail::none();
        let port = |number| NonZeroU16::new(number).unwrap_or(NonZeroU16::MAX);
        config.outbound.smtp_port = port(around.ports.smtp);
        config.outbound.dmtp_port = port(around.ports.dmtp);
        config.outbound.submission_port = port(around.ports.submission);
        config.outbound.source_address = Some(IpAddr::V4(self.address));
        config
    }

    async fn start(self, ports: Ports) -> anyhow::Result<Organization> {
        let config_file = self.config_file();
        let config = Config::load(&config_file)?;
        let watch = Arc::new(Watch::default());
        let observer = Arc::clone(&watch);
        let daemon = Daemon::start(config.clone(), observer)
            .await
            .with_context(|| format!("the daemon of {} cannot be started", self.domain))?;
        Ok(Organization {
            submission: SocketAddr::from((self.address, ports.submission)),
            domain: self.domain,
            config,
            config_file,
            user: self.user,
            password: self.password,
            watch,
            daemon,
        })
    }
}

fn random_password() -> Secret<String> {
    Secret::new(base64(&rand::random::<[u8; 18]>()))
}

/// Signs and serves the zone of an organization, and leaves its text to look at.
fn publish(authority: &Authority, home: &Path, plan: &Plan, records: &str) -> anyhow::Result<()> {
    let text = zones::text(records, &plan.host, plan.address);
    fs::write(home.join(format!("{}.zone", plan.domain)), &text)?;
    authority.put_zone(&zones::signed(&plan.domain, &text)?)?;
    Ok(())
}

/// Runs a command as if it had been typed; returns what it printed.
async fn dimed(config: &Path, words: &[&str]) -> anyhow::Result<String> {
    let config = config.display().to_string();
    let line = ["dimed", "--config", &config]
        .into_iter()
        .chain(words.iter().copied());
    let arguments = cli::Arguments::try_parse_from(line)?;
    let mut out = Vec::new();
    // Boxed, because the demo is a command itself.
    let exit = Box::pin(cli::run(arguments, &mut out)).await?;
    anyhow::ensure!(exit == Exit::Done, "`dimed {}` failed", words.join(" "));
    Ok(String::from_utf8(out)?)
}

/// For its owner alone.
fn write_secret(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text.as_bytes())
}
