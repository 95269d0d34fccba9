//! A proxy before a name server that spoils what it says of records of one type.

use std::net::{Ipv4Addr, SocketAddr};

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RecordType;
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

/// How it spoils them.
#[derive(Debug, Clone, Copy)]
pub enum Spoils {
    /// SERVFAIL.
    Fails,
    /// Without signatures and denials.
    Strips,
}

/// A running proxy.
pub struct Proxy {
    /// Where it listens.
    pub address: SocketAddr,
    task: JoinHandle<()>,
}

impl Proxy {
    /// Starts before `server`.
    pub async fn start(server: SocketAddr, kind: RecordType, spoils: Spoils) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = socket.local_addr().unwrap();
        let task = tokio::spawn(async move {
            let mut query = vec![0; 4096];
            loop {
                let (length, peer) = socket.recv_from(&mut query).await.unwrap();
                let reply = ask(server, &query[..length]).await;
                socket.send_to(&spoil(&reply, kind, spoils), peer).await.unwrap();
            }
        });
        Self { address, task }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn ask(server: SocketAddr, query: &[u8]) -> Vec<u8> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    socket.send_to(query, server).await.unwrap();
    let mut reply = vec![0; 65_535];
    let length = socket.recv(&mut reply).await.unwrap();
    reply.truncate(length);
    reply
}

fn spoil(reply: &[u8], kind: RecordType, spoils: Spoils) -> Vec<u8> {
    let mut message = Message::from_vec(reply).unwrap();
    if message.queries[0].query_type() != kind {
        return reply.to_vec();
    }
    match spoils {
        Spoils::Fails => {
            message.answers.clear();
            message.metadata.response_code = ResponseCode::ServFail;
        }
        Spoils::Strips => message.answers.retain(|record| record.record_type() == kind),
    }
    message.authorities.clear();
    message.to_vec().unwrap()
}
