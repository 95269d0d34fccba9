//! Kind `dmtp-transcript`: what libdime's network client says, and which answers it takes.
//!
//! Each dialogue is held twice: libdime's lines with our server, and the server's lines with our client.

use std::time::Duration;

use dimed::base::machine::{Machine, TlsInfo};
use dimed::dime::fingerprint::FullFingerprint;
use dimed::dime::signet::{Kind, Signet, id};
use dimed::dmtp::client::{self, Client, Limits, Message, Outcome};
use dimed::dmtp::command::{self, Command, CommitHash, Protocol};
use dimed::dmtp::reply::{self, MAX_LINE, Verdict};
use dimed::dmtp::server::{self, Entry, Parameters, Session};
use dimed::mail::address::Domain;
use dimed::mail::reply::Reply;
use dimed::mode::{self, Dual};
use dimed::smtp;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::exceptions::{self, Case};
use super::{Set, unhex};

/// One line of a dialogue.
#[derive(Debug)]
enum Step {
    Server(String),
    Client(String),
    /// The message and the line behind it.
    Body(Vec<u8>),
}

struct Scenario {
    id: String,
    succeeds: bool,
    is_dual: bool,
    /// Calls of the library that ours has no counterpart of.
    is_of_calls: bool,
    steps: Vec<Step>,
}

fn scenarios(set: &Set) -> Vec<Scenario> {
    let entries = set.entries("dmtp-transcript");
    let list = entries.into_iter().flat_map(|entry| {
        let file: Value = serde_json::from_slice(&set.file(&entry["files"]["json"])).unwrap();
        let list = file["scenarios"].as_array().unwrap().clone();
        assert_eq!(entry["expected"]["scenarios"].as_u64(), Some(list.len() as u64));
        assert_eq!(entry["expected"]["delivered_bytes_identical_to_message"], true);
        list
    });
    list.map(|scenario| {
        let lines = scenario["dialogue"].as_array().unwrap();
        let steps = lines
            .iter()
            .filter_map(|line| step(set, &scenario, line.as_str().unwrap()));
        Scenario {
            id: scenario["id"].as_str().unwrap().to_owned(),
            succeeds: scenario["result"] == "success",
            is_dual: lines
                .first()
                .is_some_and(|line| line.as_str().unwrap().starts_with("S: ")),
            is_of_calls: scenario["tool"] == "library calls",
            steps: steps.collect(),
        }
    })
    .collect()
}

fn step(set: &Set, scenario: &Value, line: &str) -> Option<Step> {
    if line.contains("raw message bytes") {
        return Some(Step::Body(body(set, &scenario["delivered"])));
    }
    let text = |rest: &str| expand(set, rest.trim_end_matches(" (inside TLS)"));
    if let Some(rest) = line.strip_prefix("S: ") {
        return Some(Step::Server(text(rest)));
    }
    let said = line
        .strip_prefix("C: ")
        .or_else(|| line.strip_prefix("C plain: "))?;
    Some(Step::Client(text(said)))
}

/// Replaces `{file}`, `{file without padding}` and `{base64 of file}`.
fn expand(set: &Set, text: &str) -> String {
    let Some((start, (inside, rest))) = text
        .split_once('{')
        .and_then(|(start, rest)| Some((start, rest.split_once('}')?)))
    else {
        return text.to_owned();
    };
    let content = if let Some(path) = inside.strip_prefix("base64 of ") {
        dimed::base::encoding::base64(&set.file(&json!(path)))
    } else if let Some(path) = inside.strip_suffix(" without padding") {
        set.text(&json!(path)).trim().trim_end_matches('=').to_owned()
    } else {
        set.text(&json!(inside)).trim().to_owned()
    };
    format!("{start}{content}{}", expand(set, rest))
}

/// What was delivered: the message of the set with that digest, and the octets behind it.
fn body(set: &Set, delivered: &Value) -> Vec<u8> {
    let digest = unhex(&delivered["sha256"]);
    let messages = set.all().filter(|entry| entry["kind"] == "message");
    let mut files = messages.flat_map(|entry| {
        entry["files"]
            .as_object()
            .unwrap()
            .values()
            .map(|path| set.file(path))
    });
    let mut octets = files
        .find(|file| Sha256::digest(file).as_slice() == digest)
        .expect("the delivered message is in the set");
    assert_eq!(delivered["size"].as_u64(), Some(octets.len() as u64));
    octets.extend(unhex(&delivered["bytes_after_message_hex"]));
    octets
}

