//! The guides do what they say: every command in them is run in a world where it makes sense, what they show is what comes of it, and what
//! they name is there.

mod elsewhere;
mod links;
mod names;
mod plays;
mod readme;
mod shell;
mod stage;
mod text;

use super::{config, support};
