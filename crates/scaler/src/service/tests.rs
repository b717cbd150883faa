//! What KEDA may ask and what it is told, without a network: metadata in, status or number out.

use std::collections::BTreeMap;

use keda_kaito_core::fleet::Timing;
use keda_kaito_core::trigger::PORTS_ALLOWED_BY_DEFAULT;
use tokio::sync::watch;
use tonic::Code;

use super::*;
use crate::clock::Clock;

fn service() -> Service {
    let registry = Registry::new(Clock::start(), Timing::default());
    let (_, credentials) = watch::channel(None);
    Service::new(
        registry,
        Callers::new(tokio::time::Instant::now(), std::time::Duration::from_secs(120)),
        credentials,
        &PORTS_ALLOWED_BY_DEFAULT,
        Metrics::unregistered(),
    )
}

fn reference(namespace: &str, more: &[(&str, &str)]) -> ScaledObjectRef {
    let metadata = [
        ("inferenceSetName", "phi"),
        ("inferenceSetNamespace", "ns"),
        ("threshold", "7.5"),
    ];
    let metadata: BTreeMap<_, _> = metadata
        .iter()
        .chain(more)
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
    ScaledObjectRef {
        name: "phi".to_owned(),
        namespace: namespace.to_owned(),
        scaler_metadata: metadata,
    }
}

#[tokio::test]
async fn metric_spec_needs_no_cluster_and_fills_both_fields() {
    let answer = service()
        .get_metric_spec(Request::new(reference("ns", &[])))
        .await
        .unwrap()
        .into_inner();
    let [spec] = answer.metric_specs.as_slice() else {
        panic!("exactly one spec: {answer:?}");
    };
    assert_eq!(spec.metric_name, "vllm:num_requests_waiting");
    assert_eq!(spec.target_size, 8);
    assert!((spec.target_size_float - 7.5).abs() < 1e-9);
}

fn metrics(reference: ScaledObjectRef) -> Request<GetMetricsRequest> {
    Request::new(GetMetricsRequest {
        scaled_object_ref: Some(reference),
        metric_name: "vllm:num_requests_waiting".to_owned(),
    })
}

#[tokio::test]
async fn bad_metadata_is_an_invalid_argument_that_names_the_key() {
    let call = || reference("ns", &[("metricPort", "80@169.254.169.254")]);
    let service = service();
    for status in [
        service.get_metrics(metrics(call())).await.unwrap_err(),
        service.is_active(Request::new(call())).await.unwrap_err(),
    ] {
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(status.message().starts_with("metricPort"), "{status}");
    }
}

#[tokio::test]
async fn inference_sets_of_other_namespaces_are_denied() {
    let service = service();
    let call = || reference("elsewhere", &[]);
    let codes = [
        service.is_active(Request::new(call())).await.unwrap_err().code(),
        service.get_metrics(metrics(call())).await.unwrap_err().code(),
    ];
    assert_eq!(codes, [Code::PermissionDenied; 2]);
}

#[tokio::test]
async fn metric_that_cannot_be_had_still_has_a_name_so_that_keda_keeps_it_in_the_hpa() {
    for (namespace, more, name) in [
        ("ns", &[("metricPort", "80@169.254.169.254")][..], "vllm:num_requests_waiting"),
        ("elsewhere", &[], "vllm:num_requests_waiting"),
        (
            "ns",
            &[("threshold", "NaN"), ("metricName", "vllm:num_requests_running")],
            "vllm:num_requests_running",
        ),
        ("ns", &[("metricName", "not a name")], "vllm:num_requests_waiting"),
        (
            "ns",
            &[("aggregation", "desired-replicas"), ("policy", "{")],
            "desired-replicas",
        ),
    ] {
        let call = Request::new(reference(namespace, more));
        let answer = service().get_metric_spec(call).await.unwrap().into_inner();
        assert_eq!(answer.metric_specs.len(), 1);
        assert_eq!(answer.metric_specs[0].metric_name, name, "{more:?}");
        assert_eq!(answer.metric_specs[0].target_size, 1);
    }
}

#[tokio::test]
async fn without_a_view_of_the_cluster_the_answer_is_unavailable() {
    let status = service().get_metrics(metrics(reference("ns", &[]))).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("only just started"), "{status}");
}

#[tokio::test]
async fn call_without_a_scaled_object_is_refused() {
    let empty = GetMetricsRequest {
        scaled_object_ref: None,
        metric_name: String::new(),
    };
    let status = service().get_metrics(Request::new(empty)).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
}
