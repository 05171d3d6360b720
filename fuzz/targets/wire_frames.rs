#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidings::fuzz::wire_frames(bytes));
