#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| stratum_fuzz_targets::run("sv1_server", data));
