#![allow(clippy::unwrap_used)]

use async_trait::async_trait;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::mail::address::{Mailbox, ReversePath};
use crate::mail::notify::MessageRequest;
use crate::smtp::client::{Protocol, Timeouts, TlsPolicy};
use crate::store::{Error, Tenure};

/// A message of one line.
#[derive(Default)]
struct Line {
    is_given: bool,
    /// It is known to be the last one.
    is_last: bool,
}

#[async_trait]
impl Octets for Line {
    async fn next(&mut self) -> Result<Option<Vec<u8>>, Error> {
        let was_given = std::mem::replace(&mut self.is_given, true);
        Ok((!was_given).then(|| b"text\r\n".to_vec()))
    }

    fn is_over(&self) -> bool {
        self.is_given && self.is_last
    }

    fn rewind(&mut self) {
        self.is_given = false;
    }
}

/// A host with an extension, which takes everything of one session; what it was sent.
async fn host(listener: TcpListener, extension: &'static str) -> String {
    let (tcp, _) = listener.accept().await.unwrap();
    let mut stream = BufReader::new(tcp);
    stream.write_all(b"220 host\r\n").await.unwrap();
    let mut heard = String::new();
    loop {
        let mut line = String::new();
        if !matches!(stream.read_line(&mut line).await, Ok(1..)) {
            return heard;
        }
        heard += &line;
        let reply = match line.split([' ', ':', '\r']).next() {
            Some("EHLO" | "LHLO") => format!("250-host\r\n250 {extension}\r\n"),
            Some("DATA") => "354 go ahead\r\n".to_owned(),
            Some("MAIL" | "RCPT" | "BDAT" | ".") => "250 ok\r\n".to_owned(),
            _ => continue,
        };
        if stream.write_all(reply.as_bytes()).await.is_err() {
            return heard;
        }
    }
}

/// Sends a message within a term that lasts until then by the steady clock.
async fn send(
    (protocol, extension, is_last): Way,
    steady: Duration,
) -> (Result<Vec<Outcome>, Failure>, String) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let host = tokio::spawn(host(listener, extension));
    let stream = Stream::new(TcpStream::connect(address).await.unwrap()).unwrap();
    let params = Params {
        hello: "mx.hermail.test".parse().unwrap(),
        protocol,
        tls: TlsPolicy::Never,
        login: None,
        timeouts: Timeouts::default(),
    };
    let opened = Session::open(("host".to_owned(), None), stream, params, None).await;
    let mut session = opened.unwrap();
    let transaction = Transaction {
        reverse_path: ReversePath::NULL,
        recipients: vec!["bob@hismail.test".parse::<Mailbox>().unwrap().into()],
        size_bytes: 6,
        eight_bit: false,
        require_tls: false,
        smtputf8: false,
        request: MessageRequest::default(),
    };
    let term = Tenure::default().term(Instant::now() + Duration::from_secs(60), steady);
    let mut line = Line {
        is_last,
        ..Line::default()
    };
    let sent = session.send(transaction, &mut line, &term).await;
    assert_eq!(session.is_open(), sent.is_ok());
    drop(session);
    (sent, host.await.unwrap())
}

/// With what extension, and whether the end is known with the last piece.
type Way = (Protocol, &'static str, bool);

const WAYS: [Way; 6] = [
    (Protocol::Smtp, "8BITMIME", false),
    (Protocol::Smtp, "8BITMIME", true),
    (Protocol::Smtp, "CHUNKING", false),
    (Protocol::Smtp, "CHUNKING", true),
    (Protocol::Lmtp, "8BITMIME", false),
    (Protocol::Lmtp, "8BITMIME", true),
];

fn is_complete(heard: &str) -> bool {
    heard.contains("\r\n.\r\n") || heard.contains(" LAST\r\n")
}

#[tokio::test]
async fn a_message_is_completed_while_its_term_lasts() {
    for way in WAYS {
        let (sent, heard) = send(way, Duration::MAX).await;
        assert!(matches!(sent.unwrap()[..], [Outcome::Relayed { .. }]), "{heard}");
        assert!(is_complete(&heard), "{heard}");
    }
}

/// The lease ran out while the process was stopped or its host slept, and others may have sent the message. RFC 5321 §4.1.1.4: what
/// is not completed is not taken.
#[tokio::test]
async fn a_message_whose_term_is_over_is_not_completed() {
    for way in WAYS {
        let (sent, heard) = send(way, Duration::ZERO).await;
        let failure = sent.unwrap_err();
        assert!(failure.diagnosis.text.ends_with(TOO_LONG), "{failure:?}");
        assert!(!failure.leaves_doubt && !failure.is_unreachable, "{failure:?}");
        assert!(heard.contains("RCPT TO:<bob@hismail.test>"), "{heard}");
        assert!(!is_complete(&heard), "{heard}");
    }
}
