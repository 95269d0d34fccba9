//! Both daemons are killed while sealed mail goes from one to the other; none of it is lost (RFC 5321 §6.1).

use std::collections::HashMap;

use crate::support::eventually;
use crate::support::maildir::split;
use crate::support::world::World;

/// Sealed mail drains from one spool to the other while both daemons are killed again and again.
#[tokio::test(flavor = "multi_thread")]
async fn no_sealed_message_is_lost_when_either_daemon_is_killed() {
    const COUNT: usize = 40;
    let world = World::new().await;
    let quick = |config: &mut dimed::config::Config| {
        config.queue.retry_max_secs = std::num::NonZeroU64::new(1).unwrap();
    };
    let hermail = world.organization("hermail.test").accounts(&["alice"]);
    let hermail = hermail.config(quick).build().await;
    let hismail = world.organization("hismail.test").accounts(&["bob"]);
    let hismail = hismail.policy("mixed").build().await;
    let mut here = hermail.spawn().await;
    for number in 0..COUNT {
        let message = format!("From: alice@hermail.test\r\n\r\n{}", body(number));
        hermail.submit("alice", &["bob@hismail.test"], &message).await;
    }
    let mut there = hismail.spawn().await;
    let maildir = hismail.maildir("bob");
    let mut midway = 0;
    for (round, goal) in [5, 12, 20, 30].into_iter().enumerate() {
        eventually("some deliveries", || (maildir.count() >= goal).then_some(())).await;
        midway += usize::from(maildir.count() < COUNT);
        match round % 2 {
            0 => {
                there.kill();
                there = hismail.spawn().await;
            }
            _ => {
                here.kill();
                here = hermail.spawn().await;
            }
        }
    }
    assert!(midway >= 2, "{midway} kills came before the end");
    eventually("all messages", || {
        here.check();
        there.check();
        (delivered(&maildir.messages()).len() == COUNT).then_some(())
    })
    .await;
    hermail.idle().await;
    hismail.idle().await;
    assert_eq!(hermail.maildir("alice").count(), 0, "no bounce");
    let duplicates = maildir.count() - COUNT;
    println!(
        "4 kills, {midway} of them midway; {COUNT} sealed messages, all delivered, {duplicates} duplicates"
    );
}

/// How often each message was delivered; each that was is whole.
fn delivered(messages: &[String]) -> HashMap<usize, usize> {
    let mut found = HashMap::new();
    for message in messages {
        let body = split(message).1;
        let number = body.split(' ').next().unwrap().parse().unwrap();
        assert_eq!(body, self::body(number));
        *found.entry(number).or_insert(0) += 1;
    }
    found
}

fn body(number: usize) -> String {
    format!("{number} {}\r\n", "x".repeat(900)).repeat(1 + number % 5)
}