fn parameters(host: &str) -> Parameters {
    Parameters {
        host: Domain::parse(host).unwrap(),
        limits: server::Limits::default(),
        nonce: CommitHash::parse("nonce").unwrap(),
    }
}

/// A reply put together from its lines, as the reader of a client does it.
fn parse_reply(octets: &str) -> Reply {
    let lines: Vec<_> = octets.split_terminator("\r\n").collect();
    Reply {
        code: lines[0][..3].parse().unwrap(),
        enhanced: None,
        lines: lines
            .iter()
            .map(|line| line[4..].trim_start().to_owned())
            .collect(),
    }
}

/// Our server and an owner who gives the answers of the dialogue.
struct Host {
    machine: Machines,
    received: Vec<u8>,
}

enum Machines {
    Single(Box<Session>),
    Dual(Box<Dual>),
}

impl Host {
    fn new(is_dual: bool) -> Self {
        let machine = if is_dual {
            Machines::Dual(Box::new(dual()))
        } else {
            Machines::Single(Box::new(Session::new(parameters("stub.example"), Entry::Single)))
        };
        Self {
            machine,
            received: Vec::new(),
        }
    }

    fn session(&mut self) -> &mut Session {
        match &mut self.machine {
            Machines::Single(session) => session,
            Machines::Dual(dual) => dual.dmtp().expect("DMTP is spoken"),
        }
    }

    /// What the server says on hearing something; questions are answered as in `scripted`.
    fn hear(&mut self, mut input: &[u8], scripted: &Reply) -> String {
        let mut said = String::new();
        loop {
            let taken = match &mut self.machine {
                Machines::Single(session) => session.receive(Duration::ZERO, input),
                Machines::Dual(dual) => dual.receive(Duration::ZERO, input),
            };
            input = &input[taken..];
            let spoke = self.speak(&mut said) | self.answer(scripted);
            if taken == 0 && !spoke {
                assert_eq!(input, b"");
                return said;
            }
        }
    }

    fn speak(&mut self, said: &mut String) -> bool {
        let before = said.len();
        while let Some(line) = match &mut self.machine {
            Machines::Single(session) => session.poll_transmit(),
            Machines::Dual(dual) => dual.poll_transmit(),
        } {
            assert!(line.len() <= MAX_LINE);
            said.push_str(&String::from_utf8(line).unwrap());
        }
        said.len() > before
    }

    fn answer(&mut self, scripted: &Reply) -> bool {
        let event = match &mut self.machine {
            Machines::Single(session) => session.poll_event(),
            Machines::Dual(dual) => match dual.poll_event() {
                Some(mode::Event::Dmtp(event)) => Some(event),
                Some(mode::Event::StartTls { protocol, host }) => {
                    assert_eq!((protocol, host.is_some()), (Protocol::Dmtp, true));
                    None
                }
                other => {
                    assert_eq!(other, None);
                    None
                }
            },
        };
        let Some(event) = event else {
            return false;
        };
        if let server::Event::DataChunk(octets) = &event {
            self.received.extend(octets);
        }
        answer(self.session(), &event, scripted);
        true
    }

    fn handshake(&mut self) {
        if let Machines::Dual(dual) = &mut self.machine {
            let (version, cipher) = ("TLS1.2".to_owned(), "ECDHE-RSA-AES256-GCM-SHA384".to_owned());
            dual.tls_started(TlsInfo {
                version,
                cipher,
                exporter: None,
            });
        }
    }
}

fn dual() -> Dual {
    let host = Domain::parse("stub.example").unwrap();
    let hosts = ["dx.alpha.example", "dx.bravo.example"];
    Dual::new(mode::Params {
        smtp: smtp::server::Params {
            host,
            profile: smtp::server::Profile::Transfer,
            starttls: true,
            scram: true,
            banner_tokens: Vec::new(),
            dsn: false,
            origin: None,
            limits: smtp::server::Limits::default(),
        },
        dmtp: parameters("stub.example"),
        hosts: hosts.map(|host| Domain::parse(host).unwrap()).to_vec(),
    })
}

