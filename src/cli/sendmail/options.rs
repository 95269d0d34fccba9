//! The options of `sendmail`, as Postfix takes them.
//!
//! | Option | Meaning |
//! |---|---|
//! | `-t` | recipients from To, Cc and Bcc of the header, beside those of the arguments |
//! | `-i`, `-oi` | a line with a dot alone does not end the message |
//! | `-f`, `-r` ADDRESS | the envelope sender; empty or `<>` for the null reverse-path |
//! | `-F` NAME | the sender's full name |
//! | `-N` LIST, `-R` WHAT, `-V` ID | NOTIFY, RET and ENVID (RFC 3461) |
//! | `-bm` | send a message (what happens without it, too) |
//! | `-bs` | speak SMTP on standard input and output |
//! | `-bp`; `-bi`, `-I` | `mailq`; `newaliases` |
//! | `-q`; `-qI` ID, `-qR` DOMAIN | has everything that waits tried at once; one message, or what is for a domain |
//! | `-q` TIME | nothing: the daemon tries again by itself |
//! | `-C` FILE | the configuration file |
//! | `--help` | says so |
//! | `-A` `-B` `-G` `-h` `-L` `-m` `-n` `-o` `-O` `-p` `-U` `-v` `-X` `-c` `-e` `-d` | nothing, with their values where they have one |
//!
//! Options come first, as in Postfix: what follows a recipient is another one.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::base::id::QueueId;
use crate::mail::address::Domain;
use crate::mail::dropped::Dropped;
use crate::mail::local::qualified;
use crate::mail::notify::{EnvelopeId, MessageRequest, Notify, Ret};
use crate::mail::specs::{Spec, specs};
use crate::mail::xtext;
use crate::store::Selection;

use super::user::User;

/// How a command ended, as `sysexits.h` has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// EX_OK: done. A message is durable.
    Ok,
    /// EX_USAGE: the arguments have no meaning.
    Usage,
    /// EX_DATAERR: the message, or the file of aliases, cannot be used.
    DataErr,
    /// EX_NOUSER: a recipient is no address.
    NoUser,
    /// EX_UNAVAILABLE: not here.
    Unavailable,
    /// EX_TEMPFAIL: it may work later.
    TempFail,
    /// EX_NOPERM: this user may not.
    NoPerm,
    /// EX_CONFIG: something has to be put right first.
    Config,
}

impl Status {
    /// The number.
    pub fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Usage => 64,
            Self::DataErr => 65,
            Self::NoUser => 67,
            Self::Unavailable => 69,
            Self::TempFail => 75,
            Self::NoPerm => 77,
            Self::Config => 78,
        }
    }
}

/// Why a command did not do as it was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// How it ends.
    pub status: Status,
    /// What people are told.
    pub text: String,
}

impl Failure {
    /// With a text.
    pub fn new(status: Status, text: impl Into<String>) -> Self {
        let text = text.into();
        Self { status, text }
    }

    fn usage(text: impl Into<String>) -> Self {
        Self::new(Status::Usage, text)
    }
}

/// What is to be done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mode {
    /// Send a message.
    #[default]
    Deliver,
    /// Speak SMTP.
    Session,
    /// List the queue.
    Queue,
    /// Look at the file of aliases.
    Aliases,
    /// Try what waits.
    Flush,
    /// Try what waits, every so often: the daemon does.
    Nothing,
    /// Say what the options mean.
    Help,
}

/// What the arguments say.
#[derive(Debug, Default)]
pub struct Options {
    /// What is to be done.
    pub mode: Mode,
    /// Recipients are in the header.
    pub from_header: bool,
    /// A line with a dot alone ends the message.
    pub dot_ends: bool,
    /// The configuration file.
    pub config: Option<PathBuf>,
    /// What is to be tried, for [`Mode::Flush`].
    pub flushed: Option<Selection>,
    is_periodic: bool,
    sender: Option<String>,
    name: Option<String>,
    arguments: Vec<String>,
    request: MessageRequest,
    notify: Notify,
}

/// Options whose value follows, in the same argument or in the next one.
const WITH_VALUE: &str = "ABCFLNORVXbefhopr";
/// Options without a value.
const ALONE: &str = "GIUcimntv";
/// Options whose value, if there is one, is the rest of the argument.
const OPTIONAL: &str = "dq";

