//! Why mail waits, in one word. It stands in the note of an attempt, so that mail can be found by it.

use std::fmt;

use super::schedule::Trouble;
use crate::delivery::Diagnosis;
use crate::mail::reply::EnhancedStatus;

/// What an attempt has failed for.
///
/// Three of them are those of `[[queue.schedules]]`, and each of the others is a part of one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// No host could be found or reached, or none went on answering.
    Unreachable,
    /// A part of it: DNS does not answer, or not as it should.
    Dns,
    /// A host said no for now.
    Refused,
    /// Something else.
    Other,
    /// A part of it: a host has not the TLS, or the certificate, that is demanded of it.
    Tls,
    /// A part of it: keys, signets or DIME records that are missing, do not verify, or do not go together.
    Keys,
    /// A part of it: the domain, its parent or the author takes no way but one that is closed.
    Policy,
    /// A part of it: a mailbox here is full, or cannot be written.
    Storage,
}

/// Reasons of routes that are matters of keys, beside those that hold mail.
const OF_KEYS: [&str; 5] = [
    "record_bogus",
    "record_keys_conflict",
    "dime_signet_invalid",
    "dime_own_record_missing",
    "dime_own_record_without_key",
];

impl Class {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Unreachable,
        Self::Dns,
        Self::Refused,
        Self::Other,
        Self::Tls,
        Self::Keys,
        Self::Policy,
        Self::Storage,
    ];

    /// One word, which never changes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Dns => "dns",
            Self::Refused => "refused",
            Self::Other => "other",
            Self::Tls => "tls",
            Self::Keys => "keys",
            Self::Policy => "policy",
            Self::Storage => "storage",
        }
    }

    /// Reads the word.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.name() == name)
    }

    /// Of an attempt, from the route with its reason and from what came of it. What a host said is one thing, and that none was there
    /// another (RFC 3463 §3.5).
    pub fn of(route: &str, diagnosis: &Diagnosis) -> Self {
        let (kind, reason) = route.split_once(": ").unwrap_or((route, ""));
        let EnhancedStatus(_, subject, detail) = diagnosis.status;
        match (subject, detail) {
            _ if diagnosis.remote.is_some() => Self::Refused,
            (4, 3) if reason != "dime_unreachable" => Self::Dns,
            (4, _) => Self::Unreachable,
            (2, _) | (3, 1) => Self::Storage,
            (3, _) if kind == "local" => Self::Storage,
            (7, 5) if OF_KEYS.contains(&reason) || reason.contains("_held_") => Self::Keys,
            (7, 5) => Self::Tls,
            (7, 1) => Self::Policy,
            _ => Self::Other,
        }
    }

    /// What schedules go by.
    pub fn trouble(self) -> Trouble {
        match self {
            Self::Unreachable | Self::Dns => Trouble::Unreachable,
            Self::Refused => Trouble::Refused,
            Self::Other | Self::Tls | Self::Keys | Self::Policy | Self::Storage => Trouble::Other,
        }
    }

    /// Whether it is the same, or a part of it.
    pub fn is_within(self, whole: Self) -> bool {
        let has_parts = matches!(whole, Self::Unreachable | Self::Refused | Self::Other);
        self == whole || has_parts && self.trouble() == whole.trouble()
    }

    /// The words in a note behind the route.
    pub(super) fn deferred(self, diagnosis: &Diagnosis) -> String {
        format!("deferred ({self}): {diagnosis}")
    }

    /// Reads it out of a note. There is none in notes on anything else, and in those of earlier versions.
    pub fn of_note(note: &str) -> Option<Self> {
        let (_, words) = note.split_once("; ")?;
        let (name, _) = words.strip_prefix("deferred (")?.split_once("): ")?;
        Self::parse(name)
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::reply::Reply;

    fn found(subject: u16, detail: u16) -> Diagnosis {
        Diagnosis::local(EnhancedStatus(4, subject, detail), "this time")
    }

    #[test]
    fn what_was_found_and_on_which_way_tells_the_class() {
        for (route, diagnosis, class) in [
            ("smtp: record_absent", found(4, 1), Class::Unreachable),
            ("smtp: record_absent", found(4, 7), Class::Unreachable),
            ("defer: dime_unreachable", found(4, 3), Class::Unreachable),
            ("smtp: record_absent", found(4, 3), Class::Dns),
            ("defer: record_lookup_failed", found(4, 3), Class::Dns),
            ("smtp: record_absent", found(7, 5), Class::Tls),
            ("dmtp", found(7, 5), Class::Tls),
            ("defer: dime_certificate_rejected", found(7, 5), Class::Tls),
            ("defer: record_bogus", found(7, 5), Class::Keys),
            ("defer: dime_signet_invalid", found(7, 5), Class::Keys),
            ("defer: local_held_q1", found(7, 5), Class::Keys),
            ("defer: dime_own_record_missing", found(7, 5), Class::Keys),
            ("defer: dime_own_record_without_key", found(7, 5), Class::Keys),
            ("defer: dime_own_record_unknown", found(4, 3), Class::Dns),
            ("defer: sender_is_strict", found(7, 1), Class::Policy),
            ("local: local_domain", found(2, 2), Class::Storage),
            ("local: local_domain", found(3, 0), Class::Storage),
            ("undecided", found(3, 0), Class::Other),
            ("smtp: record_absent", found(7, 8), Class::Other),
        ] {
            assert_eq!(Class::of(route, &diagnosis), class, "{route} {diagnosis}");
            let note = format!("{route}; {}", class.deferred(&diagnosis));
            assert_eq!(Class::of_note(&note), Some(class), "{note}");
        }
    }

    #[test]
    fn what_a_host_says_is_refused_whatever_it_says() {
        let reply = Reply::new(451, EnhancedStatus(4, 4, 3), "; deferred (dns): x");
        let diagnosis = Diagnosis::remote("mx.plain.test", &reply);
        let class = Class::of("smtp: record_absent", &diagnosis);
        assert_eq!(class, Class::Refused);
        let note = format!("smtp: record_absent; {}", class.deferred(&diagnosis));
        assert_eq!(Class::of_note(&note), Some(Class::Refused));
        // As an earlier version had it.
        let before = format!("smtp: record_absent; deferred: {diagnosis}");
        assert_eq!(Class::of_note(&before), None);
        assert_eq!(
            Class::of_note("smtp: record_absent; left to the next attempt"),
            None
        );
    }

    #[test]
    fn the_classes_of_schedules_have_the_others_as_parts() {
        let within = |whole: Class| {
            let parts = Class::ALL.into_iter().filter(|class| class.is_within(whole));
            parts.map(Class::name).collect::<Vec<_>>()
        };
        assert_eq!(within(Class::Unreachable), ["unreachable", "dns"]);
        assert_eq!(within(Class::Refused), ["refused"]);
        assert_eq!(
            within(Class::Other),
            ["other", "tls", "keys", "policy", "storage"]
        );
        assert_eq!(within(Class::Dns), ["dns"]);
        assert_eq!(within(Class::Tls), ["tls"]);
        for class in Class::ALL {
            assert_eq!(Class::parse(class.name()), Some(class));
        }
    }
}
