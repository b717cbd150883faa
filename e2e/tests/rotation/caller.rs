//! A second client beside KEDA, as strict as can be: it reads the client Secret as KEDA does, parameter by parameter when
//! its credential epoch changes or a call fails, and counts every call and every handshake. It never tries again in
//! silence.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use keda_kaito_e2e::bed::{Bed, Look, eventually};
use keda_kaito_e2e::cases::objects::Kind;
use keda_kaito_externalscaler::external_scaler_client::ExternalScalerClient;
use keda_kaito_externalscaler::{GetMetricsRequest, ScaledObjectRef};
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use tonic::transport::Channel;

use crate::credentials::{Credentials, dial};

/// Between two calls to one replica: with two replicas, 50 calls a second.
const CALL_EVERY: Duration = Duration::from_millis(40);
/// Between two fresh connections to one replica.
const DIAL_EVERY: Duration = Duration::from_millis(500);
/// Between two looks at the ScaledObject.
const LOOK_EVERY: Duration = Duration::from_millis(200);
const DEADLINE: Duration = Duration::from_secs(10);
/// What the scaler says to a caller that shall read its credentials again.
pub(crate) const NUDGE: &str = "the client certificate is being replaced";

/// Calls and handshakes so far, none of which has failed.
#[derive(Clone, Debug)]
#[expect(dead_code, reason = "read by whoever reads what a test prints")]
pub(crate) struct Count {
    pub(crate) calls: u64,
    pub(crate) handshakes: u64,
    /// Told to read the credentials again before the certificate is refused.
    pub(crate) nudged: u64,
    /// Times the credentials were read anew.
    pub(crate) reads: u64,
}

#[derive(Default)]
struct Shared {
    calls: AtomicU64,
    handshakes: AtomicU64,
    nudged: AtomicU64,
    reads: AtomicU64,
    failures: Mutex<Vec<String>>,
    /// What calls carry and show, with the number of the reading.
    held: Mutex<Option<Arc<Held>>>,
}

/// What the client calls with.
struct Held {
    reading: u64,
    metadata: Vec<(String, String)>,
    credentials: Credentials,
}

/// The running client; it ends when dropped.
pub(crate) struct Caller {
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
}

/// Who calls about what.
#[derive(Clone)]
struct Subject {
    bed: Bed,
    namespace: String,
    name: String,
}

impl Caller {
    /// Begins to call about a ScaledObject as soon as it has an epoch.
    pub(crate) async fn start(bed: &Bed, namespace: &str, name: &str, replicas: &[&str]) -> Result<Self> {
        let subject = Subject {
            bed: bed.clone(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        };
        let shared = Arc::new(Shared::default());
        eventually(Duration::from_secs(60), "the second client has credentials", async || {
            subject.follow(&shared).await?;
            Ok(Look::Met(()))
        })
        .await?;
        let mut tasks = JoinSet::new();
        let (follower, following) = (subject.clone(), Arc::clone(&shared));
        tasks.spawn(async move {
            let mut ticks = interval(LOOK_EVERY);
            loop {
                ticks.tick().await;
                // The bed's API server may be slow; what is held stays good.
                let _looked = follower.follow(&following).await;
            }
        });
        for replica in replicas {
            let (subject, shared, replica) = (subject.clone(), Arc::clone(&shared), (*replica).to_owned());
            tasks.spawn(dials(subject.clone(), Arc::clone(&shared), replica.clone()));
            tasks.spawn(calls(subject, shared, replica));
        }
        Ok(Self { shared, _tasks: tasks })
    }

    /// What has been done so far.
    pub(crate) fn has_not_failed(&self) -> Result<Count> {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let failures = self.shared.failures.lock().unwrap_or_else(PoisonError::into_inner).clone();
        anyhow::ensure!(failures.is_empty(), "the second client: {failures:#?}");
        Ok(Count {
            calls: of(&self.shared.calls),
            handshakes: of(&self.shared.handshakes),
            nudged: of(&self.shared.nudged),
            reads: of(&self.shared.reads),
        })
    }
}

impl Subject {
    /// Reads the credentials anew if the trigger's metadata has changed.
    async fn follow(&self, shared: &Shared) -> Result<()> {
        let metadata = self.metadata().await?;
        if shared.held().is_some_and(|held| held.metadata == metadata) {
            return Ok(());
        }
        self.read(shared, metadata).await
    }

