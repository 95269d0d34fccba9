//! Pebble, an authority for tests that asks as a real one does.

use std::net::IpAddr;
use std::path::PathBuf;

use super::super::peers::seat::{Process, Seat};
use super::super::support::certificates::Certification;
use super::super::support::loopback::{HTTP, HTTPS};
use super::super::support::name_server::program;
use super::super::support::world::World;

/// Where its directory is.
const PORT: u16 = 14000;

/// A running Pebble; stopped when dropped.
pub struct Pebble {
    // First, so that it has ended before its folder goes.
    _process: Process,
    seat: Seat,
}

impl Pebble {
    /// Starts it; it asks hosts on the ports of tests, whose addresses the name server of the world has.
    pub async fn start(world: &World) -> Self {
        let seat = Seat::take();
        let folder = world.home().join("authority");
        std::fs::create_dir(&folder).unwrap();
        let authority = Certification::new(&folder);
        let own = authority.issue(&seat.ip.to_string());
        seat.copy("roots.pem", &authority.roots());
        let chain = seat.copy("chain.pem", &own.files[0]);
        let key = seat.copy("key.pem", &own.files[1]);
        let ip = seat.ip;
        let config = serde_json::json!({ "pebble": {
            "listenAddress": format!("{ip}:{PORT}"),
            "managementListenAddress": format!("{ip}:15000"),
            "certificate": chain,
            "privateKey": key,
            "httpPort": HTTP,
            "tlsPort": HTTPS,
            "ocspResponderURL": "",
            "externalAccountBindingRequired": false,
        }});
        let file = seat.file("pebble.json", config.to_string());
        let mut command = program("pebble");
        command
            .arg("-config")
            .arg(file)
            .args(["-dnsserver", &world.name_server().to_string()])
            // It waits some seconds before it asks, by chance, unless told not to.
            .env("PEBBLE_VA_NOSLEEP", "1")
            // Every order is proven anew.
            .env("PEBBLE_AUTHZREUSE", "0");
        let process = seat.start(&command);
        seat.listens(PORT).await;
        Self {
            _process: process,
            seat,
        }
    }

    /// Options that have it asked.
    pub fn options(&self) -> String {
        let roots: PathBuf = self.seat.path("roots.pem");
        format!(
            "--yes --acme-directory https://{}:{PORT}/dir --acme-ca {}",
            self.seat.ip,
            roots.display()
        )
    }

    /// Where a host with that address answers.
    pub fn asks(ip: IpAddr, challenge: &str) -> String {
        let port = match challenge {
            "http-01" => HTTP,
            _ => HTTPS,
        };
        format!("--challenge {challenge} --listen-acme {ip}:{port}")
    }

    /// What it logged.
    pub fn log(&self) -> String {
        self.seat.log()
    }
}
