//! From a failed recipient to the report in its sender's queue, through the store.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use dimed::base::id::QueueId;
use dimed::base::time::{ManualClock, Timestamp};
use dimed::crypto::at_rest::Key;
use dimed::delivery::Diagnosis;
use dimed::mail::address::{Mailbox, ReversePath};
use dimed::mail::demand::Demand;
use dimed::mail::notify::MessageRequest;
use dimed::mail::reply::{EnhancedStatus, Reply};
use dimed::queue::bounce::{Affected, Bounce, News};
use dimed::queue::schedule::{Next, Schedule};
use dimed::store::sqlite::SqliteStore;
use dimed::store::*;
use mail_parser::{MessageParser, MimeHeaders};

/// Mon, 14 Oct 2024 08:00:00 UTC.
const ACCEPTED: Timestamp = Timestamp(1_728_892_800_000);

async fn open(folder: &Path) -> SqliteStore {
    let master = MasterKey::new(Key::from_bytes([1; 32]));
    let clock = Arc::new(ManualClock::new(ACCEPTED));
    SqliteStore::open(&folder.join("dimed.db"), master, clock)
        .await
        .unwrap()
}

async fn enqueue(store: &dyn Store, reverse_path: Option<&str>) {
    let message = NewMessage {
        id: QueueId::random(&mut rand::rng()),
        envelope: Envelope {
            reverse_path: ReversePath(reverse_path.map(|text| text.parse().unwrap())),
            source: Source::Smtp,
            smtputf8: false,
            eight_bit: false,
            demand: Demand::default(),
            resealed: 0,
            received_in_ms: 0,
            request: MessageRequest::default(),
        },
        content: Content::Mime,
        recipients: vec![Recipient::parse("nobody@hismail.test").unwrap().into()],
        accepted_at: ACCEPTED,
        due_at: ACCEPTED,
        ticket: None,
    };
    let body = "Subject: Grüße\r\n\r\nbody\r\n".as_bytes().to_vec();
    store
        .enqueue(FollowUp {
            message,
            body: body.into(),
            replay: None,
        })
        .await
        .unwrap();
}

async fn claim_at(store: &dyn Store, now: Timestamp) -> Claim {
    let until = now.after(Duration::from_secs(300));
    let mut claims = store.claim(now, until, 10).await.unwrap();
    assert_eq!(claims.len(), 1);
    claims.remove(0)
}

/// Gives up on all recipients of a claim, as the runner does.
async fn fail(store: &dyn Store, claim: &Claim, now: Timestamp) -> Result<bool, Error> {
    let refusal = Reply::new(550, EnhancedStatus(5, 1, 1), "no such user");
    let diagnosis = Diagnosis::remote("mx.hismail.test", &refusal);
    let news = News::Failed(diagnosis.clone());
    let affected: Vec<Affected> = claim
        .recipients
        .iter()
        .map(|recipient| Affected {
            recipient: (&recipient.forward_path).into(),
            original: None,
            news: &news,
        })
        .collect();
    let settlements = claim
        .recipients
        .iter()
        .map(|recipient| Settlement {
            recipient: recipient.id,
            state: SettledState::Failed(diagnosis.status),
            note: diagnosis.to_string(),
            instead: Vec::new(),
        })
        .collect();
    let bounce = Bounce {
        host: &"mx.hermail.test".parse().unwrap(),
        id: QueueId::random(&mut rand::rng()),
        now,
    };
    let first_piece = store.read_piece(claim.message, 0).await?.unwrap_or_default();
    let report = bounce.report(claim, &affected, &first_piece);
    let reported = report.is_some();
    store
        .settle(claim.lease, settlements, report.into_iter().collect())
        .await?;
    Ok(reported)
}

#[tokio::test]
async fn a_failure_becomes_a_report_that_survives_a_restart_and_never_bounces() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    enqueue(&store, Some("alice@hermail.test")).await;
    let claim = claim_at(&store, ACCEPTED).await;
    assert!(fail(&store, &claim, ACCEPTED).await.unwrap());
    store.close().await;

    let store = open(folder.path()).await;
    let report = claim_at(&store, ACCEPTED).await;
    let alice: Mailbox = "alice@hermail.test".parse().unwrap();
    assert_eq!(report.recipients[0].forward_path, alice.into());
    let body = store.read_piece(report.message, 0).await.unwrap().unwrap();
    assert_eq!(body.len() as u64, report.size_bytes);
    assert!(body.is_ascii());
    let parsed = MessageParser::default().parse(&body).unwrap();
    assert_eq!(parsed.subject(), Some("Your message could not be delivered"));
    let headers = &parsed.parts[3];
    assert_eq!(headers.content_type().unwrap().subtype(), Some("rfc822-headers"));
    assert!(String::from_utf8_lossy(headers.contents()).starts_with("Subject: Grüße"));

    // The report fails in its turn, and that is the end.
    assert!(!fail(&store, &report, ACCEPTED).await.unwrap());
    assert!(store.list(None, 10).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_runner_that_lost_its_lease_reports_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    enqueue(&store, Some("alice@hermail.test")).await;
    let stale = claim_at(&store, ACCEPTED).await;
    let later = ACCEPTED.after(Duration::from_secs(300));
    let current = claim_at(&store, later).await;
    assert!(matches!(fail(&store, &stale, later).await, Err(Error::LeaseLost)));
    assert!(fail(&store, &current, later).await.unwrap());
    assert_eq!(store.list(None, 10).await.unwrap().len(), 1, "one report");
}

#[tokio::test]
async fn an_unreachable_recipient_is_tried_for_five_days_and_then_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    enqueue(&store, None).await;
    let schedule = Schedule::default();
    let mut now = ACCEPTED;
    let mut attempts = 0;
    loop {
        let claim = claim_at(&store, now).await;
        attempts += 1;
        assert_eq!(claim.recipients[0].attempts + 1, attempts);
        let age = now.since(claim.accepted_at);
        let Next::Retry { after, .. } = schedule.next(attempts, age, 30_000) else {
            assert_eq!(age, schedule.lifetime);
            assert!(!fail(&store, &claim, now).await.unwrap(), "a null reverse-path");
            break;
        };
        now = now.after(after);
        let settlement = Settlement {
            recipient: claim.recipients[0].id,
            state: SettledState::Deferred {
                due_at: now,
                delay_reported: false,
            },
            note: "no host answered".into(),
            instead: Vec::new(),
        };
        store
            .settle(claim.lease, vec![settlement], Vec::new())
            .await
            .unwrap();
        assert_eq!(store.next_due().await.unwrap(), Some(now));
    }
    assert_eq!(store.next_due().await.unwrap(), None);
    assert!((30..50).contains(&attempts), "{attempts} attempts");
}
