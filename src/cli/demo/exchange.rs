//! One message from its submission to the Maildir it ends up in.

use std::time::Instant;

use super::arrive::{Arrived, Inbox, patience};
use super::letters::Letter;
use super::report::{Expected, Message, RouteTaken};
use super::send::submit;
use super::verify::{self, Carriage, Check};
use super::world::Organization;
use crate::base::id::QueueId;
use crate::mail::address::Mailbox;

/// A message to be sent.
pub struct Task<'a> {
    /// From 1.
    pub number: usize,
    /// Whose user sends it.
    pub from: &'a Organization,
    /// Whose user's Maildir is watched.
    pub watched: &'a Organization,
    /// To whom.
    pub to: Mailbox,
    /// What.
    pub letter: &'a Letter,
    /// How it is to be carried.
    pub how: How,
}

/// How a message is to be carried, and so what must be found at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// Sealed.
    Dmtp,
    /// As MIME.
    Smtp,
    /// Not at all: it comes back.
    Back,
}

impl Task<'_> {
    /// Does it. What goes wrong is part of the result.
    pub async fn run(&self) -> Message {
        let mut message = self.blank();
        let started = Instant::now();
        match self.send_and_wait(&mut message).await {
            Ok(Some((_, arrived))) if self.is_returned(&arrived) => {
                message
                    .problems
                    .push(format!("it came back: {}", verify::explanation(&arrived.octets)));
            }
            Ok(Some((id, arrived))) => {
                message.arrived = true;
                message.elapsed_ms = started.elapsed().as_millis();
                message.routes = self.routes(id, &arrived);
                message.checks = self.checks(&message.routes, &arrived);
                message.file = Some(arrived.path);
            }
            Ok(None) => message.problems.push(self.explain_silence().await),
            Err(error) => message.problems.push(format!("{error:#}")),
        }
        message
    }

    fn blank(&self) -> Message {
        Message {
            number: self.number,
            from: self.from.user.to_string(),
            to: self.to.to_string(),
            queue_id: None,
            routes: Vec::new(),
            expected: match self.how {
                How::Back => Expected::Report,
                How::Dmtp | How::Smtp => Expected::Delivery,
            },
            arrived: false,
            elapsed_ms: 0,
            checks: Vec::new(),
            file: None,
            problems: Vec::new(),
        }
    }

    async fn send_and_wait(&self, message: &mut Message) -> anyhow::Result<Option<(QueueId, Arrived)>> {
        let mut inbox = Inbox::watch(&[self.watched.maildir(), self.from.maildir()])?;
        let id = submit(self.from, &self.to, &self.letter.octets).await?;
        message.queue_id = Some(id.to_string());
        let wait = patience(self.letter.octets.len());
        let arrived = inbox.next(wait, |arrived| self.is_about(arrived)).await?;
        message.routes = self.decisions(id, &self.to, Expected::Delivery);
        Ok(arrived.map(|arrived| (id, arrived)))
    }

    /// Whether this is the message or a report about it, and not one that comes late.
    fn is_about(&self, arrived: &Arrived) -> bool {
        let id = verify::message_id(&self.letter.octets);
        id.is_none_or(|id| memchr::memmem::find(&arrived.octets, id.as_bytes()).is_some())
    }

    /// Whether this is not the message, but a report about it that nobody expected.
    fn is_returned(&self, arrived: &Arrived) -> bool {
        self.how != How::Back && !arrived.path.starts_with(self.watched.maildir())
    }

    /// What the sending host decided about the message, and about the report it made.
    fn routes(&self, id: QueueId, arrived: &Arrived) -> Vec<RouteTaken> {
        let mut routes = self.decisions(id, &self.to, Expected::Delivery);
        if self.how == How::Back {
            let report = verify::message_id(&arrived.octets);
            let report = report.and_then(|id| QueueId::parse(id.split('@').next()?));
            routes.extend(
                report
                    .into_iter()
                    .flat_map(|id| self.decisions(id, &self.from.user, Expected::Report)),
            );
        }
        routes
    }

    fn decisions(&self, id: QueueId, recipient: &Mailbox, about: Expected) -> Vec<RouteTaken> {
        let decisions = self.from.watch.decisions(id, recipient);
        let routes = decisions.iter();
        routes
            .map(|decision| RouteTaken::new(self.from.host(), about, recipient, decision))
            .collect()
    }

    fn checks(&self, routes: &[RouteTaken], arrived: &Arrived) -> Vec<Check> {
        let mut checks = match self.how {
            How::Dmtp => {
                let carriage = Carriage::Dmtp {
                    server: self.watched.host(),
                    author: &self.from.user,
                    recipient: &self.watched.user,
                };
                verify::delivered(self.letter, &arrived.octets, carriage)
            }
            How::Smtp => verify::delivered(self.letter, &arrived.octets, Carriage::Smtp),
            How::Back => verify::report(&arrived.octets, &self.to),
        };
        checks.push(Check {
            what: "went the expected way",
            passed: ways(routes) == self.how.ways(),
        });
        checks
    }

    async fn explain_silence(&self) -> String {
        let secs = patience(self.letter.octets.len()).as_secs();
        let mut text = format!("nothing came within {secs} s; what waits in the queues:");
        for organization in [self.from, self.watched] {
            let queue = organization.queue().await;
            let queue = queue.unwrap_or_else(|error| format!("{error:#}"));
            text += &format!("\n{}: {}", organization.domain, queue.trim_end());
        }
        text
    }
}

impl How {
    fn ways(self) -> &'static [&'static str] {
        match self {
            Self::Dmtp => &["dmtp"],
            Self::Smtp => &["smtp"],
            // A mixed domain without a signet for the recipient is tried by SMTP, and refuses; the report stays here.
            Self::Back => &["smtp", "local"],
        }
    }
}

fn ways(routes: &[RouteTaken]) -> Vec<&'static str> {
    routes.iter().map(|route| route.route).collect()
}
