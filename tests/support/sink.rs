//! A small SMTP server that keeps what it gets and says what a test wants it to.

use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use dimed::mail::address::Domain;
use dimed::net::self_signed;
use dimed::net::stream::Stream;
use dimed::net::tls::Acceptor;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::Instant;

use super::certificates::Certificate;
use super::eventually;
use super::loopback;

/// What the server does.
#[derive(Clone, Default)]
pub struct Behaviour {
    /// Offers STARTTLS.
    pub tls: Option<Acceptor>,
    /// Offers REQUIRETLS once there is TLS.
    pub require_tls: bool,
    /// Offers DSN.
    pub dsn: bool,
    /// Takes so many recipients in a transaction, and says so.
    pub recipients: Option<usize>,
    /// Takes so many transactions in a session, and says so.
    pub transactions: Option<usize>,
    /// Answers so many times MAIL with 451 first.
    pub deferrals: usize,
    /// Takes messages and closes the connection without a word.
    pub silent: bool,
    /// Answers every RCPT with this.
    pub refusal: Option<&'static str>,
    /// Says nothing in sessions after so many.
    pub hushes_after: Option<usize>,
    /// Does not offer 8BITMIME.
    pub seven_bit: bool,
    /// Offers these extensions as well.
    pub offers: &'static [&'static str],
    /// Begins every session with TLS.
    pub tls_first: bool,
}

impl Behaviour {
    /// Offers STARTTLS with that certificate.
    pub fn with_certificate(certificate: &Certificate) -> Self {
        Self {
            tls: Some(Acceptor::new(&certificate.identity).unwrap()),
            ..Self::default()
        }
    }

    /// Offers STARTTLS with a certificate made in `folder`.
    pub fn with_tls(folder: &std::path::Path) -> Self {
        let host: Domain = "mx.plain.test".parse().unwrap();
        let identity = self_signed::load_or_make(&folder.join("sink"), &host).unwrap();
        Self {
            tls: Some(Acceptor::new(&identity).unwrap()),
            ..Self::default()
        }
    }
}

/// One message that was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// The session was encrypted.
    pub tls: bool,
    /// The argument of MAIL.
    pub mail: String,
    /// The arguments of RCPT.
    pub rcpt: Vec<String>,
    /// The message, dots removed.
    pub message: String,
}

#[derive(Default)]
struct Seen {
    taken: Vec<Taken>,
    /// When MAIL was heard.
    attempts: Vec<Instant>,
    sessions: usize,
    /// Arguments of AUTH, and whether they came under TLS.
    logins: Vec<(String, bool)>,
    chunks: usize,
    open: Vec<AbortHandle>,
}

/// The running server; stops when dropped.
pub struct Sink {
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
}

impl Sink {
    /// Serves on the port for SMTP.
    pub async fn start(ip: IpAddr, behaviour: Behaviour) -> Self {
        Self::start_on(ip, loopback::SMTP, behaviour).await
    }

