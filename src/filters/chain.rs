//! All filters of one session, in their order.

use std::sync::Arc;

use tokio::time::Instant;

use super::milter::{self, Answer, Conversation, Judged};
use super::replacement::{Limits, Replaced, Replacement};
use super::{
    Action, Body, Change, Client, Envelope, Error, Filter, Header, Message, Protocol, Sender, Verdict,
    header, rspamd, words,
};
use crate::base::id::{QueueId, SessionId};
use crate::base::observe;
use crate::mail::address::{Mailbox, ReversePath};
use crate::mail::headers::{self, Collector, Gathered};
use crate::mail::reply::{EnhancedStatus, Reply};
use crate::store::blocking::Pieces;
use crate::store::{self, Store};

/// The field that calls a message suspicious; mail programs and filters know it.
const MARK_NAME: &str = "X-Spam-Flag";

/// The filters of one session.
pub struct Chain {
    links: Vec<Link>,
    client: Client,
    session: SessionId,
    transaction: Option<Transaction>,
}

/// One filter, and how far we are with it.
struct Link {
    filter: Filter,
    conversation: Option<Conversation>,
    /// What it has against the client.
    greeting: Option<Verdict>,
    /// It knows of a message that it has not seen the end of.
    is_amid: bool,
    /// It has no more to say about the message.
    is_done: bool,
    /// It has failed before the message, and is asked about everything once that is complete.
    is_put_off: bool,
    /// It has been reached in this transaction.
    was_there: bool,
    /// It was of no use, and this follows: nothing goes on without it, unless that is to be accepted.
    failed: Option<Action>,
    /// How bad it found the message.
    score: Option<String>,
}

/// From MAIL to the end of data.
struct Transaction {
    envelope: Envelope,
    mark: bool,
    hold: Option<String>,
}

/// A message that is complete in the spool.
pub struct Work<'a> {
    /// Its id.
    pub id: QueueId,
    /// Its octets.
    pub pieces: &'a mut dyn Pieces,
    /// Where other bodies go.
    pub store: Arc<dyn Store>,
    /// How large another body may be.
    pub limits: Limits,
}

/// What is to become of a message that is taken.
#[derive(Default)]
pub struct Filtered {
    /// It gets another header or body.
    pub rewritten: Option<Rewritten>,
    /// These get it, too.
    pub added: Vec<Mailbox>,
    /// These do not get it.
    pub deleted: Vec<Mailbox>,
    /// Failures are reported there.
    pub sender: Option<ReversePath>,
    /// It is held, for this reason.
    pub hold: Option<String>,
}

/// What goes in the place of a message.
pub struct Rewritten {
    /// Header and empty line.
    pub front: Vec<u8>,
    /// Where the old body starts.
    pub start: u64,
    /// The new body, if it gets one.
    pub body: Option<Replaced>,
}

/// A message while it goes from filter to filter.
struct Passing<'a> {
    work: Work<'a>,
    header: Header,
    /// The empty line, if there is one.
    separator: &'static [u8],
    start: u64,
    body: Option<Replaced>,
    filtered: Filtered,
}

impl Chain {
    /// Of those filters, none of which knows of the client yet.
    pub fn new(filters: Vec<Filter>, client: Client, session: SessionId) -> Self {
        let link = |filter| Link {
            filter,
            conversation: None,
            greeting: None,
            is_amid: false,
            is_done: false,
            is_put_off: false,
            was_there: false,
            failed: None,
            score: None,
        };
        Self {
            links: filters.into_iter().map(link).collect(),
            client,
            session,
            transaction: None,
        }
    }

    /// MAIL: begins a transaction, unless a filter is against it.
    pub async fn mail(&mut self, sender: Sender) -> Result<(), Reply> {
        self.reset().await;
        let mut transaction = Transaction {
            envelope: Envelope {
                sender,
                recipients: Vec::new(),
            },
            mark: false,
            hold: None,
        };
        for link in &mut self.links {
            (link.is_done, link.failed) = (false, None);
            (link.is_put_off, link.was_there) = (false, false);
            let answered = link.mail(&self.client, &transaction.envelope.sender).await;
            if let Err(reply) = take(link, &self.session, &mut transaction, answered, Step::Mail) {
                self.transaction = Some(transaction);
                self.reset().await;
                return Err(reply);
            }
        }
        self.transaction = Some(transaction);
        Ok(())
    }

