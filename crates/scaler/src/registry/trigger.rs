//! From a watched ScaledObject to what its triggers of ours ask, and under which bounds. What it asks badly is left to the
//! call that asks it: only then is somebody there to hear why.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use keda_kaito_core::crd::{ScaleTargetRef, ScaledObject, ScalingRules, Trigger};
use keda_kaito_core::hpa::Tolerance;
use keda_kaito_core::names::{INFERENCE_SET_KIND, KAITO_GROUP};
use keda_kaito_core::record::{Cooldown, MetricType, Scale};
use keda_kaito_core::trigger::{Aggregation, TriggerRequest, decode, is_ours};
use kube::ResourceExt;

use super::SetKey;

/// The HPA's default scale-down stabilization; upwards it is none.
const DOWN_WINDOW: Duration = Duration::from_secs(300);

/// One trigger of one ScaledObject.
#[derive(Clone, Debug, PartialEq)]
pub struct TriggerFacts {
    pub scaled_object: String,
    pub request: TriggerRequest,
    pub min_replicas: u32,
    pub max_replicas: u32,
    pub tolerance: Tolerance,
    pub metric_type: MetricType,
    pub scaling_modifiers: bool,
    /// The ScaledObject scales something else than the InferenceSet.
    pub other_target: bool,
    pub up_window: Duration,
    pub down_window: Duration,
    pub cooldown: Cooldown,
}

/// How triggers are read in this cluster.
#[derive(Clone, Debug)]
pub struct TriggerRules {
    /// What `metricPort` may say.
    pub ports: Vec<u16>,
    /// Whether HPAs keep their `tolerance` field: Kubernetes 1.35 and later.
    pub tolerance_in_force: bool,
}

/// Every trigger that is ours, well formed, and about an InferenceSet of the ScaledObject's own namespace.
pub fn triggers_of(object: &ScaledObject, rules: &TriggerRules) -> Vec<(SetKey, TriggerFacts)> {
    let namespace = object.namespace().unwrap_or_default();
    let read = |trigger: &Trigger| {
        if !is_ours(&trigger.type_, |key| trigger.metadata.get(key).map(String::as_str)) {
            return None;
        }
        let metadata = trigger.metadata.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        let request = decode(metadata, &rules.ports).ok()?;
        if request.inference_set_namespace != namespace {
            return None;
        }
        let key = SetKey::new(&namespace, &request.inference_set_name);
        Some((key, facts(object, trigger, request, rules)))
    };
    object.spec.triggers.iter().filter_map(read).collect()
}

fn facts(object: &ScaledObject, trigger: &Trigger, request: TriggerRequest, rules: &TriggerRules) -> TriggerFacts {
    let config = object
        .spec
        .advanced
        .as_ref()
        .and_then(|advanced| advanced.horizontal_pod_autoscaler_config.as_ref());
    let behavior = config.and_then(|config| config.behavior.as_ref());
    let up = behavior.and_then(|behavior| behavior.scale_up.as_ref());
    let down = behavior.and_then(|behavior| behavior.scale_down.as_ref());
    let count = |value: Option<i32>, default| value.map_or(default, |value| u32::try_from(value).unwrap_or(0));
    TriggerFacts {
        scaled_object: object.name_any(),
        tolerance: tolerance(&request, up, down, rules),
        other_target: scales_another(&object.spec.scale_target_ref, &request),
        request,
        min_replicas: count(object.spec.min_replica_count, 0),
        max_replicas: count(object.spec.max_replica_count, 100),
        metric_type: match trigger.metric_type.as_deref() {
            None | Some("" | "AverageValue") => MetricType::AverageValue,
            Some(_) => MetricType::Value,
        },
        scaling_modifiers: object.has_scaling_modifiers(),
        up_window: window(up).unwrap_or_default(),
        down_window: window(down).unwrap_or(DOWN_WINDOW),
        cooldown: Cooldown {
            up: cooldown(up),
            down: cooldown(down),
        },
    }
}

/// Whether the HPA's counts are not the InferenceSet's. Without a kind KEDA means a Deployment.
fn scales_another(target: &ScaleTargetRef, request: &TriggerRequest) -> bool {
    let group = target.api_version.as_deref().unwrap_or_default();
    let is_kaito = group.split_once('/').is_some_and(|(group, _)| group == KAITO_GROUP);
    let is_set = is_kaito && target.kind.as_deref() == Some(INFERENCE_SET_KIND);
    !(is_set && target.name == request.inference_set_name)
}

