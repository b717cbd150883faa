//! One answer to "why": every move of a replica count leads from the HPA's Event back to the Event on the InferenceSet, from
//! there to the span of the decision, and on to the scrapes it rests on. A real OpenTelemetry Collector receives what all three
//! programs send while the real HPA scales an InferenceSet up and down. A bed of its own, since programs send spans from their start.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use keda_kaito_e2e::bed::{Bed, Look, eventually};
use keda_kaito_e2e::cases::documents::InferenceSet;
use keda_kaito_e2e::cases::objects::{Kind, text};
use keda_kaito_e2e::cases::observer::{Change, Observer};
use keda_kaito_e2e::cases::{expect, running};
use keda_kaito_e2e::collector::{Collector, Span};
use keda_kaito_e2e::programs::{Name, Program};
use serde_json::json;

const COLLECTOR: &str = "127.0.0.1:4317";
const NAME: &str = "phi";
const READY: Duration = Duration::from_secs(60);
/// One step, its windows and the start of a replica included.
const STEP: Duration = Duration::from_secs(60);
/// From a span's end to the Collector's file.
const SENT: Duration = Duration::from_secs(10);

#[tokio::test]
async fn every_move_of_the_hpa_is_joined_with_its_event_its_decision_and_the_scrapes_behind_it() -> Result<()> {
    let bed = Bed::from_env().await?;
    let collector = Collector::start(&bed.directory, COLLECTOR.parse::<SocketAddr>()?).await?;
    let _programs = programs(&bed, &collector.endpoint()).await?;
    bed.with_namespace("traces", async |namespace| {
        let moves = up_and_down(&bed, &namespace).await?;
        for one in &moves {
            joined(&bed, &collector, &namespace, one).await?;
        }
        as_documented(&collector, &namespace).await
    })
    .await
}

async fn programs(bed: &Bed, endpoint: &str) -> Result<Vec<Program>> {
    let mut programs = Vec::new();
    for name in running::ALL {
        let mut start = running::start(name);
        if name == Name::Scaler {
            start = start.argument("--scrape-interval=2s");
        }
        start.environment = vec![
            ("OTEL_EXPORTER_OTLP_ENDPOINT".to_owned(), endpoint.to_owned()),
            ("OTEL_BSP_SCHEDULE_DELAY".to_owned(), "200".to_owned()),
        ];
        programs.push(Program::spawn(&bed.directory.join("logs"), start)?);
    }
    for program in &mut programs {
        program.ready(READY).await?;
    }
    Ok(programs)
}

/// Two steps up and one down, by the HPA.
async fn up_and_down(bed: &Bed, namespace: &str) -> Result<Vec<Change>> {
    let metrics = "- {name: 'vllm:num_requests_waiting', type: gauge, upthreshold: 10, downthreshold: 2}";
    let set = InferenceSet::new(namespace, NAME).annotated(&[
        ("auto-provision", "true"),
        ("max-replicas", "3"),
        ("metrics", metrics),
        ("evaluationwindow", "5"),
        ("scaleupcooldown", "5"),
        ("scaledowncooldown", "10"),
    ]);
    bed.fleet.set(namespace, NAME, json!({"waiting": 5})).await?;
    set.create(bed).await?;
    let observer = Observer::start(bed, namespace, NAME).await?;
    expect::serving(bed, namespace, NAME, 1).await?;
    expect::desired(bed, namespace, NAME, 1).await?;
    for (waiting, count) in [(20, 3), (0, 2)] {
        bed.fleet.set(namespace, NAME, json!({"waiting": waiting})).await?;
        eventually(2 * STEP, &format!("{count} replicas"), async || {
            let current = observer.current()?;
            Ok(Look::when(current == count, current))
        })
        .await?;
    }
    let mut moves = Vec::new();
    for change in observer.changes() {
        let cause = observer.cause(&change).await?;
        moves.push(Change {
            cause: Some(cause),
            ..change
        });
    }
    let counts: Vec<i64> = moves.iter().take(3).map(|one| one.to).collect();
    ensure!(counts == [2, 3, 2], "the moves were {moves:?}");
    Ok(moves)
}

/// Replica change and HPA Event are in `change`; from there to the Event, the decision and its round.
async fn joined(bed: &Bed, collector: &Collector, namespace: &str, change: &Change) -> Result<()> {
    let way = if change.to > change.from {
        "ScaleUpWanted"
    } else {
        "ScaleDownWanted"
    };
    let words = format!("wants {} replicas, has {}:", change.to, change.from);
    let events = bed.list(Kind::EVENT, namespace).await?;
    let told = events.iter().find(|event| {
        let about = text(event, "/involvedObject/kind") == "InferenceSet" && text(event, "/involvedObject/name") == NAME;
        about && text(event, "/reason") == way && text(event, "/message").starts_with(&words)
    });
    let told = told.with_context(|| format!("no Event {way} {words:?} for {change:?}"))?;
    let message = text(told, "/message");
    let (_, id) = message
        .rsplit_once("decision ")
        .with_context(|| format!("no decision in {message:?}"))?;
    let id = id.get(..16).with_context(|| format!("no id in {message:?}"))?;

    let spans = received(collector, &format!("decision {id} with its round"), |spans| {
        behind(spans, id).is_some()
    })
    .await?;
    let (decided, round) = behind(&spans, id).context("the decision is gone")?;
    let attribute = |key: &str| decided.attribute(key).unwrap_or_default().to_owned();
    let to = change.to.to_string();
    ensure!(
        [attribute("decision.id"), attribute("decision.replicas")] == [id.to_owned(), to],
        "{decided:?} for {change:?}"
    );
    ensure!(attribute("k8s.namespace.name") == namespace && attribute("kaito.inference_set.name") == NAME);
    ensure!(message.contains(&attribute("decision.reason")), "{message:?} and {decided:?}");
    ensure!(
        decided.start <= change.at.as_nanosecond(),
        "{decided:?} came after {change:?}"
    );
    let scrapes = spans.iter().filter(|span| span.name == "scrape" && span.parent == round.id);
    let well = scrapes
        .filter(|scrape| scrape.attribute("http.response.status_code") == Some("200"))
        .count();
    // What was decided for a call may rest on a replica, too, that came after the round.
    let came_later = usize::from(decided.parent != round.id && change.from > 1);
    let replicas = usize::try_from(change.from)? - came_later;
    ensure!(
        well >= replicas,
        "{well} scrapes for {replicas} replicas in the round behind {decided:?}"
    );
    Ok(())
}

