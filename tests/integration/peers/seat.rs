//! Where a peer runs: its folder, its address, its user and its process.

use std::net::IpAddr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::support::PATIENCE;
use crate::support::loopback::Loopback;
use crate::support::name_server::done;

/// How long a peer has to end by itself.
const GRACE: Duration = Duration::from_secs(1);

/// Who runs a peer that is not to be root: `nobody` where the tests run as root, otherwise whoever runs them.
pub struct User {
    /// The user's name.
    pub name: String,
    /// The name of the user's own group.
    pub group: String,
    uid: u32,
    gid: u32,
}

impl User {
    /// That user.
    pub fn ordinary() -> Self {
        let of: &[&str] = if is_root() { &["nobody"] } else { &[] };
        let id = |option: &str| done(Command::new("id").arg(option).args(of)).trim().to_owned();
        Self {
            name: id("-un"),
            group: id("-gn"),
            uid: id("-u").parse().unwrap(),
            gid: id("-g").parse().unwrap(),
        }
    }

    /// The numbers of the user and the group.
    pub fn ids(&self) -> (u32, u32) {
        (self.uid, self.gid)
    }
}

/// The tests run as root.
pub fn is_root() -> bool {
    done(Command::new("id").arg("-u")).trim() == "0"
}

/// A folder and an address.
pub struct Seat {
    /// The address, on which every port is the peer's.
    pub ip: IpAddr,
    /// Who runs the peer.
    pub user: User,
    home: TempDir,
    _loopback: Loopback,
}

impl Seat {
    /// A new one.
    pub fn take() -> Self {
        let loopback = Loopback::take();
        let seat = Self {
            ip: loopback.ip,
            user: User::ordinary(),
            home: tempfile::tempdir().unwrap(),
            _loopback: loopback,
        };
        seat.give(seat.home());
        seat
    }

    /// The folder.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// A path in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// A new folder of the peer.
    pub fn folder(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(&path).unwrap();
        self.give(&path);
        path
    }

    /// A new file of the peer.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, content).unwrap();
        self.give(&path);
        path
    }

    /// A copy of a file that the peer could not read.
    pub fn copy(&self, name: &str, from: &Path) -> PathBuf {
        self.file(name, std::fs::read(from).unwrap())
    }

    /// Gives a path to the peer's user, with everything below.
    pub fn give(&self, path: &Path) {
        if is_root() {
            let owner = format!("{}:{}", self.user.uid, self.user.gid);
            done(Command::new("chown").args(["-R", &owner]).arg(path));
        }
    }

    /// Starts a program as the peer's user. It ends with the tests, however they end.
    pub fn start(&self, program: &Command) -> Process {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "TERM"]);
        command.arg(program.get_program()).args(program.get_args());
        let variables = program.get_envs();
        command.envs(variables.filter_map(|(name, value)| Some((name, value?))));
        if is_root() {
            command.uid(self.user.uid).gid(self.user.gid);
        }
        self.file("log", "");
        Process::start(&mut command, &self.path("log"))
    }

    /// What the peer logged, in the files of its folder whose names end in `log`.
    pub fn log(&self) -> String {
        let entries = std::fs::read_dir(self.home()).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        let logs = paths.filter(|path| path.to_str().unwrap().ends_with("log"));
        logs.map(|path| String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned())
            .collect()
    }

    /// Waits until somebody listens on a port.
    pub async fn listens(&self, port: u16) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while tokio::net::TcpStream::connect((self.ip, port)).await.is_err() {
            let waits = tokio::time::Instant::now() < deadline;
            assert!(waits, "nobody listens on port {port}:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until the log has those words.
    pub async fn logs(&self, words: &str) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while !self.log().contains(words) {
            let waits = tokio::time::Instant::now() < deadline;
            assert!(waits, "no {words:?} in the peer's log:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// A process and those that it starts; stopped when dropped.
pub struct Process(Child);

impl Process {
    /// Starts a program; what it says is appended to the log.
    fn start(command: &mut Command, log: &Path) -> Self {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(log)
            .unwrap();
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .process_group(0)
            .spawn();
        Self(child.unwrap_or_else(|error| panic!("{command:?} does not start: {error}")))
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }

    /// Asks it to end, and forces its whole group to.
    fn stop(&mut self) {
        self.signal("-TERM", &self.0.id().to_string());
        let asked = Instant::now();
        while self.runs() && asked.elapsed() < GRACE {
            std::thread::sleep(Duration::from_millis(10));
        }
        self.signal("-KILL", &format!("-{}", self.0.id()));
        // It may have ended already.
        let _ = self.0.wait();
    }

    fn signal(&self, signal: &str, target: &str) {
        // Whom it is for may have gone.
        let _ = Command::new("kill")
            .args([signal, "--", target])
            .stderr(Stdio::null())
            .status();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop();
    }
}
