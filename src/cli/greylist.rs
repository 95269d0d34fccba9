//! `dimed greylist …`: who was asked to come again, and who has.

use std::io::Write;

use clap::{Args, Subcommand};
use serde_json::json;

use super::Exit;
use super::answer::Answer;
use super::context::Context;
use super::serve::start_log;
use crate::base::observe;
use crate::config::Config;

/// Commands about the greylist. It has hashes, so it cannot say whose they are.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show how many wait, and how many have come again.
    Show(Form),
    /// Forget all of them, so that everybody comes for the first time.
    Clear(Form),
}

/// How to answer.
#[derive(Debug, Args)]
pub struct Form {
    /// One JSON object.
    #[arg(long)]
    json: bool,
}

/// Does as `command` says.
pub async fn run(command: Command, config: Config, out: &mut dyn Write) -> anyhow::Result<Exit> {
    match command {
        Command::Show(form) => show(&form, config, out).await,
        Command::Clear(form) => clear(&form, config, out).await,
    }
}

async fn show(form: &Form, config: Config, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let context = Context::open(config).await?;
    let is_on = context.config.screening.greylist;
    let counts = context.store.greylist_counts(context.now()).await?;
    let state = if is_on { "on" } else { "off" };
    let text = format!(
        "Greylisting is {state}.\n{} wait, {} have come again, from {} networks.\n",
        counts.waiting, counts.proven, counts.networks
    );
    let json = json!({
        "result": "done", "on": is_on, "waiting": counts.waiting, "proven": counts.proven,
        "networks": counts.networks,
    });
    Answer { text, json }.write(form.json, out)?;
    Ok(Exit::Done)
}

async fn clear(form: &Form, config: Config, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let context = Context::open(config).await?;
    let forgotten = context.store.clear_greylist().await?;
    start_log(&context.config);
    tracing::warn!(
        event = observe::GREYLIST_CLEARED,
        "by order of an operator, the greylist is empty"
    );
    let text = format!("Forgotten: {forgotten}.\n");
    let json = json!({ "result": "done", "forgotten": forgotten });
    Answer { text, json }.write(form.json, out)?;
    Ok(Exit::Done)
}
