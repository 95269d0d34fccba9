//! The DNS that all organizations of a test live in: `test.`, signed, and a zone below it for each domain.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use dimed::mail::address::Domain;
use dimed::net::authority::{Authority, KeyKind, Zone};
use tempfile::TempDir;

use super::organization::Builder;

/// A name server and a place for files.
pub struct World {
    authority: Authority,
    root: Mutex<Zone>,
    home: TempDir,
}

impl World {
    /// With nobody in it yet.
    pub async fn new() -> Self {
        Self::new_in(&std::env::temp_dir()).await
    }

    /// The same, with its files in a new folder in that one.
    pub async fn new_in(folder: &Path) -> Self {
        let home = tempfile::tempdir_in(folder).unwrap();
        let root = Zone::signed(&domain("test"), KeyKind::Ed25519).unwrap();
        let anchor = root.trust_anchor().unwrap().unwrap();
        std::fs::write(home.path().join("anchors"), anchor).unwrap();
        let listen = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
        let authority = Authority::start(listen, vec![root.clone()]).await.unwrap();
        Self {
            authority,
            root: Mutex::new(root),
            home,
        }
    }

    /// Starts to set up an organization for a domain below `test`.
    pub fn organization(&self, name: &str) -> Builder<'_> {
        Builder::new(self, domain(name))
    }

    /// A domain without DIME whose mail goes to `mx.NAME` at that address.
    pub fn plain_domain(&self, name: &str, host: IpAddr) {
        let mx = domain(&format!("mx.{name}"));
        let zone = Zone::unsigned(&domain(name))
            .unwrap()
            .mx("", 10, &mx)
            .address("mx", host);
        self.put(name, &zone);
    }

    /// Serves a zone, in place of one of the same name, and delegates to it.
    pub fn put(&self, name: &str, zone: &Zone) {
        let label = name.strip_suffix(".test").unwrap();
        let mut root = self.root.lock().unwrap();
        let server = domain(&format!("ns.{name}"));
        *root = root.clone().remove(label).delegate(label, zone, &server).unwrap();
        self.authority.put_zone(zone).unwrap();
        self.authority.put_zone(&root).unwrap();
    }

    /// Serves a changed zone, which is delegated to already.
    pub fn update(&self, zone: &Zone) {
        self.authority.put_zone(zone).unwrap();
    }

    /// Another name server, which has the root and those zones; `put` has been called for each of them.
    pub async fn serve_also(&self, at: SocketAddr, zones: &[Zone]) -> Authority {
        let root = self.root.lock().unwrap().clone();
        let all = std::iter::once(root).chain(zones.iter().cloned()).collect();
        Authority::start(at, all).await.unwrap()
    }

    /// Where the name server listens.
    pub fn name_server(&self) -> SocketAddr {
        self.authority.address()
    }

    /// File with the trust anchor.
    pub fn anchors(&self) -> PathBuf {
        self.home.path().join("anchors")
    }

    /// A place for files; gone with the world.
    pub fn home(&self) -> &Path {
        self.home.path()
    }
}

/// A domain name.
pub fn domain(name: &str) -> Domain {
    name.parse().unwrap()
}
