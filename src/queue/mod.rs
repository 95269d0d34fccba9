//! The queue: runner, retry schedule, bounces.

mod at_home;
pub mod attempt;
pub mod bounce;
pub mod class;
pub mod conclude;
mod letter;
mod local;
mod log;
pub mod names;
pub mod observer;
pub mod outages;
pub mod parties;
pub mod pause;
pub mod plan;
pub mod priority;
pub mod pulse;
mod relaying;
mod reopen;
mod reseal;
mod returning;
pub mod runner;
pub mod schedule;
mod sealing;
pub mod signing;
mod transfer;
pub mod windows;
