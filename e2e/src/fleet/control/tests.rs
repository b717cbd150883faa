use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use serde_json::json;
use tokio::net::TcpListener;

use super::*;
use crate::fleet::addresses::Addresses;
use crate::fleet::lifecycle::Phase;
use crate::fleet_client::FleetClient;

fn workspace_pod(name: &str, uid: &str) -> Pod {
    serde_json::from_value(json!({
        "metadata": {
            "name": format!("{name}-0"), "namespace": "shop", "uid": uid,
            "labels": {"kaito.sh/workspace": name, "inferenceset.kaito.sh/created-by": "phi"},
        },
        "spec": {"containers": [{"name": name}]},
    }))
    .expect("the pod is valid")
}

fn ready(fleet: &Fleet, name: &str) -> Arc<PodEntry> {
    let pod = workspace_pod(name, name);
    let entry = fleet.observe(&pod).expect("the pod is new");
    fleet.start(&entry).expect("an address is free");
    fleet.enter(&entry, Phase::Ready);
    entry
}

async fn served() -> (Arc<Fleet>, FleetClient) {
    let addresses = Addresses::below("10.244.").expect("the prefix has two octets");
    let fleet = Arc::new(Fleet::new(addresses, Duration::from_secs(1)));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = FleetClient::new(listener.local_addr().unwrap());
    let router = router(Arc::clone(&fleet), None);
    tokio::spawn(async move { axum::serve(listener, router).await });
    (fleet, client)
}

#[tokio::test]
async fn an_inferencesets_choices_reach_present_and_future_pods() {
    let (fleet, client) = served().await;
    ready(&fleet, "phi-a");
    client
        .set("shop", "phi", json!({"waiting": 12, "kv_usage": 0.5}))
        .await
        .unwrap();
    ready(&fleet, "phi-b");
    let pods = client.pods_of("shop", "phi").await.unwrap();
    assert_eq!(pods.len(), 2);
    for pod in &pods {
        assert_eq!((pod.waiting, pod.kv_usage), (12.0, 0.5));
        assert_eq!(pod.phase, Phase::Ready);
    }
    assert_ne!(pods[0].ip, pods[1].ip);
    assert!(client.pods_of("shop", "other").await.unwrap().is_empty());
}

#[tokio::test]
async fn a_pods_choice_wins_and_ends_with_null_or_reset() {
    let (fleet, client) = served().await;
    ready(&fleet, "phi-a");
    let waiting = || async { client.pod("shop", "phi-a-0").await.unwrap().waiting };
    client.set("shop", "phi", json!({"waiting": 12})).await.unwrap();
    client.set_pod("shop", "phi-a-0", json!({"waiting": 3})).await.unwrap();
    assert!((waiting().await - 3.0).abs() < 1e-9);
    client.set_pod("shop", "phi-a-0", json!({"waiting": null})).await.unwrap();
    assert!((waiting().await - 12.0).abs() < 1e-9);
    client.reset().await.unwrap();
    assert!(waiting().await.abs() < 1e-9);
}

#[tokio::test]
async fn observations_are_added_once_per_call() {
    let (fleet, client) = served().await;
    ready(&fleet, "phi-a");
    let body = json!({"queue_time": [{"seconds": 4, "count": 10}, {"seconds": 1, "count": 2}]});
    client.set("shop", "phi", &body).await.unwrap();
    client.set_pod("shop", "phi-a-0", &body).await.unwrap();
    let pod = client.pod("shop", "phi-a-0").await.unwrap();
    assert_eq!((pod.queue_time_count, pod.queue_time_sum), (24, 84.0));
}

#[tokio::test]
async fn a_restart_resets_counters_and_counts_itself() {
    let (fleet, client) = served().await;
    ready(&fleet, "phi-a");
    let body = json!({"queue_time": [{"seconds": 4, "count": 10}]});
    client.set("shop", "phi", &body).await.unwrap();
    client.restart("shop", "phi-a-0").await.unwrap();
    let pod = client.pod("shop", "phi-a-0").await.unwrap();
    assert_eq!((pod.restarts, pod.queue_time_count), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_rate_is_shared_by_the_ready_pods() {
    let addresses = Addresses::below("10.244.").expect("the prefix has two octets");
    let fleet = Fleet::new(addresses, Duration::from_secs(1));
    let (first, second) = (ready(&fleet, "phi-a"), ready(&fleet, "phi-b"));
    let patch = json!({"rate": 20, "service": {"concurrency": 4, "seconds": 2}});
    fleet.patch_set(&Key::new("shop", "phi"), patch.as_object().unwrap()).unwrap();
    tokio::time::advance(Duration::from_secs(60)).await;
    let (a, b) = (fleet.values(&first), fleet.values(&second));
    assert!(
        a.waiting > 400.0 && (a.waiting - b.waiting).abs() < 2.0,
        "{} {}",
        a.waiting,
        b.waiting
    );
    assert!(a.succeeded > 100.0);
    fleet.enter(&second, Phase::Unready);
    fleet.silence(&second);
    let (later, gone) = (fleet.values(&first), fleet.values(&second));
    assert!(later.waiting > a.waiting + b.waiting, "{}", later.waiting);
    assert!(gone.waiting.abs() < 1e-9);
}

#[tokio::test]
async fn a_refused_call_says_why_and_changes_nothing() {
    let (fleet, client) = served().await;
    ready(&fleet, "phi-a");
    for (body, reason) in [
        (json!({"wating": 1}), "wating"),
        (json!({"rate": 3}), "InferenceSet"),
        (json!({"waiting": 9, "queue_time": 1}), "queue_time"),
    ] {
        let error = client.set_pod("shop", "phi-a-0", &body).await.unwrap_err();
        assert!(error.to_string().contains(reason), "{error}");
    }
    assert!(client.pod("shop", "phi-a-0").await.unwrap().waiting.abs() < 1e-9);
    let unknown = client.restart("shop", "none").await.unwrap_err();
    assert!(unknown.to_string().contains("there is no pod shop/none"), "{unknown}");
}

#[tokio::test]
async fn an_ordered_address_goes_to_the_next_pod() {
    let (fleet, client) = served().await;
    let old = ready(&fleet, "phi-a").state().address.unwrap();
    client.order_address(old, "shop", "phi").await.unwrap();
    ready(&fleet, "phi-b");
    assert_eq!(client.pod("shop", "phi-b-0").await.unwrap().ip, Some(old));
}

#[tokio::test]
async fn a_recreated_pod_starts_afresh() {
    let (fleet, client) = served().await;
    let old = ready(&fleet, "phi-a");
    client.set_pod("shop", "phi-a-0", json!({"waiting": 3})).await.unwrap();
    let again = fleet.observe(&workspace_pod("phi-a", "another")).expect("the pod is another");
    assert!(old.gone.is_cancelled());
    assert_eq!(again.settings.borrow().waiting, None);
    assert_eq!(client.pod("shop", "phi-a-0").await.unwrap().phase, Phase::Pending);
}
