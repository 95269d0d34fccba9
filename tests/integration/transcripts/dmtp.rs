//! DMTP machines, and the dual-mode machine, as endpoints. Their owner serves hismail.test, where bob has had two signets.

use dimed::base::machine::TlsInfo;
use dimed::dime::fingerprint::{AnyFingerprint, FullFingerprint};
use dimed::dmtp::client::{self, Answer, Client, Outcome};
use dimed::dmtp::command::CommitHash;
use dimed::dmtp::name::Name;
use dimed::dmtp::reply::{TransactionId, Verdict};
use dimed::dmtp::server::{Entry, Event, Limits, Parameters, Session};
use dimed::mail::address::Domain;
use dimed::mail::reply::Reply;
use dimed::mode::{self, Dual};
use dimed::smtp;

use super::{Bare, Handled, Owner, Transcript, hold_all};

/// Bob's signets, oldest first, with the octet that fills the fingerprint.
const BOB: [(u8, &[u8]); 2] = [(1, b"bob-1"), (2, b"bob-2")];

/// Answers the questions of a session.
#[derive(Default)]
struct Host {
    refuses: bool,
    message: Vec<u8>,
}

impl Host {
    fn handle(&mut self, session: &mut Session, event: Event) -> Option<String> {
        let note = match event {
            Event::Ehlo { domain } => format!("Ehlo {domain}"),
            Event::Verifier { .. }
            | Event::LoginRefused
            | Event::Authenticate(_)
            | Event::Keys
            | Event::Deposit { .. }
            | Event::Pending
            | Event::HandIn(_)
            | Event::KeySets(_) => {
                panic!("not asked without logins: {event:?}")
            }
            Event::MailFrom {
                origin,
                fingerprint,
                size,
                ..
            } => {
                let invalid = Reply::plain(575, "invalid origin signet");
                answer(session, origin.as_str() != "refused.test", &invalid);
                let size = size.map_or_else(String::new, |size| format!(" size {size}"));
                format!("MailFrom {origin}{}{size}", optional(fingerprint))
            }
            Event::RcptTo {
                destination,
                fingerprint,
            } => {
                let ours = destination.as_str() == "hismail.test";
                answer(session, ours, &Reply::plain(510, "not served here"));
                format!("RcptTo {destination}{}", optional(fingerprint))
            }
            Event::Data { commit } => {
                session.accept();
                let commit = commit.map_or_else(|| "-".to_owned(), |commit| commit.to_string());
                self.refuses = commit == "refuse";
                format!("Data {commit}")
            }
            Event::DataChunk(octets) => {
                self.message.extend(octets);
                return None;
            }
            Event::DataEnd if self.refuses => {
                session.refuse(&Reply::plain(578, "invalid origin signature"));
                "Refused".into()
            }
            Event::DataEnd => {
                session.committed(&TransactionId::parse("transaction-1").unwrap());
                let message = String::from_utf8_lossy(&std::mem::take(&mut self.message)).into_owned();
                format!("Message {message:?}")
            }
            Event::Reset => "Reset".into(),
            Event::Signet { name, fingerprint } => {
                match signet(&name, fingerprint) {
                    Some(object) => session.signet(object),
                    None => session.not_found(),
                }
                format!("Signet {name}{}", optional(fingerprint))
            }
            Event::Verify { name, fingerprint } => {
                match (signet(&name, Some(fingerprint)), signet(&name, None)) {
                    (None, _) => session.not_found(),
                    (found, current) if found == current => session.current(),
                    _ => session.update(FullFingerprint([2; 64])),
                }
                format!("Verify {name} {fingerprint}")
            }
            Event::History { name, start, stop } => {
                session.history(&history(start, stop));
                format!("History {name}")
            }
        };
        Some(note)
    }
}

fn answer(session: &mut Session, agrees: bool, refusal: &Reply) {
    match agrees {
        true => session.accept(),
        false => session.refuse(refusal),
    }
}

fn optional(fingerprint: Option<AnyFingerprint>) -> String {
    fingerprint.map_or_else(String::new, |fingerprint| format!(" {fingerprint}"))
}

/// That signet of a name, or the current one.
fn signet(name: &Name, fingerprint: Option<AnyFingerprint>) -> Option<&'static [u8]> {
    match (name.to_string().as_str(), fingerprint) {
        ("hismail.test", None) => Some(b"hismail"),
        ("bob@hismail.test", None) => Some(BOB[1].1),
        ("bob@hismail.test", Some(wanted)) => BOB
            .iter()
            .find(|(fill, _)| wanted == AnyFingerprint([*fill; 64]))
            .map(|(_, object)| *object),
        _ => None,
    }
}

