//! One delivery attempt each, one outcome per recipient.

pub mod body;
pub mod dmtp;
pub mod letter;
pub mod lmtp;
pub mod local;
pub mod maildir;
pub mod seal;
pub mod session;
pub mod smtp;
pub mod windows;
pub mod wrapper;

use std::fmt;

use crate::mail::reply::{EnhancedStatus, Reply};

/// What one attempt did for one recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// In a mailbox of ours.
    Delivered,
    /// Accepted by the next host.
    Relayed {
        /// What it said.
        remote: RemoteReply,
        /// It was told what the sender asked for, and reports what becomes of the message (RFC 3461).
        reports: bool,
    },
    /// The address stands for others, who get the message in its place.
    Expanded,
    /// Worth another attempt.
    Deferred(Diagnosis),
    /// Never to succeed.
    Failed(Diagnosis),
}

impl Outcome {
    /// Whether the recipient needs no further attempt, and is not to be reported as one who does without the message.
    pub fn is_success(&self) -> bool {
        matches!(self, Self::Delivered | Self::Relayed { .. } | Self::Expanded)
    }

    /// Deferred or failed, as the first digit of the reply says.
    pub fn from_refusal(host: &str, reply: &Reply) -> Self {
        let diagnosis = Diagnosis::remote(host, reply);
        if reply.is_permanent() {
            Self::Failed(diagnosis)
        } else {
            Self::Deferred(diagnosis)
        }
    }
}

/// Whether the other side was there, for those who decide how many attempts are made at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Contact {
    /// Nobody was asked, or it is no matter of being there.
    #[default]
    Unknown,
    /// A host answered.
    Reached,
    /// A host answered that it wants less at a time.
    Busy,
    /// None did, or none went on answering.
    Unreachable,
}

/// Why an attempt did not succeed, in words fit for the sender.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnosis {
    /// RFC 3463 code for the report; its class is made to fit the action there.
    pub status: EnhancedStatus,
    /// One sentence.
    pub text: String,
    /// What the other side said, if it said anything.
    pub remote: Option<RemoteReply>,
}

impl Diagnosis {
    /// A finding of our own.
    pub fn local(status: EnhancedStatus, text: impl Into<String>) -> Self {
        Self {
            status,
            text: text.into(),
            remote: None,
        }
    }

    /// A refusal by the other side.
    pub fn remote(host: &str, reply: &Reply) -> Self {
        let class = if reply.is_permanent() { 5 } else { 4 };
        let status = reply
            .enhanced
            .filter(|status| status.0 == class)
            .unwrap_or(EnhancedStatus(class, 0, 0));
        let remote = RemoteReply {
            host: host.to_owned(),
            reply: reply.to_string(),
        };
        Self {
            status,
            text: format!("{host} refused the message"),
            remote: Some(remote),
        }
    }
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.remote {
            Some(remote) => write!(f, "{}: {}", self.text, remote.reply),
            None => write!(f, "{} {}", self.status, self.text),
        }
    }
}

/// A reply and who gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteReply {
    /// Host name.
    pub host: String,
    /// Code and text on one line, without control characters.
    pub reply: String,
}
