//! An independent record of one InferenceSet's replica count: every change of `spec.replicas` with the time it was seen,
//! who wrote it, and what the HPA said about it. It reads the API server only, nothing of the programs under test.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::StreamExt;
use jiff::Timestamp;
use kube::api::DynamicObject;
use kube::runtime::{WatchStreamExt, watcher};
use serde_json::Value;
use tokio::task::JoinSet;

use super::objects::{Kind, number, text};
use crate::bed::{Bed, Look, eventually};

/// The HPA's Event about a step is there within this time.
const EVENT_WITHIN: Duration = Duration::from_secs(30);
/// It is of this time, before or after the step.
const EVENT_NEAR: Duration = Duration::from_secs(10);

/// One change of `spec.replicas`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub at: Timestamp,
    pub from: i64,
    pub to: i64,
    /// The field managers that own `spec.replicas` after it.
    pub by: String,
    /// The HPA's words, if it was the HPA.
    pub cause: Option<String>,
}

#[derive(Debug, Default)]
struct Record {
    /// When and what, the first sight included.
    counts: Vec<(Timestamp, i64, String)>,
    rescales: Vec<(Timestamp, String)>,
}

/// Records until it is dropped.
#[derive(Debug)]
pub struct Observer {
    name: String,
    record: Arc<Mutex<Record>>,
    _tasks: JoinSet<()>,
}

impl Observer {
    /// Watches from now on; returns once the InferenceSet has been seen.
    ///
    /// # Errors
    /// When it is not seen within ten seconds.
    pub async fn start(bed: &Bed, namespace: &str, name: &str) -> Result<Self> {
        let record = Arc::new(Mutex::new(Record::default()));
        let mut tasks = JoinSet::new();
        let hpa = format!("keda-hpa-{name}");
        let selector = format!("metadata.name={name}");
        let noted = Arc::clone(&record);
        tasks.spawn(watch(bed, Kind::INFERENCE_SET, namespace, &selector, move |set| {
            lock(&noted).count(set);
        }));
        let selector = format!("involvedObject.name={hpa},reason=SuccessfulRescale");
        let noted = Arc::clone(&record);
        tasks.spawn(watch(bed, Kind::EVENT, namespace, &selector, move |event| {
            let message = text(event, "/message").to_owned();
            lock(&noted).rescales.push((Timestamp::now(), message));
        }));
        let observer = Self {
            name: format!("{namespace}/{name}"),
            record,
            _tasks: tasks,
        };
        let seen = async || observer.current().map(Look::Met);
        eventually(Duration::from_secs(10), "the observed InferenceSet is seen", seen).await?;
        Ok(observer)
    }

    /// The count seen last.
    ///
    /// # Errors
    /// When nothing has been seen yet.
    pub fn current(&self) -> Result<i64> {
        let record = lock(&self.record);
        record
            .counts
            .last()
            .map(|(_, count, _)| *count)
            .with_context(|| format!("{} is not seen yet", self.name))
    }

    /// Every change so far, oldest first.
    #[must_use]
    pub fn changes(&self) -> Vec<Change> {
        lock(&self.record).changes()
    }

    /// The changes since `time`.
    #[must_use]
    pub fn since(&self, time: Timestamp) -> Vec<Change> {
        let mut changes = self.changes();
        changes.retain(|change| change.at >= time);
        changes
    }

    /// Waits for the first change after `time` and checks where it leads.
    ///
    /// # Errors
    /// When there is none in time, or it leads elsewhere.
    pub async fn next_after(&self, time: Timestamp, to: i64, within: Duration) -> Result<Change> {
        let what = format!("{} goes from {:?} to {to}", self.name, self.current());
        let first = async || self.since(time).into_iter().next().map(Look::Met).context("no change");
        let change = eventually(within, &what, first).await?;
        ensure!(change.to == to, "{what}: it went elsewhere: {change:?}");
        Ok(change)
    }

    /// Waits for what the HPA says about a change; its Event comes after the change itself.
    ///
    /// # Errors
    /// When it says nothing: it was somebody else, then.
    pub async fn cause(&self, change: &Change) -> Result<String> {
        let what = format!("the HPA says why {change:?}");
        let said = async || {
            let change = self.changes().into_iter().find(|other| other.at == change.at);
            change.and_then(|change| change.cause).map(Look::Met).context("no Event")
        };
        eventually(EVENT_WITHIN, &what, said).await
    }

