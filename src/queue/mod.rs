//! The queue: runner, retry schedule, bounces.

pub mod bounce;
pub mod runner;
pub mod schedule;
