//! Trigger metadata, as anyone who can write a ScaledObject may send it.
#![no_main]

#[path = "../../crates/core/tests/fuzz_corpus/records.rs"]
mod records;
#[path = "../../crates/core/tests/fuzz_corpus/trigger.rs"]
mod trigger;

libfuzzer_sys::fuzz_target!(|input: &[u8]| trigger::check(input));
