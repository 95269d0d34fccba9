//! A real authoritative name server with signed zones, for the demo and for tests.
//!
//! UDP and TCP on one port, zones in memory, DNSSEC with one key per zone. Zones can be replaced while it runs.
//!
//! Not for the open Internet: for names two or more labels below an existing one hickory-server 0.26.3 leaves out the
//! NSEC record of the wildcard. Our resolver proves such absences by the name above; others may find them bogus.

mod zone;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use hickory_proto::rr::{LowerName, RecordType};
use hickory_resolver::net::runtime::Time;
use hickory_server::Server;
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::Catalog;
use tokio::net::{TcpListener, UdpSocket};

pub use zone::{KeyKind, Zone};

/// How long a silent TCP connection is kept.
const TCP_TIMEOUT: Duration = Duration::from_secs(5);
/// Replies that wait for a slow TCP client.
const TCP_RESPONSES: usize = 64;
/// How often a port is looked for that is free for both UDP and TCP.
const PORT_ATTEMPTS: usize = 16;

/// Why zones cannot be served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The address cannot be listened on.
    #[error("the name server cannot listen")]
    Listen(#[from] io::Error),
    /// A zone cannot be signed, or holds a name outside itself.
    #[error("zone {zone} cannot be served: {reason}")]
    Zone {
        /// Which.
        zone: String,
        /// What is wrong.
        reason: String,
    },
}

/// A running name server; it stops when this is dropped.
pub struct Authority {
    address: SocketAddr,
    zones: Arc<Zones>,
    server: Server<Handler>,
}

impl Authority {
    /// Serves `zones` on `listen`; port 0 takes any that is free for UDP and TCP.
    pub async fn start(listen: SocketAddr, zones: Vec<Zone>) -> Result<Self, Error> {
        let (udp, tcp) = bind(listen).await?;
        let address = udp.local_addr()?;
        let served = Arc::new(Zones::default());
        for zone in zones {
            served.put(&zone)?;
        }
        let mut server = Server::new(Handler(served.clone()));
        server.register_socket(udp);
        server.register_listener(tcp, TCP_TIMEOUT, TCP_RESPONSES);
        Ok(Self {
            address,
            zones: served,
            server,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The DNSKEY records of all signed zones, one on a line, for [`TrustAnchors`](super::dns::TrustAnchors).
    pub fn trust_anchors(&self) -> String {
        let zones = self.zones.0.lock().unwrap_or_else(PoisonError::into_inner);
        zones
            .values()
            .filter_map(|served| served.trust_anchor.as_deref())
            .collect()
    }

    /// Adds a zone, or replaces the one of the same name. Queries that come later see the new one.
    pub fn put_zone(&self, zone: &Zone) -> Result<(), Error> {
        self.zones.put(zone)
    }

    /// Stops, and returns when both sockets are closed.
    pub async fn shutdown(mut self) {
        // The result tells of tasks that ended early, which stopping does not mind.
        let _ = self.server.shutdown_gracefully().await;
    }
}

async fn bind(listen: SocketAddr) -> io::Result<(UdpSocket, TcpListener)> {
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for _ in 0..PORT_ATTEMPTS {
        let udp = UdpSocket::bind(listen).await?;
        match TcpListener::bind(udp.local_addr()?).await {
            Ok(tcp) => return Ok((udp, tcp)),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// The zones being served, by name.
#[derive(Default)]
struct Zones(Mutex<BTreeMap<LowerName, Served>>);

#[derive(Clone)]
struct Served {
    catalog: Arc<Catalog>,
    trust_anchor: Option<String>,
}

impl Zones {
    fn put(&self, zone: &Zone) -> Result<(), Error> {
        let handler = zone.sign()?;
        let name = zone.name();
        let mut catalog = Catalog::new();
        catalog.upsert(name.clone(), vec![Arc::new(handler)]);
        let served = Served {
            catalog: Arc::new(catalog),
            trust_anchor: zone.trust_anchor()?,
        };
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(name, served);
        Ok(())
    }

    /// The zone to answer from: the closest above the name. A DS record belongs to the zone above the one it names
    /// (RFC 4035 §3.1.4.1).
    fn find(&self, name: &LowerName, kind: RecordType) -> Option<Arc<Catalog>> {
        let zones = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let closest = |from: &LowerName| {
            let mut candidate = from.clone();
            loop {
                match zones.get(&candidate) {
                    Some(served) => return Some(served.catalog.clone()),
                    None if candidate.is_root() => return None,
                    None => candidate = candidate.base_name(),
                }
            }
        };
        let above = (kind == RecordType::DS && !name.is_root())
            .then(|| closest(&name.base_name()))
            .flatten();
        above.or_else(|| closest(name))
    }
}

struct Handler(Arc<Zones>);

#[async_trait]
impl RequestHandler for Handler {
    async fn handle_request<R: ResponseHandler, T: Time>(
        &self,
        request: &Request,
        response_handle: R,
    ) -> ResponseInfo {
        let zone = request
            .request_info()
            .ok()
            .and_then(|info| self.0.find(info.query.name(), info.query.query_type()));
        // An empty catalogue refuses, as for any name we are not asked to serve.
        let catalog = zone.unwrap_or_else(|| Arc::new(Catalog::new()));
        catalog.handle_request::<R, T>(request, response_handle).await
    }
}
