//! The filters of submitted mail are asked about what programs of this host send, too. Nobody waits at the other end: what a filter
//! refuses is reported to the sender, and what it puts off stays in the folder.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use super::{Mail, Pickup, Refused};
use crate::base::id::{LeaseToken, QueueId, SessionId};
use crate::base::observe;
use crate::crypto::hash::Sha512;
use crate::daemon::filtering::Letter;
use crate::delivery::Diagnosis;
use crate::filters::{self, Chain, Client, Filtered, Sender, Work};
use crate::mail::address::{Mailbox, ReversePath};
use crate::mail::demand::Demand;
use crate::mail::dsn::FinalRecipient;
use crate::mail::reply::Reply;
use crate::queue::bounce::{Affected, Bounce, News};
use crate::smtp::server;
use crate::store::blocking::Pieces as _;
use crate::store::{Addressee, Claim, Content, Envelope, Hold, ReplayEntry, Tenure, fold};

/// What the filters left of a message.
pub(super) struct Passed {
    pub(super) sender: Option<Mailbox>,
    pub(super) letter: Letter,
    pub(super) recipients: Vec<Addressee>,
    pub(super) hold: Option<Hold>,
}

impl Pickup {
    /// Asks the filters; `None` if nothing is left to be sent. Errors: [`Refused::Later`] if it is to be asked again.
    pub(super) async fn filter(
        &self,
        mut mail: Mail,
        entry: &ReplayEntry,
    ) -> Result<Option<Passed>, Refused> {
        let filters = &self.services.filters.submission;
        if filters.is_empty() {
            return Ok(Some(mail.passed()));
        }
        let mut chain = Chain::new(
            filters.clone(),
            self.client(),
            SessionId::random(&mut rand::rng()),
        );
        let judged = self.ask(&mut chain, &mut mail).await;
        chain.quit().await;
        let (filtered, refusals) = judged?;
        if !refusals.is_empty() {
            self.report(&mut mail, &refusals, entry).await?;
        }
        match filtered {
            Some(filtered) => self.apply(mail, filtered).await,
            None => Ok(None),
        }
    }

    /// As a client on this machine that calls itself by our name.
    fn client(&self) -> Client {
        let host = &self.services.config.server.hostname;
        Client {
            host: host.clone(),
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 0,
            reverse: None,
            hello: host.to_string(),
            tls: None,
            login: None,
        }
    }

    /// What they make of it, if they let it pass for anybody, and who is refused it.
    async fn ask(
        &self,
        chain: &mut Chain,
        mail: &mut Mail,
    ) -> Result<(Option<Filtered>, Vec<(Mailbox, Reply)>), Refused> {
        let sender = Sender {
            path: ReversePath(mail.sender.clone()),
            size_bytes: Some(mail.letter.writer.size_bytes()),
            smtputf8: mail.sender.as_ref().is_some_and(Mailbox::needs_utf8),
        };
        let mut refusals = Vec::new();
        if let Err(reply) = chain.mail(sender).await {
            mail.refuse_all(&reply, &mut refusals)?;
            return Ok((None, refusals));
        }
        for (named, addressees) in std::mem::take(&mut mail.named) {
            match chain.rcpt(&named).await {
                Ok(()) => mail.named.push((named, addressees)),
                Err(reply) => refusals.push((named, lasting(reply)?)),
            }
        }
        if mail.named.is_empty() {
            return Ok((None, refusals));
        }
        let work = Work {
            id: mail.id,
            pieces: &mut mail.letter.writer,
            store: Arc::clone(&self.services.store),
            limits: filters::Limits {
                octets: self.most_bytes(),
                line: server::Limits::from(&self.services.config.limits).text_line_bytes,
            },
        };
        match chain.message(work).await? {
            Ok(filtered) => Ok((Some(filtered), refusals)),
            Err(reply) => {
                mail.refuse_all(&reply, &mut refusals)?;
                Ok((None, refusals))
            }
        }
    }