    /// RCPT, of somebody whom we would take.
    pub async fn rcpt(&mut self, recipient: &Mailbox) -> Result<(), Reply> {
        let Some(transaction) = &mut self.transaction else {
            return Ok(());
        };
        for link in &mut self.links {
            link.must_be_of_use(transaction)?;
            let answered = link.rcpt(&self.client, &transaction.envelope, recipient).await;
            take(link, &self.session, transaction, answered, Step::Rcpt)?;
        }
        transaction.envelope.recipients.push(recipient.clone());
        Ok(())
    }

    /// The transaction is over without a message.
    pub async fn reset(&mut self) {
        self.transaction = None;
        for link in &mut self.links {
            link.abort().await;
        }
    }

    /// The session is over.
    pub async fn quit(&mut self) {
        for link in &mut self.links {
            if let Some(conversation) = link.conversation.take() {
                conversation.quit().await;
            }
        }
    }

    /// The end of data: what becomes of the message, or why it is refused. Ends the transaction. A fault of the store is one of
    /// ours, and not of the filters.
    pub async fn message(&mut self, work: Work<'_>) -> Result<Result<Filtered, Reply>, store::Error> {
        let Some(mut transaction) = self.transaction.take() else {
            return Ok(Ok(Filtered::default()));
        };
        let mut passing = Passing::read(work).await?;
        if self.links.iter().any(Link::is_to_be_shown) && !passing.header.fits_milters() {
            return Ok(Err(too_long_for_milters()));
        }
        for link in &mut self.links {
            if let Err(reply) = link.must_be_of_use(&mut transaction) {
                return Ok(Err(reply));
            }
            if link.is_done {
                continue;
            }
            let judged = link
                .message(&self.client, &mut transaction.envelope, &mut passing)
                .await;
            let answered = match judged {
                Err(Error::Store(error)) => return Err(error),
                judged => judged.map(Answer::Judged),
            };
            let step = Step::Message(passing.work.id);
            if let Err(reply) = take(link, &self.session, &mut transaction, answered, step) {
                return Ok(Err(reply));
            }
        }
        Ok(Ok(passing.finish(transaction)))
    }
}

/// In which step a filter has said something.
#[derive(Clone, Copy)]
enum Step {
    Mail,
    Rcpt,
    Message(QueueId),
}

/// What follows from what a filter said; `Err` refuses what it was asked about.
fn take(
    link: &mut Link,
    session: &SessionId,
    transaction: &mut Transaction,
    answered: Result<Answer, Error>,
    step: Step,
) -> Result<(), Reply> {
    let verdict = match answered {
        Ok(Answer::Continue) => return Ok(()),
        Ok(Answer::Judged(Verdict::Accept)) => {
            link.is_done = true;
            return Ok(());
        }
        Ok(Answer::Judged(verdict)) => verdict,
        Err(error) => return link.fail(session, transaction, &error, step),
    };
    let action = link.action(&verdict);
    log(link, session, step, &verdict, action);
    // What is said of one recipient leaves the others.
    link.is_done |= !matches!(step, Step::Rcpt) || verdict == Verdict::Discard;
    let reason = reason(&link.filter.name, &verdict, link.score.as_deref());
    act(action, &verdict, reason, transaction)
}

/// The fault of whoever wrote it: filters are not to fail over it.
fn too_long_for_milters() -> Reply {
    let text = format!(
        "The header has a field of more than {} octets, or more than {} fields",
        header::MAX_FIELD,
        header::MAX_FIELDS
    );
    Reply::new(552, EnhancedStatus(5, 3, 4), text)
}

fn log(link: &Link, session: &SessionId, step: Step, verdict: &Verdict, action: Action) {
    let (filter, verdict, action) = (&link.filter.name, verdict.name(), action.name());
    match step {
        Step::Message(id) => tracing::info!(
            event = observe::FILTER_VERDICT,
            session.id = %session,
            message.id = %id,
            filter,
            verdict,
            action,
            "a filter has judged a message"
        ),
        Step::Mail | Step::Rcpt => tracing::info!(
            event = observe::FILTER_VERDICT,
            session.id = %session,
            filter,
            verdict,
            action,
            "a filter has judged a sender or recipient"
        ),
    }
}

/// For the operator, who sees it beside what is held.
fn reason(filter: &str, verdict: &Verdict, score: Option<&str>) -> String {
    let words = match verdict {
        Verdict::Reject(Some(reply)) | Verdict::Defer(Some(reply)) => reply.lines.join(" "),
        Verdict::Quarantine(reason) => reason.clone(),
        _ => String::new(),
    };
    let colon = if words.is_empty() { "" } else { ": " };
    let score = score.map_or_else(String::new, |score| format!(" ({score})"));
    words::reason(&format!(
        "filter {filter} says {}{score}{colon}{words}",
        verdict.name()
    ))
}

