//! How a live ScaledObject differs from the desired one, in the fields we own and nowhere else.
//! Fields that only others set are never looked at.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::crd::ScaledObject;
use crate::take_over;

/// A difference worth an apply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drift {
    /// Fields whose value differs, or that we own and no longer want, as `spec.maxReplicaCount`.
    pub fields: BTreeSet<String>,
    /// Whether the values are right but our Apply manager does not own exactly the fields we set.
    pub ownership_only: bool,
}

/// The difference between `live` and `desired`; `None` at rest.
///
/// Maps are compared by the keys of `desired`, lists as a whole, except owner references: those by UID.
pub fn drift(live: &ScaledObject, desired: &ScaledObject) -> Option<Drift> {
    let wanted = flatten(desired);
    let found = flatten(live);
    let owned = take_over::owned_fields(live);
    let paths: BTreeSet<&String> = wanted.iter().map(|(path, _)| path).collect();
    let value =
        |fields: &[(String, Value)], path: &str| fields.iter().find(|(name, _)| name == path).map(|(_, value)| value.clone());
    let mut fields: BTreeSet<String> = wanted
        .iter()
        .filter(|(path, wanted)| value(&found, path).as_ref() != Some(wanted))
        .map(|(path, _)| readable(path))
        .collect();
    fields.extend(owned.iter().filter(|path| !paths.contains(path)).map(|path| readable(path)));
    if !fields.is_empty() {
        return Some(Drift {
            fields,
            ownership_only: false,
        });
    }
    let migrates = take_over::migration(live).is_some();
    let unowned = paths.iter().any(|path| !owned.contains(*path));
    (migrates || unowned).then(|| Drift {
        fields: BTreeSet::new(),
        ownership_only: true,
    })
}

/// Every field of an object with its value, under the path `managedFields` gives it.
fn flatten(object: &ScaledObject) -> Vec<(String, Value)> {
    let mut fields = Vec::new();
    let metadata = &object.metadata;
    for (key, value) in metadata.annotations.iter().flatten() {
        fields.push((format!("f:metadata/f:annotations/f:{key}"), Value::String(value.clone())));
    }
    for owner in metadata.owner_references.iter().flatten() {
        let key = serde_json::json!({ "uid": owner.uid });
        // A struct of strings and booleans cannot fail to become JSON.
        let value = serde_json::to_value(owner).unwrap_or_default();
        fields.push((format!("f:metadata/f:ownerReferences/k:{key}"), value));
    }
    let spec = serde_json::to_value(&object.spec).unwrap_or_default();
    flatten_value(&spec, "f:spec".to_owned(), &mut fields);
    fields
}

fn flatten_value(value: &Value, path: String, fields: &mut Vec<(String, Value)>) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                flatten_value(value, format!("{path}/f:{key}"), fields);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => {
            fields.push((path, value.clone()));
        }
    }
}

/// `f:spec/f:maxReplicaCount` → `spec.maxReplicaCount`. List items lose their key: UIDs tell a reader nothing.
fn readable(path: &str) -> String {
    let path = path.split("/k:").next().unwrap_or(path);
    path.split("/f:")
        .map(|part| part.trim_start_matches("f:"))
        .collect::<Vec<_>>()
        .join(".")
}
