//! Whether KEDA has looked at a ScaledObject and made no HPA of it, or one without our metric, as it does when the scaler
//! could not be asked; and the change that makes it look again. KEDA's own retries are up to seventeen minutes apart.

use crate::crd::{ScaledObject, Trigger};
use crate::names::DESIRED_REPLICAS_METRIC;
use crate::trigger::keys;

const PAUSED: &str = "autoscaling.keda.sh/paused";
const PAUSED_REPLICAS: &str = "autoscaling.keda.sh/paused-replicas";
/// What KEDA reads as no (Go's `strconv.ParseBool`); it takes anything else for yes.
const NO: [&str; 6] = ["0", "f", "F", "false", "FALSE", "False"];
/// Any change of the spec makes KEDA look; this one means nothing while it lasts, and the next repair takes it back.
const OTHER_INTERVAL: i32 = 16;

/// What KEDA left out although it has seen the object. A paused object is meant to have no HPA.
pub(super) fn is_neglected(live: &ScaledObject) -> bool {
    let annotation = |key| {
        live.metadata
            .annotations
            .as_ref()
            .and_then(|annotations| annotations.get(key))
    };
    let paused = annotation(PAUSED).is_some_and(|value| !NO.contains(&value.as_str())) || annotation(PAUSED_REPLICAS).is_some();
    let Some(status) = live.status.as_ref().filter(|status| !status.conditions.is_empty() && !paused) else {
        return false;
    };
    let has_hpa = status.hpa_name.as_deref().is_some_and(|name| !name.is_empty());
    let missing = |metric: String| !status.external_metric_names.contains(&metric);
    !has_hpa || live.spec.triggers.iter().enumerate().filter_map(metric_of).any(missing)
}

/// The object as it should be but for one change that makes KEDA look at it.
pub(super) fn stirred(mut desired: ScaledObject) -> ScaledObject {
    desired.spec.polling_interval = Some(OTHER_INTERVAL);
    desired
}

/// The name KEDA gives the metric of a trigger of ours.
fn metric_of((index, trigger): (usize, &Trigger)) -> Option<String> {
    let named = trigger.metadata.get(keys::METRIC_NAME).map(String::as_str);
    let decided = trigger.metadata.contains_key(keys::POLICY).then_some(DESIRED_REPLICAS_METRIC);
    Some(format!("s{index}-{}", named.or(decided)?))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::is_neglected;
    use crate::crd::ScaledObject;

    fn object(status: &serde_json::Value, annotation: (&str, &str)) -> ScaledObject {
        serde_json::from_value(json!({
            "metadata": { "name": "phi", "annotations": { annotation.0: annotation.1 } },
            "spec": { "scaleTargetRef": { "name": "phi" }, "triggers": [
                { "type": "external", "metadata": { "metricName": "vllm:num_requests_waiting" } },
            ] },
            "status": status,
        }))
        .unwrap()
    }

    #[test]
    fn hpa_that_is_missing_or_lacks_the_metric_is_neglect_once_keda_has_looked() {
        let conditions = json!([{ "type": "Ready", "status": "False" }]);
        let metric = "s0-vllm:num_requests_waiting";
        for (status, neglected) in [
            (json!(null), false),
            (json!({}), false),
            (json!({ "conditions": conditions }), true),
            (json!({ "conditions": conditions, "hpaName": "" }), true),
            (json!({ "conditions": conditions, "externalMetricNames": [metric] }), true),
            (json!({ "conditions": conditions, "hpaName": "keda-hpa-phi" }), true),
            (
                json!({ "conditions": conditions, "hpaName": "keda-hpa-phi", "externalMetricNames": ["s0-other"] }),
                true,
            ),
            (
                json!({ "conditions": conditions, "hpaName": "keda-hpa-phi", "externalMetricNames": [metric] }),
                false,
            ),
        ] {
            let neglected_with = |key, value| is_neglected(&object(&status, (key, value)));
            assert_eq!(neglected_with("note", "true"), neglected, "{status}");
            assert_eq!(neglected_with("autoscaling.keda.sh/paused", "false"), neglected, "{status}");
            assert!(!neglected_with("autoscaling.keda.sh/paused", "true"));
            assert!(!neglected_with("autoscaling.keda.sh/paused", "yes"));
            assert!(!neglected_with("autoscaling.keda.sh/paused-replicas", "0"));
        }
    }
}