fn act(
    action: Action,
    verdict: &Verdict,
    reason: String,
    transaction: &mut Transaction,
) -> Result<(), Reply> {
    match (action, verdict) {
        (Action::Accept, _) => {}
        (Action::Mark, _) => transaction.mark = true,
        (Action::Quarantine, _) => {
            transaction.hold.get_or_insert(reason);
        }
        (Action::Defer, Verdict::Defer(Some(reply))) | (Action::Reject, Verdict::Reject(Some(reply))) => {
            return Err(reply.clone());
        }
        (Action::Defer, _) => {
            let text = "The message cannot be taken now, try again later";
            return Err(Reply::new(451, EnhancedStatus(4, 7, 1), text));
        }
        (Action::Reject, _) => {
            let text =
                "The message is refused by a filter of this host; ask its postmaster if it should not be";
            return Err(Reply::new(550, EnhancedStatus(5, 7, 1), text));
        }
    }
    Ok(())
}

impl Link {
    fn is_milter(&self) -> bool {
        matches!(self.filter.protocol, Protocol::Milter)
    }

    /// It is a milter that the message goes to.
    fn is_to_be_shown(&self) -> bool {
        self.is_milter() && !self.is_done
    }

    fn command_deadline(&self) -> Instant {
        Instant::now() + self.filter.command_time
    }

    fn action(&self, verdict: &Verdict) -> Action {
        let rules = &self.filter.rules;
        match verdict {
            Verdict::Accept => Action::Accept,
            Verdict::Reject(_) => rules.reject,
            Verdict::Defer(_) => rules.defer,
            Verdict::Discard => rules.discard,
            Verdict::Quarantine(_) => rules.quarantine,
            Verdict::Mark => rules.mark,
        }
    }

    /// It is left out for the rest of the transaction if that may go on without it, or until the message is complete.
    fn fail(
        &mut self,
        session: &SessionId,
        transaction: &mut Transaction,
        error: &Error,
        step: Step,
    ) -> Result<(), Reply> {
        (self.conversation, self.is_amid) = (None, false);
        let action = self.without(error, step);
        match action {
            Some(_) => (self.is_done, self.failed) = (true, action),
            None => self.is_put_off = true,
        }
        tracing::warn!(
            event = observe::FILTER_FAILED,
            session.id = %session,
            filter = self.filter.name,
            action = action.map_or("ask_again", Action::name),
            error = error as &dyn std::error::Error,
            "a filter is of no use"
        );
        self.must_be_of_use(transaction)
    }

    /// What is done without it; `None` if it is to be asked again when the message is complete. Strangers choose names that take
    /// long to look up, and messages over which filters fail: only a filter that is not there at all is done without.
    fn without(&self, error: &Error, step: Step) -> Option<Action> {
        match (self.filter.rules.unavailable, step, error) {
            (Action::Accept | Action::Mark, Step::Mail | Step::Rcpt, _) => None,
            (action, _, Error::Unreachable(_)) => Some(action),
            (Action::Accept | Action::Mark, ..) => Some(Action::Defer),
            (action, ..) => Some(action),
        }
    }

    /// What follows if it was of no use before in the same transaction: it is not asked again, and whatever else the client
    /// tries, nothing gets around it.
    fn must_be_of_use(&self, transaction: &mut Transaction) -> Result<(), Reply> {
        let Some(action) = self.failed else {
            return Ok(());
        };
        let text = "A filter of this host does not answer, try again later";
        let later = Reply::new(451, EnhancedStatus(4, 3, 0), text);
        let reason = words::reason(&format!("filter {} was of no use", self.filter.name));
        act(action, &Verdict::Defer(Some(later)), reason, transaction)
    }

    async fn mail(&mut self, client: &Client, sender: &Sender) -> Result<Answer, Error> {
        if !self.is_milter() {
            return Ok(Answer::Continue);
        }
        let deadline = self.command_deadline();
        self.is_amid = true;
        if let Some(conversation) = &mut self.conversation {
            match conversation.mail(client, sender, deadline).await {
                // It was idle, so it may have gone.
                Err(error) if milter::may_have_left(&error) => self.conversation = None,
                answered => {
                    self.was_there = true;
                    return answered;
                }
            }
        }
        self.begin(client, sender, deadline).await
    }

