//! One turn: read, inspect, decide, and, as the leader, write; until nothing is left to write.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use keda_kaito_core::credentials::{Cause, Config, Phase, Plan, Step, Wait, plan};
use keda_kaito_core::names;
use keda_kaito_runtime::events::Recorder;
use keda_kaito_runtime::lease::Leader;
use tokio::time::Instant;
use tracing::Instrument;

use crate::cluster::{Cluster, Snapshot};
use crate::error::Error;
use crate::events;
use crate::inspect::{Inspected, LeafNames, inspect};
use crate::issue::Kind;
use crate::metrics::Metrics;
use crate::traces;
use crate::write::{Outcome, compose_authority, compose_leaf};

/// More writes in a row than any situation needs: a first issue takes four, a deletion of everything five.
const MAX_STEPS: usize = 20;
/// A write is not begun when the lease may end before it does.
const LEASE_LEFT: Duration = Duration::from_secs(1);

/// What a turn needs.
#[derive(Clone)]
pub(crate) struct Reconciler {
    pub(crate) cluster: Cluster,
    pub(crate) config: Arc<Config>,
    pub(crate) wanted: Arc<LeafNames>,
    pub(crate) recorder: Recorder,
    pub(crate) metrics: Metrics,
}

impl Reconciler {
    /// Takes steps until none is due, and returns the last decision. Without a leader it only looks.
    pub(crate) async fn turn(&self, leader: Option<&Leader>) -> Result<Plan, Error> {
        let mut last = names::CA_SECRET;
        for _ in 0..MAX_STEPS {
            let snapshot = Arc::new(self.cluster.read().await?);
            let inspected = self.inspect(&snapshot).await?;
            let decided = plan(&inspected.objects, &snapshot.acknowledgements, &snapshot.clock, &self.config);
            self.metrics.observe(&inspected.objects, &snapshot.acknowledgements, &decided);
            self.metrics.skew(snapshot.clock.skew().map(|skew| skew.as_secs_f64()));
            let leads = leader.is_some_and(|leader| leader.remaining(Instant::now()) >= LEASE_LEFT);
            let (Some(step), true) = (&decided.step, leads) else {
                return Ok(decided);
            };
            last = events::object(step);
            let span = traces::rotate(step, self.cluster.working_namespace());
            let work = async {
                let outcome = self.carry_out(step, &inspected, &snapshot).await;
                self.account(step, &outcome, &snapshot).await;
                outcome
            };
            let outcome = work.instrument(span.clone()).await;
            traces::rotated(&span, &outcome);
            if outcome? == Outcome::Lost {
                tracing::info!(object = last, "somebody else wrote first, deciding again");
            }
        }
        Err(Error::Endless {
            steps: MAX_STEPS,
            object: last,
        })
    }

    async fn inspect(&self, snapshot: &Arc<Snapshot>) -> Result<Arc<Inspected>, Error> {
        let (snapshot, wanted) = (Arc::clone(snapshot), Arc::clone(&self.wanted));
        let inspected = tokio::task::spawn_blocking(move || inspect(&snapshot, &wanted)).await?;
        Ok(Arc::new(inspected))
    }

    async fn carry_out(&self, step: &Step, inspected: &Arc<Inspected>, snapshot: &Arc<Snapshot>) -> Result<Outcome, Error> {
        let (read, replace) = match step {
            Step::Authority { replace, .. } => (&snapshot.authority, *replace),
            Step::Server(publication) => (&snapshot.server, publication.replace),
            Step::Client(publication) => (&snapshot.client, publication.replace),
            Step::Authentication { epoch, .. } => {
                let read = snapshot.authentication.object.as_ref();
                return self.cluster.apply_authentication(*epoch, read).await;
            }
        };
        let compose = {
            let (step, inspected, snapshot) = (step.clone(), Arc::clone(inspected), Arc::clone(snapshot));
            let wanted = Arc::clone(&self.wanted);
            move || {
                let leaf = |kind, publication, stored: &Option<_>| {
                    compose_leaf(kind, publication, &inspected, stored.as_ref(), &wanted).map(Some)
                };
                match &step {
                    Step::Authority { write, .. } => {
                        let (stored, client) = (snapshot.authority.as_ref(), snapshot.client.as_ref());
                        compose_authority(write, &inspected, stored, client).map(Some)
                    }
                    Step::Server(publication) => leaf(Kind::Server, publication, &snapshot.server),
                    Step::Client(publication) => leaf(Kind::Client, publication, &snapshot.client),
                    Step::Authentication { .. } => Ok(None),
                }
            }
        };
        let Some(contents) = tokio::task::spawn_blocking(compose).await?? else {
            return Ok(Outcome::Lost);
        };
        self.cluster.put(events::object(step), read.as_ref(), contents, replace).await
    }

    /// Log, metrics and Event of a step.
    async fn account(&self, step: &Step, outcome: &Result<Outcome, Error>, snapshot: &Snapshot) {
        let object = events::object(step);
        match outcome {
            Ok(Outcome::Lost) => return self.metrics.wrote(object, "lost"),
            Err(error) => return self.metrics.wrote(object, error.category()),
            Ok(Outcome::Written) => self.metrics.wrote(object, "written"),
        }
        let notice = events::told(step, self.regarding(step, snapshot));
        if let Cause::Repair(what) = step.cause() {
            self.metrics.repaired(object);
            tracing::warn!(object, what, "repaired the credentials");
        } else {
            tracing::info!(object, note = notice.note, "wrote credentials");
        }
        self.recorder.publish(notice).await;
    }

    /// Says for what a rotation has been waiting unusually long.
    pub(crate) async fn complain(&self, phase: Phase, overdue: &[&Wait]) {
        for wait in overdue {
            let regarding = self.secret(names::CA_SECRET, self.cluster.uid(names::CA_SECRET).await);
            tracing::warn!(%phase, waiting_for = %wait, "a rotation waits for longer than is usual");
            self.recorder.publish(events::waits(phase, wait, regarding)).await;
        }
    }

    fn regarding(&self, step: &Step, snapshot: &Snapshot) -> ObjectReference {
        let seen = match step {
            Step::Authority { .. } => &snapshot.authority,
            Step::Server(_) => &snapshot.server,
            Step::Client(_) => &snapshot.client,
            // Events about cluster-scoped objects land in a namespace we have no business in.
            Step::Authentication { .. } => &snapshot.client,
        };
        let name = match step {
            Step::Authentication { .. } => names::CLIENT_SECRET,
            Step::Authority { .. } | Step::Server(_) | Step::Client(_) => events::object(step),
        };
        self.secret(name, seen.as_ref().and_then(|stored| stored.0.metadata.uid.clone()))
    }

    fn secret(&self, name: &str, uid: Option<String>) -> ObjectReference {
        ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Secret".to_owned()),
            name: Some(name.to_owned()),
            namespace: Some(self.cluster.working_namespace().to_owned()),
            uid,
            ..ObjectReference::default()
        }
    }
}
