//! A client of the milter protocol: one conversation with one filter.
//!
//! A conversation starts with the first message of a session and serves all of them: what strangers who never send mail do is
//! no filter's business. The filter is told of the client by `connect` and `helo` then, and what it has against it holds for
//! every message. `{client_name}` is a name that leads back to the client's address,
//! or else that address in brackets, as in Sendmail.

mod macros;
pub mod packet;

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufStream};
use tokio::time::{Instant, timeout, timeout_at};

use self::packet::{BODY_CHUNK, Command, MAX_PACKET, Negotiated, Reply, actions, steps, texts};
use super::change::{Change, Changes};
use super::replacement::Replacement;
use super::{Client, Error, Filter, Header, Message, Sender, Verdict};
use crate::base::id::QueueId;
use crate::mail::address::Mailbox;
use crate::mail::headers;
use crate::net::stream::Stream;

/// Packets in a row that only say that the filter is busy.
const MAX_PROGRESS: u32 = 1000;
/// How long a farewell may take.
const FAREWELL: Duration = Duration::from_secs(1);
/// Actions up to version 2 of the protocol, whose filters know no more.
const OLD_ACTIONS: u32 = 0x3f;

/// A conversation that goes on.
pub struct Conversation {
    stream: BufStream<Stream>,
    negotiated: Negotiated,
}

/// What a filter made of a message.
#[derive(Debug)]
pub struct Judged {
    /// Its verdict.
    pub verdict: Verdict,
    /// What it wants changed.
    pub changes: Changes,
    /// It said so before the end of the message.
    pub is_early: bool,
    /// How bad it finds the message, and from where on it refuses one, in words.
    pub score: Option<String>,
}

impl Judged {
    /// Before the end, and so without changes.
    pub fn plain(verdict: Verdict) -> Self {
        Self {
            verdict,
            changes: Changes::default(),
            is_early: true,
            score: None,
        }
    }
}

/// What a filter answers to a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Go on.
    Continue,
    /// It has no more to say about this client or this message.
    Judged(Verdict),
}

impl Conversation {
    /// Connects and negotiates, and tells of the client.
    pub async fn open(filter: &Filter, client: &Client, deadline: Instant) -> Result<(Self, Answer), Error> {
        // Also at the end of data, where the deadline is later: nobody waits longer for one that is not there.
        let at_once = deadline.min(Instant::now() + filter.command_time);
        let stream = connect(filter, at_once).await?;
        let open = async {
            let mut conversation = Self {
                stream: BufStream::new(stream),
                negotiated: Negotiated {
                    version: packet::VERSION,
                    actions: 0,
                    steps: 0,
                },
            };
            conversation.negotiate().await?;
            let answer = conversation.introduce(client).await?;
            Ok((conversation, answer))
        };
        within(deadline, open).await
    }

    async fn negotiate(&mut self) -> Result<(), Error> {
        self.send(&Negotiated::offer()).await?;
        let Reply::Negotiated(negotiated) = self.reply().await? else {
            return Err(Error::Protocol("no answer to the negotiation"));
        };
        self.negotiated = negotiated;
        if negotiated.version <= packet::OLDEST_VERSION {
            self.negotiated.actions &= OLD_ACTIONS;
        }
        Ok(())
    }

    async fn introduce(&mut self, client: &Client) -> Result<Answer, Error> {
        let connect = macros::connection(client);
        let answer = self
            .step(
                (Command::Connect, &connect, &macros::of_connection(client)),
                (steps::NO_CONNECT, steps::UNANSWERED_CONNECT),
            )
            .await?;
        if answer != Answer::Continue {
            return Ok(answer);
        }
        self.step(
            (Command::Hello, &texts([&client.hello]), &macros::of_hello(client)),
            (steps::NO_HELO, steps::UNANSWERED_HELO),
        )
        .await
    }

    /// MAIL.
    pub async fn mail(
        &mut self,
        client: &Client,
        sender: &Sender,
        deadline: Instant,
    ) -> Result<Answer, Error> {
        let mut arguments = vec![format!("<{}>", macros::path(sender))];
        arguments.extend(sender.size_bytes.map(|size| format!("SIZE={size}")));
        arguments.extend(sender.smtputf8.then(|| "SMTPUTF8".to_owned()));
        let (data, macros) = (texts(arguments), macros::of_mail(client, sender));
        let step = (Command::Mail, &data[..], &macros[..]);
        within(
            deadline,
            self.step(step, (steps::NO_MAIL, steps::UNANSWERED_MAIL)),
        )
        .await
    }

