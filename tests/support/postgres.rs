//! PostgreSQL: a server for all tests, with a database for each, and servers of their own for tests that stop them.
//!
//! The first test that needs it starts the shared one, in a folder of its own, on a Unix socket, as the user `postgres` if the tests
//! run as root. It goes a few seconds after the last test that uses it.

use std::fs::{self, File};
use std::net::IpAddr;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use dimed::store::postgres::{Address, Host, Server};
use tempfile::TempDir;

use super::certificates::Certificate;

const ROLE: &str = "dimed";

/// Of the role, by TCP.
pub const PASSWORD: &str = "open sesame";

/// The part of a socket's name that would be a port.
const PORT: u16 = 5432;

/// Stops the shared server and removes its data once nobody has the file `users` locked any more.
const CARETAKER: &str = "while sleep 3; do \
    flock -n -x users sh -c '\"$0/pg_ctl\" -s -D data -m immediate stop; rm -rf data' \"$0\" && exit; done";

/// A server that is running.
pub struct Cluster {
    folder: PathBuf,
    /// Ends with what it holds.
    kind: Kind,
}

enum Kind {
    Shared { _users: File },
    Own { _folder: TempDir },
}

impl Cluster {
    /// The shared one.
    pub fn shared() -> Self {
        let folder = shared_folder();
        let starting = lock_file(&folder.join("starting"));
        starting.lock().unwrap();
        let users = lock_file(&folder.join("users"));
        users.lock_shared().unwrap();
        let cluster = Self {
            folder,
            kind: Kind::Shared { _users: users },
        };
        if !cluster.is_ready() {
            let _ = fs::remove_dir_all(cluster.data());
            cluster.make();
            cluster.start("");
            cluster.set_caretaker();
        }
        cluster
    }

    /// One for a test alone.
    pub fn own() -> Self {
        let cluster = Self::empty();
        cluster.make();
        cluster.start("");
        cluster
    }

    fn empty() -> Self {
        let folder = tempfile::tempdir().unwrap();
        give_away(folder.path());
        Self {
            folder: folder.path().to_owned(),
            kind: Kind::Own { _folder: folder },
        }
    }

    /// A standby of this one, which has to have what this one commits before that is acknowledged, from now on.
    pub fn synchronous_standby(&self) -> Self {
        let standby = Self::empty();
        let done = program("pg_basebackup", &standby.folder)
            .args([
                "-w", "-R", "-X", "stream", "-c", "fast", "-D", "data", "-U", ROLE, "-h",
            ])
            .arg(&self.folder)
            .status();
        assert!(done.unwrap().success(), "the standby cannot be made");
        standby.start("");
        self.sql("postgres", "ALTER SYSTEM SET synchronous_standby_names = '*'");
        self.sql("postgres", "SELECT pg_reload_conf()");
        let is_synchronous = || {
            let state = self.sql("postgres", "SELECT sync_state FROM pg_stat_replication");
            state.trim() == "sync"
        };
        wait_until("the standby to be synchronous", is_synchronous);
        standby
    }

    /// Makes a standby the primary.
    pub fn promote(&self) {
        self.control(&["promote"]);
    }

    /// Kills the server, as a power cut would; the files stay.
    pub fn kill(&self) {
        self.control(&["-m", "immediate", "stop"]);
    }

    /// Starts it, with more options.
    pub fn start(&self, options: &str) {
        let options = format!(
            "-c listen_addresses= -c unix_socket_directories={} -c port={PORT} -c max_connections=400 \
             -c shared_buffers=32MB -c unix_socket_permissions=0777 {options}",
            self.folder.display()
        );
        self.control(&["-w", "-l", "log", "-o", &options, "start"]);
    }

    /// Serves by TCP, too, to whoever knows [`PASSWORD`]; with TLS if there is a certificate.
    pub fn listen(&self, ip: IpAddr, certificate: Option<&Certificate>) -> Host {
        self.sql("postgres", &format!("ALTER ROLE {ROLE} PASSWORD '{PASSWORD}'"));
        let access = "local all all trust\nhost all all samehost scram-sha-256\n";
        fs::write(self.data().join("pg_hba.conf"), access).unwrap();
        let mut options = format!("-c listen_addresses={ip}");
        if let Some(certificate) = certificate {
            let [chain, key] = ["chain.pem", "key.pem"].map(|name| self.folder.join(name));
            for (from, to) in certificate.files.iter().zip([&chain, &key]) {
                fs::copy(from, to).unwrap();
                give_away(to);
                fs::set_permissions(to, fs::Permissions::from_mode(0o600)).unwrap();
            }
            let (chain, key) = (chain.display(), key.display());
            options += &format!(" -c ssl=on -c ssl_cert_file={chain} -c ssl_key_file={key}");
        }
        self.kill();
        self.start(&options);
        Host::Tcp {
            name: ip.to_string(),
            port: PORT,
        }
    }

