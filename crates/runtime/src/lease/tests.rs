use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Error, Leader, LeaderStatus, LeaseConfig, lead};
use crate::args::{Identity, LeaseArgs};
use crate::fake_api::{Answer, Call, Scenario};

mod fence;

const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/shop/leases";
const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/shop/leases/till";

fn config() -> LeaseConfig {
    LeaseConfig {
        namespace: "shop".to_owned(),
        name: "till".to_owned(),
        holder: "me".to_owned(),
        duration: Duration::from_secs(15),
        renew_deadline: Duration::from_secs(10),
        retry_period: Duration::from_secs(2),
    }
}

fn lease(holder: &str, version: &str, renewed: u8) -> Value {
    json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": { "name": "till", "namespace": "shop", "resourceVersion": version },
        "spec": {
            "holderIdentity": holder, "leaseDurationSeconds": 15, "leaseTransitions": 3,
            "acquireTime": "2026-01-01T00:00:00.000000Z",
            "renewTime": format!("2026-01-01T00:00:{renewed:02}.000000Z"),
        },
    })
}

fn get(scenario: Scenario, name: &str, answer: Answer) -> Scenario {
    scenario.step(name, Method::GET, LEASE, answer)
}

fn put(scenario: Scenario, name: &str, answer: Answer) -> Scenario {
    scenario.step(name, Method::PUT, LEASE, answer)
}

fn ok(lease: &Value) -> Answer {
    Answer::json(200, lease)
}

/// Plays a scenario with work that ends at once; says after how long it began, and which calls were made.
async fn play(scenario: Scenario, config: &LeaseConfig) -> (Duration, Vec<Call>) {
    let (client, server) = scenario.start();
    let started = Instant::now();
    let shutdown = CancellationToken::new();
    let status = LeaderStatus::default();
    let began = lead(client, config, &status, &shutdown, async |_| {
        assert!(status.is_leader());
        started.elapsed()
    });
    let began = began.await.unwrap().unwrap();
    assert!(!status.is_leader());
    (began, server.finish().await)
}

#[tokio::test(start_paused = true)]
async fn first_candidate_creates_the_lease_and_releases_it_after_its_work() {
    let scenario = get(Scenario::new("first"), "look", Answer::status(404, "NotFound"));
    let scenario = scenario.step("create", Method::POST, LEASES, ok(&lease("me", "1", 0)));
    let scenario = get(scenario, "look before release", ok(&lease("me", "1", 0)));
    let (_, calls) = play(put(scenario, "release", ok(&lease("", "2", 0))), &config()).await;
    let created = &calls[1].body["spec"];
    assert_eq!(created["holderIdentity"], "me");
    assert_eq!(created["leaseDurationSeconds"], 15);
    let released = &calls[3].body;
    assert_eq!(released["spec"]["holderIdentity"], Value::Null);
    assert_eq!(released["metadata"]["resourceVersion"], "1");
}

#[tokio::test(start_paused = true)]
async fn lease_of_a_dead_leader_is_taken_over_once_we_have_seen_it_unchanged_for_its_duration() {
    // One look now and one when the lease runs out: the times in the record, long past, count for nothing.
    let config = LeaseConfig {
        renew_deadline: Duration::from_secs(120),
        retry_period: Duration::from_secs(60),
        ..config()
    };
    let scenario = get(Scenario::new("dead"), "look", ok(&lease("other", "7", 0)));
    let scenario = get(scenario, "look again", ok(&lease("other", "7", 0)));
    let scenario = put(scenario, "take over", ok(&lease("me", "8", 0)));
    let scenario = get(scenario, "look before release", ok(&lease("me", "8", 0)));
    let (began, calls) = play(put(scenario, "release", ok(&lease("", "9", 0))), &config).await;
    assert_eq!(began, Duration::from_secs(15));
    let taken = &calls[2].body;
    assert_eq!(taken["metadata"]["resourceVersion"], "7");
    assert_eq!(taken["spec"]["holderIdentity"], "me");
    assert_eq!(taken["spec"]["leaseTransitions"], 4);
    assert_ne!(taken["spec"]["acquireTime"], "2026-01-01T00:00:00.000000Z");
}

#[tokio::test(start_paused = true)]
async fn released_lease_is_taken_over_at_the_next_look() {
    let scenario = get(Scenario::new("released"), "look", ok(&lease("other", "7", 0)));
    let scenario = get(scenario, "look again", ok(&lease("", "8", 0)));
    let scenario = put(scenario, "take over", ok(&lease("me", "9", 0)));
    let scenario = get(scenario, "look before release", ok(&lease("me", "9", 0)));
    let (began, _) = play(put(scenario, "release", ok(&lease("", "10", 0))), &config()).await;
    assert!(began <= Duration::from_secs(2), "{began:?}");
}

#[tokio::test(start_paused = true)]
async fn leader_that_renews_is_left_alone_and_a_lost_race_is_accepted() {
    let config = LeaseConfig {
        renew_deadline: Duration::from_secs(120),
        retry_period: Duration::from_secs(60),
        ..config()
    };
    let mut scenario = get(Scenario::new("alive"), "look", ok(&lease("other", "1", 0)));
    scenario = get(scenario, "renewed", ok(&lease("other", "2", 10)));
    scenario = get(scenario, "unchanged", ok(&lease("other", "2", 10)));
    scenario = put(scenario, "race", Answer::status(409, "Conflict"));
    scenario = get(scenario, "another won", ok(&lease("third", "3", 20)));
    let (client, server) = scenario.patience(Duration::from_secs(600)).start();
    let shutdown = CancellationToken::new();
    let status = LeaderStatus::default();
    let leading = lead(client, &config, &status, &shutdown, async |_| ());
    tokio::select! {
        calls = server.finish() => assert_eq!(calls.len(), 5),
        _ = leading => panic!("became the leader beside another"),
    }
}

