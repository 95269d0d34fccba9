//! Which name servers to ask: those that are listed, or those that the system's file lists at the time.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hickory_resolver::system_conf::parse_resolv_conf;

use super::Servers;

/// The port of name servers in such a file.
const PORT: u16 = 53;
/// How soon a file is read again.
const READ_EVERY: Duration = Duration::from_secs(10);

/// Where the list of name servers comes from.
#[derive(Debug, Clone)]
pub enum NameServers {
    /// From the caller, and it stays.
    Listed(Arc<Servers>),
    /// From a file, which is read again while it is used.
    File(Arc<File>),
}

/// A file such as `/etc/resolv.conf`, and what it said last.
#[derive(Debug)]
pub struct File {
    path: PathBuf,
    last: Mutex<(Instant, Arc<Servers>)>,
}

impl NameServers {
    /// Those of a file. `servers` says how long to wait for each; its addresses do not count.
    ///
    /// Where the file lists none, is not there or cannot be read, the one on this machine is asked, as resolv.conf(5) has
    /// it. A file that changes counts within ten seconds.
    pub fn of_file(path: &Path, servers: Servers) -> Self {
        let addresses = listed_in(path).unwrap_or_else(|| vec![on_this_machine()]);
        let servers = Arc::new(Servers { addresses, ..servers });
        Self::File(Arc::new(File {
            path: path.to_owned(),
            last: Mutex::new((Instant::now(), servers)),
        }))
    }

    /// Those to ask now.
    pub(super) fn current(&self) -> Arc<Servers> {
        match self {
            Self::Listed(servers) => Arc::clone(servers),
            Self::File(file) => file.current(Instant::now()),
        }
    }
}

impl From<Servers> for NameServers {
    fn from(servers: Servers) -> Self {
        Self::Listed(Arc::new(servers))
    }
}

impl File {
    fn current(&self, now: Instant) -> Arc<Servers> {
        let mut last = self.last.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let (read_at, servers) = &mut *last;
        if now.saturating_duration_since(*read_at) >= READ_EVERY {
            *read_at = now;
            // A file that is about to be replaced may be away or empty for a moment: then the last ones stay.
            if let Some(addresses) = listed_in(&self.path).filter(|found| *found != servers.addresses) {
                *servers = Arc::new(Servers {
                    addresses,
                    ..Servers::clone(servers)
                });
            }
        }
        Arc::clone(servers)
    }
}

/// What a file lists; `None` if that is nothing.
fn listed_in(path: &Path) -> Option<Vec<SocketAddr>> {
    let (config, _) = parse_resolv_conf(std::fs::read(path).ok()?).ok()?;
    let servers = config.name_servers.iter();
    Some(servers.map(|server| SocketAddr::new(server.ip, PORT)).collect())
}

fn on_this_machine() -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), PORT)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// The addresses at a time after the start.
    fn after(servers: &NameServers, secs: u64) -> Vec<String> {
        let NameServers::File(file) = servers else {
            panic!("not of a file");
        };
        let addresses = &file.current(Instant::now() + Duration::from_secs(secs)).addresses;
        addresses.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_file_that_lists_none_means_this_machine_until_it_lists_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("resolv.conf");
        for text in [None, Some(""), Some("# nothing yet\nsearch example.org\n")] {
            if let Some(text) = text {
                std::fs::write(&path, text).unwrap();
            }
            let servers = NameServers::of_file(&path, Servers::new(vec![]));
            assert_eq!(after(&servers, 0), ["127.0.0.1:53"], "{text:?}");
        }
        let servers = NameServers::of_file(&path, Servers::new(vec![]));
        std::fs::write(&path, "nameserver 192.0.2.1\nnameserver 2001:db8::1\n").unwrap();
        assert_eq!(after(&servers, 9), ["127.0.0.1:53"]);
        assert_eq!(after(&servers, 11), ["192.0.2.1:53", "[2001:db8::1]:53"]);
        std::fs::write(&path, "").unwrap();
        assert_eq!(after(&servers, 30), ["192.0.2.1:53", "[2001:db8::1]:53"]);
        std::fs::write(&path, "nameserver 192.0.2.2\n").unwrap();
        assert_eq!(after(&servers, 50), ["192.0.2.2:53"]);
    }

    #[test]
    fn how_long_to_wait_is_said_by_the_caller() {
        let path = Path::new("/nonexistent/resolv.conf");
        let wanted = Servers {
            rounds: 7,
            ..Servers::new(vec![])
        };
        assert_eq!(NameServers::of_file(path, wanted).current().rounds, 7);
    }
}
