//! OpenDKIM as a milter that signs for plain.test, or that verifies.

use std::net::SocketAddr;

use super::seat::{Process, Seat};
use crate::support::name_server::{done, program};

const MILTER: u16 = 10027;

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
        Self::start(seat, &lines).await
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
        Self::start(seat, &lines).await
    }

    async fn start(seat: Seat, lines: &str) -> Self {
        let ip = seat.ip;
        let common =
            format!("Background no\nSyslog no\nRequireSafeKeys no\nSocket inet:{MILTER}@{ip}\n{lines}");
        let file = seat.file("opendkim.conf", common);
        let process = seat.start(program("opendkim").args(["-f", "-x"]).arg(file));
        seat.listens(MILTER).await;
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