    async fn apply(&self, mut mail: Mail, filtered: Filtered) -> Result<Option<Passed>, Refused> {
        let Filtered {
            rewritten,
            added,
            deleted,
            sender,
            hold,
        } = filtered;
        let is_deleted = |named: &Mailbox| deleted.iter().any(|deleted| fold(deleted) == fold(named));
        mail.named.retain(|(named, _)| !is_deleted(named));
        for mailbox in added {
            let targets = self.targets(&mailbox, true).await?;
            let addressees = targets.into_iter().map(Addressee::from).collect();
            mail.named.push((mailbox, addressees));
        }
        if let Some(sender) = sender {
            mail.sender = sender.0;
        }
        let hold = hold.map(|reason| Hold {
            reason,
            until: self
                .services
                .config
                .filtering
                .held_for()
                .map(|held_for| self.services.clock.now().after(held_for)),
        });
        let passed = mail.passed();
        if passed.recipients.is_empty() {
            return Ok(None);
        }
        let letter = match rewritten {
            Some(rewritten) => passed
                .letter
                .rewrite(rewritten, false)
                .await
                .map_err(super::refused)?,
            None => passed.letter,
        };
        Ok(Some(Passed {
            letter,
            hold,
            ..passed
        }))
    }

    /// Tells the sender who does not get the message, once, unless that is not wanted.
    async fn report(
        &self,
        mail: &mut Mail,
        refusals: &[(Mailbox, Reply)],
        entry: &ReplayEntry,
    ) -> Result<(), Refused> {
        let host = &self.services.config.server.hostname;
        let now = self.services.clock.now();
        tracing::info!(
            event = observe::LOCAL_MESSAGE_FILTERED,
            message.id = %mail.id,
            recipients = refusals.len(),
            "filters refuse a message from the drop folder"
        );
        let news: Vec<News> = refusals
            .iter()
            .map(|(_, reply)| News::Failed(Diagnosis::remote(host.as_str(), reply)))
            .collect();
        let affected: Vec<_> = refusals
            .iter()
            .zip(&news)
            .filter(|(_, news)| news.is_wanted(mail.notify))
            .map(|((mailbox, _), news)| Affected {
                recipient: FinalRecipient::Mailbox(mailbox.clone()),
                original: None,
                news,
            })
            .collect();
        let start = mail.letter.writer.piece(0).await?.unwrap_or_default();
        let bounce = Bounce {
            host,
            id: QueueId::random(&mut rand::rng()),
            now,
        };
        let Some(mut report) = bounce.report(&mail.as_claim(host, now), &affected, &start) else {
            return Ok(());
        };
        report.replay = Some(about(entry));
        self.services.store.enqueue(report).await?;
        Ok(())
    }
}

impl Mail {
    /// With everybody once.
    fn passed(self) -> Passed {
        let mut known = HashSet::new();
        let all = self.named.into_iter().flat_map(|(_, addressees)| addressees);
        Passed {
            sender: self.sender,
            letter: self.letter,
            recipients: all
                .filter(|one| known.insert((one.path.clone(), one.expanded)))
                .collect(),
            hold: None,
        }
    }

    fn refuse_all(&mut self, reply: &Reply, refusals: &mut Vec<(Mailbox, Reply)>) -> Result<(), Refused> {
        for (named, _) in std::mem::take(&mut self.named) {
            refusals.push((named, lasting(reply.clone())?));
        }
        Ok(())
    }

    /// For a report on it.
    fn as_claim(&self, host: &crate::mail::address::Domain, now: crate::base::time::Timestamp) -> Claim {
        Claim {
            message: self.id,
            lease: LeaseToken::random(&mut rand::rng()),
            tenure: Tenure::default(),
            leased_until: now,
            envelope: Envelope {
                reverse_path: ReversePath(self.sender.clone()),
                source: crate::store::Source::Local,
                smtputf8: false,
                eight_bit: self.letter.eight_bit,
                demand: Demand::default(),
                resealed: 0,
                received_in_ms: 0,
                request: self.request.clone(),
            },
            content: Content::Mime,
            size_bytes: self.letter.writer.size_bytes(),
            accepted_at: now,
            counted_from: now,
            destination: host.clone(),
            is_ours: false,
            recipients: Vec::new(),
            body: None,
        }
    }
}

/// What is refused for now is tried again.
fn lasting(reply: Reply) -> Result<Reply, Refused> {
    match reply.is_permanent() {
        true => Ok(reply),
        false => Err(Refused::Later(reply)),
    }
}

/// By which a report on a message is known.
fn about(entry: &ReplayEntry) -> ReplayEntry {
    let digest = Sha512::of(&[b"filtered\0", &entry.key]).finish();
    let (key, _) = digest.split_first_chunk().unwrap_or((&[0; 32], &[]));
    ReplayEntry::of_whole(*key, entry.until)
}
