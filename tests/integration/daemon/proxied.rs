//! Connections that come through a proxy (PROXY protocol, version 2).

use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;

use dimed::config::Config;

use crate::support::loopback::{HTTP, SMTP};
use crate::support::organization::Organization;
use crate::support::talk::Talk;
use crate::support::world::World;

/// A port beside that for SMTP, on which proxies of a network are heard.
async fn hismail(world: &World, proxies: &str, per_address: usize) -> Organization {
    world
        .organization("hismail.test")
        .plain()
        .accounts(&["bob"])
        .config(|config: &mut Config| {
            let ip = config.listen.smtp[0].ip();
            config.listen.smtp.push(SocketAddr::new(ip, HTTP));
            config.listen.proxied = vec![SocketAddr::new(ip, HTTP)];
            config.listen.proxies = vec![proxies.parse().unwrap()];
            config.limits.connections_per_address = NonZeroUsize::new(per_address).unwrap();
        })
        .build()
        .await
}

/// The header for a connection from `source`, or for one of the proxy's own.
pub fn header(source: Option<Ipv4Addr>) -> Vec<u8> {
    let signature = b"\r\n\r\n\0\r\nQUIT\n";
    let Some(source) = source else {
        return [&signature[..], &[0x20, 0, 0, 0]].concat();
    };
    [
        &signature[..],
        &[0x21, 0x11, 0, 12],
        &source.octets(),
        &[192, 0, 2, 2],
        &[0x10, 0, 0, 25],
    ]
    .concat()
}

const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 77);

#[tokio::test(flavor = "multi_thread")]
async fn the_address_that_a_proxy_says_counts() {
    let world = World::new().await;
    let hismail = hismail(&world, "127.0.0.0/8", 1).await;
    let served = hismail.start().await;
    let mut talk = Talk::open(hismail.ip, HTTP).await;
    talk.send(&header(Some(CLIENT))).await;
    talk.expect("220 ").await;
    talk.ask("EHLO client.test", "250").await;
    let reply = talk
        .transfer("", &["bob@hismail.test"], "From: carol@plain.test\r\n\r\nhi\r\n")
        .await;
    assert!(reply.starts_with("250 2.0.0 Ok: queued as "), "{reply}");
    let mail = hismail.maildir("bob").only().await;
    assert!(mail.contains("[192.0.2.77]"), "{mail}");

    // That address has its one connection; another has one, too, and so has the proxy itself.
    let mut again = Talk::open(hismail.ip, HTTP).await;
    again.send(&header(Some(CLIENT))).await;
    again.expect("421 mx.hismail.test Too many connections").await;
    let mut other = Talk::open(hismail.ip, HTTP).await;
    other.send(&header(Some(Ipv4Addr::new(192, 0, 2, 78)))).await;
    other.expect("220 ").await;
    let mut own = Talk::open(hismail.ip, HTTP).await;
    own.send(&header(None)).await;
    own.expect("220 ").await;
    own.ask("QUIT", "221").await;
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_does_not_say_whose_the_connection_is_hears_nothing() {
    let world = World::new().await;
    let hismail = hismail(&world, "127.0.0.0/8", 100).await;
    let served = hismail.start().await;
    let v1 = b"PROXY TCP4 192.0.2.77 192.0.2.2 4096 25\r\nEHLO client.test\r\n";
    let mut unspecified = header(Some(CLIENT));
    unspecified[13] = 0;
    let mut long = header(Some(CLIENT));
    long[14] = 0xff;
    long.extend([0; 0xffff]);
    for octets in [&v1[..], b"EHLO client.test\r\n", &unspecified, &long] {
        let mut talk = Talk::open(hismail.ip, HTTP).await;
        talk.send(octets).await;
        talk.expect_end().await;
    }
    // And no header is heard where none is due.
    let mut talk = Talk::open(hismail.ip, SMTP).await;
    talk.send(&header(Some(CLIENT))).await;
    talk.expect("220 ").await;
    talk.expect("5").await;
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_but_the_configured_networks_is_a_proxy() {
    let world = World::new().await;
    let hismail = hismail(&world, "192.0.2.0/24", 100).await;
    let served = hismail.start().await;
    let mut talk = Talk::open(hismail.ip, HTTP).await;
    talk.send(&header(Some(CLIENT))).await;
    talk.expect_end().await;
    Talk::smtp(hismail.ip).await.ask("QUIT", "221").await;
    served.stop().await;
}
