use keda_kaito_runtime::metrics::SharedRegistry;
use keda_kaito_runtime::readiness::Readiness;
use keda_kaito_runtime::watch::{WatchConfig, WatchMetrics, supervise};
use serde_json::Value;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::fake_cluster::{FakeCluster, eventually};
use crate::tls::tests::{Authority, secret};

struct Bed {
    cluster: FakeCluster,
    credentials: watch::Receiver<Option<Arc<Credentials>>>,
    readiness: Readiness,
    exported: SharedRegistry,
    _tasks: JoinSet<()>,
}

impl Bed {
    fn start(first: Option<Value>) -> Self {
        let cluster = FakeCluster::of(first.map(|secret| ("secrets", secret)));
        let (publish, credentials) = watch::channel(None);
        let readiness = Readiness::default();
        let exported = SharedRegistry::with_prefix("test");
        let metrics = WatchMetrics::register(&exported);
        let api = || Api::namespaced(cluster.client(), "keda");
        let (watched, driver) = supervise(api(), WatchConfig::default(), &metrics, CancellationToken::new());
        let follower = Follower {
            api: api(),
            changes: watched.changes,
            publish,
            gate: readiness.gate("credentials", "waiting for the Secret"),
            time: ClusterTime::default(),
            metrics: Metrics::register(&exported),
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(driver);
        tasks.spawn(follower.run());
        Self {
            cluster,
            credentials,
            readiness,
            exported,
            _tasks: tasks,
        }
    }

    fn generation(&self) -> Option<u64> {
        self.credentials.borrow().as_ref().map(|credentials| credentials.generation)
    }

    async fn until_refused(&self, times: u32) {
        let line = format!("test_credentials_refused_total {times}\n");
        eventually(&line, || self.exported.encode().unwrap().contains(&line)).await;
    }

    async fn until_serving(&self, generation: u64) {
        eventually("the generation", || self.generation() == Some(generation)).await;
    }
}

fn object(secret: &Secret, version: u32) -> Value {
    let mut object = serde_json::to_value(secret).unwrap();
    object["metadata"]["namespace"] = "keda".into();
    object["metadata"]["uid"] = "u".into();
    object["metadata"]["resourceVersion"] = version.to_string().into();
    object
}

#[tokio::test]
async fn good_secret_opens_the_gate_and_later_ones_replace_it() {
    let authority = Authority::ours("a");
    let bed = Bed::start(Some(object(&secret(1, &authority.server(), &[&authority]), 1)));
    bed.until_serving(1).await;
    assert!(bed.readiness.is_ready());
    let second = object(&secret(2, &authority.server(), &[&authority]), 2);
    bed.cluster.send("secrets", "MODIFIED", &second).await;
    bed.until_serving(2).await;
}

#[tokio::test]
async fn list_that_lags_is_overtaken_by_the_newest_state() {
    let authority = Authority::ours("a");
    let of = |generation, version| object(&secret(generation, &authority.server(), &[&authority]), version);
    let bed = Bed::start(None);
    bed.cluster.put("secrets", of(7, 7));
    bed.cluster.send("secrets", "ADDED", &of(3, 3)).await;
    bed.until_serving(7).await;
}

#[tokio::test]
async fn last_good_credentials_stay_whatever_becomes_of_the_secret() {
    let authority = Authority::ours("a");
    let good = secret(1, &authority.server(), &[&authority]);
    let bed = Bed::start(Some(object(&good, 1)));
    bed.until_serving(1).await;
    let mut broken = good.clone();
    broken.data = None;
    for (times, event) in [(1, "MODIFIED"), (2, "DELETED")] {
        bed.cluster.send("secrets", event, &object(&broken, times + 1)).await;
        bed.until_refused(times).await;
        assert_eq!(bed.generation(), Some(1));
    }
    let third = object(&secret(3, &authority.server(), &[&authority]), 4);
    bed.cluster.send("secrets", "ADDED", &third).await;
    bed.until_serving(3).await;
    assert!(bed.readiness.is_ready());
}

#[tokio::test]
async fn first_secret_that_cannot_be_served_is_named_on_the_gate() {
    let authority = Authority::ours("a");
    let mut broken = secret(1, &authority.server(), &[&authority]);
    broken.data.as_mut().unwrap().remove("tls.key");
    let bed = Bed::start(Some(object(&broken, 1)));
    let reason = "Secret keda-kaito-scaler-server-certs: tls.key is missing";
    eventually(reason, || bed.readiness.closed()[0].reason == reason).await;
    assert_eq!(bed.generation(), None);
}

#[tokio::test]
async fn secret_of_another_authority_is_taken_only_if_it_stays() {
    let (a, b) = (Authority::ours("a"), Authority::ours("b"));
    let bed = Bed::start(Some(object(&secret(1, &a.server(), &[&a]), 1)));
    bed.until_serving(1).await;
    let strange = [
        secret(2, &b.server(), &[&b]),
        secret(3, &b.server(), &[&a]),
        secret(4, &a.client(crate::tls::tests::OPERATOR), &[&a]),
    ];
    for (times, secret) in (1..).zip(&strange) {
        bed.cluster.send("secrets", "MODIFIED", &object(secret, times + 1)).await;
        bed.until_refused(times).await;
        assert_eq!(bed.generation(), Some(1));
    }
    bed.cluster.send("secrets", "MODIFIED", &object(&strange[0], 9)).await;
    bed.until_refused(4).await;
    let stands = async {
        bed.credentials
            .clone()
            .wait_for(|it| it.as_ref().is_some_and(|it| it.generation == 2))
            .await
            .is_ok()
    };
    assert!(tokio::time::timeout(STRANGE_FOR * 3, stands).await.unwrap());
}
