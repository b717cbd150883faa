//! The loop from objects to answers: a fake API server that lists and keeps its watches open, a real metrics server.

use std::time::Duration;

use keda_kaito_core::fleet::Timing;
use keda_kaito_core::record::Answer;
use keda_kaito_core::trigger::{TriggerRequest, decode};
use keda_kaito_runtime::client::Clients;
use keda_kaito_runtime::metrics::SharedRegistry;
use keda_kaito_runtime::readiness::Readiness;
use keda_kaito_runtime::watch::WatchMetrics;
use kube::core::ApiResource;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::clock::Clock;
use crate::fake_cluster::{FakeCluster, eventually};
use crate::registry::AnswerError;
use crate::watches::Kinds;

/// Answers every request with so many waiting requests.
async fn model_server(waiting: u32) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = [0; 2048];
            let _read = stream.read(&mut head).await;
            let body = format!("# TYPE vllm:num_requests_waiting gauge\nvllm:num_requests_waiting {waiting}\n");
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            let _sent = stream.write_all(answer.as_bytes()).await;
        }
    });
    port
}

struct Bed {
    api: FakeCluster,
    registry: Registry,
    readiness: Readiness,
    port: u16,
    reports: mpsc::Receiver<RoundReport>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Bed {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Bed {
    async fn start(waiting: u32, quotas: Quotas) -> Self {
        Self::start_with(model_server(waiting).await, quotas)
    }

    fn start_with(port: u16, quotas: Quotas) -> Self {
        let api = FakeCluster::of([
            ("inferencesets", inference_set(1)),
            ("workspaces", workspace("phi-a")),
            ("pods", pod("phi-a")),
            ("scaledobjects", scaled_object(port)),
        ]);
        let timing = Timing {
            scrape_interval: Duration::from_secs(1),
            ..Timing::default()
        };
        let registry = Registry::new(Clock::start(), timing);
        let readiness = Readiness::default();
        let (sender, reports) = mpsc::channel(MAX_REPORTS);
        let mut engine = Engine::new(EngineConfig {
            registry: registry.clone(),
            metrics: Metrics::unregistered(),
            rules: Arc::new(Rules {
                loopback_allowed: true,
                ..Rules::default()
            }),
            quotas,
            identity: "scaler-0".to_owned(),
            reports: sender,
            cache: readiness.gate("cache", "waiting"),
            first_round: readiness.gate("first round", "waiting"),
        });
        let clients = Clients {
            watch: api.client(),
            api: api.client(),
        };
        let kinds = Kinds {
            inference_set: resource("InferenceSet", "inferencesets"),
            workspace: crate::workspace::WorkspaceKind::new(resource("Workspace", "workspaces")),
        };
        let metrics = WatchMetrics::register(&SharedRegistry::with_prefix("test"));
        let stop = CancellationToken::new();
        let rules = TriggerRules {
            ports: vec![port],
            tolerance_in_force: true,
        };
        let (mut watches, drivers) = Watches::start(&clients, kinds, &metrics, &stop);
        let task = tokio::spawn(async move {
            let drivers = futures::future::join_all(drivers);
            tokio::select! {
                () = engine.run(&mut watches, &rules) => {}
                _ended = drivers => {}
            }
        });
        Self {
            api,
            registry,
            readiness,
            port,
            reports,
            task,
        }
    }

    fn request(&self) -> TriggerRequest {
        let port = self.port.to_string();
        let metadata = [
            ("inferenceSetName", "phi"),
            ("inferenceSetNamespace", "ns"),
            ("threshold", "10"),
            ("metricPort", port.as_str()),
        ];
        decode(metadata, &[self.port]).unwrap()
    }

    fn answer(&self) -> Result<Answer, AnswerError> {
        Ok(self.registry.decide("ns", "phi", &self.request())?.record.answer)
    }

    async fn until(&self, what: &str, answer: &Result<Answer, AnswerError>) {
        eventually(what, || self.answer() == *answer).await;
    }
}

const MANY: Quotas = Quotas {
    all: 100,
    namespace: 100,
};

fn resource(kind: &str, plural: &str) -> ApiResource {
    ApiResource {
        group: "kaito.sh".to_owned(),
        version: "v1beta1".to_owned(),
        api_version: "kaito.sh/v1beta1".to_owned(),
        kind: kind.to_owned(),
        plural: plural.to_owned(),
    }
}

fn meta(name: &str) -> Value {
    json!({"name": name, "namespace": "ns", "uid": format!("uid-{name}"), "resourceVersion": "1",
        "creationTimestamp": "2026-01-01T00:00:00Z"})
}

fn inference_set(replicas: u32) -> Value {
    json!({"apiVersion": "kaito.sh/v1beta1", "kind": "InferenceSet", "metadata": meta("phi"),
        "spec": {"replicas": replicas}, "status": {"replicas": replicas}})
}

fn workspace(name: &str) -> Value {
    let mut metadata = meta(name);
    metadata["ownerReferences"] = json!([
        {"apiVersion": "kaito.sh/v1beta1", "kind": "InferenceSet", "name": "phi", "uid": "uid-phi", "controller": true}
    ]);
    json!({"apiVersion": "kaito.sh/v1beta1", "kind": "Workspace", "metadata": metadata})
}

fn pod(workspace: &str) -> Value {
    let mut metadata = meta(&format!("{workspace}-0"));
    metadata["labels"] = json!({"kaito.sh/workspace": workspace});
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "status": {
        "phase": "Running", "podIP": "127.0.0.1", "hostIP": "10.9.0.1",
        "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]
    }})
}

