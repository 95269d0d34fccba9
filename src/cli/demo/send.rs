//! Submitting a message as a mail program does: STARTTLS, AUTH, DATA.

use std::slice::Chunks;

use anyhow::Context as _;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::arrive::patience;
use super::world::Organization;
use crate::base::encoding::hex;
use crate::base::id::QueueId;
use crate::mail::address::{Mailbox, ReversePath};
use crate::mail::headers;
use crate::mail::notify::MessageRequest;
use crate::mail::reply::Reply;
use crate::net::connection::Connection;
use crate::net::stream::Stream;
use crate::net::tls::Connector;
use crate::smtp::auth::Credentials;
use crate::smtp::client::{
    Client, Event, Login, Outcome, Params, Protocol, Timeouts, TlsPolicy, Transaction, Verdict,
};

/// Octets of the message given to the client at a time.
const PIECE: usize = 64 * 1024;

/// Submits a message of the organization's user; the id is the one the server answered with.
pub async fn submit(from: &Organization, to: &Mailbox, message: &[u8]) -> anyhow::Result<QueueId> {
    let submission = timeout(patience(message.len()), session(from, to, message));
    let verdict = submission.await.context("the submission took too long")??;
    match verdict {
        Verdict::Accepted(reply) => {
            queue_id(&reply).with_context(|| format!("the reply names no message: {reply}"))
        }
        Verdict::Rejected(reply) => anyhow::bail!("{} refused the message: {reply}", from.host()),
    }
}

async fn session(from: &Organization, to: &Mailbox, message: &[u8]) -> anyhow::Result<Verdict> {
    let tcp = TcpStream::connect(from.submission).await?;
    let mut client = Client::new(params(from)?, None);
    client.start(transaction(from, to, message));
    let mut connection = Connection::new(Stream::new(tcp)?, client);
    let connector = Connector::new()?;
    let mut pieces = message.chunks(PIECE);
    loop {
        match connection.next_event().await? {
            Some(Event::StartTls) => {
                let peer = connection.connect_tls(&connector, from.host().as_str()).await?;
                connection.machine().tls_started(peer.info);
            }
            Some(Event::Ready) => {}
            Some(Event::Rewind) => pieces = message.chunks(PIECE),
            Some(Event::NeedBody) => feed(connection.machine(), &mut pieces),
            Some(Event::Done(outcome)) => {
                connection.machine().quit();
                // The verdict is known; whether the farewell is answered changes nothing.
                while let Ok(Some(_)) = connection.next_event().await {}
                return verdict(outcome);
            }
            Some(Event::Failed { failure, .. }) => return Err(failure.into()),
            Some(Event::Closed) | None => anyhow::bail!("the server ended the session"),
        }
    }
}

fn params(from: &Organization) -> anyhow::Result<Params> {
    Ok(Params {
        hello: format!("client.{}", from.domain).parse()?,
        protocol: Protocol::Smtp,
        tls: TlsPolicy::Required,
        login: Some(Login {
            credentials: Credentials {
                identity: from.user.to_string(),
                password: from.password.clone(),
            },
            nonce: hex(&rand::random::<[u8; 16]>()),
            in_clear: false,
        }),
        timeouts: Timeouts::default(),
    })
}

fn transaction(from: &Organization, to: &Mailbox, message: &[u8]) -> Transaction {
    Transaction {
        reverse_path: ReversePath(Some(from.user.clone())),
        recipients: vec![to.clone().into()],
        size_bytes: message.len() as u64,
        eight_bit: !message.is_ascii(),
        require_tls: false,
        smtputf8: !headers::split(message).block.is_ascii(),
        request: MessageRequest::default(),
    }
}

fn feed(client: &mut Client, pieces: &mut Chunks<'_, u8>) {
    match pieces.next() {
        Some(piece) => client.body(piece),
        None => client.body_end(),
    }
}

fn verdict(outcome: Outcome) -> anyhow::Result<Verdict> {
    match outcome {
        Outcome::Verdicts(verdicts) => verdicts.into_iter().next().context("the server gave no verdict"),
        Outcome::Lacking(need) => anyhow::bail!("the server lacks {need:?}"),
    }
}

/// The id in a reply like `250 2.0.0 … id`.
fn queue_id(reply: &Reply) -> Option<QueueId> {
    let words = reply.lines.iter().flat_map(|line| line.split_ascii_whitespace());
    words
        .map(|word| word.trim_matches(|char: char| !char.is_ascii_alphanumeric() && char != '_'))
        .find_map(QueueId::parse)
}
