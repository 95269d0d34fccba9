//! The daemon is killed again and again, in every phase of a message's way; each message that was acknowledged reaches exactly
//! one final state for each recipient (RFC 5321 §6.1).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::num::NonZeroU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dimed::config::Config;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::time::{sleep, timeout};

use super::faults::Faults;
use super::host::{Host, Seen};
use super::is_long;
use crate::support::PATIENCE;
use crate::support::child::Process;
use crate::support::eventually;
use crate::support::loopback::Loopback;
use crate::support::maildir::split;
use crate::support::organization::Organization;
use crate::support::talk::Talk;
use crate::support::world::World;

const SESSIONS: usize = 4;

/// When the daemon is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    /// While messages are being submitted.
    Accept,
    /// Soon after the start, when what waits is claimed.
    Claim,
    /// When half of a message is at the next host.
    Transfer,
    /// When the next host has said 250, before that is recorded.
    Settle,
    /// When the next host has refused a recipient, so that a report is being made.
    Bounce,
}

const PHASES: [Phase; 5] = [
    Phase::Accept,
    Phase::Claim,
    Phase::Transfer,
    Phase::Settle,
    Phase::Bounce,
];

/// What became of the messages, by number.
#[derive(Default)]
struct Ledger {
    next: usize,
    acknowledged: BTreeSet<usize>,
    /// Sent whole, and not answered yet.
    in_flight: BTreeSet<usize>,
}

#[derive(Debug, Clone, Copy)]
struct Recipients {
    bob: bool,
    carol: bool,
    nobody: bool,
}

fn recipients(number: usize) -> Recipients {
    Recipients {
        bob: matches!(number % 4, 0 | 3),
        carol: matches!(number % 4, 1 | 3),
        nobody: matches!(number % 4, 2 | 3),
    }
}

fn body(number: usize) -> String {
    format!("{number} {}\r\n", "x".repeat(70)).repeat(10 + number % 50)
}

fn number_of(message: &str) -> usize {
    let body = split(message).1;
    let number = body.split(' ').next().unwrap().parse().unwrap();
    assert_eq!(body, self::body(number), "message {number} is not whole");
    number
}

struct Setting {
    _world: World,
    here: Organization,
    host: Host,
    _loopback: Loopback,
    faults: Faults,
    ledger: Arc<Mutex<Ledger>>,
}

