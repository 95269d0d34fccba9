//! What an author who has logged in may do: submit what was sealed at home, and keep wrapped keys here.

use std::time::Instant;

use super::{Owner, refuse};
use crate::abuse::Reserved;
use crate::accounts;
use crate::base::id::QueueId;
use crate::base::{metrics, observe};
use crate::daemon::arrival::submission::Submission;
use crate::daemon::session::{fresh_nonce, logins};
use crate::dime::keys::wrapped;
use crate::dmtp::server::Session;
use crate::mail::address::Domain;
use crate::mail::reply::Reply;
use crate::routing::{self, Route};
use crate::smtp::auth::Login;
use crate::store::{self, Account, BodyWriter, Source, TrustMode, fold};

impl Owner {
    pub(super) async fn offer_verifier(&mut self, session: &mut Session, identity: &str) {
        if !self.login.begin() {
            return refuse(session, &too_many_logins());
        }
        match self.services.accounts.scram_verifier(identity).await {
            Ok(verifier) => session.offer_verifier(verifier, &fresh_nonce()),
            Err(error) => refuse(session, &self.fault(&error)),
        }
    }

    pub(super) async fn log_in(&mut self, login: &Login) -> Result<(), Reply> {
        if !self.login.begin() {
            return Err(too_many_logins());
        }
        match self.services.accounts.log_in(login).await {
            Ok(account) => {
                self.login.succeeded();
                self.account = Some(account);
                Ok(())
            }
            Err(accounts::Error::Refused) => {
                self.note_refused_login();
                Err(Reply::plain(535, "authentication failed"))
            }
            Err(error) => {
                self.login.undecided();
                logins::note_undecided(&self.id, &error);
                Err(Reply::plain(451, "logins cannot be checked now, try again later"))
            }
        }
    }

    pub(super) fn note_refused_login(&mut self) {
        self.login.refused();
        tracing::info!(
            event = observe::DMTP_AUTH_REFUSED,
            session.id = %self.id,
            peer.ip = %self.peer.ip(),
            "a login was refused"
        );
    }

    /// An author submits for the own domain, which must have keys to sign with.
    pub(super) async fn may_submit_from(&self, origin: &Domain) -> Result<(), Reply> {
        let account = self.present_author().await?;
        if account.address.domain() != origin {
            return Err(Reply::plain(550, "that domain is not yours"));
        }
        match self.services.store.local_domain(origin).await {
            Ok(Some(domain)) if domain.dime.is_some() => Ok(()),
            Ok(_) => Err(Reply::plain(550, "your domain has no keys to sign with")),
            Err(error) => Err(self.fault(&error)),
        }
    }

    /// Whether sealed mail for a domain can be on its way from here.
    pub(super) async fn may_submit_to(&self, destination: &Domain) -> Result<(), Reply> {
        let source = Source::Submission(self.author()?.address.clone());
        let planner = self.services.planner();
        let facts = planner.facts_of_sealed(destination, &source).await;
        let facts = facts.map_err(|error| self.fault(&error))?;
        match routing::decide(&facts).route {
            Route::Dmtp { .. } => Ok(()),
            Route::Defer => Err(Reply::plain(
                451,
                "that domain cannot be looked up now, try again later",
            )),
            Route::Smtp { .. } | Route::Local | Route::Bounce => {
                Err(Reply::plain(510, "that domain takes no sealed mail"))
            }
        }
    }

