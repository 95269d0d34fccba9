//! A next host that tells how far each transaction with it is, and takes its time.

use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::support::loopback::SMTP;

/// How long it lets the client wait in the middle of a message and before its reply: so long is the window for a kill.
const PAUSE: Duration = Duration::from_millis(3);

/// A message that was answered with 250, or would have been but for a client that had gone.
#[derive(Debug, Clone)]
pub struct Taken {
    pub message: String,
    /// How many kills there had been when it was begun.
    pub life: usize,
}

#[derive(Default)]
pub struct Seen {
    pub taken: Vec<Taken>,
    /// Transactions from DATA to the reply.
    pub open: usize,
    /// Of the current life of the client.
    pub life: usize,
}

/// Serves on the port for SMTP; stops when dropped.
pub struct Host {
    pub seen: Arc<Mutex<Seen>>,
    pub events: Arc<Events>,
    task: JoinHandle<()>,
}

/// What a kill may wait for.
#[derive(Default)]
pub struct Events {
    /// Half of a message has come.
    pub halfway: Notify,
    /// 250 has been sent for a message.
    pub answered: Notify,
    /// A recipient has been refused for good.
    pub refused: Notify,
}

impl Host {
    pub async fn start(ip: IpAddr) -> Self {
        let listener = TcpListener::bind((ip, SMTP)).await.unwrap();
        let (seen, events) = (Arc::<Mutex<Seen>>::default(), Arc::<Events>::default());
        let (all, told) = (Arc::clone(&seen), Arc::clone(&events));
        let task = tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let session = Session {
                    stream: BufReader::new(tcp),
                    seen: Arc::clone(&all),
                    events: Arc::clone(&told),
                };
                tokio::spawn(session.run());
            }
        });
        Self { seen, events, task }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Session {
    stream: BufReader<TcpStream>,
    seen: Arc<Mutex<Seen>>,
    events: Arc<Events>,
}

impl Session {
    /// Until the client has gone.
    async fn run(mut self) -> Option<()> {
        self.say("220 host ESMTP").await?;
        loop {
            let line = self.line().await?;
            match line.split([' ', ':']).next()? {
                "EHLO" => self.say("250-host\r\n250 8BITMIME").await?,
                "RCPT" if line.contains("@refused.test") => {
                    self.say("550 5.1.1 nobody of that name").await?;
                    self.events.refused.notify_one();
                }
                "DATA" => {
                    let life = self.begin();
                    let taken = self.data(life).await;
                    self.seen.lock().unwrap().open -= 1;
                    taken?;
                }
                "QUIT" => return self.say("221 bye").await,
                _ => self.say("250 ok").await?,
            }
        }
    }

    /// A transaction in this life of the client.
    fn begin(&self) -> usize {
        let mut seen = self.seen.lock().unwrap();
        seen.open += 1;
        seen.life
    }

    async fn data(&mut self, life: usize) -> Option<()> {
        self.say("354 go ahead").await?;
        let mut message = String::new();
        let mut lines = 0;
        loop {
            let line = self.line().await?;
            if line == "." {
                break;
            }
            lines += 1;
            // The header is longer than that.
            if lines == 3 {
                self.events.halfway.notify_one();
                sleep(PAUSE).await;
            }
            message += &line;
            message += "\r\n";
        }
        sleep(PAUSE).await;
        // It has the message from now on, whether or not the client lives to hear that.
        self.seen.lock().unwrap().taken.push(Taken { message, life });
        self.say("250 taken").await?;
        self.events.answered.notify_one();
        Some(())
    }

    async fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        self.stream.read_line(&mut line).await.ok()?;
        line.strip_suffix("\r\n").map(str::to_owned)
    }

    async fn say(&mut self, text: &str) -> Option<()> {
        self.stream.write_all(format!("{text}\r\n").as_bytes()).await.ok()
    }
}
