//! A next host that knows the nodes by their addresses, and may keep some of them waiting for its last word.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::support::loopback::SMTP;

/// What it has seen, and whom it keeps waiting.
#[derive(Default)]
pub struct State {
    /// By number of the message, who has given it.
    pub taken: BTreeMap<usize, Vec<IpAddr>>,
    /// These do not get the reply to a message that was taken.
    pub waiting: BTreeSet<IpAddr>,
    /// These are not told to go ahead with a message.
    pub held_back: BTreeSet<IpAddr>,
    /// Who has asked to give one.
    pub asking: Vec<IpAddr>,
}

/// Serves on the port for SMTP; stops when dropped.
pub struct Host {
    pub state: Arc<Mutex<State>>,
    task: JoinHandle<()>,
}

impl Host {
    pub async fn start(ip: IpAddr) -> Self {
        let listener = TcpListener::bind((ip, SMTP)).await.unwrap();
        let state = Arc::<Mutex<State>>::default();
        let shared = Arc::clone(&state);
        let task = tokio::spawn(async move {
            while let Ok((tcp, peer)) = listener.accept().await {
                tokio::spawn(session(tcp, peer.ip(), Arc::clone(&shared)));
            }
        });
        Self { state, task }
    }

    /// Has a node wait for replies to its messages from now on, or no more.
    pub fn keep_waiting(&self, node: IpAddr, waits: bool) {
        let mut state = self.state.lock().unwrap();
        match waits {
            true => state.waiting.insert(node),
            false => state.waiting.remove(&node),
        };
    }

    /// Has a node wait before its messages from now on, or no more.
    pub fn hold_back(&self, node: IpAddr, waits: bool) {
        let mut state = self.state.lock().unwrap();
        match waits {
            true => state.held_back.insert(node),
            false => state.held_back.remove(&node),
        };
    }

    /// Who has given a message.
    pub fn givers(&self, number: usize) -> Vec<IpAddr> {
        let state = self.state.lock().unwrap();
        state.taken.get(&number).cloned().unwrap_or_default()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn session(tcp: TcpStream, peer: IpAddr, state: Arc<Mutex<State>>) -> Option<()> {
    let mut stream = BufReader::new(tcp);
    say(&mut stream, "220 host ESMTP").await?;
    loop {
        let line = line(&mut stream).await?;
        match line.split([' ', ':']).next()? {
            "EHLO" => say(&mut stream, "250-host\r\n250 8BITMIME").await?,
            "DATA" => {
                state.lock().unwrap().asking.push(peer);
                while state.lock().unwrap().held_back.contains(&peer) {
                    sleep(Duration::from_millis(10)).await;
                }
                say(&mut stream, "354 go ahead").await?;
                let number = message(&mut stream).await?;
                let taken = |state: &mut State| state.taken.entry(number).or_default().push(peer);
                taken(&mut state.lock().unwrap());
                while state.lock().unwrap().waiting.contains(&peer) {
                    sleep(Duration::from_millis(10)).await;
                }
                say(&mut stream, "250 taken").await?;
            }
            "QUIT" => return say(&mut stream, "221 bye").await,
            _ => say(&mut stream, "250 ok").await?,
        }
    }
}

/// The number in the body.
async fn message(stream: &mut BufReader<TcpStream>) -> Option<usize> {
    let mut number = None;
    loop {
        let line = line(stream).await?;
        match line.strip_prefix("number ") {
            Some(found) => number = found.parse().ok(),
            None if line == "." => return number,
            None => {}
        }
    }
}

async fn line(stream: &mut BufReader<TcpStream>) -> Option<String> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok()?;
    line.strip_suffix("\r\n").map(str::to_owned)
}

async fn say(stream: &mut BufReader<TcpStream>, text: &str) -> Option<()> {
    stream.write_all(format!("{text}\r\n").as_bytes()).await.ok()
}
