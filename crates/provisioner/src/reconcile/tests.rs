//! Reconciliations against a scripted API server: the exact calls, and what follows from each answer.

pub(crate) mod build;

use std::time::Duration;

use build::{EVENTS, OBJECT, Setup, inference_set, stored};
use http::Method;
use keda_kaito_runtime::fake_api::{Answer, Call, Scenario};
use serde_json::{Value, json};

use super::{Done, Outcome};
use crate::error::Error;

fn event_created() -> Answer {
    Answer::json(
        201,
        &json!({ "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": { "name": "e" } }),
    )
}

fn with_event(scenario: Scenario) -> Scenario {
    scenario.step("event", Method::POST, EVENTS, event_created())
}

fn reason(call: &Call) -> &str {
    call.body["reason"].as_str().unwrap()
}

async fn play(scenario: Scenario, setup: &Setup) -> (Result<Done, Error>, Vec<Call>) {
    let (client, server) = scenario.start();
    let done = setup.reconciler(client).reconcile(setup.task()).await;
    (done, server.finish().await)
}

#[tokio::test]
async fn missing_object_is_created_without_force() {
    let setup = Setup::new(inference_set());
    let created = stored(&setup.desired());
    let scenario = Scenario::new("create")
        .step("create", Method::PATCH, OBJECT, Answer::json(201, &created))
        .query("fieldManager=keda-kaito-provisioner");
    let (done, calls) = play(with_event(scenario), &setup).await;
    let done = done.unwrap();
    assert_eq!(done.outcome, Outcome::Applied);
    assert!(done.written.is_some() && done.provisioned && done.memory.unaccepted.is_none());
    assert!(!calls[0].query.contains("force"), "{}", calls[0].query);
    assert_eq!(calls[0].body["metadata"]["resourceVersion"], Value::Null);
    assert_eq!(reason(&calls[1]), "ScaledObjectApplied");
}

#[tokio::test]
async fn nothing_is_called_at_rest() {
    let setup = Setup::new(inference_set());
    let right = stored(&setup.desired());
    let setup = setup.live(right);
    let (done, _) = play(Scenario::new("rest"), &setup).await;
    assert_eq!(done.unwrap().outcome, Outcome::InSync);
}

#[tokio::test]
async fn drift_is_repaired_with_force_over_the_version_that_was_judged() {
    let setup = Setup::new(inference_set());
    let right = stored(&setup.desired());
    let mut live = right.clone();
    live["spec"]["maxReplicaCount"] = json!(50);
    let setup = setup.live(live);
    let scenario = Scenario::new("drift")
        .step("apply", Method::PATCH, OBJECT, Answer::json(200, &right))
        .query("force=true");
    let (done, calls) = play(with_event(scenario), &setup).await;
    assert_eq!(done.unwrap().outcome, Outcome::Applied);
    assert_eq!(calls[0].body["metadata"]["resourceVersion"], "7");
    assert_eq!(calls[0].body["spec"]["maxReplicaCount"], 5);
    assert!(calls[1].body["note"].as_str().unwrap().contains("spec.maxReplicaCount"));
}

#[tokio::test]
async fn switched_off_object_is_deleted_as_it_was_judged() {
    let setup = Setup::new(inference_set());
    let live = stored(&setup.desired());
    let setup = Setup::new(inference_set().without_auto_provision()).live(live);
    let scenario = Scenario::new("off").step(
        "delete",
        Method::DELETE,
        OBJECT,
        Answer::json(200, &json!({ "kind": "Status" })),
    );
    let (done, calls) = play(with_event(scenario), &setup).await;
    let done = done.unwrap();
    assert_eq!((done.outcome, done.provisioned), (Outcome::Deleted, false));
    assert_eq!(
        calls[0].body["preconditions"],
        json!({ "uid": "so1", "resourceVersion": "7" })
    );
    assert_eq!(reason(&calls[1]), "ScaledObjectDeleted");
}

#[tokio::test]
async fn object_of_others_is_reported_and_left_alone() {
    let setup = Setup::new(inference_set());
    let mut live = stored(&setup.desired());
    live["metadata"]["annotations"] = json!({});
    let setup = setup.live(live);
    let (done, calls) = play(with_event(Scenario::new("foreign")), &setup).await;
    let done = done.unwrap();
    assert_eq!(done.outcome, Outcome::Rejected);
    assert_eq!(reason(&calls[0]), "ScaledObjectConflict");
    assert!(done.again.unwrap() > Duration::from_secs(600));
}

#[tokio::test]
async fn object_that_appears_while_it_is_created_is_judged_and_not_taken() {
    let setup = Setup::new(inference_set());
    let mut foreign = stored(&setup.desired());
    foreign["metadata"]["annotations"] = json!({});
    let scenario = Scenario::new("race")
        .step("create", Method::PATCH, OBJECT, Answer::status(409, "Conflict"))
        .step("read", Method::GET, OBJECT, Answer::json(200, &foreign));
    let (done, calls) = play(with_event(scenario), &setup).await;
    assert_eq!(done.unwrap().outcome, Outcome::Rejected);
    assert_eq!(reason(&calls[2]), "ScaledObjectConflict");
}

