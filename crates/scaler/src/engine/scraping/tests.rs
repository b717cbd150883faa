use kube::runtime::reflector::store::Writer;
use kube::runtime::watcher::Event;
use serde_json::json;

use super::*;
use crate::scrape::Page;
use keda_kaito_core::trigger::Endpoint;
use keda_kaito_core::window::Segment;

fn pod(uid: &str, address: &str, phase: &str, host_network: bool) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": "phi-a-0", "namespace": "ns", "uid": uid},
        "spec": {"hostNetwork": host_network},
        "status": {"phase": phase, "podIP": address, "hostIP": "10.9.0.1"}
    }))
    .unwrap()
}

#[test]
fn address_is_used_only_while_it_is_still_that_pods() {
    let mut writer = Writer::<Pod>::default();
    let guard = Guard {
        pods: writer.as_reader(),
        rules: Arc::new(Rules {
            refused: ["10.0.0.9".parse().unwrap()].into(),
            loopback_allowed: false,
        }),
        namespace: "ns".into(),
    };
    let job = Job {
        id: TargetId(1),
        address: "10.0.0.7:5000".parse().unwrap(),
        page: Arc::new(Page::new(Endpoint::default(), Vec::new())),
        form: None,
        for_hint: false,
        segment: Segment::of("p1", 0, 0),
        pod_name: "phi-a-0".to_owned(),
        pod_uid: "p1".to_owned(),
    };
    assert!(!guard.holds(&job), "there is no such pod");
    for (now, holds) in [
        (pod("p1", "10.0.0.7", "Running", false), true),
        // The address went to another pod of the same name, or the pod to another address.
        (pod("p2", "10.0.0.7", "Running", false), false),
        (pod("p1", "10.0.0.8", "Running", false), false),
        (pod("p1", "10.0.0.7", "Succeeded", false), false),
        (pod("p1", "10.0.0.7", "Running", true), false),
        (pod("p1", "", "Running", false), false),
    ] {
        writer.apply_watcher_event(&Event::Apply(now.clone()));
        assert_eq!(guard.holds(&job), holds, "{now:?}");
    }
}
