//! One host's connection, and what is found out about it and its messages.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::OnceCell;
use tokio::time::timeout;

use super::lists::{Listing, Verdict};
use super::names::Fault;
use super::rates::Used;
use super::{Action, Error, PATIENCE, Refused, Screening, Why, is_always_open, mark, names};
use crate::authentication::iprev::{self, Reverse};
use crate::mail::address::{Domain, Mailbox, ReversePath};

/// Senders that SPF is asked about in one session, under one name; each may take a hundred questions to DNS. What is beyond that
/// is not proven.
const SPF_PER_VISIT: usize = 10;

/// A host, from its connection on.
pub struct Visit {
    screening: Arc<Screening>,
    peer: IpAddr,
    hello: String,
    /// Looked up when somebody here is named, and again if the host calls itself something else.
    host: Option<Host>,
    /// What SPF said of senders, and by which name of the host.
    spf: Vec<(ReversePath, String, bool)>,
    /// Looked up when somebody asks for it.
    reverse: OnceCell<Reverse>,
}

/// What is known of a host.
#[derive(Debug, Default)]
struct Host {
    listings: Vec<Listing>,
    names: names::Found,
}

impl Host {
    /// The list that allows it, if one does.
    fn allowed(&self) -> Option<&Listing> {
        let allows = |listing: &&Listing| listing.verdict == Verdict::Allow;
        self.listings.iter().find(allows)
    }
}

/// What is known of one message.
#[derive(Debug, Default)]
pub struct Measured {
    /// Lists that have its sender's domain.
    sender: Option<Vec<Listing>>,
    /// What DNS says against that domain.
    fault: Option<(Fault, Action)>,
    /// Whether SPF lets the host send it.
    spf: Option<bool>,
    used: Used,
    /// Recipients for whom it must come again, where that is said at DATA.
    unproven: Vec<Mailbox>,
}

impl Measured {
    /// The message is taken.
    pub fn spend(self) {
        self.used.spend();
    }
}

impl Visit {
    pub(super) fn new(screening: Arc<Screening>, peer: IpAddr) -> Self {
        Self {
            screening,
            peer,
            hello: String::new(),
            host: None,
            spf: Vec::new(),
            reverse: OnceCell::new(),
        }
    }

    /// What reverse DNS says of the host.
    pub async fn reverse(&self) -> &Reverse {
        let check = async || {
            let checking = iprev::check(self.screening.resolver.as_ref(), self.peer);
            timeout(PATIENCE, checking).await.unwrap_or(Reverse::UNANSWERED)
        };
        self.reverse.get_or_init(check).await
    }

    /// EHLO or HELO came.
    pub fn greeted(&mut self, hello: &str) {
        if self.hello != hello {
            self.hello = hello.to_owned();
            self.host = None;
        }
    }

    /// Whether a message from `path` may have another recipient.
    pub async fn recipient(
        &mut self,
        message: &mut Measured,
        path: &ReversePath,
        recipient: &Mailbox,
    ) -> Result<(), Error> {
        self.look_up(message, path).await;
        if is_always_open(recipient) {
            return Ok(());
        }
        let is_allowed = self.host().allowed().is_some();
        if let Some(refused) = self.strongest(message).filter(|_| !is_allowed) {
            return Err(Error::Refused(refused));
        }
        if !is_allowed {
            self.greylist(message, path, recipient).await?;
        }
        self.count(message, path).await
    }

    /// Whether its text may come. Whoever asks with the null reverse-path whether an address exists sends none, and hears nothing of
    /// greylisting at RCPT.
    pub async fn data(&self, message: &Measured) -> Result<(), Error> {
        let Some(terms) = &self.screening.settings.greylist else {
            return Ok(());
        };
        let mut told = Ok(());
        for recipient in &message.unproven {
            let heard = self
                .screening
                .greylist(terms, self.peer, &ReversePath(None), recipient);
            told = heard.await.and(told);
        }
        told
    }

    /// A field for the message, with a final CRLF.
    pub fn mark(&self, server: &Domain, message: &Measured) -> Option<String> {
        let host = self.host();
        if host.allowed().is_some() {
            return None;
        }
        let of_sender = message.sender.iter().flatten();
        let listings: Vec<_> = host.listings.iter().chain(of_sender).collect();
        let faults = host.names.faults.iter().chain(&message.fault);
        let faults: Vec<_> = faults.copied().collect();
        mark::field(server, &listings, &faults)
    }

    /// What goes into the field of results (RFC 8601).
    pub fn results(&self) -> Vec<String> {
        let host = self.host();
        let reverse = host.names.reverse;
        let reverse = reverse.map(|verdict| mark::reverse(verdict, self.peer));
        let allowed = host.allowed().map(mark::allowed);
        reverse.into_iter().chain(allowed).collect()
    }

