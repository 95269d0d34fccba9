//! The queue: runner, retry schedule, bounces.

pub mod runner;
