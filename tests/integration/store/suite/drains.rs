//! Nodes, and what is wanted of them.

use std::time::Duration;

use dimed::store::*;

use super::{Bed, NOON, domain, noon_plus};

pub async fn a_drain_is_for_a_node_or_for_all_and_the_newest_counts(bed: &dyn Bed) {
    let store = bed.open().await;
    let (one, other) = (domain("mx1.a.test"), domain("mx2.a.test"));
    assert_eq!(store.drained_since(&one).await.unwrap(), None);
    assert_eq!(store.begin_drain(Some(&one), NOON).await.unwrap(), NOON);
    // It is wanted already.
    assert_eq!(store.begin_drain(Some(&one), noon_plus(1)).await.unwrap(), NOON);
    assert_eq!(store.drained_since(&one).await.unwrap(), Some(NOON));
    assert_eq!(store.drained_since(&other).await.unwrap(), None);
    let all = noon_plus(2);
    assert_eq!(store.begin_drain(None, all).await.unwrap(), all);
    for node in [&one, &other] {
        assert_eq!(store.drained_since(node).await.unwrap(), Some(all));
    }
    assert_eq!(store.end_drain(Some(&one)).await.unwrap(), 1);
    assert_eq!(store.drained_since(&one).await.unwrap(), Some(all));
    assert_eq!(store.end_drain(None).await.unwrap(), 1);
    assert_eq!(store.drained_since(&one).await.unwrap(), None);
}

pub async fn nodes_are_known_by_what_they_said_last_and_forgotten_after_long(bed: &dyn Bed) {
    let store = bed.open().await;
    let node = |name: &str, seen_at| NodeReport {
        name: domain(name),
        seen_at,
        stopped_at: None,
        drained_since: None,
    };
    let dead = node("mx1.a.test", NOON);
    store.report_node(&node("mx2.a.test", NOON)).await.unwrap();
    store.report_node(&dead).await.unwrap();
    let drained = NodeReport {
        drained_since: Some(NOON),
        ..node("mx2.a.test", noon_plus(1))
    };
    store.report_node(&drained).await.unwrap();
    assert_eq!(store.node_reports().await.unwrap(), [dead.clone(), drained]);
    let stopped = NodeReport {
        stopped_at: Some(noon_plus(2)),
        ..node("mx2.a.test", noon_plus(2))
    };
    store.report_node(&stopped).await.unwrap();
    assert_eq!(store.node_reports().await.unwrap(), [dead, stopped]);
    let late = NOON.after(NODE_FORGOTTEN_AFTER + Duration::from_secs(1));
    let new = node("mx3.a.test", late);
    let second = node("mx2.a.test", late);
    store.report_node(&second).await.unwrap();
    store.report_node(&new).await.unwrap();
    assert_eq!(store.node_reports().await.unwrap(), [second, new]);
}
