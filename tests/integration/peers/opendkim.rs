//! OpenDKIM as a milter that signs for plain.test, or that verifies.

use std::net::{Shutdown, SocketAddr};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use super::seat::{Process, Seat};
use crate::support::eventually;
use crate::support::name_server::{done, program};

const MILTER: u16 = 10027;

fn inet(seat: &Seat) -> String {
    format!("inet:{MILTER}@{}", seat.ip)
}

/// A running OpenDKIM; stopped when dropped.
pub struct OpenDkim {
    // First, so that it has ended before its folder goes.
    _process: Process,
    seat: Seat,
}

impl OpenDkim {
    /// Signs with an RSA key of its own under the selector `od`.
    pub async fn signing() -> Self {
        let seat = Seat::take();
        let socket = inet(&seat);
        Self::signing_at(seat, &socket).await
    }

    /// The same on a Unix socket.
    pub async fn signing_on_a_socket() -> (Self, PathBuf) {
        let seat = Seat::take();
        let path = seat.path("milter");
        let signing = Self::signing_at(seat, &format!("local:{}", path.display())).await;
        (signing, path)
    }

    async fn signing_at(seat: Seat, socket: &str) -> Self {
        done(
            program("openssl")
                .args(["genrsa", "-out"])
                .arg(seat.path("key.pem")),
        );
        seat.give(&seat.path("key.pem"));
        let key = seat.path("key.pem");
        let lines = format!(
            "Mode s\nDomain plain.test\nSelector od\nKeyFile {}\n",
            key.display()
        );
        Self::start(seat, socket, &lines).await
    }

    /// Verifies with those keys: name and record of each.
    pub async fn verifying(keys: &[(String, String)]) -> Self {
        let seat = Seat::take();
        let lines = keys.iter().map(|(name, record)| format!("{name} {record}\n"));
        let file = seat.file("keys", lines.collect::<String>());
        let lines = format!(
            "Mode v\nAlwaysAddARHeader yes\nAuthservID mx.plain.test\nTestDNSData file:{}\n",
            file.display()
        );
        let socket = inet(&seat);
        Self::start(seat, &socket, &lines).await
    }

    async fn start(seat: Seat, socket: &str, lines: &str) -> Self {
        let common = format!("Background no\nSyslog no\nRequireSafeKeys no\nSocket {socket}\n{lines}");
        let file = seat.file("opendkim.conf", common);
        let process = seat.start(program("opendkim").args(["-f", "-x"]).arg(file));
        match socket.strip_prefix("local:") {
            Some(path) => eventually("a socket", || UnixStream::connect(path).ok())
                .await
                .shutdown(Shutdown::Both)
                .unwrap(),
            None => seat.listens(MILTER).await,
        }
        Self {
            _process: process,
            seat,
        }
    }

    /// The milter protocol.
    pub fn milter(&self) -> SocketAddr {
        SocketAddr::new(self.seat.ip, MILTER)
    }

    /// The record under `od._domainkey.plain.test` that its signatures are checked with.
    pub fn record(&self) -> String {
        let key = self.seat.path("key.pem");
        let pem = done(program("openssl").args(["rsa", "-pubout", "-in"]).arg(key));
        let lines = pem.lines().filter(|line| !line.starts_with("-----"));
        format!("v=DKIM1; k=rsa; p={}", lines.collect::<String>())
    }
}
