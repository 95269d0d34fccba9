//! Sealing, origin signing, destination check and opening of messages, in both formats, on one core.
//!
//! `cargo bench --bench dmime` prints, from one run: the primitives alone, messages of 4 KiB through all four steps, and
//! a message of 100 MiB beside what hashing and encrypting its octets once would allow. Every figure is the processor
//! time of the best of many rounds. An argument selects what contains it: `primitives`, `short`, `long`.

#![allow(clippy::unwrap_used)] // a benchmark that cannot run has nothing to measure

mod cast;
mod format1;
mod format2;
mod measure;
mod primitives;

use dimed::crypto::suite::hpke::Suite;

use crate::cast::Cast;

/// Octets of text in a short message.
const SHORT: usize = 4 << 10;
/// Octets of text in a long message.
const LONG: usize = 100 << 20;
/// The same for format 1, which has each part in one chunk of at most 16 MiB.
const LONG_FORMAT_1: usize = 10 << 20;

fn main() {
    let selected = std::env::args()
        .skip(1)
        .find(|argument| !argument.starts_with('-'));
    let wants = |name: &str| {
        selected
            .as_ref()
            .is_none_or(|wanted| name.contains(wanted.as_str()))
    };
    if wants("primitives") {
        primitives::print();
    }
    let cast = Cast::new();
    if wants("short") {
        short(&cast);
    }
    if wants("long") {
        long(&cast);
    }
}

/// Prints the time of each step for a short message, and messages per second through all of them.
fn short(cast: &Cast) {
    println!("\nmessages of {SHORT} octets");
    for suite in Suite::ALL {
        let steps = format2::short(cast, suite, SHORT);
        measure::print_chain(&format!("format 2, {suite}"), &steps);
    }
    measure::print_chain("format 1", &format1::short(cast, SHORT));
}

/// Prints the throughput of each step for a long message, and its share of what the primitives allow.
fn long(cast: &Cast) {
    let bound = primitives::bound();
    println!(
        "\n{LONG} octets in format 2; hashing and encrypting once: {:.0} MB/s",
        bound.both()
    );
    format2::long(cast, LONG, &bound);
    println!("\n{LONG_FORMAT_1} octets in format 1");
    format1::long(cast, LONG_FORMAT_1);
}
