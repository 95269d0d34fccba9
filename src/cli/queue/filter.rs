//! Which recipients a command of the queue is about.

use std::time::Duration;

use clap::Args;
use clap::builder::NonEmptyStringValueParser;

use crate::base::id::{QueueId, RecipientId};
use crate::base::time::Timestamp;
use crate::cli::Misuse;
use crate::cli::context::Context;
use crate::mail::address::Domain;
use crate::queue::class::Class;
use crate::store::{Among, QueueFilter, QueueLine, QueuePosition, Status, Way};

/// Rows looked at in one step, and changed in one transaction.
const PAGE: usize = 500;

/// What recipients have in common; what is named must all be so.
#[derive(Debug, Args)]
pub struct Filter {
    /// Messages, by their ids.
    #[arg(value_name = "ID", conflicts_with = "recipient")]
    messages: Vec<String>,
    /// One recipient of a message, by its id, as `show` has it.
    #[arg(long, value_name = "ID")]
    recipient: Option<String>,
    /// Recipients in a domain.
    #[arg(long, value_name = "DOMAIN")]
    domain: Option<Domain>,
    /// Which way the mail goes: local, smtp, or dmtp. For other hosts' domains that is decided in each attempt, and known of mail that is
    /// sealed or has been tried.
    #[arg(long, value_name = "WAY", value_parser = way)]
    route: Option<Way>,
    /// Accepted that long ago or longer: a number with s, m, h or d, such as 90m.
    #[arg(long, value_name = "AGE", value_parser = age)]
    older_than: Option<Duration>,
    /// Accepted that long ago or later.
    #[arg(long, value_name = "AGE", value_parser = age)]
    newer_than: Option<Duration>,
    /// waiting, trying (an attempt is under way), held, or quarantined (it cannot be read).
    #[arg(long, value_name = "STATUS", value_parser = status)]
    status: Option<Status>,
    /// What came of the last attempt, or why it is held or quarantined, contains this text: a reply, its code, a host. Capitals do not
    /// matter.
    #[arg(long, value_name = "TEXT", value_parser = NonEmptyStringValueParser::new())]
    reason: Option<String>,
    /// What the last attempt failed for, in the words of `queue.schedules`: unreachable (no host could be found or reached), refused
    /// (a host said no for now), or other. Parts of unreachable: dns. Parts of other: tls, keys (keys, signets or DIME records),
    /// policy (no way that is allowed is open), storage (mailboxes here). Mail that was not tried since an update has none.
    #[arg(long, value_name = "CLASS", value_parser = class)]
    class: Option<Class>,
    /// No more recipients than that; the oldest come first.
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
}

impl Filter {
    /// All that is in the queue.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
            && self.recipient.is_none()
            && self.domain.is_none()
            && self.route.is_none()
            && self.older_than.is_none()
            && self.newer_than.is_none()
            && self.status.is_none()
            && self.reason.is_none()
            && self.class.is_none()
            && self.limit.is_none()
    }

    /// Starts to walk through what fits; what comes in after its first page is left out.
    pub fn walk(&self, context: &Context) -> anyhow::Result<Walk> {
        let now = context.now();
        let filter = QueueFilter {
            among: Among::All,
            destination: self.domain.clone(),
            status: self.status,
            way: self.route,
            accepted_until: self.older_than.map(|age| now.before(age)),
            accepted_from: self.newer_than.map(|age| now.before(age)),
            reason: self.reason.clone(),
            end: None,
        };
        let messages = self.messages.iter().map(|id| message(id).map(Among::Message));
        let mut among = messages.collect::<Result<Vec<_>, _>>()?;
        if let Some(id) = &self.recipient {
            among.push(Among::Recipient(
                RecipientId::parse(id).ok_or_else(|| not_an_id(id))?,
            ));
        }
        if among.is_empty() {
            among.push(Among::All);
        }
        among.reverse();
        Ok(Walk {
            filter,
            class: self.class,
            among,
            after: None,
            left: self.limit.unwrap_or(u64::MAX),
        })
    }
}