/// What the trigger says is in force, else what the ScaledObject asks for where the cluster keeps it, else the default.
fn tolerance(
    request: &TriggerRequest,
    up: Option<&ScalingRules>,
    down: Option<&ScalingRules>,
    rules: &TriggerRules,
) -> Tolerance {
    let usual = Tolerance::default();
    let asked = |side: Option<&ScalingRules>| {
        let text = side.filter(|_| rules.tolerance_in_force)?.tolerance.as_ref()?;
        quantity(text)
    };
    let (said_up, said_down) = match &request.aggregation {
        Aggregation::DesiredReplicas(desired) => (desired.scale_up_tolerance, desired.scale_down_tolerance),
        Aggregation::Sum { .. } | Aggregation::ServiceAvg { .. } | Aggregation::WindowedAvg { .. } | Aggregation::Gate { .. } => {
            (None, None)
        }
    };
    Tolerance {
        up: said_up.or_else(|| asked(up)).unwrap_or(usual.up),
        down: said_down.or_else(|| asked(down)).unwrap_or(usual.down),
    }
}

fn window(rules: Option<&ScalingRules>) -> Option<Duration> {
    let seconds = rules?.stabilization_window_seconds?;
    Some(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
}

/// For how long one step forbids the next: where a single policy allows one replica in its period.
fn cooldown(rules: Option<&ScalingRules>) -> Duration {
    let period = match rules.map(|rules| rules.policies.as_slice()) {
        Some([one]) if one.type_ == "Pods" && one.value == 1 => one.period_seconds,
        _ => 0,
    };
    Duration::from_secs(u64::try_from(period).unwrap_or(0))
}

/// A Kubernetes quantity as fractions of one are written: `0.1`, `100m`, `0`.
fn quantity(text: &IntOrString) -> Option<f64> {
    let text = match text {
        IntOrString::Int(whole) => return Some(f64::from(*whole)),
        IntOrString::String(text) => text.as_str(),
    };
    let (number, factor) = match text.strip_suffix('m') {
        Some(number) => (number, 1e-3),
        None => match text.strip_suffix('u') {
            Some(number) => (number, 1e-6),
            None => (text, 1.0),
        },
    };
    let value = number.parse::<f64>().ok()? * factor;
    (value.is_finite() && value >= 0.0).then_some(value)
}

impl TriggerFacts {
    /// Whether a call with `request` is about this trigger. Where KEDA dials, and with which credentials, does not matter.
    pub fn answers(&self, scaled_object: &str, request: &TriggerRequest) -> bool {
        self.scaled_object == scaled_object
            && self.request.endpoint == request.endpoint
            && self.request.aggregation == request.aggregation
    }

    /// The scale as a decision sees it.
    pub fn scale(&self, spec_replicas: u32, status_replicas: u32) -> Scale {
        Scale {
            spec_replicas,
            status_replicas,
            min_replicas: self.min_replicas,
            max_replicas: self.max_replicas,
            tolerance: self.tolerance,
            metric_type: self.metric_type,
            scaling_modifiers: self.scaling_modifiers,
            other_target: self.other_target,
            down_window: self.down_window,
            cooldown: self.cooldown,
        }
    }

    /// A current count confirmed longer ago is none: 60 s, or half the shortest window if that is longer.
    pub fn count_lasts(&self) -> Duration {
        let windows = [self.up_window, self.down_window]
            .into_iter()
            .filter(|window| !window.is_zero());
        let half = windows.min().unwrap_or_default() / 2;
        half.max(Duration::from_secs(60))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn rules() -> TriggerRules {
        TriggerRules {
            ports: vec![80, 5000],
            tolerance_in_force: true,
        }
    }

    fn object(spec: &Value) -> ScaledObject {
        let mut spec = spec.clone();
        let target = json!({"apiVersion": "kaito.sh/v1beta1", "kind": "InferenceSet", "name": "phi"});
        spec.as_object_mut().unwrap().entry("scaleTargetRef").or_insert(target);
        serde_json::from_value(json!({"metadata": {"name": "phi", "namespace": "ns"}, "spec": spec})).unwrap()
    }

    fn metadata() -> Value {
        json!({"inferenceSetName": "phi", "inferenceSetNamespace": "ns", "threshold": "10", "scalerAddress": "a:1"})
    }

    fn one(spec: &Value) -> TriggerFacts {
        let (key, facts) = triggers_of(&object(spec), &rules()).pop().unwrap();
        assert_eq!(key, SetKey::new("ns", "phi"));
        facts
    }

    #[test]
    fn keda_defaults_hold_where_nothing_is_said() {
        let facts = one(&json!({"triggers": [{"type": "external", "metadata": metadata()}]}));
        assert_eq!((facts.min_replicas, facts.max_replicas), (0, 100));
        assert_eq!(facts.tolerance, Tolerance { up: 0.1, down: 0.1 });
        assert_eq!((facts.up_window, facts.down_window), (Duration::ZERO, DOWN_WINDOW));
        assert_eq!(facts.metric_type, MetricType::AverageValue);
        assert!(!facts.scaling_modifiers && !facts.other_target);
        assert_eq!(facts.count_lasts(), Duration::from_secs(150));
    }

    #[test]
    fn bounds_windows_and_tolerances_are_read() {
        let spec = json!({
            "minReplicaCount": 2, "maxReplicaCount": 7,
            "advanced": {
                "horizontalPodAutoscalerConfig": {"behavior": {
                    "scaleUp": {
                        "stabilizationWindowSeconds": 60, "tolerance": "100m",
                        "policies": [{"type": "Pods", "value": 1, "periodSeconds": 300}],
                    },
                    "scaleDown": {
                        "stabilizationWindowSeconds": 600, "tolerance": "0.5",
                        "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}],
                    }
                }},
                "scalingModifiers": {"formula": "a+b"}
            },
            "triggers": [{"type": "external-push", "metricType": "Value", "metadata": metadata()}]
        });
        let facts = one(&spec);
        assert_eq!((facts.min_replicas, facts.max_replicas), (2, 7));
        assert_eq!(facts.tolerance, Tolerance { up: 0.1, down: 0.5 });
        assert_eq!(facts.down_window, Duration::from_secs(600));
        let up = Duration::from_secs(300);
        assert_eq!(
            facts.scale(1, 1).cooldown,
            Cooldown {
                up,
                ..Cooldown::default()
            }
        );
        assert_eq!(facts.metric_type, MetricType::Value);
        assert!(facts.scaling_modifiers);
        assert_eq!(facts.count_lasts(), Duration::from_secs(60));

        let old = TriggerRules {
            tolerance_in_force: false,
            ..rules()
        };
        let (_, facts) = triggers_of(&object(&spec), &old).pop().unwrap();
        assert_eq!(facts.tolerance, Tolerance::default(), "the cluster drops the field");
    }

    #[test]
    fn triggers_of_others_and_of_other_namespaces_are_none_of_ours() {
        let mut foreign = metadata();
        foreign["inferenceSetNamespace"] = json!("other");
        let mut broken = metadata();
        broken["threshold"] = json!("many");
        let spec = json!({"triggers": [
            {"type": "cron", "metadata": {}},
            {"type": "external", "metadata": {"scalerAddress": "b:1"}},
            {"type": "external", "metadata": foreign},
            {"type": "external", "metadata": broken}
        ]});
        assert!(triggers_of(&object(&spec), &rules()).is_empty());
    }

    #[test]
    fn counts_are_the_hpas_only_where_the_inference_set_itself_is_scaled() {
        for (target, other) in [
            (
                json!({"apiVersion": "kaito.sh/v1alpha1", "kind": "InferenceSet", "name": "phi"}),
                false,
            ),
            (
                json!({"apiVersion": "kaito.sh/v1beta1", "kind": "InferenceSet", "name": "llama"}),
                true,
            ),
            (
                json!({"apiVersion": "kaito.sh/v1beta1", "kind": "Workspace", "name": "phi"}),
                true,
            ),
            (
                json!({"apiVersion": "example.test/v1", "kind": "InferenceSet", "name": "phi"}),
                true,
            ),
            (json!({"kind": "InferenceSet", "name": "phi"}), true),
            (json!({"name": "phi"}), true),
        ] {
            let spec = json!({"scaleTargetRef": target, "triggers": [{"type": "external", "metadata": metadata()}]});
            let facts = one(&spec);
            assert_eq!(facts.other_target, other, "{target}");
            assert_eq!(facts.scale(2, 2).other_target, other);
        }
    }

    #[test]
    fn quantities_are_fractions() {
        let read = |text: &str| quantity(&IntOrString::String(text.to_owned()));
        assert_eq!(read("100m"), Some(0.1));
        assert_eq!(read("0.5"), Some(0.5));
        assert_eq!(quantity(&IntOrString::Int(0)), Some(0.0));
        for bad in ["", "m", "-1", "inf", "1k"] {
            assert_eq!(read(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn call_is_matched_whatever_address_and_epoch_it_carries() {
        let facts = one(&json!({"triggers": [{"type": "external", "metadata": metadata()}]}));
        let mut request = facts.request.clone();
        request.scaler_address = None;
        request.credential_epoch = Some(9);
        assert!(facts.answers("phi", &request));
        assert!(!facts.answers("other", &request));
        request.endpoint.port = 5000;
        assert!(!facts.answers("phi", &request));
    }
}
