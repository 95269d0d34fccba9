//! Mail from others for domains whose mail we take for other hosts: recipients are verified first, so that what nobody gets is
//! refused here, and no report has to be sent to a sender who may be forged.
//!
//! It goes on as any mail that has no author here ([`crate::routing`]): where the domain has a management record, by SMTP only
//! if the record's policy lets such mail go by SMTP at all. A strict domain takes none, so none is taken for it.

use super::{Accepted, Owner, reply};
use crate::config::WhenUnreachable;
use crate::daemon::callout::Answer;
use crate::mail::address::Mailbox;
use crate::mail::reply::Reply;
use crate::routing::{self, Decision, DmtpFinding, Facts, Route};
use crate::smtp::server::replies;
use crate::store::{RelayDomain, Source, Verification};

/// What a next host is to be asked: whether it knows this recipient, by that way.
pub(super) struct Question {
    recipient: Mailbox,
    decision: Decision,
}

impl Owner {
    /// Takes mail for a recipient in a relay domain, or refuses it; where its next host is to be asked, that is still to be done.
    pub(super) async fn relayed(&self, recipient: Mailbox) -> Result<Accepted, Reply> {
        let domain = self.services.store.relay_domain(recipient.domain()).await;
        let domain = domain
            .map_err(|error| self.fault(&error))?
            .ok_or_else(replies::relaying_denied)?;
        if routes_itself(recipient.local()) {
            let text =
                "The local-part says a way of its own, which is not relayed: write to the address itself";
            return Err(reply(550, (5, 7, 1), text));
        }
        let decision = self.onward(&recipient).await?;
        if decision.route == Route::Bounce {
            return Err(reply(550, (5, 7, 1), "This domain takes mail by DMTP only"));
        }
        self.verify(&domain, &recipient).await?;
        let to_be_asked = (domain.verification == Verification::Callout).then(|| Question {
            recipient: recipient.clone(),
            decision,
        });
        Ok(Accepted {
            to_be_asked,
            ..Accepted::of(vec![recipient])
        })
    }

    /// The way that the mail would take.
    async fn onward(&self, recipient: &Mailbox) -> Result<Decision, Reply> {
        let planner = self.services.planner();
        let facts = planner.facts(recipient.domain(), &Source::Smtp).await;
        Ok(routing::decide(&Facts {
            finding: DmtpFinding::NoAuthor,
            ..facts.map_err(|error| self.fault(&error))?
        }))
    }

    async fn verify(&self, domain: &RelayDomain, recipient: &Mailbox) -> Result<(), Reply> {
        match domain.verification {
            Verification::None | Verification::Callout => Ok(()),
            // Every domain that mail is taken for has one (RFC 5321 §4.5.1).
            Verification::List if recipient.local().eq_ignore_ascii_case("postmaster") => Ok(()),
            Verification::List => {
                let is_listed = self.services.store.is_relay_recipient(recipient).await;
                match is_listed.map_err(|error| self.fault(&error))? {
                    true => Ok(()),
                    false => Err(replies::no_such_mailbox()),
                }
            }
        }
    }

    /// The last thing that is found out about a recipient: it makes us dial.
    pub(super) async fn ask_next_host(&self, accepted: &Accepted) -> Result<(), Reply> {
        let Some(Question { recipient, decision }) = &accepted.to_be_asked else {
            return Ok(());
        };
        let callouts = &self.services.callouts;
        let answer = callouts.ask(recipient, &decision.route, self.peer.ip()).await;
        let accepts = self.services.config.relay.when_unreachable == WhenUnreachable::Accept;
        match answer.map_err(|error| self.fault(&error))? {
            Answer::Known => Ok(()),
            Answer::Unreachable if accepts => Ok(()),
            Answer::NoSuchRecipient => Err(replies::no_such_mailbox()),
            Answer::Unreachable | Answer::NotNow => {
                let text = "The recipient cannot be verified now, try again later";
                Err(reply(450, (4, 1, 1), text))
            }
        }
    }
}

/// Whether hosts might read a local-part as another address to send to, on the word of this one.
fn routes_itself(local: &str) -> bool {
    local.contains(['@', '%', '!', ':', '|']) || local.starts_with('/')
}
