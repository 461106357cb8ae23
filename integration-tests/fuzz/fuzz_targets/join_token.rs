//! `join_token` of `integration-tests/src/targets` under libFuzzer: its laws are told there.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| edgeio_integration_tests::targets::run("join_token", bytes));
