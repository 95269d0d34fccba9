//! Dialogues written down in `tests/transcripts`, held with anything that can be an [`Endpoint`]: a bare machine here,
//! a daemon behind a socket elsewhere.
//!
//! One step a line; empty lines and lines starting with `#` say nothing.
//!
//! | Line | Meaning |
//! |---|---|
//! | `@key value` | a setting for whoever makes the endpoint; `@tested client` turns the roles around |
//! | `C: text`, `S: text` | a line of client or server. Of the tested side it is expected, and `*` stands for any text; of the other it is sent. CRLF is added |
//! | `C\| text`, `S\| text` | octets sent as they stand, with `\r`, `\n`, `\0`, `\\`, `\xHH`, and `{x*100}` for a hundred `x` |
//! | `E: text` | what the owner of the machine was told next; only bare machines show it |
//! | `TLS` | both sides do the handshake |
//! | `WAIT 90s` | time passes; bare machines only |
//! | `SHUTDOWN` | the owner asks for the end; bare machines only |
//! | `EOF` | the other side closes its end |
//! | `CLOSED` | the tested side has closed, having sent nothing more |
//!
//! Lines sent without anything expected between them go out in one piece.

mod dmtp;
mod smtp;
mod socket;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::Duration;

use dimed::base::machine::Machine;

/// One dialogue.
pub struct Transcript {
    /// Where it stands.
    pub path: PathBuf,
    settings: Vec<(String, String)>,
    steps: Vec<(usize, Step)>,
}

enum Step {
    Send(Vec<u8>),
    Expect(String),
    Event(String),
    Tls,
    Wait(Duration),
    Shutdown,
    EndOfInput,
    Closed,
}

/// The tested side of a dialogue, as the other side sees it.
pub trait Endpoint {
    /// Sends it octets.
    fn send(&mut self, octets: &[u8]);
    /// The next line it sent.
    fn hear(&mut self) -> Heard;
    /// What it sent beyond the dialogue; ends the session where that takes it.
    fn rest(&mut self) -> Heard {
        self.hear()
    }
    /// Does the TLS handshake with it.
    fn start_tls(&mut self);
    /// Closes our sending side.
    fn end_of_input(&mut self);
    /// What its owner was told next; `None` where that cannot be seen.
    fn event(&mut self) -> Option<Option<String>>;
    /// Lets time pass.
    fn wait(&mut self, _span: Duration) {
        panic!("time does not pass here");
    }
    /// Asks its owner to end the session.
    fn shutdown(&mut self) {
        panic!("nobody to ask here");
    }
}

/// What the tested side sent.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    /// A line, without its CRLF.
    Line(String),
    /// Nothing (more) so far.
    Nothing,
    /// The end.
    Closed,
}

