//! Takes what `sendmail` left in the drop folder into the spool.
//!
//! `sendmail` needs no rights and no running daemon: it writes a file, makes it durable, and has done its part. A message goes
//! on from here as if it had been submitted, but for the author, who is whoever the program says: users of this host are
//! trusted as far as Postfix trusts them. `Received` names the user by number.
//!
//! The owners of the files take turns, and a pass takes a second or so: nobody keeps the others waiting for long. A file that
//! cannot be taken now stays, and is left alone for some time.
//!
//! A file is removed after the commit. If we are killed in between, the message is known by the file's name and content, and is not
//! taken twice. Another message under a name that was used before is taken.

mod filtering;
mod folder;
mod report;
mod returned;
mod turns;

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use self::filtering::Passed;
use self::folder::{Folder, Found, LeftFile};
pub use self::folder::{READY, UNFINISHED, Unusable};
use self::report::Report;
use self::returned::Fault;
use self::turns::{Candidate, Delayed};
use super::Services;
use super::filtering::Letter;
use super::intake::{Complete, Completion, Failure, Intake, MAX_HEADER};
use super::reload::Current;
use super::session::addressees;
use crate::accounts::{Resolution, Target};
use crate::base::id::QueueId;
use crate::base::{metrics, observe};
use crate::crypto::hash::Sha512;
use crate::mail::address::{Mailbox, ReversePath};
use crate::mail::demand::Demand;
use crate::mail::dropped::{Dropped, Error as EnvelopeError, MAX_ENVELOPE};
use crate::mail::dsn::HEADER_BYTES;
use crate::mail::headers::{self, Collector, Gathered};
use crate::mail::local::{self, Author};
use crate::mail::notify::{MessageRequest, Notify, RecipientRequest};
use crate::mail::reply::Reply;
use crate::mail::trace::{Arrival, Received};
use crate::queue::priority::Priority;
use crate::smtp::data::Encoder;
use crate::store::{self, Addressee, Committed, Content, Envelope, NewMessage, ReplayEntry, Source};

/// Time between two looks at the folder.
const EVERY: Duration = Duration::from_secs(1);
/// The folder is looked at for this part of the time at most, however much others put there.
const SHARE: u32 = 5;
/// But nobody waits for longer than this.
const PAUSE: Duration = Duration::from_secs(5);
/// How long files are taken before the folder is looked at again.
const WORK: Duration = Duration::from_secs(1);

/// How long a file stays that could not be taken, before it is tried again.
const AGAIN: Duration = Duration::from_secs(5);
/// The same of another version's: we are not likely to know it soon.
const AGAIN_IF_LATER: Duration = Duration::from_secs(10 * 60);

/// Fields that final delivery adds. A message that is sent once more has those of its first delivery (RFC 5321 §4.4).
const OF_DELIVERY: [&str; 3] = ["Return-Path", "Delivered-To", "X-Original-To"];

/// How long a message that was taken is known: its file goes at once, or when the daemon is back.
const KNOWN_FOR: Duration = Duration::from_secs(90 * 24 * 3600);

/// Octets that a header may get beside what it says: Date and Message-ID.
const SUPPLIED: usize = 1024;

/// Octets handled at a time.
const PIECE: usize = 64 * 1024;

/// The least that is taken, whatever the limits say: as much as `sendmail` takes where it cannot read them.
pub const MESSAGE_BYTES: u64 = 50 << 20;

