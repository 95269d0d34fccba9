//! `dimed log …`: what stands in the log.

use std::io::Write;
use std::path::Path;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::answer::Answer;
use super::context::Context;
use super::{Exit, load};
use crate::accounts::{self, Resolution, Target};
use crate::base::observe::{Class, EVENTS, Event, FIELDS, Field};
use crate::mail::address::Mailbox;

/// Commands about the log.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Print every event that the log can have, with its level, class and fields.
    Events(Form),
    /// Print what stands in the log in the place of an address, to search for: `sender` or `recipient`.
    ///
    /// Where mail for the address goes to others, by an alias or without its detail, lines about its delivery name them: their hashes
    /// follow, each on a line.
    ///
    /// Mail that goes or came by DMTP has its two ends in lines that no id joins: search for one address at a time.
    Hash(Hash),
}

/// For people or for programs.
#[derive(Debug, Args)]
pub struct Form {
    /// One JSON object.
    #[arg(long)]
    json: bool,
}

/// Whose hash.
#[derive(Debug, Args)]
pub struct Hash {
    /// An address. Upper and lower case are the same.
    #[arg(value_name = "ADDRESS")]
    address: Mailbox,
    #[command(flatten)]
    form: Form,
}

/// Does as the command says; only hashes need an installation.
pub async fn run(command: Command, config: &Path, out: &mut dyn Write) -> anyhow::Result<Exit> {
    match command {
        Command::Events(form) => events().write(form.json, out)?,
        Command::Hash(Hash { address, form }) => {
            let context = Context::open(load(config)?).await?;
            hashes(&context, &address).await?.write(form.json, out)?;
        }
    }
    Ok(Exit::Done)
}

/// Of the address, and of those that get its mail: lines about a delivery name them alone.
async fn hashes(context: &Context, address: &Mailbox) -> anyhow::Result<Answer> {
    let names = context.config.log.names(context.store.as_ref());
    let hash = names.hash(address);
    let mut text = format!("{hash}\n");
    let mut objects = Vec::new();
    for reached in reached(context, address).await? {
        let of_reached = names.hash(&reached);
        if of_reached != hash {
            text += &format!("{of_reached}\n");
            objects.push(json!({ "address": reached.to_string(), "hash": of_reached }));
        }
    }
    let json = json!({ "address": address.to_string(), "hash": hash, "leads_to": objects });
    Ok(Answer { text, json })
}

/// Nobody where it is nobody's, or somebody else's.
async fn reached(context: &Context, address: &Mailbox) -> anyhow::Result<Vec<Mailbox>> {
    let targets = match context.accounts().resolve(address).await {
        Ok(Resolution::Targets(targets)) => targets,
        Ok(Resolution::Unknown | Resolution::NotLocal)
        | Err(accounts::Error::AliasLoop | accounts::Error::AliasesUnread) => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let address = |target| match target {
        Target::Local(account) => account.address,
        Target::Remote(mailbox) => mailbox,
    };
    Ok(targets.into_iter().map(address).collect())
}

fn events() -> Answer {
    let classes = Class::ALL
        .iter()
        .map(|class| format!("{}\n    {}\n", class.target(), class.retention()));
    let mut text = "Classes, by target:\n\n".to_owned();
    text.extend(classes);
    text += "\nEvents (target, levels):\n\n";
    text.extend(EVENTS.iter().map(in_words));
    text += "\nFields (and timestamp, level, target, event, and message, a sentence for people):\n\n";
    let fields = FIELDS
        .iter()
        .map(|Field { name, shape, meaning }| format!("{name} ({shape})\n    {meaning}\n"));
    text.extend(fields);
    Answer {
        text,
        json: json!({
            "classes": Class::ALL.map(class_object),
            "events": EVENTS.iter().map(event_object).collect::<Vec<_>>(),
            "fields": FIELDS.iter().map(field_object).collect::<Vec<_>>(),
        }),
    }
}

fn in_words(event: &Event) -> String {
    let mut text = format!(
        "{} ({}, {})\n    {}\n",
        event.name,
        event.class.target(),
        levels(event).join(" or "),
        event.meaning()
    );
    for (what, fields) in [("fields", event.fields), ("if they apply", event.optional)] {
        if !fields.is_empty() {
            text += &format!("    {what}: {}\n", fields.join(", "));
        }
    }
    text
}

fn levels(event: &Event) -> Vec<&'static str> {
    event.levels.iter().map(|level| level.name()).collect()
}

fn class_object(class: Class) -> Value {
    json!({ "target": class.target(), "retention": class.retention() })
}

fn event_object(event: &Event) -> Value {
    json!({
        "name": event.name,
        "target": event.class.target(),
        "levels": levels(event),
        "fields": event.fields,
        "optional": event.optional,
        "meaning": event.meaning(),
    })
}

fn field_object(field: &Field) -> Value {
    json!({ "name": field.name, "shape": field.shape, "meaning": field.meaning })
}
