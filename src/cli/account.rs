//! `dimed account …`.

pub mod add;
mod change;
mod import;
mod remove;
mod senders;
mod show;
mod trust;

use std::io::Write;

use clap::{Args, Subcommand};

use super::Exit;
use super::context::Context;
use crate::config::Config;
use crate::mail::address::Mailbox;
use crate::store::Account;

/// Commands about users. What they change holds at once, also in the running daemon.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Add a user to a domain that is served here.
    ///
    /// In a domain with DIME a trustful user gets keys and a signet. The password is asked for on a terminal and
    /// otherwise read from standard input; where Dovecot checks passwords, there is none to give.
    Add(add::Add),
    /// Add many trustful users from a file.
    ///
    /// A line begins with an address; what follows behind `:`, `,` or a blank says nothing, so that files of Dovecot or Postfix
    /// will do. Passwords in them are not taken: nobody can log in before `passwd`, unless Dovecot checks passwords. Every line is
    /// reported. One that cannot be used keeps none of the others out, and the exit code is 1 then.
    Import(import::Import),
    /// List users.
    List(show::List),
    /// Show a user: aliases, signet, quota, and under which addresses they may write.
    Show(Address),
    /// Remove a user with everything that is kept of them but their mail.
    ///
    /// Private keys that are kept here are erased, wrapped ones of a cautious user, too, and the signets are out of service:
    /// nobody is told of them any more. Sealed mail for the user that is under way cannot be opened and comes back to its
    /// authors; others who know the user's keys hold new mail, and return it after some days. Mail that the user has
    /// submitted goes on if it need not be sealed any more. The Maildir stays where it is: whoever gets the same address
    /// later finds it, so move it away.
    Remove(remove::Remove),
    /// Keep a user from logging in, and from sending in sessions that are open.
    ///
    /// Mail still comes, into the mailbox as before, so that none is lost; `remove` ends that.
    Disable(Address),
    /// Let a user in again who was kept from logging in.
    Enable(Address),
    /// Give a user another password.
    ///
    /// It is asked for on a terminal and otherwise read from standard input. Sessions that were opened with the one before
    /// send nothing more. The passphrase of keys that a cautious user keeps here is another thing, and stays.
    Passwd(change::Passwd),
    /// Have somebody else hold a user's private keys.
    ///
    /// Keys do not move: a user whose keys are to come here, or to leave, gets others. So a signet over the present ones is to be taken
    /// out of service first (`dimed signet revoke`), and whoever has seen it holds mail for the user until they accept the next one. A
    /// user who becomes trustful gets keys and a signet at once; the others make keys at home and hand in a request.
    Trust(trust::ChangeTrust),
    /// Show how much a user's mailbox holds and may hold, or set how much it may hold.
    Quota(change::Quota),
    /// Let a user write under an address that does not lead to them.
    ///
    /// A user may always write under the own address, with a detail or without, and under aliases that lead to them alone.
    /// Mail under another address is sealed in the name of the account all the same: the other side is told so.
    Grant(senders::Sender),
    /// Take back that a user may write under an address.
    Withdraw(senders::Sender),
}

/// Which user.
#[derive(Debug, Args)]
pub struct Address {
    /// Address of the user.
    address: Mailbox,
    /// One JSON object.
    #[arg(long)]
    json: bool,
}

/// Does as the command says.
pub async fn run(command: Command, config: Config, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let context = Context::open(config).await?;
    match command {
        Command::Add(add) => add::add(&context, add, out).await,
        Command::Import(import) => import::import(&context, &import, out).await,
        Command::List(list) => show::list(&context, list, out).await,
        Command::Show(address) => show::show(&context, &address, out).await,
        Command::Remove(remove) => remove::remove(&context, &remove, out).await,
        Command::Disable(address) => change::disable(&context, &address, true, out).await,
        Command::Enable(address) => change::disable(&context, &address, false, out).await,
        Command::Passwd(passwd) => change::passwd(&context, &passwd, out).await,
        Command::Trust(change) => trust::trust(&context, &change, out).await,
        Command::Quota(quota) => change::quota(&context, &quota, out).await,
        Command::Grant(sender) => senders::grant(&context, &sender, out).await,
        Command::Withdraw(sender) => senders::withdraw(&context, &sender, out).await,
    }
}

/// The account of that address.
async fn account(context: &Context, address: &Mailbox) -> anyhow::Result<Account> {
    let account = context.store.account(address).await?;
    account.ok_or_else(|| missing(address))
}

fn missing(address: &Mailbox) -> anyhow::Error {
    anyhow::anyhow!("{address} has no account")
}
