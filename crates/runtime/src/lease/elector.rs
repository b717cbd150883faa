//! The calls that acquire, keep and release a Lease. What to do is decided in `decide`.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::Api;
use kube::api::PostParams;
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

use super::decide::{Decision, Observation, decide};
use super::{Error, LeaseConfig};
use crate::client::describe;

/// A release that takes longer helps nobody: the standby would see the lease expire.
const RELEASE_DEADLINE: Duration = Duration::from_secs(2);

const NO_ANSWER: &str = "the API server did not answer";

pub(super) struct Elector<'a> {
    api: Api<Lease>,
    config: &'a LeaseConfig,
    seen: Option<Lease>,
    unchanged_since: Instant,
}

enum Failure {
    Conflict,
    Other(String),
}

impl<'a> Elector<'a> {
    pub(super) fn new(api: Api<Lease>, config: &'a LeaseConfig) -> Self {
        Self {
            api,
            config,
            seen: None,
            unchanged_since: Instant::now(),
        }
    }

    /// Resolves once the Lease is ours, with the time the winning write was sent.
    pub(super) async fn acquire(&mut self) -> Instant {
        let mut said = String::new();
        loop {
            let pause = match self.observe().await {
                Ok(()) => match self.decision() {
                    Decision::Wait(left) => left.min(self.pause()),
                    Decision::Acquire | Decision::Renew => {
                        let sent = Instant::now();
                        match self.write().await {
                            Ok(()) => return sent,
                            Err(Failure::Conflict) => self.pause(),
                            Err(Failure::Other(error)) => self.say(&mut said, error),
                        }
                    }
                },
                Err(error) => self.say(&mut said, error),
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// Renews until that is no longer possible. `held` is when the winning write was sent.
    pub(super) async fn keep(&mut self, mut held: Instant, extend: &watch::Sender<Instant>) -> Error {
        let mut reason = "this process was not running".to_owned();
        loop {
            let lost_at = held + self.config.renew_deadline;
            let next = (Instant::now() + self.config.retry_period).min(lost_at);
            tokio::time::sleep_until(next).await;
            let sent = Instant::now();
            if sent >= lost_at {
                return Error::NotRenewed {
                    name: self.config.name.clone(),
                    deadline: self.config.renew_deadline,
                    reason,
                };
            }
            // A try that is cut off may have been applied; the next one then meets a conflict and looks.
            match timeout_at(lost_at, self.renew()).await {
                Ok(Ok(None)) => {
                    held = sent;
                    "this process was not running".clone_into(&mut reason);
                    extend.send_replace(held + self.config.duration);
                }
                Ok(Ok(Some(holder))) => {
                    let name = self.config.name.clone();
                    return Error::Taken { name, holder };
                }
                Ok(Err(error)) => reason = error,
                Err(_elapsed) => NO_ANSWER.clone_into(&mut reason),
            }
        }
    }

    /// One try to renew: done, held by another, or failed.
    async fn renew(&mut self) -> Result<Option<String>, String> {
        match self.write().await {
            Ok(()) => Ok(None),
            Err(Failure::Other(error)) => Err(error),
            Err(Failure::Conflict) => {
                self.observe().await?;
                match self.other_holder() {
                    Some(holder) => Ok(Some(holder)),
                    None => Err("the lease changed under us".to_owned()),
                }
            }
        }
    }

    /// Gives the Lease up if we hold it, so that a standby need not wait for its expiry.
    pub(super) async fn release_if_ours(&mut self) {
        let release = async {
            self.observe().await?;
            let ours = self
                .record()
                .is_some_and(|record| record.holder_identity.as_deref() == Some(&self.config.holder));
            let Some(lease) = self.seen.clone().filter(|_| ours) else {
                return Ok(false);
            };
            let spec = LeaseSpec {
                holder_identity: None,
                lease_duration_seconds: Some(1),
                renew_time: Some(MicroTime(Timestamp::now())),
                ..lease.spec.unwrap_or_default()
            };
            let released = Lease {
                spec: Some(spec),
                ..lease
            };
            let written = self.api.replace(&self.config.name, &PostParams::default(), &released).await;
            written.map(|_| true).map_err(|error| describe(&error))
        };
        match timeout(RELEASE_DEADLINE, release).await {
            Ok(Ok(true)) => tracing::info!(lease = self.config.name, "released the lease"),
            Ok(Ok(false)) => {}
            Ok(Err(error)) => tracing::warn!(lease = self.config.name, error, "failed to release the lease"),
            Err(_elapsed) => tracing::warn!(lease = self.config.name, "releasing the lease took too long"),
        }
    }

    fn decision(&self) -> Decision {
        let observation = Observation {
            record: self.record(),
            unchanged_since: self.unchanged_since,
        };
        decide(observation, &self.config.holder, self.config.duration, Instant::now())
    }

    async fn observe(&mut self) -> Result<(), String> {
        let read = timeout(self.config.call_deadline(), self.api.get_opt(&self.config.name)).await;
        let lease = match read {
            Ok(Ok(lease)) => lease,
            Ok(Err(error)) => return Err(describe(&error)),
            Err(_elapsed) => return Err(NO_ANSWER.to_owned()),
        };
        self.remember(lease);
        Ok(())
    }

    /// Writes the Lease with us as its holder, on top of what was last seen and nothing else.
    async fn write(&mut self) -> Result<(), Failure> {
        let now = MicroTime(Timestamp::now());
        let old = self.record().cloned();
        let keeps = old
            .as_ref()
            .is_some_and(|old| old.holder_identity.as_deref() == Some(&self.config.holder));
        let old = old.unwrap_or_default();
        let transitions = old.lease_transitions.unwrap_or(0);
        let spec = LeaseSpec {
            holder_identity: Some(self.config.holder.clone()),
            lease_duration_seconds: Some(whole_seconds(self.config.duration)),
            acquire_time: if keeps { old.acquire_time.clone() } else { Some(now.clone()) },
            renew_time: Some(now),
            lease_transitions: Some(if keeps { transitions } else { transitions.saturating_add(1) }),
            ..old
        };
        let params = PostParams::default();
        let seen = self.seen.clone();
        let call = async {
            match seen {
                Some(lease) => {
                    let lease = Lease {
                        spec: Some(spec),
                        ..lease
                    };
                    self.api.replace(&self.config.name, &params, &lease).await
                }
                None => {
                    let metadata = ObjectMeta {
                        name: Some(self.config.name.clone()),
                        ..ObjectMeta::default()
                    };
                    self.api
                        .create(
                            &params,
                            &Lease {
                                metadata,
                                spec: Some(spec),
                            },
                        )
                        .await
                }
            }
        };
        match timeout(self.config.call_deadline(), call).await {
            Ok(Ok(lease)) => {
                self.remember(Some(lease));
                Ok(())
            }
            Ok(Err(kube::Error::Api(status))) if matches!(status.code, 404 | 409) => Err(Failure::Conflict),
            Ok(Err(error)) => Err(Failure::Other(describe(&error))),
            Err(_elapsed) => Err(Failure::Other(NO_ANSWER.to_owned())),
        }
    }

    fn remember(&mut self, lease: Option<Lease>) {
        let record = |lease: &Option<Lease>| lease.as_ref().and_then(|lease| lease.spec.clone());
        if record(&lease) != record(&self.seen) {
            self.unchanged_since = Instant::now();
        }
        self.seen = lease;
    }

    fn record(&self) -> Option<&LeaseSpec> {
        self.seen.as_ref().and_then(|lease| lease.spec.as_ref())
    }

    fn other_holder(&self) -> Option<String> {
        let holder = self.record()?.holder_identity.clone()?;
        (!holder.is_empty() && holder != self.config.holder).then_some(holder)
    }

    /// Never longer than the period, so that a standby sees every renewal within it.
    fn pause(&self) -> Duration {
        self.config.retry_period.mul_f64(rand::random_range(0.8..=1.0))
    }

    fn say(&self, said: &mut String, error: String) -> Duration {
        if *said != error {
            tracing::warn!(lease = self.config.name, error, "cannot work on the lease, trying again");
            *said = error;
        }
        self.pause()
    }
}

fn whole_seconds(duration: Duration) -> i32 {
    let up = u64::from(duration.subsec_nanos() > 0);
    i32::try_from(duration.as_secs().saturating_add(up)).unwrap_or(i32::MAX)
}