/// Why a file is not taken.
#[derive(Debug, thiserror::Error)]
enum Refused {
    /// It stays, for another try.
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error(transparent)]
    Accounts(#[from] crate::accounts::Error),
    #[error("the file cannot be read")]
    Read(#[from] io::Error),
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    #[error("an address in the envelope cannot be read")]
    Address,
    #[error("it is not as long as it says")]
    Size,
    #[error(transparent)]
    Message(Failure),
    /// It stays, for another try.
    #[error("a filter puts it off: {0}")]
    Later(Reply),
}

/// A message of the folder that is complete in the spool.
struct Mail {
    id: QueueId,
    sender: Option<Mailbox>,
    notify: Notify,
    request: MessageRequest,
    /// Those whom the envelope names, and whom each of them leads to.
    named: Vec<(Mailbox, Vec<Addressee>)>,
    letter: Letter,
    demand: Demand,
}

impl Refused {
    /// Whether the file is as good as any, and we cannot take it now.
    fn is_ours(&self) -> bool {
        match self {
            Self::Store(_) | Self::Accounts(_) | Self::Read(_) | Self::Later(_) => true,
            Self::Message(Failure::Store(_) | Failure::Interrupted) => true,
            Self::Message(_) | Self::Envelope(_) | Self::Address | Self::Size => false,
        }
    }
}

/// Whether `sendmail` may leave a message with such a front: header, and whatever of the text came with it. What it lacks has
/// been completed.
pub fn demand_acceptable(front: &[u8]) -> Result<(), Failure> {
    super::intake::demand_submittable(front, MAX_HEADER - SUPPLIED)
}

/// Whether a daemon of that user can use the folder.
pub fn probe(path: &Path, user: u32) -> Result<(), Unusable> {
    Folder::open_of(path, user).map(drop)
}

/// Looks at the folder until the daemon stops.
pub async fn run(current: Arc<Current>, stop: CancellationToken) {
    let services = current.get();
    let Some(path) = services.config.local.drop_folder() else {
        return;
    };
    let mut pickup = Pickup {
        services,
        path,
        delayed: Delayed::default(),
        last: None,
    };
    let mut trouble = Some(String::new());
    loop {
        let started = Instant::now();
        pickup.services = current.get();
        let looked = stop.run_until_cancelled(pickup.pass()).await;
        let Some(looked) = looked else {
            return;
        };
        let now = looked.err().map(|error| error.to_string());
        if now != trouble {
            tell(now.as_deref());
        }
        trouble = now;
        let pause = (started.elapsed() * SHARE).clamp(EVERY, PAUSE);
        if stop
            .run_until_cancelled(tokio::time::sleep(pause))
            .await
            .is_none()
        {
            return;
        }
    }
}

/// Once for each change.
fn tell(trouble: Option<&str>) {
    match trouble {
        Some(reason) => tracing::warn!(
            event = observe::LOCAL_FOLDER_UNUSABLE,
            reason,
            "what sendmail leaves is not taken"
        ),
        None => tracing::info!(
            event = observe::LOCAL_FOLDER_USED,
            "what sendmail leaves is taken"
        ),
    }
}

struct Pickup {
    services: Arc<Services>,
    path: PathBuf,
    /// Files that stay for now.
    delayed: Delayed,
    /// Who had the last turn.
    last: Option<u32>,
}

impl Pickup {
    /// One look, and as much of what it found as there is time for.
    async fn pass(&mut self) -> Result<(), Unusable> {
        let Some(_taking) = self.services.pause.enter() else {
            return Ok(());
        };
        let Some((folder, found)) = self.look().await? else {
            return Ok(());
        };
        if found.removed > 0 {
            tracing::warn!(
                event = observe::LOCAL_FILE_REFUSED,
                count = found.removed,
                user.id = found.removed_of,
                "what had no place in the drop folder was removed"
            );
        }
        let started = Instant::now();
        let mut report = Report::default();
        for candidate in found.waiting.by_turns(self.last) {
            if started.elapsed() > WORK {
                break;
            }
            self.last = Some(candidate.uid);
            self.handle(&folder, candidate, &mut report).await;
        }
        report.end();
        Ok(())
    }

    async fn look(&mut self) -> Result<Option<(Folder, Found)>, Unusable> {
        let path = self.path.clone();
        let mut delayed = std::mem::take(&mut self.delayed);
        let looked = tokio::task::spawn_blocking(move || {
            delayed.forget_until(Instant::now());
            let looked = look(&path, &delayed);
            (looked, delayed)
        });
        let Ok((looked, delayed)) = looked.await else {
            return Ok(None);
        };
        self.delayed = delayed;
        looked.map(Some)
    }

    /// One file: it goes, or stays for some time. Whatever becomes of it, the others have their turn.
    async fn handle(&mut self, folder: &Folder, candidate: Candidate, report: &mut Report) {
        let Candidate { name, uid, mark } = candidate;
        let mut stays = match folder.take(name.clone()) {
            Ok(Some(letter)) => self.settle(letter, report).await,
            Ok(None) => Some(AGAIN),
            Err(error) => {
                report.left(uid, &error);
                Some(AGAIN)
            }
        };
        if stays.is_none()
            && let Err(error) = folder.remove(&name)
        {
            report.left(uid, &error);
            stays = Some(AGAIN);
        }
        if let Some(time) = stays {
            self.delayed.add(mark, Instant::now() + time);
        }
    }

    /// Takes a message, or tells why not. The answer is how long the file stays; `None` if it goes.
    async fn settle(&self, letter: LeftFile, report: &mut Report) -> Option<Duration> {
        let (uid, is_old) = (letter.uid, letter.is_old);
        match self.take(letter).await {
            Ok(()) => None,
            Err(Refused::Envelope(EnvelopeError::Version)) if !is_old => {
                report.later(uid);
                Some(AGAIN_IF_LATER)
            }
            Err(error) if error.is_ours() => {
                report.left(uid, &error);
                Some(AGAIN)
            }
            Err(error) => {
                report.refused(uid, &error);
                None
            }
        }
    }

    /// Takes a message into the spool.
    async fn take(&self, letter: LeftFile) -> Result<(), Refused> {
        let uid = letter.uid;
        let mut reader = Opened::read(letter, self.most_bytes()).await?;
        let entry = ReplayEntry::of_whole(reader.key, self.services.clock.now().after(KNOWN_FOR));
        let origin = &self.services.host.origin;
        let envelope = reader.dropped.clone();
        let sender = match envelope.sender.as_str() {
            "" => None,
            sender => Some(self.services.host.named(sender).ok_or(Refused::Address)?),
        };
        let named = self.recipients(&envelope, sender.as_ref()).await?;
        if named.iter().all(|(_, addressees)| addressees.is_empty()) {
            // All of them are aliases whose mail goes nowhere.
            return Ok(());
        }
        let id = QueueId::random(&mut rand::rng());
        let intake = self.begin(id, uid, sender.as_ref()).await?;
        // Nobody is the author of what comes from nobody.
        let author = match &sender {
            Some(sender) => sender.clone(),
            None => local::qualified("mailer-daemon", origin).ok_or(Refused::Address)?,
        };
        let author = Author {
            mailbox: &author,
            name: &envelope.name,
            origin,
        };
        let front = reader.front();
        let complete = match reader.poured(intake, &author).await {
            Ok(complete) => complete,
            Err(error) => {
                if let Some(fault) = Fault::of(&error) {
                    self.tell_sender(sender.as_ref(), &envelope, (&fault, &front[..]), entry)
                        .await?;
                }
                return Err(error);
            }
        };
        let mail = Mail {
            id,
            sender,
            notify: envelope.notify,
            request: envelope.request,
            named,
            letter: Letter {
                writer: complete.writer,
                eight_bit: complete.eight_bit,
            },
            demand: complete.demand,
        };
        let (demand, request) = (mail.demand, mail.request.clone());
        let Some(passed) = self.filter(mail, &entry).await? else {
            return Ok(());
        };
        let (count, is_held) = (passed.recipients.len(), passed.hold.is_some());
        let sender = ReversePath(passed.sender.clone());
        self.commit(id, passed, (demand, request), entry).await?;
        tracing::info!(
            event = observe::LOCAL_MESSAGE_TAKEN,
            message.id = %id,
            user.id = uid,
            size_bytes = reader.size,
            sender = self.services.names().hidden_sender(&sender),
            recipients = count,
            held = is_held,
            "a message was taken from the drop folder"
        );
        Ok(())
    }

    fn most_bytes(&self) -> u64 {
        self.services.config.limits.message_bytes.get().max(MESSAGE_BYTES)
    }

    /// Everybody whom the recipients stand for. Those who are nobody stay: the queue sends the sender a report. If nobody would
    /// get that, the postmaster gets the message instead.
    async fn recipients(
        &self,
        envelope: &Dropped,
        sender: Option<&Mailbox>,
    ) -> Result<Vec<(Mailbox, Vec<Addressee>)>, Refused> {
        let can_come_back = self.takes_reports(sender).await?;
        let mut all = Vec::new();
        for name in &envelope.recipients {
            let named = self.services.host.named(name).ok_or(Refused::Address)?;
            let targets = self.targets(&named, can_come_back).await?;
            let request = RecipientRequest {
                notify: envelope.notify,
                original: None,
            };
            let addressees = addressees(&named, targets, request);
            all.push((named, addressees));
        }
        Ok(all)
    }

    /// Whether a report to the sender reaches somebody, as far as we can know.
    async fn takes_reports(&self, sender: Option<&Mailbox>) -> Result<bool, Refused> {
        let Some(sender) = sender else {
            return Ok(false);
        };
        match self.services.accounts.resolve_for_programs(sender).await {
            Ok(Resolution::Targets(_) | Resolution::NotLocal) => Ok(true),
            Ok(Resolution::Unknown) | Err(crate::accounts::Error::AliasLoop) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    async fn targets(&self, named: &Mailbox, can_come_back: bool) -> Result<Vec<Mailbox>, Refused> {
        let accounts = &self.services.accounts;
        let resolved = match can_come_back {
            true => accounts.resolve_for_programs(named).await,
            false => accounts.resolve_to_somebody(named).await,
        };
        match resolved {
            Ok(Resolution::Targets(targets)) => Ok(targets.into_iter().map(Target::into_mailbox).collect()),
            Ok(Resolution::Unknown | Resolution::NotLocal) | Err(crate::accounts::Error::AliasLoop) => {
                Ok(vec![named.clone()])
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn begin(&self, id: QueueId, uid: u32, sender: Option<&Mailbox>) -> Result<Intake, store::Error> {
        let now = self.services.clock.now();
        let host = &self.services.config.server.hostname;
        let uid = self.services.config.local.names_user.then_some(uid);
        let trace = Received {
            arrival: &Arrival::Local { uid },
            host,
            id,
            time: now,
        };
        let domain = sender.map_or(host, Mailbox::domain).clone();
        // It has been completed by then.
        let names = None;
        let completion = Completion { domain, now, names };
        let store = self.services.store.as_ref();
        Intake::begin(store, id, host, &trace.to_string(), Some(completion)).await
    }

    async fn commit(
        &self,
        id: QueueId,
        passed: Passed,
        (demand, request): (Demand, MessageRequest),
        entry: ReplayEntry,
    ) -> Result<(), Refused> {
        let Passed {
            sender,
            letter,
            recipients,
            hold,
        } = passed;
        let now = self.services.clock.now();
        let needs_utf8 = |mailbox: &Mailbox| mailbox.needs_utf8();
        let to_utf8 = recipients
            .iter()
            .filter_map(|to| to.path.mailbox())
            .any(needs_utf8);
        let sender_path = ReversePath(sender.clone());
        let priority = Priority::of(&sender_path, recipients.len(), letter.writer.size_bytes());
        let message = NewMessage {
            id,
            envelope: Envelope {
                source: self.source(sender.as_ref()).await?,
                smtputf8: to_utf8 || sender.as_ref().is_some_and(needs_utf8),
                reverse_path: sender_path,
                eight_bit: letter.eight_bit,
                demand,
                resealed: 0,
                received_in_ms: 0,
                request,
            },
            content: Content::Mime,
            recipients,
            accepted_at: now,
            due_at: priority.due(now),
            ticket: None,
        };
        let committed = match hold {
            Some(hold) => letter.writer.commit_held(message, hold, Some(entry)).await?,
            None => letter.writer.commit_once(message, entry).await?,
        };
        if committed == Committed::Stored {
            metrics::accepted("drop");
        }
        Ok(())
    }

    /// Who answers for it: the sender's domain if it is one of ours, or else this host.
    async fn source(&self, sender: Option<&Mailbox>) -> Result<Source, store::Error> {
        let Some(sender) = sender else {
            return Ok(Source::Local);
        };
        let served = self.services.store.local_domain(sender.domain()).await?;
        Ok(served.map_or(Source::Local, |domain| Source::Domain(domain.name)))
    }
}

fn look(path: &Path, delayed: &Delayed) -> Result<(Folder, Found), Unusable> {
    let folder = Folder::open(path)?;
    let found = folder.look(delayed)?;
    Ok((folder, found))
}

fn refused(failure: Failure) -> Refused {
    match failure {
        Failure::Store(error) => Refused::Store(error),
        failure => Refused::Message(failure),
    }
}

/// A file whose envelope has been read.
struct Opened {
    file: tokio::fs::File,
    dropped: Dropped,
    /// By which the message is known if we are killed before the file is removed.
    key: [u8; 32],
    /// Octets of the message.
    size: u64,
    /// The start of the message, which came with the envelope.
    start: Vec<u8>,
}

impl Opened {
    async fn read(letter: LeftFile, most: u64) -> Result<Self, Refused> {
        let read = tokio::task::spawn_blocking(move || read_envelope(letter, most));
        read.await
            .map_err(|_| Refused::Read(io::ErrorKind::Interrupted.into()))?
    }

    /// The whole message, taken in.
    async fn poured(&mut self, mut intake: Intake, author: &Author<'_>) -> Result<Complete, Refused> {
        self.pour(&mut intake, author).await?;
        intake.finish().await.map_err(refused)
    }

    /// The message, its line ends put in order and without NUL, completed at its front.
    async fn pour(&mut self, intake: &mut Intake, author: &Author<'_>) -> Result<(), Refused> {
        let mut encoder = Encoder::counted();
        let mut front = Front::new(intake, author);
        let mut piece = std::mem::take(&mut self.start);
        let mut seen = 0u64;
        loop {
            if piece.is_empty() {
                piece = self.more().await?;
            }
            if piece.is_empty() {
                break;
            }
            seen += piece.len() as u64;
            // Its owner may go on writing.
            if seen > self.size {
                return Err(Refused::Size);
            }
            piece.retain(|octet| *octet != 0);
            let mut wire = Vec::new();
            encoder.encode(&piece, &mut wire);
            front.take(&wire).await?;
            piece.clear();
        }
        if seen != self.size {
            return Err(Refused::Size);
        }
        let mut wire = Vec::new();
        encoder.finish(&mut wire);
        front.take(&wire).await?;
        front.finish().await;
        Ok(())
    }

    /// The start of the message with its line ends in order, as far as a report can use it.
    fn front(&self) -> Vec<u8> {
        let start = self.start.iter().take(HEADER_BYTES).copied();
        let start: Vec<u8> = start.filter(|octet| *octet != 0).collect();
        let mut wire = Vec::new();
        Encoder::counted().encode(&start, &mut wire);
        wire
    }

    async fn more(&mut self) -> io::Result<Vec<u8>> {
        let mut piece = vec![0; PIECE];
        let count = tokio::io::AsyncReadExt::read(&mut self.file, &mut piece).await?;
        piece.truncate(count);
        Ok(piece)
    }
}

/// Completes a message at its front, and lets the rest pass.
struct Front<'a> {
    intake: &'a mut Intake,
    author: &'a Author<'a>,
    begun: bool,
    header: Option<Collector>,
}

impl<'a> Front<'a> {
    fn new(intake: &'a mut Intake, author: &'a Author<'a>) -> Self {
        Self {
            intake,
            author,
            begun: false,
            header: Some(Collector::new(MAX_HEADER)),
        }
    }

    async fn take(&mut self, wire: &[u8]) -> Result<(), Refused> {
        if !self.begun && !wire.is_empty() {
            self.begun = true;
            if !local::begins_with_header(wire) {
                self.finish().await;
            }
        }
        let Some(header) = &mut self.header else {
            self.intake.push(wire).await;
            return Ok(());
        };
        match header.push(wire) {
            Gathered::Incomplete => {}
            Gathered::TooLong => return Err(Refused::Message(Failure::HeaderTooLong)),
            Gathered::Complete => self.finish().await,
        }
        Ok(())
    }

    /// The header is complete.
    async fn finish(&mut self) {
        if let Some(header) = self.header.take() {
            let completed = local::complete(&header.finish(), self.author);
            let split = headers::split(&completed);
            self.intake
                .push(&headers::without(split.block, &OF_DELIVERY))
                .await;
            self.intake.push(split.rest).await;
        }
    }
}

/// What differs is within the front of a file, or makes it longer.
fn key(name: &str, length: u64, front: &[u8]) -> [u8; 32] {
    let digest = Sha512::of(&[b"dropped\0", name.as_bytes(), b"\0", &length.to_be_bytes(), front]).finish();
    digest.split_first_chunk::<32>().map_or([0; 32], |(key, _)| *key)
}

fn read_envelope(letter: LeftFile, most: u64) -> Result<Opened, Refused> {
    let LeftFile {
        mut file,
        name,
        size: length,
        ..
    } = letter;
    let mut start = Vec::new();
    let most_of_envelope = u64::try_from(MAX_ENVELOPE).unwrap_or(u64::MAX);
    (&mut file).take(most_of_envelope).read_to_end(&mut start)?;
    let (dropped, at, size) = Dropped::decode(&start)?;
    if size > most || length != size.saturating_add(at as u64) {
        return Err(Refused::Size);
    }
    let key = key(&name, length, &start);
    start.drain(..at);
    Ok(Opened {
        file: tokio::fs::File::from_std(file),
        dropped,
        key,
        size,
        start,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::io::Write as _;

    use super::*;
    use crate::base::time::{Clock, ManualClock, Timestamp};
    use crate::crypto::at_rest::Key;
    use crate::store::MasterKey;
    use crate::store::sqlite::SqliteStore;

    /// Takes a file that says it has a message of `said` octets, has as many, and gets `more` once it has been opened.
    async fn poured(said: usize, more: usize) -> Result<(), Refused> {
        let folder = tempfile::tempdir().unwrap();
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(Timestamp(1_700_000_000_000)));
        let master = MasterKey::new(Key::from_bytes([7; 32]));
        let store = SqliteStore::open(&folder.path().join("dimed.db"), master, clock).await;
        let store = store.unwrap();
        let path = folder.path().join("letter");
        let head = format!("dimed 1 {said}\nsender: a@a.test\nrecipient: b@b.test\n\n");
        std::fs::write(&path, head + &"x\n".repeat(said / 2)).unwrap();
        let file = std::fs::File::open(&path).unwrap();
        let size = file.metadata().unwrap().len();
        let letter = LeftFile {
            name: "letter".into(),
            uid: 0,
            size,
            is_old: false,
            file,
        };
        let mut opened = Opened::read(letter, MESSAGE_BYTES).await?;
        let mut owner = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
        owner.write_all(&b"y\n".repeat(more / 2)).unwrap();
        let mailbox: Mailbox = "a@a.test".parse().unwrap();
        let author = Author {
            mailbox: &mailbox,
            name: "",
            origin: mailbox.domain(),
        };
        let completion = Completion {
            domain: mailbox.domain().clone(),
            now: Timestamp(0),
            names: None,
        };
        let id = QueueId::random(&mut rand::rng());
        let intake = Intake::begin(&store, id, mailbox.domain(), "", Some(completion)).await;
        let poured = opened.pour(&mut intake?, &author).await;
        if let Refused::Size = poured.as_ref().err().unwrap_or(&Refused::Address) {
            let read = tokio::io::AsyncSeekExt::stream_position(&mut opened.file)
                .await
                .unwrap();
            assert!(read <= size + PIECE as u64, "{read}: it ends at the limit");
        }
        poured
    }

    #[tokio::test]
    async fn a_file_that_grows_while_it_is_read_ends_at_what_it_says() {
        for said in [10, 3 * PIECE] {
            assert!(poured(said, 0).await.is_ok(), "{said}");
            for more in [2, 100 * PIECE] {
                let refused = poured(said, more).await;
                assert!(matches!(refused, Err(Refused::Size)), "{said} {more}");
            }
        }
    }
}