#[tokio::test(start_paused = true)]
async fn losing_the_lease_to_another_ends_the_work() {
    let scenario = get(Scenario::new("stolen"), "look", ok(&lease("", "1", 0)));
    let scenario = put(scenario, "take", ok(&lease("me", "2", 0)));
    let scenario = put(scenario, "renew", ok(&lease("me", "3", 2)));
    let scenario = put(scenario, "renew again", Answer::status(409, "Conflict"));
    let (client, server) = get(scenario, "look", ok(&lease("other", "4", 3))).start();
    let shutdown = CancellationToken::new();
    let mut token = None;
    let lost = lead(
        client,
        &config(),
        &LeaderStatus::default(),
        &shutdown,
        async |leader: Leader| {
            token = Some(leader.token().clone());
            std::future::pending::<()>().await;
        },
    )
    .await
    .unwrap_err();
    assert!(matches!(&lost, Error::Taken { holder, .. } if holder == "other"), "{lost}");
    assert!(token.unwrap().is_cancelled());
    assert!(!shutdown.is_cancelled());
    let calls = server.finish().await;
    assert_eq!(calls[2].body["metadata"]["resourceVersion"], "2");
    assert_eq!(calls[2].body["spec"]["leaseTransitions"], 3);
    assert_eq!(calls[2].body["spec"]["acquireTime"], "2026-01-01T00:00:00.000000Z");
    assert_eq!(calls[3].body["metadata"]["resourceVersion"], "3");
}

#[tokio::test(start_paused = true)]
async fn leader_that_cannot_renew_gives_up_while_nobody_else_can_have_taken_over() {
    let mut scenario = get(Scenario::new("cut off"), "look", ok(&lease("", "1", 0)));
    scenario = put(scenario, "take", ok(&lease("me", "2", 0)));
    scenario = put(scenario, "no answer", Answer::hang());
    scenario = put(scenario, "no answer again", Answer::hang());
    let (client, server) = scenario.start();
    let started = Instant::now();
    let mut held = None;
    let lost = lead(
        client,
        &config(),
        &LeaderStatus::default(),
        &CancellationToken::new(),
        async |leader: Leader| {
            held = Some(leader.clone());
            assert_eq!(leader.remaining(Instant::now()), Duration::from_secs(15));
            std::future::pending::<()>().await;
        },
    )
    .await
    .unwrap_err();
    assert!(matches!(lost, Error::NotRenewed { .. }), "{lost}");
    assert_eq!(started.elapsed(), Duration::from_secs(10));
    assert_eq!(held.unwrap().remaining(Instant::now()), Duration::ZERO);
    assert_eq!(server.finish().await.len(), 4);
}

#[tokio::test(start_paused = true)]
async fn lease_is_kept_while_the_work_winds_down_and_released_after() {
    let mut scenario = get(Scenario::new("graceful"), "look", ok(&lease("", "1", 0)));
    scenario = put(scenario, "take", ok(&lease("me", "2", 0)));
    scenario = put(scenario, "renew while stopping", ok(&lease("me", "3", 2)));
    scenario = get(scenario, "look before release", ok(&lease("me", "3", 2)));
    let (client, server) = put(scenario, "release", ok(&lease("", "4", 2))).start();
    let shutdown = CancellationToken::new();
    let done = lead(
        client,
        &config(),
        &LeaderStatus::default(),
        &shutdown,
        async |leader: Leader| {
            shutdown.cancel();
            leader.token().cancelled().await;
            tokio::time::sleep(Duration::from_secs(3)).await;
            "wound down"
        },
    )
    .await;
    assert_eq!(done.unwrap(), Some("wound down"));
    server.finish().await;
}

#[tokio::test(start_paused = true)]
async fn candidate_asked_to_stop_releases_nothing_it_does_not_hold() {
    let scenario = get(Scenario::new("standby stops"), "look", ok(&lease("other", "1", 0)));
    let (client, server) = get(scenario, "look again", ok(&lease("other", "1", 0))).start();
    let shutdown = CancellationToken::new();
    let config = config();
    let status = LeaderStatus::default();
    let standby = lead(client, &config, &status, &shutdown, async |_| ());
    let stop = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        shutdown.cancel();
    };
    let (outcome, ()) = tokio::join!(standby, stop);
    assert!(outcome.unwrap().is_none());
    server.finish().await;
}

#[test]
fn flags_that_could_elect_two_leaders_are_refused() {
    let identity = Identity {
        name: "pod".to_owned(),
        namespace: None,
    };
    let build = |duration, deadline, period| {
        let args = LeaseArgs {
            lease_duration: Duration::from_secs(duration),
            lease_renew_deadline: Duration::from_secs(deadline),
            lease_retry_period: Duration::from_secs(period),
        };
        LeaseConfig::new(&args, "shop", "till", &identity)
    };
    for (flags, named) in [
        ((15, 15, 2), "--lease-renew-deadline 15s"),
        ((15, 10, 10), "--lease-retry-period 10s"),
        ((15, 10, 0), "--lease-retry-period 0ns"),
        ((0, 10, 2), "--lease-duration 0ns"),
    ] {
        let error = build(flags.0, flags.1, flags.2).unwrap_err().to_string();
        assert!(error.contains(named), "{error}");
    }
    let first = build(15, 10, 2).unwrap().holder;
    assert!(first.starts_with("pod_"), "{first}");
    assert_ne!(first, build(15, 10, 2).unwrap().holder);
}
