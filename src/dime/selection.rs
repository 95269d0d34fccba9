//! Which format and suite a message goes in (`dmime2.md` §4). Pure.

use std::fmt;

use super::key_set::{Capability, Pin, State};
use crate::crypto::suite::hpke::Suite;

/// What the choice needs to know of one actor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// What is known of its keys.
    pub state: State,
    /// The suites of its usable keys.
    pub suites: Vec<Suite>,
    /// Whether usable keys were ever seen under its name.
    pub ever_usable: bool,
}

impl Standing {
    /// What is known of an actor, and was pinned before.
    pub fn new(capability: &Capability, pin: Option<&Pin>) -> Self {
        Self {
            state: capability.state(),
            suites: capability.suites(),
            ever_usable: pin.is_some_and(|pin| pin.ever_usable),
        }
    }
}

/// The actors whose keys decide. The author's own matter only for its copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actors {
    /// The author's organization.
    pub origin: Standing,
    /// The recipient's organization.
    pub destination: Standing,
    /// The recipient.
    pub recipient: Standing,
}

/// What the sender wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// The least suite; X-Wing insists on confidentiality against later quantum computers.
    pub minimum_suite: Suite,
    /// Whether format 1 may stand in where format 2 is not to be had.
    pub allow_format_1: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            minimum_suite: Suite::X25519,
            allow_format_1: true,
        }
    }
}

/// How a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Choice {
    /// As D/MIME 2.
    Format2 {
        /// The highest suite that all have.
        suite: Suite,
        /// Whether the author's own keys have it, too.
        author_copy: bool,
    },
    /// As D/MIME 1.
    Format1,
    /// Not now: signets are fetched again, and at last the message fails. It never goes another way because of this.
    Hold(Hold),
}

/// Why a message waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hold {
    /// The rule that says so.
    pub rule: Rule,
    /// Whose keys are the reason; `None` if it is nobody's alone.
    pub actor: Option<Actor>,
}

/// A rule of `dmime2.md` §4 that makes messages wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rule {
    /// Somebody's keys are unknown or unusable.
    Q1,
    /// No suite that is good enough is common to all.
    Q2,
    /// Somebody has no keys, and format 1 will not do.
    Q3,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Q1 => "Q1",
            Self::Q2 => "Q2",
            Self::Q3 => "Q3",
        })
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Format2 { suite, author_copy } => {
                let copy = if *author_copy { "with" } else { "without" };
                write!(f, "D/MIME 2, {suite}, {copy} a copy for the author")
            }
            Self::Format1 => f.write_str("D/MIME 1"),
            Self::Hold(Hold { rule, actor: None }) => write!(f, "hold ({rule})"),
            Self::Hold(Hold {
                rule,
                actor: Some(actor),
            }) => write!(f, "hold ({rule}: {})", actor.name()),
        }
    }
}

/// One of the actors whose keys decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Actor {
    /// The author's organization.
    Origin,
    /// The recipient's organization.
    Destination,
    /// The recipient.
    Recipient,
}

impl Actor {
    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Origin => "origin",
            Self::Destination => "destination",
            Self::Recipient => "recipient",
        }
    }
}

/// Chooses; `author_suites` are those of the author's own usable keys.
pub fn choose(actors: &Actors, author_suites: &[Suite], policy: Policy) -> Choice {
    let all = [
        (Actor::Origin, &actors.origin),
        (Actor::Destination, &actors.destination),
        (Actor::Recipient, &actors.recipient),
    ];
    let first = |matches: &dyn Fn(Actor, &Standing) -> bool| {
        all.iter()
            .find(|(actor, standing)| matches(*actor, standing))
            .map(|(actor, _)| *actor)
    };
    if let Some(actor) = first(&|_, standing| is_unclear(standing.state)) {
        return hold(Rule::Q1, Some(actor));
    }
    if let Some(actor) = first(&|_, standing| standing.state != State::Usable) {
        let held = first(&forbids_format_1);
        return match policy.allow_format_1 && policy.minimum_suite == Suite::X25519 && held.is_none() {
            true => Choice::Format1,
            false => hold(Rule::Q3, held.or(Some(actor))),
        };
    }
    let common = |suite: &Suite| all.iter().all(|(_, standing)| standing.suites.contains(suite));
    let suites = Suite::ALL
        .into_iter()
        .filter(|suite| *suite >= policy.minimum_suite);
    match suites.filter(common).max() {
        Some(suite) => Choice::Format2 {
            suite,
            author_copy: author_suites.contains(&suite),
        },
        None => hold(Rule::Q2, None),
    }
}

fn hold(rule: Rule, actor: Option<Actor>) -> Choice {
    Choice::Hold(Hold { rule, actor })
}

fn is_unclear(state: State) -> bool {
    matches!(state, State::Unknown | State::Unusable)
}

/// Nobody who once had keys loses them unseen; only a user may sign them away without being asked.
fn forbids_format_1(actor: Actor, standing: &Standing) -> bool {
    let gone = match standing.state {
        State::Absent => true,
        State::OptedOut => actor != Actor::Recipient,
        _ => false,
    };
    gone && standing.ever_usable
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(state: State, ever_usable: bool) -> Standing {
        let suites = match state {
            State::Usable => Suite::ALL.to_vec(),
            _ => Vec::new(),
        };
        Standing {
            state,
            suites,
            ever_usable,
        }
    }

    /// What becomes of a message when `actor` alone stands so, and all others are usable.
    fn with(actor: Actor, state: State, ever_usable: bool) -> Choice {
        let of = |this: Actor| match this == actor {
            true => standing(state, ever_usable),
            false => standing(State::Usable, true),
        };
        let actors = Actors {
            origin: of(Actor::Origin),
            destination: of(Actor::Destination),
            recipient: of(Actor::Recipient),
        };
        choose(&actors, &[], Policy::default())
    }

    #[test]
    fn a_recipient_who_had_keys_may_sign_them_away_but_not_lose_them() {
        // No vector covers this clause of Q3 (§22).
        assert_eq!(
            with(Actor::Recipient, State::OptedOut, true),
            Choice::Format1,
            "a user's own opt-out"
        );
        let held = Choice::Hold(Hold {
            rule: Rule::Q3,
            actor: Some(Actor::Recipient),
        });
        assert_eq!(with(Actor::Recipient, State::Absent, true), held);
        assert_eq!(with(Actor::Recipient, State::Absent, false), Choice::Format1);
    }

    #[test]
    fn the_actor_whose_keys_make_a_message_wait_is_named() {
        for (state, rule) in [
            (State::Unknown, Rule::Q1),
            (State::Unusable, Rule::Q1),
            (State::Absent, Rule::Q3),
        ] {
            for actor in [Actor::Origin, Actor::Destination, Actor::Recipient] {
                let actor_held = Some(actor);
                let held = Choice::Hold(Hold {
                    rule,
                    actor: actor_held,
                });
                assert_eq!(with(actor, state, true), held, "{actor:?} {state}");
            }
        }
    }
}
