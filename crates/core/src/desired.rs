//! The ScaledObject an InferenceSet should have. Whether and when it is written is `plan`'s business.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::Resource;
use kube::core::{ObjectMeta, TypeMeta};
use sha2::{Digest, Sha256};

use crate::crd::{
    Advanced, AuthenticationRef, Behavior, HpaConfig, InferenceSet, ScaleTargetRef, ScaledObject, ScaledObjectSpec,
    ScalingPolicy, ScalingRules, Trigger,
};
use crate::names;
use crate::policy::Rule;
use crate::policy::replicas::Bounds;
use crate::trigger::{Aggregation, DesiredReplicas, Endpoint, TriggerRequest, encode, keys};

const POLLING_INTERVAL_SECONDS: i32 = 15;
/// KEDA refuses longer names, its own `keda-hpa-` included.
const MAX_HPA_NAME: usize = 63;
const HPA_PREFIX: &str = "keda-hpa-";
const HASH_DIGITS: usize = 8;
/// What the HPA applies where the cluster drops the `tolerance` field.
const DEFAULT_TOLERANCE: f64 = 0.1;

/// What rendering needs beside the InferenceSet.
#[derive(Clone, Debug, PartialEq)]
pub struct RenderOptions {
    /// `host:port` for KEDA to dial.
    pub scaler_address: String,
    /// `group/version` under which InferenceSets were discovered.
    pub inference_set_api_version: String,
    /// From the ClusterTriggerAuthentication; absent while nobody has written one.
    pub credential_epoch: Option<u64>,
    /// Whether HPAs keep their `tolerance` field: Kubernetes 1.35 and later.
    pub tolerance_in_force: bool,
    /// Requests that one model server runs at a time, and lets wait (vLLM's `max_num_seqs`); 0 when not known. Only
    /// warnings depend on it.
    pub max_num_seqs: u32,
}

/// Renders the ScaledObject called `name` for an InferenceSet.
pub fn scaled_object(
    name: &str,
    inference_set: &InferenceSet,
    rule: &Rule,
    bounds: &Bounds,
    options: &RenderOptions,
) -> ScaledObject {
    let (aggregation, behavior) = match rule {
        Rule::Simple(simple) => (
            Aggregation::Sum {
                metric: simple.metric_name.clone(),
                threshold: simple.threshold,
            },
            Behavior {
                scale_up: Some(rules(60, 300, "100m")),
                scale_down: Some(rules(300, 600, "500m")),
            },
        ),
        Rule::Policy(policy) => {
            let tolerance = if options.tolerance_in_force { 0.0 } else { DEFAULT_TOLERANCE };
            let desired = DesiredReplicas {
                policy: policy.clone(),
                min_replicas: bounds.min,
                max_replicas: bounds.max,
                scale_up_tolerance: Some(tolerance),
                scale_down_tolerance: Some(tolerance),
            };
            let (up, down) = (seconds(policy.scale_up_cooldown), seconds(policy.scale_down_cooldown));
            let behavior = Behavior {
                scale_up: Some(rules(seconds(policy.evaluation_window), up, "0")),
                scale_down: Some(rules(down, down, "0")),
            };
            (Aggregation::DesiredReplicas(Box::new(desired)), behavior)
        }
    };
    let inference_set_name = inference_set.metadata.name.clone().unwrap_or_default();
    ScaledObject {
        types: Some(types()),
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: inference_set.metadata.namespace.clone(),
            annotations: Some(BTreeMap::from([
                (names::MANAGED_BY.to_owned(), names::MANAGED_BY_VALUE.to_owned()),
                (names::MAX_BASIS.to_owned(), bounds.basis.to_string()),
            ])),
            owner_references: Some(vec![owner(inference_set, options)]),
            ..ObjectMeta::default()
        },
        spec: ScaledObjectSpec {
            scale_target_ref: ScaleTargetRef {
                api_version: Some(options.inference_set_api_version.clone()),
                kind: Some(names::INFERENCE_SET_KIND.to_owned()),
                name: inference_set_name.clone(),
            },
            polling_interval: Some(POLLING_INTERVAL_SECONDS),
            min_replica_count: Some(count(bounds.min)),
            max_replica_count: Some(count(bounds.max)),
            advanced: Some(Advanced {
                horizontal_pod_autoscaler_config: Some(HpaConfig {
                    name: hpa_name(name),
                    behavior: Some(behavior),
                }),
                scaling_modifiers: None,
            }),
            triggers: vec![trigger(&TriggerRequest {
                inference_set_name,
                inference_set_namespace: inference_set.metadata.namespace.clone().unwrap_or_default(),
                scaler_address: Some(options.scaler_address.clone()),
                credential_epoch: options.credential_epoch,
                endpoint: Endpoint::default(),
                aggregation,
            })],
        },
        status: None,
    }
}

