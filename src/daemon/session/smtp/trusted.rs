//! Hosts of ours that need not log in (`relay.networks`): printers, application servers.
//!
//! What they send is submitted, as what our users send: it is completed, limited by network, signed for the domain in From,
//! and not examined. Who wrote it is what From says. If that is an account of ours, the network's word stands for a login: a
//! trustful author's mail is sealed, and for authors whose keys are at home the rule of all holds that nothing goes in the
//! clear that could be sealed. They may name any sender and write to anybody. This host itself is often among them, so names
//! without a domain mean what they mean to `sendmail`.

use std::net::SocketAddr;

use super::{Accepted, Owner, Transaction, reply, to_be_sealed_at_home};
use crate::accounts::{self, Resolution, Target};
use crate::base::network::Network;
use crate::config::Config;
use crate::daemon::intake::Names;
use crate::daemon::session::Purpose;
use crate::mail::address::Mailbox;
use crate::mail::local;
use crate::mail::mailboxes::Unreadable;
use crate::mail::reply::Reply;
use crate::routing::{self, Route};
use crate::store::{Account, Source, TrustMode};

/// The network in whose name a host may send without a login. Users of ours log in on ports of their own.
pub(in crate::daemon::session) fn network(
    config: &Config,
    purpose: Purpose,
    peer: SocketAddr,
) -> Option<Network> {
    let is_for_hosts = matches!(purpose, Purpose::Dual);
    let mut networks = config.relay.networks.iter();
    networks
        .find(|network| is_for_hosts && network.contains(peer.ip()))
        .copied()
}

impl Owner {
    /// Whether it is known who sends: a user who has logged in, or a host that need not.
    pub(super) fn is_ours(&self) -> bool {
        self.account.is_some() || self.trusted.is_some()
    }

    /// The address as the peer means it.
    pub(super) fn meant(&self, mailbox: Mailbox) -> Mailbox {
        match self.trusted {
            Some(_) => self.services.host.meant(mailbox),
            None => mailbox,
        }
    }

    /// What names without a domain mean in a trusted host's message, and who wrote it if it does not say so.
    pub(super) fn names_of_trusted(&self) -> Option<Names> {
        self.trusted?;
        let origin = &self.services.host.origin;
        let open = self.transaction.as_ref();
        let sender = open.and_then(|open| open.mail.reverse_path.0.clone());
        Some(Names {
            author: sender.or_else(|| local::qualified("mailer-daemon", origin))?,
            origin: origin.clone(),
        })
    }

    /// Trusted hosts send to anybody. Who the author is, and so whether the message will be sealed, is known at its end.
    pub(super) async fn remote_of_trusted(&self, mailbox: Mailbox) -> Result<Accepted, Reply> {
        let planner = self.services.planner();
        let facts = planner.facts(mailbox.domain(), &Source::Trusted(None)).await;
        let facts = facts.map_err(|error| self.fault(&error))?;
        Ok(Accepted {
            to_be_sealed: matches!(routing::decide(&facts).route, Route::Dmtp { .. }),
            ..Accepted::of(vec![mailbox])
        })
    }

    /// In whose name the message came: of the account in From, of the domain of ours in it, or of nobody here. What an account
    /// that has been disabled could not send itself, nobody sends in its name.
    pub(super) async fn source_of_trusted(
        &self,
        open: &Transaction,
        named: Option<Result<Vec<Mailbox>, Unreadable>>,
    ) -> Result<Source, Reply> {
        // What cannot be read names nobody; devices write strange things.
        let named = named.and_then(Result::ok).unwrap_or_default();
        for mailbox in &named {
            match self.author(mailbox).await? {
                Some(author) => self.demand_sealed_at_home(open, &author).await?,
                None => self.refuse_disabled(mailbox).await?,
            }
        }
        let Some(first) = named.first() else {
            return Ok(Source::Trusted(None));
        };
        if let Some(author) = self.author(first).await? {
            return Ok(Source::Submission(author.address));
        }
        let is_local = self.services.accounts.is_local(first.domain()).await;
        let is_local = is_local.map_err(|error| self.fault(&error))?;
        Ok(Source::Trusted(is_local.then(|| first.domain().clone())))
    }

    async fn author(&self, mailbox: &Mailbox) -> Result<Option<Account>, Reply> {
        let author = self.services.accounts.author(mailbox).await;
        author.map_err(|error| self.fault(&error))
    }

    /// An address that leads to such an account alone is one of its own.
    async fn refuse_disabled(&self, mailbox: &Mailbox) -> Result<(), Reply> {
        let is_disabled = match self.services.accounts.resolve(mailbox).await {
            Ok(Resolution::Targets(targets)) => {
                matches!(&targets[..], [Target::Local(account)] if account.disabled_at.is_some())
            }
            Ok(Resolution::Unknown | Resolution::NotLocal) | Err(accounts::Error::AliasLoop) => false,
            Err(error) => return Err(self.fault(&error)),
        };
        match is_disabled {
            true => {
                let text = "The account that the message says it is from is disabled";
                Err(reply(550, (5, 7, 1), text))
            }
            false => Ok(()),
        }
    }

    /// The same as at RCPT for those who have logged in.
    async fn demand_sealed_at_home(&self, open: &Transaction, author: &Account) -> Result<(), Reply> {
        if author.trust_mode == TrustMode::Trustful || self.policy(author.address.domain()).await?.is_none() {
            return Ok(());
        }
        if open.to_be_sealed {
            return Err(to_be_sealed_at_home());
        }
        if !self.has_signet(&author.address).await? {
            return Ok(());
        }
        for mailbox in open.recipients.iter().filter_map(|one| one.path.mailbox()) {
            let is_local = self.services.accounts.is_local(mailbox.domain()).await;
            if is_local.map_err(|error| self.fault(&error))? && self.has_signet(mailbox).await? {
                return Err(to_be_sealed_at_home());
            }
        }
        Ok(())
    }
}
