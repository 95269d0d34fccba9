//! The command line, one file per family of commands.
//!
//! Arguments are parsed first and given meaning after that. Output is for people; `--json` is for programs: what every family
//! says then is JSON on standard output, of failures, too, and times in it are Unix seconds.

mod account;
mod acme;
mod alias;
pub mod answer;
mod audit;
mod block;
mod bulk;
mod check;
mod clock;
mod context;
pub mod demo;
mod dkim;
mod dns;
mod doctor;
mod domain;
mod exit;
pub mod files;
mod greylist;
pub mod key;
mod log;
mod lost;
pub mod message;
mod pages;
mod queue;
mod record;
mod reference;
pub mod refusal;
mod route;
pub mod sendmail;
pub mod serve;
mod setup;
pub mod signet;
mod store;
pub mod submit;
mod terminal;
mod traces;
mod trap;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Parser, Subcommand};

use crate::config::{self, Config};

pub use exit::{Exit, Misuse};

/// How long the end of a process waits for work that nobody waits for any more.
const ENDED_WITHIN: Duration = Duration::from_secs(5);

/// Dual-mode mail transfer daemon: SMTP and DMTP side by side.
#[derive(Debug, Parser)]
#[command(name = "dimed", version, max_term_width = 100)]
pub struct Arguments {
    /// Configuration file.
    #[arg(long, global = true, value_name = "FILE", env = "DIMED_CONFIG", default_value = config::DEFAULT_PATH)]
    pub config: PathBuf,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The families of commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the daemon until it is told to stop.
    Serve,
    /// Have the running daemon read its configuration and certificates again, and say what came of it.
    Reload(serve::ReloadArguments),
    #[allow(
        missing_docs,
        reason = "its arguments have the documentation, which is the help"
    )]
    Setup(Box<setup::Arguments>),
    /// Two complete organizations on loopback exchange mail, and what everybody could read is shown.
    Demo(demo::Arguments),
    /// Read the configuration, its certificates and the master key, and say what is wrong with them.
    Check(check::Arguments),
    /// Look at everything that mail rests on, in DNS, in the network and on this machine, and say what to do about what is wrong.
    Doctor(Box<doctor::Arguments>),
    /// What the configuration file can say.
    #[command(subcommand)]
    Config(reference::Command),
    /// Domains that are served here.
    #[command(subcommand)]
    Domain(domain::Command),
    /// Users.
    #[command(subcommand)]
    Account(account::Command),
    /// Other addresses of users, here or elsewhere.
    #[command(subcommand)]
    Alias(alias::Command),
    #[allow(
        missing_docs,
        reason = "its arguments have the documentation, which is the help"
    )]
    Signet(signet::Arguments),
    #[allow(
        missing_docs,
        reason = "its arguments have the documentation, which is the help"
    )]
    Key(key::Arguments),
    #[allow(
        missing_docs,
        reason = "its arguments have the documentation, which is the help"
    )]
    Message(Box<message::Arguments>),
    /// Who is refused on DMTP.
    #[command(subcommand)]
    Block(block::Command),
    /// Addresses that nobody writes to but spammers.
    #[command(subcommand)]
    Trap(trap::Command),
    /// Who was asked to come again, and who has.
    #[command(subcommand)]
    Greylist(greylist::Command),
    #[allow(
        missing_docs,
        reason = "its arguments have the documentation, which is the help"
    )]
    Dkim(dkim::Arguments),
    /// The account with the authority that issues the certificate for SMTP.
    #[command(subcommand)]
    Acme(acme::Command),
    /// What to publish in DNS, and whether DNS says it.
    #[command(subcommand)]
    Dns(dns::Command),
    /// Messages on their way.
    #[command(subcommand)]
    Queue(queue::Command),
    /// The database: checks, backups.
    #[command(subcommand)]
    Store(store::Command),
    /// Which way mail takes.
    #[command(subcommand)]
    Route(route::Command),
    /// Whether the daemon trusts the time.
    #[command(subcommand)]
    Clock(clock::Command),
    /// What stands in the log.
    #[command(subcommand)]
    Log(log::Command),
    /// Send a message of a program or user of this host, as `sendmail` of Postfix does.
    #[command(disable_help_flag = true)]
    Sendmail(Foreign),
    /// List what waits, as `mailq` of Postfix does.
    #[command(disable_help_flag = true)]
    Mailq(Foreign),
    /// Say whether the file of aliases can be used, and how many it has.
    #[command(disable_help_flag = true)]
    Newaliases(Foreign),
    /// Write the manual pages of all commands and of the configuration file, for packages.
    #[command(hide = true)]
    Man(pages::Pages),
    /// Print what has a shell complete our commands, for packages.
    #[command(hide = true)]
    Completions(pages::Completions),
}

