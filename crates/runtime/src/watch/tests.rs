mod events;

use std::time::Duration;

use http::Method;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::runtime::reflector::ObjectRef;
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::{Change, WatchConfig, WatchMetrics, Watched, supervise};
use crate::fake_api::{Answer, Call, Playing, Scenario};
use crate::metrics::SharedRegistry;

const PATH: &str = "/api/v1/namespaces/default/configmaps";

struct Running {
    watched: Watched<ConfigMap>,
    server: Playing,
    registry: SharedRegistry,
    started: Instant,
    shutdown: CancellationToken,
    driver: JoinHandle<()>,
}

impl Running {
    fn start(scenario: Scenario) -> Self {
        let (client, server) = scenario.patience(Duration::from_secs(3600)).start();
        let registry = SharedRegistry::with_prefix("shop");
        let metrics = WatchMetrics::register(&registry);
        let shutdown = CancellationToken::new();
        let api: Api<ConfigMap> = Api::default_namespaced(client);
        let (watched, driver) = supervise(api, WatchConfig::default(), &metrics, shutdown.clone());
        Self {
            watched,
            server,
            registry,
            started: Instant::now(),
            shutdown,
            driver: tokio::spawn(driver),
        }
    }

    async fn next(&mut self) -> String {
        match timeout(Duration::from_secs(60), self.watched.changes.next()).await {
            Ok(Some(Change::Applied(map))) => format!("applied {}", shown(&map)),
            Ok(Some(Change::Deleted(map))) => format!("deleted {}", shown(&map)),
            Ok(None) => "end".to_owned(),
            Err(_) => "nothing".to_owned(),
        }
    }

    /// Lets everything that is ready happen.
    async fn settle(&self) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }

    fn stored(&self) -> Vec<String> {
        let mut maps: Vec<_> = self.watched.store.state().iter().map(|map| shown(map)).collect();
        maps.sort();
        maps
    }
}

fn shown(map: &ConfigMap) -> String {
    let version = map.resource_version().unwrap_or_default();
    format!("{}/{}@{version}", map.name_any(), map.uid().unwrap_or_default())
}

fn map(name: &str, uid: &str, version: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {
            "name": name, "namespace": "default", "uid": uid, "resourceVersion": version,
            "managedFields": [{ "manager": "kubectl" }],
        },
    })
}

fn unreadable(name: &str, uid: &str, version: &str) -> Value {
    let mut map = map(name, uid, version);
    map["data"] = json!("not a map");
    map
}

fn bookmark(version: &str) -> (&'static str, Value) {
    let metadata = json!({ "resourceVersion": version });
    (
        "BOOKMARK",
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata }),
    )
}

fn gone() -> (&'static str, Value) {
    let status = json!({ "kind": "Status", "status": "Failure", "code": 410, "reason": "Expired", "message": "" });
    ("ERROR", status)
}

/// A step that lists.
fn list(scenario: Scenario, answer: Answer) -> Scenario {
    scenario.step("list", Method::GET, PATH, answer).query("limit=500")
}

/// A step that watches, from the given version on.
fn watch(scenario: Scenario, version: &str, answer: Answer) -> Scenario {
    scenario
        .step("watch", Method::GET, PATH, answer)
        .query("watch=true")
        .query(&format!("resourceVersion={version}"))
}

#[tokio::test(start_paused = true)]
async fn store_and_changes_follow_the_list_and_the_watch() {
    let scenario = list(Scenario::new("follow"), Answer::list("5", &[map("a", "1", "3")]));
    let events = [
        ("ADDED", map("b", "2", "6")),
        ("MODIFIED", map("a", "1", "7")),
        ("DELETED", map("b", "2", "8")),
    ];
    let mut running = Running::start(watch(scenario, "5", Answer::open_watch(&events)));

    assert!(running.watched.freshness.confirmed_age(Instant::now()).is_none());
    running.settle().await;
    assert!(running.watched.freshness.is_synced());
    assert_eq!(running.next().await, "applied a/1@7");
    assert_eq!(running.next().await, "deleted b/2@8");
    assert_eq!(running.stored(), ["a/1@7"]);
    running.server.finish().await;
}

