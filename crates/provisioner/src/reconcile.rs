//! One InferenceSet: judge what is known, carry the judgement out, tell the user. The judgement itself is `core::plan`.

mod memory;
#[cfg(test)]
pub(crate) mod tests;
mod write;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use keda_kaito_core::crd::{ScaledObject, Workspace};
use keda_kaito_core::desired::RenderOptions;
use keda_kaito_core::drift::drift;
use keda_kaito_core::plan::{Apply, Kept, Observation, Plan, Removal, ScalerState, Verdict, Wait, Why, plan};
use keda_kaito_core::policy::complaint::Complaint;
use keda_kaito_runtime::events::{Notice, Recorder};
use keda_kaito_runtime::pace::Pace;
use kube::Client;
use tokio::time::Instant;

use crate::cluster::Snapshot;
use crate::error::{Error, name_of};
use crate::events;
use crate::metrics::Metrics;
use crate::queue::Key;
pub(crate) use memory::Memory;
use memory::Unaccepted;
use write::{Answer, Writer};

/// Complaints are told again this often; a little more than the recorder's own limit.
const REPEAT: Duration = Duration::from_secs(605);
/// Tries within one reconciliation while others keep changing the object.
const TRIES: usize = 4;

/// Effects of reconciliations. Clones share them.
#[derive(Clone)]
pub(crate) struct Reconciler {
    pub(crate) client: Client,
    pub(crate) recorder: Recorder,
    pub(crate) metrics: Metrics,
    /// All writes.
    pub(crate) writes: Arc<Mutex<Pace>>,
    /// Writes that only spread a credential epoch.
    pub(crate) credentials: Arc<Mutex<Pace>>,
}

/// What one reconciliation is given.
pub(crate) struct Task {
    pub(crate) key: Key,
    pub(crate) snapshot: Snapshot,
    pub(crate) memory: Memory,
    pub(crate) options: RenderOptions,
    /// Whether a scaler replica serves; absent when nobody asks.
    pub(crate) scaler_serves: Option<bool>,
    /// What is to be said of others who write its replica count.
    pub(crate) contest: Option<Complaint>,
}

/// What became of it.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) outcome: Outcome,
    pub(crate) memory: Memory,
    /// As the API server answered.
    pub(crate) written: Option<ScaledObject>,
    /// Whether a ScaledObject of ours is there now.
    pub(crate) provisioned: bool,
    /// When to look again though nothing changes.
    pub(crate) again: Option<Duration>,
}

/// How it ended, as a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Applied,
    Deleted,
    InSync,
    LastGood,
    Waiting,
    Deferred,
    Rejected,
    Off,
}

impl Outcome {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Deleted => "deleted",
            Self::InSync => "in_sync",
            Self::LastGood => "last_good",
            Self::Waiting => "waiting",
            Self::Deferred => "deferred",
            Self::Rejected => "rejected",
            Self::Off => "off",
        }
    }
}

impl Reconciler {
    pub(crate) async fn reconcile(&self, mut task: Task) -> Result<Done, Error> {
        let regarding = events::regarding(&task.snapshot.inference_set, &task.options.inference_set_api_version);
        let result = Box::pin(self.attempt(&mut task, &regarding)).await;
        if let Err(error) = &result
            && error.is_for_the_user()
        {
            self.tell(vec![events::rejected(&regarding, error.to_string())]).await;
        }
        result
    }

    async fn attempt(&self, task: &mut Task, regarding: &ObjectReference) -> Result<Done, Error> {
        let writer = Writer {
            reconciler: self,
            namespace: &task.key.namespace.clone(),
        };
        for _ in 0..TRIES {
            let now = Instant::now();
            let verdict = task.judge(now);
            self.metrics.complain(&task.key, &verdict.complaints);
            match self.carry_out(&writer, task, regarding, &verdict, now).await? {
                Some(done) => {
                    self.tell(events::complaints(regarding, &verdict.complaints)).await;
                    return Ok(done);
                }
                None => continue,
            }
        }
        Err(Error::Contended {
            name: task.key.name.clone(),
        })
    }