impl Transcript {
    /// All dialogues in a folder of `tests/transcripts` that test this side, `server` or `client`.
    pub fn all(folder: &str, tested: &str) -> Vec<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/transcripts")
            .join(folder);
        let mut paths: Vec<_> = std::fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        paths.sort();
        let found: Vec<_> = paths
            .into_iter()
            .map(Self::load)
            .filter(|transcript| transcript.setting("tested").unwrap_or("server") == tested)
            .collect();
        assert!(
            !found.is_empty(),
            "no dialogues for {tested} in {}",
            folder.display()
        );
        found
    }

    /// The value of a setting.
    pub fn setting(&self, key: &str) -> Option<&str> {
        let found = self.settings.iter().find(|(known, _)| known == key);
        found.map(|(_, value)| value.as_str())
    }

    /// All values of a setting that may be repeated.
    pub fn values(&self, key: &str) -> Vec<&str> {
        let matching = self.settings.iter().filter(|(known, _)| known == key);
        matching.map(|(_, value)| value.as_str()).collect()
    }

    /// Whether only a bare machine can take part: its clock or owner plays a role, or a setting says so
    /// (`@only machine`).
    pub fn is_for_machines_only(&self) -> bool {
        let needs_owner = |(_, step): &(usize, Step)| matches!(step, Step::Wait(_) | Step::Shutdown);
        self.steps.iter().any(needs_owner) || self.setting("only") == Some("machine")
    }

    /// Holds the dialogue; the error says at which line it went wrong and how.
    pub fn hold(&self, endpoint: &mut dyn Endpoint) -> Result<(), String> {
        let mut saw_events = false;
        for (line, step) in &self.steps {
            saw_events |= matches!(step, Step::Event(_));
            step.take(endpoint)
                .map_err(|problem| self.problem(*line, &problem))?;
        }
        match endpoint.event() {
            Some(Some(event)) if saw_events => Err(self.problem(0, &format!("unexpected event {event}"))),
            _ => Ok(()),
        }
    }

    fn problem(&self, line: usize, problem: &str) -> String {
        format!("{}:{line}: {problem}", self.path.display())
    }

    fn load(path: PathBuf) -> Self {
        let text = std::fs::read_to_string(&path).unwrap();
        let mut transcript = Self {
            path,
            settings: Vec::new(),
            steps: Vec::new(),
        };
        for (index, line) in text.lines().enumerate() {
            transcript.add(index + 1, line);
        }
        transcript
    }

    fn add(&mut self, number: usize, line: &str) {
        if let Some(setting) = line.strip_prefix('@') {
            let (key, value) = setting.split_once(' ').unwrap_or((setting, ""));
            self.settings.push((key.to_owned(), value.to_owned()));
        } else if !line.is_empty() && !line.starts_with('#') {
            let step = self
                .step(line)
                .unwrap_or_else(|| panic!("{}", self.problem(number, "not a step")));
            self.push(number, step);
        }
    }

    /// Adds a step; octets sent one after another become one piece.
    fn push(&mut self, number: usize, step: Step) {
        match (self.steps.last_mut(), step) {
            (Some((_, Step::Send(before))), Step::Send(octets)) => before.extend(octets),
            (_, step) => self.steps.push((number, step)),
        }
    }

    fn step(&self, line: &str) -> Option<Step> {
        let tested = if self.setting("tested") == Some("client") {
            'C'
        } else {
            'S'
        };
        let mut chars = line.chars();
        let side = chars.next()?;
        let text = |rest: &str| rest.strip_prefix(' ').unwrap_or(rest).to_owned();
        match (side, chars.next(), chars.as_str()) {
            ('E', Some(':'), rest) => Some(Step::Event(text(rest))),
            ('C' | 'S', Some(':'), rest) if side == tested => Some(Step::Expect(text(rest))),
            ('C' | 'S', Some(':'), rest) => Some(Step::Send(format!("{}\r\n", text(rest)).into_bytes())),
            ('C' | 'S', Some('|'), rest) if side != tested => Some(Step::Send(unescape(&text(rest))?)),
            _ => command(line),
        }
    }
}

fn command(line: &str) -> Option<Step> {
    match line.split_once(' ').unwrap_or((line, "")) {
        ("TLS", "") => Some(Step::Tls),
        ("SHUTDOWN", "") => Some(Step::Shutdown),
        ("EOF", "") => Some(Step::EndOfInput),
        ("CLOSED", "") => Some(Step::Closed),
        ("WAIT", span) => {
            let seconds = span.strip_suffix('s')?.parse().ok()?;
            Some(Step::Wait(Duration::from_secs(seconds)))
        }
        _ => None,
    }
}

/// Octets of a text with escapes.
pub fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut octets = Vec::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        match c {
            '\\' => rest = unescape_one(rest, &mut octets)?,
            '{' => {
                let (repeated, after) = rest.split_once('}')?;
                let (what, count) = repeated.rsplit_once('*')?;
                octets.extend(unescape(what)?.repeat(count.parse().ok()?));
                rest = after;
            }
            _ => octets.extend(c.to_string().into_bytes()),
        }
    }
    Some(octets)
}