    /// RCPT.
    pub async fn rcpt(&mut self, recipient: &Mailbox, deadline: Instant) -> Result<Answer, Error> {
        let (data, macros) = (texts([format!("<{recipient}>")]), macros::of_rcpt(recipient));
        let step = (Command::Rcpt, &data[..], &macros[..]);
        within(
            deadline,
            self.step(step, (steps::NO_RCPT, steps::UNANSWERED_RCPT)),
        )
        .await
    }

    /// The message, from DATA to its end. What replaces the body goes into `replacement`.
    pub async fn message(
        &mut self,
        message: &mut Message<'_>,
        replacement: &mut Replacement,
        deadline: Instant,
    ) -> Result<Judged, Error> {
        within(deadline, self.exchange(message, replacement)).await
    }

    async fn exchange(
        &mut self,
        message: &mut Message<'_>,
        replacement: &mut Replacement,
    ) -> Result<Judged, Error> {
        if let Answer::Judged(verdict) = self.front(message.id, message.header).await? {
            return Ok(Judged::plain(verdict));
        }
        if let Answer::Judged(verdict) = self.body(message).await? {
            return Ok(Judged::plain(verdict));
        }
        let macros = macros::of_message(Command::EndOfMessage, message.id);
        self.send(&macros).await?;
        self.send(&Command::EndOfMessage.packet(b"")).await?;
        self.judgement(replacement).await
    }

    /// DATA and the header.
    async fn front(&mut self, id: QueueId, header: &Header) -> Result<Answer, Error> {
        let macros = macros::of_message(Command::Data, id);
        let data = (steps::NO_DATA, steps::UNANSWERED_DATA);
        let answer = self.step((Command::Data, b"", &macros), data).await?;
        if answer != Answer::Continue {
            return Ok(answer);
        }
        let field = (steps::NO_HEADER, steps::UNANSWERED_HEADER);
        for raw in header.visible() {
            let data = self.field(raw);
            let answer = self.step((Command::Field, &data, b""), field).await?;
            if answer != Answer::Continue {
                return Ok(answer);
            }
        }
        let macros = macros::of_message(Command::EndOfHeader, id);
        let end = (steps::NO_END_OF_HEADER, steps::UNANSWERED_END_OF_HEADER);
        self.step((Command::EndOfHeader, b"", &macros), end).await
    }

    /// Folds are single line feeds, as sendmail has them.
    fn field(&self, raw: &[u8]) -> Vec<u8> {
        let field = headers::fields(raw).next();
        let name = field.map_or(&b""[..], |field| field.name);
        let colon = raw.iter().position(|octet| *octet == b':');
        let value = colon.and_then(|at| raw.get(at + 1..)).unwrap_or_default();
        let value = value.strip_suffix(b"\r\n").unwrap_or(value);
        let value = match self.negotiated.has(steps::LEADING_SPACE) {
            true => value,
            false => value.strip_prefix(b" ").unwrap_or(value),
        };
        let value = value.iter().filter(|octet| **octet != b'\r');
        texts([name, &value.copied().collect::<Vec<_>>()])
    }

    async fn body(&mut self, message: &mut Message<'_>) -> Result<Answer, Error> {
        if self.negotiated.has(steps::NO_BODY) {
            return Ok(Answer::Continue);
        }
        while let Some(piece) = message.body.next().await? {
            for chunk in piece.chunks(BODY_CHUNK) {
                self.send(&Command::Body.packet(chunk)).await?;
                if self.negotiated.has(steps::UNANSWERED_BODY) {
                    continue;
                }
                match self.reply().await? {
                    Reply::Skip => return Ok(Answer::Continue),
                    reply => match verdict(reply)? {
                        None => {}
                        Some(verdict) => return Ok(Answer::Judged(verdict)),
                    },
                }
            }
        }
        Ok(Answer::Continue)
    }

    /// Changes, and the verdict that ends them.
    async fn judgement(&mut self, replacement: &mut Replacement) -> Result<Judged, Error> {
        let mut changes = Changes::default();
        let mut held = None;
        loop {
            match self.reply().await? {
                Reply::Field(action, asked) => {
                    self.demand(action)?;
                    let change = asked.change(self.negotiated.has(steps::LEADING_SPACE))?;
                    changes.push(Change::Field(change))?;
                }
                Reply::Change(action, change) => {
                    self.demand(action)?;
                    changes.push(change)?;
                }
                Reply::Body(octets) => {
                    self.demand(actions::REPLACE_BODY)?;
                    if octets.is_empty() {
                        changes.count()?;
                    }
                    replacement.push(&octets).await?;
                }
                Reply::Quarantine(reason) => {
                    self.demand(actions::QUARANTINE)?;
                    changes.count()?;
                    held = Some(Verdict::Quarantine(reason));
                }
                reply => {
                    let judged = verdict(reply)?.unwrap_or(Verdict::Accept);
                    let verdict = match (judged, held) {
                        (Verdict::Accept, Some(held)) => held,
                        (judged, _) => judged,
                    };
                    return Ok(Judged {
                        verdict,
                        changes,
                        is_early: false,
                        score: None,
                    });
                }
            }
        }
    }