/// Kinds of spans, what is above them, and the attributes every one of them has.
const SHAPES: [(&str, &str, &[&str], &[&str]); 7] = [
    ("scaler", "round", &[""], &["k8s.namespace.name", "kaito.inference_set.name"]),
    (
        "scaler",
        "scrape",
        &["round"],
        &[
            "k8s.namespace.name",
            "k8s.pod.name",
            "server.address",
            "server.port",
            "http.request.method",
            "url.scheme",
            "url.path",
        ],
    ),
    (
        "scaler",
        "decide",
        &["round", "grpc"],
        &["k8s.namespace.name", "decision.id", "decision.reason"],
    ),
    (
        "scaler",
        "grpc",
        &[""],
        &[
            "rpc.system",
            "rpc.service",
            "rpc.method",
            "rpc.grpc.status_code",
            "client.address",
        ],
    ),
    (
        "provisioner",
        "reconcile",
        &[""],
        &["k8s.namespace.name", "kaito.inference_set.name"],
    ),
    ("certmgr", "reconcile", &[""], &[]),
    (
        "certmgr",
        "rotate",
        &["reconcile"],
        &["k8s.object.kind", "k8s.object.name", "cause", "outcome"],
    ),
];

async fn as_documented(collector: &Collector, namespace: &str) -> Result<()> {
    let of = |spans: &[Span], service: &str, name: &str| -> Vec<Span> {
        let found = spans.iter().filter(|span| span.service == service && span.name == name);
        found.cloned().collect()
    };
    let spans = received(collector, "spans of every kind", |spans| {
        SHAPES.iter().all(|(service, name, ..)| !of(spans, service, name).is_empty())
    })
    .await?;
    // A parent is sent after its children: what ended only just now may still be without.
    let ended = |span: &Span| span.end < Timestamp::now().as_nanosecond() - i128::from(SENT.as_secs()) * 1_000_000_000;
    for (service, name, above, attributes) in SHAPES {
        for span in of(&spans, service, name) {
            let over = parent(&spans, &span).map_or("", |parent| parent.name.as_str());
            let late = !span.parent.is_empty() && over.is_empty() && !ended(&span);
            ensure!(above.contains(&over) || late, "{over:?} is above {span:?}");
            for key in attributes {
                ensure!(span.attribute(key).is_some(), "no {key} in {span:?}");
            }
            ensure!(span.end >= span.start, "{span:?}");
        }
    }
    let known = |span: &&Span| {
        SHAPES
            .iter()
            .any(|(service, name, ..)| span.service == *service && span.name == *name)
    };
    let strange = spans.iter().find(|span| !known(span));
    ensure!(strange.is_none(), "an unknown span: {strange:?}");
    let asked = of(&spans, "scaler", "grpc");
    let told = of(&spans, "scaler", "decide");
    let told: Vec<_> = told
        .iter()
        .filter(|span| asked.iter().any(|call| call.id == span.parent))
        .collect();
    let linked = told.iter().filter(|span| round_of(&spans, span).is_some()).count();
    // KEDA's first calls may come before the first round has ended.
    ensure!(
        linked > 0 && linked + 2 >= told.len(),
        "{linked} of {} decisions of calls are linked",
        told.len()
    );
    let about = |span: &&Span| span.attribute("k8s.namespace.name") == Some(namespace);
    ensure!(asked.iter().any(|span| about(&span)), "no call names the namespace");
    Ok(())
}

/// A decision's span and the round whose scrapes it rests on.
fn behind<'a>(spans: &'a [Span], id: &str) -> Option<(&'a Span, &'a Span)> {
    let mut decisions = spans.iter().filter(|span| span.name == "decide" && span.id == id);
    decisions.find_map(|decided| Some((decided, round_of(spans, decided)?)))
}

/// The round that a decision ends, or that a call's decision is linked to.
fn round_of<'a>(spans: &'a [Span], decided: &Span) -> Option<&'a Span> {
    let is = |span: &Span, trace: &str, id: &str| span.name == "round" && span.trace == trace && span.id == id;
    spans.iter().find(|span| {
        let linked = decided.links.iter().any(|(trace, id)| is(span, trace, id));
        linked || is(span, &decided.trace, &decided.parent)
    })
}

fn parent<'a>(spans: &'a [Span], span: &Span) -> Option<&'a Span> {
    spans
        .iter()
        .find(|other| other.trace == span.trace && other.id == span.parent)
}

async fn received(collector: &Collector, what: &str, enough: impl Fn(&[Span]) -> bool) -> Result<Vec<Span>> {
    eventually(SENT, what, async || {
        let spans = collector.spans()?;
        Ok(match enough(&spans) {
            true => Look::Met(spans),
            false => Look::NotYet(format!("{} spans", spans.len())),
        })
    })
    .await
}
