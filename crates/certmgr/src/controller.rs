//! When to take a turn: something we own changed, or a little time has passed. Looks always; writes only while leading.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use keda_kaito_core::crd::ClusterTriggerAuthentication;
use keda_kaito_core::credentials::{Need, Plan, Wait};
use keda_kaito_core::names;
use keda_kaito_runtime::lease::Leader;
use keda_kaito_runtime::panics;
use keda_kaito_runtime::readiness::Gate;
use keda_kaito_runtime::requeue;
use keda_kaito_runtime::watch::{Changes, WatchConfig, WatchMetrics, supervise};
use kube::{Api, Client};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::error::Error;
use crate::reconcile::Reconciler;
use crate::traces;
use crate::waiting::Waiting;

/// While replicas have yet to load what was published, they are asked this often; that takes them a moment.
const IMPATIENT: Duration = Duration::from_secs(2);

/// The loop.
pub(crate) struct Controller {
    pub(crate) reconciler: Reconciler,
    pub(crate) leader: watch::Receiver<Option<Leader>>,
    /// True between two turns.
    pub(crate) idle: watch::Sender<bool>,
    pub(crate) changed: Arc<Notify>,
    pub(crate) poll_interval: Duration,
    pub(crate) credentials: Gate,
}

impl Controller {
    /// Runs until shut down.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) {
        let mut failures = 0;
        let mut said = String::new();
        let mut waiting = Waiting::default();
        while !shutdown.is_cancelled() {
            let leader = self.leader.borrow_and_update().clone();
            self.idle.send_replace(false);
            let began = Instant::now();
            let turn = panics::caught_async(self.reconciler.turn(leader.as_ref()));
            let span = traces::reconcile();
            let turn = turn.instrument(span.clone()).await;
            let turn = turn.unwrap_or_else(|panicked| Err(Error::Panic(panicked)));
            traces::reconciled(&span, &turn);
            self.idle.send_replace(true);
            let pause = match turn {
                Ok(plan) => {
                    failures = 0;
                    self.reconciler.metrics.turned("ok", began.elapsed());
                    self.report(&plan, leader.is_some(), &mut said);
                    let overdue = waiting.overdue(&plan, Instant::now());
                    if leader.is_some() {
                        self.reconciler.complain(plan.phase, &overdue).await;
                    }
                    self.pause(&plan)
                }
                Err(error) => {
                    failures += 1;
                    self.reconciler.metrics.turned(error.category(), began.elapsed());
                    self.credentials.set_reason(error.to_string());
                    if said != error.to_string() {
                        tracing::warn!(%error, "a turn failed and is tried again");
                        said = error.to_string();
                    }
                    requeue::delay(failures, 0.0).min(self.poll_interval)
                }
            };
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = self.changed.notified() => {}
                changed = self.leader.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    fn report(&self, plan: &Plan, leads: bool, said: &mut String) {
        match &plan.step {
            None => self.credentials.open(),
            Some(step) => {
                let wrong = format!("{}: {}", crate::events::object(step), step.cause());
                let who = if leads { "writing" } else { "waiting for the leader to write" };
                self.credentials.close(format!("{who} {wrong}"));
            }
        }
        let waits: Vec<_> = plan.waits.iter().map(Wait::to_string).collect();
        let state = format!("{}, waiting for {}", plan.phase, waits.join("; "));
        if *said != state {
            tracing::info!(
                phase = plan.phase.name(),
                waiting_for = waits.join("; "),
                "looked at the credentials"
            );
            *said = state;
        }
    }

    fn pause(&self, plan: &Plan) -> Duration {
        let pauses = plan.waits.iter().map(|wait| match wait {
            Wait::Replica {
                need: Need::Trust { .. } | Need::Serve { .. },
                ..
            } => IMPATIENT,
            Wait::MinimumAge { until } => until_then(*until),
            Wait::Clocks | Wait::AuthenticationKind | Wait::Replicas(_) | Wait::NoReplica | Wait::Replica { .. } => {
                self.poll_interval
            }
        });
        pauses.min().unwrap_or(self.poll_interval).min(self.poll_interval)
    }
}

/// A little more than the time left; where none is left, it is the API server's clock that is behind.
fn until_then(moment: Timestamp) -> Duration {
    let left = Duration::try_from(Timestamp::now().duration_until(moment));
    left.map_or(IMPATIENT, |left| left + Duration::from_millis(100))
}

/// Watches of the four objects, each by its name, and what drives them.
pub(crate) fn watches(
    client: &Client,
    working_namespace: &str,
    metrics: &WatchMetrics,
    changed: &Arc<Notify>,
    shutdown: &CancellationToken,
) -> Vec<(&'static str, Driver)> {
    let named = |name: &str| WatchConfig {
        fields: Some(format!("metadata.name={name}")),
        ..WatchConfig::default()
    };
    let mut drivers: Vec<(&'static str, Driver)> = Vec::new();
    for name in [names::CA_SECRET, names::SERVER_SECRET, names::CLIENT_SECRET] {
        let api: Api<Secret> = Api::namespaced(client.clone(), working_namespace);
        let (watched, driver) = supervise(api, named(name), metrics, shutdown.clone());
        drivers.push(("watch of a Secret", Box::pin(driver)));
        drivers.push(("changes of a Secret", Box::pin(tell(watched.changes, Arc::clone(changed)))));
    }
    let api: Api<ClusterTriggerAuthentication> = Api::all(client.clone());
    let (watched, driver) = supervise(api, named(names::TRIGGER_AUTHENTICATION), metrics, shutdown.clone());
    drivers.push(("watch of the ClusterTriggerAuthentication", Box::pin(driver)));
    drivers.push((
        "changes of the ClusterTriggerAuthentication",
        Box::pin(tell(watched.changes, Arc::clone(changed))),
    ));
    drivers
}

/// Work that ends only after shutdown.
pub(crate) type Driver = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

async fn tell<K>(mut changes: Changes<K>, changed: Arc<Notify>) {
    while changes.next().await.is_some() {
        changed.notify_one();
    }
}