async fn setting() -> Setting {
    let world = World::new().await;
    let loopback = Loopback::take();
    for domain in ["plain.test", "refused.test"] {
        world.plain_domain(domain, loopback.ip);
    }
    let quick = |config: &mut Config| config.queue.retry_max_secs = NonZeroU64::new(1).unwrap();
    let builder = world
        .organization("hismail.test")
        .plain()
        .accounts(&["alice", "bob"]);
    Setting {
        here: builder.config(quick).build().await,
        host: Host::start(loopback.ip).await,
        _loopback: loopback,
        faults: Faults::new(world.home()),
        ledger: Arc::default(),
        _world: world,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_acknowledged_message_is_lost_or_ends_twice_when_the_daemon_is_killed() {
    let wanted = if is_long() { 20 } else { 2 };
    let setting = setting().await;
    // Commits take a while, so that kills fall into them.
    setting.faults.begin("sync", "dimed.db-wal", "sleep 4");
    let mut rng = StdRng::seed_from_u64(4);
    let mut rounds = BTreeMap::new();
    let (mut kills, mut caught) = (0, 0);
    while PHASES
        .iter()
        .any(|phase| rounds.get(phase).is_none_or(|count| *count < wanted))
    {
        for phase in PHASES {
            kills += 1;
            assert!(kills < 20 * wanted * PHASES.len(), "{rounds:?} of {wanted}");
            let in_flight = setting.round(phase, &mut rng).await;
            caught += in_flight;
            *rounds.entry(phase).or_insert(0) += usize::from(in_flight > 0);
        }
    }
    setting.faults.end();
    let counted: usize = rounds.values().sum();
    let process = setting.here.spawn().await;
    let told = setting.judge(process).await;
    println!(
        "{counted} of {kills} kills came while something was in flight ({rounds:?}, {caught} transactions); {told}"
    );
}

impl Setting {
    /// Starts the daemon, loads it, and kills it; how many transactions were in flight.
    async fn round(&self, phase: Phase, rng: &mut StdRng) -> usize {
        // What an earlier life did counts no more.
        let events = &self.host.events;
        for event in [&events.halfway, &events.answered, &events.refused] {
            event.notify_one();
            event.notified().await;
        }
        let mut process = self.here.spawn_with(&self.faults.launch()).await;
        let sessions = match phase {
            // The queue is as the kill before has left it.
            Phase::Claim => Vec::new(),
            _ => self.load().await,
        };
        let most = Duration::from_secs(5);
        let came = match phase {
            Phase::Accept => {
                let goal = self.ledger.lock().unwrap().acknowledged.len() + rng.random_range(4..20);
                eventually("acknowledgements", || {
                    let ledger = self.ledger.lock().unwrap();
                    (ledger.acknowledged.len() >= goal && !ledger.in_flight.is_empty()).then_some(())
                })
                .await;
                Ok(())
            }
            Phase::Claim => {
                sleep(Duration::from_millis(rng.random_range(0..40))).await;
                Ok(())
            }
            Phase::Transfer => timeout(most, events.halfway.notified()).await,
            Phase::Settle => timeout(most, events.answered.notified()).await,
            Phase::Bounce => timeout(most, events.refused.notified()).await,
        };
        assert!(came.is_ok(), "{phase:?} never came");
        sleep(Duration::from_micros(rng.random_range(0..4000))).await;
        let in_flight = self.in_flight();
        process.kill();
        self.host.seen.lock().unwrap().life += 1;
        for session in sessions {
            session.await.unwrap();
        }
        self.ledger.lock().unwrap().in_flight.clear();
        in_flight + self.claimed().await
    }

    /// Messages that clients wait for an answer to, and that the next host is being given.
    fn in_flight(&self) -> usize {
        let open = self.host.seen.lock().unwrap().open;
        open + self.ledger.lock().unwrap().in_flight.len()
    }

    /// Recipients that the dead daemon had claimed, and not settled.
    async fn claimed(&self) -> usize {
        let claimed = "SELECT count(*) FROM recipients WHERE lease IS NOT NULL";
        usize::try_from(self.here.count(claimed).await).unwrap()
    }

    /// Sessions that submit until the daemon has gone.
    async fn load(&self) -> Vec<tokio::task::JoinHandle<()>> {
        let mut sessions = Vec::new();
        for _ in 0..SESSIONS {
            let talk = Talk::submission(self.here.ip, "alice@hismail.test").await;
            let ledger = Arc::clone(&self.ledger);
            sessions.push(tokio::spawn(async move {
                let _: Option<()> = submit(talk, &ledger).await;
            }));
        }
        sessions
    }

    /// Waits until nothing is left to do, and looks where everything is.
    async fn judge(&self, mut process: Process) -> String {
        let deadline = tokio::time::Instant::now() + 5 * PATIENCE;
        while !self.here.cli(&["queue", "list"]).await.contains("empty") {
            process.check();
            assert!(tokio::time::Instant::now() < deadline, "the queue does not empty");
            sleep(Duration::from_millis(100)).await;
        }
        let ledger = self.ledger.lock().unwrap();
        let bob = counted(
            self.here
                .maildir("bob")
                .messages()
                .iter()
                .map(|message| number_of(message)),
        );
        let reports = counted(
            self.here
                .maildir("alice")
                .messages()
                .iter()
                .map(|report| reported(report)),
        );
        let relayed = relayed(&self.host.seen.lock().unwrap());
        for number in &ledger.acknowledged {
            let to = recipients(*number);
            let expect = |is_for: bool, found: Option<&usize>, who: &str| {
                assert_eq!(found.is_some(), is_for, "message {number} for {who}: {found:?}");
            };
            expect(to.bob, bob.get(number), "bob");
            expect(to.carol, relayed.get(number), "carol");
            expect(to.nobody, reports.get(number), "nobody, who is reported");
        }
        // A file of a Maildir is replaced by its repetition, and a report is made with the end that it tells of.
        for (number, count) in bob.iter().chain(&reports) {
            assert_eq!(*count, 1, "message {number} ended more than once");
        }
        let repeated: usize = relayed.values().map(|count| count - 1).sum();
        format!(
            "{} messages acknowledged, each with one end for each recipient; {} were delivered unacknowledged; {repeated} of {} \
             relayed messages were sent again after a kill, none in one life",
            ledger.acknowledged.len(),
            bob.keys()
                .chain(relayed.keys())
                .chain(reports.keys())
                .collect::<BTreeSet<_>>()
                .len()
                - ledger.acknowledged.len(),
            relayed.len(),
        )
    }
}

fn counted(numbers: impl Iterator<Item = usize>) -> HashMap<usize, usize> {
    let mut counts = HashMap::new();
    for number in numbers {
        *counts.entry(number).or_insert(0) += 1;
    }
    counts
}

/// The number of the message that a report returns, which is in its Subject.
fn reported(report: &str) -> usize {
    assert!(
        report.contains("Final-Recipient: rfc822; nobody@refused.test"),
        "{report}"
    );
    let (_, subject) = report.split_once("\r\nSubject: message ").unwrap();
    subject.split("\r\n").next().unwrap().parse().unwrap()
}

/// How often each message came to the next host: once in each life at most (RFC 1047).
fn relayed(seen: &Seen) -> HashMap<usize, usize> {
    let mut lives = HashMap::<usize, Vec<usize>>::new();
    for taken in &seen.taken {
        lives
            .entry(number_of(&taken.message))
            .or_default()
            .push(taken.life);
    }
    for (number, lives) in &lives {
        let different: BTreeSet<_> = lives.iter().collect();
        assert_eq!(
            different.len(),
            lives.len(),
            "message {number} was sent twice in one life: {lives:?}"
        );
    }
    lives
        .into_iter()
        .map(|(number, lives)| (number, lives.len()))
        .collect()
}

/// `None` once the daemon has gone.
async fn submit(mut talk: Talk, ledger: &Mutex<Ledger>) -> Option<()> {
    loop {
        let number = {
            let mut ledger = ledger.lock().unwrap();
            ledger.next += 1;
            ledger.next
        };
        let to = recipients(number);
        ask(&mut talk, "MAIL FROM:<alice@hismail.test>", "250").await?;
        for (is_for, address) in [
            (to.bob, "bob@hismail.test"),
            (to.carol, "carol@plain.test"),
            (to.nobody, "nobody@refused.test"),
        ] {
            if is_for {
                ask(&mut talk, &format!("RCPT TO:<{address}>"), "250").await?;
            }
        }
        ask(&mut talk, "DATA", "354").await?;
        let header = format!("From: alice@hismail.test\r\nSubject: message {number}\r\n");
        ledger.lock().unwrap().in_flight.insert(number);
        ask(&mut talk, &format!("{header}\r\n{}.", body(number)), "250").await?;
        let mut ledger = ledger.lock().unwrap();
        ledger.in_flight.remove(&number);
        ledger.acknowledged.insert(number);
    }
}

async fn ask(talk: &mut Talk, line: &str, start: &str) -> Option<()> {
    talk.send(format!("{line}\r\n").as_bytes()).await;
    let reply = talk.reply().await?;
    assert!(reply.starts_with(start), "{line}: {reply}");
    Some(())
}
