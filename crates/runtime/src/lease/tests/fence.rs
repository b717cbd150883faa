//! What a leader's writes do when leadership ends: refused, cut off, and never sent by someone who woke up too late.

use std::time::Duration;

use http::Method;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::PostParams;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::super::{Leader, NotLeading, fenced};
use crate::fake_api::{Answer, Scenario};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const MARGIN: Duration = Duration::from_secs(5);
const LEASE: Duration = Duration::from_secs(15);

fn leader() -> (watch::Sender<Instant>, Leader) {
    let (extend, until) = watch::channel(Instant::now() + LEASE);
    let leader = Leader {
        token: CancellationToken::new(),
        until,
        margin: MARGIN,
    };
    (extend, leader)
}

fn map() -> ConfigMap {
    serde_json::from_value(json!({ "metadata": { "name": "a" } })).unwrap()
}

#[tokio::test(start_paused = true)]
async fn only_a_leader_writes_and_everybody_reads() {
    let answer = || {
        Answer::json(
            200,
            &json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "a" } }),
        )
    };
    let (client, server) = Scenario::new("fence")
        .step("read as a standby", Method::GET, &format!("{MAPS}/a"), answer())
        .step("write as the leader", Method::POST, MAPS, answer())
        .start();
    let (lead, leading) = watch::channel(None);
    let maps: Api<ConfigMap> = Api::default_namespaced(fenced(client, leading));
    let refused = maps.create(&PostParams::default(), &map()).await.unwrap_err();
    assert!(crate::client::describe(&refused).contains("does not lead"), "{refused}");
    maps.get("a").await.unwrap();
    let (_extend, leader) = leader();
    lead.send_replace(Some(leader));
    maps.create(&PostParams::default(), &map()).await.unwrap();
    lead.send_replace(None);
    maps.create(&PostParams::default(), &map()).await.unwrap_err();
    server.finish().await;
}

#[tokio::test(start_paused = true)]
async fn call_is_dropped_while_nobody_else_can_have_taken_over() {
    let (_extend, leader) = leader();
    let started = Instant::now();
    assert_eq!(leader.guard(std::future::pending::<()>()).await, Err(NotLeading));
    assert_eq!(started.elapsed(), LEASE - MARGIN);
    assert!(leader.remaining(Instant::now()) >= MARGIN);
}

#[tokio::test(start_paused = true)]
async fn call_goes_on_for_as_long_as_the_lease_is_renewed_and_ends_with_it() {
    let (extend, leader) = leader();
    let started = Instant::now();
    let renewals = async {
        for _ in 0..10 {
            tokio::time::sleep(Duration::from_secs(8)).await;
            extend.send_replace(Instant::now() + LEASE);
        }
        tokio::time::sleep(Duration::from_secs(3)).await;
        // Taken by another.
        extend.send_replace(Instant::now());
    };
    let (ended, ()) = tokio::join!(leader.guard(std::future::pending::<()>()), renewals);
    assert_eq!((ended, started.elapsed()), (Err(NotLeading), Duration::from_secs(83)));
}

#[tokio::test(start_paused = true)]
async fn process_that_was_paused_beyond_its_lease_does_not_go_on_with_a_write_that_is_ready() {
    let (_extend, leader) = leader();
    // Polled once the clock has passed the end and before any timer has: as after a SIGCONT.
    let (ready, write) = tokio::sync::oneshot::channel();
    let mut call = Box::pin(leader.guard(write));
    assert!(futures::poll!(&mut call).is_pending());
    ready.send(()).unwrap();
    tokio::time::advance(LEASE).await;
    assert_eq!(call.await.map(|written| written.is_ok()), Err(NotLeading));
}

#[tokio::test(start_paused = true)]
async fn write_of_a_leader_whose_election_is_gone_is_refused() {
    let (extend, leader) = leader();
    extend.send_replace(Instant::now());
    drop(extend);
    assert_eq!(leader.guard(async { "written" }).await, Err(NotLeading));
}
