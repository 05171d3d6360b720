#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidings::fuzz::redis_replies(bytes));