/// Bob's signets between two of them; none if the first is the newer.
fn history(start: Option<AnyFingerprint>, stop: Option<AnyFingerprint>) -> Vec<Vec<u8>> {
    let fill =
        |fingerprint: Option<AnyFingerprint>, missing| fingerprint.map_or(missing, |wanted| wanted.0[0]);
    let wanted = fill(start, 1)..=fill(stop, 2);
    let signets = BOB.iter().filter(|(fill, _)| wanted.contains(fill));
    signets.map(|(_, object)| object.to_vec()).collect()
}

/// Owns a session on a DMTP-only port.
struct Single(Host);

impl Owner for Single {
    type Machine = Session;

    fn handle(&mut self, session: &mut Session, event: Event) -> Handled {
        Handled::Noted(self.0.handle(session, event))
    }

    fn tls_started(&mut self, _session: &mut Session) {
        panic!("TLS was there from the beginning");
    }

    fn shutdown(&mut self, session: &mut Session) {
        session.shut_down();
    }
}

/// Owns a connection to a dual-mode port.
struct Both(Host);

impl Owner for Both {
    type Machine = Dual;

    fn handle(&mut self, dual: &mut Dual, event: mode::Event) -> Handled {
        match event {
            mode::Event::StartTls { protocol, host } => {
                let host = host.map_or_else(String::new, |host| format!(" {host}"));
                Handled::StartTls(format!("StartTls {protocol:?}{host}"))
            }
            mode::Event::Dmtp(event) => Handled::Noted(self.0.handle(dual.dmtp().unwrap(), event)),
            mode::Event::Smtp(event) => Handled::Noted(Some(format!("Smtp {event:?}"))),
        }
    }

    fn tls_started(&mut self, dual: &mut Dual) {
        dual.tls_started(TlsInfo {
            version: "TLS1.3".into(),
            cipher: "TLS13_AES_128_GCM_SHA256".into(),
            exporter: None,
        });
    }

    fn shutdown(&mut self, dual: &mut Dual) {
        dual.shut_down();
    }
}

/// Settings: `@limit message|violations number`.
fn parameters(transcript: &Transcript) -> Parameters {
    let mut limits = Limits::default();
    for limit in transcript.values("limit") {
        match limit.split_once(' ').unwrap() {
            ("message", value) => limits.message_bytes = value.parse().unwrap(),
            ("violations", value) => limits.violations = value.parse().unwrap(),
            _ => panic!("unknown limit {limit}"),
        }
    }
    Parameters {
        host: "mx.hismail.test".parse().unwrap(),
        limits,
        nonce: CommitHash::parse("nonce").unwrap(),
    }
}

fn dual(transcript: &Transcript) -> Dual {
    Dual::new(mode::Params {
        smtp: smtp::server::Params {
            host: "mx.hismail.test".parse().unwrap(),
            profile: smtp::server::Profile::Transfer,
            starttls: true,
            scram: true,
            banner_tokens: vec!["DMTPv1".into()],
            dsn: false,
            origin: None,
            limits: smtp::server::Limits::default(),
        },
        dmtp: parameters(transcript),
        hosts: vec!["hismail.test".parse().unwrap()],
    })
}

/// Asks one thing after another, then takes its leave.
struct Caller {
    asks: std::vec::IntoIter<String>,
    message: Vec<u8>,
}

impl Caller {
    fn ask(&mut self, client: &mut Client) {
        let first = FullFingerprint([1; 64]);
        let Some(ask) = self.asks.next() else {
            return client.quit().unwrap();
        };
        let (what, rest) = ask.split_once(' ').unwrap();
        let name = || Name::parse(rest).unwrap();
        let result = match what {
            "signet" => client.signet(&name(), None),
            "verify" => client.verify(&name(), first.into()),
            "history" => client.history(name().address().unwrap(), Some(first.into()), None),
            "message" => {
                self.message = rest.as_bytes().to_vec();
                client.ehlo(&domain("hermail.test"))
            }
            other => panic!("cannot ask for {other}"),
        };
        result.unwrap();
    }

    fn send(&self, client: &mut Client) {
        let message = client::Message {
            origin: domain("hermail.test"),
            origin_signet: Some(FullFingerprint([1; 64])),
            destination: domain("hismail.test"),
            destination_signet: Some(FullFingerprint([2; 64])),
            size: self.message.len() as u64,
            returning: None,
            commit: CommitHash::parse("commit").unwrap(),
        };
        client.send(message).unwrap();
    }
}

fn domain(text: &str) -> Domain {
    text.parse().unwrap()
}

