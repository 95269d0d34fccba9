//! One question to the name servers: UDP, then TCP if the reply is cut off.
//!
//! Only what bears on the question is let through, so that a reply cannot make the validator work on anything else.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use futures_util::stream::{self, Stream};
use hickory_proto::dnssec::rdata::DNSSECRData;
use hickory_proto::op::{DnsRequest, DnsResponse, Message, MessageType, Query, ResponseCode};
use hickory_proto::rr::{RData, Record, RecordType};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, DnsHandle, NetError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use super::{Servers, dname};

/// Replies over UDP are kept below the size at which they are fragmented (RFC 9715).
pub(super) const UDP_PAYLOAD_OCTETS: u16 = 1232;
/// Questions that one lookup may lead to.
const MAX_QUESTIONS: u32 = 200;
/// Records of one section that are looked at: each may have signatures to be checked, or lead further.
const MAX_RECORDS: usize = 64;
/// Addresses without signatures do not, and a reply has no room for more. Lists in DNS answer with many.
const MAX_ADDRESSES: usize = 4096;

/// The name servers as one lookup sees them.
#[derive(Clone)]
pub(super) struct Upstream {
    servers: Arc<Servers>,
    checking_disabled: bool,
    failed: Arc<AtomicBool>,
    questions: Arc<AtomicU32>,
}

impl Upstream {
    /// For one lookup. With `checking_disabled` a validating server passes on what it would refuse (RFC 6840 §5.9).
    pub(super) fn new(servers: Arc<Servers>, checking_disabled: bool) -> Self {
        Self {
            servers,
            checking_disabled,
            failed: Arc::new(AtomicBool::new(false)),
            questions: Arc::new(AtomicU32::new(0)),
        }
    }

    /// Whether any question so far had no usable reply.
    pub(super) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// Asks one server after the other. Only NOERROR and NXDOMAIN are replies.
    pub(super) async fn ask(&self, message: Message) -> Result<DnsResponse, NetError> {
        let result = self.ask_all(message).await;
        if result.is_err() {
            self.failed.store(true, Ordering::Relaxed);
        }
        result
    }

    async fn ask_all(&self, mut message: Message) -> Result<DnsResponse, NetError> {
        message.metadata.checking_disabled = self.checking_disabled;
        message.metadata.recursion_desired = true;
        let mut last = NetError::NoConnections;
        for _ in 0..self.servers.rounds {
            for server in &self.servers.addresses {
                if self.questions.fetch_add(1, Ordering::Relaxed) >= MAX_QUESTIONS {
                    return Err(NetError::Busy);
                }
                match self.ask_one(*server, &mut message).await {
                    Ok(response) => return Ok(response),
                    Err(error) => last = error,
                }
            }
        }
        Err(last)
    }

    async fn ask_one(&self, server: SocketAddr, message: &mut Message) -> Result<DnsResponse, NetError> {
        message.metadata.id = rand::random();
        let wait = self.servers.reply_timeout;
        let question = message.to_vec()?;
        let mut reply = within(wait, over_udp(server, &question, message)).await?;
        if reply.metadata.truncation {
            reply = within(wait, over_tcp(server, &question, message)).await?;
        }
        match reply.metadata.response_code {
            ResponseCode::NoError | ResponseCode::NXDomain if !reply.metadata.truncation => relevant(reply),
            code => Err(DnsError::ResponseCode(code).into()),
        }
    }
}

/// What the validator asks with.
impl DnsHandle for Upstream {
    type Response = Pin<Box<dyn Stream<Item = Result<DnsResponse, NetError>> + Send>>;
    type Runtime = TokioRuntimeProvider;

    fn send(&self, request: DnsRequest) -> Self::Response {
        let upstream = self.clone();
        let (message, _) = request.into_parts();
        Box::pin(stream::once(async move { upstream.ask(message).await }))
    }
}

async fn within<T>(wait: Duration, work: impl Future<Output = Result<T, NetError>>) -> Result<T, NetError> {
    timeout(wait, work).await.unwrap_or(Err(NetError::Timeout))
}

