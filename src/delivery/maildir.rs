//! Local delivery into Maildirs: tmp, fsync, rename into new, fsync the directory.
//!
//! Octets are stored as they come, CRLF line ends included. Deviation: most agents turn CRLF into LF in a Maildir;
//! readers such as Dovecot take both, and only the unchanged octets let a signature over the body still verify.
//! Source: the Maildir specification, <https://cr.yp.to/proto/maildir.html>.

mod earlier;
mod folder;
mod quota;
mod reserved;

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::runtime::Handle;

use self::reserved::{Reservation, Reserved};
use super::session::TOO_LONG;
use super::{Diagnosis, Outcome};
use crate::base::durable::sync_folder;
use crate::base::encoding::hex;
use crate::base::guarded_clock::boottime;
use crate::base::id::RecipientId;
use crate::base::time::Timestamp;
use crate::mail::address::{Domain, Mailbox};
use crate::mail::reply::EnhancedStatus;
use crate::store::{Account, Term};

pub use folder::folder_name;

/// What stands in names of messages where others have their host: the name of a copy is the same on all nodes that share
/// Maildirs.
const HOST: &str = "dimed";

/// Age at which a file in `tmp` has been left behind by a delivery that died.
const LEFT_BEHIND: Duration = Duration::from_secs(36 * 3600);

/// Whoever takes longer for a delivery may have stood still, and another node may have taken the work over.
const LATE: Duration = Duration::from_secs(5);

/// The Maildir cannot be written; trying again later may help.
#[derive(Debug, thiserror::Error)]
#[error("the mailbox cannot be written")]
pub struct Error(#[from] io::Error);

impl Error {
    /// Always a deferral: a full disk, a quota or wrong permissions can all be put right.
    pub fn outcome(&self) -> Outcome {
        let (status, text) = match self.0.kind() {
            io::ErrorKind::StorageFull => (EnhancedStatus(4, 3, 1), "the disk is full"),
            io::ErrorKind::QuotaExceeded => (EnhancedStatus(4, 2, 2), "the mailbox is full"),
            io::ErrorKind::TimedOut => (EnhancedStatus(4, 4, 7), TOO_LONG),
            _ => (EnhancedStatus(4, 3, 0), "the mailbox cannot be written"),
        };
        Outcome::Deferred(Diagnosis::local(status, text))
    }
}

/// Which copy of which message a file is.
///
/// It gives the file its name, whichever node delivers. A delivery that is repeated, because the daemon was killed before it
/// could record the first one, or another node has taken its work over, finds the first one by it, also where a mail program has
/// taken that and given it flags, so that the user sees one copy. What the user has moved into another folder meanwhile is not found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Copy {
    /// The row of the spool, which no other message ever has.
    pub recipient: RecipientId,
    /// When the message was accepted.
    pub accepted_at: Timestamp,
    /// It is sealed for each delivery anew, and may have another size each time. Then the size is not in its name.
    pub sealed_anew: bool,
    /// There was an attempt before: leases that run out, or that a start ends, have counted. It may have come so far.
    pub may_be_there: bool,
}

impl Copy {
    /// How its name starts. Before all nodes gave it the same name, the name of one stood behind this.
    fn start(&self) -> String {
        format!("{}.V{}.", self.accepted_at.unix_secs(), self.recipient)
    }
}

/// Whether a mailbox takes so much more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// It does.
    Fits,
    /// Not before something is removed from it.
    Full,
    /// Not if it was empty either.
    Never,
}

/// The Maildirs of all accounts.
#[derive(Debug)]
pub struct Maildirs {
    pattern: PathBuf,
    hostname: Domain,
    /// Octets, for accounts without a quota of their own; 0 for any.
    quota_bytes: u64,
    counter: AtomicU64,
    swept: Mutex<HashMap<PathBuf, Instant>>,
    reserved: Reserved,
}

impl Maildirs {
    /// Maildirs where `pattern` says, with `{domain}` and `{local}` for the account's address. Names of files that are being
    /// written carry `hostname`.
    pub fn new(pattern: PathBuf, hostname: Domain) -> Self {
        Self {
            pattern,
            hostname,
            quota_bytes: 0,
            counter: AtomicU64::new(0),
            swept: Mutex::default(),
            reserved: Reserved::default(),
        }
    }

