//! SPF: records, macros, and how much work they may ask for.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use dimed::authentication::spf::expand::DomainSpec;
use dimed::authentication::spf::record::{Mechanism, Record, is_record};
use dimed::authentication::spf::{Client, Identity, check};
use dimed::mail::address::Mailbox;

use super::dns::{Lines, now};

/// Questions of one check: its record, and for each of ten terms a name and ten others.
const MAX_QUESTIONS: usize = 1 + 10 * 11;

/// The first line is who sends, and what the host calls itself; the others are records.
pub fn spf(input: &[u8]) {
    let (first, records) = match input.iter().position(|octet| *octet == b'\n') {
        Some(at) => (&input[..at], &input[at + 1..]),
        None => (&b""[..], input),
    };
    let first = String::from_utf8_lossy(first);
    let (sender, hello) = first.split_once(' ').unwrap_or((&first, "mx.example"));
    let sender = Mailbox::parse(sender).unwrap_or_else(|_| Mailbox::parse("a.b+c@d.example").unwrap());
    let (local, domain) = (sender.local(), sender.domain());
    let addresses = [
        IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
        IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2)),
    ];
    for address in addresses {
        for identity in [Identity::MailFrom { local, domain }, Identity::Hello(domain)] {
            let client = Client {
                address,
                hello,
                identity,
            };
            checked(&client, records);
            for line in records.split(|octet| *octet == b'\n') {
                record(&client, line);
            }
        }
    }
}

/// A check ends within its bounds, and the same records have the same outcome.
fn checked(client: &Client<'_>, records: &[u8]) {
    let zone = Lines::of(records);
    let verdict = now(check(&zone, client));
    assert!(zone.asked() <= MAX_QUESTIONS, "{} questions", zone.asked());
    assert_eq!(now(check(&Lines::of(records), client)), verdict);
}

/// What is read is a record, and every name in it can be asked for or is none.
fn record(client: &Client<'_>, line: &[u8]) {
    let Some(record) = Record::parse(line) else {
        return;
    };
    assert!(is_record(line) && line.is_ascii() && line.len() <= 4096);
    let mechanisms = record.directives.iter().map(|directive| &directive.mechanism);
    for spec in mechanisms.filter_map(name).chain(&record.redirect) {
        let name = spec.expand(client, "d.example");
        assert!(name.len() <= 253);
        assert_eq!(spec.expand(client, "d.example"), name);
    }
}

fn name(mechanism: &Mechanism) -> Option<&DomainSpec> {
    match mechanism {
        Mechanism::All | Mechanism::Ip(_) => None,
        Mechanism::Include(name) | Mechanism::Exists(name) => Some(name),
        Mechanism::A(name, _) | Mechanism::Mx(name, _) | Mechanism::Ptr(name) => name.as_ref(),
    }
}
