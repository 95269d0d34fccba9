#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| dimed_fuzz::milter::milter(input));
