//! What has to hold of any trigger metadata: it is refused naming a key, or it means something within the limits that
//! survives being written again.

use keda_kaito_core::policy::{MetricKind, is_metric_name};
use keda_kaito_core::trigger::{
    Aggregation, DecodeError, DesiredReplicas, PORTS_ALLOWED_BY_DEFAULT, TriggerRequest, decode, encode, keys,
};

use super::records;

/// Long enough for the longest value accepted, escaped; short enough for an Event and a gRPC status.
const LONGEST_MESSAGE: usize = 2000;

const KEYS: [&str; 17] = [
    keys::INFERENCE_SET_NAME,
    keys::INFERENCE_SET_NAMESPACE,
    keys::SCALER_ADDRESS,
    keys::METRIC_NAME,
    keys::THRESHOLD,
    keys::METRIC_PROTOCOL,
    keys::METRIC_PORT,
    keys::METRIC_PATH,
    keys::SCRAPE_TIMEOUT,
    keys::METRIC_SOURCE,
    keys::AGGREGATION,
    keys::METRIC_CACHE_WINDOW,
    keys::CREDENTIAL_EPOCH,
    keys::POLICY,
    keys::MIN_REPLICAS,
    keys::MAX_REPLICAS,
    keys::SCALE_UP_TOLERANCE,
];

pub(crate) fn check(input: &[u8]) {
    let metadata = records::read(input);
    let pairs = metadata.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    match decode(pairs, &PORTS_ALLOWED_BY_DEFAULT) {
        Ok(request) => {
            within_limits(&request);
            survives(&request);
        }
        Err(error) => refused(&error, metadata.keys()),
    }
}

/// What is decided on is what was written, however often it is written again.
pub(crate) fn survives(request: &TriggerRequest) {
    let metadata = encode(request);
    let pairs = metadata.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    assert_eq!(decode(pairs, &PORTS_ALLOWED_BY_DEFAULT).as_ref(), Ok(request), "{metadata:?}");
}

fn refused<'a>(error: &DecodeError, mut given: impl Iterator<Item = &'a String>) {
    let message = error.to_string();
    assert!(
        message.chars().count() <= LONGEST_MESSAGE,
        "{} characters",
        message.chars().count()
    );
    assert!(!message.chars().any(char::is_control), "{message:?}");
    match error {
        DecodeError::TooManyKeys { count } => assert_eq!(*count, given.count()),
        DecodeError::TooLong { bytes, limit, .. } => {
            assert!(bytes > limit);
            let same = |(said, char): (char, char)| said == char || char.is_control();
            assert!(
                given.any(|key| message.chars().zip(key.chars().take(64)).all(same)),
                "{message}"
            );
        }
        DecodeError::Missing { key } | DecodeError::Invalid { key, .. } | DecodeError::Policy { key, .. } => {
            assert!(KEYS.contains(key) || *key == keys::SCALE_DOWN_TOLERANCE, "{key}");
            assert!(message.starts_with(key), "{message}");
        }
    }
}

fn within_limits(request: &TriggerRequest) {
    for name in [&request.inference_set_name, &request.inference_set_namespace] {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        assert!((1..=63).contains(&name.len()) && name.bytes().all(plain), "{name:?}");
    }
    let endpoint = &request.endpoint;
    assert!(PORTS_ALLOWED_BY_DEFAULT.contains(&endpoint.port));
    assert!(
        endpoint.path.starts_with('/') && endpoint.path.len() <= 128,
        "{}",
        endpoint.path
    );
    assert!(!endpoint.path.contains("..") && !endpoint.path.contains(['?', '#', '%', '\\', ' ', '@']));
    assert!(
        (100..=10_000).contains(&endpoint.timeout.as_millis()),
        "{:?}",
        endpoint.timeout
    );
    let aggregation = &request.aggregation;
    assert!(
        is_metric_name(&aggregation.metric_name().replace('-', "_")),
        "{aggregation:?}"
    );
    assert!((0.001..=1e12).contains(&aggregation.target()), "{aggregation:?}");
    match aggregation {
        Aggregation::WindowedAvg { window, .. } => assert!((15..=3600).contains(&window.as_secs()), "{window:?}"),
        Aggregation::DesiredReplicas(desired) => desired_within_limits(desired),
        Aggregation::Sum { .. } | Aggregation::ServiceAvg { .. } | Aggregation::Gate { .. } => {}
    }
}

fn desired_within_limits(desired: &DesiredReplicas) {
    assert!(desired.min_replicas <= desired.max_replicas && desired.max_replicas >= 1);
    for tolerance in [desired.scale_up_tolerance, desired.scale_down_tolerance]
        .into_iter()
        .flatten()
    {
        assert!((0.0..=1.0).contains(&tolerance), "{tolerance}");
    }
    let policy = &desired.policy;
    assert!((1..=16).contains(&policy.metrics.len()));
    assert!(policy.evaluation_window.as_secs() <= 3600);
    for cooldown in [policy.scale_up_cooldown, policy.scale_down_cooldown] {
        assert!((1..=1800).contains(&cooldown.as_secs()), "{cooldown:?}");
    }
    for metric in &policy.metrics {
        assert!(is_metric_name(&metric.name), "{:?}", metric.name);
        assert!((0.0..=1e12).contains(&metric.up_threshold), "{metric:?}");
        assert!((0.0..=metric.up_threshold).contains(&metric.down_threshold), "{metric:?}");
        let windowed = (15..=3600).contains(&metric.window.as_secs());
        assert!(metric.kind == MetricKind::Gauge || windowed, "{metric:?}");
    }
}
