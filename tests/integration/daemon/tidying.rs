//! What the daemon clears away by itself.

use std::time::Duration;

use dimed::store::Pin;

use crate::support::PATIENCE;
use crate::support::world::World;

const DAY: Duration = Duration::from_secs(24 * 3600);

#[tokio::test(flavor = "multi_thread")]
async fn pins_that_expired_long_ago_are_dropped() {
    let world = World::new().await;
    let hismail = world.organization("hismail.test").build().await;
    let services = hismail.services().await;
    let now = services.clock.now();
    for (name, days) in [("older.test", 31), ("younger.test", 29)] {
        let pin = Pin {
            domain: name.parse().unwrap(),
            record: "ver=1".into(),
            secure: true,
            first_seen_at: now.before(60 * DAY),
            refresh_at: now.before(60 * DAY),
            expires_at: now.before(days * DAY),
        };
        services.store.set_pin(pin).await.unwrap();
    }
    let there = hismail.start().await;
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while hismail.count("SELECT COUNT(*) FROM pins").await > 1 {
        assert!(tokio::time::Instant::now() < deadline, "nothing is dropped");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let younger = hismail.count("SELECT COUNT(*) FROM pins WHERE domain = 'younger.test'");
    assert_eq!(younger.await, 1);
    there.stop().await;
}
