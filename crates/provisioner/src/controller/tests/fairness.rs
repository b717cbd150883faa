//! One object's trouble is its own: a reconciliation that panics or hangs delays no other.

use std::time::Duration;

use http::{Method, Request};
use keda_kaito_runtime::fake_api::{Answer, Scenario};
use kube::Client;
use kube::client::Body;
use serde_json::json;
use tokio::time::Instant;
use tower::service_fn;

use super::{Running, epoch};
use crate::reconcile::tests::build::{EVENTS, OBJECT, Setup, inference_set, stored};

const OTHER: &str = "/apis/keda.sh/v1alpha1/namespaces/default/scaledobjects/other";

fn event() -> Answer {
    let event = json!({ "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": { "name": "e" } });
    Answer::json(201, &event)
}

#[tokio::test(start_paused = true)]
async fn object_whose_write_hangs_delays_no_other() {
    let (slow, other) = (Setup::new(inference_set()), Setup::new(inference_set().named("other")));
    let scenario = Scenario::new("hang")
        .step("hangs", Method::PATCH, OBJECT, Answer::hang())
        .step("goes on", Method::PATCH, OTHER, Answer::json(201, &stored(&other.desired())))
        .step("tells", Method::POST, EVENTS, event());
    let running = Running::start(scenario, &slow, false);
    running.lead.send_replace(true);
    running.say(epoch("3"));
    running.tell(&slow);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let asked = Instant::now();
    running.tell(&other);
    running.server.finish().await;
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
}

#[tokio::test(start_paused = true)]
async fn object_whose_reconciliation_panics_delays_no_other_and_is_tried_again() {
    let (bad, other) = (Setup::new(inference_set()), Setup::new(inference_set().named("other")));
    let (client, server) = Scenario::new("panic")
        .step("goes on", Method::PATCH, OTHER, Answer::json(201, &stored(&other.desired())))
        .step("tells", Method::POST, EVENTS, event())
        .patience(Duration::from_secs(3600))
        .start();
    let (panicked, mut panics) = tokio::sync::mpsc::unbounded_channel();
    let client = Client::new(
        service_fn(move |request: Request<Body>| {
            let (client, panicked) = (client.clone(), panicked.clone());
            async move {
                if request.uri().path() == OBJECT {
                    panicked.send(Instant::now()).unwrap();
                    panic!("injected");
                }
                client.send(request).await
            }
        }),
        "default",
    );
    let running = Running::start_with(client, server, &bad, false);
    running.lead.send_replace(true);
    running.say(epoch("3"));
    running.tell(&bad);
    let first = panics.recv().await.unwrap();
    running.tell(&other);
    running.server.finish().await;
    assert!(first.elapsed() < Duration::from_secs(1), "{:?}", first.elapsed());
    let again = panics.recv().await.unwrap() - first;
    assert!(
        again >= Duration::from_millis(800) && again < Duration::from_secs(2),
        "{again:?}"
    );
}