    /// Publishes what a user can read.
    pub(crate) async fn tell(&self, notices: Vec<Notice>) {
        for notice in notices {
            self.recorder.publish(notice).await;
        }
    }

    /// `None` when an object was not what it was judged as; the snapshot has been brought up to date.
    async fn carry_out(
        &self,
        writer: &Writer<'_>,
        task: &mut Task,
        regarding: &ObjectReference,
        verdict: &Verdict,
        now: Instant,
    ) -> Result<Option<Done>, Error> {
        let mut removed = false;
        for removal in &verdict.removals {
            if !self.remove(writer, task, regarding, removal).await? {
                return Ok(None);
            }
            removed = true;
        }
        let repeat = (!verdict.complaints.is_empty()).then_some(REPEAT);
        let mut done = Done {
            outcome: Outcome::Off,
            memory: task.memory.lasting(),
            written: None,
            provisioned: false,
            again: repeat,
        };
        match &verdict.plan {
            Plan::Apply(apply) => {
                return self.apply(writer, task, regarding, apply, done, now).await;
            }
            Plan::Delete if removed => done.outcome = Outcome::Deleted,
            Plan::Delete | Plan::Keep(Kept::Deleting) => {}
            Plan::Keep(Kept::InSync) => {
                done.outcome = Outcome::InSync;
                done.memory.unaccepted = None;
                done.memory.heeded();
                done.provisioned = true;
            }
            Plan::Keep(Kept::LastGood) => {
                done.outcome = Outcome::LastGood;
                done.provisioned = true;
            }
            Plan::Wait(wait) => self.wait(task, regarding, *wait, &mut done, now).await,
            Plan::Reject => done.outcome = Outcome::Rejected,
        }
        Ok(Some(done))
    }

    async fn wait(&self, task: &Task, regarding: &ObjectReference, wait: Wait, done: &mut Done, now: Instant) {
        done.outcome = Outcome::Waiting;
        if let Wait::Scaler { left } = wait {
            done.memory.scaler_awaited_since = Some(task.memory.scaler_awaited_since.unwrap_or(now));
            done.again = Some(done.again.map_or(left, |again| again.min(left)));
        }
        done.memory.waiting_told = task.memory.waiting_told;
        if done.memory.waiting_told != Some(wait)
            && let Some(notice) = events::waiting(regarding, wait)
        {
            self.tell(vec![notice]).await;
            done.memory.waiting_told = Some(wait);
        }
    }

    async fn apply(
        &self,
        writer: &Writer<'_>,
        task: &mut Task,
        regarding: &ObjectReference,
        apply: &Apply,
        mut done: Done,
        now: Instant,
    ) -> Result<Option<Done>, Error> {
        done.provisioned = true;
        let attempt = Unaccepted {
            desired: apply.desired.clone(),
            why: apply.why.clone(),
        };
        if apply.live.is_some() && task.memory.unaccepted.as_ref() == Some(&attempt) {
            done.outcome = Outcome::InSync;
            return Ok(Some(done));
        }
        let is_repair = matches!(apply.why, Why::Fields(_) | Why::Ownership);
        let left = match &apply.why {
            Why::Credentials => self.credentials_in(&task.memory, &mut done.memory, now),
            Why::Fields(_) | Why::Ownership => task.memory.repair_in(&apply.desired, now),
            Why::Neglect => done.memory.stir_in(&task.memory, now),
            Why::Create => Duration::ZERO,
        };
        if !left.is_zero() {
            done.outcome = Outcome::Deferred;
            done.again = Some(done.again.map_or(left, |again| again.min(left)));
            return Ok(Some(done));
        }
        let written = match writer.apply(apply).await? {
            Answer::Done(object) => *object,
            Answer::Outdated => {
                self.refresh(writer, task, name_of(&apply.desired)).await?;
                return Ok(None);
            }
        };
        done.outcome = Outcome::Applied;
        done.memory.credentials_due = None;
        if apply.why == Why::Neglect {
            done.memory.stirred(now);
            // The change that made KEDA look is taken back.
            done.again = Some(Duration::ZERO);
        }
        if is_repair {
            done.memory.repaired(&apply.desired, now);
        }
        done.memory.unaccepted = self.unaccepted(&apply.desired, &written);
        let notice = match &apply.why {
            Why::Create => Some(events::created(regarding, &apply.desired)),
            Why::Fields(fields) => Some(events::changed(regarding, &apply.desired, fields)),
            Why::Ownership => Some(events::taken_over(regarding, &apply.desired)),
            // Every managed object is given the new epoch; nobody wants to read it of each.
            Why::Credentials => None,
            Why::Neglect => Some(events::stirred(regarding, &apply.desired)),
        };
        tracing::info!(
            namespace = task.key.namespace,
            name = name_of(&apply.desired),
            why = ?apply.why,
            "applied a ScaledObject"
        );
        self.tell(notice.into_iter().collect()).await;
        done.written = Some(written);
        Ok(Some(done))
    }