impl Options {
    /// Reads the arguments.
    pub fn parse(arguments: Vec<OsString>) -> Result<Self, Failure> {
        let mut options = Self {
            dot_ends: true,
            ..Self::default()
        };
        let texts = arguments.into_iter().map(|argument| {
            let argument = argument.into_string();
            argument.map_err(|_| Failure::usage("an argument is not UTF-8"))
        });
        let mut texts = texts.collect::<Result<Vec<_>, _>>()?.into_iter();
        while let Some(text) = texts.next() {
            match text.strip_prefix('-') {
                Some("-") => break,
                Some("-help") => options.mode = Mode::Help,
                Some(letters) if !letters.is_empty() => options.take(letters, &mut texts)?,
                _ => {
                    options.arguments.push(text);
                    break;
                }
            }
        }
        // Options come first, as POSIX has it.
        options.arguments.extend(texts);
        let has_message = options.from_header || !options.arguments.is_empty();
        if options.is_periodic && options.mode == Mode::Deliver && !has_message {
            options.mode = Mode::Nothing;
        }
        Ok(options)
    }

    fn take(&mut self, letters: &str, next: &mut impl Iterator<Item = String>) -> Result<(), Failure> {
        let mut rest = letters;
        while let Some(letter) = rest.chars().next() {
            rest = &rest[letter.len_utf8()..];
            if ALONE.contains(letter) {
                self.set(letter);
            } else if WITH_VALUE.contains(letter) {
                let value = match rest {
                    "" => next.next(),
                    rest => Some(rest.to_owned()),
                };
                let value = value.ok_or_else(|| Failure::usage(format!("-{letter} needs a value")))?;
                return self.set_value(letter, value);
            } else if OPTIONAL.contains(letter) {
                return match letter {
                    'q' => self.flush(rest),
                    _ => Ok(()),
                };
            } else {
                return Err(Failure::usage(format!("there is no option -{letter}")));
            }
        }
        Ok(())
    }

    fn flush(&mut self, what: &str) -> Result<(), Failure> {
        let wrong = || Failure::usage(format!("-q cannot be `{}`", shown(what)));
        let selection = match what.split_at_checked(1) {
            None if what.is_empty() => Selection::All,
            Some(("I", id)) => Selection::Message(QueueId::parse(id).ok_or_else(wrong)?),
            Some(("R", site)) => Selection::Destination(Domain::parse(site).map_err(|_| wrong())?),
            Some((digit, _)) if digit.bytes().all(|digit| digit.is_ascii_digit()) => {
                self.is_periodic = true;
                return Ok(());
            }
            _ => return Err(wrong()),
        };
        if self.mode == Mode::Deliver {
            (self.mode, self.flushed) = (Mode::Flush, Some(selection));
        }
        Ok(())
    }

    fn set(&mut self, letter: char) {
        match letter {
            'I' => self.mode = Mode::Aliases,
            'i' => self.dot_ends = false,
            't' => self.from_header = true,
            _ => {}
        }
    }

    fn set_value(&mut self, letter: char, value: String) -> Result<(), Failure> {
        let wrong = || Failure::usage(format!("-{letter} cannot be `{value}`"));
        match letter {
            'b' => self.mode = mode(&value)?,
            'f' | 'r' => self.sender = Some(value),
            'F' => self.name = Some(value),
            'C' => self.config = Some(value.into()),
            'o' if value == "i" => self.dot_ends = false,
            'N' => self.notify = Notify::parse(&value.to_ascii_uppercase()).ok_or_else(wrong)?,
            'R' => self.request.ret = Some(Ret::parse(&value).ok_or_else(wrong)?),
            'V' => {
                let id = EnvelopeId::parse(&xtext::encode(&value));
                self.request.envelope_id = Some(id.ok_or_else(wrong)?);
            }
            _ => {}
        }
        Ok(())
    }

    /// The recipients in the arguments.
    pub fn recipients(&self) -> Result<Vec<String>, Failure> {
        let mut all = Vec::new();
        for argument in &self.arguments {
            let found = specs(argument).filter(|found| !found.is_empty());
            let found = found.ok_or_else(|| no_address(argument))?;
            all.extend(found.into_iter().map(|spec| spec.text));
        }
        Ok(all)
    }