/// Arguments of a command that has its own ways.
#[derive(Debug, clap::Args)]
pub struct Foreign {
    /// As the manual of Postfix has them.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

/// Parses the arguments of this process and does as they say.
pub fn main() -> ExitCode {
    if let Some((command, arguments)) = sendmail::called(std::env::args_os()) {
        return called(command, arguments);
    }
    let for_programs = are_for_programs(std::env::args_os());
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            if for_programs && error.use_stderr() {
                let _ = writeln!(io::stdout(), "{:#}", exit::object(Exit::Usage, &misuse(&error)));
            }
            error.exit()
        }
    };
    // The demo runs daemons, and calls commands for each.
    if !matches!(arguments.command, Command::Demo(_)) {
        audit::in_own_process();
    }
    let done = tokio::runtime::Runtime::new()
        .context("the runtime cannot be started")
        .and_then(|runtime| {
            let done = runtime.block_on(run(arguments, &mut Printed(io::stdout())));
            // Somebody may still wait for a file that never comes.
            runtime.shutdown_timeout(ENDED_WITHIN);
            done
        });
    serve::flush_log();
    match done {
        Ok(exit) => exit.into(),
        Err(error) if nobody_reads(&error) => Exit::Done.into(),
        Err(error) => {
            let told = exit::told(&error);
            let exit = Exit::of(&error);
            // Nobody is left to be told if this fails.
            let _ = writeln!(io::stderr(), "dimed: {}", answer::printable(&told));
            if for_programs {
                let _ = writeln!(io::stdout(), "{:#}", exit::object(exit, &told));
            }
            exit.into()
        }
    }
}

/// A command that has its own arguments. Whoever calls it names the configuration in the environment, if at all.
fn called(command: sendmail::Command, arguments: Vec<OsString>) -> ExitCode {
    let config = std::env::var_os("DIMED_CONFIG").map(PathBuf::from);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime {
        Ok(runtime) => runtime
            .block_on(sendmail::run(command, arguments, config.as_deref()))
            .into(),
        Err(_) => Exit::TryLater.into(),
    }
}

