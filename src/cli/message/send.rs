//! `dimed message send`.

use std::io::Write;

use clap::Args;
use rand::RngExt;
use serde_json::json;

use super::input::{self, Kind, Object};
use crate::cli::answer::Answer;
use crate::cli::files::{FileName, check_inputs};
use crate::cli::submit::{Account, Error, Session};
use crate::cli::{Exit, Misuse};
use crate::dmtp::client::Message;
use crate::dmtp::command::CommitHash;
use crate::mail::address::Domain;

/// Submit a sealed message to the author's server, which checks and signs it and sends it on.
///
/// The session is DMTP on the submission port: STARTTLS HOST MODE=DMTPv1, AUTH, MAIL, RCPT, DATA.
/// The server's certificate must be good for HOST. What the server learns is the author, the
/// recipient's domain, and the size; the recipient is named inside the sealed message alone.
///
/// Sending the same file again is safe: the server knows a message that it has taken, and takes it
/// once. A message is taken for a day after it was sealed; after that, seal it again.
///
/// Exit codes: 0 the server has it; 1 refused, by the server or because of its certificate; 2 usage,
/// or a file that cannot be read; 75 the server cannot be reached, or cannot take it now.
///
/// Examples:
///
///     dimed message send --sealed letter.dmime --destination example.net \
///         --submit mx.example.org --user alice@example.org --password-file login.txt
#[derive(Debug, Args)]
#[command(
    verbatim_doc_comment,
    override_usage = "dimed message send --sealed FILE --destination DOMAIN --submit HOST[:PORT] --user ADDRESS"
)]
pub struct Send {
    /// Sealed message; - is standard input.
    #[arg(long, value_name = "FILE")]
    sealed: FileName,
    /// The recipient's domain.
    #[arg(long, value_name = "DOMAIN")]
    destination: Domain,
    #[command(flatten)]
    account: Account,
}

/// Submits.
pub async fn run(arguments: &Send, json: bool, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let files = [&arguments.sealed].into_iter();
    check_inputs(files.chain(&arguments.account.access.password_file))?;
    let mut object = input::object(&arguments.sealed)?;
    if object.kind == Kind::Returned {
        return Err(Misuse(format!("{} is a returned message", arguments.sealed)).into());
    }
    let password = arguments.account.access.password()?;
    let mut session = match Session::open(&arguments.account, &password).await {
        Ok(session) => session,
        Err(error) => return error.conclude(json, out),
    };
    match submit(arguments, &mut session, &mut object).await {
        Ok(id) => {
            session.quit().await;
            tell(arguments, id, json, out)
        }
        Err(error) => error.conclude(json, out),
    }
}

async fn submit(
    arguments: &Send,
    session: &mut Session,
    object: &mut Object,
) -> Result<Option<String>, Error> {
    let name = &arguments.sealed;
    let unreadable = input::unreadable(name);
    let size = object.file.metadata().map_err(unreadable)?.len();
    let message = Message {
        origin: arguments.account.user.domain().clone(),
        origin_signet: None,
        destination: arguments.destination.clone(),
        destination_signet: None,
        size,
        returning: None,
        commit: token(),
    };
    session.send(message, name, &mut object.file).await
}

/// What DATA calls the message; any token will do.
fn token() -> CommitHash {
    let octets: [u8; 16] = rand::rng().random();
    CommitHash::from_octets(&octets)
}

fn tell(arguments: &Send, id: Option<String>, json: bool, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let host = &arguments.account.submit.host;
    let named = id.as_ref().map_or_else(String::new, |id| format!(" as {id}"));
    let answer = Answer {
        text: format!("{host} has taken {}{named}.\n", arguments.sealed),
        json: json!({ "result": "submitted", "host": host.to_string(), "id": id }),
    };
    answer.write(json, out)?;
    Ok(Exit::Done)
}
