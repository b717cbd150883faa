//! Two certmgrs at once, each of which believes that it leads: whatever they write over each other, at every moment the
//! two Secrets fit each other, and in the end there is one consistent set.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use keda_kaito_core::credentials::{Config, Phase};
use keda_kaito_core::names;
use keda_kaito_runtime::events::Recorder;
use keda_kaito_runtime::lease::{Leader, LeaderStatus, LeaseConfig, lead};
use keda_kaito_runtime::metrics::SharedRegistry;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::handshake::handshake;
use super::memory::wanted;
use super::store::Store;
use crate::cluster::Cluster;
use crate::metrics::Metrics;
use crate::reconcile::Reconciler;

const NAME: &str = "keda-kaito-scaler-svc.keda.svc";
const DEADLINE: Duration = Duration::from_secs(60);

fn certmgr(store: &Store, registry: &SharedRegistry) -> Reconciler {
    let config = Config {
        trust_minimum_age: Duration::ZERO,
        identify_minimum_age: Duration::ZERO,
        ..Config::default()
    };
    Reconciler {
        cluster: Cluster::new(store.client(), "keda", "release"),
        config: Arc::new(config),
        wanted: Arc::new(wanted()),
        recorder: Recorder::new(store.client(), "test", "test", registry),
        metrics: Metrics::register(registry),
    }
}

/// Takes turn after turn until a rotation for `reason` has been made.
async fn insist(certmgr: Reconciler, leader: Leader, store: Store, reason: &'static str) {
    let begun = Instant::now();
    loop {
        assert!(begun.elapsed() < DEADLINE, "no end of it");
        // Whatever one of them fails in, such as too many lost races in a row, it tries again.
        let turn = certmgr.turn(Some(&leader)).await;
        let resting = turn.is_ok_and(|plan| plan.phase == Phase::Stable && plan.step.is_none());
        let authority = store.secret(names::CA_SECRET);
        let rotated = authority.and_then(|authority| Some(authority.annotation(names::ROTATED_REASON_ANNOTATION)? == reason));
        if resting && rotated == Some(true) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(rand::random_range(1..40))).await;
    }
}

/// How often a certmgr came second.
async fn rotate_with_two(store: Store) -> u64 {
    let mut both = JoinSet::new();
    let registries = [SharedRegistry::with_prefix("a"), SharedRegistry::with_prefix("b")];
    for (lease, registry) in ["first", "second"].into_iter().zip(registries.clone()) {
        let store = store.clone();
        both.spawn(async move {
            // A Lease of its own each: nobody keeps anybody from leading.
            let config = LeaseConfig {
                namespace: "release".to_owned(),
                name: lease.to_owned(),
                holder: lease.to_owned(),
                duration: Duration::from_secs(60),
                renew_deadline: Duration::from_secs(40),
                retry_period: Duration::from_secs(1),
            };
            let certmgr = certmgr(&store, &registry);
            let work = |leader| insist(certmgr, leader, store.clone(), "test");
            let (status, shutdown) = (LeaderStatus::default(), CancellationToken::new());
            lead(store.client(), &config, &status, &shutdown, work).await.unwrap();
        });
    }
    // First issue and rotation in one: the wish is there as soon as there is an authority.
    while store.secret(names::CA_SECRET).is_none() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    store.request("test");
    while let Some(ended) = both.join_next().await {
        ended.unwrap();
    }
    let pages = registries.map(|registry| registry.encode().unwrap());
    let lost = pages
        .iter()
        .flat_map(|page| page.lines())
        .filter(|line| line.contains("outcome=\"lost\""));
    lost.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

#[tokio::test]
async fn two_certmgrs_without_a_lease_end_in_one_consistent_set() {
    let stores: Vec<Store> = (0..4).map(|_| Store::default()).collect();
    let mut runs = JoinSet::new();
    for store in &stores {
        runs.spawn(rotate_with_two(store.clone()));
    }
    let lost: u64 = runs.join_all().await.into_iter().sum();
    assert!(lost > 0, "they never met");
    for store in stores {
        let now = Timestamp::now();
        for (server, client) in store.together() {
            handshake(&server, &client, NAME, now).unwrap();
        }
        let secret = |name| store.secret(name).unwrap();
        let (authority, server, client) = (
            secret(names::CA_SECRET),
            secret(names::SERVER_SECRET),
            secret(names::CLIENT_SECRET),
        );
        let keys: Vec<_> = authority.0.data.as_ref().unwrap().keys().cloned().collect();
        assert_eq!(keys, [names::CA_CRT, names::CA_KEY]);
        for published in [&server, &client] {
            assert_eq!(published.value(names::CA_CRT), authority.value(names::CA_CRT));
        }
        let authentication = store.authentication().unwrap();
        let epoch = authentication["metadata"]["annotations"][names::CREDENTIAL_EPOCH_ANNOTATION].as_str();
        assert_eq!(epoch, client.annotation(names::GENERATION_ANNOTATION));
    }
}
