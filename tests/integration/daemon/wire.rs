//! What goes out, octet by octet: nothing that another host could take for the end of a message, or for a command.

use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::eventually;
use crate::support::loopback::{Loopback, SMTP};
use crate::support::talk::Talk;
use crate::support::world::World;

/// What some server has taken for the end of a message.
const ENDS: [&str; 16] = [
    "\n.\n",
    "\n.\r\n",
    "\r.\r",
    "\r.\r\n",
    "\r\n.\n",
    "\r\n.\r",
    "\n\n.\r\n",
    "\r\r.\r\r",
    "\n\r.\r\n",
    "\r\n.\r\r\n",
    "\r\n.\n\r\n",
    "\r\n\n.\r\n",
    "\r\n\r.\r\n",
    "\r\r\n.\r\r\n",
    "\n.\r",
    "\r.\n",
];

/// Command lines and message data as they came.
#[derive(Debug, Clone, Default)]
struct Heard {
    commands: Vec<String>,
    data: Vec<Vec<u8>>,
}

impl Heard {
    /// Keeps a command or a message; the reply.
    fn take(&mut self, taken: Vec<u8>, is_data: &mut bool) -> &'static [u8] {
        if std::mem::take(is_data) {
            self.data.push(taken);
            return b"250 taken\r\n";
        }
        let line = String::from_utf8_lossy(&taken).into_owned();
        *is_data = line == "DATA\r\n";
        let is_hello = line.starts_with("EHLO");
        self.commands.push(line);
        match (*is_data, is_hello) {
            (true, _) => b"354 go ahead\r\n",
            (_, true) => b"250-recorder\r\n250 8BITMIME\r\n",
            _ => b"250 ok\r\n",
        }
    }
}

/// A server that keeps every octet.
async fn record(ip: IpAddr) -> Arc<Mutex<Heard>> {
    let listener = TcpListener::bind((ip, SMTP)).await.unwrap();
    let heard = Arc::<Mutex<Heard>>::default();
    let shared = Arc::clone(&heard);
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            tokio::spawn(serve(tcp, Arc::clone(&shared)));
        }
    });
    heard
}

async fn serve(mut tcp: TcpStream, heard: Arc<Mutex<Heard>>) {
    tcp.write_all(b"220 recorder\r\n").await.unwrap();
    let mut unread = Vec::new();
    let mut is_data = false;
    loop {
        // The message's first line may be the end of it, so the CRLF before it counts.
        let end: &[u8] = if is_data { b"\r\n.\r\n" } else { b"\r\n" };
        let found = unread.windows(end.len()).position(|octets| octets == end);
        let Some(at) = found else {
            match tcp.read_buf(&mut unread).await {
                Ok(count) if count > 0 => continue,
                _ => return,
            }
        };
        let taken: Vec<u8> = unread.drain(..at + end.len()).collect();
        let reply = heard.lock().unwrap().take(taken, &mut is_data);
        if tcp.write_all(reply).await.is_err() {
            return;
        }
    }
}

fn letter(end: &str, number: usize) -> String {
    format!(
        "From: alice@hermail.test\r\nSubject: n{number}\r\n\r\nbefore{end}MAIL FROM:<evil@hermail.test>\r\n\
         ..dots\r\n.dot\r\nlast"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn what_users_submit_leaves_with_its_line_ends_in_order_and_its_dots_doubled() {
    let world = World::new().await;
    let hermail = world
        .organization("hermail.test")
        .plain()
        .accounts(&["alice"])
        .build()
        .await;
    let host = Loopback::take();
    world.plain_domain("plain.test", host.ip);
    let heard = record(host.ip).await;
    let served = hermail.start().await;
    let mut talk = Talk::submission(hermail.ip, "alice@hermail.test").await;
    for (number, end) in ENDS.into_iter().enumerate() {
        for chunked in [false, true] {
            talk.ask("MAIL FROM:<alice@hermail.test>", "250").await;
            talk.ask("RCPT TO:<carol@plain.test>", "250").await;
            let letter = letter(end, number);
            match chunked {
                true => {
                    talk.send(format!("BDAT {} LAST\r\n{letter}", letter.len()).as_bytes())
                        .await;
                }
                false => {
                    talk.ask("DATA", "354").await;
                    let stuffed = letter.replace("\r\n.", "\r\n..");
                    talk.send(format!("{stuffed}\r\n.\r\n").as_bytes()).await;
                }
            }
            talk.expect("250 2.0.0 Ok: queued as ").await;
        }
    }
    talk.ask("QUIT", "221").await;
    let count = 2 * ENDS.len();
    let heard = eventually("messages at the recorder", || {
        let heard = heard.lock().unwrap().clone();
        (heard.data.len() >= count).then_some(heard)
    })
    .await;
    hermail.idle().await;
    served.stop().await;

    for data in &heard.data {
        check(data);
    }
    for command in &heard.commands {
        let verb = command.split([' ', '\r']).next().unwrap();
        assert!(
            ["EHLO", "MAIL", "RCPT", "DATA", "RSET", "QUIT"].contains(&verb),
            "{command:?}"
        );
        assert!(!command.contains("evil"), "{command:?}");
    }
    let begun = heard
        .commands
        .iter()
        .filter(|line| line.starts_with("MAIL"))
        .count();
    assert_eq!((begun, heard.data.len()), (count, count), "one message for each");
}

/// No line end but CRLF, no NUL, no line that is too long, and a dot at the start of a line always doubled.
fn check(data: &[u8]) {
    let text = String::from_utf8(data.to_vec()).unwrap();
    let body = text.strip_suffix("\r\n.\r\n").unwrap();
    for line in body.split("\r\n") {
        assert!(!line.contains(['\r', '\n', '\0']), "{text:?}");
        assert!(!line.starts_with('.') || line.starts_with(".."), "{text:?}");
    }
    assert!(body.ends_with("\r\n...dots\r\n..dot\r\nlast"), "{text:?}");
    assert!(body.contains("MAIL FROM:<evil@hermail.test>\r\n"), "{text:?}");
}
