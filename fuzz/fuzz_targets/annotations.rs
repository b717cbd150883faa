//! Annotations, as anyone who can write an InferenceSet may put them.
#![no_main]

#[path = "../../crates/core/tests/fuzz_corpus/annotations.rs"]
mod annotations;
#[path = "../../crates/core/tests/fuzz_corpus/records.rs"]
mod records;
#[expect(dead_code, reason = "only what is common to both targets is used")]
#[path = "../../crates/core/tests/fuzz_corpus/trigger.rs"]
mod trigger;

libfuzzer_sys::fuzz_target!(|input: &[u8]| annotations::check(input));