    /// The envelope of a message of that user.
    pub fn envelope(&self, user: &User, recipients: Vec<String>) -> Result<Dropped, Failure> {
        let origin = some_origin();
        if let Some(wrong) = recipients.iter().find(|name| qualified(name, &origin).is_none()) {
            return Err(no_address(wrong));
        }
        let sender = self.sender(user)?;
        // Nobody else goes by the user's own name.
        let own = || (sender == user.login).then(|| user.name.clone());
        let name = self.name.clone().or_else(own).unwrap_or_default();
        Ok(Dropped {
            name: name.replace(|c: char| c.is_control(), " "),
            sender,
            recipients,
            request: self.request.clone(),
            notify: self.notify,
        })
    }

    fn sender(&self, user: &User) -> Result<String, Failure> {
        let Some(named) = &self.sender else {
            return Ok(user.login.clone());
        };
        let wrong = || Failure::usage(format!("the sender `{}` is no address", shown(named)));
        let found = specs(named).ok_or_else(wrong)?;
        match <[_; 1]>::try_from(found) {
            Ok([one]) if !is_of_group(named, &one) => match qualified(&one.text, &some_origin()) {
                Some(_) => Ok(one.text),
                None => Err(wrong()),
            },
            Err(none) if none.is_empty() && ["", "<>"].contains(&named.trim()) => Ok(String::new()),
            Ok(_) | Err(_) => Err(wrong()),
        }
    }
}

/// Whether something else than a name stands before the address, as in `bob: root`: a group is nobody's sender. What is on several
/// lines is two things.
fn is_of_group(named: &str, address: &Spec) -> bool {
    let before = named.get(..address.end).unwrap_or(named);
    let before = before.strip_suffix(&address.text).unwrap_or(before);
    before.contains(':') || named.contains(char::is_control)
}

/// For names whose domain the daemon knows.
fn some_origin() -> Domain {
    #[allow(clippy::expect_used, reason = "a constant, and a test reads it")]
    Domain::parse("localhost").expect("a domain")
}

fn no_address(text: &str) -> Failure {
    let text = format!("the recipient `{}` is no address", shown(text));
    Failure::new(Status::NoUser, text)
}

/// As much as people need to find it, without what terminals would act on.
pub(super) fn shown(text: &str) -> String {
    text.chars()
        .take(100)
        .map(|c| if c.is_control() { '?' } else { c })
        .collect()
}

