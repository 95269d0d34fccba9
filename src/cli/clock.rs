//! `dimed clock …`: whether the daemon trusts the time.

use std::io::Write;

use clap::{Args, Subcommand};
use serde_json::json;

use super::answer::Answer;
use super::context::Context;
use super::{Exit, audit};
use crate::base::time::Timestamp;
use crate::config::Config;
use crate::mail::date::rfc5322;

/// Commands about the clock.
///
/// If the time jumps by more than an hour, or is that far from where the daemon last saw it, it may be wrong. Until it is
/// plausible again, no message comes back for its age, no pin and no entry against replays expires, and no key is destroyed. A clock
/// that is ahead is trusted again after a day without another jump, for the machine may have been off; one that was set back,
/// once it is right again or you confirm it.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Say whether the daemon trusts the time. Exit code 1: it does not.
    Show(Form),
    /// Say that the time is right as it is now. A running daemon finds out within seconds.
    Confirm(Form),
}

/// For people or for programs.
#[derive(Debug, Args)]
pub struct Form {
    /// One JSON object.
    #[arg(long)]
    json: bool,
}

/// Does as the command says.
pub async fn run(command: Command, config: Config, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let context = Context::open(config).await?;
    let now = context.now();
    let (form, is_doubted) = match command {
        Command::Show(form) => {
            let record = context.store.clock_record().await?;
            (form, record.is_some_and(|record| record.is_doubted))
        }
        Command::Confirm(form) => {
            context.store.confirm_clock(now).await?;
            audit::clock(&context);
            (form, false)
        }
    };
    answer(now, is_doubted).write(form.json, out)?;
    Ok(if is_doubted { Exit::No } else { Exit::Done })
}

fn answer(now: Timestamp, is_doubted: bool) -> Answer {
    let time = rfc5322(now);
    let text = match is_doubted {
        true => format!(
            "The clock says {time}, which the daemon does not trust. `dimed clock confirm` says that it is right.\n"
        ),
        false => format!("The clock says {time}, which is trusted.\n"),
    };
    Answer {
        text,
        json: json!({ "result": if is_doubted { "doubted" } else { "trusted" }, "time": now.unix_secs() }),
    }
}
