//! Fields of the reference's objects, as recorded from the API server, become ours to apply.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{migration, owned_fields, slim};
use crate::crd::ScaledObject;

fn recorded(text: &str) -> Vec<ScaledObject> {
    let documents = serde_yaml::Deserializer::from_str(text);
    documents
        .map(|document| ScaledObject::deserialize(document).unwrap())
        .collect()
}

fn reference() -> Vec<ScaledObject> {
    let mut objects = recorded(include_str!("../../tests/fixtures/reference/v0.5.1/scaledobjects.yaml"));
    objects.extend(recorded(include_str!(
        "../../tests/fixtures/reference/v0.6.2/scaledobjects.yaml"
    )));
    assert_eq!(objects.len(), 4);
    objects
}

/// The object as the API server leaves it after the patch.
fn migrated(mut object: ScaledObject) -> ScaledObject {
    let patch = migration(&object).unwrap();
    assert_eq!(patch[0]["path"], "/metadata/managedFields");
    object.metadata.managed_fields = serde_json::from_value(patch[0]["value"].clone()).unwrap();
    object
}

#[test]
fn every_field_of_the_reference_is_handed_over_in_one_guarded_patch() {
    for object in reference() {
        assert!(owned_fields(&object).is_empty());
        let patch = migration(&object).unwrap();
        assert_eq!(
            patch[1],
            json!({ "op": "replace", "path": "/metadata/resourceVersion", "value": object.metadata.resource_version })
        );
        let theirs: Value = serde_json::to_value(object.metadata.managed_fields.as_ref().unwrap()).unwrap();
        let ours: Vec<&Value> = patch[0]["value"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|entry| entry["operation"] == "Apply")
            .collect();
        assert_eq!(ours.len(), 1);
        assert_eq!(ours[0]["manager"], "keda-kaito-provisioner");
        assert_eq!(ours[0]["fieldsV1"], theirs[0]["fieldsV1"]);
        // What KEDA wrote stays KEDA's.
        for entry in theirs
            .as_array()
            .unwrap()
            .iter()
            .filter(|entry| entry["manager"] == "keda-operator")
        {
            assert!(patch[0]["value"].as_array().unwrap().contains(entry), "{entry}");
        }
        assert_eq!(patch[0]["value"].as_array().unwrap().len(), theirs.as_array().unwrap().len());
    }
}

#[test]
fn formulas_and_triggers_are_ours_after_the_patch() {
    for object in reference() {
        let owned = owned_fields(&migrated(object));
        assert!(owned.contains("f:spec/f:triggers"), "{owned:?}");
        assert!(
            owned
                .iter()
                .any(|path| path.starts_with("f:spec/f:advanced/f:scalingModifiers")),
            "{owned:?}"
        );
    }
}

#[test]
fn nothing_is_left_to_hand_over_after_the_patch() {
    for object in reference() {
        assert_eq!(migration(&migrated(object)), None);
    }
}

#[test]
fn what_we_wrote_with_update_joins_what_we_applied() {
    let mut object = ScaledObject::default();
    let entry = |manager: &str, operation: &str, fields: Value| json!({ "manager": manager, "operation": operation, "apiVersion": "keda.sh/v1alpha1", "fieldsType": "FieldsV1", "fieldsV1": fields });
    object.metadata.managed_fields = serde_json::from_value(json!([
        entry("keda-kaito-provisioner", "Apply", json!({ "f:spec": { "f:triggers": {} } })),
        entry(
            "keda-kaito-provisioner",
            "Update",
            json!({ "f:spec": { ".": {}, "f:maxReplicaCount": {} } })
        ),
        entry("kubectl-edit", "Update", json!({ "f:spec": { "f:cooldownPeriod": {} } })),
    ]))
    .unwrap();
    let object = migrated(object);
    let owned: Vec<String> = owned_fields(&object).into_iter().collect();
    assert_eq!(owned, ["f:spec/f:maxReplicaCount", "f:spec/f:triggers"]);
    assert_eq!(object.metadata.managed_fields.unwrap().len(), 2);
}

#[test]
fn fields_of_others_are_never_taken() {
    let mut object = ScaledObject::default();
    object.metadata.managed_fields = serde_json::from_value(json!([
        { "manager": "keda-kaito-scaler", "operation": "Update", "subresource": "status", "fieldsV1": { "f:status": {} } },
        { "manager": "keda-kaito-scaler", "operation": "Apply", "fieldsV1": { "f:spec": {} } },
        { "manager": "helm", "operation": "Update", "fieldsV1": { "f:spec": {} } },
    ]))
    .unwrap();
    assert_eq!(migration(&object), None);
    assert!(owned_fields(&object).is_empty());
}

#[test]
fn slim_object_says_the_same_and_one_that_is_to_be_migrated_stays_whole() {
    for object in reference() {
        let mut slimmed = object.clone();
        slim(&mut slimmed);
        assert_eq!(slimmed, object);
        let ours = migrated(object);
        let mut slimmed = ours.clone();
        slim(&mut slimmed);
        slim(&mut slimmed);
        assert!(!owned_fields(&ours).is_empty());
        assert_eq!(owned_fields(&slimmed), owned_fields(&ours));
        assert_eq!(migration(&slimmed), None);
        let entries = slimmed.metadata.managed_fields.unwrap();
        assert_eq!(entries.len(), 1);
        assert!(entries[0].fields_v1.as_ref().unwrap().0.is_string());
    }
}
