//! The other side of a daemon's sessions, spoken by hand.

use std::net::IpAddr;
use std::time::Duration;

use dimed::base::encoding::base64;
use dimed::net::stream::Stream;
use dimed::net::tls::{Connector, TlsPeer};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{PATIENCE, loopback};

/// A line-based conversation.
pub struct Talk {
    stream: BufReader<Stream>,
}

impl Talk {
    /// Connects in clear text.
    pub async fn open(ip: IpAddr, port: u16) -> Self {
        let tcp = TcpStream::connect((ip, port)).await.unwrap();
        Self {
            stream: BufReader::new(Stream::new(tcp).unwrap()),
        }
    }

    /// Connects with TLS from the first octet.
    pub async fn open_tls(ip: IpAddr, port: u16) -> Self {
        let mut talk = Self::open(ip, port).await;
        talk.start_tls().await;
        talk
    }

    /// Opens an SMTP session up to the reply to EHLO.
    pub async fn smtp(ip: IpAddr) -> Self {
        let mut talk = Self::open(ip, loopback::SMTP).await;
        talk.expect("220 ").await;
        talk.ask("EHLO client.test", "250").await;
        talk
    }

    /// Logs in over STARTTLS, up to where MAIL is possible. The password is that of every account here.
    pub async fn submission(ip: IpAddr, user: &str) -> Self {
        let mut talk = Self::open(ip, loopback::SUBMISSION).await;
        talk.expect("220 ").await;
        talk.ask("EHLO client.test", "250").await;
        talk.ask("STARTTLS", "220 2.0.0").await;
        talk.start_tls().await;
        talk.log_in(user).await;
        talk
    }

    /// Opens a DMTP session on the port of its own, up to the reply to EHLO.
    pub async fn dmtp(ip: IpAddr, origin: &str) -> Self {
        let mut talk = Self::open_tls(ip, loopback::DMTP).await;
        talk.expect("220 ").await;
        talk.ask(&format!("EHLO <{origin}>"), "250").await;
        talk
    }

    /// EHLO and AUTH.
    pub async fn log_in(&mut self, user: &str) {
        self.ask("EHLO client.test", "250").await;
        let response = base64(format!("\0{user}\0{}", super::organization::PASSWORD).as_bytes());
        self.ask(&format!("AUTH PLAIN {response}"), "235").await;
    }

    /// Shakes hands, accepting any certificate.
    pub async fn start_tls(&mut self) -> TlsPeer {
        let tcp = self.take_tcp();
        let connector = Connector::new().unwrap();
        let (stream, peer) = connector.connect(tcp, "any.test").await.unwrap();
        self.stream = BufReader::new(stream);
        peer
    }

    fn take_tcp(&mut self) -> TcpStream {
        assert!(self.stream.buffer().is_empty(), "clear text before TLS");
        match std::mem::replace(self.stream.get_mut(), Stream::Closed) {
            Stream::Tcp(tcp) => tcp,
            _ => panic!("TLS is active already"),
        }
    }

    /// Sends octets; a peer that has closed already is no failure here, but where its reply is missed.
    pub async fn send(&mut self, octets: &[u8]) {
        let sending = async {
            let _ = self.stream.write_all(octets).await;
            let _ = self.stream.flush().await;
        };
        timeout(PATIENCE, sending).await.expect("the peer reads");
    }

    /// Sends octets as far as the peer takes them within a time.
    pub async fn try_send(&mut self, octets: &[u8], span: Duration) -> bool {
        matches!(timeout(span, self.stream.write_all(octets)).await, Ok(Ok(())))
    }

    /// Ends our side.
    pub async fn end(&mut self) {
        // The peer may have ended first.
        let _ = self.stream.shutdown().await;
    }

    /// One line without its end; `None` at the end of the stream.
    pub async fn line(&mut self) -> Option<String> {
        let mut line = Vec::new();
        let reading = self.stream.read_until(b'\n', &mut line);
        // A peer that drops the connection ends it, too.
        let count = timeout(PATIENCE, reading).await.expect("a line").unwrap_or(0);
        let text = String::from_utf8(line).unwrap();
        (count > 0).then(|| text.trim_end_matches(['\r', '\n']).to_owned())
    }

    /// One reply, its lines joined by LF; `None` at the end of the stream.
    pub async fn reply(&mut self) -> Option<String> {
        let mut reply = String::new();
        loop {
            let line = self.line().await?;
            reply.push_str(&line);
            if line.as_bytes().get(3) != Some(&b'-') {
                return Some(reply);
            }
            reply.push('\n');
        }
    }

    /// Reads a reply that starts like this.
    pub async fn expect(&mut self, start: &str) -> String {
        let reply = self.reply().await.unwrap_or_default();
        assert!(reply.starts_with(start), "expected {start}, heard {reply:?}");
        reply
    }

    /// Sends a command and reads its reply.
    pub async fn ask(&mut self, command: &str, start: &str) -> String {
        self.send(format!("{command}\r\n").as_bytes()).await;
        let reply = self.reply().await.unwrap_or_default();
        assert!(
            reply.starts_with(start),
            "{command}: expected {start}, heard {reply:?}"
        );
        reply
    }

    /// Hears nothing more than the end.
    pub async fn expect_end(&mut self) {
        let mut rest = Vec::new();
        let reading = self.stream.read_to_end(&mut rest);
        let _ = timeout(PATIENCE, reading).await.expect("the peer closes");
        assert_eq!(String::from_utf8_lossy(&rest), "", "more before the end");
    }

    /// MAIL, RCPT and DATA up to the final reply, which is returned.
    pub async fn transfer(&mut self, from: &str, to: &[&str], message: &str) -> String {
        self.ask(&format!("MAIL FROM:<{from}>"), "250").await;
        for recipient in to {
            self.ask(&format!("RCPT TO:<{recipient}>"), "250").await;
        }
        self.data(message).await
    }

    /// DATA, and the final reply to it.
    pub async fn data(&mut self, message: &str) -> String {
        self.ask("DATA", "354").await;
        let stuffed = message.replace("\r\n.", "\r\n..");
        self.send(stuffed.as_bytes()).await;
        self.ask(".", "").await
    }

    /// A D/MIME object with the commands around it; the final reply.
    pub async fn object(&mut self, origin: &str, destination: &str, object: &[u8]) -> String {
        let size = object.len();
        self.ask(&format!("MAIL FROM: <{origin}> [fingerprint] SIZE={size}"), "250")
            .await;
        self.ask(&format!("RCPT TO: <{destination}> [fingerprint]"), "250")
            .await;
        self.ask("DATA [fingerprint]", "354").await;
        self.send(object).await;
        self.ask("", "").await
    }
}
