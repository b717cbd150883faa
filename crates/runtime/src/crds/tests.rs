use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{GroupKindWanted, changed, wait_served};
use crate::fake_api::{Answer, Scenario};
use crate::readiness::Readiness;

const V2: &str = "/apis/shop.example/v2";
const V1: &str = "/apis/shop.example/v1";

fn shelf() -> Vec<GroupKindWanted> {
    vec![GroupKindWanted::new("shop.example", "Shelf", &["v2", "v1"])]
}

fn kinds(version: &str, kinds: &[(&str, &str)]) -> Value {
    let resources: Vec<_> = kinds
        .iter()
        .map(|(kind, name)| json!({ "kind": kind, "name": name, "singularName": "", "namespaced": true, "verbs": ["list"] }))
        .collect();
    json!({ "kind": "APIResourceList", "groupVersion": format!("shop.example/{version}"), "resources": resources })
}

fn served(scenario: Scenario, path: &str) -> Scenario {
    let version = path.rsplit('/').next().unwrap();
    let kinds = kinds(version, &[("Shelf", "shelves/status"), ("Shelf", "shelves")]);
    scenario.step("served", Method::GET, path, Answer::json(200, &kinds))
}

fn absent(scenario: Scenario, path: &str) -> Scenario {
    scenario.step("absent", Method::GET, path, Answer::status(404, "NotFound"))
}

#[tokio::test(start_paused = true)]
async fn waits_through_errors_and_absence_and_returns_the_most_wanted_version() {
    let scenario = Scenario::new("wait").step("down", Method::GET, V2, Answer::broken());
    let scenario = absent(absent(scenario, V2), V1);
    let scenario = scenario.step(
        "other kinds",
        Method::GET,
        V2,
        Answer::json(200, &kinds("v2", &[("Till", "tills")])),
    );
    let (client, server) = served(scenario, V1).start();
    let readiness = Readiness::default();
    let gate = readiness.gate("crds", "starting");
    let found = wait_served(&client, &shelf(), &gate, &CancellationToken::new())
        .await
        .unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].api_version, "shop.example/v1");
    assert_eq!(found[0].plural, "shelves");
    assert!(readiness.is_ready());
    server.finish().await;
}

#[tokio::test(start_paused = true)]
async fn gate_names_what_is_missing_until_shutdown() {
    let scenario = absent(absent(Scenario::new("missing"), V2), V1);
    let (client, server) = scenario.start();
    let readiness = Readiness::default();
    let gate = readiness.gate("crds", "starting");
    let shutdown = CancellationToken::new();
    let wanted = shelf();
    let stop = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let closed = readiness.closed();
        shutdown.cancel();
        closed
    };
    let (found, closed) = tokio::join!(wait_served(&client, &wanted, &gate, &shutdown), stop);
    assert_eq!(found, None);
    assert_eq!(
        closed[0].reason,
        "waiting for the API server to serve Shelf.shop.example (v2 or v1)"
    );
    server.finish().await;
}

/// What is found where v2 is served.
async fn current() -> Vec<kube::api::ApiResource> {
    let (client, server) = served(Scenario::new("now"), V2).start();
    let gate = Readiness::default().gate("crds", "starting");
    let current = wait_served(&client, &shelf(), &gate, &CancellationToken::new())
        .await
        .unwrap();
    server.finish().await;
    current
}

#[tokio::test(start_paused = true)]
async fn newly_preferred_version_is_a_change_and_an_error_is_not() {
    let current = current().await;

    let scenario = served(Scenario::new("later"), V2).step("down", Method::GET, V2, Answer::broken());
    let scenario = absent(absent(scenario, V2), V1);
    let (client, server) = served(absent(scenario, V2), V1).start();
    let change = changed(&client, &shelf(), &current, Duration::from_secs(30)).await;
    assert_eq!(change.from, current[0]);
    assert_eq!(change.to.unwrap().version, "v1");
    server.finish().await;
}

#[tokio::test(start_paused = true)]
async fn kind_is_gone_when_it_is_absent_twice_in_a_row() {
    let current = current().await;

    let scenario = served(absent(absent(Scenario::new("later"), V2), V1), V2);
    let scenario = absent(absent(scenario, V2), V1);
    let (client, server) = absent(absent(scenario, V2), V1).start();
    let change = changed(&client, &shelf(), &current, Duration::from_secs(30)).await;
    assert_eq!(change.to, None);
    server.finish().await;
}
