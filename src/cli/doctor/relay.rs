//! Whether the running daemon passes mail on for strangers: it is asked, as a stranger would, and nothing is sent.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::running::here;
use crate::cli::context::Context;
use crate::config::Config;
use crate::daemon::health::Finding;
use crate::mail::address::Domain;

/// How long the whole conversation may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Octets of one line at most (RFC 5321 §4.5.3.1.5 has 512 of a reply).
const MAX_LINE: u64 = 2048;
/// Lines of one reply at most.
const MAX_LINES: usize = 100;

/// A domain that nobody has (RFC 6761 §6.4).
const STRANGER: &str = "doctor.invalid";

/// What came of asking.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    /// Everything was refused.
    Closed,
    /// That recipient was taken.
    Open(String),
    /// The address that we come from may send to anybody.
    Trusted(IpAddr),
}

/// Asks on the first address for mail from other hosts.
pub async fn findings(config: &Config, context: Option<&Context>) -> Vec<Finding> {
    let Some(listener) = plain_listener(config) else {
        return Vec::new();
    };
    let host = &config.server.hostname;
    let is_served = match context {
        Some(context) => !matches!(context.store.local_domain(host).await, Ok(None)),
        None => true,
    };
    let asked = timeout(PATIENCE, ask(config, listener, &recipients(host, is_served))).await;
    let asked = asked.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    told(listener, asked).into_iter().collect()
}

/// Addresses for proxies let nobody else in.
fn plain_listener(config: &Config) -> Option<SocketAddr> {
    let listen = &config.listen;
    let plain = listen
        .smtp
        .iter()
        .find(|address| !listen.proxied.contains(address))?;
    Some(here(*plain))
}

fn told(listener: SocketAddr, asked: io::Result<Answer>) -> Option<Finding> {
    const WHY: &str = "spammers find such a host within hours, and other hosts then refuse its mail";
    match asked {
        Ok(Answer::Closed) => None,
        Ok(Answer::Open(recipient)) => Some(Finding::wrong(
            "open_relay",
            format!("the daemon takes mail from strangers for others: it took {recipient}"),
            WHY,
            "take networks out of relay.networks that are not yours",
        )),
        Ok(Answer::Trusted(address)) => Some(Finding::risky(
            "open_relay_untested",
            format!(
                "whether strangers can send through this host was not tried: {address} is in relay.networks"
            ),
            WHY,
            "have another host try it, with a recipient in a domain that is not served here",
        )),
        Err(error) => Some(Finding::unknown(
            "daemon_silent",
            format!("the daemon cannot be asked on {listener}: {error}"),
            "mail is taken in only while it runs",
            "start it, or look at its log",
        )),
    }
}

/// Recipients of a domain that is not ours, in every form that has ever led a host to pass mail on. `host` is this host's name; where
/// it is a domain that is served, what ends with it may well be somebody's here.
fn recipients(host: &Domain, is_served: bool) -> Vec<String> {
    let elsewhere = [format!("nobody@{STRANGER}"), format!("@{host}:nobody@{STRANGER}")];
    let here = [
        format!("nobody%{STRANGER}@{host}"),
        format!("\"nobody@{STRANGER}\"@{host}"),
        format!("{STRANGER}!nobody@{host}"),
        format!("nobody@{STRANGER}@{host}"),
    ];
    let here = here.into_iter().filter(|_| !is_served);
    elsewhere.into_iter().chain(here).collect()
}

async fn ask(config: &Config, listener: SocketAddr, recipients: &[String]) -> io::Result<Answer> {
    let tcp = TcpStream::connect(listener).await?;
    let from = tcp.local_addr()?.ip();
    let trusted = &config.relay.networks;
    if trusted.iter().any(|network| network.contains(from)) {
        return Ok(Answer::Trusted(from));
    }
    let mut talk = BufReader::new(tcp);
    reply(&mut talk).await?;
    command(&mut talk, &format!("EHLO {STRANGER}")).await?;
    let mut answer = Answer::Closed;
    for recipient in recipients {
        // Each alone: too many that are refused end a session.
        if !command(&mut talk, &format!("MAIL FROM:<nobody@{STRANGER}>")).await? {
            continue;
        }
        if command(&mut talk, &format!("RCPT TO:<{recipient}>")).await? {
            answer = Answer::Open(recipient.clone());
            break;
        }
        command(&mut talk, "RSET").await?;
    }
    command(&mut talk, "QUIT").await?;
    Ok(answer)
}

/// Says a command; whether the reply is positive.
async fn command(talk: &mut BufReader<TcpStream>, line: &str) -> io::Result<bool> {
    talk.get_mut().write_all(format!("{line}\r\n").as_bytes()).await?;
    reply(talk).await
}

/// Whether a reply, of several lines maybe, is positive.
async fn reply(talk: &mut BufReader<TcpStream>) -> io::Result<bool> {
    for _ in 0..MAX_LINES {
        let mut line = Vec::new();
        let read = talk.take(MAX_LINE).read_until(b'\n', &mut line).await?;
        match line.get(..4) {
            _ if read == 0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            Some([_, _, _, b'-']) => {}
            Some([class, _, _, _]) => return Ok(*class == b'2'),
            _ => return Err(io::ErrorKind::InvalidData.into()),
        }
    }
    Err(io::ErrorKind::InvalidData.into())
}
