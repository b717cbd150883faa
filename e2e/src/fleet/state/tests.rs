use serde_json::json;

use super::*;
use crate::fleet::values::Latency;

fn fleet() -> Fleet {
    let addresses = Addresses::below("10.244.").expect("the prefix has two octets");
    Fleet::new(addresses, Duration::from_secs(1))
}

fn pod(status: &serde_json::Value) -> Pod {
    serde_json::from_value(json!({
        "metadata": {
            "name": "phi-a-0", "namespace": "shop", "uid": "1",
            "labels": {"kaito.sh/workspace": "phi-a", "inferenceset.kaito.sh/created-by": "phi"},
        },
        "spec": {"nodeName": "gpu-0", "containers": []},
        "status": status,
    }))
    .expect("the pod is valid")
}

fn observations(values: &Values) -> u64 {
    values.latencies[&Latency::Queue].count()
}

#[tokio::test]
async fn a_pod_that_ran_before_the_fleet_keeps_its_address_and_readiness_in_another_container() {
    let fleet = fleet();
    let entry = fleet
        .observe(&pod(&json!({
            "podIP": "10.244.1.1", "startTime": "2026-01-01T00:00:00Z",
            "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [{
                "name": "phi", "image": "", "imageID": "", "ready": true, "restartCount": 2,
            }],
        })))
        .expect("the pod is new");
    let state = entry.state();
    assert_eq!(state.address, Some(Ipv4Addr::new(10, 244, 1, 1)));
    assert_eq!(state.life.restarts, 3);
    assert_eq!(state.pod_started, "2026-01-01T00:00:00Z");
    let day = Duration::from_hours(24);
    assert!(state.life.started.is_some_and(|started| started + day < fleet.now()));
    drop(state);
    let other = fleet.lock().addresses.take(None);
    assert_eq!(other, Some(Ipv4Addr::new(10, 244, 1, 2)));
}

#[tokio::test(start_paused = true)]
async fn the_benchmark_moves_the_counters_until_the_pod_is_ready() {
    let fleet = fleet();
    let entry = fleet.observe(&pod(&json!({}))).expect("the pod is new");
    fleet.start(&entry).expect("an address is free");
    fleet.enter(&entry, Phase::Downloading);
    tokio::time::advance(Duration::from_secs(10)).await;
    assert_eq!(observations(&fleet.values(&entry)), 0);
    fleet.enter(&entry, Phase::Warming);
    tokio::time::advance(Duration::from_secs(10)).await;
    let warming = fleet.values(&entry);
    assert_eq!(observations(&warming), 100);
    assert!(warming.waiting > 0.0 && warming.running > 0.0);
    fleet.enter(&entry, Phase::Ready);
    tokio::time::advance(Duration::from_secs(10)).await;
    let ready = fleet.values(&entry);
    assert_eq!(observations(&ready), 100);
    assert!(ready.waiting.abs() < 1e-9 && ready.running.abs() < 1e-9);
}

#[tokio::test]
async fn times_are_written_as_kubernetes_does() {
    let fleet = fleet();
    let stamp = fleet.stamp(fleet.now());
    assert_eq!(stamp.len(), "2026-01-01T00:00:00Z".len());
    let parsed: Timestamp = stamp.parse().expect("the stamp is RFC 3339");
    let off = fleet
        .epoch_millis(fleet.now())
        .abs_diff(u64::try_from(parsed.as_millisecond()).unwrap());
    assert!(off < 2000, "{off} ms");
}

#[tokio::test]
async fn a_new_pod_of_an_old_name_replaces_it_and_frees_its_address() {
    let fleet = fleet();
    let first = fleet.observe(&pod(&json!({}))).expect("the pod is new");
    let address = fleet.start(&first).expect("an address is free");
    let mut again = pod(&json!({}));
    again.metadata.uid = Some("2".to_owned());
    assert!(fleet.observe(&pod(&json!({}))).is_none());
    let second = fleet.observe(&again).expect("the pod is another");
    assert!(first.gone.is_cancelled());
    assert_eq!(fleet.pods().len(), 1);
    fleet.forget(&second);
    assert!(fleet.pods().is_empty());
    assert!(!fleet.lock().addresses.is_taken(address));
}