#[tokio::test(start_paused = true)]
async fn managed_fields_are_dropped() {
    let scenario = list(Scenario::new("trim"), Answer::list("5", &[map("a", "1", "3")]));
    let mut running = Running::start(watch(scenario, "5", Answer::open_watch(&[])));
    running.next().await;
    let key = ObjectRef::new("a").within("default");
    assert_eq!(running.watched.store.get(&key).unwrap().metadata.managed_fields, None);
    running.server.finish().await;
}

#[tokio::test(start_paused = true)]
async fn gone_at_the_start_of_a_watch_lists_again_and_reports_what_vanished() {
    let scenario = list(
        Scenario::new("gone at start"),
        Answer::list("5", &[map("a", "1", "3"), map("b", "2", "4")]),
    );
    let scenario = watch(scenario, "5", Answer::status(410, "Expired"));
    let scenario = list(scenario, Answer::list("9", &[map("a", "1", "3"), map("c", "3", "8")]));
    let mut running = Running::start(watch(scenario, "9", Answer::open_watch(&[])));
    running.watched.freshness.synced().await;
    let mut first = vec![running.next().await, running.next().await];
    first.sort();
    assert_eq!(first, ["applied a/1@3", "applied b/2@4"]);
    assert_eq!(running.next().await, "deleted b/2@4");
    assert_eq!(running.next().await, "applied c/3@8");
    assert_eq!(running.stored(), ["a/1@3", "c/3@8"]);
    assert!(running.started.elapsed() < Duration::from_secs(60));
    running.server.finish().await;
}

#[tokio::test(start_paused = true)]
async fn gone_as_an_event_lists_again() {
    let scenario = list(Scenario::new("gone event"), Answer::list("5", &[]));
    let scenario = watch(scenario, "5", Answer::open_watch(&[gone()]));
    let scenario = list(scenario, Answer::list("9", &[map("a", "1", "7")]));
    let mut running = Running::start(watch(scenario, "9", Answer::open_watch(&[])));
    assert_eq!(running.next().await, "applied a/1@7");
    running.server.finish().await;
}

#[tokio::test(start_paused = true)]
async fn hung_list_is_given_up_and_sent_again() {
    let scenario = list(Scenario::new("hung list"), Answer::hang());
    let scenario = list(scenario, Answer::list("5", &[map("a", "1", "3")]));
    let mut running = Running::start(watch(scenario, "5", Answer::open_watch(&[])));
    assert_eq!(running.next().await, "applied a/1@3");
    let took = running.started.elapsed().as_secs();
    assert!((30..35).contains(&took), "{took}");
    let metrics = running.registry.encode().unwrap();
    assert!(
        metrics.contains("shop_watch_restarts_total{kind=\"ConfigMap\",reason=\"list_timeout\"} 1"),
        "{metrics}"
    );
    running.server.finish().await;
}

#[tokio::test(start_paused = true)]
async fn list_is_read_page_by_page_before_the_store_changes() {
    let page = json!({
        "kind": "List", "apiVersion": "v1", "items": [map("a", "1", "3")],
        "metadata": { "resourceVersion": "5", "continue": "next" },
    });
    let scenario = list(Scenario::new("pages"), Answer::json(200, &page));
    let scenario = list(scenario, Answer::hang()).query("continue=next");
    let running = Running::start(scenario);
    running.server.finish().await;
    assert_eq!(running.watched.store.len(), 0);
    assert!(!running.watched.freshness.is_synced());
}

#[tokio::test(start_paused = true)]
async fn silent_watch_is_replaced_by_another_from_the_same_version() {
    let scenario = list(Scenario::new("silent"), Answer::list("5", &[]));
    let scenario = watch(scenario, "5", Answer::open_watch(&[bookmark("6")]));
    let mut running = Running::start(watch(scenario, "6", Answer::open_watch(&[("ADDED", map("a", "1", "7"))])));
    assert_eq!(running.next().await, "applied a/1@7");
    assert_eq!(running.started.elapsed().as_secs(), 25);
    running.server.finish().await;
}