/// A ScaledObject of ours as it is, but with the credential epoch in every trigger for our scaler; `None` when it has it
/// already. For objects that cannot be rendered anew: credentials must reach them too.
pub fn with_credential_epoch(live: &ScaledObject, epoch: Option<u64>) -> Option<ScaledObject> {
    let epoch = epoch?.to_string();
    let mut changed = false;
    let mut spec = live.spec.clone();
    for trigger in spec.triggers.iter_mut().filter(|trigger| is_ours(trigger)) {
        if trigger.metadata.get(keys::CREDENTIAL_EPOCH) != Some(&epoch) {
            trigger.metadata.insert(keys::CREDENTIAL_EPOCH.to_owned(), epoch.clone());
            // An epoch is only worth something to a caller that never falls back to plaintext.
            trigger.metadata.insert(keys::ENABLE_TLS.to_owned(), "true".to_owned());
            changed = true;
        }
    }
    if !changed {
        return None;
    }
    let ours = |key: &String| key == names::MANAGED_BY || key == names::MAX_BASIS;
    let annotations = live.metadata.annotations.clone().unwrap_or_default();
    Some(ScaledObject {
        types: Some(types()),
        metadata: ObjectMeta {
            name: live.metadata.name.clone(),
            namespace: live.metadata.namespace.clone(),
            annotations: Some(annotations.into_iter().filter(|(key, _)| ours(key)).collect()),
            owner_references: live.metadata.owner_references.clone().map(controllers),
            ..ObjectMeta::default()
        },
        spec,
        status: None,
    })
}

/// The credential epoch that a ScaledObject's triggers carry, if they carry one.
pub fn credential_epoch(live: &ScaledObject) -> Option<u64> {
    let ours = live.spec.triggers.iter().filter(|trigger| is_ours(trigger));
    ours.filter_map(|trigger| trigger.metadata.get(keys::CREDENTIAL_EPOCH)?.parse().ok())
        .max()
}

/// The HPA's name when KEDA would refuse the usual one: shortened, with a hash of the whole name against collisions.
pub fn hpa_name(scaled_object: &str) -> Option<String> {
    if HPA_PREFIX.len() + scaled_object.len() <= MAX_HPA_NAME {
        return None;
    }
    let digest = Sha256::digest(scaled_object.as_bytes());
    let hash: String = digest
        .iter()
        .take(HASH_DIGITS / 2)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let room = MAX_HPA_NAME - HPA_PREFIX.len() - 1 - HASH_DIGITS;
    let stem: String = scaled_object.chars().take(room).collect();
    Some(format!("{HPA_PREFIX}{}-{hash}", stem.trim_end_matches(['-', '.'])))
}

fn controllers(owners: Vec<OwnerReference>) -> Vec<OwnerReference> {
    owners.into_iter().filter(|owner| owner.controller == Some(true)).collect()
}

fn is_ours(trigger: &Trigger) -> bool {
    crate::trigger::is_ours(&trigger.type_, |key| trigger.metadata.get(key).map(String::as_str))
}

fn types() -> TypeMeta {
    TypeMeta {
        api_version: ScaledObject::api_version(&()).into_owned(),
        kind: ScaledObject::kind(&()).into_owned(),
    }
}

fn owner(inference_set: &InferenceSet, options: &RenderOptions) -> OwnerReference {
    OwnerReference {
        api_version: options.inference_set_api_version.clone(),
        kind: names::INFERENCE_SET_KIND.to_owned(),
        name: inference_set.metadata.name.clone().unwrap_or_default(),
        uid: inference_set.metadata.uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

fn trigger(request: &TriggerRequest) -> Trigger {
    Trigger {
        type_: "external".to_owned(),
        name: Some(names::TRIGGER_NAME.to_owned()),
        metric_type: Some("AverageValue".to_owned()),
        metadata: encode(request),
        authentication_ref: Some(AuthenticationRef {
            name: names::TRIGGER_AUTHENTICATION.to_owned(),
            kind: Some("ClusterTriggerAuthentication".to_owned()),
        }),
    }
}

/// One Pod per period. The tolerance is spelled as Go spells quantities: KEDA rewrites the object and must not change it.
fn rules(stabilization: i32, period: i32, tolerance: &str) -> ScalingRules {
    ScalingRules {
        stabilization_window_seconds: Some(stabilization),
        select_policy: Some("Max".to_owned()),
        policies: vec![ScalingPolicy {
            type_: "Pods".to_owned(),
            value: 1,
            period_seconds: period,
        }],
        tolerance: Some(IntOrString::String(tolerance.to_owned())),
    }
}

fn seconds(duration: Duration) -> i32 {
    i32::try_from(duration.as_secs()).unwrap_or(i32::MAX)
}

fn count(replicas: u32) -> i32 {
    i32::try_from(replicas).unwrap_or(i32::MAX)
}
