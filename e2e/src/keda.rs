//! What KEDA and the HPA show of an InferenceSet: the external metric's value, the HPA's numbers as `kubectl get hpa`
//! prints them, the ScaledObject's conditions. Reading only.

use anyhow::Context;
use k8s_openapi::api::autoscaling::v2::{HorizontalPodAutoscaler, MetricSpec, MetricStatus};
use k8s_openapi::api::core::v1::Event;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::api::{DynamicObject, ListParams};
use kube::{Api, Client};
use serde::Deserialize;

#[derive(Debug, Deserialize)]
struct ExternalMetrics {
    items: Vec<ExternalMetric>,
}

#[derive(Debug, Deserialize)]
struct ExternalMetric {
    value: Quantity,
}

/// A ScaledObject's external metric, through the same door as the HPA: aggregation, KEDA's adapter, operator, scaler.
/// `metric` is the name the HPA uses, such as `s0-vllm:num_requests_waiting`.
///
/// # Errors
/// The API server's words, which carry KEDA's and the scaler's; also when there is not exactly one value.
pub async fn external_metric(client: &Client, namespace: &str, scaled_object: &str, metric: &str) -> anyhow::Result<f64> {
    let path = format!(
        "/apis/external.metrics.k8s.io/v1beta1/namespaces/{namespace}/{metric}?labelSelector=scaledobject.keda.sh%2Fname%3D{scaled_object}"
    );
    let request = http::Request::get(&path).body(Vec::new())?;
    let list: ExternalMetrics = client.request(request).await.with_context(|| format!("reading {metric}"))?;
    match list.items.as_slice() {
        [only] => number(&only.value).with_context(|| format!("{metric} is {:?}", only.value.0)),
        items => anyhow::bail!("{metric} has {} values", items.len()),
    }
}

/// A Kubernetes quantity as a number; only the suffixes that metrics use.
#[must_use]
pub fn number(quantity: &Quantity) -> Option<f64> {
    let text = quantity.0.as_str();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match text.get(digits.len()..)? {
        "" => 1.0,
        "n" => 1e-9,
        "u" => 1e-6,
        "m" => 1e-3,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        _ => return None,
    };
    Some(digits.parse::<f64>().ok()? * factor)
}

/// The HPA KEDA keeps for a ScaledObject whose name is short enough for the usual name.
///
/// # Errors
/// When there is none.
pub async fn hpa(client: &Client, namespace: &str, scaled_object: &str) -> anyhow::Result<HorizontalPodAutoscaler> {
    let api: Api<HorizontalPodAutoscaler> = Api::namespaced(client.clone(), namespace);
    let name = format!("keda-hpa-{scaled_object}");
    api.get(&name).await.with_context(|| format!("reading HPA {name}"))
}

/// The TARGETS column of `kubectl get hpa` for external average values: `58/10 (avg)`.
#[must_use]
pub fn targets(hpa: &HorizontalPodAutoscaler) -> String {
    let wanted = hpa.spec.as_ref().and_then(|spec| spec.metrics.as_deref()).unwrap_or_default();
    let current = hpa.status.as_ref().and_then(|status| status.current_metrics.as_deref());
    let columns = wanted.iter().map(|metric| {
        let (name, target) = external_target(metric).unwrap_or(("", "<unknown>"));
        let value = current
            .unwrap_or_default()
            .iter()
            .find_map(|status| external_average(status, name))
            .unwrap_or("<unknown>");
        format!("{value}/{target} (avg)")
    });
    columns.collect::<Vec<_>>().join(", ")
}

fn external_target(metric: &MetricSpec) -> Option<(&str, &str)> {
    let external = metric.external.as_ref()?;
    Some((&external.metric.name, &external.target.average_value.as_ref()?.0))
}

fn external_average<'a>(status: &'a MetricStatus, name: &str) -> Option<&'a str> {
    let external = status.external.as_ref().filter(|external| external.metric.name == name)?;
    Some(&external.current.average_value.as_ref()?.0)
}

/// A condition's status and message, such as a ScaledObject's `Ready` or an HPA's `ScalingActive`.
#[must_use]
pub fn condition(object: &DynamicObject, kind: &str) -> Option<(String, String)> {
    let conditions = object.data.pointer("/status/conditions")?.as_array()?;
    let condition = conditions.iter().find(|condition| condition["type"] == kind)?;
    let text = |key: &str| {
        condition
            .get(key)
            .and_then(|value| value.as_str())
            .unwrap_or_default()
            .to_owned()
    };
    Some((text("status"), text("message")))
}

/// Reasons and messages of the Events about an object, oldest first.
///
/// # Errors
/// When they cannot be listed.
pub async fn events(client: &Client, namespace: &str, name: &str) -> anyhow::Result<Vec<(String, String)>> {
    let api: Api<Event> = Api::namespaced(client.clone(), namespace);
    let about = ListParams::default().fields(&format!("involvedObject.name={name}"));
    let mut events = api.list(&about).await.context("listing Events")?.items;
    events.sort_by_key(|event| event.metadata.creation_timestamp.clone());
    Ok(events
        .into_iter()
        .map(|event| (event.reason.unwrap_or_default(), event.message.unwrap_or_default()))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hpa(current: &serde_json::Value) -> HorizontalPodAutoscaler {
        serde_json::from_value(serde_json::json!({
            "spec": {
                "maxReplicas": 5,
                "scaleTargetRef": {"kind": "InferenceSet", "name": "phi"},
                "metrics": [{"type": "External", "external": {
                    "metric": {"name": "s0-vllm:num_requests_waiting"},
                    "target": {"type": "AverageValue", "averageValue": "10"},
                }}],
            },
            "status": {"desiredReplicas": 1, "currentMetrics": current},
        }))
        .expect("the HPA is valid")
    }

    #[test]
    fn targets_read_as_kubectl_prints_them() {
        let current = serde_json::json!([{"type": "External", "external": {
            "metric": {"name": "s0-vllm:num_requests_waiting"},
            "current": {"value": "0", "averageValue": "58"},
        }}]);
        assert_eq!(targets(&hpa(&current)), "58/10 (avg)");
        assert_eq!(targets(&hpa(&serde_json::json!([]))), "<unknown>/10 (avg)");
    }

    #[test]
    fn quantities_become_numbers() {
        for (text, expected) in [("58", 58.0), ("58333m", 58.333), ("2k", 2000.0), ("0", 0.0), ("-1", -1.0)] {
            let value = number(&Quantity(text.to_owned())).expect("the quantity is known");
            assert!((value - expected).abs() < 1e-9, "{text}");
        }
        for unknown in ["", "1Ki", "x"] {
            assert_eq!(number(&Quantity(unknown.to_owned())), None, "{unknown}");
        }
    }
}
