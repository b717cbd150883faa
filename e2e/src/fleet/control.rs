//! The control API, plain JSON over HTTP:
//! `GET /healthz`; `GET /pods[?namespace=&inferenceset=]`, `GET /pods/{ns}/{name}`; `PUT /pods/{ns}/{name}` with any of
//! `settings::Settings` and `queue_time: [{seconds, count}]` (added once), `null` taking a choice away;
//! `POST /pods/{ns}/{name}/restart`; `GET /inferencesets`, `PUT /inferencesets/{ns}/{name}` likewise for current and
//! future pods; `POST /addresses {address, namespace?, inferenceset?}`; `POST /selectors {labels}`; `POST /reset`.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::routing::{get, post, put};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::Key;
use super::addresses::Order;
use super::api::{AddressOrder, PodReport, Refusal, Selector, SetReport};
use super::node_keeper::Nodes;
use super::pod::{Identity, PodEntry};
use super::settings::{Observations, Settings};
use super::state::Fleet;
use super::values::Latency;

/// Observations in one call.
const MAX_OBSERVATIONS: usize = 10_000;

type Refused = (StatusCode, Json<Refusal>);

#[derive(Clone, Debug)]
struct Control {
    fleet: Arc<Fleet>,
    nodes: Option<Arc<Nodes>>,
}

/// The routes; without nodes (in tests) selectors are refused.
pub fn router(fleet: Arc<Fleet>, nodes: Option<Arc<Nodes>>) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .route("/pods", get(pods))
        .route("/pods/{namespace}/{name}", get(pod).put(put_pod))
        .route("/pods/{namespace}/{name}/restart", post(restart))
        .route("/inferencesets", get(sets))
        .route("/inferencesets/{namespace}/{name}", put(put_set))
        .route("/addresses", post(address))
        .route("/selectors", post(selector))
        .route("/reset", post(reset))
        .with_state(Control { fleet, nodes })
}

