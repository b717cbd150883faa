//! The loop over scripted news: who may act, what news lead to, and how it ends.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use http::Method;
use k8s_openapi::api::coordination::v1::Lease;
use keda_kaito_core::crd::ClusterTriggerAuthentication;
use keda_kaito_runtime::fake_api::{Answer, Playing, Scenario};
use keda_kaito_runtime::watch::Change;
use kube::Client;
use serde_json::json;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::Controller;
use super::watches::{News, Watches};

mod fairness;
use crate::reconcile::tests::build::{EVENTS, OBJECT, Setup, inference_set, stored};

struct Running {
    news: mpsc::UnboundedSender<News>,
    lead: watch::Sender<bool>,
    idle: watch::Receiver<bool>,
    stop: CancellationToken,
    server: Playing,
    task: JoinHandle<()>,
}

impl Running {
    fn start(scenario: Scenario, setup: &Setup, require_scaler: bool) -> Self {
        let (client, server) = scenario.patience(Duration::from_secs(3600)).start();
        Self::start_with(client, server, setup, require_scaler)
    }

    fn start_with(client: Client, server: Playing, setup: &Setup, require_scaler: bool) -> Self {
        let (news, mut receiver) = mpsc::unbounded_channel();
        let (lead, leading) = watch::channel(false);
        let (idle, idles) = watch::channel(true);
        let stop = CancellationToken::new();
        let mut options = setup.options();
        options.credential_epoch = None;
        let controller = Controller {
            reconciler: setup.reconciler(client),
            options,
            require_scaler,
            leading,
            idle,
        };
        let stream = futures::stream::poll_fn(move |cx| receiver.poll_recv(cx)).boxed();
        let token = stop.clone();
        let task = tokio::spawn(async move { controller.run(Watches::scripted(stream), &token).await });
        Self {
            news,
            lead,
            idle: idles,
            stop,
            server,
            task,
        }
    }

    fn tell(&self, setup: &Setup) {
        let snapshot = setup.snapshot();
        for workspace in snapshot.workspaces {
            self.say(News::Workspace(Change::Applied(workspace)));
        }
        for object in snapshot.scaled_objects {
            self.say(News::ScaledObject(Change::Applied(object)));
        }
        self.say(News::InferenceSet(Change::Applied(snapshot.inference_set)));
    }

    fn say(&self, news: News) {
        assert!(self.news.send(news).is_ok(), "the controller has ended");
    }
}

fn creation(setup: &Setup) -> Scenario {
    let event = json!({ "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": { "name": "e" } });
    Scenario::new("creation")
        .step("create", Method::PATCH, OBJECT, Answer::json(201, &stored(&setup.desired())))
        .step("event", Method::POST, EVENTS, Answer::json(201, &event))
}

fn epoch(epoch: &str) -> News {
    let object: ClusterTriggerAuthentication = serde_json::from_value(json!({
        "metadata": { "name": "keda-kaito-scaler-creds", "annotations": { "keda-kaito-scaler.kaito.sh/credential-epoch": epoch } },
    }))
    .unwrap();
    News::TriggerAuthentication(Change::Applied(Arc::new(object)))
}

fn lease(version: &str, serving: &str) -> News {
    let lease: Lease = serde_json::from_value(json!({
        "metadata": {
            "name": "scaler-0", "resourceVersion": version,
            "annotations": { "keda-kaito-scaler.kaito.sh/serving": serving },
        },
        "spec": { "leaseDurationSeconds": 15 },
    }))
    .unwrap();
    News::Lease(Change::Applied(Arc::new(lease)))
}

