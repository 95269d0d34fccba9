//! A milter of our own: on a real socket, it says what a test wants it to.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use dimed::config::{Filter, FilterProtocol};
use dimed::net::service::Service;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

use super::loopback::Loopback;

/// What it does in the place of an answer.
#[derive(Clone)]
pub enum Act {
    /// What a filter does that has nothing to say.
    Usual,
    /// Sends these octets.
    Send(Vec<u8>),
    /// Sends nothing.
    Nothing,
    /// Ends the connection.
    Close,
}

/// What it does when it gets a packet, which is a letter and data, on the connection of that number, from 0.
pub type Script = dyn Fn(usize, &[u8]) -> Act + Send + Sync;

/// A running milter; it ends when this is dropped.
pub struct Milter {
    /// Where it listens.
    pub address: SocketAddr,
    heard: Arc<Mutex<Vec<Vec<u8>>>>,
    task: AbortHandle,
    _loopback: Loopback,
}

impl Drop for Milter {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Milter {
    /// One that does as the script says.
    pub async fn start(script: impl Fn(usize, &[u8]) -> Act + Send + Sync + 'static) -> Self {
        let loopback = Loopback::take();
        let listener = TcpListener::bind((loopback.ip, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (script, log): (Arc<Script>, _) = (Arc::new(script), Arc::clone(&heard));
        let task = tokio::spawn(async move {
            for number in 0.. {
                let Ok((stream, _)) = listener.accept().await else {
                    return;
                };
                let (script, log) = (Arc::clone(&script), Arc::clone(&log));
                tokio::spawn(async move { serve(stream, number, &*script, &log).await });
            }
        });
        Self {
            address,
            heard,
            task: task.abort_handle(),
            _loopback: loopback,
        }
    }

    /// Every packet so far, of all connections.
    pub fn heard(&self) -> Vec<Vec<u8>> {
        self.heard.lock().unwrap().clone()
    }

    /// The letters of them.
    pub fn letters(&self) -> String {
        self.heard().iter().map(|packet| char::from(packet[0])).collect()
    }

    /// Its place in the configuration, with the defaults.
    pub fn filter(&self, name: &str) -> Filter {
        Filter::new(name, FilterProtocol::Milter, Service::Tcp(self.address))
    }
}

async fn serve(mut stream: TcpStream, number: usize, script: &Script, log: &Mutex<Vec<Vec<u8>>>) {
    while let Ok(length) = stream.read_u32().await {
        let mut packet = vec![0; length as usize];
        if stream.read_exact(&mut packet).await.is_err() {
            return;
        }
        log.lock().unwrap().push(packet.clone());
        let answer = match script(number, &packet) {
            Act::Usual => usual(packet[0]),
            Act::Send(octets) => octets,
            Act::Nothing => Vec::new(),
            Act::Close => return,
        };
        if stream.write_all(&answer).await.is_err() {
            return;
        }
    }
}

/// Everything is agreed on, and everything is answered.
fn usual(letter: u8) -> Vec<u8> {
    match letter {
        b'O' => packet(b"O\0\0\0\x06\0\0\0\xff\0\0\0\0"),
        b'D' | b'A' | b'Q' => Vec::new(),
        _ => packet(b"c"),
    }
}

/// A packet on the wire.
pub fn packet(packet: &[u8]) -> Vec<u8> {
    let length = u32::try_from(packet.len()).unwrap();
    [&length.to_be_bytes()[..], packet].concat()
}

/// Several of them.
pub fn packets(list: &[&[u8]]) -> Act {
    Act::Send(list.iter().flat_map(|one| packet(one)).collect())
}