    /// The same; each may hold that many octets, 0 for any, unless its account says otherwise.
    pub fn with_quota(mut self, octets: u64) -> Self {
        self.quota_bytes = octets;
        self
    }

    /// The quota that holds for an account, in octets.
    pub fn quota(&self, account: &Account) -> Option<u64> {
        let quota = account.quota_bytes.unwrap_or(self.quota_bytes);
        (quota > 0).then_some(quota)
    }

    /// Octets that the mailbox of an account holds.
    pub async fn used(&self, account: &Account) -> Result<u64, Error> {
        let quota = self.quota(account).unwrap_or(u64::MAX);
        let folder = self.folder(&account.address);
        blocking(move || quota::used(&folder, quota, 0, SystemTime::now())).await
    }

    /// Whether the mailbox of an account takes that many octets more, beside what is being written into it. Without a quota
    /// nothing is counted.
    pub async fn room(&self, account: &Account, octets: u64) -> Result<Room, Error> {
        let Some(quota) = self.quota(account) else {
            return Ok(Room::Fits);
        };
        if octets > quota {
            return Ok(Room::Never);
        }
        let folder = self.folder(&account.address);
        let mailbox = self.reserved.of(&folder);
        let look = move || mailbox.look(|reserved| fits(&folder, quota, octets, reserved));
        Ok(match blocking(look).await? {
            true => Room::Fits,
            false => Room::Full,
        })
    }

    /// The same for a message that has been written and not committed. If it fits, its room is kept for it until then.
    pub async fn reserve(&self, account: &Account, delivery: &mut Delivery) -> Result<Room, Error> {
        let Some(quota) = self.quota(account) else {
            return Ok(Room::Fits);
        };
        let octets = delivery.size_bytes;
        if octets > quota {
            return Ok(Room::Never);
        }
        let folder = self.folder(&account.address);
        let mailbox = self.reserved.of(&folder);
        let reserve = move || {
            // Where there is none, the count would have no place.
            folder::create_maildir(&folder)?;
            mailbox.reserve(octets, |reserved| fits(&folder, quota, octets, reserved))
        };
        delivery.reservation = blocking(reserve).await?;
        Ok(match delivery.reservation {
            Some(_) => Room::Fits,
            None => Room::Full,
        })
    }

    /// The Maildir of an account; addresses that differ only in case share one.
    pub fn folder(&self, account: &Mailbox) -> PathBuf {
        folder::fill(&self.pattern, account)
    }

    /// Where an earlier delivery of that copy has left it, if one has. Then it is durable there.
    ///
    /// This goes through the names of all messages in the mailbox.
    pub async fn earlier(&self, account: &Mailbox, copy: &Copy) -> Result<Option<PathBuf>, Error> {
        let (folder, start) = (self.folder(account), copy.start());
        blocking(move || earlier::find(&folder, &start)).await
    }

    /// Starts a delivery. The Maildir is made, if it is not there, once something is written into it.
    ///
    /// The first octets written are the trace fields of this delivery, then comes the message.
    pub fn begin(&self, account: &Mailbox, copy: Copy) -> Delivery {
        let folder = self.folder(account);
        Delivery {
            draft: Draft {
                temporary: folder.join("tmp").join(self.unique_name()),
                sweeps: self.is_sweep_due(&folder),
                folder,
                file: None,
                pending: Vec::new(),
            },
            start: copy.start(),
            begun: boottime(),
            size_bytes: 0,
            has_fixed_size: !copy.sealed_anew,
            reservation: None,
        }
    }

    /// Seconds, then everything that makes a name unlike any other: microseconds, process, count and chance.
    fn unique_name(&self) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        format!(
            "{}.M{}P{}Q{}R{}.{}",
            now.as_secs(),
            now.subsec_micros(),
            std::process::id(),
            self.counter.fetch_add(1, Ordering::Relaxed),
            hex(&rand::random::<[u8; 4]>()),
            self.hostname
        )
    }

    fn is_sweep_due(&self, folder: &Path) -> bool {
        let mut swept = self.swept.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let due = swept.get(folder).is_none_or(|last| last.elapsed() >= LEFT_BEHIND);
        if due {
            swept.insert(folder.to_owned(), Instant::now());
        }
        due
    }
}

