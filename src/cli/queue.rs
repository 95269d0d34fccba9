//! `dimed queue …`: works while the daemon runs, and while it does not.

mod change;
mod drain;
mod filter;
mod list;
mod show;
mod stats;

use std::io::Write;

use clap::Subcommand;

use self::change::Change;
use super::Exit;
use crate::config::Config;

/// Commands about messages on their way.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List what waits, oldest first.
    List(list::Arguments),
    /// Show where a message is for each recipient, and what has become of it so far.
    Show(show::Arguments),
    /// Keep mail from being delivered until it is released; what is being tried right now may arrive, and the answer says how
    /// much that is. What was held as it came is not deleted any more when its time is over.
    Hold(change::OrAll),
    /// Have held mail delivered, what was set aside as unreadable included. How long it is tried (`queue.lifetime_secs`) counts
    /// from then on.
    Release(change::OrAll),
    /// Have waiting mail tried at once instead of when its next attempt is due. Held mail stays held.
    Retry(change::OrAll),
    /// Have everything that waits tried at once, or what fits.
    Flush(change::Arguments),
    /// Delete mail; what is being tried right now may still arrive, and the answer says how much that is. By default nobody is
    /// told, as with `postsuper -d`; with `--report` the author gets a report that an operator has deleted it, where the author
    /// wants to know of failures.
    Delete(change::Deleted),
    /// Have a node take nothing new: no mail by SMTP, DMTP or from the host, and no attempt. What is under way is finished, and the
    /// daemon stays.
    ///
    /// For maintenance. That a node is drained is in the database, so it holds after a restart, too, and whether the daemon runs or not.
    Drain(drain::Arguments),
    /// The queue in numbers. A file of SQLite is only read, beside whoever writes into it.
    Stats(stats::Arguments),
}

/// Does as the command says.
pub async fn run(command: Command, config: Config, out: &mut dyn Write) -> anyhow::Result<Exit> {
    match command {
        Command::List(arguments) => list::run(&arguments, config, out).await,
        Command::Show(arguments) => show::run(&arguments, config, out).await,
        Command::Hold(what) => change::some_or_all(Change::Hold, &what, config, out).await,
        Command::Release(what) => change::some_or_all(Change::Release, &what, config, out).await,
        Command::Retry(what) => change::some_or_all(Change::Retry, &what, config, out).await,
        Command::Flush(arguments) => change::run(Change::Retry, &arguments, config, out).await,
        Command::Delete(deleted) => change::delete(&deleted, config, out).await,
        Command::Drain(arguments) => drain::run(&arguments, config, out).await,
        Command::Stats(arguments) => stats::run(&arguments, config, out).await,
    }
}