fn answer(session: &mut Session, event: &server::Event, scripted: &Reply) {
    use server::Event;
    match event {
        Event::Ehlo { .. } | Event::Reset | Event::DataChunk(_) => {}
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
        _ if scripted.code >= 400 => session.refuse(scripted),
        Event::MailFrom { .. } | Event::RcptTo { .. } | Event::Data { .. } => session.accept(),
        Event::DataEnd => session.committed(&reply::read_committed(scripted).unwrap()),
        Event::Signet { .. } => session.signet(&reply::read_signet(scripted).unwrap()),
        Event::Verify { .. } => match reply::read_verdict(scripted).unwrap() {
            Verdict::Current => session.current(),
            Verdict::Update(fingerprint) => session.update(fingerprint),
        },
        Event::History { .. } => session.history(&reply::read_history(scripted).unwrap()),
    }
}

/// Whether libdime's client would take our answer for what the one in the dialogue says (`dmtp.md` §4.3, §6).
fn says_the_same(line: &str, ours: &str, scripted: &Reply) -> bool {
    let multi_line = ["EHLO", "HELP", "HIST", "STAT", "STAR"]
        .iter()
        .any(|verb| line.starts_with(verb));
    let reply = parse_reply(ours);
    let single = ours.matches("\r\n").count() == 1;
    reply.code / 100 == scripted.code / 100
        && (single || multi_line)
        && reply::read_signet(&reply) == reply::read_signet(scripted)
        && reply::read_verdict(&reply) == reply::read_verdict(scripted)
        && reply::read_mode(&reply) == reply::read_mode(scripted)
        && reply::read_history(&reply) == reply::read_history(scripted)
        && reply::read_committed(&reply) == reply::read_committed(scripted)
        && reply::asks_for_message(&reply) == reply::asks_for_message(scripted)
}

#[test]
fn our_server_answers_the_lines_of_libdime() {
    let set = Set::load();
    let mut answered = 0;
    for scenario in scenarios(&set).iter().filter(|scenario| scenario.succeeds) {
        let mut host = Host::new(scenario.is_dual);
        let mut steps = scenario.steps.iter();
        let banner = host.hear(b"", &Reply::plain(0, ""));
        assert!(matches!(steps.next(), Some(Step::Server(_))), "{}", scenario.id);
        assert!(reply::offers_dmtp(&parse_reply(&banner)), "{}", scenario.id);
        while let (Some(said), Some(Step::Server(scripted))) = (steps.next(), steps.next()) {
            let (line, octets) = match said {
                Step::Client(line) => (line.as_str(), line.as_bytes()),
                Step::Body(octets) => ("", octets.as_slice()),
                Step::Server(line) => panic!("{}: {line} answers nothing", scenario.id),
            };
            let scripted = parse_reply(scripted);
            let ours = host.hear(octets, &scripted);
            answered += 1;
            let exception = exceptions::ours(&Case::ServerLine(line));
            match exception {
                Some("refused") => assert!(ours.starts_with('5'), "{}: {line}{ours}", scenario.id),
                _ => assert!(
                    says_the_same(line, &ours, &scripted),
                    "{}: {line}{ours}",
                    scenario.id
                ),
            }
            if let Step::Body(octets) = said {
                assert_eq!(host.received, octets[..octets.len() - 2], "{}", scenario.id);
            }
            if line.starts_with("STARTTLS") {
                host.handshake();
                let Some(Step::Server(scripted)) = steps.next() else {
                    panic!("{}: the server speaks first", scenario.id);
                };
                let first = host.hear(b"", &Reply::plain(0, ""));
                assert!(says_the_same("", &first, &parse_reply(scripted)), "{first}");
            }
        }
    }
    assert!(answered > 40, "only {answered} lines were answered");
}