fn unescape_one<'a>(text: &'a str, octets: &mut Vec<u8>) -> Option<&'a str> {
    let (kind, rest) = text.split_at_checked(1)?;
    let (octet, rest) = match kind {
        "r" => (b'\r', rest),
        "n" => (b'\n', rest),
        "0" => (0, rest),
        "\\" => (b'\\', rest),
        "x" => {
            let (digits, after) = rest.split_at_checked(2)?;
            (u8::from_str_radix(digits, 16).ok()?, after)
        }
        _ => return None,
    };
    octets.push(octet);
    Some(rest)
}

impl Step {
    fn take(&self, endpoint: &mut dyn Endpoint) -> Result<(), String> {
        match self {
            Self::Send(octets) => endpoint.send(octets),
            Self::Tls => endpoint.start_tls(),
            Self::Wait(span) => endpoint.wait(*span),
            Self::Shutdown => endpoint.shutdown(),
            Self::EndOfInput => endpoint.end_of_input(),
            Self::Closed => return expect(&Heard::Closed, &endpoint.hear()),
            Self::Expect(pattern) => match endpoint.hear() {
                Heard::Line(line) if matches_pattern(pattern, &line) => (),
                heard => return expect(&Heard::Line(pattern.clone()), &heard),
            },
            Self::Event(pattern) => match endpoint.event() {
                None => (),
                Some(Some(event)) if matches_pattern(pattern, &event) => (),
                Some(event) => return Err(format!("expected event {pattern}\n     but it was {event:?}")),
            },
        }
        Ok(())
    }
}

fn expect(expected: &Heard, heard: &Heard) -> Result<(), String> {
    if expected == heard {
        return Ok(());
    }
    Err(format!("expected {expected:?}\n     but heard {heard:?}"))
}

/// Whether the text is the pattern, in which each `*` stands for any text.
fn matches_pattern(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((head, tail)) => text.strip_prefix(head).is_some_and(|rest| {
            (0..=rest.len()).any(|at| rest.get(at..).is_some_and(|end| matches_pattern(tail, end)))
        }),
    }
}

/// Whoever owns a bare machine: answers its events.
pub trait Owner {
    /// The machine.
    type Machine: Machine;
    /// Answers an event, and puts it in words for `E:` lines.
    fn handle(&mut self, machine: &mut Self::Machine, event: <Self::Machine as Machine>::Event) -> Handled;
    /// The handshake asked for is done.
    fn tls_started(&mut self, machine: &mut Self::Machine);
    /// Asks the machine to end the session.
    fn shutdown(&mut self, machine: &mut Self::Machine);
}

/// What an [`Owner`] did with an event.
pub enum Handled {
    /// Answered it, silently or with a note.
    Noted(Option<String>),
    /// The event asks for a TLS handshake, with a note.
    StartTls(String),
}

/// A bare machine as an endpoint: the driver's loop without a socket.
pub struct Bare<O: Owner> {
    machine: O::Machine,
    owner: O,
    /// Sent, and still on its way.
    coming: VecDeque<u8>,
    /// Arrived, and not consumed.
    unread: Vec<u8>,
    /// How many octets arrive at a time.
    piece: usize,
    heard: Vec<u8>,
    events: VecDeque<String>,
    now: Duration,
    handshaking: bool,
}

impl<O: Owner> Bare<O> {
    /// Sets the machine up; what is sent to it arrives in pieces of `piece` octets.
    pub fn new(machine: O::Machine, owner: O, piece: usize) -> Self {
        let mut bare = Self {
            machine,
            owner,
            coming: VecDeque::new(),
            unread: Vec::new(),
            piece,
            heard: Vec::new(),
            events: VecDeque::new(),
            now: Duration::ZERO,
            handshaking: false,
        };
        bare.run();
        bare
    }

    /// Runs until the machine needs something that is not there.
    fn run(&mut self) {
        loop {
            self.talk();
            if self.handshaking || self.machine.is_closed() {
                break;
            }
            let taken = self.machine.receive(self.now, &self.unread);
            self.unread.drain(..taken);
            if taken == 0 && !self.talk() && !self.arrive() {
                break;
            }
        }
        self.fire_timers();
    }

