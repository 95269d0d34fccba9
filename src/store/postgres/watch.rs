//! Who else works on the queue, and has been silent for too long.

use std::collections::HashMap;
use std::time::Duration;

use crate::base::id::NodeId;

/// Looks that are so many times further apart than a node may be silent do not count as looking: perhaps nobody could be heard.
const GAPS_PER_SILENCE: u32 = 4;

/// A row of `nodes`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store) struct Beat {
    pub(in crate::store) node: NodeId,
    pub(in crate::store) host: String,
    pub(in crate::store) beats: i64,
    /// Without another one for so long it may be taken for dead.
    pub(in crate::store) silence: Duration,
}

/// What one node has seen of the others. Times are by its own steady clock.
#[derive(Debug, Default)]
pub(in crate::store) struct Watch {
    looked: Option<Duration>,
    others: HashMap<NodeId, Seen>,
}

#[derive(Debug)]
struct Seen {
    last: Beat,
    /// Since when it was seen again and again, without another beat.
    since: Duration,
}

impl Watch {
    /// Takes note of all others, as they were found at `now`, in good order.
    pub(in crate::store) fn look(&mut self, now: Duration, beats: Vec<Beat>) {
        let seen = |beat: Beat| {
            let since = self.silent_since(&beat, now).unwrap_or(now);
            (beat.node, Seen { last: beat, since })
        };
        self.others = beats.into_iter().map(seen).collect();
        self.looked = Some(now);
    }

    fn silent_since(&self, beat: &Beat, now: Duration) -> Option<Duration> {
        let seen = self.others.get(&beat.node)?;
        (seen.last == *beat && self.looks_closely(beat, now)).then_some(seen.since)
    }

    fn looks_closely(&self, beat: &Beat, now: Duration) -> bool {
        let gap = self.looked.map(|looked| now.saturating_sub(looked));
        gap.is_some_and(|gap| gap * GAPS_PER_SILENCE <= beat.silence)
    }

    /// The last beats of those who have been silent for too long at `now`.
    pub(in crate::store) fn silent(&self, now: Duration) -> Vec<Beat> {
        let is_silent = |seen: &&Seen| {
            let silence = now.saturating_sub(seen.since);
            silence >= seen.last.silence && self.looks_closely(&seen.last, now)
        };
        let silent = self.others.values().filter(is_silent);
        silent.map(|seen| seen.last.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn beat(beats: i64) -> Beat {
        Beat {
            node: NodeId::parse("0000000000BC").unwrap(),
            host: "mx2.hismail.test".to_owned(),
            beats,
            silence: Duration::from_secs(60),
        }
    }

    const fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    fn watch(looks: impl IntoIterator<Item = (u64, i64)>) -> Watch {
        let mut watch = Watch::default();
        for (now, beats) in looks {
            watch.look(secs(now), vec![beat(beats)]);
        }
        watch
    }

    #[test]
    fn who_does_not_beat_for_so_long_is_silent_and_nobody_else() {
        let looks = |last| (0..=last).step_by(5).map(|now| (now, 7));
        assert_eq!(watch(looks(55)).silent(secs(59)), []);
        assert_eq!(watch(looks(60)).silent(secs(60)), [beat(7)]);
        let beating = (0..=60).step_by(5).map(|now| (now, 7 + i64::from(now > 20)));
        assert_eq!(watch(beating).silent(secs(60)), []);
        assert_eq!(Watch::default().silent(secs(60)), []);
    }

    /// The database was away, or this node was stopped.
    #[test]
    fn time_in_which_nobody_looked_does_not_count() {
        let before = (0..=30).step_by(5).map(|now| (now, 7));
        let after = (300..=355).step_by(5).map(|now| (now, 7));
        let watch = watch(before.chain(after));
        assert_eq!(watch.silent(secs(359)), []);
        let stopped = self::watch((0..=60).step_by(5).map(|now| (now, 7)));
        assert_eq!(stopped.silent(secs(300)), []);
        let mut watch = watch;
        watch.look(secs(360), vec![beat(7)]);
        assert_eq!(watch.silent(secs(360)), [beat(7)]);
    }

    #[test]
    fn who_has_gone_is_forgotten() {
        let mut watch = watch((0..=60).step_by(5).map(|now| (now, 7)));
        watch.look(secs(61), Vec::new());
        assert_eq!(watch.silent(secs(61)), []);
    }
}
