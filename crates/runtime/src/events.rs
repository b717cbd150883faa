//! Kubernetes Events about objects, with a budget so that a lasting condition is not a stream of Events.
//! kube's own recorder is not used: it keeps the first note of a series, so a changed message would stay unseen.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::PostParams;
use kube::{Api, Client};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use tokio::time::Instant;

use crate::client::describe;
use crate::metrics::SharedRegistry;
use crate::pace::Pace;
use budget::Budget;

mod budget;

/// No publication takes longer.
const DEADLINE: Duration = Duration::from_secs(5);
/// The API server refuses longer notes.
const MAX_NOTE: usize = 1024;
const MAX_NAME: usize = 253;

/// Whether an Event asks for attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    Normal,
    Warning,
}

/// One thing to say about one object.
#[derive(Clone, Debug)]
pub struct Notice {
    pub severity: Severity,
    /// Upper camel case, from a closed list.
    pub reason: &'static str,
    /// What was done or not done, upper camel case.
    pub action: &'static str,
    /// A sentence; cut at 1,024 bytes.
    pub note: String,
    /// The object; needs kind, name and uid. Events about cluster-scoped objects land in `default`.
    pub regarding: ObjectReference,
}

/// Publishes Events. Clones share the budget.
#[derive(Clone)]
pub struct Recorder {
    inner: Arc<Inner>,
}

struct Inner {
    client: Client,
    controller: String,
    instance: String,
    budget: Mutex<Budget>,
    pace: Mutex<Option<Pace>>,
    outcomes: Outcomes,
}

type Outcomes = Family<[(&'static str, &'static str); 1], Counter>;

impl Recorder {
    /// A recorder that reports as `controller`, from the process `instance`. Registers its counter: one per process.
    #[must_use]
    pub fn new(client: Client, controller: &str, instance: &str, registry: &SharedRegistry) -> Self {
        let outcomes = Outcomes::default();
        registry.register(|registry| {
            registry.register("events", "Kubernetes Events by what became of them", outcomes.clone());
        });
        Self {
            inner: Arc::new(Inner {
                client,
                controller: controller.to_owned(),
                instance: instance.to_owned(),
                budget: Mutex::new(Budget::default()),
                pace: Mutex::new(None),
                outcomes,
            }),
        }
    }

    /// Publishes at most at this pace from now on; what comes faster waits for its turn.
    #[must_use]
    pub fn paced(self, pace: Pace) -> Self {
        *self.inner.pace.lock().unwrap_or_else(PoisonError::into_inner) = Some(pace);
        self
    }

    /// Creates the Event unless the same object, reason and note had one in the last 10 minutes. Takes 5 s at most once its
    /// turn has come, and never fails: what goes wrong is logged and counted.
    pub async fn publish(&self, notice: Notice) {
        let note = truncate(notice.note.clone(), MAX_NOTE);
        let key = budget::key(&notice.regarding, notice.reason, &note);
        if !self.budget(|budget| budget.admit(&key, Instant::now())) {
            self.count("repeated");
            return;
        }
        self.wait_for_turn().await;
        let event = self.event(&notice, note, Timestamp::now());
        let namespace = event.metadata.namespace.clone().unwrap_or_default();
        let api: Api<Event> = Api::namespaced(self.inner.client.clone(), &namespace);
        let error = match tokio::time::timeout(DEADLINE, api.create(&PostParams::default(), &event)).await {
            Ok(Ok(_)) => return self.count("published"),
            Ok(Err(error)) => describe(&error),
            Err(_elapsed) => format!("no answer within {} s", DEADLINE.as_secs()),
        };
        self.budget(|budget| budget.forget(&key));
        self.count("failed");
        tracing::warn!(
            reason = notice.reason,
            namespace = notice.regarding.namespace,
            name = notice.regarding.name,
            error,
            "failed to publish an Event"
        );
    }

    /// Counts notices about an object that were dropped before they could be published, because too many waited.
    pub fn dropped(&self, notices: u32, namespace: &str, name: &str) {
        let counter = self.inner.outcomes.get_or_create(&[("outcome", "dropped")]);
        counter.inc_by(notices.into());
        tracing::warn!(
            namespace,
            name,
            notices,
            "Events were dropped: too many waited to be published"
        );
    }

    async fn wait_for_turn(&self) {
        let due = {
            let mut pace = self.inner.pace.lock().unwrap_or_else(PoisonError::into_inner);
            pace.as_mut().map(|pace| pace.reserve(Instant::now()))
        };
        if let Some(due) = due {
            tokio::time::sleep_until(due).await;
        }
    }

    fn event(&self, notice: &Notice, note: String, now: Timestamp) -> Event {
        let regarding = &notice.regarding;
        let namespace = regarding.namespace.clone().filter(|namespace| !namespace.is_empty());
        Event {
            metadata: ObjectMeta {
                name: Some(name(regarding.name.as_deref().unwrap_or("object"), now)),
                namespace: Some(namespace.unwrap_or_else(|| "default".to_owned())),
                ..ObjectMeta::default()
            },
            type_: Some(notice.severity.to_string()),
            reason: Some(notice.reason.to_owned()),
            action: Some(notice.action.to_owned()),
            note: Some(note),
            regarding: Some(regarding.clone()),
            event_time: Some(MicroTime(now)),
            reporting_controller: Some(self.inner.controller.clone()),
            reporting_instance: Some(truncate(self.inner.instance.clone(), 128)),
            ..Event::default()
        }
    }

    fn count(&self, outcome: &'static str) {
        self.inner.outcomes.get_or_create(&[("outcome", outcome)]).inc();
    }

    fn budget<T>(&self, with: impl FnOnce(&mut Budget) -> T) -> T {
        with(&mut self.inner.budget.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        })
    }
}

/// The object's name and the time, as everyone names Events; names of objects may be as long as names of Events.
fn name(object: &str, now: Timestamp) -> String {
    let suffix = format!(".{:x}", now.as_nanosecond());
    let mut end = object.len().min(MAX_NAME - suffix.len());
    while !object.is_char_boundary(end) {
        end -= 1;
    }
    let stem = object.get(..end).unwrap_or_default().trim_end_matches(['.', '-']);
    format!("{stem}{suffix}")
}

fn truncate(mut text: String, limit: usize) -> String {
    if text.len() <= limit {
        return text;
    }
    let mut end = limit - '…'.len_utf8();
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text.push('…');
    text
}

#[cfg(test)]
mod tests;
