//! What the tests of one InferenceSet share: its time, its objects, its triggers.

use std::sync::Arc;
use std::time::Duration;

use keda_kaito_core::crd::ScaledObject;
use keda_kaito_core::policy::{Combine, MetricKind, MetricRule, ScalingPolicy};
use keda_kaito_core::record::Answer;
use keda_kaito_core::trigger::{Aggregation, DesiredReplicas, decode, encode};
use keda_kaito_core::window::Reading;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::super::*;
use crate::address::Rules;
use crate::clock::Clock;
use crate::registry::trigger::{TriggerRules, triggers_of};
use crate::scrape::Form;

/// An InferenceSet under test, its time and its objects.
pub(super) struct Bed {
    clock: Clock,
    rules: Rules,
    pub(super) timing: Timing,
    pub(super) state: SetState,
    next_id: u64,
    pub(super) seconds: i64,
}

impl Bed {
    pub(super) fn new() -> Self {
        Self {
            clock: Clock::new(Instant::now(), "2026-01-01T00:00:00Z".parse().unwrap()),
            rules: Rules::default(),
            timing: Timing::default(),
            state: SetState::default(),
            next_id: 0,
            seconds: 0,
        }
    }

    pub(super) fn now(&self) -> Moment {
        Moment::from_secs(self.seconds)
    }

    pub(super) fn refresh(&mut self, objects: Objects) {
        let reader = Reader {
            clock: &self.clock,
            rules: &self.rules,
            now: Moment::from_secs(self.seconds),
        };
        self.state.refresh(objects, &reader, &mut self.next_id);
    }

    /// Asks every target; each answers with `waiting`.
    pub(super) fn scrape(&mut self, waiting: f64) {
        let ids: Vec<_> = self.state.scrapeable().collect();
        for id in ids {
            let job = self.state.job(id, self.now()).unwrap();
            self.finish(&job, &Reading::Gauge(waiting));
        }
    }

    pub(super) fn finish(&mut self, job: &Job, reading: &Reading) {
        let readings = job.page.wanted.iter().map(|_| reading.clone()).collect();
        let sample = Sample {
            readings,
            form: Some(Form::Filtered),
            rejected: 0,
            at: self.now(),
        };
        self.state.finish(job, Ok(sample), self.now());
    }

    pub(super) fn end_round(&mut self) -> Vec<Decided> {
        self.state.end_round(&self.timing, Some(Duration::ZERO), self.now())
    }

    pub(super) fn answer(&self) -> Answer {
        let input = self.state.input(&self.state.triggers[0], &self.timing, self.now()).unwrap();
        decide(&input).answer
    }
}

pub(super) fn objects(uid: &str, replicas: u32, triggers: &[Value], workspaces: &[(&str, &str)]) -> Objects {
    let scaled_object: ScaledObject = serde_json::from_value(json!({
        "metadata": {"name": "phi", "namespace": "ns"},
        "spec": {"scaleTargetRef": {"apiVersion": "kaito.sh/v1beta1", "kind": "InferenceSet", "name": "phi"},
        "minReplicaCount": 1, "maxReplicaCount": 5, "triggers": triggers}
    }))
    .unwrap();
    let rules = TriggerRules {
        ports: vec![80, 443, 5000, 8000],
        tolerance_in_force: true,
    };
    let object = json!({
        "metadata": {"name": "phi", "namespace": "ns", "uid": uid},
        "spec": {"replicas": replicas}, "status": {"replicas": replicas}
    });
    Objects {
        object: Some(Arc::new(serde_json::from_value(object).unwrap())),
        triggers: triggers_of(&scaled_object, &rules)
            .into_iter()
            .map(|(_, facts)| facts)
            .collect(),
        workspaces: workspaces
            .iter()
            .map(|(name, pod)| (workspace(name, uid), Some(pod_of(name, pod))))
            .collect(),
    }
}

pub(super) fn workspace(name: &str, owner: &str) -> Arc<Workspace> {
    Arc::new(
        serde_json::from_value(json!({"metadata": {
            "name": name, "namespace": "ns", "creationTimestamp": "2026-01-01T00:00:00Z",
            "ownerReferences": [{"apiVersion": "kaito.sh/v1beta1", "kind": "InferenceSet", "name": "phi", "uid": owner, "controller": true}]
        }}))
        .unwrap(),
    )
}

pub(super) fn pod_of(workspace: &str, uid: &str) -> Arc<Pod> {
    let address = 1 + workspace.bytes().last().unwrap() % 100;
    Arc::new(
        serde_json::from_value(json!({
            "metadata": {"name": format!("{workspace}-0"), "namespace": "ns", "uid": uid},
            "status": {
                "phase": "Running", "podIP": format!("10.0.0.{address}"), "hostIP": "10.9.0.1",
                "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]
            }
        }))
        .unwrap(),
    )
}

pub(super) fn trigger(more: &Value) -> Value {
    let mut metadata = json!({"inferenceSetName": "phi", "inferenceSetNamespace": "ns", "threshold": "10"});
    metadata
        .as_object_mut()
        .unwrap()
        .append(&mut more.as_object().unwrap().clone());
    json!({"type": "external", "metadata": metadata})
}

/// A policy about sixteen metrics that no other `number` names.
pub(super) fn policy_of_sixteen(number: u32) -> Value {
    let rule = |index| MetricRule {
        name: format!("own:metric_{number}_{index}"),
        kind: MetricKind::Gauge,
        up_threshold: 2.0,
        down_threshold: 1.0,
        window: Duration::ZERO,
    };
    let policy = ScalingPolicy {
        metrics: (0..16).map(rule).collect(),
        combine: Combine::And,
        evaluation_window: Duration::from_secs(60),
        scale_up_cooldown: Duration::from_secs(60),
        scale_down_cooldown: Duration::from_secs(60),
    };
    let plain = [
        ("inferenceSetName", "phi"),
        ("inferenceSetNamespace", "ns"),
        ("threshold", "1"),
    ];
    let request = TriggerRequest {
        aggregation: Aggregation::DesiredReplicas(Box::new(DesiredReplicas {
            policy,
            min_replicas: 1,
            max_replicas: 5,
            scale_up_tolerance: None,
            scale_down_tolerance: None,
        })),
        ..decode(plain, &[80]).unwrap()
    };
    json!({"type": "external", "metadata": encode(&request)})
}

pub(super) fn plain(replicas: u32, workspaces: &[(&str, &str)]) -> Objects {
    objects("u1", replicas, &[trigger(&json!({}))], workspaces)
}
