//! Unbound before a name server of ours: a resolver as people run it on their own machine.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Stdio};

use tempfile::TempDir;

use super::eventually;
use super::loopback::Loopback;
use super::name_server::{NameServer, program};

/// Where Unbound listens, on an address that is its alone.
const PORT: u16 = 10053;

/// A running Unbound; stopped when dropped.
pub struct Unbound {
    /// Where it listens.
    pub address: SocketAddr,
    process: Child,
    _home: TempDir,
    _loopback: Loopback,
}

impl Unbound {
    /// Validates from the name server's trust anchor on.
    pub async fn validating(behind: &NameServer) -> Self {
        Self::start(behind.address, Some(&behind.anchor_file())).await
    }

    /// Resolves, and passes signatures on unchecked.
    pub async fn not_validating(behind: &NameServer) -> Self {
        Self::start(behind.address, None).await
    }

    async fn start(server: SocketAddr, anchor: Option<&Path>) -> Self {
        let loopback = Loopback::take();
        let address = SocketAddr::new(loopback.ip, PORT);
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("unbound.conf");
        std::fs::write(&file, config(home.path(), address, server, anchor)).unwrap();
        let log = home.path().join("log");
        let process = program("unbound")
            .args(["-d", "-p", "-c"])
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log).unwrap())
            .spawn()
            .expect("unbound starts");
        eventually("Unbound to start", || {
            let log = std::fs::read_to_string(&log).unwrap();
            log.contains("start of service").then_some(())
        })
        .await;
        Self {
            address,
            process,
            _home: home,
            _loopback: loopback,
        }
    }
}

impl Drop for Unbound {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Everything is forwarded to our server, whose zones name servers at ports of no use. Nothing that failed is remembered, and `test` and the addresses of
/// documentation are names like any other.
fn config(home: &Path, listen: SocketAddr, server: SocketAddr, anchor: Option<&Path>) -> String {
    let home = home.display();
    let modules = match anchor {
        Some(anchor) => format!(
            "module-config: \"validator iterator\"\n    trust-anchor-file: \"{}\"",
            anchor.display()
        ),
        None => String::from("module-config: \"iterator\""),
    };
    format!(
        "server:\n    interface: {}@{}\n    directory: \"{home}\"\n    chroot: \"\"\n    username: \"\"\n    pidfile: \"\"\n    \
         use-syslog: no\n    logfile: \"\"\n    verbosity: 1\n    num-threads: 1\n    do-ip6: no\n    \
         do-not-query-localhost: no\n    local-zone: \"test.\" nodefault\n    local-zone: \"invalid.\" nodefault\n    \
         local-zone: \"2.0.192.in-addr.arpa.\" nodefault\n    local-zone: \"8.b.d.0.1.0.0.2.ip6.arpa.\" nodefault\n    \
         qname-minimisation: no\n    aggressive-nsec: no\n    access-control: 127.0.0.0/8 allow\n    {modules}\n\
         remote-control:\n    control-enable: no\n\
         forward-zone:\n    name: \".\"\n    forward-addr: {}@{}\n",
        listen.ip(),
        listen.port(),
        server.ip(),
        server.port(),
    )
}