/// Does what `arguments` say; what people or programs asked for is written to `out`.
pub async fn run(arguments: Arguments, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let path = arguments.config.as_path();
    match arguments.command {
        Command::Serve => with(path, |config| serve::run(config, path)).await,
        Command::Reload(arguments) => {
            let arguments = &arguments;
            with(path, move |config| serve::ask(arguments, config, out)).await
        }
        Command::Setup(arguments) => apart(move || setup::run(*arguments, path, out)).await,
        Command::Demo(arguments) => apart(move || demo::run(arguments, out)).await,
        Command::Check(arguments) => {
            let arguments = &arguments;
            apart(move || check::run(arguments, path, out)).await
        }
        Command::Doctor(arguments) => {
            with(path, move |config| doctor::run(*arguments, path, config, out)).await
        }
        Command::Config(command) => reference::run(&command, out),
        Command::Domain(command) => with(path, move |config| domain::run(command, path, config, out)).await,
        Command::Account(command) => with(path, move |config| account::run(command, config, out)).await,
        Command::Alias(command) => with(path, move |config| alias::run(command, config, out)).await,
        Command::Signet(arguments) => apart(move || signet::run(arguments, path, out)).await,
        Command::Key(arguments) => apart(move || key::run(arguments, path, out)).await,
        Command::Message(arguments) => apart(move || message::run(*arguments, out)).await,
        Command::Block(command) => with(path, move |config| block::run(command, config, out)).await,
        Command::Trap(command) => with(path, move |config| trap::run(command, config, out)).await,
        Command::Greylist(command) => with(path, move |config| greylist::run(command, config, out)).await,
        Command::Clock(command) => with(path, move |config| clock::run(command, config, out)).await,
        Command::Log(command) => apart(move || log::run(command, path, out)).await,
        Command::Dkim(arguments) => apart(move || dkim::run(arguments, path, out)).await,
        Command::Acme(command) => with(path, move |config| acme::run(command, config, out)).await,
        Command::Dns(command) => with(path, move |config| dns::run(command, config, out)).await,
        Command::Queue(command) => with(path, move |config| queue::run(command, config, out)).await,
        Command::Store(command) => with(path, move |config| store::run(command, path, config, out)).await,
        Command::Route(command) => with(path, move |config| route::run(command, config, out)).await,
        Command::Sendmail(Foreign { arguments }) => {
            Ok(sendmail::run(sendmail::Command::Sendmail, arguments, Some(path)).await)
        }
        Command::Mailq(Foreign { arguments }) => {
            Ok(sendmail::run(sendmail::Command::Mailq, arguments, Some(path)).await)
        }
        Command::Newaliases(Foreign { arguments }) => {
            Ok(sendmail::run(sendmail::Command::Newaliases, arguments, Some(path)).await)
        }
        Command::Man(arguments) => pages::write(&arguments, out),
        Command::Completions(arguments) => pages::complete(&arguments, out),
    }
}

/// A command, begun where it takes no room on the stack of whoever chooses among them: each is large.
fn apart<F: Future<Output = anyhow::Result<Exit>>>(begin: impl FnOnce() -> F) -> Pin<Box<F>> {
    Box::pin(begin())
}

/// A command about an installation.
async fn with<F>(path: &Path, begin: impl FnOnce(Config) -> F) -> anyhow::Result<Exit>
where
    F: Future<Output = anyhow::Result<Exit>>,
{
    let config = load(path)?;
    apart(|| begin(config)).await
}

/// What is wrong with the arguments, in one line, without the advice that is for people.
fn misuse(error: &clap::Error) -> String {
    let text = error.to_string();
    let first = text.split("\n\n").next().unwrap_or_default();
    let words: Vec<&str> = first.split_whitespace().collect();
    words.join(" ").trim_start_matches("error: ").to_owned()
}

pub(in crate::cli) fn load(path: &Path) -> anyhow::Result<Config> {
    Config::load(path).with_context(|| match path.exists() {
        true => String::from("the configuration cannot be used"),
        false => {
            String::from("there is no configuration (`dimed setup` writes one; or name one with --config)")
        }
    })
}

/// Whether a program is to be answered. Behind `--` there are names.
fn are_for_programs(arguments: impl Iterator<Item = OsString>) -> bool {
    arguments
        .take_while(|argument| argument != "--")
        .any(|argument| argument == "--json")
}

/// What commands print. Its failures are told from those of other files and sockets.
struct Printed<W>(W);

/// Whoever read what we print has seen enough.
#[derive(Debug, thiserror::Error)]
#[error("nobody reads the output")]
struct Unread;

impl<W: Write> Write for Printed<W> {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.0.write(octets).map_err(of_output)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush().map_err(of_output)
    }
}

fn of_output(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::BrokenPipe => io::Error::new(io::ErrorKind::BrokenPipe, Unread),
        _ => error,
    }
}

fn nobody_reads(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<io::Error>();
    error
        .and_then(io::Error::get_ref)
        .is_some_and(|inner| inner.is::<Unread>())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// Has no reader.
    struct Broken;

    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_has_gone_is_one_of_what_we_print() {
        let failed = |out: &mut dyn Write| anyhow::Error::new(writeln!(out, "line").unwrap_err());
        assert!(nobody_reads(&failed(&mut Printed(Broken))));
        // Such as a socket.
        assert!(!nobody_reads(&failed(&mut Broken)));
    }
}