    /// Serves on another port.
    pub async fn start_on(ip: IpAddr, port: u16, behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind((ip, port)).await.unwrap();
        let seen = Arc::<Mutex<Seen>>::default();
        let shared = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            let mut hushed = Vec::new();
            while let Ok((tcp, _)) = listener.accept().await {
                let sessions = {
                    let mut seen = shared.lock().unwrap();
                    seen.sessions += 1;
                    seen.sessions
                };
                if behaviour.hushes_after.is_some_and(|most| sessions > most) {
                    hushed.push(tcp);
                    continue;
                }
                let session = Session::new(tcp, behaviour.clone(), Arc::clone(&shared));
                let session = tokio::spawn(session.run());
                shared.lock().unwrap().open.push(session.abort_handle());
            }
        });
        Self { seen, task }
    }

    /// Waits for so many messages.
    pub async fn taken(&self, count: usize) -> Vec<Taken> {
        eventually("messages in the sink", || {
            let seen = self.seen.lock().unwrap();
            (seen.taken.len() >= count).then(|| seen.taken.clone())
        })
        .await
    }

    /// Stops, and returns once the port is free.
    pub async fn stop(mut self) {
        self.task.abort();
        // It ends with the abort, as told.
        let _ = (&mut self.task).await;
    }

    /// Closes all connections without a word.
    pub fn hang_up(&self) {
        for session in self.seen.lock().unwrap().open.drain(..) {
            session.abort();
        }
    }

    /// How many connections there were.
    pub fn sessions(&self) -> usize {
        self.seen.lock().unwrap().sessions
    }

    /// Who logged in how, and whether under TLS.
    pub fn logins(&self) -> Vec<(String, bool)> {
        self.seen.lock().unwrap().logins.clone()
    }

    /// How many chunks came by BDAT.
    pub fn chunks(&self) -> usize {
        self.seen.lock().unwrap().chunks
    }

    /// When attempts began.
    pub fn attempts(&self) -> Vec<Instant> {
        self.seen.lock().unwrap().attempts.clone()
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Session {
    stream: BufReader<Stream>,
    behaviour: Behaviour,
    seen: Arc<Mutex<Seen>>,
    current: Taken,
    transactions: usize,
}

impl Session {
    fn new(tcp: TcpStream, behaviour: Behaviour, seen: Arc<Mutex<Seen>>) -> Self {
        Self {
            stream: BufReader::new(Stream::new(tcp).unwrap()),
            behaviour,
            seen,
            current: Taken {
                tls: false,
                mail: String::new(),
                rcpt: Vec::new(),
                message: String::new(),
            },
            transactions: 0,
        }
    }

    /// Until the client has gone.
    async fn run(mut self) {
        if self.behaviour.tls_first {
            self.shake_hands().await;
        }
        self.say("220 sink ESMTP").await;
        while let Some(line) = self.line().await {
            match line.split(' ').next().unwrap() {
                "EHLO" => self.greet().await,
                "STARTTLS" => self.start_tls().await,
                "MAIL" => self.mail(&line).await,
                "RCPT" => self.rcpt(&line).await,
                "DATA" => {
                    self.data().await;
                    if self.behaviour.silent {
                        return;
                    }
                }
                "BDAT" => self.chunk(&line).await,
                "AUTH" => self.log_in(&line).await,
                "QUIT" => return self.say("221 bye").await,
                _ => self.say("250 ok").await,
            }
        }
    }

    async fn greet(&mut self) {
        let offers = self.behaviour.tls.is_some() && !self.current.tls;
        let tls = match self.behaviour.require_tls && self.current.tls {
            true => "250-REQUIRETLS\r\n",
            false if offers => "250-STARTTLS\r\n",
            false => "",
        };
        let dsn = if self.behaviour.dsn { "250-DSN\r\n" } else { "" };
        let eight_bit = match self.behaviour.seven_bit {
            true => "",
            false => "250-8BITMIME\r\n",
        };
        let offers: String = self
            .behaviour
            .offers
            .iter()
            .map(|keyword| format!("250-{keyword}\r\n"))
            .collect();
        let limits = [
            ("RCPTMAX", self.behaviour.recipients),
            ("MAILMAX", self.behaviour.transactions),
        ];
        let named = limits
            .into_iter()
            .filter_map(|(name, most)| Some(format!(" {name}={}", most?)));
        let limits = match named.collect::<String>() {
            none if none.is_empty() => none,
            limits => format!("250-LIMITS{limits}\r\n"),
        };
        self.say(&format!(
            "250-sink\r\n{tls}{dsn}{eight_bit}{limits}{offers}250 PIPELINING"
        ))
        .await;
    }

    async fn log_in(&mut self, line: &str) {
        let login = (line["AUTH ".len()..].to_owned(), self.current.tls);
        self.seen.lock().unwrap().logins.push(login);
        self.say("235 2.7.0 welcome").await;
    }

    async fn chunk(&mut self, line: &str) {
        let mut words = line.split(' ').skip(1);
        let mut chunk = vec![0; words.next().unwrap().parse().unwrap()];
        self.stream.read_exact(&mut chunk).await.unwrap();
        self.current.message += std::str::from_utf8(&chunk).unwrap();
        self.seen.lock().unwrap().chunks += 1;
        if words.next().is_none() {
            return self.say("250 more").await;
        }
        self.say("250 taken").await;
        let taken = self.current.clone();
        self.current.rcpt.clear();
        self.current.message.clear();
        self.seen.lock().unwrap().taken.push(taken);
    }

    async fn start_tls(&mut self) {
        self.say("220 go ahead").await;
        self.shake_hands().await;
    }

    async fn shake_hands(&mut self) {
        let Stream::Tcp(tcp) = std::mem::replace(self.stream.get_mut(), Stream::Closed) else {
            panic!("TLS twice");
        };
        let acceptor = self.behaviour.tls.as_ref().unwrap();
        // A client that does not like the certificate goes, and the next read tells.
        if let Ok((stream, _)) = acceptor.accept(tcp).await {
            self.stream = BufReader::new(stream);
            self.current.tls = true;
        }
    }

    async fn mail(&mut self, line: &str) {
        let attempt = {
            let mut seen = self.seen.lock().unwrap();
            seen.attempts.push(Instant::now());
            seen.attempts.len()
        };
        self.transactions += 1;
        if self
            .behaviour
            .transactions
            .is_some_and(|most| self.transactions > most)
        {
            return self.say("421 4.7.0 too much").await;
        }
        if attempt <= self.behaviour.deferrals {
            return self.say("451 4.3.0 not now").await;
        }
        self.current.mail = line["MAIL FROM:".len()..].to_owned();
        self.say("250 ok").await;
    }

    async fn rcpt(&mut self, line: &str) {
        if let Some(refusal) = self.behaviour.refusal {
            return self.say(refusal).await;
        }
        if self.behaviour.recipients == Some(self.current.rcpt.len()) {
            return self.say("452 4.5.3 too many").await;
        }
        self.current.rcpt.push(line["RCPT TO:".len()..].to_owned());
        self.say("250 ok").await;
    }

    async fn data(&mut self) {
        if self.current.rcpt.is_empty() {
            return self.say("554 no recipients").await;
        }
        self.say("354 go ahead").await;
        let mut message = String::new();
        loop {
            let Some(line) = self.line().await else { return };
            if line == "." {
                break;
            }
            message += line.strip_prefix('.').unwrap_or(&line);
            message += "\r\n";
        }
        self.current.message = message;
        if !self.behaviour.silent {
            self.say("250 taken").await;
        }
        let taken = self.current.clone();
        self.current.rcpt.clear();
        self.current.message.clear();
        self.seen.lock().unwrap().taken.push(taken);
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
