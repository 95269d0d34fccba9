//! Which way each recipient of a claim goes, with everything that was found out on the way.

use std::sync::Arc;
use std::time::Duration;

use super::parties::{Parties, Sender};
use crate::accounts::HostNames;
use crate::base::time::Clock;
use crate::delivery::seal::{self, Author};
use crate::dime::record::Policy;
use crate::dime::selection::{self, Actor, Choice, Hold, Rule};
use crate::dime::signet::{VerifiedOrg, VerifiedUser};
use crate::dmtp::name::Name;
use crate::domains::{self, DomainFacts, Domains, DxError, RecordLookup, Standing, Unpublished};
use crate::mail::address::{Domain, Mailbox};
use crate::mail::demand::Demand;
use crate::net::dns::Proof;
use crate::routing::{self, Allowances, Decision, DmtpFinding, Facts, ParentPolicy, Route, Transports};
use crate::signet_service::{Directory, LookupError, Published, Wanted};
use crate::store::{self, Claim, ClaimedRecipient, RetirementState, Source, Store};

/// Why nothing can be decided now: a fault of ours.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The domain's pins cannot be read.
    #[error(transparent)]
    Domains(#[from] domains::Error),
    /// Our own signets or keys cannot be read.
    #[error(transparent)]
    Published(#[from] crate::signet_service::Error),
    /// What is pinned of the sender's side cannot be read.
    #[error(transparent)]
    Lookup(#[from] LookupError),
}

/// One recipient's way.
pub struct Planned<'a> {
    /// Who.
    pub recipient: &'a ClaimedRecipient,
    /// Where, and why.
    pub decision: Decision,
    /// What sealing needs, if that is the way.
    pub sealing: Option<Sealing>,
}

/// What it takes to seal a message for one recipient.
pub struct Sealing {
    /// The author's signets and keys.
    pub author: Arc<Author>,
    /// The recipient's address as DIME writes it.
    pub recipient: Mailbox,
    /// The signet of the recipient's organization.
    pub destination: VerifiedOrg,
    /// The recipient's signet.
    pub signet: VerifiedUser,
    /// The format and suite; never to hold.
    pub choice: Choice,
}

/// Finds out what routing needs to know.
pub struct Planner {
    /// Our domains.
    pub store: Arc<dyn Store>,
    /// The names of this host are at domains of ours, too.
    pub host: Arc<HostNames>,
    /// Others' records.
    pub domains: Arc<Domains>,
    /// Others' signets.
    pub directory: Arc<Directory>,
    /// Our signets and keys.
    pub published: Arc<Published>,
    /// Which formats will do.
    pub policy: selection::Policy,
    /// What the operator allows and wants.
    pub settings: Settings,
    /// The hosts that the operator names.
    pub transports: Transports,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

/// What the operator allows and wants of routing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Where mail may fall back to SMTP after a failure that lasted.
    pub allowances: Allowances,
    /// From which age of a message on its failures count as lasting.
    pub lasting_after: Duration,
    /// Whether records of domains above the recipient's count (`management-record.md` §8).
    pub parent_records: bool,
}

/// Domains above a recipient's that are asked for a record at most.
const MAX_PARENTS: usize = 4;

/// What came of asking for a recipient's signet.
pub struct Asked {
    /// In one word.
    pub finding: DmtpFinding,
    /// The signets of organization and recipient, and how all parties stand, if there are signets.
    pub found: Option<(VerifiedOrg, VerifiedUser, Parties)>,
    /// Why there are none.
    pub trouble: Option<LookupError>,
}

impl Planner {
    /// Decides for every recipient of a MIME message.
    pub async fn plan<'a>(&self, claim: &'a Claim) -> Result<Vec<Planned<'a>>, Error> {
        let mut facts = self.facts(&claim.destination, &claim.envelope.source).await?;
        facts.demand = claim.envelope.demand;
        facts.failing_for_long = self.clock.now() >= claim.accepted_at.after(self.settings.lasting_after);
        if facts.local {
            return self.plan_local(claim, &facts).await;
        }
        let first = routing::decide(&facts);
        if !matches!(first.route, Route::Dmtp { .. }) {
            return Ok(everybody(claim, &first));
        }
        let author = match self.author(&claim.envelope.source, &facts).await? {
            Ok(author) => author,
            Err(finding) => {
                facts.finding = finding;
                return Ok(everybody(claim, &routing::decide(&facts)));
            }
        };
        let signets = (author.address(), author.signet());
        let sender = self.sender(author.organization(), Some(signets)).await?;
        let mut planned = Vec::with_capacity(claim.recipients.len());
        for recipient in &claim.recipients {
            planned.push(self.by_signet(recipient, &facts, &author, &sender).await);
        }
        Ok(planned)
    }

    /// The facts before anybody has been asked for a signet, for a new message without demands.
    pub async fn facts(&self, destination: &Domain, source: &Source) -> Result<Facts, Error> {
        let local = self.host.is_here(destination) || self.store.local_domain(destination).await?.is_some();
        self.collect(destination, source, local).await
    }

    /// The same for a message that is sealed already. It is for a domain of ours as for any other: it goes out and comes
    /// back in, because only as the destination do we learn who the recipient is.
    pub async fn facts_of_sealed(&self, destination: &Domain, source: &Source) -> Result<Facts, Error> {
        self.collect(destination, source, false).await
    }

    async fn collect(&self, destination: &Domain, source: &Source, local: bool) -> Result<Facts, Error> {
        let domain = match local {
            true => DomainFacts {
                lookup: RecordLookup::Absent(Proof::Insecure),
                pin: None,
                remembered: false,
            },
            false => self.domains.facts(destination).await?,
        };
        Ok(Facts {
            local,
            sender_policy: self.sender_policy(source).await?,
            demand: Demand::default(),
            domain,
            parent: match local {
                true => None,
                false => self.parent(destination).await?,
            },
            finding: DmtpFinding::NotAsked,
            failing_for_long: false,
            allowances: self.settings.allowances,
            transport: self.transports.of(destination),
        })
    }

    /// What the closest domain above with a proven record says. Names of one label are nobody's.
    async fn parent(&self, domain: &Domain) -> Result<Option<ParentPolicy>, Error> {
        if !self.settings.parent_records {
            return Ok(None);
        }
        for above in domain
            .parents()
            .filter(|above| above.as_str().contains('.'))
            .take(MAX_PARENTS)
        {
            let facts = self.domains.facts(&above).await?;
            if let Standing::Dime(record, Proof::Secure) = facts.standing() {
                return Ok(Some(ParentPolicy {
                    policy: record.policy,
                    subdomains: record.subdomain_policy,
                }));
            }
        }
        Ok(None)
    }

    async fn sender_policy(&self, source: &Source) -> Result<Option<Policy>, Error> {
        let domain = match source {
            Source::Submission(author) => author.domain(),
            // Programs of this host write in its domains' names, and no less is promised of their mail.
            Source::Trusted(Some(domain)) | Source::Domain(domain) => domain,
            _ => return Ok(None),
        };
        let domain = self.store.local_domain(domain).await?;
        Ok(domain.and_then(|domain| domain.dime).map(|dime| dime.policy))
    }

    /// Who seals, or why nobody can. In a domain of ours without DIME nobody ever had keys.
    pub(super) async fn author(
        &self,
        source: &Source,
        facts: &Facts,
    ) -> Result<Result<Arc<Author>, DmtpFinding>, Error> {
        let address = match (source, facts.sender_policy) {
            (Source::Submission(address), Some(_)) => address,
            _ => return Ok(Err(DmtpFinding::NoAuthor)),
        };
        match Author::load(&self.published, &dime_form(address)).await {
            Ok(author) => Ok(Ok(Arc::new(author))),
            Err(seal::Error::Published(error)) => Err(error.into()),
            Err(_) => Ok(Err(DmtpFinding::KeysElsewhere)),
        }
    }

    async fn by_signet<'a>(
        &self,
        recipient: &'a ClaimedRecipient,
        facts: &Facts,
        author: &Arc<Author>,
        sender: &Sender,
    ) -> Planned<'a> {
        let nobody = Asked {
            finding: DmtpFinding::NoSuchSignet,
            found: None,
            trouble: None,
        };
        let address = recipient.forward_path.mailbox().map(dime_form);
        let asked = match &address {
            Some(address) => self.ask(address, sender).await,
            None => nobody,
        };
        let decision = routing::decide(&Facts {
            finding: asked.finding,
            ..facts.clone()
        });
        let sealing = asked.found.zip(address).map(|(found, recipient)| {
            let (destination, signet, parties) = found;
            Sealing {
                author: Arc::clone(author),
                recipient,
                destination,
                signet,
                choice: parties.choice,
            }
        });
        Planned {
            recipient,
            decision,
            sealing,
        }
    }

    /// Asks for a recipient's signet, and finds out in which format mail may go. The address is in the form of DIME.
    pub async fn ask(&self, recipient: &Mailbox, sender: &Sender) -> Asked {
        let (destination, signet) = match self.directory.user(recipient, Wanted::Current).await {
            Ok(found) => found,
            Err(error) => {
                return Asked {
                    finding: self.without_signet(recipient, finding_of(&error)).await,
                    found: None,
                    trouble: Some(error),
                };
            }
        };
        match self.parties(sender, &destination, (recipient, &signet)).await {
            Ok(parties) => Asked {
                finding: match parties.choice {
                    Choice::Hold(hold) => DmtpFinding::Held(hold),
                    _ => self.in_the_name_of(sender).await,
                },
                found: Some((destination, signet, parties)),
                trouble: None,
            },
            // What is pinned cannot be read now.
            Err(error) => Asked {
                finding: unknown(Actor::Recipient),
                found: None,
                trouble: Some(error),
            },
        }
    }

    /// Whether others would believe what is sealed in the name of a domain of ours.
    ///
    /// One that leaves DIME has taken its record out of DNS as it was told to. It seals no more, as if it had left already.
    async fn in_the_name_of(&self, sender: &Sender) -> DmtpFinding {
        let Some(why) = self.domains.unpublished(&sender.domain, &sender.key).await else {
            return DmtpFinding::SignetValid;
        };
        let leaving = match why {
            Unpublished::Missing => self.store.retirement(&sender.domain).await.ok().flatten(),
            Unpublished::WithoutKey | Unpublished::Unknown => None,
        };
        match leaving.map(|leaving| leaving.state) {
            Some(RetirementState::Withdrawn) => DmtpFinding::NoAuthor,
            _ => DmtpFinding::OwnRecord(why),
        }
    }

    /// Somebody who had keys does not lose them because no signet can be had: that is no reason to send in the clear.
    async fn without_signet(&self, recipient: &Mailbox, finding: DmtpFinding) -> DmtpFinding {
        let actors = match finding {
            DmtpFinding::NoSuchSignet => vec![(Actor::Recipient, store::fold(recipient))],
            DmtpFinding::Unreachable | DmtpFinding::CertificateRejected | DmtpFinding::NotCovered => vec![
                (Actor::Destination, recipient.domain().to_string()),
                (Actor::Recipient, store::fold(recipient)),
            ],
            other => return other,
        };
        for (actor, name) in actors {
            if self.directory.ever_had_keys(&name).await.unwrap_or(true) {
                return unknown(actor);
            }
        }
        finding
    }
}