    fn demand(&self, action: u32) -> Result<(), Error> {
        match self.negotiated.actions & actions::OFFERED & action {
            0 => Err(Error::Protocol("a change that was not agreed on")),
            _ => Ok(()),
        }
    }

    /// The transaction is over without a message.
    pub async fn abort(&mut self, deadline: Instant) -> Result<(), Error> {
        let abort = async {
            self.send(&Command::Abort.packet(b"")).await?;
            self.flush().await
        };
        within(deadline, abort).await
    }

    /// Ends the conversation.
    pub async fn quit(mut self) {
        let farewell = async {
            self.send(&Command::Quit.packet(b"")).await?;
            self.flush().await
        };
        // Whether it hears that makes no difference.
        let _ = timeout(FAREWELL, farewell).await;
    }

    /// One command with its macros, unless the filter does not want it; and the answer, if it gives one.
    async fn step(
        &mut self,
        (command, data, macros): (Command, &[u8], &[u8]),
        (unwanted, unanswered): (u32, u32),
    ) -> Result<Answer, Error> {
        if self.negotiated.has(unwanted) {
            return Ok(Answer::Continue);
        }
        self.send(macros).await?;
        self.send(&command.packet(data)).await?;
        if self.negotiated.has(unanswered) {
            return Ok(Answer::Continue);
        }
        let reply = self.reply().await?;
        Ok(verdict(reply)?.map_or(Answer::Continue, Answer::Judged))
    }

    async fn send(&mut self, octets: &[u8]) -> Result<(), Error> {
        self.stream.write_all(octets).await.map_err(Error::Broken)
    }

    async fn flush(&mut self) -> Result<(), Error> {
        self.stream.flush().await.map_err(Error::Broken)
    }

    /// The next reply that says something.
    async fn reply(&mut self) -> Result<Reply, Error> {
        self.flush().await?;
        for _ in 0..MAX_PROGRESS {
            match Reply::parse(&self.packet().await?)? {
                Reply::Progress => {}
                reply => return Ok(reply),
            }
        }
        Err(Error::TooMuch("packets that say nothing"))
    }

    async fn packet(&mut self) -> Result<Vec<u8>, Error> {
        let length = self.stream.read_u32().await.map_err(Error::Broken)?;
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length == 0 || length > MAX_PACKET {
            return Err(Error::Protocol("a packet of no or of too much length"));
        }
        let mut packet = vec![0; length];
        self.stream.read_exact(&mut packet).await.map_err(Error::Broken)?;
        Ok(packet)
    }
}

/// What a reply means for the client or message; `None` to go on.
fn verdict(reply: Reply) -> Result<Option<Verdict>, Error> {
    match reply {
        Reply::Continue => Ok(None),
        Reply::Accept => Ok(Some(Verdict::Accept)),
        Reply::Discard => Ok(Some(Verdict::Discard)),
        Reply::Reject => Ok(Some(Verdict::Reject(None))),
        Reply::TempFail => Ok(Some(Verdict::Defer(None))),
        Reply::Words(words) if words.is_permanent() => Ok(Some(Verdict::Reject(Some(words)))),
        Reply::Words(words) => Ok(Some(Verdict::Defer(Some(words)))),
        _ => Err(Error::Protocol("a reply out of its place")),
    }
}

/// A new connection to a filter. [`Error::Unreachable`] also if there is none until then.
pub(super) async fn connect(filter: &Filter, deadline: Instant) -> Result<Stream, Error> {
    let connected = timeout_at(deadline, filter.address.connect()).await;
    let connected = connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    connected.map_err(Error::Unreachable)
}

pub(super) async fn within<T>(
    deadline: Instant,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    timeout_at(deadline, work).await.unwrap_or(Err(Error::TimedOut))
}

/// Whether the filter may have ended the connection while the client was slow.
pub fn may_have_left(error: &Error) -> bool {
    match error {
        Error::Broken(source) => matches!(
            source.kind(),
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
        ),
        _ => false,
    }
}