#[tokio::test(start_paused = true)]
async fn reopening_confirms_the_view_and_silence_does_not() {
    let scenario = list(Scenario::new("freshness"), Answer::list("5", &[]));
    let scenario = watch(scenario, "5", Answer::open_watch(&[]));
    let running = Running::start(watch(scenario, "5", Answer::open_watch(&[])));
    let age = |running: &Running| {
        running
            .watched
            .freshness
            .confirmed_age(Instant::now())
            .map(|age| age.as_secs())
    };
    running.watched.freshness.synced().await;
    tokio::time::sleep_until(running.started + Duration::from_secs(24)).await;
    assert_eq!(age(&running), Some(24));
    tokio::time::sleep_until(running.started + Duration::from_secs(27)).await;
    assert_eq!(age(&running), Some(2));
    let metrics = running.registry.encode().unwrap();
    assert!(
        metrics.contains("shop_watch_unconfirmed_seconds{kind=\"ConfigMap\"} 2"),
        "{metrics}"
    );
    running.server.finish().await;
}

#[tokio::test(start_paused = true)]
async fn unreadable_objects_are_counted_and_do_not_disappear() {
    let scenario = list(
        Scenario::new("unreadable"),
        Answer::list("5", &[map("a", "1", "3"), unreadable("b", "2", "4")]),
    );
    let scenario = watch(
        scenario,
        "5",
        Answer::open_watch(&[("MODIFIED", unreadable("a", "1", "6")), gone()]),
    );
    let scenario = list(scenario, Answer::list("9", &[unreadable("a", "1", "6"), map("c", "3", "8")]));
    let mut running = Running::start(watch(scenario, "9", Answer::open_watch(&[])));
    assert_eq!(running.next().await, "applied a/1@3");
    assert_eq!(running.next().await, "applied c/3@8");
    assert_eq!(running.stored(), ["a/1@3", "c/3@8"]);
    let metrics = running.registry.encode().unwrap();
    assert!(
        metrics.contains("shop_watch_undecodable_objects_total{kind=\"ConfigMap\"} 3"),
        "{metrics}"
    );
    running.server.finish().await;
}

#[tokio::test(start_paused = true)]
async fn object_recreated_under_its_name_is_first_reported_as_deleted() {
    let scenario = list(Scenario::new("recreated"), Answer::list("5", &[map("a", "1", "3")]));
    let scenario = watch(scenario, "5", Answer::status(410, "Expired"));
    let scenario = list(scenario, Answer::list("9", &[map("a", "2", "8")]));
    let mut running = Running::start(watch(scenario, "9", Answer::open_watch(&[("MODIFIED", map("a", "3", "10"))])));
    assert_eq!(running.next().await, "applied a/1@3");
    assert_eq!(running.next().await, "deleted a/1@3");
    running.settle().await;
    assert_eq!(running.next().await, "deleted a/2@8");
    assert_eq!(running.next().await, "applied a/3@10");
    running.server.finish().await;
}

#[tokio::test(start_paused = true)]
async fn history_that_goes_backwards_is_listed_again() {
    let scenario = list(Scenario::new("restored"), Answer::list("50", &[map("a", "1", "30")]));
    let scenario = watch(scenario, "50", Answer::open_watch(&[bookmark("20")]));
    let scenario = list(scenario, Answer::list("21", &[]));
    let mut running = Running::start(watch(scenario, "21", Answer::open_watch(&[])));
    assert_eq!(running.next().await, "applied a/1@30");
    assert_eq!(running.next().await, "deleted a/1@30");
    running.server.finish().await;
}

#[tokio::test(start_paused = true)]
async fn refused_watch_waits_as_asked_and_keeps_its_version() {
    let busy = json!({
        "kind": "Status", "status": "Failure", "code": 429, "reason": "TooManyRequests", "message": "",
        "details": { "retryAfterSeconds": 17 },
    });
    let scenario = list(Scenario::new("busy"), Answer::list("5", &[]));
    let scenario = watch(scenario, "5", Answer::json(429, &busy));
    let mut running = Running::start(watch(scenario, "5", Answer::open_watch(&[("ADDED", map("a", "1", "6"))])));
    assert_eq!(running.next().await, "applied a/1@6");
    assert_eq!(running.started.elapsed().as_secs(), 17);
    running.server.finish().await;
}