fn scaled_object(port: u16) -> Value {
    json!({"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": meta("phi"), "spec": {
        "scaleTargetRef": {"apiVersion": "kaito.sh/v1beta1", "kind": "InferenceSet", "name": "phi"},
        "minReplicaCount": 1, "maxReplicaCount": 5,
        "triggers": [{"type": "external", "metadata": {
            "inferenceSetName": "phi", "inferenceSetNamespace": "ns", "threshold": "10", "metricPort": port.to_string()
        }}]
    }})
}

#[tokio::test]
async fn watched_scaled_object_is_scraped_for_before_anybody_asks() {
    let mut bed = Bed::start(10, MANY).await;
    eventually("readiness", || bed.readiness.is_ready()).await;
    bed.until("the sum", &Ok(Answer::Value(10.0))).await;
    let report = bed.reports.recv().await.unwrap();
    assert_eq!((&*report.key.name, report.object.spec_replicas), ("phi", 1));
    assert_eq!(report.decisions.len(), 1);
}

#[tokio::test]
async fn call_that_is_turned_away_is_the_last_one_told_all_the_same() {
    let bed = Bed::start(10, MANY).await;
    bed.until("the sum", &Ok(Answer::Value(10.0))).await;
    bed.registry.set_blind(true);
    assert_eq!(bed.answer(), Err(AnswerError::Blind));
    let state = bed.registry.get(&SetKey::new("ns", "phi")).unwrap();
    let state = lock(&state);
    let call = state.stories[0].last_call.as_ref().unwrap();
    assert_eq!(
        (&call.answer, call.id),
        (&Answer::Unavailable(AnswerError::Blind.to_string()), None)
    );
}

#[tokio::test]
async fn changes_of_objects_change_the_answer() {
    let bed = Bed::start(10, MANY).await;
    bed.until("the sum of one", &Ok(Answer::Value(10.0))).await;

    bed.api.send("workspaces", "ADDED", &workspace("phi-b")).await;
    bed.api.send("pods", "ADDED", &pod("phi-b")).await;
    bed.api.send("inferencesets", "MODIFIED", &inference_set(2)).await;
    bed.until("the sum of two", &Ok(Answer::Value(20.0))).await;

    bed.api.send("inferencesets", "DELETED", &inference_set(2)).await;
    bed.until("no InferenceSet", &Err(AnswerError::NotFound(SetKey::new("ns", "phi"))))
        .await;

    bed.api.send("scaledobjects", "DELETED", &scaled_object(bed.port)).await;
    eventually("nothing to be known", || bed.registry.all().is_empty()).await;
    assert!(matches!(bed.answer(), Err(AnswerError::TriggerUnknown { .. })));
}

#[tokio::test]
async fn replica_beyond_the_quota_is_not_asked_and_says_why() {
    let none = Quotas { all: 0, namespace: 0 };
    let mut bed = Bed::start(10, none).await;
    let report = bed.reports.recv().await.unwrap();
    assert_eq!(report.decisions.len(), 1);
    let state = bed.registry.get(&SetKey::new("ns", "phi")).unwrap();
    let failure = lock(&state).replicas["phi-a"].targets[0].series.failure().cloned().unwrap();
    assert!(
        failure.reason.starts_with("not scraped: the scaler's limit"),
        "{}",
        failure.reason
    );
}

