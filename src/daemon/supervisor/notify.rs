//! What the service manager is told (sd_notify(3)): one datagram each, on the socket that it names.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::base::observe;

/// The longest wait for room in the manager's socket.
const PATIENCE: Duration = Duration::from_secs(1);

/// Octets of a line of status.
const MOST_STATUS: usize = 512;

/// Whoever has started us and wants to hear how we are; nobody, unless the environment names one.
#[derive(Debug, Default)]
pub struct Supervisor {
    listener: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
}

impl Supervisor {
    /// The one that the environment of this process names. One that cannot be reached is told of in the log.
    pub fn from_env() -> Self {
        Self::of(|name| std::env::var_os(name), std::process::id())
    }

    fn of(variable: impl Fn(&str) -> Option<OsString>, process: u32) -> Self {
        let named = variable("NOTIFY_SOCKET").filter(|name| !name.is_empty());
        let listener = named.and_then(|name| match open(&name) {
            Ok(listener) => Some(listener),
            Err(error) => {
                unheard(&error);
                None
            }
        });
        Self {
            watchdog: watchdog(variable, process).filter(|_| listener.is_some()),
            listener,
        }
    }

    /// How long it waits for a sign of life, if it does.
    pub fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    /// Connections are taken.
    pub fn ready(&self, status: &str) {
        self.tell(&format!("READY=1\n{}", line(status)));
    }

    /// The configuration is read again; [`ready`](Self::ready) says that this is over, however it ended.
    pub fn reloading(&self) {
        let since_boot = clock_gettime(ClockId::Monotonic);
        let micros = i128::from(since_boot.tv_sec) * 1_000_000 + i128::from(since_boot.tv_nsec) / 1000;
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={micros}\n"));
    }

    /// No more connections are taken.
    pub fn stopping(&self, status: &str) {
        self.tell(&format!("STOPPING=1\n{}", line(status)));
    }

    /// Work goes on.
    pub fn alive(&self) {
        self.tell("WATCHDOG=1\n");
    }

    /// What `systemctl status` shows.
    pub fn status(&self, status: &str) {
        self.tell(&line(status));
    }

    fn tell(&self, lines: &str) {
        let Some((socket, address)) = &self.listener else {
            return;
        };
        if let Err(error) = socket.send_to_addr(lines.as_bytes(), address) {
            unheard(&error);
        }
    }
}

fn unheard(error: &io::Error) {
    tracing::warn!(event = observe::SUPERVISOR_UNHEARD, %error, "the service manager cannot be told");
}

/// One line, whatever is in the text: what follows a line end would be another message.
fn line(status: &str) -> String {
    let mut line = String::from("STATUS=");
    for character in status.chars() {
        if line.len() >= MOST_STATUS {
            break;
        }
        line.push(if character.is_control() { ' ' } else { character });
    }
    line.push('\n');
    line
}

fn open(name: &OsStr) -> io::Result<(UnixDatagram, SocketAddr)> {
    let address = match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        [b'/', ..] => SocketAddr::from_pathname(Path::new(name))?,
        _ => {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "NOTIFY_SOCKET is no Unix socket",
            ));
        }
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_write_timeout(Some(PATIENCE))?;
    Ok((socket, address))
}

/// A watchdog for another process is none of ours.
fn watchdog(variable: impl Fn(&str) -> Option<OsString>, process: u32) -> Option<Duration> {
    let number = |name: &str| variable(name)?.to_str()?.parse::<u64>().ok();
    let is_ours = variable("WATCHDOG_PID").is_none() || number("WATCHDOG_PID") == Some(process.into());
    let micros = number("WATCHDOG_USEC").filter(|micros| is_ours && *micros > 0)?;
    Some(Duration::from_micros(micros))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn supervisor(variables: &[(&str, &str)]) -> Supervisor {
        let variable = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| OsString::from(value))
        };
        Supervisor::of(variable, 7)
    }

    fn heard(socket: &UnixDatagram) -> String {
        let mut octets = [0; 1024];
        let count = socket.recv(&mut octets).unwrap();
        String::from_utf8(octets[..count].to_vec()).unwrap()
    }

    #[test]
    fn each_change_is_told_at_a_path_or_an_abstract_name() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("notify");
        let name = path.display().to_string();
        let apart = SocketAddr::from_abstract_name(name.as_bytes()).unwrap();
        let sockets = [
            (UnixDatagram::bind(&path).unwrap(), name.clone()),
            (UnixDatagram::bind_addr(&apart).unwrap(), format!("@{name}")),
        ];
        for (socket, name) in sockets {
            let told = supervisor(&[("NOTIFY_SOCKET", name.as_str())]);
            told.ready("ready to serve");
            assert_eq!(heard(&socket), "READY=1\nSTATUS=ready to serve\n");
            told.reloading();
            let reloading = heard(&socket);
            let micros = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
            assert!(micros.trim_end().parse::<u64>().unwrap() > 0);
            told.status("what\nREADY=1");
            assert_eq!(heard(&socket), "STATUS=what READY=1\n");
            told.alive();
            assert_eq!(heard(&socket), "WATCHDOG=1\n");
            told.stopping("stopping");
            assert_eq!(heard(&socket), "STOPPING=1\nSTATUS=stopping\n");
        }
    }

    #[test]
    fn a_watchdog_is_for_the_process_that_is_named() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("notify");
        let _socket = UnixDatagram::bind(&path).unwrap();
        let name = path.display().to_string();
        let watched = |more: &[(&str, &str)]| {
            supervisor(&[&[("NOTIFY_SOCKET", name.as_str())][..], more].concat()).watchdog()
        };
        let minute = Some(Duration::from_secs(60));
        assert_eq!(watched(&[]), None);
        assert_eq!(watched(&[("WATCHDOG_USEC", "60000000")]), minute);
        assert_eq!(
            watched(&[("WATCHDOG_USEC", "60000000"), ("WATCHDOG_PID", "7")]),
            minute
        );
        assert_eq!(
            watched(&[("WATCHDOG_USEC", "60000000"), ("WATCHDOG_PID", "8")]),
            None
        );
        assert_eq!(watched(&[("WATCHDOG_USEC", "0")]), None);
        assert_eq!(supervisor(&[("WATCHDOG_USEC", "60000000")]).watchdog(), None);
    }

    #[test]
    fn without_a_service_manager_nobody_is_told() {
        supervisor(&[]).ready("ready");
        supervisor(&[("NOTIFY_SOCKET", "vsock:2:1234")]).ready("ready");
        supervisor(&[("NOTIFY_SOCKET", "/nonexistent/notify")]).ready("ready");
    }
}
