//! Request → metadata. Defaults are left out, so that what a user sees is what was asked.

use std::collections::BTreeMap;

use super::{Aggregation, Endpoint, Protocol, TriggerRequest, keys};

/// Metadata that [`super::decode`] reads back as the same request. `enableTLS` is always set: without it KEDA
/// dials plaintext when a Secret is missing.
pub fn encode(request: &TriggerRequest) -> BTreeMap<String, String> {
    let mut metadata = BTreeMap::new();
    let mut put = |key: &str, value: String| {
        metadata.insert(key.to_owned(), value);
    };
    put(keys::INFERENCE_SET_NAME, request.inference_set_name.clone());
    put(keys::INFERENCE_SET_NAMESPACE, request.inference_set_namespace.clone());
    put(keys::ENABLE_TLS, "true".to_owned());
    if let Some(address) = &request.scaler_address {
        put(keys::SCALER_ADDRESS, address.clone());
    }
    if let Some(epoch) = request.credential_epoch {
        put(keys::CREDENTIAL_EPOCH, epoch.to_string());
    }

    let usual = Endpoint::default();
    let endpoint = &request.endpoint;
    if endpoint.protocol != usual.protocol {
        put(keys::METRIC_PROTOCOL, protocol_name(endpoint.protocol).to_owned());
    }
    if endpoint.port != usual.port {
        put(keys::METRIC_PORT, endpoint.port.to_string());
    }
    if endpoint.path != usual.path {
        put(keys::METRIC_PATH, endpoint.path.clone());
    }
    if endpoint.timeout != usual.timeout {
        put(keys::SCRAPE_TIMEOUT, format!("{}ms", endpoint.timeout.as_millis()));
    }

    match &request.aggregation {
        Aggregation::Sum { metric, threshold } => {
            put(keys::METRIC_NAME, metric.clone());
            put(keys::THRESHOLD, decimal(*threshold));
        }
        Aggregation::ServiceAvg { metric, threshold } => {
            put(keys::AGGREGATION, "service-avg".to_owned());
            put(keys::METRIC_NAME, metric.clone());
            if let Some(threshold) = threshold {
                put(keys::THRESHOLD, decimal(*threshold));
            }
        }
        Aggregation::WindowedAvg {
            metric,
            window,
            threshold,
        } => {
            put(keys::AGGREGATION, "windowed-avg".to_owned());
            put(keys::METRIC_NAME, metric.clone());
            put(keys::METRIC_CACHE_WINDOW, window.as_secs().to_string());
            if let Some(threshold) = threshold {
                put(keys::THRESHOLD, decimal(*threshold));
            }
        }
        Aggregation::Gate { metric } => {
            put(keys::AGGREGATION, "gate".to_owned());
            put(keys::METRIC_NAME, metric.clone());
        }
        Aggregation::DesiredReplicas(desired) => {
            put(keys::AGGREGATION, "desired-replicas".to_owned());
            put(keys::MIN_REPLICAS, desired.min_replicas.to_string());
            put(keys::MAX_REPLICAS, desired.max_replicas.to_string());
            // A struct of numbers, strings and enums cannot fail to become JSON.
            put(keys::POLICY, serde_json::to_string(&desired.policy).unwrap_or_default());
            if let Some(tolerance) = desired.scale_up_tolerance {
                put(keys::SCALE_UP_TOLERANCE, decimal(tolerance));
            }
            if let Some(tolerance) = desired.scale_down_tolerance {
                put(keys::SCALE_DOWN_TOLERANCE, decimal(tolerance));
            }
        }
    }
    metadata
}

/// Shortest text that reads back as the same number. Plain digits of a tiny number alone would exceed the limit of a value.
fn decimal(number: f64) -> String {
    let plain = number.to_string();
    if plain.len() <= 24 { plain } else { format!("{number:e}") }
}

fn protocol_name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Http => "http",
        Protocol::Https => "https",
    }
}