#[tokio::test]
async fn every_inference_set_shows_in_the_metrics_and_leaves_with_its_scaled_object() {
    let bed = Bed::start(10, MANY).await;
    let exported = SharedRegistry::with_prefix("test");
    crate::metrics::fleet::register(&exported, bed.registry.clone());
    let stranger = SharedRegistry::with_prefix("test");
    crate::metrics::fleet::register(&stranger, Registry::new(Clock::start(), Timing::default()));
    let page = stranger.encode().unwrap();
    assert!(page.lines().all(|line| line.starts_with('#')), "nothing is known yet: {page}");
    let has = |line: &str| exported.encode().unwrap().lines().any(|other| other == line);
    for line in [
        "test_targets 1",
        "test_fresh_targets 1",
        "test_replicas{namespace=\"ns\",name=\"phi\",class=\"serving\"} 1",
        "test_replicas{namespace=\"ns\",name=\"phi\",class=\"lost\"} 0",
    ] {
        let whole = format!("{line}.0");
        eventually(line, || has(line) || has(&whole)).await;
    }
    let aged = || {
        exported
            .encode()
            .unwrap()
            .contains("test_oldest_sample_age_seconds{namespace=\"ns\",name=\"phi\"} ")
    };
    assert!(aged());
    bed.api.send("scaledobjects", "DELETED", &scaled_object(bed.port)).await;
    eventually("no more", || !aged()).await;
}

#[tokio::test]
async fn answers_come_from_memory_while_scrapes_hang() {
    let hanging = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = hanging.local_addr().unwrap().port();
    let mut bed = Bed::start_with(port, MANY);
    // The scrape is under way.
    let (_kept, _) = hanging.accept().await.unwrap();
    let start = Instant::now();
    for _ in 0..100 {
        let hold = Answer::Value(10.0);
        assert_eq!(bed.answer(), Ok(hold), "one replica at target");
    }
    assert!(
        start.elapsed() < Duration::from_millis(500),
        "{:?} for all of them",
        start.elapsed()
    );
    let report = bed.reports.recv().await.unwrap();
    assert!(report.decisions.iter().all(|decided| decided.record.replicas.len() == 1));
}

#[test]
fn rounds_of_many_inference_sets_are_spread_over_the_interval() {
    let early = (0..1000)
        .filter(|index| phase(&SetKey::new("ns", &index.to_string()), "scaler-0") < 0.5)
        .count();
    assert!((400..600).contains(&early), "{early}");
    let key = SetKey::new("ns", "phi");
    assert!((phase(&key, "scaler-0") - phase(&key, "scaler-1")).abs() > 1e-6);
}

#[tokio::test]
async fn panic_over_one_inference_set_leaves_the_others_alone() {
    let registry = Registry::new(Clock::start(), Timing::default());
    let readiness = Readiness::default();
    let metrics = SharedRegistry::with_prefix("test");
    let (sender, _reports) = mpsc::channel(MAX_REPORTS);
    let mut engine = Engine::new(EngineConfig {
        registry: registry.clone(),
        metrics: Metrics::register(&metrics),
        rules: Arc::new(Rules::default()),
        quotas: MANY,
        identity: "scaler-0".to_owned(),
        reports: sender,
        cache: readiness.gate("cache", "waiting"),
        first_round: readiness.gate("first round", "waiting"),
    });
    let key = |name: &str| SetKey {
        namespace: "ns".into(),
        name: name.into(),
    };
    let (bad, good) = (key("bad"), key("good"));
    for set in [&bad, &good] {
        engine.guarded("refresh", set, |engine| drop(engine.config.registry.track(set)));
    }
    engine.guarded("round", &bad, |engine| {
        let state = engine.config.registry.track(&bad);
        let _held = lock(&state);
        panic!("out of tea");
    });
    assert!(registry.get(&bad).is_none(), "its half-done state is still answered from");
    assert!(registry.get(&good).is_some());
    assert!(metrics.encode().unwrap().contains("test_panics_total{work=\"round\"} 1"));
}
