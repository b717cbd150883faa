//! A pod's status as a kubelet would report it. Pure: times come in as RFC 3339 text.

use k8s_openapi::api::core::v1::{Container, Pod};
use serde_json::{Value, json};

use super::lifecycle::Phase;

/// What the status is made from, beside the pod's own spec.
#[derive(Clone, Debug)]
pub struct Report<'a> {
    pub phase: Phase,
    pub restarts: u32,
    pub pod_ip: &'a str,
    pub host_ip: &'a str,
    pub pod_started: &'a str,
    pub container_started: &'a str,
    /// When Ready last changed.
    pub ready_changed: &'a str,
}

/// The status subresource for a merge patch.
#[must_use]
pub fn status(pod: &Pod, report: &Report<'_>) -> Value {
    let ready = report.phase == Phase::Ready;
    let condition = |kind: &str, met: bool, since: &str| {
        json!({
            "type": kind,
            "status": if met { "True" } else { "False" },
            "reason": (!met).then_some("ContainersNotReady"),
            "lastTransitionTime": since,
        })
    };
    let spec = pod.spec.as_ref();
    let containers: Vec<Value> = spec
        .into_iter()
        .flat_map(|spec| &spec.containers)
        .map(|container| running(container, report))
        .collect();
    let init_containers: Vec<Value> = spec
        .into_iter()
        .flat_map(|spec| spec.init_containers.iter().flatten())
        .map(|container| finished(container, report))
        .collect();
    json!({"status": {
        "phase": "Running",
        "startTime": report.pod_started,
        "hostIP": report.host_ip,
        "hostIPs": [{"ip": report.host_ip}],
        "podIP": report.pod_ip,
        "podIPs": [{"ip": report.pod_ip}],
        "conditions": [
            condition("PodReadyToStartContainers", true, report.pod_started),
            condition("Initialized", true, report.pod_started),
            condition("Ready", ready, report.ready_changed),
            condition("ContainersReady", ready, report.ready_changed),
            condition("PodScheduled", true, report.pod_started),
        ],
        "initContainerStatuses": (!init_containers.is_empty()).then_some(init_containers),
        "containerStatuses": containers,
    }})
}

fn running(container: &Container, report: &Report<'_>) -> Value {
    let crashed = report.phase == Phase::CrashLoop;
    let state = if crashed {
        json!({"waiting": {
            "reason": "CrashLoopBackOff",
            "message": "back-off 5m0s restarting failed container",
        }})
    } else {
        json!({"running": {"startedAt": report.container_started}})
    };
    let restarts = report.restarts + u32::from(crashed);
    let last_state = if restarts == 0 {
        json!({})
    } else {
        json!({"terminated": {
            "exitCode": 1, "reason": "Error",
            "startedAt": report.pod_started, "finishedAt": report.container_started,
        }})
    };
    json!({
        "name": container.name,
        "image": container.image.clone().unwrap_or_default(),
        "imageID": "",
        "containerID": format!("fleet://{}-{restarts}", container.name),
        "ready": report.phase == Phase::Ready,
        // The startup probe has passed once the benchmark is over.
        "started": matches!(report.phase, Phase::Ready | Phase::Unready),
        "restartCount": restarts,
        "state": state,
        "lastState": last_state,
    })
}

fn finished(container: &Container, report: &Report<'_>) -> Value {
    json!({
        "name": container.name,
        "image": container.image.clone().unwrap_or_default(),
        "imageID": "",
        "ready": true,
        "restartCount": 0,
        "state": {"terminated": {
            "exitCode": 0, "reason": "Completed",
            "startedAt": report.pod_started, "finishedAt": report.pod_started,
        }},
    })
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{PodSpec, PodStatus};

    use super::*;

    fn written(phase: Phase, restarts: u32) -> PodStatus {
        let container = |name: &str| Container {
            name: name.to_owned(),
            image: Some("kaito-base".to_owned()),
            ..Container::default()
        };
        let pod = Pod {
            spec: Some(PodSpec {
                containers: vec![container("phi-abcde"), container("sidecar")],
                init_containers: Some(vec![container("pull")]),
                ..PodSpec::default()
            }),
            ..Pod::default()
        };
        let report = Report {
            phase,
            restarts,
            pod_ip: "10.244.1.1",
            host_ip: "10.244.255.1",
            pod_started: "2026-01-01T00:00:00Z",
            container_started: "2026-01-01T00:01:00Z",
            ready_changed: "2026-01-01T00:02:00Z",
        };
        let patch = status(&pod, &report);
        serde_json::from_value(patch["status"].clone()).expect("the patch is a pod status")
    }

    fn condition(status: &PodStatus, kind: &str) -> String {
        let conditions = status.conditions.as_deref().unwrap_or_default();
        conditions
            .iter()
            .find(|condition| condition.type_ == kind)
            .map(|condition| condition.status.clone())
            .expect("the condition is reported")
    }

    #[test]
    fn only_a_ready_pod_says_so() {
        for phase in [Phase::Downloading, Phase::Warming, Phase::Unready, Phase::CrashLoop] {
            assert_eq!(condition(&written(phase, 0), "Ready"), "False", "{phase:?}");
        }
        let ready = written(Phase::Ready, 0);
        assert_eq!(condition(&ready, "Ready"), "True");
        assert_eq!(condition(&ready, "ContainersReady"), "True");
    }

    #[test]
    fn every_container_is_listed_with_its_start_and_restarts() {
        let status = written(Phase::Ready, 2);
        let containers = status.container_statuses.unwrap();
        assert_eq!(containers.len(), 2);
        for container in &containers {
            assert_eq!(container.restart_count, 2);
            assert!(container.state.as_ref().unwrap().running.is_some());
            assert!(container.last_state.as_ref().unwrap().terminated.is_some());
        }
        assert_eq!(status.init_container_statuses.unwrap().len(), 1);
    }

    #[test]
    fn a_crash_loop_waits_with_its_reason_and_counts_a_restart() {
        let containers = written(Phase::CrashLoop, 0).container_statuses.unwrap();
        let state = containers[0].state.clone().unwrap();
        assert_eq!(state.waiting.unwrap().reason.as_deref(), Some("CrashLoopBackOff"));
        assert_eq!(containers[0].restart_count, 1);
    }

    #[test]
    fn a_fresh_pod_has_an_address_and_no_last_state() {
        let status = written(Phase::Warming, 0);
        assert_eq!(status.pod_ip.as_deref(), Some("10.244.1.1"));
        assert_eq!(status.host_ip.as_deref(), Some("10.244.255.1"));
        let first = &status.container_statuses.unwrap()[0];
        assert_eq!(first.started, Some(false));
        assert!(first.last_state.as_ref().unwrap().terminated.is_none());
    }
}