/// Rule Q1.
pub(super) fn unknown(actor: Actor) -> DmtpFinding {
    DmtpFinding::Held(Hold {
        rule: Rule::Q1,
        actor: Some(actor),
    })
}

fn everybody<'a>(claim: &'a Claim, decision: &Decision) -> Vec<Planned<'a>> {
    let planned = |recipient| Planned {
        recipient,
        decision: decision.clone(),
        sealing: None,
    };
    claim.recipients.iter().map(planned).collect()
}

/// A failure is never an absence: only the host's own word inside verified TLS is.
fn finding_of(error: &LookupError) -> DmtpFinding {
    match error {
        LookupError::NotFound | LookupError::Name(_) => DmtpFinding::NoSuchSignet,
        LookupError::Dx(DxError::Certificate { .. }) => DmtpFinding::CertificateRejected,
        LookupError::Dx(DxError::NotCovered) => DmtpFinding::NotCovered,
        LookupError::Invalid(_) | LookupError::WrongFingerprint | LookupError::CustodyBroken => {
            DmtpFinding::SignetInvalid
        }
        _ => DmtpFinding::Unreachable,
    }
}

/// The address in the folded form in which signets name people; an address without a DMTP form stays as it is.
pub fn dime_form(address: &Mailbox) -> Mailbox {
    match Name::parse(&address.to_string()) {
        Ok(Name::User(folded)) => folded,
        _ => address.clone(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::dime::signet;
    use crate::net::dx_certificate::Rejected;

    #[test]
    fn only_a_missing_user_is_an_absence() {
        let failures = [
            LookupError::NoOrganization,
            LookupError::RecordUnknown,
            LookupError::NotDime,
            LookupError::Dx(DxError::Unreachable(String::new())),
        ];
        for failure in failures {
            assert_eq!(finding_of(&failure), DmtpFinding::Unreachable, "{failure}");
        }
        assert_eq!(finding_of(&LookupError::NotFound), DmtpFinding::NoSuchSignet);
        let forged = [
            LookupError::WrongFingerprint,
            LookupError::CustodyBroken,
            LookupError::Invalid(signet::Error::WrongName),
        ];
        for failure in forged {
            assert_eq!(finding_of(&failure), DmtpFinding::SignetInvalid, "{failure}");
        }
        assert_eq!(
            finding_of(&LookupError::Dx(DxError::NotCovered)),
            DmtpFinding::NotCovered
        );
        let rejected = DxError::Certificate {
            host: "dx.hismail.test".parse().unwrap(),
            source: Rejected::NotSigned,
        };
        assert_eq!(
            finding_of(&LookupError::Dx(rejected)),
            DmtpFinding::CertificateRejected
        );
    }
}