#[tokio::test(start_paused = true)]
async fn broken_connection_lists_again() {
    let scenario = list(Scenario::new("broken"), Answer::list("5", &[]));
    let scenario = watch(scenario, "5", Answer::broken());
    let scenario = list(scenario, Answer::list("3", &[map("a", "1", "2")]));
    let mut running = Running::start(watch(scenario, "3", Answer::open_watch(&[])));
    assert_eq!(running.next().await, "applied a/1@2");
    running.server.finish().await;
}

#[tokio::test(start_paused = true)]
async fn unreachable_server_is_asked_less_and_less_often() {
    let mut scenario = Scenario::new("down");
    for _ in 0..8 {
        scenario = list(scenario, Answer::broken());
    }
    let running = Running::start(scenario);
    let started = running.started;
    let calls: Vec<Call> = running.server.finish().await;
    assert_eq!(calls.len(), 8);
    let took = started.elapsed().as_secs();
    assert!((25..55).contains(&took), "{took}");
}

#[tokio::test(start_paused = true)]
async fn watch_that_does_not_open_is_given_up_and_not_taken_for_a_working_one() {
    let mut scenario = Scenario::new("black hole");
    for _ in 0..6 {
        scenario = list(scenario, Answer::list("5", &[]));
        scenario = watch(scenario, "5", Answer::hang());
    }
    let running = Running::start(scenario);
    let started = running.started;
    running.server.finish().await;
    // Ten seconds for each of five watches, and pauses that double.
    let took = started.elapsed().as_secs();
    assert!((65..85).contains(&took), "{took}");
}

#[tokio::test(start_paused = true)]
async fn resync_reports_every_object_again() {
    let mut scenario = list(Scenario::new("resync"), Answer::list("5", &[map("a", "1", "3")]));
    scenario = watch(scenario, "5", Answer::open_watch(&[bookmark("6")]));
    scenario = list(scenario, Answer::list("6", &[map("a", "1", "3")]));
    let (client, server) = watch(scenario, "6", Answer::open_watch(&[]))
        .patience(Duration::from_secs(3600))
        .start();
    let config = WatchConfig {
        resync: Duration::from_secs(10),
        ..WatchConfig::default()
    };
    let metrics = WatchMetrics::register(&SharedRegistry::with_prefix("shop"));
    let api: Api<ConfigMap> = Api::default_namespaced(client);
    let (mut watched, driver) = supervise(api, config, &metrics, CancellationToken::new());
    let driver = tokio::spawn(driver);
    for _ in 0..2 {
        let change = timeout(Duration::from_secs(60), watched.changes.next())
            .await
            .unwrap()
            .unwrap();
        assert_eq!(shown(change.object()), "a/1@3");
    }
    server.finish().await;
    driver.abort();
}

#[tokio::test(start_paused = true)]
async fn shutdown_ends_the_driver_and_then_the_changes() {
    let scenario = list(Scenario::new("stop"), Answer::list("5", &[map("a", "1", "3")]));
    let mut running = Running::start(watch(scenario, "5", Answer::open_watch(&[])));
    running.watched.freshness.synced().await;
    running.shutdown.cancel();
    timeout(Duration::from_secs(1), &mut running.driver).await.unwrap().unwrap();
    assert_eq!(running.next().await, "applied a/1@3");
    assert_eq!(running.next().await, "end");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_kept_of_what_only_others_need() {
    let mut applied = map("a", "1", "3");
    applied["metadata"]["annotations"] = json!({ "kubectl.kubernetes.io/last-applied-configuration": "{}", "b": "c" });
    let scenario = list(Scenario::new("trim"), Answer::list("5", &[applied.clone()]));
    applied["metadata"]["resourceVersion"] = json!("6");
    let mut running = Running::start(watch(scenario, "5", Answer::open_watch(&[("MODIFIED", applied)])));
    for _ in 0..2 {
        running.next().await;
        let kept = running.watched.store.state();
        assert_eq!(kept[0].metadata.managed_fields, None);
        assert_eq!(kept[0].annotations().keys().collect::<Vec<_>>(), ["b"]);
    }
}
