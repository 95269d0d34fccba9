//! The queue: runner, retry schedule, bounces.
