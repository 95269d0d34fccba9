//! What users whose keys are at home are told before their key sets run out: nobody but them can sign another one.

use super::Renewal;
use crate::base::id::QueueId;
use crate::base::time::Timestamp;
use crate::crypto::hash::Sha512;
use crate::dime::key_set::SignedKeySet;
use crate::mail::address::{Domain, Mailbox, ReversePath};
use crate::mail::date::rfc5322;
use crate::mail::demand::Demand;
use crate::mail::notice::Notice;
use crate::mail::notify::MessageRequest;
use crate::signet_service::published::seconds;
use crate::store::{self, Committed, Content, Envelope, KeySetAhead, NewMessage, ReplayEntry, Source, fold};

const DAY: u64 = 24 * 3600;

/// The last key set has only that long to live. Seconds.
const LATE: u64 = 14 * DAY;
/// And only that long. Seconds.
const VERY_LATE: u64 = 3 * DAY;

/// How long it is remembered that a warning was sent: longer than any key set lives. Seconds.
const REMEMBERED: u64 = 800 * DAY;

const SUBJECT: &str = "Your keys for sealed mail run out";

/// What has come to pass; each is told once for each key set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Threshold {
    /// One key set is left besides the one in use.
    OneLeft,
    /// The one in use is the last, and has two weeks left.
    Late,
    /// It has three days left.
    VeryLate,
}

/// A threshold, and the time of the key set that it is about: when it comes into use, or when it expires. Unix seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Warning {
    threshold: Threshold,
    time: u64,
}

impl Warning {
    /// What to tell the owner of the key set in use and of those signed ahead, if anything.
    pub(super) fn of(in_use: &SignedKeySet, ahead: &[KeySetAhead], now: u64) -> Option<Self> {
        let left = in_use.expires().saturating_sub(now);
        let (threshold, time) = match ahead {
            [last] => (Threshold::OneLeft, seconds(last.publish_at)),
            [] if left <= VERY_LATE => (Threshold::VeryLate, in_use.expires()),
            [] if left <= LATE => (Threshold::Late, in_use.expires()),
            _ => return None,
        };
        Some(Self { threshold, time })
    }

    fn text(&self, address: &Mailbox, host: &Domain) -> String {
        let time = rfc5322(Timestamp(0).after(std::time::Duration::from_secs(self.time)));
        let fact = match self.threshold {
            Threshold::OneLeft => format!("The last one is put into use on\n{time}."),
            Threshold::Late | Threshold::VeryLate => {
                format!("The last one is in use, and expires on\n{time}.")
            }
        };
        format!(
            "Mail to {address} is sealed with key sets that you sign at home,\nbecause your private keys are there. {fact}\n\
             After it, mail for you waits where it was written, and is returned if it waits too long.\n\n\
             Please sign some more, with your key and your signet at hand:\n\n\
             \x20   dimed key set --ahead 12 --key KEY --signet SIGNET\n\n\
             and hand the .keyset file to this server, which asks for your login password:\n\n\
             \x20   dimed key set import {address} FILE --submit {host}\n"
        )
    }

    /// The same for the same threshold of the same key set.
    fn entry(&self, address: &Mailbox, now: Timestamp) -> ReplayEntry {
        let threshold = [self.threshold as u8];
        let time = self.time.to_be_bytes();
        let name = fold(address);
        let parts = [b"key set warning\0", name.as_bytes(), b"\0", &threshold, &time];
        let digest = Sha512::of(&parts).finish();
        let (key, _) = digest.split_first_chunk().unwrap_or((&[0; 32], &[]));
        let until = now.after(std::time::Duration::from_secs(REMEMBERED));
        ReplayEntry::of_whole(*key, until)
    }
}

impl Renewal {
    /// Puts the warning on its way to the user's mailbox; whether that was not done before.
    pub(super) async fn warn(&self, address: &Mailbox, warning: Warning) -> Result<bool, store::Error> {
        let now = self.clock.now();
        let id = QueueId::random(&mut rand::rng());
        let notice = Notice {
            id,
            host: &self.host,
            to: address,
            date: now,
            subject: SUBJECT,
            text: &warning.text(address, &self.host),
        };
        let message = NewMessage {
            id,
            envelope: Envelope {
                reverse_path: ReversePath::NULL,
                source: Source::Local,
                smtputf8: address.needs_utf8(),
                eight_bit: false,
                demand: Demand::default(),
                resealed: 0,
                received_in_ms: 0,
                request: MessageRequest::default(),
            },
            content: Content::Mime,
            recipients: vec![address.clone().into()],
            accepted_at: now,
            due_at: now,
            ticket: None,
        };
        let mut writer = self.store.begin(id).await?;
        writer.write(&notice.render()).await?;
        let committed = writer.commit_once(message, warning.entry(address, now)).await?;
        Ok(committed == Committed::Stored)
    }
}