    /// Handles everything the machine has to say; true if there was something.
    fn talk(&mut self) -> bool {
        let mut spoke = false;
        loop {
            while let Some(octets) = self.machine.poll_transmit() {
                self.heard.extend(octets);
                spoke = true;
            }
            let Some(event) = self.machine.poll_event() else {
                return spoke;
            };
            spoke = true;
            let note = match self.owner.handle(&mut self.machine, event) {
                Handled::Noted(note) => note,
                Handled::StartTls(note) => {
                    self.handshaking = true;
                    Some(note)
                }
            };
            self.events.extend(note);
        }
    }

    fn arrive(&mut self) -> bool {
        let count = self.piece.min(self.coming.len());
        self.unread.extend(self.coming.drain(..count));
        count > 0
    }

    fn fire_timers(&mut self) {
        if self.machine.timeout().is_some_and(|at| at <= self.now) {
            self.machine.expire(self.now);
            self.talk();
        }
    }
}

impl<O: Owner> Endpoint for Bare<O> {
    fn send(&mut self, octets: &[u8]) {
        assert!(!self.handshaking, "octets sent while a handshake is due");
        self.coming.extend(octets);
        self.run();
    }

    fn hear(&mut self) -> Heard {
        match self.heard.windows(2).position(|pair| pair == b"\r\n") {
            Some(end) => {
                let line = String::from_utf8(self.heard.drain(..end).collect()).unwrap();
                self.heard.drain(..2);
                Heard::Line(line)
            }
            None if !self.heard.is_empty() => Heard::Line(format!("{:?}, unfinished", self.heard)),
            None if self.machine.is_closed() => Heard::Closed,
            None => Heard::Nothing,
        }
    }

    fn start_tls(&mut self) {
        assert!(self.handshaking, "no handshake is due");
        self.handshaking = false;
        self.unread.clear();
        self.coming.clear();
        self.owner.tls_started(&mut self.machine);
        self.run();
    }

    fn end_of_input(&mut self) {
        self.machine.end_of_input(self.now);
        self.talk();
    }

    fn event(&mut self) -> Option<Option<String>> {
        Some(self.events.pop_front())
    }

    fn wait(&mut self, span: Duration) {
        self.now += span;
        self.fire_timers();
    }

    fn shutdown(&mut self) {
        self.owner.shutdown(&mut self.machine);
        self.run();
    }
}

/// Holds all dialogues with endpoints made for them, and reports everything that went wrong.
pub fn hold_all<E: Endpoint>(transcripts: &[Transcript], make: impl Fn(&Transcript) -> E) {
    let hold = |transcript: &Transcript| {
        let mut endpoint = make(transcript);
        transcript
            .hold(&mut endpoint)
            .and_then(|()| match endpoint.rest() {
                Heard::Line(line) => {
                    Err(transcript.problem(0, &format!("unexpected line at the end: {line}")))
                }
                Heard::Nothing | Heard::Closed => Ok(()),
            })
    };
    let problems: Vec<_> = transcripts
        .iter()
        .filter_map(|transcript| hold(transcript).err())
        .collect();
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

#[test]
fn patterns_match_the_whole_text() {
    assert!(matches_pattern("250 *", "250 Ok"));
    assert!(matches_pattern("250 * as *", "250 queued as 12"));
    assert!(!matches_pattern("250 *", "550 Ok"));
    assert!(!matches_pattern("*Ok", "Ok, then"));
}

#[test]
fn escapes_stand_for_octets() {
    assert_eq!(unescape(r"a\r\n\0\\\xFF{bc*2}").unwrap(), b"a\r\n\0\\\xFFbcbc");
    assert_eq!(unescape(r"\q"), None);
}

#[test]
fn dialogues_that_need_the_clock_or_the_owner_are_for_machines_only() {
    let transcripts = Transcript::all("smtp", "server");
    let named = |name: &str| {
        transcripts
            .iter()
            .find(|transcript| transcript.path.ends_with(name))
            .unwrap()
    };
    assert!(!named("session.txt").is_for_machines_only());
    for name in [
        "timeout-command.txt",
        "shutdown-idle.txt",
        "starttls-injection.txt",
    ] {
        assert!(named(name).is_for_machines_only(), "{name}");
    }
}
