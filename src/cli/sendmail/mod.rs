//! `sendmail`, `mailq` and `newaliases`, as programs and people know them from Sendmail and Postfix: called by these names, by
//! links to the binary, or as `dimed sendmail …`.
//!
//! `sendmail` leaves a message in the drop folder, durably, and needs neither rights nor a running daemon for that; the daemon
//! picks it up ([`crate::daemon::pickup`]). What becomes of the message afterwards the sender learns by mail.

mod drop;
mod flush;
mod help;
mod letter;
mod mailq;
mod newaliases;
mod options;
mod place;
mod session;
mod user;

use std::ffi::{OsStr, OsString};
use std::io::{self, Write as _};
use std::path::Path;

use self::letter::Letter;
use self::options::{Mode, Options};
use self::place::Place;
use super::Exit;

pub use options::{Failure, Status};
pub(super) use user::{caller, login};

/// One of the commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// `sendmail`.
    Sendmail,
    /// `mailq`, which is `sendmail -bp`.
    Mailq,
    /// `newaliases`, which is `sendmail -bi`.
    Newaliases,
}

impl Command {
    fn of(name: &OsStr) -> Option<Self> {
        match name.to_str()? {
            "sendmail" => Some(Self::Sendmail),
            "mailq" => Some(Self::Mailq),
            "newaliases" => Some(Self::Newaliases),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Sendmail => "sendmail",
            Self::Mailq => "mailq",
            Self::Newaliases => "newaliases",
        }
    }
}

/// The command that this process was called as, by the name of the binary or its first argument, and what follows.
pub fn called(mut arguments: impl Iterator<Item = OsString>) -> Option<(Command, Vec<OsString>)> {
    let binary = arguments.next()?;
    let by_name = Path::new(&binary).file_name().and_then(Command::of);
    let command = match by_name {
        Some(command) => command,
        None => Command::of(&arguments.next()?)?,
    };
    Some((command, arguments.collect()))
}

/// Does as the command and its arguments say. `config` is the configuration file, where the arguments name none.
pub async fn run(command: Command, arguments: Vec<OsString>, config: Option<&Path>) -> Exit {
    match perform(command, arguments, config).await {
        Ok(status) => Exit::Sysexits(status),
        Err(Failure { status, text }) => {
            // Nobody is left to be told if this fails.
            let _ = writeln!(io::stderr(), "{}: {text}", command.name());
            Exit::Sysexits(status)
        }
    }
}

async fn perform(
    command: Command,
    arguments: Vec<OsString>,
    config: Option<&Path>,
) -> Result<Status, Failure> {
    let options = Options::parse(arguments)?;
    let config = options.config.as_deref().or(config);
    let mode = match command {
        _ if options.mode == Mode::Help => Mode::Help,
        Command::Sendmail => options.mode,
        Command::Mailq => Mode::Queue,
        Command::Newaliases => Mode::Aliases,
    };
    match mode {
        Mode::Deliver => deliver(&options, &Place::find(config)?),
        Mode::Session => session::run(&Place::find(config)?, &options),
        Mode::Queue => mailq::run(config).await,
        Mode::Aliases => newaliases::run(&Place::find(config)?).await,
        Mode::Flush => flush::run(config, options.flushed).await,
        Mode::Nothing => Ok(Status::Ok),
        Mode::Help => {
            // Nobody may be left to be told.
            let _ = io::stdout().write_all(help::text(command).as_bytes());
            Ok(Status::Ok)
        }
    }
}

fn deliver(options: &Options, place: &Place) -> Result<Status, Failure> {
    let mut recipients = options.recipients()?;
    if recipients.is_empty() && !options.from_header {
        let text = "name recipients as arguments, or have them taken from the header with -t";
        return Err(Failure::new(Status::Usage, text));
    }
    let letter = Letter::read(&mut io::stdin().lock(), options.dot_ends, place.message_bytes)?;
    if options.from_header {
        recipients.extend(letter.recipients()?);
        if recipients.is_empty() {
            let text = "the header names no recipients";
            return Err(Failure::new(Status::Usage, text));
        }
    }
    let user = user::caller();
    let dropped = options.envelope(&user, recipients)?;
    letter.demand_acceptable(&dropped)?;
    drop::leave(place, &dropped, letter.octets())?;
    Ok(Status::Ok)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn of(arguments: &[&str]) -> Option<(Command, Vec<OsString>)> {
        called(arguments.iter().map(OsString::from))
    }

    #[test]
    fn the_name_of_the_binary_or_the_first_argument_decides() {
        let with = |command, rest: &[&str]| Some((command, rest.iter().map(OsString::from).collect()));
        assert_eq!(
            of(&["/usr/sbin/sendmail", "-t"]),
            with(Command::Sendmail, &["-t"])
        );
        assert_eq!(of(&["mailq"]), with(Command::Mailq, &[]));
        assert_eq!(of(&["newaliases"]), with(Command::Newaliases, &[]));
        assert_eq!(
            of(&["/usr/bin/dimed", "sendmail", "-i"]),
            with(Command::Sendmail, &["-i"])
        );
        assert_eq!(of(&["dimed", "serve"]), None);
        assert_eq!(of(&["dimed"]), None);
    }
}