/// Octets that are gathered before they are written: a file takes another thread's time each time.
const GATHERED: usize = 256 << 10;

/// A message on its way into a Maildir. Dropped without [`commit`](Self::commit) it leaves nothing.
#[derive(Debug)]
pub struct Delivery {
    draft: Draft,
    start: String,
    /// By the clock that goes on while the host sleeps.
    begun: Duration,
    size_bytes: u64,
    has_fixed_size: bool,
    reservation: Option<Reservation>,
}

impl Delivery {
    /// Appends octets.
    pub async fn write(&mut self, octets: &[u8]) -> Result<(), Error> {
        self.draft.pending.extend_from_slice(octets);
        self.size_bytes += octets.len() as u64;
        if self.draft.pending.len() >= GATHERED {
            let mut draft = std::mem::take(&mut self.draft);
            let written = move || {
                draft.write()?;
                Ok(draft)
            };
            self.draft = blocking(written).await?;
        }
        Ok(())
    }

    /// Octets written so far.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Makes the message durable and visible, and returns where it lies: if another node has delivered it meanwhile, where that
    /// has left it. An error, and nothing is left, if the term ends before.
    pub async fn commit(self, term: &Term) -> Result<PathBuf, Error> {
        let (term, runtime) = (term.clone(), Handle::current());
        blocking(move || self.place(&term, &runtime)).await
    }

    fn place(mut self, term: &Term, runtime: &Handle) -> io::Result<PathBuf> {
        self.draft.write()?.sync_all()?;
        if !runtime.block_on(term.is_ours()) {
            return Err(too_late());
        }
        if boottime().saturating_sub(self.begun) >= LATE
            && let Some(there) = earlier::find(&self.draft.folder, &self.start)?
        {
            return Ok(there);
        }
        let new = self.draft.folder.join("new");
        let target = new.join(match self.has_fixed_size {
            true => format!("{}{HOST},S={}", self.start, self.size_bytes),
            false => format!("{}{HOST}", self.start),
        });
        let (draft, size_bytes) = (&mut self.draft, self.size_bytes);
        let mut place = || -> io::Result<()> {
            // We may have been stopped since, or have waited for others who deliver here.
            if !term.lasts() {
                return Err(too_late());
            }
            draft.become_message(&target)?;
            // The message is there, whatever becomes of the count.
            let _ = quota::add(&draft.folder, size_bytes);
            Ok(())
        };
        match self.reservation {
            Some(reservation) => reservation.fill(place)?,
            None => place()?,
        }
        sync_folder(&new)?;
        Ok(target)
    }
}

/// A file in `tmp` that goes with this value, unless it has become a message meanwhile.
#[derive(Debug, Default)]
struct Draft {
    folder: PathBuf,
    temporary: PathBuf,
    /// What others have left behind is due to be removed.
    sweeps: bool,
    file: Option<File>,
    /// Not yet in the file.
    pending: Vec<u8>,
}

impl Draft {
    /// Writes what is pending.
    fn write(&mut self) -> io::Result<&File> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(create(&self.folder, &self.temporary, self.sweeps)?),
        };
        file.write_all(&std::mem::take(&mut self.pending))?;
        Ok(file)
    }

    fn become_message(&mut self, target: &Path) -> io::Result<()> {
        std::fs::rename(&self.temporary, target)?;
        self.file = None;
        Ok(())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if self.file.is_some() {
            // What is left in spite of that is swept later.
            let _ = std::fs::remove_file(&self.temporary);
        }
    }
}

/// Makes the Maildir, if it is not there, and the file.
fn create(folder: &Path, temporary: &Path, sweeps: bool) -> io::Result<File> {
    folder::create_maildir(folder)?;
    if sweeps {
        // What cannot be swept now does not keep mail from being delivered.
        let _ = folder::sweep(&folder.join("tmp"), SystemTime::now(), LEFT_BEHIND);
    }
    create_private(temporary)
}