#[tokio::test]
async fn object_that_changed_is_read_and_judged_again() {
    let setup = Setup::new(inference_set());
    let right = stored(&setup.desired());
    let mut live = right.clone();
    live["spec"]["maxReplicaCount"] = json!(50);
    let mut newer = live.clone();
    newer["metadata"]["resourceVersion"] = json!("8");
    let setup = setup.live(live);
    let scenario = Scenario::new("outdated")
        .step("apply", Method::PATCH, OBJECT, Answer::status(409, "Conflict"))
        .step("read", Method::GET, OBJECT, Answer::json(200, &newer))
        .step("apply again", Method::PATCH, OBJECT, Answer::json(200, &right));
    let (done, calls) = play(with_event(scenario), &setup).await;
    assert_eq!(done.unwrap().outcome, Outcome::Applied);
    assert_eq!(calls[2].body["metadata"]["resourceVersion"], "8");
}

#[tokio::test]
async fn object_that_changes_with_every_try_is_left_for_later() {
    let setup = Setup::new(inference_set());
    let mut live = stored(&setup.desired());
    live["spec"]["maxReplicaCount"] = json!(50);
    let mut scenario = Scenario::new("contended");
    for _ in 0..super::TRIES {
        scenario = scenario
            .step("apply", Method::PATCH, OBJECT, Answer::status(409, "Conflict"))
            .step("read", Method::GET, OBJECT, Answer::json(200, &live));
    }
    let (done, _) = play(scenario, &setup.live(live)).await;
    assert_eq!(done.unwrap_err().category(), "conflict");
}

#[tokio::test]
async fn unreadable_object_is_never_written_over() {
    let setup = Setup::new(inference_set());
    let unreadable = json!({ "metadata": { "name": "phi-4" }, "spec": { "minReplicaCount": "many" } });
    let scenario = Scenario::new("unreadable")
        .step("create", Method::PATCH, OBJECT, Answer::status(409, "Conflict"))
        .step("read", Method::GET, OBJECT, Answer::json(200, &unreadable));
    let (done, calls) = play(with_event(scenario), &setup).await;
    assert_eq!(done.unwrap_err().category(), "unreadable");
    assert_eq!(reason(&calls[2]), "ScaledObjectRejected");
}

#[tokio::test]
async fn refusal_of_the_api_server_is_told_to_the_user() {
    let setup = Setup::new(inference_set());
    let scenario = Scenario::new("refused").step("create", Method::PATCH, OBJECT, Answer::status(422, "Invalid"));
    let (done, calls) = play(with_event(scenario), &setup).await;
    assert_eq!(done.unwrap_err().category(), "refused");
    assert_eq!(reason(&calls[1]), "ScaledObjectRejected");
    assert!(calls[1].body["note"].as_str().unwrap().contains("fake Invalid"));
}

#[tokio::test]
async fn unavailable_api_server_is_nobodys_fault() {
    let setup = Setup::new(inference_set());
    let scenario = Scenario::new("unavailable").step("create", Method::PATCH, OBJECT, Answer::status(500, "InternalError"));
    let (done, calls) = play(scenario, &setup).await;
    assert_eq!(done.unwrap_err().category(), "unavailable");
    assert_eq!(calls.len(), 1);
}

#[tokio::test]
async fn object_of_the_reference_is_migrated_before_it_is_applied() {
    let setup = Setup::new(inference_set());
    let right = stored(&setup.desired());
    let mut live = right.clone();
    live["metadata"]["managedFields"][0]["manager"] = json!("keda-kaito-scaler");
    live["metadata"]["managedFields"][0]["operation"] = json!("Update");
    live["spec"]["advanced"]["scalingModifiers"] = json!({ "formula": "1" });
    let mut migrated = live.clone();
    migrated["metadata"]["resourceVersion"] = json!("8");
    let setup = setup.live(live);
    let scenario = Scenario::new("take-over")
        .step("migrate", Method::PATCH, OBJECT, Answer::json(200, &migrated))
        .step("apply", Method::PATCH, OBJECT, Answer::json(200, &right))
        .query("force=true");
    let (done, calls) = play(with_event(scenario), &setup).await;
    assert_eq!(done.unwrap().outcome, Outcome::Applied);
    assert_eq!(calls[0].body[0]["path"], "/metadata/managedFields");
    assert_eq!(calls[0].body[1]["value"], "7");
    assert_eq!(calls[1].body["metadata"]["resourceVersion"], "8");
}