/// Our client asking what libdime asked.
struct Caller<'a> {
    client: Client,
    steps: &'a [Step],
    /// How the session stands: `ready`, `done`, or what went wrong.
    stands: &'static str,
    said: Vec<u8>,
}

impl<'a> Caller<'a> {
    fn new(scenario: &'a Scenario) -> Self {
        let host = scenario.steps.iter().find_map(|step| match step {
            Step::Client(line) => match command::parse(line.trim_end().as_bytes()) {
                Ok(Command::StartTls(Some(upgrade))) => Some(upgrade.host),
                _ => None,
            },
            _ => None,
        });
        let entry = match scenario.is_dual {
            true => client::Entry::Dual(host.unwrap_or_else(|| Domain::parse("dx.alpha.example").unwrap())),
            false => client::Entry::Single,
        };
        Self {
            client: Client::new(entry, Limits::default()),
            steps: &scenario.steps,
            stands: "silent",
            said: Vec::new(),
        }
    }

    /// Goes through the dialogue; how it ended.
    fn hold(mut self) -> &'static str {
        for (at, step) in self.steps.iter().enumerate() {
            match step {
                Step::Server(reply) => self.hear(reply.as_bytes()),
                Step::Client(line) => self.request(line, &self.steps[at..]),
                Step::Body(octets) => self.send_body(octets),
            }
            if self.client.is_closed() {
                break;
            }
        }
        self.client.end_of_input(Duration::ZERO);
        self.stands
    }

    fn hear(&mut self, mut input: &[u8]) {
        loop {
            let taken = self.client.receive(Duration::ZERO, input);
            input = &input[taken..];
            self.said
                .extend(std::iter::from_fn(|| self.client.poll_transmit()).flatten());
            let event = self.client.poll_event();
            if taken == 0 && event.is_none() {
                return;
            }
            match event {
                Some(client::Event::StartTls) => self.client.tls_established(),
                Some(client::Event::Ready) => self.stands = "ready",
                Some(client::Event::Finished(outcome)) => self.stands = word(&outcome),
                Some(client::Event::Failed(_)) => self.stands = "failed",
                Some(client::Event::WantBody) | None => {}
            }
        }
    }

    /// Asks the same, and checks that it is said in the same words.
    fn request(&mut self, line: &str, rest: &[Step]) {
        let command = command::parse(line.trim_end().as_bytes()).unwrap();
        let client = &mut self.client;
        let result = match command {
            Command::Ehlo(domain) => client.ehlo(&domain),
            Command::Signet { name, fingerprint } => client.signet(&name, fingerprint),
            Command::Verify { name, fingerprint } => client.verify(&name, fingerprint),
            Command::History { address, start, stop } => client.history(&address, start, stop),
            Command::Noop => client.noop(),
            Command::Rset => client.reset(),
            Command::Quit => client.quit(),
            Command::Mail(mail) => client.send(message(mail, rest)),
            // Said by the client on its own.
            Command::StartTls(_) | Command::Rcpt { .. } | Command::Data(_) => Ok(()),
            other => panic!("our client never says {other:?}"),
        };
        assert_eq!(result, Ok(()), "{line}");
        self.said
            .extend(std::iter::from_fn(|| self.client.poll_transmit()).flatten());
        let said = String::from_utf8(std::mem::take(&mut self.said)).unwrap();
        assert_eq!(without_brackets(&said), without_brackets(line));
    }

    fn send_body(&mut self, octets: &[u8]) {
        let (message, end) = octets.split_at(octets.len() - 2);
        for piece in message.chunks(1000) {
            self.client.body(piece.to_vec()).unwrap();
            self.hear(b"");
        }
        assert_eq!(std::mem::take(&mut self.said), [message, end].concat());
    }
}

fn message(mail: command::Mail, rest: &[Step]) -> Message {
    let destination = rest.iter().find_map(|step| match step {
        Step::Client(line) => match command::parse(line.trim_end().as_bytes()) {
            Ok(Command::Rcpt { destination, .. }) => Some(destination),
            _ => None,
        },
        _ => None,
    });
    Message {
        origin: mail.origin,
        origin_signet: Some(FullFingerprint([1; 64])),
        destination: destination.unwrap(),
        destination_signet: Some(FullFingerprint([2; 64])),
        size: mail.size.unwrap(),
        returning: mail.returning,
        commit: CommitHash::parse("commit").unwrap(),
    }
}

