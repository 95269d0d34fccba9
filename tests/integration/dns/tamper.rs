//! A proxy before a name server that changes what it says. UDP only; larger replies are passed on uncut.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use hickory_proto::dnssec::rdata::{DNSSECRData, RRSIG};
use hickory_proto::op::{Edns, Message, Query, ResponseCode};
use hickory_proto::rr::rdata::TXT;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

/// What the proxy does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trick {
    /// Nothing.
    Pass,
    /// Answers no query.
    Drop,
    /// Answers no query for the keys of a zone.
    DropKeysOf(&'static str),
    /// SERVFAIL.
    ServerFailure,
    /// SERVFAIL for one type.
    FailFor(RecordType),
    /// SERVFAIL, as a validating server does for bogus data.
    FailUnlessCheckingDisabled,
    /// Another id than the query's.
    WrongId,
    /// Another question than the query's.
    OtherQuestion,
    /// Octets that are no message.
    Garbage,
    /// Sets the AD bit.
    SetAd,
    /// Asks for no DNSSEC records, whatever the client asked for, and so gets none.
    NoDnssec,
    /// Removes every RRSIG of the answer to a TXT query, and of its denials.
    StripSignatures,
    /// Turns over a bit of every signature over TXT and NSEC.
    BreakSignatures,
    /// Removes NSEC and NSEC3 with their signatures.
    StripDenials,
    /// Changes the text of TXT records.
    ChangeText,
    /// Answers TXT queries with nothing at all.
    PretendNothing,
    /// Answers TXT queries with NXDOMAIN and an unsigned SOA.
    PretendNoSuchName,
    /// Answers TXT queries with NXDOMAIN and these records.
    Deny(Vec<Record>),
}

/// A running proxy.
pub struct Tamper {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Tamper {
    /// Starts before `server`.
    pub async fn start(server: SocketAddr, trick: Trick) -> Self {
        let socket = Arc::new(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap());
        let address = socket.local_addr().unwrap();
        let task = tokio::spawn(async move {
            let mut buffer = vec![0; 4096];
            loop {
                let (length, peer) = socket.recv_from(&mut buffer).await.unwrap();
                let query = Message::from_vec(&buffer[..length]).unwrap();
                let (socket, trick) = (socket.clone(), trick.clone());
                tokio::spawn(async move {
                    if let Some(reply) = reply(server, trick, query).await {
                        socket.send_to(&reply, peer).await.unwrap();
                    }
                });
            }
        });
        Self { address, task }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Tamper {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn reply(server: SocketAddr, trick: Trick, query: Message) -> Option<Vec<u8>> {
    let asked = query.queries[0].clone();
    let about_text = asked.query_type() == RecordType::TXT;
    let fails = match trick {
        Trick::Drop => return None,
        Trick::DropKeysOf(zone)
            if asked.query_type() == RecordType::DNSKEY && *asked.name() == name(zone) =>
        {
            return None;
        }
        Trick::Garbage => return Some(vec![0xFF; 40]),
        Trick::ServerFailure => true,
        Trick::FailFor(kind) => asked.query_type() == kind,
        Trick::FailUnlessCheckingDisabled => !query.metadata.checking_disabled,
        _ => false,
    };
    let mut query = query;
    if trick == Trick::NoDnssec {
        query.edns.get_or_insert_with(Edns::new).set_dnssec_ok(false);
    }
    let mut reply = forward(server, &mut query).await;
    if fails {
        reply.answers.clear();
        reply.authorities.clear();
        reply.metadata.response_code = ResponseCode::ServFail;
    }
    match trick {
        Trick::WrongId => reply.metadata.id ^= 1,
        Trick::OtherQuestion => reply.queries = vec![Query::query(name("other.test"), asked.query_type())],
        Trick::SetAd => reply.metadata.authentic_data = true,
        _ if about_text => change(trick, &mut reply),
        _ => {}
    }
    Some(reply.to_vec().unwrap())
}

async fn forward(server: SocketAddr, query: &mut Message) -> Message {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    // Tricks that need the signatures ask for them whatever the client does.
    query.edns.get_or_insert_with(Edns::new).set_max_payload(4096);
    socket.send_to(&query.to_vec().unwrap(), server).await.unwrap();
    let mut buffer = vec![0; 65535];
    let length = socket.recv(&mut buffer).await.unwrap();
    Message::from_vec(&buffer[..length]).unwrap()
}

fn change(trick: Trick, reply: &mut Message) {
    match trick {
        Trick::StripSignatures => keep(reply, |record| record.record_type() != RecordType::RRSIG),
        Trick::StripDenials => keep(reply, |record| {
            !is_denial(record.record_type()) && !is_denial(covered(record))
        }),
        Trick::BreakSignatures => {
            reply
                .answers
                .iter_mut()
                .chain(&mut reply.authorities)
                .for_each(break_signature);
        }
        Trick::ChangeText => reply.answers.iter_mut().for_each(change_text),
        Trick::PretendNothing => keep(reply, |_| false),
        Trick::PretendNoSuchName => {
            keep(reply, |record| record.record_type() == RecordType::SOA);
            reply.metadata.response_code = ResponseCode::NXDomain;
        }
        Trick::Deny(records) => {
            reply.answers.clear();
            reply.authorities = records;
            reply.metadata.response_code = ResponseCode::NXDomain;
        }
        _ => {}
    }
}

fn keep(reply: &mut Message, wanted: impl Fn(&Record) -> bool) {
    reply.answers.retain(&wanted);
    reply.authorities.retain(&wanted);
}

fn is_denial(kind: RecordType) -> bool {
    matches!(kind, RecordType::NSEC | RecordType::NSEC3)
}

fn covered(record: &Record) -> RecordType {
    match &record.data {
        RData::DNSSEC(DNSSECRData::RRSIG(rrsig)) => rrsig.input().type_covered,
        _ => RecordType::ZERO,
    }
}

fn break_signature(record: &mut Record) {
    if let RData::DNSSEC(DNSSECRData::RRSIG(rrsig)) = &record.data {
        let mut signature = rrsig.sig().to_vec();
        signature[10] ^= 1;
        record.data = RData::DNSSEC(DNSSECRData::RRSIG(RRSIG::from_sig(
            rrsig.input().clone(),
            signature,
        )));
    }
}

fn change_text(record: &mut Record) {
    if let RData::TXT(_) = &record.data {
        record.data = RData::TXT(TXT::new(vec!["ver=1 pok=forged".into()]));
    }
}

fn name(text: &str) -> Name {
    let mut name = Name::from_ascii(text).unwrap();
    name.set_fqdn(true);
    name
}
