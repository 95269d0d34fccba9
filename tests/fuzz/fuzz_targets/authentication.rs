#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| dimed_fuzz::authentication::authentication(input));
