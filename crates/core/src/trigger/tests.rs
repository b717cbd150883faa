//! The codec: what one side writes the other reads, and nothing a tenant writes gets past the limits.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::policy::{Combine, MetricKind, MetricRule};

fn decode_pairs(pairs: &[(&str, &str)]) -> Result<TriggerRequest, DecodeError> {
    decode(pairs.iter().copied(), &PORTS_ALLOWED_BY_DEFAULT)
}

fn decode_map(metadata: &BTreeMap<String, String>) -> Result<TriggerRequest, DecodeError> {
    let pairs = metadata.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    decode(pairs, &PORTS_ALLOWED_BY_DEFAULT)
}

const NAMED: [(&str, &str); 2] = [("inferenceSetName", "phi-4"), ("inferenceSetNamespace", "default")];

#[test]
fn triggers_of_reference_0_5_ask_for_a_sum() {
    let request = decode_pairs(&[
        NAMED[0],
        NAMED[1],
        ("metricName", "vllm:num_requests_waiting"),
        ("scalerAddress", "keda-kaito-scaler-svc.keda.svc.cluster.local:10450"),
        ("threshold", "4"),
    ])
    .unwrap();
    assert_eq!(
        request.aggregation,
        Aggregation::Sum {
            metric: "vllm:num_requests_waiting".to_owned(),
            threshold: 4.0
        }
    );
    assert_eq!(request.endpoint.pod_port(), 5000);
}

#[test]
fn triggers_of_reference_0_6_keep_their_meaning() {
    let windowed = [
        ("aggregation", "windowed-avg"),
        ("metricCacheWindow", "120"),
        ("metricName", "vllm:request_queue_time_seconds"),
        ("metricSource", "modelpod"),
    ];
    let request = decode_pairs(&[&NAMED[..], &windowed[..]].concat()).unwrap();
    assert_eq!(
        request.aggregation,
        Aggregation::WindowedAvg {
            metric: "vllm:request_queue_time_seconds".to_owned(),
            window: Duration::from_secs(120),
            threshold: None
        }
    );
    let gate = [("aggregation", "gate"), ("metricName", "readiness_gate")];
    let request = decode_pairs(&[&NAMED[..], &gate[..]].concat()).unwrap();
    assert_eq!(request.aggregation.metric_name(), "readiness_gate");
}

#[test]
fn bad_metadata_is_refused_naming_the_key() {
    for (key, value) in [
        ("metricPort", "80@169.254.169.254"),
        ("metricPort", "+80"),
        ("metricPort", "080"),
        ("metricPort", "65536"),
        ("metricPort", "٨٠"),
        ("metricPort", "22"),
        ("metricPath", "metrics"),
        ("metricPath", "/../secrets"),
        ("metricPath", "/%2e%2e/x"),
        ("metricPath", "//host/metrics"),
        ("metricPath", "/metrics?x=1"),
        ("metricPath", "/metrics#x"),
        ("metricPath", "/a\\b"),
        ("metricProtocol", "file"),
        ("scrapeTimeout", "0s"),
        ("scrapeTimeout", "-1"),
        ("scrapeTimeout", "11s"),
        ("scrapeTimeout", "NaN"),
        ("scrapeTimeout", "1e9h"),
        ("threshold", "0"),
        ("threshold", "-1"),
        ("threshold", "inf"),
        ("threshold", "NaN"),
        ("threshold", "1e308"),
        ("metricSource", "elsewhere"),
        ("aggregation", "quantile"),
        ("metricName", "a b"),
        ("metricName", ""),
        ("credentialEpoch", "-1"),
        ("inferenceSetName", "../x"),
        ("inferenceSetNamespace", "Default"),
    ] {
        let mut metadata: BTreeMap<String, String> = NAMED.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        metadata.insert("threshold".to_owned(), "10".to_owned());
        metadata.insert(key.to_owned(), value.to_owned());
        let error = decode_map(&metadata).expect_err(&format!("{key}={value:?} was accepted"));
        assert!(error.to_string().starts_with(key), "{key}={value:?}: {error}");
    }
}

#[test]
fn sizes_are_limited() {
    let long = "x".repeat(257);
    assert!(matches!(
        decode_pairs(&[NAMED[0], NAMED[1], ("threshold", "1"), ("anything", &long)]),
        Err(DecodeError::TooLong { .. })
    ));
    let keys: Vec<String> = (0..40).map(|n| format!("k{n}")).collect();
    let many: Vec<(&str, &str)> = keys.iter().map(|key| (key.as_str(), "v")).collect();
    assert_eq!(decode_pairs(&many), Err(DecodeError::TooManyKeys { count: 40 }));
}

#[test]
fn tiny_thresholds_are_written_within_the_limit_of_a_value() {
    for threshold in ["1e-300", "5e-324", "0.1", "0.0000000000000000000000000000001", "1e12"] {
        let request = decode_pairs(&[NAMED[0], NAMED[1], ("threshold", threshold)]).unwrap();
        let metadata = encode(&request);
        assert!(metadata["threshold"].len() <= 24, "{}", metadata["threshold"]);
        assert_eq!(decode_map(&metadata), Ok(request));
    }
    let request = decode_pairs(&[NAMED[0], NAMED[1], ("threshold", "10")]).unwrap();
    assert_eq!(encode(&request)["threshold"], "10");
}