    /// Makes an empty database of a name that nobody else has.
    pub fn database(&self) -> Database<'_> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("t{}_{count}", std::process::id());
        self.sql("postgres", &format!("CREATE DATABASE {name} TEMPLATE template0"));
        Database { cluster: self, name }
    }

    /// What `psql` prints, without headings.
    pub fn sql(&self, database: &str, sql: &str) -> String {
        let output = program("psql", &self.folder)
            .args([
                "-X",
                "-q",
                "-A",
                "-t",
                "-v",
                "ON_ERROR_STOP=1",
                "-U",
                ROLE,
                "-d",
                database,
                "-c",
                sql,
                "-h",
            ])
            .arg(&self.folder)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{sql}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    /// Where it is.
    pub fn host(&self) -> Host {
        Host::Socket {
            folder: self.folder.clone(),
            port: PORT,
        }
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn is_ready(&self) -> bool {
        let asked = program("pg_isready", &self.folder)
            .args(["-q", "-h"])
            .arg(&self.folder)
            .status();
        asked.unwrap().success()
    }

    fn make(&self) {
        let made = program("initdb", &self.folder)
            .args([
                "-D",
                "data",
                "-U",
                ROLE,
                "-A",
                "trust",
                "-E",
                "UTF8",
                "--no-locale",
                "--no-sync",
            ])
            .stdout(Stdio::null())
            .status();
        assert!(made.unwrap().success(), "initdb failed");
    }

    fn control(&self, arguments: &[&str]) {
        let done = program("pg_ctl", &self.folder)
            .args(["-s", "-D", "data", "-t", "120"])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        let log = || fs::read_to_string(self.folder.join("log")).unwrap_or_default();
        assert!(done.unwrap().success(), "pg_ctl {arguments:?}: {}", log());
    }

    fn set_caretaker(&self) {
        let caretaker = as_postgres("setsid", &self.folder)
            .args(["sh", "-c", CARETAKER])
            .arg(programs())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        // It outlives us.
        drop(caretaker.unwrap());
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if matches!(self.kind, Kind::Own { .. }) {
            let stopped = program("pg_ctl", &self.folder)
                .args(["-s", "-D", "data", "-m", "immediate", "stop"])
                .stderr(Stdio::null())
                .status();
            // It may be stopped already.
            drop(stopped);
        }
    }
}

/// A database, which goes with its test.
pub struct Database<'c> {
    cluster: &'c Cluster,
    /// Its name.
    pub name: String,
}

impl Database<'_> {
    /// How it is reached.
    pub fn server(&self) -> Server {
        server_at(&self.name, vec![self.cluster.host()])
    }

    /// What `psql` prints, without headings.
    pub fn sql(&self, sql: &str) -> String {
        self.cluster.sql(&self.name, sql)
    }
}

impl Drop for Database<'_> {
    fn drop(&mut self) {
        let dropped = program("psql", &self.cluster.folder)
            .args(["-X", "-q", "-U", ROLE, "-d", "postgres", "-h"])
            .arg(&self.cluster.folder)
            .args([
                "-c",
                &format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name),
            ])
            .stderr(Stdio::null())
            .status();
        // The server may be gone.
        drop(dropped);
    }
}

/// How a database is reached that is on the first of these hosts that takes writes.
pub fn server_at(database: &str, hosts: Vec<Host>) -> Server {
    let address = Address {
        user: ROLE.to_owned(),
        hosts,
        database: database.to_owned(),
    };
    Server::new(address, None, None)
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(60), "waited for {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// One for each copy of the repository.
fn shared_folder() -> PathBuf {
    let copy: String = env!("CARGO_MANIFEST_DIR")
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect();
    let folder = std::env::temp_dir().join(format!("dimed-tests{copy}"));
    match fs::create_dir(&folder) {
        Ok(()) => give_away(&folder),
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::AlreadyExists),
    }
    folder
}

/// Whoever runs the server owns the folder.
fn give_away(folder: &Path) {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
    if is_root() {
        let home = fs::metadata("/var/lib/postgresql").expect("the user postgres is missing: see tests/run");
        chown(folder, Some(home.uid()), Some(home.gid())).unwrap();
    }
}

fn lock_file(path: &Path) -> File {
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .unwrap();
    // The caretaker locks it, too.
    let _ = fs::set_permissions(path, fs::Permissions::from_mode(0o666));
    file
}

fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

/// A program of PostgreSQL.
fn program(name: &str, folder: &Path) -> Command {
    as_postgres(programs().join(name), folder)
}

fn as_postgres(program: impl AsRef<std::ffi::OsStr>, folder: &Path) -> Command {
    let mut command = match is_root() {
        false => Command::new(program),
        true => {
            let mut command = Command::new("setpriv");
            command
                .args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "--"])
                .arg(program);
            command
        }
    };
    command
        .current_dir(folder)
        .env("LC_ALL", "C")
        .stdin(Stdio::null());
    command
}

/// Where Debian keeps the programs of the newest version.
fn programs() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let newest = versions
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .filter(|path| path.join("initdb").exists())
        .max();
    newest.expect("PostgreSQL is missing: tests/run installs it (Debian package postgresql)")
}
