//! The queue: runner, retry schedule, bounces.

pub mod bounce;
pub mod conclude;
pub mod observer;
pub mod runner;
pub mod schedule;
