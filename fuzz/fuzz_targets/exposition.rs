//! Pages of metrics, as any pod may answer with.
#![no_main]

#[path = "../../crates/core/tests/fuzz_corpus/exposition.rs"]
mod exposition;

libfuzzer_sys::fuzz_target!(|body: &[u8]| exposition::check(body));
