//! How one input of a fuzz target stands for a map: `@key` on a line of its own, then the value's lines. No YAML or JSON
//! value begins a line with `@`, so seeds stay readable and mutations keep their shape.

use std::collections::BTreeMap;

/// The records of an input; of a repeated key the last counts.
pub(crate) fn read(input: &[u8]) -> BTreeMap<String, String> {
    let text = String::from_utf8_lossy(input);
    text.split("\n@")
        .map(|record| record.strip_prefix('@').unwrap_or(record))
        .map(|record| record.split_once('\n').unwrap_or((record, "")))
        .map(|(key, value)| (key.to_owned(), value.strip_suffix('\n').unwrap_or(value).to_owned()))
        .collect()
}
