//! SMTP machines as endpoints, with owners who know a handful of mailboxes.

use dimed::base::machine::TlsInfo;
use dimed::base::secret::Secret;
use dimed::crypto::scram::Verifier;
use dimed::mail::address::{ForwardPath, Mailbox, ReversePath};
use dimed::mail::notify::{EnvelopeId, MessageRequest, Notify, OriginalRecipient, RecipientRequest, Ret};
use dimed::mail::reply::Reply;
use dimed::smtp::auth::Credentials;
use dimed::smtp::client::{self, Client, Outcome, Protocol, TlsPolicy, Transaction, Verdict};
use dimed::smtp::command::{Body, MailFrom, RcptTo};
use dimed::smtp::server::{self, Abort, Limits, Login, Params, Profile, Session, replies};

use super::{Bare, Handled, Owner, Transcript, hold_all, unescape};

fn tls() -> TlsInfo {
    TlsInfo {
        version: "TLS1.3".into(),
        cipher: "TLS13_AES_128_GCM_SHA256".into(),
        exporter: Some(Secret::new([9; 32])),
    }
}

/// Looks after hismail.test, where bob and alice live.
struct Host {
    profile: Profile,
    storage_full: bool,
    message: Vec<u8>,
}

impl Host {
    fn judge_recipient(&self, path: &ForwardPath) -> Result<(), Reply> {
        let ForwardPath::Mailbox(mailbox) = path else {
            return Ok(());
        };
        match (mailbox.domain().as_str(), mailbox.local()) {
            ("hismail.test", "bob" | "alice" | "béla") => Ok(()),
            ("hismail.test", "busy") => Err(replies::local_error()),
            ("hismail.test", "flood") => Err(Reply::plain(421, "Enough")),
            ("hismail.test", _) => Err(replies::no_such_mailbox()),
            _ if self.profile == Profile::Submission => Ok(()),
            _ => Err(replies::relaying_denied()),
        }
    }

    fn judge_login(credentials: &Credentials) -> Result<(), Reply> {
        if credentials.identity == "alice@hismail.test" && credentials.password == password() {
            Ok(())
        } else {
            Err(replies::authentication_failed())
        }
    }
}

fn password() -> Secret<String> {
    Secret::new("correct horse".to_owned())
}

fn answer(session: &mut Session, verdict: Result<(), Reply>) {
    match verdict {
        Ok(()) => session.accept(),
        Err(reply) => session.refuse(reply),
    }
}

fn describe_mail(mail: &MailFrom) -> String {
    let mut text = format!("MailFrom <{}>", mail.reverse_path);
    if let Some(size) = mail.size_bytes {
        text.push_str(&format!(" size {size}"));
    }
    if mail.body == Body::EightBitMime {
        text.push_str(" 8bit");
    }
    if mail.smtputf8 {
        text.push_str(" utf8");
    }
    if mail.require_tls {
        text.push_str(" requiretls");
    }
    if let Some(ret) = mail.request.ret {
        text.push_str(&format!(" ret {}", ret.as_str()));
    }
    if let Some(id) = &mail.request.envelope_id {
        text.push_str(&format!(" envid {}", id.as_str()));
    }
    text
}

fn describe_rcpt(rcpt: &RcptTo) -> String {
    let mut text = format!("RcptTo <{}>", rcpt.forward_path);
    if let Some(notify) = rcpt.request.notify.to_value() {
        text.push_str(&format!(" notify {notify}"));
    }
    if let Some(original) = &rcpt.request.original {
        let (kind, address) = original.typed();
        text.push_str(&format!(" orcpt {kind} {address}"));
    }
    text
}

impl Owner for Host {
    type Machine = Session;

