//! Knot DNS on a loopback address of its own: zones that it signs by itself, in a chain from a root of our own, and zones
//! in which something is wrong.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use tempfile::TempDir;

use super::eventually;
use super::loopback::Loopback;

/// Where Knot listens, on an address that is its alone.
const PORT: u16 = 10053;
/// TTL of every record, in seconds.
pub const TTL: u64 = 300;
const DAY: u64 = 24 * 3600;

/// How a zone says that a name does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denial {
    /// NSEC.
    Nsec,
    /// NSEC3 without salt and further iterations.
    Nsec3,
    /// The same, leaving out unsigned delegations.
    OptOut,
}

/// What is wrong with a signed zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Its signatures ran out a fortnight ago.
    Expired,
    /// Its signatures are valid from next month on.
    NotYetValid,
    /// The parent names another key.
    WrongDs,
    /// The parent names no key, with proof.
    NoDs,
    /// Signatures over records of that type are missing.
    Unsigned(&'static str),
    /// A digit of signatures over records of that type is another.
    Forged(&'static str),
    /// Records that deny are missing, with their signatures.
    NoDenials,
    /// The server has the zone and cannot read it.
    Unreadable,
}

/// A zone to be served.
#[derive(Debug, Clone)]
pub struct Zone {
    name: String,
    signing: Option<(&'static str, Denial)>,
    fault: Option<Fault>,
    records: String,
}

impl Zone {
    /// Without signatures. The root is `.`; every other zone is delegated to by the closest one above it.
    pub fn unsigned(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            signing: None,
            fault: None,
            records: String::new(),
        }
    }

    /// Signed with an algorithm by its name in Knot.
    pub fn signed(name: &str, algorithm: &'static str, denial: Denial) -> Self {
        Self {
            signing: Some((algorithm, denial)),
            ..Self::unsigned(name)
        }
    }

    /// Lines of a zone file. Names without a final dot are relative to the zone.
    pub fn with(mut self, lines: &str) -> Self {
        self.records += lines;
        self.records.push('\n');
        self
    }

    /// With something wrong.
    pub fn but(mut self, fault: Fault) -> Self {
        self.fault = Some(fault);
        self
    }

    fn is_below(&self, other: &Self) -> bool {
        self.name != other.name && (other.name == "." || self.name.ends_with(&format!(".{}", other.name)))
    }

    fn fqdn(&self) -> String {
        format!("{}.", self.name.trim_end_matches('.'))
    }

    /// Zones that Knot signs itself, against those that are signed once and then damaged.
    fn is_static(&self) -> bool {
        use Fault::{Expired, Forged, NoDenials, NotYetValid, Unsigned};
        matches!(
            self.fault,
            Some(Expired | NotYetValid | Unsigned(_) | Forged(_) | NoDenials)
        )
    }
}

/// A running Knot DNS; stopped when dropped.
pub struct NameServer {
    /// Where it listens.
    pub address: SocketAddr,
    /// The root's key, as a trust anchor.
    pub anchor: String,
    home: TempDir,
    process: Child,
    replaced: AtomicU32,
    _loopback: Loopback,
}

impl NameServer {
    /// Serves the zones, the first of which is the root or another one that is a trust anchor of its own.
    pub async fn start(zones: &[Zone]) -> Self {
        let loopback = Loopback::take();
        let address = SocketAddr::new(loopback.ip, PORT);
        let home = tempfile::tempdir().unwrap();
        let site = Site {
            folder: home.path(),
            address,
            zones,
        };
        let anchor = site.prepare();
        let process = site.serve();
        let server = Self {
            address,
            anchor,
            home,
            process,
            replaced: AtomicU32::new(0),
            _loopback: loopback,
        };
        server.ready(zones).await;
        server
    }

    /// File with the trust anchor.
    pub fn anchor_file(&self) -> PathBuf {
        self.home.path().join("anchor")
    }

    /// Replaces what a zone says; Knot signs it again. Not for zones with others below them.
    pub fn replace(&self, zone: &Zone) {
        let serial = 2 + self.replaced.fetch_add(1, Ordering::Relaxed);
        let text = zone_text(zone, &serial.to_string(), "");
        std::fs::write(self.home.path().join(file_name(zone)), text).unwrap();
        let socket = self.home.path().join("run/knot.sock");
        done(
            program("knotc")
                .arg("-s")
                .arg(&socket)
                .args(["-b", "zone-reload", &zone.fqdn()]),
        );
    }

    /// What it logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.home.path().join("log")).unwrap_or_default()
    }

    async fn ready(&self, zones: &[Zone]) {
        let readable = zones.iter().filter(|zone| zone.fault != Some(Fault::Unreadable));
        let loaded: Vec<String> = readable
            .map(|zone| format!("[{}] loaded, serial", zone.fqdn()))
            .collect();
        eventually("Knot to load its zones", || {
            let log = self.log();
            let all = loaded.iter().all(|line| log.contains(line)) && log.contains("control, binding");
            all.then_some(())
        })
        .await;
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The files of a server.
struct Site<'a> {
    folder: &'a Path,
    address: SocketAddr,
    zones: &'a [Zone],
}

impl Site<'_> {
    /// Makes keys and writes zones; returns the first zone's key.
    fn prepare(&self) -> String {
        for folder in ["db", "run", "signed"] {
            std::fs::create_dir(self.folder.join(folder)).unwrap();
        }
        std::fs::write(self.folder.join("sign.conf"), self.config(true)).unwrap();
        std::fs::write(self.folder.join("serve.conf"), self.config(false)).unwrap();
        let signed = self.zones.iter().filter(|zone| zone.signing.is_some());
        signed.for_each(|zone| self.make_key(zone));
        for zone in self.zones {
            if zone.fault != Some(Fault::Unreadable) {
                let text = zone_text(zone, "1", &self.delegations(zone));
                std::fs::write(self.folder.join(file_name(zone)), text).unwrap();
            }
        }
        for zone in self.zones.iter().filter(|zone| zone.is_static()) {
            self.sign_and_damage(zone);
        }
        let anchor = self.keymgr(&self.zones[0], &["dnskey"]);
        std::fs::write(self.folder.join("anchor"), &anchor).unwrap();
        anchor
    }

    fn serve(&self) -> Child {
        let log = std::fs::File::create(self.folder.join("log")).unwrap();
        program("knotd")
            .arg("-c")
            .arg(self.folder.join("serve.conf"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("knotd starts")
    }

    /// What Knot is told: to sign everything that has a key, or to leave the damaged zones as they are.
    fn config(&self, signing: bool) -> String {
        let home = self.folder.display();
        let (ip, port) = (self.address.ip(), self.address.port());
        let mut text = format!(
            "server:\n    rundir: \"{home}/run\"\n    listen: {ip}@{port}\n    udp-workers: 1\n    tcp-workers: 1\n    \
             background-workers: 1\n    automatic-acl: off\nlog:\n  - target: stderr\n    any: info\n\
             database:\n    storage: \"{home}/db\"\n    kasp-db-max-size: 10M\n    journal-db-max-size: 1M\n    \
             timer-db-max-size: 1M\npolicy:\n"
        );
        for zone in self.zones {
            if let Some((algorithm, denial)) = zone.signing {
                let id = policy(zone);
                let nsec3 = if denial == Denial::Nsec { "off" } else { "on" };
                let single = if is_split(algorithm) { "off" } else { "on" };
                let opt_out = if denial == Denial::OptOut { "on" } else { "off" };
                write!(
                    text,
                    "  - id: {id}\n    algorithm: {algorithm}\n    single-type-signing: {single}\n    \
                     dnskey-ttl: {TTL}\n    zone-max-ttl: {TTL}\n    nsec3: {nsec3}\n    nsec3-iterations: 0\n    \
                     nsec3-salt-length: 0\n    nsec3-opt-out: {opt_out}\n"
                )
                .unwrap();
            }
        }
        write!(
            text,
            "template:\n  - id: default\n    storage: \"{home}\"\n    journal-content: none\n    \
             zonefile-sync: -1\n    zonefile-load: whole\n    semantic-checks: off\nzone:\n"
        )
        .unwrap();
        for zone in self.zones {
            let file = match zone.is_static() && !signing {
                true => format!("signed/{}", file_name(zone)),
                false => file_name(zone),
            };
            let name = zone.fqdn();
            write!(text, "  - domain: {name}\n    file: \"{file}\"\n").unwrap();
            if zone.signing.is_some() && (signing || !zone.is_static()) {
                write!(
                    text,
                    "    dnssec-signing: on\n    dnssec-policy: {}\n",
                    policy(zone)
                )
                .unwrap();
            }
        }
        text
    }

    /// One key for everything, but two for RSA, as is usual; in use since long ago, so that signatures of another time
    /// can be made with them.
    fn make_key(&self, zone: &Zone) {
        let (algorithm, _) = zone.signing.unwrap();
        let since = unix_secs() - 90 * DAY;
        let states = ["created", "publish", "ready", "active"].map(|state| format!("{state}={since}"));
        let uses: &[[&str; 2]] = match is_split(algorithm) {
            true => &[["ksk=yes", "zsk=no"], ["ksk=no", "zsk=yes"]],
            false => &[["ksk=yes", "zsk=yes"]],
        };
        for uses in uses {
            let algorithm = format!("algorithm={algorithm}");
            let mut arguments = vec!["generate", &algorithm];
            arguments.extend(uses);
            arguments.extend(states.iter().map(String::as_str));
            self.keymgr(zone, &arguments);
        }
    }

    fn keymgr(&self, zone: &Zone, arguments: &[&str]) -> String {
        done(
            program("keymgr")
                .arg("-c")
                .arg(self.folder.join("sign.conf"))
                .arg(zone.fqdn())
                .args(arguments),
        )
    }

    /// NS and DS records for the zones right below.
    fn delegations(&self, parent: &Zone) -> String {
        let mut text = String::new();
        for child in self.zones.iter().filter(|zone| zone.is_below(parent)) {
            let between = |zone: &&Zone| child.is_below(zone) && zone.is_below(parent);
            if self.zones.iter().any(|zone| between(&zone)) {
                continue;
            }
            let name = child.fqdn();
            writeln!(text, "{name} {TTL} NS ns.dns-host.").unwrap();
            if child.signing.is_some() && child.fault != Some(Fault::NoDs) {
                text += &self.digest(child);
            }
        }
        text
    }

    /// The DS record with SHA-256; of another key if that is the fault.
    fn digest(&self, child: &Zone) -> String {
        let all = self.keymgr(child, &["ds"]);
        let line = all
            .lines()
            .find(|line| line.split_whitespace().nth(4).is_some_and(|kind| kind == "2"));
        let line = line.expect("keymgr prints a SHA-256 digest");
        let (head, digest) = line.rsplit_once(' ').unwrap();
        let digest = match child.fault {
            Some(Fault::WrongDs) => "0".repeat(digest.len()),
            _ => digest.to_owned(),
        };
        format!("{head} {digest}\n")
    }

    fn sign_and_damage(&self, zone: &Zone) {
        let when = match zone.fault {
            Some(Fault::Expired) => unix_secs() - 30 * DAY,
            Some(Fault::NotYetValid) => unix_secs() + 30 * DAY,
            _ => unix_secs(),
        };
        let folder = self.folder.join("signed");
        done(
            program("kzonesign")
                .arg("-c")
                .arg(self.folder.join("sign.conf"))
                .arg("-o")
                .arg(&folder)
                .args(["-t", &when.to_string(), &zone.fqdn()]),
        );
        let path = folder.join(file_name(zone));
        let text = std::fs::read_to_string(&path).unwrap();
        let lines = text.lines().filter_map(|line| damaged(line, zone.fault));
        let text: String = lines.map(|line| line + "\n").collect();
        std::fs::write(&path, text).unwrap();
    }
}

fn is_split(algorithm: &str) -> bool {
    algorithm.starts_with("RSA")
}

/// A line of a signed zone with what is wrong; `None` if it is missing.
fn damaged(line: &str, fault: Option<Fault>) -> Option<String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let kind = words.get(2).copied().unwrap_or_default();
    let covers = |covered: &str| kind == "RRSIG" && words.get(3) == Some(&covered);
    let denies = ["NSEC", "NSEC3"]
        .iter()
        .any(|denial| kind == *denial || covers(denial));
    match fault {
        Some(Fault::Unsigned(covered)) if covers(covered) => None,
        Some(Fault::NoDenials) if denies => None,
        Some(Fault::Forged(covered)) if covers(covered) => {
            let (head, signature) = line.rsplit_once(char::is_whitespace).unwrap();
            let other = if signature.starts_with('A') { "B" } else { "A" };
            Some(format!("{head} {other}{}", &signature[1..]))
        }
        _ => Some(line.to_owned()),
    }
}

fn zone_text(zone: &Zone, serial: &str, delegations: &str) -> String {
    let origin = zone.fqdn();
    format!(
        "$ORIGIN {origin}\n$TTL {TTL}\n@ SOA ns.dns-host. hostmaster.dns-host. {serial} 3600 600 86400 {TTL}\n\
         @ NS ns.dns-host.\n{}{delegations}",
        zone.records
    )
}

fn file_name(zone: &Zone) -> String {
    match zone.name.as_str() {
        "." => String::from("root.zone"),
        name => format!("{name}.zone"),
    }
}

fn policy(zone: &Zone) -> String {
    match zone.name.as_str() {
        "." => String::from("root"),
        name => name.replace('.', "-"),
    }
}

/// A program of a Debian package; administrators' ones are not on everybody's path.
pub fn program(name: &str) -> Command {
    let path = std::env::var("PATH").unwrap_or_default();
    let folders = format!("{path}:/usr/sbin:/sbin");
    let found = folders
        .split(':')
        .map(|folder| Path::new(folder).join(name))
        .find(|path| path.exists());
    let found = found.unwrap_or_else(|| panic!("{name} is not installed; tests/run installs it"));
    Command::new(found)
}

/// What a program prints, which must end well.
pub fn done(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

fn unix_secs() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}
