//! How much the three programs ask of the API server: every kind watched once, few requests, and none that changes anything
//! at rest but the Leases. Counted in the audit log, at rest and with a set that is at work.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use axum::Router;
use axum::routing::get;
use keda_kaito_e2e::audit::{Request, counts};
use keda_kaito_e2e::bed::{Bed, Look, eventually};
use keda_kaito_e2e::cases::documents::annotation;
use keda_kaito_e2e::cases::objects::Kind;
use keda_kaito_e2e::cases::times;
use keda_kaito_e2e::programs::{Name, Program};
use serde_json::json;

use super::fleet::{self, Place};
use super::support::{self, is_of_lease, metric_is, user};

/// Watches of one kind that may begin within the span, one being reopened every 20 s: both ends of the span may cut one short,
/// and one that fell silent is replaced at once.
const TURNS: usize = 3;
/// Promised, for each program.
const PER_SECOND: f64 = 5.0;
const SPAN: Duration = Duration::from_secs(30);
const POD: Kind = Kind::new("", "v1", "Pod");
const REPLICAS: usize = 2;
const HOSTS: [(Name, u8); 3] = [(Name::Certmgr, 90), (Name::Scaler, 10), (Name::Provisioner, 92)];
/// Watched by each: certmgr may read its three Secrets by name alone, and so watches each by its name.
const WATCHED: [(Name, &[(&str, usize)]); 3] = [
    (Name::Certmgr, &[("clustertriggerauthentications", 1), ("secrets", 3)]),
    (
        Name::Scaler,
        &[
            ("inferencesets", 1),
            ("pods", 1),
            ("scaledobjects", 1),
            ("secrets", 1),
            ("workspaces", 1),
        ],
    ),
    (
        Name::Provisioner,
        &[
            ("clustertriggerauthentications", 1),
            ("inferencesets", 1),
            ("leases", 1),
            ("scaledobjects", 1),
            ("workspaces", 1),
        ],
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn each_program_watches_a_kind_once_and_asks_little_at_rest_and_at_work() -> Result<()> {
    let (bed, log) = support::bed().await?;
    let mut programs = Vec::new();
    for (name, host) in HOSTS {
        programs.push(support::run(&bed, support::start(&bed, name, host)?).await?);
    }
    let places = fleet::create(&bed, "requests", 1, REPLICAS).await?;
    let place = places.first().context("no InferenceSet was created")?;
    serve_pods(&bed, place).await?;
    let scaler = of(&programs, Name::Scaler)?;
    metric_is(
        scaler,
        "keda_kaito_scaler_fresh_targets",
        REPLICAS as f64,
        Duration::from_secs(60),
    )
    .await?;
    support::settled(&log).await?;

    let mark = log.mark()?;
    tokio::time::sleep(SPAN).await;
    let requests = log.since(mark)?;
    support::nothing_is_written(&requests)?;
    asked_little(&bed, &requests, "at rest")?;

    let mark = log.mark()?;
    tokio::time::timeout(SPAN, at_work(&bed, place)).await.unwrap_or(Ok(()))?;
    let requests = log.since(mark)?;
    asked_little(&bed, &requests, "at work")?;
    let scaler_writes: Vec<String> = requests
        .iter()
        .filter(|request| request.user == user(Name::Scaler, 10) && request.is_write() && !is_of_lease(request))
        .map(Request::summary)
        .collect();
    ensure!(scaler_writes.is_empty(), "the scaler wrote: {scaler_writes:#?}");
    bed.delete(Kind::INFERENCE_SET, &place.namespace, &place.name).await
}

fn of(programs: &[Program], name: Name) -> Result<&Program> {
    let found = programs.iter().find(|program| program.start.name == name);
    found.with_context(|| format!("{} was not started", name.as_str()))
}

/// Each program's requests, all together and by watch.
fn asked_little(bed: &Bed, requests: &[Request], when: &str) -> Result<()> {
    for ((name, host), (_, watched)) in HOSTS.iter().zip(&WATCHED) {
        let user = user(*name, *host);
        let own: Vec<Request> = requests.iter().filter(|request| request.user == user).cloned().collect();
        let per_second = own.len() as f64 / SPAN.as_secs_f64();
        let kinds = counts(&own, |request| format!("{} {}", request.verb, request.resource));
        times::note(bed, &format!("{user} {when}: {per_second:.2} requests/s, {kinds:?}"), SPAN)?;
        ensure!(
            (0.1..=PER_SECOND).contains(&per_second),
            "{user} {when}: {per_second} requests/s: {kinds:#?}"
        );
        let watches: Vec<Request> = own.into_iter().filter(|request| request.verb == "watch").collect();
        let opened = counts(&watches, |request| request.resource.clone());
        let known: BTreeMap<String, usize> = watched.iter().map(|(kind, number)| ((*kind).to_owned(), *number)).collect();
        ensure!(
            opened.keys().eq(known.keys()),
            "{user} {when} watches {opened:?} and should watch {known:?}"
        );
        for (kind, number) in opened {
            let most = known.get(&kind).copied().unwrap_or_default() * TURNS;
            ensure!(
                number <= most,
                "{user} {when} opened {number} watches of {kind}, and {most} would do"
            );
        }
    }
    Ok(())
}

/// What an HPA, KAITO and users do to a set that works, without an end.
async fn at_work(bed: &Bed, place: &Place) -> Result<()> {
    let Place { namespace, name } = place;
    let mut ticks = tokio::time::interval(Duration::from_secs(2));
    for turn in 0_u32.. {
        ticks.tick().await;
        let annotations = json!({annotation("max-replicas"): (turn % 7 + 3).to_string()});
        let patch = json!({"metadata": {"annotations": annotations}, "spec": {"replicas": turn % 2 + 1}});
        bed.patch(Kind::INFERENCE_SET, namespace, name, &patch).await?;
        let status = json!({"status": {"replicas": turn % 2 + 1, "readyReplicas": turn % 2 + 1}});
        bed.patch_status(Kind::INFERENCE_SET, namespace, name, &status).await?;
    }
    Ok(())
}

/// The pods of a set's Workspaces, which answer.
async fn serve_pods(bed: &Bed, place: &Place) -> Result<()> {
    let Place { namespace, name } = place;
    for index in 0..REPLICAS {
        let address = Ipv4Addr::new(10, 244, 200, u8::try_from(index)? + 1);
        let listener = tokio::net::TcpListener::bind(SocketAddr::from((address, 5000))).await?;
        let page = "# TYPE vllm:num_requests_waiting gauge\nvllm:num_requests_waiting{model_name=\"phi\"} 3\n";
        let router = Router::new().route("/metrics", get(move || async move { page }));
        tokio::spawn(async move { axum::serve(listener, router).await });
        let workspace = format!("{name}-{index}");
        let pod = format!("{workspace}-0");
        let object = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": pod, "namespace": namespace, "labels": {
                "inferenceset.kaito.sh/created-by": name, "kaito.sh/workspace": workspace,
            }},
            "spec": {"containers": [{"name": "model", "image": "model"}]},
        });
        bed.create(POD, namespace, &object).await?;
        let since = "2026-01-01T00:00:00Z";
        let status = json!({"status": {
            "phase": "Running", "podIP": address, "podIPs": [{"ip": address}],
            "hostIP": "10.243.0.1", "hostIPs": [{"ip": "10.243.0.1"}], "startTime": since,
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": since}],
            "containerStatuses": [{
                "name": "model", "image": "model", "imageID": "", "ready": true, "restartCount": 0,
                "containerID": "containerd://model", "state": {"running": {"startedAt": since}},
            }],
        }});
        bed.patch_status(POD, namespace, &pod, &status).await?;
    }
    let status = json!({"status": {"replicas": REPLICAS, "readyReplicas": REPLICAS}});
    bed.patch_status(Kind::INFERENCE_SET, namespace, name, &status).await?;
    eventually(Duration::from_secs(60), "a ScaledObject", async || {
        bed.get(Kind::SCALED_OBJECT, namespace, name).await.map(Look::Met)
    })
    .await
    .map(drop)
}