    /// A new conversation, up to MAIL.
    async fn begin(&mut self, client: &Client, sender: &Sender, deadline: Instant) -> Result<Answer, Error> {
        if let Some(verdict) = &self.greeting {
            return Ok(Answer::Judged(verdict.clone()));
        }
        let opened = Conversation::open(&self.filter, client, deadline).await;
        self.was_there |= !matches!(opened, Err(Error::Unreachable(_)));
        let (mut conversation, answer) = opened?;
        if let Answer::Judged(verdict) = answer {
            conversation.quit().await;
            self.greeting = Some(verdict.clone());
            return Ok(Answer::Judged(verdict));
        }
        let answered = conversation.mail(client, sender, deadline).await?;
        self.conversation = Some(conversation);
        self.is_amid = true;
        Ok(answered)
    }

    async fn rcpt(
        &mut self,
        client: &Client,
        envelope: &Envelope,
        recipient: &Mailbox,
    ) -> Result<Answer, Error> {
        if self.is_done || self.is_put_off || !self.is_milter() {
            return Ok(Answer::Continue);
        }
        let deadline = self.command_deadline();
        if let Some(conversation) = &mut self.conversation {
            match conversation.rcpt(recipient, deadline).await {
                Err(error) if milter::may_have_left(&error) => self.conversation = None,
                answered => return answered,
            }
        }
        match self.replay(client, envelope, deadline).await? {
            Err(verdict) => Ok(Answer::Judged(verdict)),
            Ok(conversation) => conversation.rcpt(recipient, deadline).await,
        }
    }

    /// A new conversation up to where the last one was, or should have been; or the verdict with which it ends before.
    async fn replay(
        &mut self,
        client: &Client,
        envelope: &Envelope,
        deadline: Instant,
    ) -> Result<Result<&mut Conversation, Verdict>, Error> {
        if let Answer::Judged(verdict) = self.begin(client, &envelope.sender, deadline).await? {
            return Ok(Err(verdict));
        }
        let conversation = self.conversation.as_mut();
        let conversation = conversation.ok_or(Error::Protocol("it is gone"))?;
        for recipient in &envelope.recipients {
            if let Answer::Judged(verdict) = conversation.rcpt(recipient, deadline).await? {
                return Ok(Err(verdict));
            }
        }
        Ok(Ok(conversation))
    }

    /// The message, and what the filter wants changed.
    async fn message(
        &mut self,
        client: &Client,
        envelope: &mut Envelope,
        passing: &mut Passing<'_>,
    ) -> Result<Verdict, Error> {
        let deadline = Instant::now() + self.filter.message_time;
        let mut replacement = Replacement::new(Arc::clone(&passing.work.store), passing.work.limits);
        let judged = match &self.filter.protocol {
            Protocol::Milter => {
                self.milter_message(client, envelope, passing, &mut replacement, deadline)
                    .await?
            }
            Protocol::Rspamd { password } => {
                let stream = milter::connect(&self.filter, deadline).await?;
                let request = rspamd::Request {
                    password: password.as_ref(),
                    client,
                };
                let mut message = passing.message(envelope);
                milter::within(deadline, request.judge(stream, &mut message)).await?
            }
        };
        let body = replacement.finish().await?;
        passing.change(envelope, judged.changes, body)?;
        self.score = judged.score;
        Ok(judged.verdict)
    }

    async fn milter_message(
        &mut self,
        client: &Client,
        envelope: &Envelope,
        passing: &mut Passing<'_>,
        replacement: &mut Replacement,
        deadline: Instant,
    ) -> Result<Judged, Error> {
        let was_there = self.was_there;
        if let Some(conversation) = &mut self.conversation {
            let mut message = passing.message(envelope);
            match conversation.message(&mut message, replacement, deadline).await {
                // The client may have been slow.
                Err(error) if milter::may_have_left(&error) && replacement.is_empty() => {
                    self.conversation = None;
                }
                judged => {
                    self.is_amid = judged.as_ref().is_ok_and(|judged| judged.is_early);
                    return judged;
                }
            }
        }
        let replayed = self.replay(client, envelope, deadline).await;
        let replayed = replayed.map_err(|error| match error {
            // It may be this client that has put an end to it.
            Error::Unreachable(source) if was_there => Error::Broken(source),
            error => error,
        })?;
        let conversation = match replayed {
            Ok(conversation) => conversation,
            Err(verdict) => return Ok(Judged::plain(verdict)),
        };
        let mut message = passing.message(envelope);
        let judged = conversation.message(&mut message, replacement, deadline).await;
        self.is_amid = judged.as_ref().is_ok_and(|judged| judged.is_early);
        judged
    }

    async fn abort(&mut self) {
        let deadline = self.command_deadline();
        let is_amid = std::mem::take(&mut self.is_amid);
        if let Some(conversation) = &mut self.conversation
            && is_amid
            && conversation.abort(deadline).await.is_err()
        {
            self.conversation = None;
        }
    }
}

