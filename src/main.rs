//! The `dimed` binary: parses arguments and calls the library.

fn main() {}