/// A walk through the queue, page by page.
pub struct Walk {
    filter: QueueFilter,
    class: Option<Class>,
    /// Where to look yet, last first.
    among: Vec<Among>,
    after: Option<QueuePosition>,
    left: u64,
}

impl Walk {
    /// The next that fit and are wanted, which may be none; `None` at the end.
    pub async fn next(
        &mut self,
        context: &Context,
        is_wanted: impl FnMut(&QueueLine) -> bool,
    ) -> anyhow::Result<Option<Vec<QueueLine>>> {
        let Some(among) = self.among.last().copied().filter(|_| self.left > 0) else {
            return Ok(None);
        };
        self.filter.among = among;
        let page = context.store.queue_page(&self.filter, self.after, PAGE).await?;
        self.after = page.next;
        if page.next.is_none() {
            self.among.pop();
        }
        // Not before: what then takes the place of something else, as a sealed message does, would be missing with it.
        if self.filter.end.is_none() && !self.among.is_empty() {
            self.filter.end = Some(context.store.queue_end().await?);
        }
        let wanted = self.class;
        let is_of_class = |line: &QueueLine| {
            wanted.is_none_or(|wanted| class_of(line).is_some_and(|class| class.is_within(wanted)))
        };
        let lines = page.lines.into_iter().filter(is_of_class);
        let mut lines: Vec<_> = lines.filter(is_wanted).collect();
        lines.truncate(usize::try_from(self.left).unwrap_or(usize::MAX));
        self.left -= lines.len() as u64;
        Ok(Some(lines))
    }
}

/// The id of a message.
pub fn message(id: &str) -> Result<QueueId, Misuse> {
    QueueId::parse(id).ok_or_else(|| not_an_id(id))
}

fn not_an_id(id: &str) -> Misuse {
    let id: String = id
        .chars()
        .take(40)
        .filter(|letter| !letter.is_control())
        .collect();
    Misuse(format!(
        "`{id}` is not an id: they have 25 characters, as `dimed queue list` shows"
    ))
}

fn way(text: &str) -> Result<Way, &'static str> {
    Way::parse(text).ok_or("it is local, smtp or dmtp")
}

fn status(text: &str) -> Result<Status, &'static str> {
    Status::parse(text).ok_or("it is waiting, trying, held or quarantined")
}

fn class(text: &str) -> Result<Class, &'static str> {
    Class::parse(text).ok_or("it is unreachable, dns, refused, other, tls, keys, policy or storage")
}

/// What the last attempt failed for, if that is known.
pub fn class_of(line: &QueueLine) -> Option<Class> {
    let entry = line.entry.as_ref().ok()?;
    Class::of_note(entry.last_note.as_deref()?)
}

fn age(text: &str) -> Result<Duration, &'static str> {
    let wrong = "a number with s, m, h or d is wanted, such as 90m";
    let unit = match text.chars().last() {
        Some('s') => 1,
        Some('m') => 60,
        Some('h') => 3600,
        Some('d') => 86_400,
        _ => return Err(wrong),
    };
    let number: u64 = text[..text.len() - 1].parse().map_err(|_| wrong)?;
    number.checked_mul(unit).map(Duration::from_secs).ok_or(wrong)
}

/// How old mail is.
pub fn old(now: Timestamp, accepted_at: Timestamp) -> String {
    let secs = now.since(accepted_at).as_secs();
    match secs {
        0..60 => format!("{secs} s old"),
        60..3600 => format!("{} min old", secs / 60),
        _ => format!("{} h old", secs / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_have_a_unit() {
        assert_eq!(age("90m"), Ok(Duration::from_secs(5400)));
        assert_eq!(age("0d"), Ok(Duration::ZERO));
        for wrong in [
            "",
            "5",
            "m",
            "-1s",
            "1.5h",
            "5w",
            "ü",
            "99999999999999999999d",
            "18446744073709551615d",
        ] {
            assert!(age(wrong).is_err(), "{wrong}");
        }
    }
}
