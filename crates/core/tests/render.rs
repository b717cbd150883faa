//! Golden files: each sample of `deploy/samples` and the ScaledObject it is given.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use keda_kaito_core::crd::{InferenceSet, ScaledObject, Workspace};
use keda_kaito_core::desired::{RenderOptions, hpa_name};
use keda_kaito_core::plan::{Observation, Plan, ScalerState, Verdict, plan};
use keda_kaito_core::trigger::{PORTS_ALLOWED_BY_DEFAULT, decode};

macro_rules! sample {
    ($name:literal) => {
        ($name, include_str!(concat!("../../../deploy/samples/", $name, ".yaml")))
    };
}

const SAMPLES: [(&str, &str); 5] = [
    sample!("bounds"),
    sample!("multi-node"),
    sample!("phi-4-mini"),
    sample!("policy"),
    sample!("policy-any"),
];

fn options() -> RenderOptions {
    RenderOptions {
        scaler_address: "keda-kaito-scaler-svc.keda.svc.cluster.local:10450".to_owned(),
        inference_set_api_version: "kaito.sh/v1beta1".to_owned(),
        credential_epoch: Some(3),
        tolerance_in_force: true,
        max_num_seqs: 256,
    }
}

fn verdict(inference_set: &InferenceSet, options: &RenderOptions) -> Verdict {
    let workspace: Workspace = serde_json::from_value(serde_json::json!({
        "metadata": { "ownerReferences": [
            { "apiVersion": "kaito.sh/v1beta1", "kind": "InferenceSet", "name": "x", "uid": "u1", "controller": true },
        ] },
        "status": { "targetNodeCount": 1 },
    }))
    .unwrap();
    let observation = Observation {
        inference_set,
        workspaces: &[&workspace],
        scaled_objects: &[],
        scaler: ScalerState::Serving,
        contest: None,
    };
    plan(&observation, options)
}

fn rendered(inference_set: &InferenceSet, options: &RenderOptions) -> ScaledObject {
    let Verdict { plan, complaints, .. } = verdict(inference_set, options);
    assert_eq!(complaints, []);
    let Plan::Apply(apply) = plan else { unreachable!("{plan:?}") };
    apply.desired
}

fn sample(name: &str) -> InferenceSet {
    let (_, text) = SAMPLES.into_iter().find(|(known, _)| *known == name).unwrap();
    let mut inference_set: InferenceSet = serde_yaml::from_str(text).unwrap();
    inference_set.metadata.uid = Some("u1".to_owned());
    inference_set
}

#[test]
fn every_sample_renders_as_recorded_and_the_scaler_understands_it() {
    for (name, _) in SAMPLES {
        let object = rendered(&sample(name), &options());
        let metadata = &object.spec.triggers[0].metadata;
        let pairs = metadata.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        decode(pairs, &PORTS_ALLOWED_BY_DEFAULT).unwrap();
        insta::assert_snapshot!(name, serde_yaml::to_string(&object).unwrap());
    }
}

#[test]
fn old_clusters_change_nothing_but_the_tolerance_in_force() {
    let old = RenderOptions {
        tolerance_in_force: false,
        ..options()
    };
    let mut object = rendered(&sample("policy"), &old);
    let metadata = &mut object.spec.triggers[0].metadata;
    for key in ["scaleUpTolerance", "scaleDownTolerance"] {
        assert_eq!(metadata.insert(key.to_owned(), "0".to_owned()), Some("0.1".to_owned()));
    }
    assert_eq!(object, rendered(&sample("policy"), &options()));
}

#[test]
fn names_too_long_for_kedas_hpa_get_a_shortened_hashed_one() {
    let mut seen = Vec::new();
    for length in [54, 55, 63] {
        let name = "n".repeat(length);
        let mut inference_set = sample("bounds");
        inference_set.metadata.name = Some(name.clone());
        let object = rendered(&inference_set, &options());
        let config = object.spec.advanced.unwrap().horizontal_pod_autoscaler_config.unwrap();
        assert_eq!(config.name.is_some(), length > 54, "{length}");
        assert_eq!(config.name, hpa_name(&name));
        seen.extend(config.name);
    }
    assert!(
        seen.iter().all(|name| name.len() == 63 && name.starts_with("keda-hpa-nnn")),
        "{seen:?}"
    );
    assert_ne!(seen[0], seen[1]);
}

#[test]
fn shortened_names_stay_names() {
    let name = format!("{}-{}", "n".repeat(44), "m".repeat(12));
    let short = hpa_name(&name).unwrap();
    assert!(short.starts_with(&format!("keda-hpa-{}-", "n".repeat(44))), "{short}");
    assert!(short.len() <= 63 && !short.contains("--"), "{short}");
}

#[test]
fn names_longer_than_a_label_are_refused() {
    let mut inference_set = sample("bounds");
    inference_set.metadata.name = Some("n".repeat(64));
    let Verdict { plan, complaints, .. } = verdict(&inference_set, &options());
    assert_eq!(plan, Plan::Reject);
    assert!(complaints[0].to_string().starts_with("metadata.name: "), "{complaints:?}");
}

#[test]
fn without_a_known_epoch_none_is_written() {
    let unknown = RenderOptions {
        credential_epoch: None,
        ..options()
    };
    let object = rendered(&sample("bounds"), &unknown);
    assert!(!object.spec.triggers[0].metadata.contains_key("credentialEpoch"));
    assert_eq!(object.spec.triggers[0].metadata["enableTLS"], "true");
}
