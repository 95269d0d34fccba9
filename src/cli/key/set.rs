//! `dimed key set …` and `dimed key opt-out`.

mod ahead;
mod import;
mod show;

use std::io::Write;
use std::path::Path;

use clap::{Args, Subcommand};
use serde_json::json;

use crate::base::observe;
use crate::cli::answer::Answer;
use crate::cli::context::Context;
use crate::cli::serve::start_log;
use crate::cli::{Exit, Misuse, audit, load};
use crate::dime::signet::Signet;
use crate::dmtp::name::Name;
use crate::signet_service::{self, Offer};
use crate::store;

/// Key sets of D/MIME 2: sign future ones ahead, publish them, see what is there.
///
/// The keys of D/MIME 2 stand in signets and are replaced every two weeks. The server does that for organizations
/// and for users whose keys it keeps. A user whose keys are at home signs key sets ahead, with --ahead and without a daemon or
/// configuration, and hands the public file to the server, which publishes each when it is due:
///
///     dimed key set --ahead 12 --key alice-example.org.key --signet alice.signet --out next.keyset
///     dimed key set import alice@example.org next.keyset --submit mx.example.org
///
/// The private halves are written to a file of their own, with mode 0600; they are needed to read mail, each until
/// 16 days after its key set has expired, and should be destroyed then.
///
/// Exit codes: 0 done; 1 a key, signet or key set is not valid; 2 usage, or a file that cannot be read or written; 75 the
/// server cannot be reached; 78 the configuration, which show, renew, accept, and import without --submit need, cannot be
/// used.
#[derive(Debug, Args)]
#[command(
    verbatim_doc_comment,
    args_conflicts_with_subcommands = true,
    arg_required_else_help = true
)]
pub struct Set {
    #[command(flatten)]
    ahead: ahead::Ahead,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    Import(import::Import),
    /// Say what is known of somebody's key sets; without a name, whose key sets signed ahead run out.
    Show {
        /// A domain or address, here or elsewhere.
        name: Option<Name>,
    },
    /// Replace the key set of a domain, or of a user whose keys are kept here, ahead of its time.
    ///
    /// Do this when its private keys may be known to others. They are kept for what is under way, as with every key set
    /// that was replaced; no new mail is sealed with them once senders have the new signet.
    Renew {
        /// The domain or address.
        name: Name,
    },
    /// Take whatever key set and signing key somebody has next as if never seen before.
    ///
    /// Do this after asking the other side, when mail waits because their signing key has changed without proof, or because
    /// they no longer have keys for D/MIME 2.
    Accept {
        /// The domain or address.
        name: Name,
    },
}

/// Say in a signet of ours, signed, that its owner has no keys for D/MIME 2; mail then comes in D/MIME 1.
///
/// Others who insist on D/MIME 2, or who have seen keys of an organization before, hold their mail. The private keys stay for
/// as long as mail may be under way. A user whose keys are at home signs the same with `dimed key set --ahead N --opt-out`.
#[derive(Debug, Args)]
pub struct OptOut {
    /// The domain or address.
    name: Name,
    /// Come back: make new keys.
    #[arg(long)]
    undo: bool,
}

/// Does as the command says; the configuration at `path` is read where it is needed.
pub async fn run(set: Set, path: &Path, json: bool, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let Some(command) = set.command else {
        return ahead::run(&set.ahead, json, out);
    };
    let open = async || Context::open(load(path)?).await;
    match command {
        Command::Import(import) => import::run(&import, path, json, out).await,
        Command::Show { name: Some(name) } => show::run(&open().await?, &name, json, out).await,
        Command::Show { name: None } => show::running_out(&open().await?, json, out).await,
        Command::Renew { name } => renew(&open().await?, &name, json, out).await,
        Command::Accept { name } => accept(&open().await?, &name, json, out).await,
    }
}

/// Opts out, or back in.
pub async fn opt_out(opt_out: OptOut, path: &Path, json: bool, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let context = Context::open(load(path)?).await?;
    let offer = match opt_out.undo {
        true => Offer::Keys,
        false => Offer::OptOut,
    };
    let name = &opt_out.name;
    replace(&context, name, offer).await?;
    let change = if opt_out.undo { "opted_in" } else { "opted_out" };
    audit::key_set(&context, name.domain(), change);
    let text = match opt_out.undo {
        true => format!("{name} has keys for D/MIME 2 again.\n"),
        false => format!("{name} has opted out of D/MIME 2.\n"),
    };
    let answer = Answer {
        text,
        json: json!({ "result": "done", "name": name.to_string(), "opted_out": !opt_out.undo }),
    };
    answer.write(json, out)?;
    Ok(Exit::Done)
}

async fn replace(context: &Context, name: &Name, offer: Offer) -> anyhow::Result<()> {
    let published = context.published();
    let done = match name {
        Name::Organization(domain) => published.renew_organization(domain, offer).await.map(drop),
        Name::User(address) => published.renew_user(address, offer).await.map(drop),
    };
    done.map_err(|error| {
        let text = match error {
            signet_service::Error::NoKeys => format!(
                "the keys of {name} are at home: `dimed key set --ahead N` signs key sets there, with --opt-out that there are none"
            ),
            _ => format!("the key set of {name} cannot be replaced"),
        };
        anyhow::Error::new(error).context(text)
    })
}

async fn renew(context: &Context, name: &Name, json: bool, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let current = context.store.current_signet(&name.to_string()).await?;
    let current = current.map(|stored| Signet::decode(&stored.object)).transpose()?;
    if current.is_some_and(|signet| Offer::after(&signet) == Offer::OptOut) {
        let text =
            format!("{name} has opted out of D/MIME 2: `dimed key opt-out {name} --undo` makes keys again");
        return Err(Misuse(text).into());
    }
    replace(context, name, Offer::Keys).await?;
    audit::key_set(context, name.domain(), "renewed");
    let answer = Answer {
        text: format!("{name} has a new key set.\n"),
        json: json!({ "result": "done", "name": name.to_string() }),
    };
    answer.write(json, out)?;
    Ok(Exit::Done)
}

async fn accept(context: &Context, name: &Name, json: bool, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let text = name.to_string();
    context.store.forget_remote_signets(&text).await?;
    let dropped = context.store.forget_key_set_pin(&store::fold_name(&text)).await?
        | context.store.forget_custody_pin(&text).await?;
    if dropped {
        start_log(&context.config);
        tracing::warn!(event = observe::KEY_SET_ACCEPTED, domain = %name.domain(),
            "by order of an operator, what was seen of somebody's keys is forgotten, and what is found next is accepted");
    }
    let answer = Answer {
        text: match dropped {
            true => {
                format!("What was seen of the keys of {name} is forgotten; what is found next is accepted.\n")
            }
            false => format!("Nothing was known of the keys of {name}.\n"),
        },
        json: json!({ "result": "done", "name": text, "dropped": dropped }),
    };
    answer.write(json, out)?;
    Ok(match dropped {
        true => Exit::Done,
        false => Exit::No,
    })
}