#[test]
fn timeouts_are_whole_milliseconds() {
    for (text, millis) in [("1234567us", 1235), ("0.1", 100), ("2.5", 2500), ("10s", 10_000)] {
        let request = decode_pairs(&[NAMED[0], NAMED[1], ("threshold", "1"), ("scrapeTimeout", text)]).unwrap();
        assert_eq!(request.endpoint.timeout, Duration::from_millis(millis), "{text}");
        assert_eq!(decode_map(&encode(&request)), Ok(request), "{text}");
    }
}

#[test]
fn refusals_quote_a_tenants_text_cut_and_on_one_line() {
    let policy = format!(r#"{{"{}": 1}}"#, r"\u001b[31m\n".repeat(100));
    let key = "a\nb".repeat(30);
    for (key, value) in [("policy", policy), (key.as_str(), "x".repeat(257))] {
        let pairs = [NAMED[0], NAMED[1], ("aggregation", "desired-replicas"), (key, &value)];
        let message = decode_pairs(&pairs).unwrap_err().to_string();
        assert!(!message.chars().any(char::is_control), "{message:?}");
        assert!(message.chars().count() < 300, "{message}");
    }
}

#[test]
fn targets_are_quantised_to_three_decimals_and_never_zero() {
    for (threshold, target) in [(10.0, 10.0), (0.12345, 0.123), (0.000_1, 0.001)] {
        let aggregation = Aggregation::Sum {
            metric: "m".to_owned(),
            threshold,
        };
        assert!((aggregation.target() - target).abs() < 1e-9, "{threshold}");
    }
}

fn metric_rule() -> impl Strategy<Value = MetricRule> {
    (
        "[a-z_:][a-z0-9_:]{0,20}",
        0.0..1e6f64,
        0.0..1.0f64,
        prop::option::of(15u64..=3600),
    )
        .prop_map(|(name, up, share, window)| MetricRule {
            name,
            kind: if window.is_some() {
                MetricKind::Histogram
            } else {
                MetricKind::Gauge
            },
            up_threshold: up,
            down_threshold: up * share,
            window: Duration::from_secs(window.unwrap_or(0)),
        })
}

fn aggregation() -> impl Strategy<Value = Aggregation> {
    let metric = || "[a-z_:][a-z0-9_:]{0,20}";
    let threshold = || 0.001..1e12f64;
    prop_oneof![
        (metric(), threshold()).prop_map(|(metric, threshold)| Aggregation::Sum { metric, threshold }),
        (metric(), prop::option::of(threshold())).prop_map(|(metric, threshold)| Aggregation::ServiceAvg { metric, threshold }),
        (metric(), 15u64..=3600, prop::option::of(threshold())).prop_map(|(metric, window, threshold)| {
            Aggregation::WindowedAvg {
                metric,
                window: Duration::from_secs(window),
                threshold,
            }
        }),
        metric().prop_map(|metric| Aggregation::Gate { metric }),
        (
            prop::collection::vec(metric_rule(), 1..4),
            any::<bool>(),
            0u64..=3600,
            1u64..=1800,
            1u64..=1800,
            0u32..5,
            1u32..100,
            prop::option::of(0.0..1.0f64)
        )
            .prop_map(|(metrics, and, window, up, down, min, more, tolerance)| {
                Aggregation::DesiredReplicas(Box::new(DesiredReplicas {
                    policy: ScalingPolicy {
                        metrics,
                        combine: if and { Combine::And } else { Combine::Or },
                        evaluation_window: Duration::from_secs(window),
                        scale_up_cooldown: Duration::from_secs(up),
                        scale_down_cooldown: Duration::from_secs(down),
                    },
                    min_replicas: min,
                    max_replicas: min + more,
                    scale_up_tolerance: tolerance,
                    scale_down_tolerance: tolerance,
                }))
            }),
    ]
}

proptest! {
    #[test]
    fn what_is_encoded_decodes_to_the_same(
        aggregation in aggregation(),
        epoch in prop::option::of(any::<u64>()),
        https in any::<bool>(),
        port in prop::sample::select(PORTS_ALLOWED_BY_DEFAULT.to_vec()),
        millis in 100u64..=10_000,
    ) {
        let request = TriggerRequest {
            inference_set_name: "phi-4".to_owned(),
            inference_set_namespace: "default".to_owned(),
            scaler_address: Some("scaler.keda.svc:10450".to_owned()),
            credential_epoch: epoch,
            endpoint: Endpoint {
                protocol: if https { Protocol::Https } else { Protocol::Http },
                port,
                path: "/metrics".to_owned(),
                timeout: Duration::from_millis(millis),
            },
            aggregation,
        };
        prop_assert_eq!(decode_map(&encode(&request)), Ok(request));
    }

    #[test]
    fn metadata_without_an_inference_set_is_refused(pairs in prop::collection::btree_map(".{0,20}", ".{0,40}", 0..8)) {
        prop_assert!(decode_map(&pairs).is_err());
    }
}