    fn handle(&mut self, session: &mut Session, event: server::Event) -> Handled {
        use server::Event;
        let note = match event {
            Event::Hello(hello) => format!("Hello {}", hello.name),
            Event::MailFrom(mail) => {
                let full = self.storage_full.then(replies::storage_full);
                answer(session, full.map_or(Ok(()), Err));
                describe_mail(&mail)
            }
            Event::RcptTo(rcpt) => {
                answer(session, self.judge_recipient(&rcpt.forward_path));
                describe_rcpt(&rcpt)
            }
            Event::Verifier { identity } => {
                session.offer_verifier(Verifier::derive(&password(), 4096, b"salt"), "server");
                format!("Verifier {identity}")
            }
            Event::Authenticate(Login::Password(credentials)) => {
                answer(session, Self::judge_login(&credentials));
                format!("Authenticate {}", credentials.identity)
            }
            Event::Authenticate(Login::Proven { identity }) => {
                session.accept_with("Authentication succeeded");
                format!("Proven {identity}")
            }
            Event::LoginRefused => "LoginRefused".into(),
            Event::StartTls => return Handled::StartTls("StartTls".into()),
            Event::DataStart => {
                session.accept();
                "DataStart".into()
            }
            Event::Data(piece) => {
                self.message.extend(piece);
                return Handled::Noted(None);
            }
            Event::DataEnd { size_bytes } => {
                assert_eq!(size_bytes, self.message.len() as u64);
                session.accept_with("Ok: queued as 1");
                format!(
                    "Message {:?}",
                    String::from_utf8(std::mem::take(&mut self.message)).unwrap()
                )
            }
            Event::DataAborted(abort) => {
                self.message.clear();
                match abort {
                    Abort::Fault(fault) => format!("Aborted, {fault}"),
                    Abort::SessionEnded => "Aborted, session ended".into(),
                }
            }
            Event::Reset => "Reset".into(),
            Event::Closed(end) => format!("Closed {end:?}"),
        };
        Handled::Noted(Some(note))
    }

    fn tls_started(&mut self, session: &mut Session) {
        session.tls_started(tls());
    }

    fn shutdown(&mut self, session: &mut Session) {
        session.shutdown();
    }
}

/// Settings: `@port transfer|submission|submissions`, `@starttls no`, `@dual yes`, `@dsn yes`, `@storage full`,
/// `@limit name number`.
fn session(transcript: &Transcript, piece: usize) -> Bare<Host> {
    let port = transcript.setting("port").unwrap_or("transfer");
    let profile = if port == "transfer" {
        Profile::Transfer
    } else {
        Profile::Submission
    };
    let dual = transcript.setting("dual") == Some("yes");
    let params = Params {
        host: "mx.hismail.test".parse().unwrap(),
        profile,
        starttls: transcript.setting("starttls") != Some("no"),
        scram: true,
        banner_tokens: dual.then(|| "DMTPv1".to_owned()).into_iter().collect(),
        dsn: profile == Profile::Submission || transcript.setting("dsn") == Some("yes"),
        origin: None,
        limits: limits(transcript),
    };
    let host = Host {
        profile,
        storage_full: transcript.setting("storage") == Some("full"),
        message: Vec::new(),
    };
    Bare::new(
        Session::new(params, (port == "submissions").then(tls)),
        host,
        piece,
    )
}

fn limits(transcript: &Transcript) -> Limits {
    let mut limits = Limits::default();
    for limit in transcript.values("limit") {
        let (name, value) = limit.split_once(' ').unwrap();
        match name {
            "message" => limits.message_bytes = value.parse().unwrap(),
            "line" => limits.text_line_bytes = value.parse().unwrap(),
            "recipients" => limits.recipients = value.parse().unwrap(),
            "errors" => limits.errors = value.parse().unwrap(),
            "logins" => limits.failed_logins = value.parse().unwrap(),
            "idle" => limits.idle_commands = value.parse().unwrap(),
            _ => panic!("unknown limit {name}"),
        }
    }
    limits
}

/// Sends one message, or the same again and again.
struct Sender {
    transaction: Transaction,
    message: Vec<u8>,
    pieces: std::vec::IntoIter<Vec<u8>>,
    again: usize,
}

impl Sender {
    fn start(&mut self, client: &mut Client) {
        self.rewind();
        assert!(client.start(self.transaction.clone()));
    }

    fn rewind(&mut self) {
        let pieces: Vec<_> = self.message.chunks(5).map(<[u8]>::to_vec).collect();
        self.pieces = pieces.into_iter();
    }

    fn after(&mut self, client: &mut Client) {
        match self.again.checked_sub(1) {
            Some(left) => {
                self.again = left;
                self.start(client);
            }
            None => client.quit(),
        }
    }
}

fn describe_verdict(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Accepted(reply) => format!("accepted {reply}"),
        Verdict::Rejected(reply) => format!("rejected {reply}"),
    }
}

fn join(parts: Vec<String>) -> String {
    parts.join("; ")
}

impl Owner for Sender {
    type Machine = Client;

