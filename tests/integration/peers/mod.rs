//! Mail programs that other people wrote, each in a folder and on a loopback address of its own, with our daemon as their peer.
//!
//! None of them is root or needs an account on the machine. Those of which only one can be installed are unpacked by
//! `tests/run`.

mod backup;
mod dane;
mod disguise;
mod dovecot;
mod exim;
mod filters;
mod imap;
mod lmtp;
mod logins;
mod maildirs;
mod milters;
mod nginx;
mod opendkim;
mod passwords;
mod postfix;
mod quota;
mod relays;
mod reports;
mod rspamd;
pub mod seat;
mod strict_transport;

use std::net::IpAddr;

use crate::support::maildir::Maildir;
use crate::support::talk::Talk;

/// Another mail server, which is the host of plain.test.
trait Mta {
    /// Its address.
    fn ip(&self) -> IpAddr;
    /// Where mail for plain.test is.
    fn maildir(&self) -> Maildir;
    /// What it logged.
    fn log(&self) -> String;
}

/// What every reader of mail knows to be hard, with header fields that nobody completes. No line starts with a dot.
fn hard_messages(author: &str) -> [Vec<u8>; 4] {
    let header = |subject: &str| header(author, subject).into_bytes();
    [
        [header("one"), b"hello\r\n".to_vec()].concat(),
        [header("one"), b" \r\n\t\r\nFrom here\r\n\r\n\r\n".to_vec()].concat(),
        [header("one"), b"caf\xE9 na\xEFve \xFF\r\n".to_vec()].concat(),
        [header("Grüße, 漢字"), "πάντα ῥεῖ\r\n".into()].concat(),
    ]
}

fn header(author: &str, subject: &str) -> String {
    format!(
        "From: {author}\r\nTo: bob@hismail.test\r\nDate: Tue, 3 Jun 2025 10:00:00 +0000\r\n\
         Message-ID: <1@hermail.test>\r\nSubject: {subject}\r\n\r\n"
    )
}

/// A message of so many octets, no line of which is like another.
fn large_message(author: &str, octets: usize) -> Vec<u8> {
    let mut message = header(author, "large").into_bytes();
    let mut number = 0_u64;
    while message.len() < octets {
        number += 1;
        let scattered = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        message.extend_from_slice(format!("{number:>12} {scattered:016x} {:>44}\r\n", "line").as_bytes());
    }
    message
}

/// Brings a message by SMTP.
async fn bring(ip: IpAddr, from: &str, to: &str, octets: &[u8]) {
    transfer(&mut Talk::smtp(ip).await, from, to, octets).await;
}

/// Sends a message in a session that is ready for MAIL.
async fn transfer(talk: &mut Talk, from: &str, to: &str, octets: &[u8]) {
    let size = octets.len();
    talk.ask(
        &format!("MAIL FROM:<{from}> BODY=8BITMIME SMTPUTF8 SIZE={size}"),
        "250",
    )
    .await;
    talk.ask(&format!("RCPT TO:<{to}>"), "250").await;
    talk.ask("DATA", "354").await;
    talk.send(octets).await;
    talk.ask(".", "250").await;
}

/// Whether one of the messages ends with those octets, with line ends of either kind.
fn holds(messages: &[Vec<u8>], octets: &[u8]) -> bool {
    let unix: Vec<u8> = octets.iter().copied().filter(|octet| *octet != b'\r').collect();
    messages
        .iter()
        .any(|message| message.ends_with(octets) || message.ends_with(&unix))
}
