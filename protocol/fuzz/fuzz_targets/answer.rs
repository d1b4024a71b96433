//! `cargo fuzz run answer`: nothing panics, nothing is allocated by an unchecked count.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| protocol_fuzz::answer(input));
