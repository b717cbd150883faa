use std::time::Duration;

use http::Method;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use serde_json::json;
use tokio::time::Instant;

use super::{MAX_NAME, MAX_NOTE, Notice, Recorder, Severity, name, truncate};
use crate::fake_api::{Answer, Scenario};
use crate::metrics::SharedRegistry;

const EVENTS: &str = "/apis/events.k8s.io/v1/namespaces/shop/events";

fn notice(note: &str) -> Notice {
    Notice {
        severity: Severity::Warning,
        reason: "OutOfStock",
        action: "Refuse",
        note: note.to_owned(),
        regarding: ObjectReference {
            api_version: Some("shop.example/v1".to_owned()),
            kind: Some("Shelf".to_owned()),
            namespace: Some("shop".to_owned()),
            name: Some("tea".to_owned()),
            uid: Some("u1".to_owned()),
            ..ObjectReference::default()
        },
    }
}

fn created() -> Answer {
    let event = json!({ "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": { "name": "tea.1" } });
    Answer::json(201, &event)
}

fn recorder(client: kube::Client, registry: &SharedRegistry) -> Recorder {
    Recorder::new(client, "shop-till", "till-0", registry)
}

#[tokio::test(start_paused = true)]
async fn notice_becomes_an_event_and_its_repetition_does_not() {
    let scenario = Scenario::new("repeat").step("first", Method::POST, EVENTS, created());
    let scenario = scenario.step("another note", Method::POST, EVENTS, created());
    let (client, server) = scenario.step("ten minutes later", Method::POST, EVENTS, created()).start();
    let registry = SharedRegistry::with_prefix("shop");
    let recorder = recorder(client, &registry);

    recorder.publish(notice("no tea")).await;
    recorder.publish(notice("no tea")).await;
    recorder.publish(notice("no milk")).await;
    tokio::time::advance(Duration::from_secs(600)).await;
    recorder.publish(notice("no tea")).await;

    let calls = server.finish().await;
    let event = &calls[0].body;
    assert_eq!(event["type"], "Warning");
    assert_eq!(event["reason"], "OutOfStock");
    assert_eq!(event["action"], "Refuse");
    assert_eq!(event["note"], "no tea");
    assert_eq!(event["regarding"]["uid"], "u1");
    assert_eq!(event["reportingController"], "shop-till");
    assert_eq!(event["reportingInstance"], "till-0");
    assert_eq!(calls[1].body["note"], "no milk");
    let metrics = registry.encode().unwrap();
    assert!(metrics.contains("shop_events_total{outcome=\"published\"} 3\n"), "{metrics}");
    assert!(metrics.contains("shop_events_total{outcome=\"repeated\"} 1\n"), "{metrics}");
}

#[tokio::test(start_paused = true)]
async fn failure_is_counted_bounded_and_tried_again_the_next_time() {
    let scenario = Scenario::new("failing").step("hang", Method::POST, EVENTS, Answer::hang());
    let scenario = scenario.step("refused", Method::POST, EVENTS, Answer::status(403, "Forbidden"));
    let (client, server) = scenario.step("published", Method::POST, EVENTS, created()).start();
    let registry = SharedRegistry::with_prefix("shop");
    let recorder = recorder(client, &registry);
    let started = Instant::now();
    for _ in 0..3 {
        recorder.publish(notice("no tea")).await;
    }
    assert_eq!(started.elapsed(), Duration::from_secs(5));
    assert_eq!(server.finish().await.len(), 3);
    let metrics = registry.encode().unwrap();
    assert!(metrics.contains("shop_events_total{outcome=\"failed\"} 2\n"), "{metrics}");
}

#[tokio::test]
async fn events_about_cluster_scoped_objects_land_in_the_default_namespace() {
    let path = "/apis/events.k8s.io/v1/namespaces/default/events";
    let (client, server) = Scenario::new("cluster").step("create", Method::POST, path, created()).start();
    let mut notice = notice("no tea");
    notice.regarding.namespace = None;
    recorder(client, &SharedRegistry::with_prefix("shop")).publish(notice).await;
    let calls = server.finish().await;
    assert_eq!(calls[0].body["metadata"]["namespace"], "default");
}

#[test]
fn long_notes_are_cut_between_characters() {
    for note in ["x".repeat(5000), "é".repeat(5000), "…".repeat(5000)] {
        let cut = truncate(note.clone(), MAX_NOTE);
        assert!(cut.len() <= MAX_NOTE && cut.len() > MAX_NOTE - 4, "{}", cut.len());
        assert!(cut.ends_with('…'));
    }
    assert_eq!(truncate("x".repeat(MAX_NOTE), MAX_NOTE).len(), MAX_NOTE);
}

#[test]
fn event_names_are_valid_whatever_the_name_of_the_object() {
    for object in [
        "tea".to_owned(),
        "a".repeat(253),
        format!("{}.{}", "a".repeat(235), "b".repeat(17)),
    ] {
        let name = name(&object, Timestamp::now());
        assert!(name.len() <= MAX_NAME, "{name}");
        assert!(!name.contains("..") && !name.contains("-."), "{name}");
        assert!(name.starts_with(&object[..3]), "{name}");
    }
}