    /// The final reply to DATA. No line in the log says where the message goes.
    pub(super) async fn submit(
        &mut self,
        (id, object): (QueueId, Box<dyn BodyWriter>),
        destination: &Domain,
    ) -> Result<QueueId, Reply> {
        let size_bytes = object.size_bytes();
        let account = self.author()?;
        let reserved = self.reserve(account)?;
        let submission = Submission {
            services: &self.services,
            account,
            destination,
            size_bytes,
            id,
        };
        let sender = self.services.names().hidden(&account.address);
        match submission.take(object).await {
            Ok(id) => {
                reserved.spend();
                self.accepted += 1;
                metrics::accepted("dmtp_submission");
                tracing::info!(
                    event = observe::DMTP_SUBMISSION_ACCEPTED,
                    session.id = %self.id,
                    message.id = %id,
                    sender,
                    size_bytes,
                    "sealed message accepted from its author"
                );
                Ok(id)
            }
            Err(refusal) => {
                let reply = refusal.reply();
                if let Some(rule) = refusal.rule() {
                    tracing::debug!(event = observe::DMTP_MESSAGE_RULE, session.id = %self.id, %rule, "a rule is broken");
                }
                tracing::info!(
                    event = observe::DMTP_SUBMISSION_REFUSED,
                    session.id = %self.id,
                    reply.code = reply.code,
                    reason = %refusal,
                    size_bytes,
                    "sealed message of an author refused"
                );
                Err(reply)
            }
        }
    }

    /// What a message for one recipient uses of its author's share.
    fn reserve(&self, account: &Account) -> Result<Reserved, Reply> {
        let (sending, now) = (&self.services.sending, Instant::now());
        let reserved = sending
            .message(fold(&account.address), now)
            .and_then(|mut reserved| {
                sending.recipient(fold(&account.address), &mut reserved, now)?;
                Ok(reserved)
            });
        reserved.map_err(|error| {
            tracing::warn!(event = observe::SUBMISSION_LIMITED, session.id = %self.id, "{error}; its mail is put off");
            Reply::plain(451, "too many messages from your account within the hour, try again later")
        })
    }

    pub(super) async fn keys(&self, session: &mut Session) {
        match self.deposit().await {
            Ok(Some(deposit)) => session.keys(&deposit.octets, deposit.version),
            Ok(None) => refuse(session, &Reply::plain(450, "no keys are stored")),
            Err(reply) => refuse(session, &reply),
        }
    }

    async fn deposit(&self) -> Result<Option<store::KeyDeposit>, Reply> {
        let account = self.cautious().await?;
        let deposit = self.services.store.key_deposit(&account.address).await;
        deposit.map_err(|error| self.fault(&error))
    }

    /// Stores wrapped keys; the version they got.
    pub(super) async fn deposit_keys(&self, octets: Vec<u8>, replaces: u64) -> Result<u64, Reply> {
        let account = self.cautious().await?;
        if !wrapped::are_user_keys(&octets) {
            let text = "only user keys wrapped under a passphrase are stored";
            return Err(Reply::plain(554, text));
        }
        let (store, now) = (&self.services.store, self.services.clock.now());
        match store
            .put_key_deposit(&account.address, octets, replaces, now)
            .await
        {
            Ok(version) => {
                tracing::info!(
                    event = observe::KEY_DEPOSIT_STORED,
                    session.id = %self.id,
                    "wrapped keys of a user are stored"
                );
                Ok(version)
            }
            Err(store::Error::Conflict) => {
                Err(Reply::plain(451, "another version is stored: fetch it first"))
            }
            Err(error) => Err(self.fault(&error)),
        }
    }

    /// The author, if the account still lets its user in: sessions last.
    pub(super) async fn present_author(&self) -> Result<&Account, Reply> {
        let account = self.author()?;
        match self.services.accounts.is_still_in(account).await {
            Ok(true) => Ok(account),
            Ok(false) => Err(Reply::plain(
                550,
                "your account or its password has changed: log in again",
            )),
            Err(error) => Err(self.fault(&error)),
        }
    }

    fn author(&self) -> Result<&Account, Reply> {
        self.account
            .as_ref()
            .ok_or_else(|| Reply::plain(530, "AUTH comes first"))
    }

    async fn cautious(&self) -> Result<&Account, Reply> {
        let account = self.present_author().await?;
        match account.trust_mode {
            TrustMode::Cautious => Ok(account),
            TrustMode::Trustful => Err(Reply::plain(550, "your keys are kept here already")),
            TrustMode::Paranoid => Err(Reply::plain(550, "your account keeps no keys here")),
        }
    }
}

fn too_many_logins() -> Reply {
    Reply::plain(451, logins::TOO_MANY)
}