fn mode(value: &str) -> Result<Mode, Failure> {
    match value {
        "m" => Ok(Mode::Deliver),
        "s" => Ok(Mode::Session),
        "p" => Ok(Mode::Queue),
        "i" => Ok(Mode::Aliases),
        "d" | "D" | "l" => Err(Failure::usage(
            "the daemon is `dimed serve`, which the service manager runs",
        )),
        "v" | "t" => Err(Failure::usage(
            "addresses are looked at with `dimed route explain`, as the user of dimed",
        )),
        other => Err(Failure::usage(format!("there is no option -b{}", shown(other)))),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn parse(line: &str) -> Result<Options, Failure> {
        Options::parse(line.split_whitespace().map(OsString::from).collect())
    }

    fn user() -> User {
        User {
            login: "alice".into(),
            name: "Alice A".into(),
        }
    }

    #[test]
    fn callers_are_understood() {
        for (line, from_header, dot_ends, recipients) in [
            // cron, git send-email, PHP, mutt, mailx, msmtp's manual, Debian's popularity contest.
            (
                "-FCronDaemon -i -B8BITMIME -oem root",
                false,
                false,
                &["root"][..],
            ),
            (
                "-i bob@b.test carol@c.test",
                false,
                false,
                &["bob@b.test", "carol@c.test"],
            ),
            ("-t -i", true, false, &[]),
            (
                "-oem -oi -f alice@a.test -- bob@b.test",
                false,
                false,
                &["bob@b.test"],
            ),
            ("-i -- -strange@b.test", false, false, &["-strange@b.test"]),
            ("-ti", true, false, &[]),
            ("-tifalice@a.test", true, false, &[]),
            ("-oi -t -odb -q15m", true, false, &[]),
            ("bob -t", false, true, &["bob", "-t"]),
            (
                "-bm -v -n -U -G -m -c -Am -h 5 -p x -X /tmp/log -O A=b -o7 bob",
                false,
                true,
                &["bob"],
            ),
            ("bob@b.test,carol", false, true, &["bob@b.test", "carol"]),
            ("", false, true, &[]),
        ] {
            let options = parse(line).unwrap();
            assert_eq!(
                (options.from_header, options.dot_ends),
                (from_header, dot_ends),
                "{line}"
            );
            assert_eq!(options.recipients().unwrap(), recipients, "{line}");
        }
        for (line, mode) in [
            ("-bm", Mode::Deliver),
            ("-bs", Mode::Session),
            ("-b s", Mode::Session),
            ("-bp", Mode::Queue),
            ("-bi", Mode::Aliases),
            ("-I", Mode::Aliases),
            ("-q", Mode::Flush),
            ("-bs -q", Mode::Session),
            ("-q15m", Mode::Nothing),
            ("-q15m -t", Mode::Deliver),
            ("-q15m bob", Mode::Deliver),
            ("--help", Mode::Help),
            ("-bp --help", Mode::Help),
            ("bob --help", Mode::Deliver),
        ] {
            assert_eq!(parse(line).unwrap().mode, mode, "{line}");
        }
    }

    #[test]
    fn what_is_to_be_tried_is_named() {
        let id = "0".repeat(25);
        for (line, selection) in [
            ("-q", Selection::All),
            (
                &format!("-qI{id}"),
                Selection::Message(QueueId::parse(&id).unwrap()),
            ),
            ("-qRa.test", Selection::Destination("a.test".parse().unwrap())),
        ] {
            let options = parse(line).unwrap();
            assert_eq!(
                (options.mode, options.flushed),
                (Mode::Flush, Some(selection)),
                "{line}"
            );
        }
    }

    #[test]
    fn the_sender_is_the_user_or_whom_the_user_names() {
        let sent = |line: &str| {
            let envelope = parse(line)
                .unwrap()
                .envelope(&user(), vec!["bob".into()])
                .unwrap();
            (envelope.sender, envelope.name)
        };
        let pair = |sender: &str, name: &str| (sender.to_owned(), name.to_owned());
        assert_eq!(sent(""), pair("alice", "Alice A"));
        assert_eq!(sent("-falice"), pair("alice", "Alice A"));
        assert_eq!(sent("-f shop@s.test"), pair("shop@s.test", ""));
        assert_eq!(sent("-r<shop@s.test> -FShop"), pair("shop@s.test", "Shop"));
        assert_eq!(sent("-f <>"), pair("", ""));
        let empty = Options::parse(vec!["-f".into(), "".into()]).unwrap();
        assert_eq!(empty.envelope(&user(), vec!["bob".into()]).unwrap().sender, "");
    }

    #[test]
    fn reports_are_asked_for() {
        let options = parse("-N success,delay -R hdrs -V x+y bob").unwrap();
        let envelope = options.envelope(&user(), vec!["bob".into()]).unwrap();
        assert_eq!(envelope.request.ret, Some(Ret::Headers));
        assert_eq!(envelope.request.envelope_id.unwrap().as_str(), "x+y");
        assert_eq!(envelope.notify.to_value().unwrap(), "SUCCESS,DELAY");
    }

    #[test]
    fn what_has_no_meaning_is_told() {
        for line in [
            "-Z",
            "-f",
            "-bd",
            "-bv",
            "-bx",
            "-N sometimes",
            "-R half",
            "-qf",
            "-qI",
            "-qR",
            "-qIx",
            "--version",
        ] {
            assert_eq!(parse(line).unwrap_err().status, Status::Usage, "{line}");
        }
        for line in ["-f a@b@ bob", "-f a@a.test,b@b.test bob"] {
            let failure = parse(line)
                .unwrap()
                .envelope(&user(), vec!["bob".into()])
                .unwrap_err();
            assert_eq!(failure.status, Status::Usage, "{line}");
        }
        for sender in [
            "bob\nrecipient: root",
            "bob: root",
            "bob: root;",
            "bob:;",
            "bob\n",
            ":",
            ",",
        ] {
            let options = Options::parse(vec!["-f".into(), sender.into(), "bob".into()]).unwrap();
            let failure = options.envelope(&user(), vec!["bob".into()]).unwrap_err();
            assert_eq!(failure.status, Status::Usage, "{sender:?}");
        }
        let options = Options::parse(vec!["a b".into()]).unwrap();
        assert_eq!(options.recipients().unwrap_err().status, Status::NoUser);
        let failure = parse("")
            .unwrap()
            .envelope(&user(), vec!["a@b@".into()])
            .unwrap_err();
        assert_eq!(failure.status, Status::NoUser);
        assert_eq!(some_origin().as_str(), "localhost");
    }
}
