//! A small LMTP server that keeps what it gets, and gives each recipient the replies that a test wants.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinHandle;

use super::eventually;

/// One transaction that came to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handed {
    /// The argument of MAIL.
    pub mail: String,
    /// Those who were accepted at RCPT, without brackets.
    pub rcpt: Vec<String>,
    /// The message, dots removed.
    pub message: String,
}

/// Replies by recipient: at RCPT if it starts with `rcpt `, else after the message, where `close` ends the connection and `hush`
/// leaves it open without another word.
/// Each reply is given once; after that, and to all others, the server says yes.
pub type Script = &'static [(&'static str, &'static str)];

#[derive(Default)]
struct Seen {
    handed: Vec<Handed>,
    sessions: usize,
    replies: HashMap<String, Vec<&'static str>>,
}

/// The running server; stops when dropped.
pub struct MailboxServer {
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
}

impl MailboxServer {
    /// Serves on a socket, which it makes.
    pub fn start(socket: &Path, script: Script) -> Self {
        let listener = UnixListener::bind(socket).unwrap();
        let seen = Arc::<Mutex<Seen>>::default();
        for (recipient, reply) in script.iter().rev() {
            let mut seen = seen.lock().unwrap();
            seen.replies
                .entry((*recipient).to_owned())
                .or_default()
                .push(reply);
        }
        let shared = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                shared.lock().unwrap().sessions += 1;
                let session = Session {
                    stream: BufReader::new(stream),
                    seen: Arc::clone(&shared),
                };
                tokio::spawn(session.run());
            }
        });
        Self { seen, task }
    }

    /// Waits for so many transactions.
    pub async fn handed(&self, count: usize) -> Vec<Handed> {
        eventually("transactions of the mailbox server", || {
            let seen = self.seen.lock().unwrap();
            (seen.handed.len() >= count).then(|| seen.handed.clone())
        })
        .await
    }

    /// How many connections there were.
    pub fn sessions(&self) -> usize {
        self.seen.lock().unwrap().sessions
    }
}

impl Drop for MailboxServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Session {
    stream: BufReader<UnixStream>,
    seen: Arc<Mutex<Seen>>,
}

impl Session {
    /// Until the client has gone.
    async fn run(mut self) {
        self.say("220 mailboxes LMTP").await;
        let (mut mail, mut rcpt) = (String::new(), Vec::new());
        while let Some(line) = self.line().await {
            match line.split(' ').next().unwrap() {
                "LHLO" => self.say("250-mailboxes\r\n250-8BITMIME\r\n250 PIPELINING").await,
                "MAIL" => {
                    mail = line["MAIL FROM:".len()..].to_owned();
                    rcpt.clear();
                    self.say("250 ok").await;
                }
                "RCPT" => {
                    let recipient = line["RCPT TO:<".len()..].trim_end_matches('>').to_owned();
                    let reply = self.reply(&recipient, "rcpt ");
                    if reply.is_none() {
                        rcpt.push(recipient);
                    }
                    self.say(reply.unwrap_or("250 ok")).await;
                }
                "DATA" => {
                    let message = self.message().await;
                    let handed = Handed {
                        mail: mail.clone(),
                        rcpt: rcpt.clone(),
                        message,
                    };
                    self.seen.lock().unwrap().handed.push(handed);
                    for recipient in &rcpt {
                        match self.reply(recipient, "") {
                            Some("close") => return,
                            Some("hush") => std::future::pending().await,
                            reply => self.say(reply.unwrap_or("250 2.0.0 has it")).await,
                        }
                    }
                }
                "QUIT" => return self.say("221 bye").await,
                _ => self.say("250 ok").await,
            }
        }
    }

    /// The next reply that the script has for a recipient, if it is for this step.
    fn reply(&self, recipient: &str, step: &str) -> Option<&'static str> {
        let mut seen = self.seen.lock().unwrap();
        let replies = seen.replies.get_mut(recipient)?;
        let reply = replies.last()?.strip_prefix(step)?;
        if step.is_empty() && reply.starts_with("rcpt ") {
            return None;
        }
        replies.pop();
        Some(reply)
    }

    async fn message(&mut self) -> String {
        self.say("354 go ahead").await;
        let mut message = String::new();
        while let Some(line) = self.line().await {
            if line == "." {
                break;
            }
            message += line.strip_prefix('.').unwrap_or(&line);
            message += "\r\n";
        }
        message
    }

    async fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let count = self.stream.read_line(&mut line).await.unwrap_or(0);
        (count > 0).then(|| line.trim_end_matches(['\r', '\n']).to_owned())
    }

    async fn say(&mut self, text: &str) {
        // The client may have gone; the next read will tell.
        let _ = self.stream.write_all(format!("{text}\r\n").as_bytes()).await;
        let _ = self.stream.flush().await;
    }
}
