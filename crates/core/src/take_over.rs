//! Which fields of a live ScaledObject are ours, and how fields written with Update become ours to apply.
//! Pure: it produces a JSON patch and sends nothing.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{FieldsV1, ManagedFieldsEntry};
use serde_json::{Map, Value, json};

use crate::crd::ScaledObject;
use crate::names;

const APPLY: &str = "Apply";
const UPDATE: &str = "Update";

/// A JSON patch that hands the fields written by the reference (or by us) with Update to our Apply manager, so that the
/// next apply removes those it does not contain. `None` when there are none.
///
/// The patch is bound to the object's `resourceVersion`: on a concurrent change the API server answers 409.
pub fn migration(live: &ScaledObject) -> Option<Value> {
    let entries = live.metadata.managed_fields.as_ref()?;
    let migrated = migrate(entries)?;
    Some(json!([
        { "op": "replace", "path": "/metadata/managedFields", "value": migrated },
        { "op": "replace", "path": "/metadata/resourceVersion", "value": live.metadata.resource_version },
    ]))
}

/// The fields our Apply manager owns, as paths in the notation of `managedFields` (`f:spec/f:triggers`).
pub fn owned_fields(live: &ScaledObject) -> BTreeSet<String> {
    let mut paths = BTreeSet::new();
    for entry in live.metadata.managed_fields.iter().flatten() {
        if is_our_apply(entry)
            && let Some(FieldsV1(fields)) = &entry.fields_v1
        {
            if let Value::String(text) = fields {
                // As `slim` left it, which wrote it itself.
                leaves(&serde_json::from_str(text).unwrap_or_default(), "", &mut paths);
            } else {
                leaves(fields, "", &mut paths);
            }
        }
    }
    paths
}

/// Reduces `managedFields` to what the functions above need of it, and that to text: a tree of maps takes ten times the
/// memory, in every object of a large cluster. What is to be migrated stays as it is, since it is written back whole.
pub fn slim(live: &mut ScaledObject) {
    let Some(entries) = &mut live.metadata.managed_fields else {
        return;
    };
    if entries.iter().any(is_migrating) {
        return;
    }
    entries.retain(is_our_apply);
    for entry in entries {
        if let Some(FieldsV1(fields)) = &mut entry.fields_v1
            && !fields.is_string()
        {
            let mut text = fields.to_string();
            text.shrink_to_fit();
            *fields = Value::String(text);
        }
    }
}

fn migrate(entries: &[ManagedFieldsEntry]) -> Option<Vec<ManagedFieldsEntry>> {
    let (migrating, mut kept): (Vec<_>, Vec<_>) = entries.iter().cloned().partition(is_migrating);
    let newest = migrating.last()?;
    let position = kept.iter().position(is_our_apply);
    let mut ours = match position {
        Some(index) => kept.remove(index),
        None => ManagedFieldsEntry {
            manager: Some(names::PROVISIONER_FIELD_MANAGER.to_owned()),
            operation: Some(APPLY.to_owned()),
            ..newest.clone()
        },
    };
    let mut fields = ours.fields_v1.take().map(|FieldsV1(fields)| fields).unwrap_or_default();
    for entry in &migrating {
        if let Some(FieldsV1(more)) = &entry.fields_v1 {
            union(&mut fields, more);
        }
    }
    ours.fields_v1 = Some(FieldsV1(fields));
    kept.push(ours);
    Some(kept)
}

fn is_migrating(entry: &ManagedFieldsEntry) -> bool {
    let manager = entry.manager.as_deref();
    let ours = manager == Some(names::REFERENCE_FIELD_MANAGER) || manager == Some(names::PROVISIONER_FIELD_MANAGER);
    ours && entry.operation.as_deref() == Some(UPDATE) && is_whole_object(entry)
}

fn is_our_apply(entry: &ManagedFieldsEntry) -> bool {
    entry.manager.as_deref() == Some(names::PROVISIONER_FIELD_MANAGER)
        && entry.operation.as_deref() == Some(APPLY)
        && is_whole_object(entry)
}

fn is_whole_object(entry: &ManagedFieldsEntry) -> bool {
    entry.subresource.as_deref().unwrap_or_default().is_empty()
}

fn union(fields: &mut Value, more: &Value) {
    let Value::Object(more) = more else { return };
    if !fields.is_object() {
        *fields = Value::Object(Map::new());
    }
    if let Value::Object(fields) = fields {
        for (key, value) in more {
            union(fields.entry(key.clone()).or_insert_with(|| json!({})), value);
        }
    }
}

/// `.` stands for the object or list item itself and is no field of its own.
fn leaves(fields: &Value, path: &str, paths: &mut BTreeSet<String>) {
    let children = fields.as_object().into_iter().flatten().filter(|(key, _)| *key != ".");
    let mut is_leaf = true;
    for (key, value) in children {
        is_leaf = false;
        let child = if path.is_empty() {
            key.clone()
        } else {
            format!("{path}/{key}")
        };
        leaves(value, &child, paths);
    }
    if is_leaf && !path.is_empty() {
        paths.insert(path.to_owned());
    }
}

#[cfg(test)]
mod tests;
