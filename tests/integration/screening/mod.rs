//! What hosts are measured by, with real DNS: Knot, behind Unbound where it says so. Hosts elsewhere come through a proxy, which
//! says their addresses.

mod greylist;
mod lists;
mod names;
mod rates;

use std::net::{IpAddr, SocketAddr};

use dimed::config::{Config, ListAction, Screening};

use crate::support::loopback::HTTP;
use crate::support::name_server::{Denial, NameServer, Zone};
use crate::support::organization::{Organization, Served};
use crate::support::talk::Talk;
use crate::support::world::World;

const MESSAGE: &str = "From: Carol <carol@plain.test>\r\nSubject: hi\r\n\r\nhello\r\n";

/// Bob's organization, which measures hosts, and the DNS that it asks.
struct Scene {
    hismail: Organization,
    knot: NameServer,
    _world: World,
}

impl Scene {
    /// DNS has a root and these zones.
    async fn new(zones: &[Zone], change: impl Fn(&mut Screening)) -> Self {
        let knot = knot(zones).await;
        let (servers, anchors) = (vec![knot.address], knot.anchor_file());
        let settings = |config: &mut Config| {
            config.dns.servers = servers.clone();
            config.dns.trust_anchors = Some(anchors.clone());
            change(&mut config.screening);
        };
        let world = World::new().await;
        let hismail = hismail(&world, settings).await;
        Self {
            hismail,
            knot,
            _world: world,
        }
    }

    async fn start(&self) -> Served {
        self.hismail.start().await
    }

    /// A host elsewhere, greeted and about to say who it is.
    async fn connect(&self, address: &str) -> Talk {
        let mut talk = self.call(address).await;
        talk.expect("220 ").await;
        talk
    }

    /// A host elsewhere that hears nothing yet.
    async fn call(&self, address: &str) -> Talk {
        let mut talk = Talk::open(self.hismail.ip, HTTP).await;
        talk.send(&header(address.parse().unwrap())).await;
        talk
    }

    /// The reply to RCPT for bob, of a host that calls itself `mx.plain.test`.
    async fn rcpt(&self, address: &str, from: &str) -> String {
        self.rcpt_to(address, "mx.plain.test", from, "bob@hismail.test")
            .await
    }

    async fn rcpt_to(&self, address: &str, hello: &str, from: &str, to: &str) -> String {
        let mut talk = self.connect(address).await;
        talk.ask(&format!("EHLO {hello}"), "250").await;
        talk.ask(&format!("MAIL FROM:<{from}>"), "250").await;
        talk.ask(&format!("RCPT TO:<{to}>"), "").await
    }

    /// The message as bob gets it, his only one.
    async fn delivered(&self, address: &str, hello: &str, message: &str) -> String {
        let mut talk = self.connect(address).await;
        talk.ask(&format!("EHLO {hello}"), "250").await;
        let to = ["bob@hismail.test"];
        let reply = talk.transfer("carol@plain.test", &to, message).await;
        assert!(reply.starts_with("250 "), "{reply}");
        let bob = self.hismail.maildir("bob");
        let delivered = bob.only().await;
        self.hismail.idle().await;
        std::fs::remove_dir_all(&bob.0).unwrap();
        delivered
    }
}

/// A name server with a root of its own, and `test`.
async fn knot(zones: &[Zone]) -> NameServer {
    let root = Zone::signed(".", "ECDSAP256SHA256", Denial::Nsec).with("ns.dns-host A 127.0.0.1");
    let test = Zone::signed("test", "ECDSAP256SHA256", Denial::Nsec);
    let all: Vec<_> = [root, test].into_iter().chain(zones.iter().cloned()).collect();
    NameServer::start(&all).await
}

/// With a port on which a proxy is heard, beside that for SMTP.
async fn hismail(world: &World, change: impl Fn(&mut Config)) -> Organization {
    let builder = world
        .organization("hismail.test")
        .plain()
        .accounts(&["bob", "alice"]);
    let settings = |config: &mut Config| {
        let ip = config.listen.smtp[0].ip();
        config.listen.smtp.push(SocketAddr::new(ip, HTTP));
        config.listen.proxied = vec![SocketAddr::new(ip, HTTP)];
        config.listen.proxies = vec!["127.0.0.0/8".parse().unwrap()];
        change(config);
    };
    builder.config(settings).build().await
}

/// What a proxy says of a connection from that address (PROXY protocol, version 2).
fn header(source: IpAddr) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    match source {
        IpAddr::V4(v4) => {
            header.extend([0x21, 0x11, 0, 12]);
            header.extend(v4.octets());
            header.extend([192, 0, 2, 2]);
        }
        IpAddr::V6(v6) => {
            header.extend([0x21, 0x21, 0, 36]);
            header.extend(v6.octets());
            header.extend([0x20; 16]);
        }
    }
    header.extend([0x10, 0, 0, 25]);
    header
}

/// A list of addresses with what it says otherwise by default.
fn list(zone: &str, action: ListAction) -> dimed::config::List {
    dimed::config::List {
        zone: zone.parse().unwrap(),
        name: zone.parse().unwrap(),
        of: dimed::config::Listed::Address,
        answers: vec![dimed::screening::Answers::usual()],
        action,
    }
}

/// The field of that name, unfolded.
fn field<'a>(message: &'a str, name: &str) -> Option<String> {
    let (header, _) = message.split_once("\r\n\r\n").unwrap();
    let unfolded: &'a str = header;
    let unfolded = unfolded.replace("\r\n\t", " ");
    let start = format!("{name}: ");
    unfolded
        .lines()
        .find_map(|line| line.strip_prefix(&start).map(str::to_owned))
}