    fn handle(&mut self, client: &mut Client, event: client::Event) -> Handled {
        use client::Event;
        let note = match event {
            Event::StartTls => return Handled::StartTls("StartTls".into()),
            Event::Ready => "Ready".into(),
            Event::Rewind => {
                self.rewind();
                "Rewind".into()
            }
            Event::NeedBody => {
                match self.pieces.next() {
                    Some(piece) => client.body(&piece),
                    None => client.body_end(),
                }
                return Handled::Noted(None);
            }
            Event::Done(Outcome::Verdicts(verdicts)) => {
                self.after(client);
                format!("Done {}", join(verdicts.iter().map(describe_verdict).collect()))
            }
            Event::Done(Outcome::Lacking(need)) => {
                self.after(client);
                format!("Lacking {need:?}")
            }
            Event::Failed { failure, verdicts } => {
                let unknown = || "unknown".to_owned();
                let each = |verdict: Option<Verdict>| verdict.as_ref().map_or_else(unknown, describe_verdict);
                format!(
                    "Failed, {failure}: {}",
                    join(verdicts.into_iter().map(each).collect())
                )
            }
            Event::Closed => "Closed".into(),
        };
        Handled::Noted(Some(note))
    }

    fn tls_started(&mut self, client: &mut Client) {
        client.tls_started(tls());
    }

    fn shutdown(&mut self, client: &mut Client) {
        client.quit();
    }
}

/// Settings: `@protocol lmtp`, `@tls never|required|active`, `@login yes`, `@from mailbox`, `@to mailbox` (repeated),
/// `@message text with escapes`, `@again count`, `@8bit yes`, `@utf8 yes`, `@requiretls yes`,
/// `@ret value`, `@envid value`, `@notify value`, `@orcpt value`.
fn client(transcript: &Transcript, piece: usize) -> Bare<Sender> {
    let policy = match transcript.setting("tls") {
        Some("never") => TlsPolicy::Never,
        Some("required") => TlsPolicy::Required,
        _ => TlsPolicy::Opportunistic,
    };
    let alice = Credentials {
        identity: "alice".into(),
        password: Secret::new("correct horse".into()),
    };
    let is_lmtp = transcript.setting("protocol") == Some("lmtp");
    let params = client::Params {
        hello: "mx.hermail.test".parse().unwrap(),
        protocol: if is_lmtp { Protocol::Lmtp } else { Protocol::Smtp },
        tls: policy,
        login: transcript.setting("login").map(|how| client::Login {
            credentials: alice,
            nonce: "rOprNGfwEbeRWgbNEkqO".into(),
            in_clear: how == "clear",
        }),
        timeouts: client::Timeouts::default(),
    };
    let mut sender = sender(transcript);
    let active = transcript.setting("tls") == Some("active");
    let mut client = Client::new(params, active.then(tls));
    sender.start(&mut client);
    Bare::new(client, sender, piece)
}

fn sender(transcript: &Transcript) -> Sender {
    let message = unescape(
        transcript
            .setting("message")
            .unwrap_or(r"Subject: hi\r\n\r\nhello\r\n"),
    )
    .unwrap();
    let from = transcript.setting("from").unwrap_or("alice@hermail.test");
    let request = |text: &str| RecipientRequest {
        notify: Notify::parse(text).unwrap(),
        original: transcript
            .setting("orcpt")
            .map(|text| OriginalRecipient::parse(text).unwrap()),
    };
    let recipients: Vec<client::Recipient> = transcript
        .values("to")
        .into_iter()
        .map(|to| to.parse::<Mailbox>().unwrap().into())
        .collect();
    let bob = || {
        vec![client::Recipient {
            mailbox: "bob@hismail.test".parse().unwrap(),
            request: transcript.setting("notify").map(request).unwrap_or_default(),
        }]
    };
    Sender {
        transaction: Transaction {
            reverse_path: ReversePath::parse(&format!("<{from}>")).unwrap(),
            recipients: if recipients.is_empty() { bob() } else { recipients },
            size_bytes: message.len() as u64,
            eight_bit: transcript.setting("8bit").is_some(),
            require_tls: transcript.setting("requiretls").is_some(),
            smtputf8: transcript.setting("utf8").is_some(),
            request: MessageRequest {
                ret: transcript.setting("ret").map(|text| Ret::parse(text).unwrap()),
                envelope_id: transcript
                    .setting("envid")
                    .map(|text| EnvelopeId::parse(text).unwrap()),
            },
        },
        message,
        pieces: Vec::new().into_iter(),
        again: transcript
            .setting("again")
            .map_or(0, |count| count.parse().unwrap()),
    }
}

/// Piece sizes in which octets arrive: one by one, oddly cut, all at once.
const PIECES: [usize; 3] = [1, 7, usize::MAX];

#[test]
fn smtp_server_holds_its_dialogues_however_octets_arrive() {
    for piece in PIECES {
        hold_all(&Transcript::all("smtp", "server"), |transcript| {
            session(transcript, piece)
        });
    }
}

#[test]
fn smtp_client_holds_its_dialogues_however_octets_arrive() {
    for piece in PIECES {
        hold_all(&Transcript::all("smtp", "client"), |transcript| {
            client(transcript, piece)
        });
    }
}