    async fn metadata(&self) -> Result<Vec<(String, String)>> {
        let object = self.bed.get(Kind::SCALED_OBJECT, &self.namespace, &self.name).await?;
        let metadata = object.pointer("/spec/triggers/0/metadata").and_then(Value::as_object);
        let metadata = metadata.context("the trigger has no metadata")?;
        anyhow::ensure!(metadata.contains_key("credentialEpoch"), "no epoch yet");
        let pair = |(key, value): (&String, &Value)| (key.clone(), value.as_str().unwrap_or_default().to_owned());
        Ok(metadata.iter().map(pair).collect())
    }

    async fn read(&self, shared: &Shared, metadata: Vec<(String, String)>) -> Result<()> {
        let credentials = Credentials::read_one_by_one(&self.bed).await?;
        let reading = shared.reads.fetch_add(1, Ordering::Relaxed) + 1;
        let held = Held {
            reading,
            metadata,
            credentials,
        };
        *shared.held.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(held));
        Ok(())
    }

    async fn call(&self, channel: &Channel, held: &Held) -> Result<(), tonic::Status> {
        let request = GetMetricsRequest {
            scaled_object_ref: Some(ScaledObjectRef {
                name: self.name.clone(),
                namespace: self.namespace.clone(),
                scaler_metadata: held.metadata.iter().cloned().collect(),
            }),
            metric_name: "vllm:num_requests_waiting".to_owned(),
        };
        let mut client = ExternalScalerClient::new(channel.clone());
        let answer = tokio::time::timeout(DEADLINE, client.get_metrics(request)).await;
        answer
            .unwrap_or_else(|_elapsed| Err(tonic::Status::deadline_exceeded("no answer")))
            .map(|_answer| ())
    }

    /// One call; after a failure the credentials are read again and the call repeated once, as KEDA does. A nudge is
    /// meant to be answered like that; anything else counts as failed, whatever becomes of the repetition.
    async fn count_call(&self, shared: &Shared, channel: &Channel, held: &Held, what: &str) -> bool {
        shared.calls.fetch_add(1, Ordering::Relaxed);
        let Err(status) = self.call(channel, held).await else {
            return true;
        };
        if status.message().contains(NUDGE) {
            shared.nudged.fetch_add(1, Ordering::Relaxed);
        } else {
            shared.fail(format!("{what} with reading {}: {status}", held.reading));
        }
        if let Err(error) = self.read(shared, held.metadata.clone()).await {
            shared.fail(format!("reading the credentials: {error:#}"));
        }
        false
    }
}

impl Shared {
    fn held(&self) -> Option<Arc<Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn fail(&self, what: String) {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).push(what);
    }

    /// A connection with what is held now; a failure is counted.
    async fn connect(&self, held: &Held, replica: &str) -> Option<Channel> {
        self.handshakes.fetch_add(1, Ordering::Relaxed);
        match dial(&held.credentials, replica).await {
            Ok(channel) => Some(channel),
            Err(error) => {
                self.fail(format!("handshake with {replica}, reading {}: {error:#}", held.reading));
                None
            }
        }
    }
}

/// Calls over one connection for as long as the credentials stay the same.
async fn calls(subject: Subject, shared: Arc<Shared>, replica: String) {
    let mut ticks = interval(CALL_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut open: Option<(u64, Channel)> = None;
    loop {
        ticks.tick().await;
        let Some(held) = shared.held() else { continue };
        if open.as_ref().is_none_or(|(reading, _)| *reading != held.reading) {
            open = shared.connect(&held, &replica).await.map(|channel| (held.reading, channel));
        }
        let Some((_, channel)) = &open else { continue };
        if !subject
            .count_call(&shared, channel, &held, &format!("call to {replica}"))
            .await
        {
            open = None;
        }
    }
}

/// Opens a fresh connection again and again and makes one call over it.
async fn dials(subject: Subject, shared: Arc<Shared>, replica: String) {
    let mut ticks = interval(DIAL_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(held) = shared.held() else { continue };
        if let Some(channel) = shared.connect(&held, &replica).await {
            subject
                .count_call(&shared, &channel, &held, &format!("first call to {replica}"))
                .await;
        }
    }
}
