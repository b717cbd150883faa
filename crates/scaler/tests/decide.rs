//! docs/decide.md says what `scaler decide` really answers, and names every field it reads and writes.

#![expect(clippy::unwrap_used, reason = "a test")]

use std::io::Write;
use std::process::{Command, Stdio};

use keda_kaito_core::record::{DecisionInput, DecisionRecord};
use serde_json::Value;

const DOCUMENT: &str = include_str!("../../../docs/decide.md");

/// The blocks fenced as ```json `kind`.
fn blocks(kind: &str) -> Vec<&'static str> {
    let fence = format!("```json {kind}\n");
    let after = DOCUMENT.split(&fence).skip(1);
    after.map(|text| text.split("```").next().unwrap()).collect()
}

fn filter(input: &str) -> (String, String, Option<i32>) {
    let mut filter = Command::new(env!("CARGO_BIN_EXE_scaler"))
        .arg("decide")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    filter.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = filter.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (text(output.stdout), text(output.stderr), output.status.code())
}

#[test]
fn examples_are_answered_as_the_document_says() {
    let inputs: Vec<_> = blocks("input").iter().map(|block| block.replace('\n', " ")).collect();
    let (records, errors, code) = filter(&inputs.join("\n"));
    assert_eq!((errors.as_str(), code), ("", Some(0)));
    let outputs = blocks("output");
    assert_eq!(records.lines().count(), outputs.len());
    for (record, shown) in records.lines().zip(outputs) {
        let (record, shown): (Value, Value) = (serde_json::from_str(record).unwrap(), serde_json::from_str(shown).unwrap());
        assert_eq!(record, shown, "docs/decide.md should show:\n{record:#}");
    }
}

#[test]
fn bad_lines_are_reported_with_their_number_and_the_rest_is_answered() {
    let good = blocks("input").first().unwrap().replace('\n', " ");
    let misspelt = good.replacen("specReplicas", "specReplica", 1);
    let (records, errors, code) = filter(&format!("{good}\n\n{misspelt}\n{{\n{good}"));
    assert_eq!((records.lines().count(), code), (2, Some(2)));
    let starts: Vec<_> = errors.lines().map(|line| line.split(':').next().unwrap()).collect();
    assert_eq!(starts, ["line 3", "line 4"]);
    assert!(errors.contains("specReplica"), "{errors}");
}

#[test]
fn every_field_is_in_the_document() {
    for block in blocks("input") {
        let input: DecisionInput<'_> = serde_json::from_str(block).unwrap();
        let whole = serde_json::to_value(&input).unwrap();
        for name in names(&whole) {
            assert!(DOCUMENT.contains(&name), "{name} of an input");
        }
    }
    for block in blocks("output") {
        let record: DecisionRecord = serde_json::from_str(block).unwrap();
        for name in names(&serde_json::to_value(&record).unwrap()) {
            assert!(
                DOCUMENT.contains(&format!("`{name}`")) || DOCUMENT.contains(&format!("\"{name}\"")),
                "{name} of a record"
            );
        }
    }
}

/// Names of all fields, however deep.
fn names(value: &Value) -> Vec<String> {
    match value {
        Value::Object(fields) => fields
            .iter()
            .flat_map(|(name, value)| std::iter::once(name.clone()).chain(names(value)))
            .collect(),
        Value::Array(items) => items.iter().flat_map(names).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    }
}
