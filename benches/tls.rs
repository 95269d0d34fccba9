//! New TLS sessions a second: our DMTP port and `openssl s_server`, with the same certificate and the same client,
//! `openssl s_time`, in the same run.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)] // a bench may panic

#[allow(dead_code)]
#[path = "../tests/support/mod.rs"]
mod support;

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use dimed::config::Config;

use support::loopback;
use support::organization::Organization;
use support::world::World;

/// How long each figure is taken. `s_time` counts whole seconds.
const SECONDS: u64 = 10;

/// Each version is measured so many times, by turns, and the best of each server counts.
const ROUNDS: usize = 3;

/// What is asked for: at least this much of what OpenSSL does.
const WANTED: f64 = 0.5;

#[tokio::main]
async fn main() {
    let version = Command::new("openssl").arg("version").output();
    let version = version.expect("openssl is missing: install the Debian package of that name");
    print!("{}", String::from_utf8_lossy(&version.stdout));
    let world = World::new_in(Path::new(env!("CARGO_TARGET_TMPDIR"))).await;
    let organization = world.organization("hismail.test").build().await;
    let _daemon = organization.spawn().await;
    let reference = Reference::start(&organization);
    let ours = SocketAddr::new(organization.ip, loopback::DMTP);
    let mut fell_short = false;
    for version in ["-tls1_3", "-tls1_2"] {
        let (mut dimed, mut openssl) = (0f64, 0f64);
        for _ in 0..ROUNDS {
            dimed = dimed.max(sessions_per_second(ours, version));
            openssl = openssl.max(sessions_per_second(reference.address, version));
        }
        let share = dimed / openssl;
        println!(
            "{version}, RSA 2048: dimed {dimed:.0}/s, openssl s_server {openssl:.0}/s, {:.0} %",
            100.0 * share
        );
        fell_short |= share < WANTED;
    }
    assert!(!fell_short, "less than {:.0} % of openssl", 100.0 * WANTED);
}

/// OpenSSL's server; killed when dropped.
struct Reference {
    child: Child,
    address: SocketAddr,
}

impl Reference {
    /// On our address and with our certificate.
    fn start(organization: &Organization) -> Self {
        let address = SocketAddr::new(organization.ip, loopback::HTTPS);
        let config = Config::load(&organization.config).unwrap();
        let files = config.server.data_directory.join("tls");
        let child = Command::new("openssl")
            .args(["s_server", "-quiet", "-accept", &address.to_string()])
            .arg("-cert")
            .arg(files.join("certificate.pem"))
            .arg("-key")
            .arg(files.join("key.pem"))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let deadline = Instant::now() + support::PATIENCE;
        while TcpStream::connect(address).is_err() {
            assert!(Instant::now() < deadline, "openssl s_server does not listen");
            std::thread::sleep(Duration::from_millis(10));
        }
        Self { child, address }
    }
}

impl Drop for Reference {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What `openssl s_time` says: "12345 connections in 11 real seconds, 0 bytes read per connection".
fn sessions_per_second(server: SocketAddr, version: &str) -> f64 {
    let time = SECONDS.to_string();
    let started = Instant::now();
    let output = Command::new("openssl")
        .args([
            "s_time",
            "-new",
            version,
            "-time",
            &time,
            "-connect",
            &server.to_string(),
        ])
        .output()
        .unwrap();
    let took = started.elapsed();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let (before, _) = said.split_once(" connections in ").unwrap();
    let count: f64 = before
        .rsplit_once('\n')
        .map_or(before, |(_, last)| last)
        .parse()
        .unwrap();
    count / took.as_secs_f64()
}