fn describe(outcome: &Outcome) -> String {
    let text = |octets: &Vec<u8>| format!("{:?}", String::from_utf8_lossy(octets));
    match outcome {
        Outcome::Done(Answer::Nothing) => "Nothing".into(),
        Outcome::Done(Answer::Extensions(_)) => "Extensions".into(),
        Outcome::Done(Answer::Signet(object)) => format!("Signet {}", text(object)),
        Outcome::Done(Answer::Verdict(Verdict::Current)) => "Verdict Current".into(),
        Outcome::Done(Answer::Verdict(Verdict::Update(fp))) => format!("Verdict Update {fp}"),
        Outcome::Done(Answer::History(signets)) => {
            let signets: Vec<_> = signets.iter().map(text).collect();
            format!("History {}", signets.join(" "))
        }
        Outcome::Done(Answer::Challenge(text)) => format!("Challenge {}", String::from_utf8_lossy(text)),
        Outcome::Done(Answer::Keys { version, .. }) => format!("Keys {version}"),
        Outcome::Done(Answer::Deposited(version)) => format!("Deposited {version}"),
        Outcome::Done(Answer::Pending(pending)) => format!("Pending {}", pending.request),
        Outcome::Done(Answer::KeySetsTaken(taken)) => format!("KeySetsTaken {}", taken.waiting),
        Outcome::Done(Answer::Committed(id)) => {
            format!("Committed {}", id.as_ref().map_or("-", TransactionId::as_str))
        }
        Outcome::NotFound => "NotFound".into(),
        Outcome::Transient(reply) => format!("Transient {reply}"),
        Outcome::Permanent(reply) => format!("Permanent {reply}"),
        Outcome::Unusable(reply) => format!("Unusable {reply}"),
    }
}

impl Owner for Caller {
    type Machine = Client;

    fn handle(&mut self, client: &mut Client, event: client::Event) -> Handled {
        let note = match event {
            client::Event::StartTls => return Handled::StartTls("StartTls".into()),
            client::Event::Ready => {
                self.ask(client);
                "Ready".into()
            }
            client::Event::WantBody => {
                client.body(self.message.clone()).unwrap();
                return Handled::Noted(None);
            }
            client::Event::Finished(outcome) => {
                match &outcome {
                    Outcome::Done(Answer::Nothing) => {}
                    Outcome::Done(Answer::Extensions(_)) => self.send(client),
                    _ => self.ask(client),
                }
                describe(&outcome)
            }
            client::Event::Failed(error) => format!("Failed, {error}"),
        };
        Handled::Noted(Some(note))
    }

    fn tls_started(&mut self, client: &mut Client) {
        client.tls_established();
    }

    fn shutdown(&mut self, client: &mut Client) {
        client.quit().unwrap();
    }
}

/// Settings: `@dual host`, `@ask signet|verify|history name` and `@ask message octets`, repeated.
fn client(transcript: &Transcript, piece: usize) -> Bare<Caller> {
    let entry = match transcript.setting("dual") {
        Some(host) => client::Entry::Dual(domain(host)),
        None => client::Entry::Single,
    };
    let asks: Vec<_> = transcript.values("ask").into_iter().map(str::to_owned).collect();
    let caller = Caller {
        asks: asks.into_iter(),
        message: Vec::new(),
    };
    Bare::new(Client::new(entry, client::Limits::default()), caller, piece)
}

/// Piece sizes in which octets arrive: one by one, oddly cut, all at once.
const PIECES: [usize; 3] = [1, 7, usize::MAX];

/// The dialogues of one port: `dmtp` has TLS from the first octet, `transfer` is dual-mode.
fn of_port(port: &str) -> Vec<Transcript> {
    let all = Transcript::all("dmtp", "server").into_iter();
    let found: Vec<_> = all
        .filter(|transcript| transcript.setting("port") == Some(port))
        .collect();
    assert!(!found.is_empty(), "no dialogues for port {port}");
    found
}

#[test]
fn dmtp_server_holds_its_dialogues_however_octets_arrive() {
    for piece in PIECES {
        hold_all(&of_port("dmtp"), |transcript| {
            let session = Session::new(parameters(transcript), Entry::Single);
            Bare::new(session, Single(Host::default()), piece)
        });
    }
}

#[test]
fn dual_mode_holds_its_dialogues_however_octets_arrive() {
    for piece in PIECES {
        hold_all(&of_port("transfer"), |transcript| {
            Bare::new(dual(transcript), Both(Host::default()), piece)
        });
    }
}

#[test]
fn every_dialogue_names_a_port() {
    let all = Transcript::all("dmtp", "server").len();
    assert_eq!(of_port("dmtp").len() + of_port("transfer").len(), all);
}

#[test]
fn dmtp_client_holds_its_dialogues_however_octets_arrive() {
    for piece in PIECES {
        hold_all(&Transcript::all("dmtp", "client"), |transcript| {
            client(transcript, piece)
        });
    }
}
