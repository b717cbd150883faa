//! Scrapes in their own tasks: one job out, one outcome back.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinError;
use tokio::time::Instant;
use tracing::Instrument;

use super::{Engine, traces};
use crate::address::{Rules, dialable};
use crate::clock::Clock;
use crate::pod::Pod;
use crate::registry::target::{Job, Sample, TargetId};
use crate::registry::{SetKey, lock};
use crate::scrape::{Form, ScrapeError, scrape};
use crate::watches::{Watches, pod_now};

/// A scrape that is over.
pub(super) struct Outcome {
    key: SetKey,
    job: Job,
    result: Result<Sample, ScrapeError>,
    took: Duration,
}

/// What a scrape checks its pod against.
struct Guard {
    pods: kube::runtime::reflector::Store<Pod>,
    rules: Arc<Rules>,
    namespace: Arc<str>,
}

impl Engine {
    pub(super) fn scrape(&mut self, key: &SetKey, id: TargetId, watches: &Watches, now: Instant) {
        let registry = &self.config.registry;
        let job = registry
            .get(key)
            .and_then(|state| lock(&state).job(id, registry.clock().at(now)));
        let Some(job) = job else {
            // The pod left between being due and being asked; its removal is on its way.
            self.scheduler.finished(key, id, true, 0.0, now);
            return;
        };
        let guard = Guard {
            pods: watches.pods.store.clone(),
            rules: Arc::clone(&self.config.rules),
            namespace: Arc::clone(&key.namespace),
        };
        let span = traces::scrape(&self.traces.of(key), key, &job);
        let task = self
            .scrapes
            .spawn(run(key.clone(), job, guard, *registry.clock()).instrument(span));
        self.tasks.insert(task.id(), (key.clone(), id));
    }

    pub(super) fn take(&mut self, ended: Result<(tokio::task::Id, Outcome), JoinError>, now: Instant) {
        let (task, outcome) = match ended {
            Ok((task, outcome)) => (task, Some(outcome)),
            Err(error) => {
                tracing::error!(%error, "a scrape ended badly");
                (error.id(), None)
            }
        };
        let Some((key, id)) = self.tasks.remove(&task) else { return };
        let succeeded = outcome.as_ref().is_some_and(|outcome| outcome.result.is_ok());
        if let Some(outcome) = outcome {
            self.guarded("sample", &key, |engine| engine.store(outcome, now));
        }
        self.scheduler
            .finished(&key, id, succeeded, rand::random_range(-1.0..=1.0), now);
    }

    fn store(&self, outcome: Outcome, now: Instant) {
        let Outcome { key, job, result, took } = outcome;
        let (form, word) = match &result {
            Ok(sample) => (sample.form.or(job.form), "ok"),
            Err(error) => (job.form, error.category()),
        };
        self.config.metrics.scrape(form_name(form), word, took);
        if let Ok(sample) = &result {
            self.config.metrics.rejected(sample.rejected);
        }
        if let Err(error) = &result {
            tracing::debug!(set = %key, address = %job.address, %error, "scrape failed");
        }
        let registry = &self.config.registry;
        if let Some(state) = registry.get(&key) {
            let result = result.map_err(|error| error.to_string());
            lock(&state).finish(&job, result, registry.clock().at(now));
        }
    }
}

async fn run(key: SetKey, job: Job, guard: Guard, clock: Clock) -> Outcome {
    let start = Instant::now();
    let unchanged = || guard.holds(&job);
    let result = scrape(job.address, Arc::clone(&job.page), job.form, unchanged).await;
    let result = result.map(|scraped| Sample {
        readings: scraped.readings(&job.page),
        form: scraped.form,
        rejected: scraped.exposition.rejected + scraped.exposition.duplicates,
        at: clock.at(scraped.at),
    });
    traces::scraped(&result);
    Outcome {
        key,
        job,
        result,
        took: start.elapsed(),
    }
}

impl Guard {
    /// Whether the address is still that pod's: addresses are reused.
    fn holds(&self, job: &Job) -> bool {
        let pod = pod_now(&self.pods, &self.namespace, &job.pod_name);
        pod.is_some_and(|pod| pod.uid() == job.pod_uid && dialable(&pod, &self.rules) == Ok(job.address.ip()))
    }
}

fn form_name(form: Option<Form>) -> &'static str {
    match form {
        Some(Form::Filtered) => "filtered",
        Some(Form::Full) => "full",
        None => "none",
    }
}