    /// Gives each object its own moment, so that a new epoch does not reach the API server and KEDA at once.
    fn credentials_in(&self, memory: &Memory, next: &mut Memory, now: Instant) -> Duration {
        let due = memory.credentials_due.unwrap_or_else(|| {
            let mut pace = self.credentials.lock().unwrap_or_else(PoisonError::into_inner);
            pace.reserve(now) + Duration::from_millis(rand::random_range(0..=20))
        });
        next.credentials_due = Some(due);
        due.saturating_duration_since(now)
    }

    fn unaccepted(&self, desired: &ScaledObject, written: &ScaledObject) -> Option<Unaccepted> {
        let drift = drift(written, desired)?;
        self.metrics.not_accepted();
        let fields: BTreeSet<String> = drift.fields;
        tracing::warn!(
            name = name_of(desired),
            namespace = desired.metadata.namespace,
            ?fields,
            "the API server or a webhook keeps other values than those applied; they are not sent again"
        );
        let why = if drift.ownership_only {
            Why::Ownership
        } else {
            Why::Fields(fields)
        };
        Some(Unaccepted {
            desired: desired.clone(),
            why,
        })
    }

    /// False when the object was not what it was judged as.
    async fn remove(
        &self,
        writer: &Writer<'_>,
        task: &mut Task,
        regarding: &ObjectReference,
        removal: &Removal,
    ) -> Result<bool, Error> {
        match writer.delete(removal).await? {
            Answer::Done(()) => {
                tracing::info!(namespace = task.key.namespace, name = removal.name, why = ?removal.why, "deleted a ScaledObject");
                self.tell(vec![events::deleted(regarding, &removal.name, removal.why)]).await;
                Ok(true)
            }
            Answer::Outdated => {
                self.refresh(writer, task, &removal.name).await?;
                Ok(false)
            }
        }
    }

    async fn refresh(&self, writer: &Writer<'_>, task: &mut Task, name: &str) -> Result<(), Error> {
        let current = writer.read(name).await?;
        let objects = &mut task.snapshot.scaled_objects;
        objects.retain(|object| name_of(object) != name);
        objects.extend(current.map(Arc::new));
        Ok(())
    }
}

impl Task {
    fn judge(&self, now: Instant) -> Verdict {
        let workspaces: Vec<&Workspace> = self.snapshot.workspaces.iter().map(AsRef::as_ref).collect();
        let scaled_objects: Vec<&ScaledObject> = self.snapshot.scaled_objects.iter().map(AsRef::as_ref).collect();
        let scaler = match self.scaler_serves {
            None => ScalerState::NotRequired,
            Some(true) => ScalerState::Serving,
            Some(false) => ScalerState::Absent {
                waited: self.memory.scaler_awaited_since.map_or(Duration::ZERO, |since| now - since),
            },
        };
        let observation = Observation {
            inference_set: &self.snapshot.inference_set,
            workspaces: &workspaces,
            scaled_objects: &scaled_objects,
            scaler,
            contest: self.contest.as_ref(),
        };
        plan(&observation, &self.options)
    }
}