#[tokio::test(start_paused = true)]
async fn standby_is_silent_and_the_leader_acts_on_what_was_learned_before() {
    let setup = Setup::new(inference_set());
    let mut running = Running::start(creation(&setup), &setup, false);
    running.say(epoch("3"));
    running.tell(&setup);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(
        running.idle.has_changed().is_ok_and(|changed| !changed),
        "a standby has worked"
    );
    running.lead.send_replace(true);
    let calls = running.server.finish().await;
    assert_eq!(calls[0].body["spec"]["triggers"][0]["metadata"]["credentialEpoch"], "3");
    running.idle.wait_for(|idle| *idle).await.unwrap();
    running.stop.cancel();
    running.task.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_was_written_is_known_before_the_watch_tells() {
    let setup = Setup::new(inference_set());
    let running = Running::start(creation(&setup), &setup, false);
    running.lead.send_replace(true);
    running.say(epoch("3"));
    running.tell(&setup);
    tokio::time::sleep(Duration::from_secs(1)).await;
    // News of the same state would create it a second time, were the answer forgotten.
    running.tell(&setup);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(running.server.finish().await.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn serving_scaler_lets_waiting_objects_go() {
    let setup = Setup::new(inference_set());
    let running = Running::start(creation(&setup), &setup, true);
    running.lead.send_replace(true);
    running.say(epoch("3"));
    running.say(lease("1", "false"));
    running.tell(&setup);
    tokio::time::sleep(Duration::from_secs(30)).await;
    let waited = tokio::time::Instant::now();
    running.say(lease("2", "true"));
    running.server.finish().await;
    assert!(waited.elapsed() < Duration::from_secs(1), "{:?}", waited.elapsed());
}

#[tokio::test(start_paused = true)]
async fn new_epoch_reaches_an_object_and_a_malformed_or_lost_one_does_not() {
    let setup = Setup::new(inference_set());
    let live = stored(&setup.desired());
    let setup = setup.live(live);
    let renewed = stored(&Setup::new(inference_set()).epoch(4).desired());
    let scenario = Scenario::new("epoch").step("apply", Method::PATCH, OBJECT, Answer::json(200, &renewed));
    let running = Running::start(scenario, &setup, false);
    running.lead.send_replace(true);
    for news in [epoch("3"), epoch("three"), epoch("")] {
        running.say(news);
    }
    running.tell(&setup);
    tokio::time::sleep(Duration::from_secs(5)).await;
    running.say(epoch("4"));
    let calls = running.server.finish().await;
    assert_eq!(calls[0].body["spec"]["triggers"][0]["metadata"]["credentialEpoch"], "4");
}

/// From leading, with the InferenceSet and the credentials known, to the scenario's last step.
async fn time_to_end(scenario: Scenario, setup: &Setup) -> Duration {
    let running = Running::start(scenario, setup, false);
    let started = tokio::time::Instant::now();
    running.lead.send_replace(true);
    running.say(epoch("3"));
    running.tell(setup);
    running.server.finish().await;
    started.elapsed()
}

#[tokio::test(start_paused = true)]
async fn failed_object_is_tried_again() {
    let setup = Setup::new(inference_set());
    let scenario = Scenario::new("failure")
        .step("create", Method::PATCH, OBJECT, Answer::status(500, "InternalError"))
        .step("again", Method::PATCH, OBJECT, Answer::json(201, &stored(&setup.desired())))
        .step(
            "event",
            Method::POST,
            EVENTS,
            Answer::json(
                201,
                &json!({ "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": { "name": "e" } }),
            ),
        );
    let took = time_to_end(scenario, &setup).await;
    assert!(
        took >= Duration::from_millis(800) && took < Duration::from_secs(3),
        "{took:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn object_that_failed_throughout_an_outage_is_tried_soon_after_it() {
    let setup = Setup::new(inference_set());
    let tries = 10;
    let outage = (0..tries).fold(Scenario::new("outage"), |scenario, _| {
        scenario.step("create", Method::PATCH, OBJECT, Answer::status(500, "InternalError"))
    });
    // 1 + 2 + 4 + 8 + 16 and then 30 s each; doubling on would be 400 s and more.
    let took = time_to_end(outage, &setup).await;
    assert!(took > Duration::from_secs(100) && took < Duration::from_secs(170), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn loop_ends_with_its_watches() {
    let setup = Setup::new(inference_set());
    let running = Running::start(Scenario::new("end"), &setup, false);
    drop(running.news);
    running.task.await.unwrap();
    running.server.finish().await;
}
