//! Another configuration for a running daemon: its side, and that of whoever orders it.

use std::io::{self, ErrorKind, Write};
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use clap::Args;
use serde_json::json;

use super::{READY, log};
use crate::base::causes::without_addresses;
use crate::base::{observe, regular};
use crate::cli::answer::{Answer as Told, printable};
use crate::cli::{Exit, exit, load};
use crate::config::{self, Config};
use crate::daemon::reload::{self, Answer, Reloaded, Reloader};
use crate::daemon::supervisor::Supervisor;

/// How to answer.
#[derive(Debug, Args)]
pub struct Arguments {
    /// One JSON object.
    #[arg(long)]
    json: bool,
}

/// Has the daemon of this installation read its configuration again, and waits for what comes of it.
pub async fn ask(arguments: &Arguments, config: Config, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let data = &config.server.data_directory;
    let answer = match reload::ask(data).await {
        Ok(answer) => answer,
        Err(error) => unheard(error, data)?,
    };
    let text = printable(&answer.text);
    let exit = heard(answer.exit);
    if exit != Exit::Done {
        // Nobody is left to be told if this fails.
        let _ = writeln!(io::stderr(), "dimed: {text}");
        if arguments.json {
            writeln!(out, "{:#}", exit::object(exit, &answer.text))?;
        }
        return Ok(exit);
    }
    let told = Told {
        text: format!("{text}.\n"),
        json: json!({ "result": "done", "message": answer.text }),
    };
    told.write(arguments.json, out)?;
    Ok(exit)
}

/// What to say where nobody has answered.
fn unheard(error: io::Error, data: &Path) -> anyhow::Result<Answer> {
    let text = match error.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => format!(
            "no daemon is running from {}; one that was started with another server.data_directory needs a restart",
            data.display()
        ),
        ErrorKind::UnexpectedEof
        | ErrorKind::BrokenPipe
        | ErrorKind::ConnectionReset
        | ErrorKind::TimedOut => format!(
            "the daemon has not answered ({error}): it may be stopping, or have much to read; try again"
        ),
        _ => return Err(error).context("the daemon cannot be asked"),
    };
    Ok(Answer {
        exit: Exit::TryLater.code(),
        text,
    })
}

/// As the command would have ended if it had done here what the daemon has.
fn heard(code: u8) -> Exit {
    let all = [Exit::Done, Exit::Usage, Exit::TryLater, Exit::Configuration];
    all.into_iter()
        .find(|exit| exit.code() == code)
        .unwrap_or(Exit::No)
}

/// What a daemon needs to read its configuration again.
pub struct Reload<'a> {
    pub path: &'a Path,
    pub supervisor: &'a Arc<Supervisor>,
    pub reloader: &'a Reloader,
}

impl Reload<'_> {
    /// Reads it, tells everybody, and says what came of it.
    pub async fn run(&self) -> Answer {
        self.supervisor.reloading();
        let answer = match self.read().await {
            Ok(reloaded) => accepted(&reloaded),
            Err(error) => refused(&error),
        };
        let status = match answer.exit {
            0 => READY.to_owned(),
            _ => format!("{READY}; another configuration was refused: {}", answer.text),
        };
        // Also after a refusal: what was there before goes on.
        self.supervisor.ready(&status);
        answer
    }

    async fn read(&self) -> anyhow::Result<Reloaded> {
        let path = self.path.to_owned();
        let loading = move || {
            // A pipe would be waited for. What else is wrong with the file is told by whoever reads it.
            match regular::open(&path) {
                Err(source) if source.kind() == ErrorKind::InvalidInput => {
                    Err(config::Error::Unreadable { path, source })
                        .context("the configuration cannot be used")
                }
                _ => load(&path),
            }
        };
        let config = self.reloader.aside(loading).await??;
        let level = config.log.level;
        let reloaded = self.reloader.reload(config).await?;
        log::set_level(level);
        Ok(reloaded)
    }
}

fn accepted(reloaded: &Reloaded) -> Answer {
    let keys = reloaded.needs_restart.join(", ");
    let mut text = String::from("the configuration has been read again and is in use");
    if keys.is_empty() {
        tracing::info!(event = observe::DAEMON_RELOADED, "{text}");
    } else {
        tracing::info!(
            event = observe::DAEMON_RELOADED,
            keys,
            "the configuration has been read again and is in use, but for what needs a restart"
        );
        text = format!("{text}, but for what needs a restart: {keys}");
    }
    if reloaded.certificate_waits {
        text += "; the new certificate for DMTP is used once DNS has vouched for it for a while (`dimed dns records`)";
    }
    Answer {
        exit: Exit::Done.code(),
        text,
    }
}

fn refused(error: &anyhow::Error) -> Answer {
    let told = exit::told(error);
    tracing::error!(
        event = observe::DAEMON_RELOAD_REFUSED,
        error = without_addresses(&told),
        "another configuration cannot be used; the one from before stays"
    );
    Answer {
        exit: Exit::of(error).code(),
        text: told,
    }
}
