//! Events of the log: an interface, listed once. A name never changes once released, nor what its fields mean.
//!
//! Every log line carries `event = observe::…`. [`EVENTS`] says of each when it is logged, at which level, with which fields, and
//! in which class it is kept; [`FIELDS`] what the fields are. `dimed log events` prints both, and
//! `tests/integration/log/events.rs` holds every line of the source to them.

/// Makes the names of events, and [`EVENTS`] of all that is said of them. Fields behind a semicolon are there only if they apply.
macro_rules! catalogue {
    ($(
        $(#[doc = $doc:literal])+
        $name:ident = $text:literal, $class:ident, [$($level:ident),+],
        [$($field:literal),* $(; $($optional:literal),+)?];
    )*) => {
        $($(#[doc = $doc])+ pub const $name: &str = $text;)*

        /// Every event, as its module's part of the list has it.
        pub const EVENTS: &[$crate::base::observe::Event] = &[$(
            $crate::base::observe::Event {
                name: $text,
                constant: stringify!($name),
                class: $crate::base::observe::Class::$class,
                levels: &[$($crate::base::observe::Level::$level),+],
                fields: &[$($field),*],
                optional: &[$($($optional),+)?],
                documentation: concat!($($doc),+),
            }
        ),*];
    };
}

mod events;
mod fields;

pub use events::*;
pub use fields::FIELDS;

/// What an event is about. Each class has a target of its own, by which its lines can be kept apart and for as long as they may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// What became of mail, and the sessions that brought it.
    Mail,
    /// Who was kept out, and whom not to trust.
    Security,
    /// What operators and users have changed: accounts, domains, keys, lists.
    Audit,
    /// How the daemon itself fares.
    Operations,
}

impl Class {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Mail, Self::Security, Self::Audit, Self::Operations];

    /// Stands as `target` in lines in JSON, and before the sentence in those for people.
    pub fn target(self) -> &'static str {
        match self {
            Self::Mail => "dimed::mail",
            Self::Security => "dimed::security",
            Self::Audit => "dimed::audit",
            Self::Operations => "dimed::operations",
        }
    }

    /// What its lines say of people, by which to decide how long they are kept.
    pub fn retention(self) -> &'static str {
        match self {
            Self::Mail => {
                "keep days or weeks: has addresses of hosts, domains, times, and hashes of people's addresses or the addresses themselves ([log] addresses)"
            }
            Self::Security => "keep weeks or months: has addresses of hosts",
            Self::Audit => "keep a year or longer: has domains, no people but those who run this host",
            Self::Operations => "keep as long as is of use: has domains and our own ids, and no people",
        }
    }
}

/// How much an event matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Level {
    /// A person has to act.
    Error,
    /// Something went wrong and was coped with, or an operator ordered it.
    Warn,
    /// One line per stage of a message.
    Info,
    /// For investigation.
    Debug,
}

impl Level {
    /// As `[log] level` names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }
}

/// What is said of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// As it stands in the log.
    pub name: &'static str,
    /// Its name in the source.
    pub constant: &'static str,
    /// Where it is kept.
    pub class: Class,
    /// Those that it can have.
    pub levels: &'static [Level],
    /// Names of fields that it always has.
    pub fields: &'static [&'static str],
    /// Names of fields that it has if they apply.
    pub optional: &'static [&'static str],
    documentation: &'static str,
}

impl Event {
    /// When it is logged.
    pub fn meaning(&self) -> &'static str {
        self.documentation.trim()
    }

    /// The event of that name.
    pub fn named(name: &str) -> Option<&'static Self> {
        EVENTS.iter().find(|event| event.name == name)
    }
}

/// What is said of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// As it stands in the log.
    pub name: &'static str,
    /// What its values are, and their unit.
    pub shape: &'static str,
    /// What it says.
    pub meaning: &'static str,
}

impl Field {
    /// The field of that name.
    pub fn named(name: &str) -> Option<&'static Self> {
        FIELDS.iter().find(|field| field.name == name)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_events_or_fields_have_one_name() {
        let names: BTreeSet<&str> = EVENTS.iter().map(|event| event.name).collect();
        assert_eq!(names.len(), EVENTS.len());
        let names: BTreeSet<&str> = FIELDS.iter().map(|field| field.name).collect();
        assert_eq!(names.len(), FIELDS.len());
    }

    #[test]
    fn every_field_of_an_event_is_explained_and_no_other() {
        let used: BTreeSet<&str> = EVENTS
            .iter()
            .flat_map(|event| event.fields.iter().chain(event.optional))
            .copied()
            .collect();
        let explained: BTreeSet<&str> = FIELDS.iter().map(|field| field.name).collect();
        assert_eq!(used, explained);
    }

    #[test]
    fn an_event_has_each_field_once_and_a_meaning() {
        for event in EVENTS {
            let fields: BTreeSet<_> = event.fields.iter().chain(event.optional).collect();
            assert_eq!(
                fields.len(),
                event.fields.len() + event.optional.len(),
                "{}",
                event.name
            );
            assert!(event.meaning().ends_with('.'), "{}", event.name);
        }
    }

    #[test]
    fn events_are_found_by_name() {
        let found = Event::named(QUEUE_ATTEMPT_DMTP).map(|event| (event.constant, event.class));
        assert_eq!(found, Some(("QUEUE_ATTEMPT_DMTP", Class::Mail)));
        assert_eq!(Event::named("queue.attempt"), None);
    }
}
