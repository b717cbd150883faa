//! Events no API server should send, and some way to it may.

use serde_json::json;

use super::{Running, list, map, watch};
use crate::fake_api::{Answer, Scenario};

#[tokio::test(start_paused = true)]
async fn event_that_was_overtaken_is_not_believed_and_all_is_listed_again() {
    let scenario = list(Scenario::new("disorder"), Answer::list("5", &[map("a", "1", "3")]));
    let events = [("MODIFIED", map("a", "1", "9")), ("MODIFIED", map("a", "1", "8"))];
    let scenario = watch(scenario, "5", Answer::open_watch(&events));
    let scenario = list(scenario, Answer::list("9", &[map("a", "1", "9")]));
    let twice = [("ADDED", map("b", "1", "10")), ("ADDED", map("b", "1", "10"))];
    let mut running = Running::start(watch(scenario, "9", Answer::open_watch(&twice)));
    assert_eq!(running.next().await, "applied a/1@9");
    assert_eq!(running.next().await, "applied b/1@10");
    running.settle().await;
    assert_eq!(running.stored(), ["a/1@9", "b/1@10"]);
    running.server.finish().await;
}

#[tokio::test(start_paused = true)]
async fn object_that_changed_under_the_same_version_is_reported() {
    let mut other = map("a", "1", "3");
    other["metadata"]["annotations"] = json!({ "restored": "yes" });
    let scenario = list(
        Scenario::new("restored"),
        Answer::list("5", &[map("a", "1", "3"), map("b", "1", "4")]),
    );
    let scenario = watch(scenario, "5", Answer::broken());
    let listed = [other, map("b", "1", "4"), map("c", "1", "4")];
    let scenario = list(scenario, Answer::list("4", &listed));
    let mut running = Running::start(watch(scenario, "4", Answer::open_watch(&[])));
    running.settle().await;
    let mut first = [running.next().await, running.next().await];
    first.sort();
    assert_eq!(first, ["applied a/1@3", "applied b/1@4"]);
    assert_eq!(running.next().await, "applied a/1@3");
    assert_eq!(running.next().await, "applied c/1@4");
    running.server.finish().await;
}

#[tokio::test(start_paused = true)]
async fn event_larger_than_any_object_is_not_kept_and_all_is_listed_again() {
    let mut huge = map("a", "1", "9");
    huge["data"] = json!({ "text": "x".repeat(9 * 1024 * 1024) });
    let scenario = list(Scenario::new("huge"), Answer::list("5", &[map("a", "1", "3")]));
    let scenario = watch(scenario, "5", Answer::open_watch(&[("MODIFIED", huge)]));
    let scenario = list(scenario, Answer::list("6", &[map("a", "1", "6")]));
    let mut running = Running::start(watch(scenario, "6", Answer::open_watch(&[])));
    assert_eq!(running.next().await, "applied a/1@3");
    assert_eq!(running.next().await, "applied a/1@6");
    running.server.finish().await;
}