    fn host(&self) -> &Host {
        const NOTHING: &Host = &Host {
            listings: Vec::new(),
            names: names::Found {
                faults: Vec::new(),
                reverse: None,
            },
        };
        self.host.as_ref().unwrap_or(NOTHING)
    }

    /// Asks DNS what is not known yet.
    async fn look_up(&mut self, message: &mut Measured, path: &ReversePath) {
        let Screening {
            settings,
            lists,
            resolver,
            ..
        } = self.screening.as_ref();
        let resolver = resolver.as_ref();
        if self.host.is_none() {
            let mut own = settings.own_names.clone();
            own.extend(self.claimed_domain().await);
            let reverse = async {
                match settings.names.ask_for_reverse() {
                    true => Some(self.reverse().await.verdict),
                    false => None,
                }
            };
            let (listings, names) = tokio::join!(
                lists.of_address(resolver, self.peer),
                settings
                    .names
                    .check(resolver, self.peer, &self.hello, &own, reverse)
            );
            self.host = Some(Host { listings, names });
        }
        if message.sender.is_none() {
            let listed = async {
                match &path.0 {
                    Some(sender) => lists.of_domain(resolver, sender.domain()).await,
                    None => Vec::new(),
                }
            };
            let (listings, fault) = tokio::join!(listed, settings.names.check_sender(resolver, path));
            message.sender = Some(listings);
            message.fault = fault;
        }
    }

    /// The domain of ours that the host claims to be.
    async fn claimed_domain(&self) -> Option<Domain> {
        let name = names::claimed(&self.hello, self.peer)?;
        // Where the store fails, no mail is taken anyway.
        let served = self.screening.store.local_domain(&name).await.ok().flatten();
        served.map(|_| name)
    }

    /// The first of the strongest reasons to refuse or put off.
    fn strongest(&self, message: &Measured) -> Option<Refused> {
        let host = self.host();
        let of_sender = message.sender.iter().flatten();
        let listed = host.listings.iter().chain(of_sender);
        let listed = listed.filter_map(|listing| match listing.verdict {
            Verdict::Act(action) => Some((action, Why::Listed(listing.clone()))),
            Verdict::Allow => None,
        });
        let named = host.names.faults.iter().chain(&message.fault);
        let named = named.map(|(fault, action)| (*action, Why::Name(*fault)));
        let mut reasons: Vec<_> = listed
            .chain(named)
            .filter(|(action, _)| *action >= Action::Defer)
            .collect();
        reasons.sort_by_key(|(action, _)| std::cmp::Reverse(*action));
        reasons.into_iter().next().map(|(action, why)| Refused {
            for_now: action < Action::Reject,
            why,
        })
    }

    async fn greylist(
        &mut self,
        message: &mut Measured,
        path: &ReversePath,
        recipient: &Mailbox,
    ) -> Result<(), Error> {
        let screening = Arc::clone(&self.screening);
        let Some(terms) = &screening.settings.greylist else {
            return Ok(());
        };
        if screening.settings.greylist_passes_spf && self.passes_spf(message, path).await {
            return Ok(());
        }
        if path.is_null() {
            message.unproven.push(recipient.clone());
            return Ok(());
        }
        screening.greylist(terms, self.peer, path, recipient).await
    }

    async fn count(&mut self, message: &mut Measured, path: &ReversePath) -> Result<(), Error> {
        let screening = Arc::clone(&self.screening);
        let rates = &screening.rates;
        let is_proven = rates.count_domains() && self.passes_spf(message, path).await;
        let domain = path.0.as_ref().filter(|_| is_proven).map(Mailbox::domain);
        let network = self.screening.network(self.peer);
        rates.recipient(&mut message.used, network, domain, Instant::now())
    }

    /// Asked once for each message, and for each sender in a session.
    async fn passes_spf(&mut self, message: &mut Measured, path: &ReversePath) -> bool {
        if message.spf.is_none() {
            message.spf = Some(self.is_let_send(path).await);
        }
        message.spf == Some(true)
    }

    async fn is_let_send(&mut self, path: &ReversePath) -> bool {
        let is_same =
            |(asked, hello, _): &&(ReversePath, String, bool)| asked == path && *hello == self.hello;
        if let Some((.., passes)) = self.spf.iter().find(is_same) {
            return *passes;
        }
        if self.spf.len() >= SPF_PER_VISIT {
            return false;
        }
        let passes = self.screening.passes_spf(self.peer, &self.hello, path).await;
        self.spf.push((path.clone(), self.hello.clone(), passes));
        passes
    }
}