fn refuse(status: StatusCode, error: impl std::fmt::Display) -> Refused {
    let error = error.to_string();
    (status, Json(Refusal { error }))
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Which {
    namespace: Option<String>,
    inferenceset: Option<String>,
}

async fn pods(State(control): State<Control>, Query(which): Query<Which>) -> Json<Vec<PodReport>> {
    let fits = |identity: &Identity| {
        let set = identity.inferenceset.as_ref().map(|set| &set.name);
        which
            .namespace
            .as_ref()
            .is_none_or(|namespace| *namespace == identity.key.namespace)
            && which.inferenceset.as_ref().is_none_or(|wanted| Some(wanted) == set)
    };
    let entries = control.fleet.pods();
    let chosen = entries.iter().filter(|entry| fits(&entry.identity));
    Json(chosen.map(|entry| report(&control.fleet, entry)).collect())
}

async fn pod(
    State(control): State<Control>,
    Path((namespace, name)): Path<(String, String)>,
) -> Result<Json<PodReport>, Refused> {
    let entry = find(&control.fleet, namespace, name)?;
    Ok(Json(report(&control.fleet, &entry)))
}

fn find(fleet: &Fleet, namespace: String, name: String) -> Result<Arc<PodEntry>, Refused> {
    let key = Key { namespace, name };
    fleet
        .pod(&key)
        .ok_or_else(|| refuse(StatusCode::NOT_FOUND, format!("there is no pod {key}")))
}

fn report(fleet: &Fleet, entry: &PodEntry) -> PodReport {
    let values = fleet.values(entry);
    let queue_time = values.latencies.get(&Latency::Queue);
    let last = entry.stats.last_scrape.load(Ordering::Relaxed);
    let last_scrape = i64::try_from(last)
        .ok()
        .filter(|millis| *millis > 0)
        .and_then(|millis| jiff::Timestamp::from_millisecond(millis).ok())
        .map(|at| at.to_string());
    let identity = &entry.identity;
    let state = entry.state();
    PodReport {
        namespace: identity.key.namespace.clone(),
        name: identity.key.name.clone(),
        uid: identity.uid.clone(),
        ip: state.address,
        inferenceset: identity.inferenceset.as_ref().map(|set| set.name.clone()),
        workspace: identity.workspace.clone(),
        index: identity.index,
        phase: state.phase,
        terminating: state.life.terminating_since.is_some(),
        restarts: state.life.restarts,
        waiting: values.waiting,
        running: values.running,
        kv_usage: values.kv_usage,
        queue_time_sum: queue_time.map(super::histogram::Histogram::sum).unwrap_or_default(),
        queue_time_count: queue_time.map(super::histogram::Histogram::count).unwrap_or_default(),
        requests: entry.stats.requests(),
        last_scrape,
        connections: entry.stats.accepted.load(Ordering::Relaxed),
        open_connections: entry.stats.open.load(Ordering::Relaxed),
    }
}

/// Takes the observations out of a body; they are an act, not a choice.
fn observations(body: &mut Map<String, Value>) -> Result<Vec<Observations>, Refused> {
    let Some(value) = body.remove("queue_time") else {
        return Ok(Vec::new());
    };
    let observations: Vec<Observations> =
        serde_json::from_value(value).map_err(|error| refuse(StatusCode::BAD_REQUEST, format!("queue_time: {error}")))?;
    if observations.len() > MAX_OBSERVATIONS {
        let error = format!("queue_time: more than {MAX_OBSERVATIONS} entries");
        return Err(refuse(StatusCode::BAD_REQUEST, error));
    }
    Ok(observations)
}

async fn put_pod(
    State(control): State<Control>,
    Path((namespace, name)): Path<(String, String)>,
    Json(mut body): Json<Map<String, Value>>,
) -> Result<Json<Settings>, Refused> {
    let key = find(&control.fleet, namespace, name)?.identity.key.clone();
    let observed = observations(&mut body)?;
    let settings = control
        .fleet
        .patch_pod(&key, &body)
        .map_err(|error| refuse(StatusCode::BAD_REQUEST, error))?;
    control.fleet.add_observations(&observed, |identity| identity.key == key);
    Ok(Json(settings))
}

async fn put_set(
    State(control): State<Control>,
    Path((namespace, name)): Path<(String, String)>,
    Json(mut body): Json<Map<String, Value>>,
) -> Result<Json<Settings>, Refused> {
    let key = Key { namespace, name };
    let observed = observations(&mut body)?;
    let settings = control
        .fleet
        .patch_set(&key, &body)
        .map_err(|error| refuse(StatusCode::BAD_REQUEST, error))?;
    control
        .fleet
        .add_observations(&observed, |identity| identity.inferenceset.as_ref() == Some(&key));
    Ok(Json(settings))
}

async fn restart(State(control): State<Control>, Path((namespace, name)): Path<(String, String)>) -> Result<StatusCode, Refused> {
    let entry = find(&control.fleet, namespace, name)?;
    control.fleet.restart(&entry);
    Ok(StatusCode::NO_CONTENT)
}

async fn sets(State(control): State<Control>) -> Json<Vec<SetReport>> {
    Json(control.fleet.sets())
}

async fn address(State(control): State<Control>, Json(order): Json<AddressOrder>) -> Result<StatusCode, Refused> {
    let inferenceset = match (order.namespace, order.inferenceset) {
        (Some(namespace), Some(name)) => Some(Key { namespace, name }),
        (None, None) => None,
        (Some(_), None) | (None, Some(_)) => {
            let error = "namespace and inferenceset go together";
            return Err(refuse(StatusCode::BAD_REQUEST, error));
        }
    };
    control.fleet.order_address(Order {
        address: order.address,
        inferenceset,
    });
    Ok(StatusCode::NO_CONTENT)
}

async fn selector(State(control): State<Control>, Json(selector): Json<Selector>) -> Result<StatusCode, Refused> {
    let Some(nodes) = &control.nodes else {
        return Err(refuse(StatusCode::NOT_IMPLEMENTED, "this fleet has no nodes"));
    };
    nodes
        .cover(&selector.labels)
        .await
        .map_err(|error| refuse(StatusCode::BAD_GATEWAY, format!("{error:#}")))?;
    Ok(StatusCode::NO_CONTENT)
}

async fn reset(State(control): State<Control>) -> StatusCode {
    control.fleet.reset();
    StatusCode::NO_CONTENT
}

#[cfg(test)]
mod tests;