fn too_late() -> io::Error {
    io::ErrorKind::TimedOut.into()
}

/// Whether a mailbox takes so many octets, beside what is there and what is reserved.
fn fits(folder: &Path, quota: u64, octets: u64, reserved: u64) -> io::Result<bool> {
    let wanted = octets.saturating_add(reserved);
    let used = quota::used(folder, quota, wanted, SystemTime::now())?;
    let taken = used.saturating_add(reserved);
    Ok(taken < quota && quota - taken >= octets)
}

fn create_private(path: &Path) -> io::Result<File> {
    File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, Error> {
    let done = tokio::task::spawn_blocking(work).await;
    Ok(done.map_err(io::Error::other)??)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::store::Tenure;

    fn maildirs(home: &Path) -> Maildirs {
        Maildirs::new(home.join("mail/{domain}/{local}"), "mx.example".parse().unwrap())
    }

    /// One that lasts for an hour by the clock of timers, and for that long by the steady one.
    fn term_of(steady: Duration) -> Term {
        let until = tokio::time::Instant::now() + Duration::from_secs(3_600);
        Tenure::default().term(until, boottime() + steady)
    }

    fn term() -> Term {
        term_of(Duration::from_secs(3_600))
    }

    fn copy(number: u8) -> Copy {
        let id = format!("{}{number}", "0".repeat(24));
        Copy {
            recipient: RecipientId::parse(&id).unwrap(),
            accepted_at: Timestamp(1_800_000_000_000),
            sealed_anew: false,
            may_be_there: false,
        }
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    #[tokio::test]
    async fn delivers_the_octets_given_privately_with_their_size_in_the_name() {
        let home = tempfile::tempdir().unwrap();
        let maildirs = maildirs(home.path());
        let bob: Mailbox = "Bob@hismail.test".parse().unwrap();
        let mut delivery = maildirs.begin(&bob, copy(1));
        delivery.write(b"Return-Path: <>\r\n").await.unwrap();
        delivery.write(b"\r\ntext\r\n").await.unwrap();
        let path = delivery.commit(&term()).await.unwrap();

        let folder = home.path().join("mail/hismail.test/bob");
        assert_eq!(path.parent().unwrap(), folder.join("new"));
        let name = path.file_name().unwrap().to_str().unwrap();
        assert_eq!(name, format!("1800000000.V{}.dimed,S=25", copy(1).recipient));
        assert_eq!(std::fs::read(&path).unwrap(), b"Return-Path: <>\r\n\r\ntext\r\n");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(folder.metadata().unwrap().permissions().mode() & 0o777, 0o700);
        assert!(names(&folder.join("tmp")).is_empty());
        assert!(folder.join("cur").is_dir());
    }

    #[tokio::test]
    async fn a_delivery_given_up_leaves_nothing() {
        let home = tempfile::tempdir().unwrap();
        let maildirs = maildirs(home.path());
        let bob: Mailbox = "bob@hismail.test".parse().unwrap();
        let mut delivery = maildirs.begin(&bob, copy(1));
        delivery.write(&[b'x'; GATHERED]).await.unwrap();
        assert_eq!(names(&maildirs.folder(&bob).join("tmp")).len(), 1);
        drop(delivery);
        assert!(names(&maildirs.folder(&bob).join("tmp")).is_empty());
        assert!(names(&maildirs.folder(&bob).join("new")).is_empty());
    }

    /// Another node may have delivered it by now, and the user may have moved it anywhere.
    #[tokio::test]
    async fn a_delivery_whose_lease_ran_out_before_it_was_named_leaves_nothing() {
        let home = tempfile::tempdir().unwrap();
        let maildirs = maildirs(home.path());
        let bob: Mailbox = "bob@hismail.test".parse().unwrap();
        let mut delivery = maildirs.begin(&bob, copy(1));
        delivery.write(b"text").await.unwrap();
        let late = delivery.commit(&term_of(Duration::ZERO)).await.unwrap_err();
        let outcome = late.outcome();
        assert_eq!(
            outcome,
            Outcome::Deferred(Diagnosis::local(EnhancedStatus(4, 4, 7), TOO_LONG))
        );
        assert!(names(&maildirs.folder(&bob).join("tmp")).is_empty());
        assert!(names(&maildirs.folder(&bob).join("new")).is_empty());
    }

    #[tokio::test]
    async fn a_repeated_delivery_replaces_the_first_and_no_other() {
        let home = tempfile::tempdir().unwrap();
        let maildirs = maildirs(home.path());
        let bob: Mailbox = "bob@hismail.test".parse().unwrap();
        for number in [1, 2, 1] {
            let mut delivery = maildirs.begin(&bob, copy(number));
            delivery.write(&[b'0' + number]).await.unwrap();
            delivery.commit(&term()).await.unwrap();
        }
        let new = maildirs.folder(&bob).join("new");
        let mut bodies: Vec<_> = names(&new)
            .iter()
            .map(|name| std::fs::read(new.join(name)).unwrap())
            .collect();
        bodies.sort();
        assert_eq!(bodies, [b"1", b"2"]);
    }

    #[tokio::test]
    async fn a_repeated_delivery_replaces_the_first_though_it_was_sealed_anew_to_another_size() {
        let home = tempfile::tempdir().unwrap();
        let maildirs = maildirs(home.path());
        let bob: Mailbox = "bob@hismail.test".parse().unwrap();
        for text in [&b"sealed"[..], b"sealed again"] {
            let copy = Copy {
                sealed_anew: true,
                ..copy(1)
            };
            let mut delivery = maildirs.begin(&bob, copy);
            delivery.write(text).await.unwrap();
            delivery.commit(&term()).await.unwrap();
        }
        let new = maildirs.folder(&bob).join("new");
        let left = names(&new);
        assert_eq!(left.len(), 1, "{left:?}");
        assert_eq!(std::fs::read(new.join(&left[0])).unwrap(), b"sealed again");
    }

    /// The Maildirs as another host has them.
    fn of_another_host(home: &Path) -> Maildirs {
        Maildirs::new(home.join("mail/{domain}/{local}"), "b.example".parse().unwrap())
    }

    async fn deliver(maildirs: &Maildirs, text: &[u8]) -> PathBuf {
        let bob: Mailbox = "bob@hismail.test".parse().unwrap();
        let mut delivery = maildirs.begin(&bob, copy(1));
        delivery.write(text).await.unwrap();
        delivery.commit(&term()).await.unwrap()
    }

    #[tokio::test]
    async fn two_hosts_give_a_copy_the_same_name() {
        let home = tempfile::tempdir().unwrap();
        let first = deliver(&maildirs(home.path()), b"text").await;
        let second = deliver(&of_another_host(home.path()), b"text").await;
        assert_eq!(first, second);
        assert_eq!(names(first.parent().unwrap()).len(), 1);
    }

    #[tokio::test]
    async fn what_another_host_was_writing_when_it_died_is_no_second_copy() {
        let home = tempfile::tempdir().unwrap();
        let bob: Mailbox = "bob@hismail.test".parse().unwrap();
        let (dying, other) = (maildirs(home.path()), of_another_host(home.path()));
        let mut half = dying.begin(&bob, copy(1));
        half.write(b"te").await.unwrap();
        assert_eq!(other.earlier(&bob, &copy(1)).await.unwrap(), None);
        let path = deliver(&other, b"text").await;
        assert_eq!(other.earlier(&bob, &copy(1)).await.unwrap(), Some(path.clone()));
        // It was only asleep.
        half.write(b"xt").await.unwrap();
        assert_eq!(half.commit(&term()).await.unwrap(), path);
        assert_eq!(names(path.parent().unwrap()).len(), 1);
    }

    #[tokio::test]
    async fn an_earlier_delivery_is_found_whatever_a_mail_program_made_of_it_and_whoever_named_it() {
        let home = tempfile::tempdir().unwrap();
        let bob: Mailbox = "bob@hismail.test".parse().unwrap();
        let other = of_another_host(home.path());
        let path = deliver(&maildirs(home.path()), b"text").await;
        let cur = other.folder(&bob).join("cur");
        let named = path.file_name().unwrap().to_str().unwrap().to_owned();
        let as_before = format!("1800000000.V{}.mx.example,S=4", copy(1).recipient);
        let mut there = path;
        for name in [named, as_before] {
            for flags in [":2,", ":2,FS", ",W=5:2,Sab"] {
                let taken = cur.join(format!("{name}{flags}"));
                std::fs::rename(&there, &taken).unwrap();
                assert_eq!(other.earlier(&bob, &copy(1)).await.unwrap(), Some(taken.clone()));
                there = taken;
            }
        }
        assert_eq!(other.earlier(&bob, &copy(2)).await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_host_that_stood_still_leaves_what_another_has_delivered_and_the_user_has_read() {
        let home = tempfile::tempdir().unwrap();
        let bob: Mailbox = "bob@hismail.test".parse().unwrap();
        let still = maildirs(home.path());
        let mut delivery = still.begin(&bob, copy(1));
        delivery.write(b"text").await.unwrap();
        let path = deliver(&of_another_host(home.path()), b"text").await;
        let name = path.file_name().unwrap().to_str().unwrap();
        let taken = still.folder(&bob).join("cur").join(format!("{name}:2,S"));
        std::fs::rename(&path, &taken).unwrap();
        delivery.begun = boottime().saturating_sub(LATE);
        assert_eq!(delivery.commit(&term()).await.unwrap(), taken);
        assert!(names(&still.folder(&bob).join("new")).is_empty());
        assert!(names(&still.folder(&bob).join("tmp")).is_empty());
    }

    #[tokio::test]
    async fn of_messages_written_at_the_same_time_those_that_fit_are_kept() {
        let home = tempfile::tempdir().unwrap();
        let maildirs = maildirs(home.path()).with_quota(100);
        let bob = Account {
            address: "bob@hismail.test".parse().unwrap(),
            password_hash: String::new(),
            scram_verifier: None,
            trust_mode: crate::store::TrustMode::Trustful,
            created_at: Timestamp(0),
            trap_since: None,
            disabled_at: None,
            quota_bytes: None,
        };
        let mut written = Vec::new();
        for number in 1..=3 {
            let mut delivery = maildirs.begin(&bob.address, copy(number));
            delivery.write(&[b'x'; 60]).await.unwrap();
            written.push(delivery);
        }
        let mut third = written.pop().unwrap();
        let mut second = written.pop().unwrap();
        let mut first = written.pop().unwrap();
        assert_eq!(maildirs.reserve(&bob, &mut first).await.unwrap(), Room::Fits);
        assert_eq!(maildirs.reserve(&bob, &mut second).await.unwrap(), Room::Full);
        assert_eq!(maildirs.room(&bob, 41).await.unwrap(), Room::Full);
        assert_eq!(maildirs.room(&bob, 40).await.unwrap(), Room::Fits);
        // The first is given up, and its room with it.
        drop(first);
        assert_eq!(maildirs.reserve(&bob, &mut second).await.unwrap(), Room::Fits);
        second.commit(&term()).await.unwrap();
        assert_eq!(maildirs.reserve(&bob, &mut third).await.unwrap(), Room::Full);
        assert_eq!(maildirs.used(&bob).await.unwrap(), 60);
        assert_eq!(maildirs.room(&bob, 40).await.unwrap(), Room::Fits);
    }

    #[tokio::test]
    async fn names_never_repeat() {
        let home = tempfile::tempdir().unwrap();
        let maildirs = maildirs(home.path());
        let names: std::collections::HashSet<String> = (0..100).map(|_| maildirs.unique_name()).collect();
        assert_eq!(names.len(), 100);
        assert!(names.iter().all(|name| !name.contains(['/', ':'])));
    }

    #[tokio::test]
    async fn a_mailbox_that_cannot_be_written_is_tried_again() {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("mail"), b"a file in the way").unwrap();
        let delivery = maildirs(home.path()).begin(&"bob@hismail.test".parse().unwrap(), copy(1));
        let outcome = delivery.commit(&term()).await.unwrap_err().outcome();
        assert!(matches!(
            outcome,
            Outcome::Deferred(Diagnosis {
                status: EnhancedStatus(4, 3, 0),
                ..
            })
        ));
    }
}
