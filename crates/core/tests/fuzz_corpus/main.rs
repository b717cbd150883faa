//! The inputs that fuzzing has kept (`fuzz/corpus`), replayed on the stable toolchain against the same checks as the fuzz
//! targets, which include these modules. Inputs that once broke a check are tests of their own beside the code.

#![expect(
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "helpers of tests"
)]

mod annotations;
mod exposition;
mod records;
mod trigger;

use std::path::Path;

#[expect(clippy::disallowed_methods, reason = "a corpus is a folder of files")]
fn replay(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let mut files: Vec<_> = folder.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 20, "{} holds {} inputs", folder.display(), files.len());
    for file in files {
        let input = std::fs::read(&file).unwrap();
        // Only shown when a check fails: the last name is the culprit's.
        println!("{}", file.display());
        check(&input);
    }
}

#[test]
fn pages_of_the_corpus_are_read_right() {
    replay("exposition", exposition::check);
}

#[test]
fn metadata_of_the_corpus_is_understood_or_refused_in_full() {
    replay("trigger", trigger::check);
}

#[test]
fn annotations_of_the_corpus_are_accepted_or_complained_of() {
    replay("annotations", annotations::check);
}
