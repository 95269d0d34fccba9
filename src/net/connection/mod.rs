//! Runs a protocol machine over a stream.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use bytes::{Buf, BufMut, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout, timeout_at};

use super::stream::Stream;
use super::tls::{self, TlsPeer};
use crate::base::machine::Machine;

/// Unread octets held for a peer at most.
const INPUT_LIMIT: usize = 64 * 1024;

/// Octets read at a time.
const READ_BYTES: usize = 16 * 1024;

/// How long a peer may take to accept what we send.
const WRITE_TIMEOUT: Duration = Duration::from_secs(300);

/// How long closing may take; the peer may be gone.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a connection ended without the machine wanting it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The socket failed, or the peer did not take our octets in time.
    #[error("the connection failed")]
    Io(#[from] io::Error),
    /// The peer sent more than the machine can use.
    #[error("the peer sent an endless line")]
    InputLimit,
    /// The TLS handshake failed or took too long.
    #[error("the TLS handshake failed")]
    Handshake(#[source] io::Error),
}

/// A machine, its stream, and the octets in between.
///
/// [`next_event`](Self::next_event) is cancel-safe: it may be dropped at any await and called again.
#[derive(Debug)]
pub struct Connection<M> {
    machine: M,
    stream: Stream,
    input: BytesMut,
    output: VecDeque<Vec<u8>>,
    /// Octets of the first output item that are sent.
    sent: usize,
    /// The stream may hold octets that need a flush.
    unflushed: bool,
    end_of_input: bool,
    started: Instant,
}

impl<M: Machine> Connection<M> {
    /// Starts a session; the machine's time counts from here.
    pub fn new(stream: Stream, machine: M) -> Self {
        Self {
            machine,
            stream,
            input: BytesMut::new(),
            output: VecDeque::new(),
            sent: 0,
            unflushed: false,
            end_of_input: false,
            started: Instant::now(),
        }
    }

    /// The machine, for answering its events.
    pub fn machine(&mut self) -> &mut M {
        &mut self.machine
    }

    /// Time since the session began.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Drives the machine until it has an event; `None` once the session is over and everything is sent.
    pub async fn next_event(&mut self) -> Result<Option<M::Event>, Error> {
        // Whether the machine has been offered all there is, even if that is nothing (it learns the time that way),
        // and had nothing to say since.
        let mut idle = false;
        loop {
            self.send().await?;
            if let Some(event) = self.machine.poll_event() {
                return Ok(Some(event));
            }
            if self.machine.is_closed() {
                self.close().await;
                return Ok(None);
            }
            if idle {
                self.read().await?;
                idle = false;
            } else {
                idle = self.feed() == 0;
            }
        }
    }

    /// Sends everything the machine has to say, item by item.
    pub async fn send(&mut self) -> Result<(), Error> {
        timeout(WRITE_TIMEOUT, self.send_items())
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        Ok(())
    }

    /// Keeps its place in `sent` and `unflushed`, so that a cancelled call loses nothing.
    async fn send_items(&mut self) -> io::Result<()> {
        loop {
            if self.unflushed && self.output.front().is_none_or(|_| self.sent == 0) {
                self.stream.flush().await?;
                self.unflushed = false;
            }
            let Some(item) = self.output.front() else {
                match self.machine.poll_transmit() {
                    Some(item) => self.output.push_back(item),
                    None => return Ok(()),
                }
                continue;
            };
            if self.sent < item.len() {
                let count = self.stream.write(&item[self.sent..]).await?;
                if count == 0 {
                    return Err(io::ErrorKind::WriteZero.into());
                }
                self.sent += count;
                self.unflushed = true;
            }
            if self.sent >= item.len() {
                self.output.pop_front();
                self.sent = 0;
            }
        }
    }

    /// Offers the unread octets; how many were consumed.
    fn feed(&mut self) -> usize {
        let consumed = self.machine.receive(self.started.elapsed(), &self.input);
        self.input.advance(consumed);
        consumed
    }

    /// Waits for octets, the end of input, or the machine's deadline.
    async fn read(&mut self) -> Result<(), Error> {
        if self.input.len() >= INPUT_LIMIT {
            return Err(Error::InputLimit);
        }
        if self.end_of_input {
            return Err(Error::Io(io::ErrorKind::UnexpectedEof.into()));
        }
        let deadline = self.machine.timeout().map(|after| self.started + after);
        let read = read(&mut self.stream, &mut self.input);
        let count = match deadline {
            Some(deadline) => match timeout_at(deadline, read).await {
                Ok(count) => count?,
                Err(_) => {
                    self.machine.expire(self.started.elapsed());
                    return Ok(());
                }
            },
            None => read.await?,
        };
        if count == 0 {
            self.end_of_input = true;
            self.machine.end_of_input(self.started.elapsed());
        }
        Ok(())
    }

    /// Upgrades as server. Clear text that arrived behind the command is discarded (RFC 3207 §4.2).
    pub async fn accept_tls(&mut self, config: &tls::Acceptor) -> Result<TlsPeer, Error> {
        self.send().await?;
        let tcp = self.leave_clear_text()?;
        let (stream, peer) = config.accept(tcp).await.map_err(Error::Handshake)?;
        self.stream = stream;
        Ok(peer)
    }

    /// Upgrades as client. Octets that arrived behind the server's reply are an attack or a fault: the connection
    /// fails (`dmtp.md` §11 no. 1).
    pub async fn connect_tls(&mut self, config: &tls::Connector, name: &str) -> Result<TlsPeer, Error> {
        self.send().await?;
        if !self.input.is_empty() {
            self.stream = Stream::Closed;
            let injected = io::Error::new(io::ErrorKind::InvalidData, "clear text behind the STARTTLS reply");
            return Err(Error::Handshake(injected));
        }
        let tcp = self.leave_clear_text()?;
        let (stream, peer) = config.connect(tcp, name).await.map_err(Error::Handshake)?;
        self.stream = stream;
        Ok(peer)
    }

    fn leave_clear_text(&mut self) -> Result<tokio::net::TcpStream, Error> {
        self.input.clear();
        Ok(self.stream.take_tcp()?)
    }

    /// Ends the session as far as the peer allows.
    pub async fn close(&mut self) {
        // The peer may be gone already; there is nobody to tell.
        let _ = timeout(CLOSE_TIMEOUT, self.stream.shutdown()).await;
        self.stream = Stream::Closed;
    }
}

/// Reads what is there. Whoever says nothing costs no buffer meanwhile.
async fn read(stream: &mut Stream, input: &mut BytesMut) -> io::Result<usize> {
    if input.is_empty() {
        *input = BytesMut::new();
        stream.readable().await?;
    }
    input.reserve(READ_BYTES);
    stream.read_buf(&mut input.limit(READ_BYTES)).await
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
