//! Routing decisions with everything known: pure, and with what is kept in the store and in memory.

#![allow(missing_docs, clippy::unwrap_used)] // generated items have no documentation; a bench may panic

fn main() {
    divan::main();
}
