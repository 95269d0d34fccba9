//! Processor time of this thread: the best of many rounds, because whatever else the machine does only makes them worse.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// A step of a chain and its best time.
pub struct Step {
    pub name: &'static str,
    pub time: Duration,
}

/// Seconds of the best of `rounds` rounds of `times` calls, per call.
pub fn best_of(rounds: usize, times: u32, mut call: impl FnMut()) -> Duration {
    let mut round = || {
        let start = processor_time();
        (0..times).for_each(|_| call());
        (processor_time() - start) / times
    };
    (0..rounds).map(|_| round()).min().unwrap_or_default()
}

fn processor_time() -> Duration {
    clock_gettime(ClockId::ThreadCPUTime).try_into().unwrap()
}

/// MB/s of so many octets in that time.
pub fn rate(octets: usize, time: Duration) -> f64 {
    octets as f64 / time.as_secs_f64() / 1e6
}

/// One line per step, and messages per second through all of them.
pub fn print_chain(name: &str, steps: &[Step]) {
    let whole: Duration = steps.iter().map(|step| step.time).sum();
    println!(
        "{name:24} {:7.0} /s {:9.1} µs",
        1.0 / whole.as_secs_f64(),
        micros(whole)
    );
    for step in steps {
        println!("  {:32} {:9.1} µs", step.name, micros(step.time));
    }
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