/// Replies that do not belong to the question are ignored until the time is up.
async fn over_udp(server: SocketAddr, question: &[u8], asked: &Message) -> Result<Message, NetError> {
    let local = match server {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    let socket = UdpSocket::bind(local).await?;
    socket.connect(server).await?;
    socket.send(question).await?;
    let mut buffer = vec![0u8; usize::from(u16::MAX)];
    loop {
        let length = socket.recv(&mut buffer).await?;
        match Message::from_vec(&buffer[..length]) {
            Ok(reply) if belongs(&reply, asked) => return Ok(reply),
            _ => continue,
        }
    }
}

/// Two octets of length, then the message (RFC 7766 §8).
async fn over_tcp(server: SocketAddr, question: &[u8], asked: &Message) -> Result<Message, NetError> {
    let length = u16::try_from(question.len()).map_err(|_| NetError::Message("the question is too long"))?;
    let mut stream = TcpStream::connect(server).await?;
    stream
        .write_all(&[&length.to_be_bytes(), question].concat())
        .await?;
    let mut buffer = vec![0u8; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut buffer).await?;
    let reply = Message::from_vec(&buffer)?;
    match belongs(&reply, asked) {
        true => Ok(reply),
        false => Err(io::Error::from(io::ErrorKind::InvalidData).into()),
    }
}

fn belongs(reply: &Message, asked: &Message) -> bool {
    reply.metadata.id == asked.metadata.id
        && reply.metadata.message_type == MessageType::Response
        && reply.metadata.op_code == asked.metadata.op_code
        && reply.queries == asked.queries
}

/// Keeps what answers the question, or denies it, and drops the rest.
///
/// An alias is taken alone: the name it leads to is asked for by itself, and what the reply says of it, or whether it
/// exists, is not looked at.
fn relevant(mut reply: Message) -> Result<DnsResponse, NetError> {
    let Some(query) = reply.queries.first().cloned() else {
        return Err(NetError::Message("the reply has no question"));
    };
    reply.additionals.clear();
    reply.answers.retain(|record| answers(record, &query));
    reply.answers.iter_mut().for_each(dname::in_canonical_form);
    let answered = reply
        .answers
        .iter()
        .any(|record| record.record_type() != RecordType::RRSIG);
    if answered {
        reply.metadata.response_code = ResponseCode::NoError;
    }
    let denials_matter = !answered || reply.answers.iter().any(from_wildcard);
    reply
        .authorities
        .retain(|record| denials_matter && denies(record, &query));
    let is_address = |record: &Record| matches!(record.data, RData::A(_) | RData::AAAA(_));
    let most = match reply.answers.iter().all(is_address) {
        true => MAX_ADDRESSES,
        false => MAX_RECORDS,
    };
    if reply.answers.len() > most || reply.authorities.len() > MAX_RECORDS {
        return Err(NetError::Message("the reply has too many records"));
    }
    Ok(DnsResponse::from_message(reply)?)
}

fn answers(record: &Record, query: &Query) -> bool {
    let wanted = |kind: RecordType| kind == query.query_type() || kind == RecordType::CNAME;
    record.name == *query.name()
        && record.dns_class == query.query_class()
        && (wanted(record.record_type()) || covered(record).is_some_and(wanted))
}

fn denies(record: &Record, query: &Query) -> bool {
    let wanted = |kind: RecordType| match kind {
        RecordType::SOA | RecordType::NSEC | RecordType::NSEC3 => true,
        // A delegation, which tells the validator where a zone begins.
        RecordType::NS => query.query_type() == RecordType::NS && record.name == *query.name(),
        _ => false,
    };
    record.dns_class == query.query_class()
        && (wanted(record.record_type()) || covered(record).is_some_and(wanted))
}

/// What a signature covers.
fn covered(record: &Record) -> Option<RecordType> {
    match &record.data {
        RData::DNSSEC(DNSSECRData::RRSIG(rrsig)) => Some(rrsig.input().type_covered),
        _ => None,
    }
}

/// Whether this is a signature that shows that what it covers was made from a wildcard.
pub(super) fn from_wildcard(record: &Record) -> bool {
    match &record.data {
        RData::DNSSEC(DNSSECRData::RRSIG(rrsig)) => rrsig.input().num_labels < record.name.num_labels(),
        _ => false,
    }
}