    /// # Errors
    /// When the count has changed since `time`: the changes.
    pub fn unchanged_since(&self, time: Timestamp) -> Result<()> {
        let changes = self.since(time);
        ensure!(changes.is_empty(), "{} has changed since {time}: {changes:?}", self.name);
        Ok(())
    }
}

impl Record {
    fn count(&mut self, set: &Value) {
        let count = number(set, "/spec/replicas").unwrap_or(1);
        if self.counts.last().is_none_or(|(_, last, _)| *last != count) {
            self.counts.push((Timestamp::now(), count, writers(set)));
        }
    }

    fn changes(&self) -> Vec<Change> {
        let steps = self.counts.iter().zip(self.counts.iter().skip(1));
        let changes = steps.map(|((_, from, _), (at, to, by))| Change {
            at: *at,
            from: *from,
            to: *to,
            by: by.clone(),
            cause: self.cause(*at, *to),
        });
        changes.collect()
    }

    fn cause(&self, at: Timestamp, to: i64) -> Option<String> {
        let size = format!("New size: {to};");
        let apart = |seen: &Timestamp| seen.duration_since(at).unsigned_abs();
        let found = self
            .rescales
            .iter()
            .filter(|(seen, message)| apart(seen) <= EVENT_NEAR && message.starts_with(&size))
            .min_by_key(|(seen, _)| apart(seen));
        found.map(|(_, message)| message.clone())
    }
}

fn writers(set: &Value) -> String {
    let entries = set.pointer("/metadata/managedFields").and_then(Value::as_array);
    let owns = |entry: &&Value| entry.pointer("/fieldsV1/f:spec/f:replicas").is_some();
    let names = entries.into_iter().flatten().filter(owns);
    let names: Vec<&str> = names.map(|entry| text(entry, "/manager")).collect();
    names.join(", ")
}

/// Shows every state of the chosen objects to `see`, across lost connections.
fn watch<S: Fn(&Value) + Send + 'static>(
    bed: &Bed,
    kind: Kind,
    namespace: &str,
    fields: &str,
    see: S,
) -> impl Future<Output = ()> + Send + use<S> {
    let api = bed.api(kind, namespace);
    let config = watcher::Config::default().fields(fields);
    let stream = watcher(api, config).default_backoff().applied_objects();
    follow(stream, see)
}

async fn follow(stream: impl futures::Stream<Item = watcher::Result<DynamicObject>> + Send, see: impl Fn(&Value) + Send) {
    let mut stream = std::pin::pin!(stream);
    while let Some(next) = stream.next().await {
        if let Ok(Ok(object)) = next.map(serde_json::to_value) {
            see(&object);
        }
    }
}

fn lock(record: &Mutex<Record>) -> MutexGuard<'_, Record> {
    record.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn set(replicas: i64, manager: &str) -> Value {
        json!({
            "metadata": {"managedFields": [
                {"manager": "other", "fieldsV1": {"f:status": {}}},
                {"manager": manager, "fieldsV1": {"f:spec": {"f:replicas": {}}}},
            ]},
            "spec": {"replicas": replicas},
        })
    }

    #[test]
    fn a_change_has_its_writer_and_the_words_of_the_hpa() {
        let mut record = Record::default();
        record.count(&set(1, "kubectl"));
        record.count(&set(1, "kubectl"));
        record
            .rescales
            .push((Timestamp::now(), "New size: 3; reason: other".to_owned()));
        record
            .rescales
            .push((Timestamp::now(), "New size: 2; reason: above target".to_owned()));
        record.count(&set(2, "kube-controller-manager"));
        let changes = record.changes();
        assert_eq!(changes.len(), 1);
        assert_eq!((changes[0].from, changes[0].to), (1, 2));
        assert_eq!(changes[0].by, "kube-controller-manager");
        assert_eq!(changes[0].cause.as_deref(), Some("New size: 2; reason: above target"));
    }

    #[test]
    fn an_event_of_another_time_is_no_cause() {
        let mut record = Record::default();
        record.count(&set(1, "kubectl"));
        let earlier = Timestamp::now() - jiff::SignedDuration::from_secs(60);
        record
            .rescales
            .push((earlier, "New size: 2; reason: above target".to_owned()));
        record.count(&set(2, "somebody"));
        assert_eq!(record.changes()[0].cause, None);
    }
}
