//! From a file to its InferenceSets, as the API server would take them or refuse them. It judges no annotation.

use std::io::{self, Read};
use std::path::Path;

use keda_kaito_core::crd::InferenceSet;
use keda_kaito_core::names;
use keda_kaito_runtime::args::is_label;
use serde_json::Value;
use thiserror::Error;

/// Larger files are no manifests.
const MAX_BYTES: u64 = 4 * 1024 * 1024;

/// Why the input cannot be rendered.
#[derive(Debug, Error)]
pub enum Error {
    #[error("cannot read {file:?}: {source}")]
    Read { file: String, source: io::Error },
    #[error("{file:?} has more than {MAX_BYTES} bytes")]
    TooLarge { file: String },
    #[error("{file:?} is neither YAML nor JSON: {reason}")]
    Syntax { file: String, reason: String },
    #[error("{file:?} contains no InferenceSet")]
    NoInferenceSet { file: String },
}

/// An InferenceSet that the API server would not take.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refused {
    /// `namespace/name`, as far as it has them.
    pub(super) inference_set: String,
    /// Each names the field.
    pub(super) reasons: Vec<String>,
}

/// The text of the file, or of standard input for `-`.
pub(super) fn read(path: &Path, file: &str) -> Result<String, Error> {
    let failed = |source| Error::Read {
        file: file.to_owned(),
        source,
    };
    let mut text = String::new();
    let input: Box<dyn Read> = if path == Path::new("-") {
        Box::new(io::stdin())
    } else {
        Box::new(std::fs::File::open(path).map_err(failed)?)
    };
    let bytes = input.take(MAX_BYTES + 1).read_to_string(&mut text).map_err(failed)?;
    if u64::try_from(bytes).is_ok_and(|bytes| bytes > MAX_BYTES) {
        return Err(Error::TooLarge { file: file.to_owned() });
    }
    Ok(text)
}

/// Every InferenceSet of the text, at least one. One that is refused is in no other's way.
pub(super) fn parse(text: &str, file: &str) -> Result<Vec<Result<InferenceSet, Refused>>, Error> {
    let options = serde_saphyr::options! { with_snippet: false };
    let documents: Vec<Value> = serde_saphyr::from_multiple_with_options(text, options).map_err(|error| Error::Syntax {
        file: file.to_owned(),
        reason: error.to_string(),
    })?;
    let documents = documents.into_iter().flat_map(|mut document| {
        // `kubectl get -o json` wraps several objects into a List.
        match document.get_mut("items").map(Value::take) {
            Some(Value::Array(items)) => items,
            Some(_) | None => vec![document],
        }
    });
    let inference_sets: Vec<_> = documents.filter(is_inference_set).map(decode).collect();
    if inference_sets.is_empty() {
        return Err(Error::NoInferenceSet { file: file.to_owned() });
    }
    Ok(inference_sets)
}

/// Others may have a kind of the same name. Without a group it is taken for KAITO's.
fn is_inference_set(object: &Value) -> bool {
    let of_kaito = present(object, "apiVersion").is_none_or(|version| {
        let group = version.as_str().and_then(|version| version.split_once('/'));
        group.is_some_and(|(group, _)| group == names::KAITO_GROUP)
    });
    of_kaito && object["kind"] == names::INFERENCE_SET_KIND
}

fn decode(object: Value) -> Result<InferenceSet, Refused> {
    let metadata = object.get("metadata").unwrap_or(&Value::Null);
    let part = |field: &str| present(metadata, field).map(shown);
    let (namespace, name) = (part("namespace"), part("name").unwrap_or_default());
    let inference_set = format!("{}/{name}", namespace.unwrap_or_else(|| "default".to_owned()));
    let reasons = wrong_texts(metadata);
    let decoded = if reasons.is_empty() {
        serde_path_to_error::deserialize(object).map_err(|error| vec![error.to_string()])
    } else {
        Err(reasons)
    };
    let decoded = decoded.and_then(|object: InferenceSet| match wrong_names(&object) {
        reasons if reasons.is_empty() => Ok(object),
        reasons => Err(reasons),
    });
    decoded.map_err(|reasons| Refused { inference_set, reasons })
}

/// YAML reads `true`, `10` and lists as what they look like, where Kubernetes has text only.
fn wrong_texts(metadata: &Value) -> Vec<String> {
    let named = ["name", "namespace"].map(|field| (format!("metadata.{field}"), present(metadata, field)));
    let listed = ["annotations", "labels"].into_iter().flat_map(|field| {
        let entries = metadata.get(field).and_then(Value::as_object).into_iter().flatten();
        entries.map(move |(key, value)| (format!("metadata.{field}[{key:?}]"), Some(value)))
    });
    let all = named.into_iter().chain(listed);
    all.filter_map(|(field, value)| {
        let value = value?;
        let what = match value {
            Value::String(_) => return None,
            Value::Null => "is empty",
            Value::Bool(_) => "is a boolean",
            Value::Number(_) => "is a number",
            Value::Array(_) => return Some(format!("{field} is a list: make it text, by | behind the colon")),
            Value::Object(_) => return Some(format!("{field} is a map: make it text, by | behind the colon")),
        };
        Some(format!("{field} {what}: quote the value, \"{}\"", shown(value)))
    })
    .collect()
}

fn present<'a>(object: &'a Value, field: &str) -> Option<&'a Value> {
    object.get(field).filter(|value| !value.is_null())
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

fn wrong_names(object: &InferenceSet) -> Vec<String> {
    let name = match object.metadata.name.as_deref() {
        None | Some("") => Some("metadata.name is missing".to_owned()),
        Some(name) => (!is_subdomain(name)).then(|| format!("metadata.name {name:?} is not a DNS name in lower case")),
    };
    let namespace = object.metadata.namespace.as_deref().unwrap_or("default");
    let fits = is_label(namespace) && namespace.len() <= 63;
    let namespace = (!fits).then(|| format!("metadata.namespace {namespace:?} is not a DNS label in lower case"));
    name.into_iter().chain(namespace).collect()
}

/// As the API server has it, which does not look at the length of a part.
fn is_subdomain(name: &str) -> bool {
    name.len() <= 253 && name.split('.').all(is_label)
}
