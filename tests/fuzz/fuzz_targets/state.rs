#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| everup_fuzz::feed("state", data));