impl<'a> Passing<'a> {
    /// Reads the header.
    async fn read(work: Work<'a>) -> Result<Self, store::Error> {
        let mut collector = Collector::new(header::MAX_OCTETS);
        let mut body = Body::new(work.pieces, 0);
        while let Some(piece) = body.next().await? {
            match collector.push(&piece) {
                Gathered::Incomplete => {}
                Gathered::Complete => break,
                Gathered::TooLong => return Err(store::Error::TooLong),
            }
        }
        let front = collector.finish();
        let split = headers::split(&front);
        let separator: &[u8] = match split.rest.starts_with(b"\r\n") {
            true => b"\r\n",
            false => b"",
        };
        Ok(Self {
            header: Header::of(split.block),
            start: (split.block.len() + separator.len()) as u64,
            separator,
            body: None,
            filtered: Filtered::default(),
            work,
        })
    }

    /// As the next filter sees it.
    fn message<'m>(&'m mut self, envelope: &'m Envelope) -> Message<'m> {
        let body = match &mut self.body {
            Some(replaced) => Body::new(&mut replaced.writer, 0),
            None => Body::new(self.work.pieces, self.start),
        };
        Message {
            id: self.work.id,
            envelope,
            header: &self.header,
            body,
        }
    }

    /// All changes of one filter, or none.
    fn change(
        &mut self,
        envelope: &mut Envelope,
        changes: super::Changes,
        body: Option<Replaced>,
    ) -> Result<(), Error> {
        let mut header = self.header.clone();
        let mut others = Vec::new();
        for change in changes.into_list() {
            match change {
                Change::Field(change) => header.apply(change)?,
                other => others.push(other),
            }
        }
        self.header = header;
        self.body = body.or(self.body.take());
        for change in others {
            self.change_envelope(envelope, change);
        }
        Ok(())
    }

    fn change_envelope(&mut self, envelope: &mut Envelope, change: Change) {
        let Filtered {
            added,
            deleted,
            sender,
            ..
        } = &mut self.filtered;
        match change {
            Change::Field(_) => {}
            Change::AddRecipient(mailbox) => {
                let is_new = is_other_than(&mailbox);
                deleted.retain(&is_new);
                if envelope.recipients.iter().all(is_new) {
                    envelope.recipients.push(mailbox.clone());
                    added.push(mailbox);
                }
            }
            Change::DeleteRecipient(mailbox) => {
                let stays = is_other_than(&mailbox);
                envelope.recipients.retain(&stays);
                added.retain(stays);
                deleted.push(mailbox);
            }
            Change::Sender(path) => {
                envelope.sender.path = path.clone();
                *sender = Some(path);
            }
        }
    }

    /// Only we say whether it is suspicious.
    fn mark(&mut self) -> Result<(), Error> {
        let field = header::field(MARK_NAME, "YES", false)?;
        self.header.set(MARK_NAME, field)
    }

    fn finish(mut self, transaction: Transaction) -> Filtered {
        if transaction.mark && self.mark().is_err() {
            // There is no room for a mark, so somebody has to look.
            self.filtered.hold = Some("marked by a filter".to_owned());
        }
        let is_changed = self.header.is_changed() || self.body.is_some();
        let separator: &[u8] = match self.body {
            Some(_) => b"\r\n",
            None => self.separator,
        };
        let rewritten = is_changed.then(|| Rewritten {
            front: [&self.header.octets(), separator].concat(),
            start: self.start,
            body: self.body,
        });
        Filtered {
            rewritten,
            hold: transaction.hold.or(self.filtered.hold),
            ..self.filtered
        }
    }
}

/// Tells other addresses from this one, as they are told apart where recipients are deleted.
fn is_other_than(mailbox: &Mailbox) -> impl Fn(&Mailbox) -> bool + use<> {
    let folded = store::fold(mailbox);
    move |known| store::fold(known) != folded
}

impl Verdict {
    /// A word for logs and reasons.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::Reject(_) => "reject",
            Self::Defer(_) => "defer",
            Self::Discard => "discard",
            Self::Quarantine(_) => "quarantine",
            Self::Mark => "mark",
        }
    }
}

impl Action {
    /// The word of the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::Mark => "mark",
            Self::Quarantine => "quarantine",
            Self::Defer => "defer",
            Self::Reject => "reject",
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn recipients_are_the_same_in_any_case() {
        let bob: Mailbox = "Bob@hismail.test".parse().unwrap();
        let is_other = is_other_than(&bob);
        assert!(!is_other(&"bob@HISMAIL.test".parse().unwrap()));
        assert!(is_other(&"bobby@hismail.test".parse().unwrap()));
    }
}