#[tokio::test]
async fn complaints_are_published_and_repeated() {
    let setup = Setup::new(inference_set().annotated("threshold", "ten").annotated("thresold", "1"));
    let scenario = with_event(with_event(Scenario::new("complaints")));
    let (done, calls) = play(scenario, &setup).await;
    let done = done.unwrap();
    assert_eq!(done.outcome, Outcome::Rejected);
    assert!(done.again.unwrap() > Duration::from_secs(600));
    assert_eq!(
        (reason(&calls[0]), reason(&calls[1])),
        ("InvalidAutoscalePolicy", "UnknownAnnotation")
    );
    assert_eq!(calls[0].body["type"], "Warning");
    assert_eq!(calls[0].body["regarding"]["kind"], "InferenceSet");
}

#[tokio::test]
async fn node_count_is_waited_for_with_one_event() {
    let setup = Setup::new(inference_set()).without_workspace();
    let (client, server) = with_event(Scenario::new("nodes")).start();
    let reconciler = setup.reconciler(client);
    let mut task = setup.task();
    let done = reconciler.reconcile(setup.task()).await.unwrap();
    assert_eq!((done.outcome, done.again), (Outcome::Waiting, None));
    task.memory = done.memory;
    assert_eq!(reconciler.reconcile(task).await.unwrap().outcome, Outcome::Waiting);
    let calls = server.finish().await;
    assert_eq!(
        (reason(&calls[0]), calls[0].body["type"].as_str().unwrap()),
        ("WaitingForNodeCount", "Normal")
    );
}

#[tokio::test(start_paused = true)]
async fn scaler_is_waited_for_two_minutes_and_then_missed_aloud() {
    let setup = Setup::new(inference_set()).scaler(Some(false));
    let scenario = Scenario::new("scaler").step("create", Method::PATCH, OBJECT, Answer::json(201, &stored(&setup.desired())));
    let (client, server) = with_event(with_event(scenario)).patience(Duration::from_secs(600)).start();
    let reconciler = setup.reconciler(client);
    let done = reconciler.reconcile(setup.task()).await.unwrap();
    assert_eq!((done.outcome, done.again), (Outcome::Waiting, Some(Duration::from_secs(120))));
    assert!(done.memory.awaits_scaler());
    tokio::time::advance(Duration::from_secs(120)).await;
    let mut task = setup.task();
    task.memory = done.memory;
    let done = reconciler.reconcile(task).await.unwrap();
    assert_eq!(done.outcome, Outcome::Applied);
    assert!(!done.memory.awaits_scaler());
    let calls = server.finish().await;
    assert_eq!(
        (reason(&calls[1]), reason(&calls[2])),
        ("ScaledObjectApplied", "ScalerNotServing")
    );
}

#[tokio::test(start_paused = true)]
async fn new_epoch_is_spread_over_the_objects() {
    let setup = Setup::new(inference_set());
    let old = stored(&setup.desired());
    let setup = setup.live(old).epoch(4);
    let renewed = stored(&setup.desired());
    let scenario = Scenario::new("epoch")
        .step("first", Method::PATCH, OBJECT, Answer::json(200, &renewed))
        .step("second", Method::PATCH, OBJECT, Answer::json(200, &renewed));
    let (client, server) = scenario.patience(Duration::from_secs(600)).start();
    let reconciler = setup.reconciler(client);
    let mut waited = Vec::new();
    for _ in 0..2 {
        let start = tokio::time::Instant::now();
        let mut task = setup.task();
        loop {
            let done = reconciler.reconcile(task).await.unwrap();
            task = setup.task();
            task.memory = done.memory;
            if done.outcome == Outcome::Applied {
                break;
            }
            assert_eq!(done.outcome, Outcome::Deferred);
            tokio::time::advance(done.again.unwrap()).await;
        }
        waited.push(start.elapsed());
    }
    server.finish().await;
    assert!(waited[0] <= Duration::from_millis(25), "{waited:?}");
    assert!(waited[1] >= Duration::from_millis(80), "{waited:?}");
}

#[tokio::test]
async fn value_that_the_api_server_does_not_keep_is_sent_once() {
    let setup = Setup::new(inference_set());
    let mut kept = stored(&setup.desired());
    kept["spec"]["pollingInterval"] = json!(60);
    let mut live = kept.clone();
    live["spec"]["maxReplicaCount"] = json!(50);
    let scenario = Scenario::new("unaccepted").step("apply", Method::PATCH, OBJECT, Answer::json(200, &kept));
    let (client, server) = with_event(scenario).start();
    let setup = setup.live(live);
    let reconciler = setup.reconciler(client);
    let done = reconciler.reconcile(setup.task()).await.unwrap();
    assert_eq!(done.outcome, Outcome::Applied);
    let setup = setup.live(kept);
    let mut task = setup.task();
    task.memory = done.memory;
    assert_eq!(reconciler.reconcile(task).await.unwrap().outcome, Outcome::InSync);
    server.finish().await;
}