/// Where libdime puts the literal word `fingerprint`, we put one.
fn without_brackets(line: &str) -> String {
    let carries_a_fingerprint = ["MAIL", "RCPT", "DATA"].iter().any(|verb| line.starts_with(verb));
    match line
        .split_once('[')
        .and_then(|(start, rest)| Some((start, rest.split_once(']')?.1)))
    {
        Some((start, end)) if carries_a_fingerprint => format!("{start}[]{end}"),
        _ => line.to_owned(),
    }
}

fn word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Done(_) => "done",
        Outcome::NotFound => "not found",
        Outcome::Transient(_) | Outcome::Permanent(_) => "refused",
        Outcome::Unusable(_) => "unusable",
    }
}

/// How our client is to fare, by the last thing that the server says (`dmtp.md` §4.2, §5.1, §6).
///
/// `ready` and `done` where libdime fails mean that the reason lies elsewhere: in the certificate, in the record, or in what
/// the signet says. Judging those is not the session's business.
fn expected(scenario: &Scenario) -> &'static str {
    let Some(said) = scenario
        .steps
        .iter()
        .rposition(|step| matches!(step, Step::Server(_)))
    else {
        return "silent";
    };
    let Step::Server(line) = &scenario.steps[said] else {
        return "silent";
    };
    let request = match scenario.steps[..said].last() {
        None => return banner(line),
        Some(Step::Body(_)) => "",
        Some(Step::Client(request)) => request.as_str(),
        Some(Step::Server(_)) => return "ready",
    };
    let is_whole = line.ends_with("\r\n") && line.matches('\n').count() == line.matches("\r\n").count();
    let form: fn(&str) -> bool = match &request[..request.len().min(4)] {
        "SGNT" => |text| text.trim_start().starts_with("OK") && text.contains('[') && text.ends_with(']'),
        "DATA" => |text| text.starts_with("CONTINUE ["),
        _ => |_| true,
    };
    match (line.as_bytes()[0], form(line[3..].trim())) {
        _ if !is_whole => "failed",
        (b'4' | b'5', _) => "refused",
        (_, true) => "done",
        // Octets of a message may be awaited now, or not.
        (b'3', false) => "failed",
        (_, false) => "unusable",
    }
}

fn banner(line: &str) -> &'static str {
    let mut tokens = line.split_ascii_whitespace();
    match tokens.next() == Some("220") && tokens.skip(1).any(|token| token == "DMTPv1") {
        true => "ready",
        false => "failed",
    }
}

#[test]
fn our_client_takes_the_answers_that_libdime_takes() {
    let set = Set::load();
    let scenarios = scenarios(&set);
    let held = scenarios
        .iter()
        .filter(|scenario| !scenario.steps.is_empty() && !scenario.is_of_calls);
    for scenario in held {
        let id = scenario.id.as_str();
        let expected = match scenario.succeeds {
            true => "done",
            false => expected(scenario),
        };
        assert_eq!(Caller::new(scenario).hold(), expected, "{id}");
        if !scenario.succeeds && expected == "done" {
            assert!(is_for_others_to_judge(scenario), "{id}");
        }
    }
}

/// Whether the answer is too long for libdime's client, or carries a signet that it refuses for what the signet is.
fn is_for_others_to_judge(scenario: &Scenario) -> bool {
    let Some([Step::Client(request), Step::Server(answer)]) = scenario.steps.last_chunk() else {
        return false;
    };
    let object = reply::read_signet(&parse_reply(answer)).expect("a signet");
    let signet = Signet::decode(&object).expect("readable");
    let identifier = signet.field(id::IDENTIFIER).unwrap_or_default();
    exceptions::ours(&Case::SignetReply(answer)) == Some("done")
        || signet.kind() == Kind::Request
        || signet.field(id::CUSTODY).is_some() && signet.kind() == Kind::User
        || !request.contains(&format!("<{}>", String::from_utf8_lossy(identifier)))
}
