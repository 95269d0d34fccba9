//! The daemon as a process of its own.

use std::ffi::OsString;
use std::fs::File;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::{PATIENCE, eventually};

/// The binary under test.
pub const DIMED: &str = env!("CARGO_BIN_EXE_dimed");

/// What surrounds the binary: a program that executes it, as `strace` does, and its environment.
#[derive(Debug, Clone, Default)]
pub struct Launch {
    /// Another binary than [`DIMED`].
    pub binary: Option<PathBuf>,
    /// The program and its arguments; empty for none. It must become the binary, so that the process is the daemon's.
    pub before: Vec<OsString>,
    /// Variables set.
    pub environment: Vec<(OsString, OsString)>,
}

/// A running `dimed serve`; killed when dropped.
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts it; its log is appended to a file.
    pub fn start(config: &Path, log: &Path, launch: &Launch) -> Self {
        let file = File::options().create(true).append(true).open(log).unwrap();
        let mut line = launch.before.iter().cloned().chain([launch
            .binary
            .as_deref()
            .unwrap_or(Path::new(DIMED))
            .into()]);
        let child = Command::new(line.next().unwrap())
            .args(line)
            .args(["serve", "--config"])
            .arg(config)
            .envs(launch.environment.iter().cloned())
            .env_remove("DIMED_CONFIG")
            .env_remove("DIMED_MASTER_KEY")
            .env_remove("CREDENTIALS_DIRECTORY")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            .spawn()
            .unwrap();
        Self {
            child,
            log: log.to_owned(),
        }
    }

    /// Starts it with two sockets, as a service manager does: they are 3 and 4, and only the process that it becomes may take them.
    pub fn handed(config: &Path, log: &Path, names: &str, sockets: [&TcpListener; 2]) -> Self {
        let file = File::options().create(true).append(true).open(log).unwrap();
        let script = "exec 3<&0 4<&1 0</dev/null 1>/dev/null; export LISTEN_PID=$$; exec \"$@\"";
        let [first, second] = sockets.map(|socket| OwnedFd::from(socket.try_clone().unwrap()));
        let child = Command::new("sh")
            .args(["-c", script, "sh", DIMED, "serve", "--config"])
            .arg(config)
            .env("LISTEN_FDS", "2")
            .env("LISTEN_FDNAMES", names)
            .env_remove("DIMED_CONFIG")
            .env_remove("DIMED_MASTER_KEY")
            .env_remove("CREDENTIALS_DIRECTORY")
            .stdin(Stdio::from(first))
            .stdout(Stdio::from(second))
            .stderr(file)
            .spawn()
            .unwrap();
        Self::of(child, log)
    }

    /// One that was started otherwise, and logs there.
    pub fn of(child: Child, log: &Path) -> Self {
        Self {
            child,
            log: log.to_owned(),
        }
    }

    /// Its id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL, and the end of the process.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM.
    pub fn terminate(&self) {
        self.signal("-TERM");
    }

    /// SIGHUP.
    pub fn hang_up(&self) {
        self.signal("-HUP");
    }

    /// Another signal, such as `-STOP`.
    pub fn signal(&self, signal: &str) {
        let sent = Command::new("kill")
            .args([signal, &self.child.id().to_string()])
            .status()
            .unwrap();
        assert!(sent.success());
    }

    /// Waits for its end.
    pub async fn ended(&mut self) -> ExitStatus {
        eventually("the daemon's end", || self.child.try_wait().unwrap()).await
    }

    /// Fails if it has ended.
    pub fn check(&mut self) {
        let ended = self.child.try_wait().unwrap();
        assert!(ended.is_none(), "the daemon ended: {}", self.log());
    }

    /// Its resident memory now, in KiB.
    pub fn resident_kib(&self) -> u64 {
        self.status("VmRSS:")
    }

    /// The most resident memory it has had since it was started or [`forget_peak`](Self::forget_peak) was called, in KiB.
    pub fn peak_kib(&self) -> u64 {
        self.status("VmHWM:")
    }

    /// Starts to measure the peak again.
    pub fn forget_peak(&self) {
        std::fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5").unwrap();
    }

    fn status(&self, field: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// What it logged so far.
    pub fn log(&self) -> String {
        self.settle();
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// Waits until every line that it has logged is written: that is done by threads of their own, which sleep when nothing is
    /// left, and for 5 ms after each write.
    pub fn settle(&self) {
        let deadline = Instant::now() + PATIENCE;
        let mut quiet = 0;
        while quiet < 3 && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(4));
            quiet = if self.is_writing() { 0 } else { quiet + 1 };
        }
    }

    fn is_writing(&self) -> bool {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.child.id()));
        let mut threads = threads.into_iter().flatten().flatten();
        threads.any(|thread| {
            // It may have ended meanwhile.
            let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
            stat.contains("(log) R") || stat.contains("(log) D")
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
