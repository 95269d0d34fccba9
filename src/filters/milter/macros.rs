//! What a milter is told beside the commands: macros of sendmail, by their names there.

use std::net::IpAddr;

use super::packet::{Command, texts};
use crate::authentication::iprev::{Reverse, Verdict};
use crate::base::id::QueueId;
use crate::filters::{Client, Sender};
use crate::mail::address::{Domain, Mailbox};

/// For the name of an address that has none.
const UNKNOWN: &str = "unknown";

/// The name that leads back to the client's address, or the address itself.
fn name(client: &Client) -> String {
    let confirmed = client.reverse.as_ref().and_then(Reverse::confirmed);
    confirmed.map_or_else(|| literal(client), Domain::to_string)
}

fn literal(client: &Client) -> String {
    match client.address.to_canonical() {
        IpAddr::V4(address) => format!("[{address}]"),
        IpAddr::V6(address) => format!("[IPv6:{address}]"),
    }
}

/// Name and address, as in Sendmail.
fn name_and_address(client: &Client, named: Option<&Domain>) -> String {
    let literal = literal(client);
    let is_confirmed = client.reverse.as_ref().and_then(Reverse::confirmed).is_some();
    match named {
        Some(name) if is_confirmed => format!("{name} {literal}"),
        Some(name) => format!("{name} {literal} (may be forged)"),
        None => literal,
    }
}

/// How far the name is known, in Sendmail's words.
fn resolved(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "OK",
        Verdict::Fail => "FORGED",
        Verdict::TempError => "TEMP",
        Verdict::PermError => "FAIL",
    }
}

/// The data of `connect`: name, family, port, address.
pub(super) fn connection(client: &Client) -> Vec<u8> {
    let (family, address) = match client.address.to_canonical() {
        IpAddr::V4(address) => (b'4', address.to_string()),
        // Sendmail's form has a tag before it.
        IpAddr::V6(address) => (b'6', format!("IPv6:{address}")),
    };
    let mut data = texts([name(client)]);
    data.push(family);
    data.extend_from_slice(&client.port.to_be_bytes());
    data.extend(texts([address]));
    data
}

pub(super) fn of_connection(client: &Client) -> Vec<u8> {
    let reverse = client.reverse.as_ref();
    let named = reverse.and_then(|reverse| reverse.name.as_ref());
    let mut macros = vec![
        ("j", client.host.to_string()),
        ("{daemon_name}", "dimed".into()),
        ("v", concat!("dimed/", env!("CARGO_PKG_VERSION")).into()),
        ("_", name_and_address(client, named)),
        ("{client_addr}", client.address.to_canonical().to_string()),
        ("{client_port}", client.port.to_string()),
        ("{client_name}", name(client)),
        (
            "{client_ptr}",
            named.map_or_else(|| UNKNOWN.into(), Domain::to_string),
        ),
    ];
    macros.extend(reverse.map(|reverse| ("{client_resolve}", resolved(reverse.verdict).into())));
    packet(Command::Connect, &macros)
}

pub(super) fn of_hello(client: &Client) -> Vec<u8> {
    let tls = client
        .tls
        .iter()
        .flat_map(|(version, cipher)| [("{tls_version}", version.clone()), ("{cipher}", cipher.clone())]);
    packet(Command::Hello, &tls.collect::<Vec<_>>())
}

pub(super) fn of_mail(client: &Client, sender: &Sender) -> Vec<u8> {
    let login = client.login.iter().flat_map(|login| {
        // By which mechanism is not told on.
        [
            ("{auth_type}", "SASL".to_owned()),
            ("{auth_authen}", login.to_string()),
        ]
    });
    let host = sender.path.0.as_ref().map(|mailbox| mailbox.domain().to_string());
    let address = [
        ("{mail_addr}", path(sender)),
        ("{mail_host}", host.unwrap_or_default()),
    ];
    packet(Command::Mail, &login.chain(address).collect::<Vec<_>>())
}

pub(super) fn of_rcpt(recipient: &Mailbox) -> Vec<u8> {
    packet(
        Command::Rcpt,
        &[
            ("{rcpt_addr}", recipient.to_string()),
            ("{rcpt_host}", recipient.domain().to_string()),
        ],
    )
}

pub(super) fn of_message(command: Command, id: QueueId) -> Vec<u8> {
    packet(command, &[("i", id.to_string())])
}

/// The reverse-path without its brackets.
pub(super) fn path(sender: &Sender) -> String {
    sender.path.0.as_ref().map(Mailbox::to_string).unwrap_or_default()
}

fn packet(command: Command, macros: &[(&str, String)]) -> Vec<u8> {
    let named = macros.iter().flat_map(|(name, value)| [*name, value]);
    let data = [&[command.letter()][..], &texts(named)].concat();
    Command::Macros.packet(&data)
}
