//! As much of an IMAP client as reading a Maildir takes.

use std::net::SocketAddr;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::PATIENCE;

/// One message of a mailbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// The flags, with a blank between them.
    pub flags: String,
    /// What the server takes for its size, in octets.
    pub size: usize,
    /// All of it.
    pub octets: Vec<u8>,
}

/// A session.
pub struct Imap(BufReader<TcpStream>);

impl Imap {
    /// Connects, up to the greeting.
    pub async fn connect(at: SocketAddr) -> Self {
        let stream = TcpStream::connect(at).await.unwrap();
        let mut imap = Self(BufReader::new(stream));
        let greeting = imap.line().await;
        assert!(greeting.starts_with("* OK "), "{greeting}");
        imap
    }

    /// LOGIN, with literals for whatever may be in the name.
    pub async fn log_in(&mut self, user: &str, password: &str) {
        let (user_octets, password_octets) = (user.len(), password.len());
        let command = format!("LOGIN {{{user_octets}+}}\r\n{user} {{{password_octets}+}}\r\n{password}");
        self.ask(&command).await;
    }

    /// Opens a mailbox and reads everything in it, without a trace.
    pub async fn read(&mut self, mailbox: &str) -> Vec<Fetched> {
        let selected = self.ask(&format!("SELECT {mailbox}")).await;
        if selected.iter().any(|line| line == "* 0 EXISTS") {
            return Vec::new();
        }
        self.send("FETCH 1:* (FLAGS RFC822.SIZE BODY.PEEK[])").await;
        let mut messages = Vec::new();
        loop {
            let line = self.line().await;
            if line.contains(" FETCH (") {
                messages.push(self.message(&line).await);
            } else if let Some(ended) = line.strip_prefix("x ") {
                assert!(ended.starts_with("OK "), "{line}");
                return messages;
            }
        }
    }

    /// Sends a command and reads its untagged responses; it must succeed.
    pub async fn ask(&mut self, command: &str) -> Vec<String> {
        self.send(command).await;
        let mut said = Vec::new();
        loop {
            let line = self.line().await;
            if let Some(ended) = line.strip_prefix("x ") {
                assert!(ended.starts_with("OK "), "{command}: {line}");
                return said;
            }
            said.push(line);
        }
    }

    async fn send(&mut self, command: &str) {
        self.0
            .write_all(format!("x {command}\r\n").as_bytes())
            .await
            .unwrap();
    }

    /// `* 1 FETCH (FLAGS (\Seen) RFC822.SIZE 7 BODY[] {7}`, and what follows.
    async fn message(&mut self, line: &str) -> Fetched {
        let (_, rest) = line.split_once("FLAGS (").unwrap();
        let (flags, rest) = rest.split_once(')').unwrap();
        let (_, rest) = rest.split_once("RFC822.SIZE ").unwrap();
        let (size, rest) = rest.split_once(' ').unwrap();
        let (_, octets) = rest.rsplit_once('{').unwrap();
        let mut literal = vec![0; octets.trim_end_matches('}').parse().unwrap()];
        timeout(PATIENCE, self.0.read_exact(&mut literal))
            .await
            .expect("a literal")
            .unwrap();
        assert_eq!(self.line().await, ")");
        Fetched {
            flags: flags.to_owned(),
            size: size.parse().unwrap(),
            octets: literal,
        }
    }

    async fn line(&mut self) -> String {
        let mut line = String::new();
        let reading = self.0.read_line(&mut line);
        timeout(PATIENCE, reading).await.expect("a line").unwrap();
        assert!(line.ends_with("\r\n"), "the server closed the connection");
        line.trim_end().to_owned()
    }
}
