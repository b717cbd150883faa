//! Carries out `lifecycle`'s decisions for one pod: binding, status, deletion, its server. One task per pod.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::{Api, Client};
use tokio::sync::Semaphore;

use super::lifecycle::{Action, Observed, Phase, Timings, Wishes, decide};
use super::node_keeper::Nodes;
use super::pod::PodEntry;
use super::state::Fleet;
use super::status::{Report, status};

/// Calls to the API server in flight at once, so that a thousand pods do not open a thousand connections.
const CALLS: usize = 24;
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_LONGEST: Duration = Duration::from_secs(3);

/// What every keeper needs.
pub struct Keeping {
    pub fleet: Arc<Fleet>,
    pub nodes: Arc<Nodes>,
    pub host_ip: String,
    client: Client,
    calls: Semaphore,
}

impl Keeping {
    #[must_use]
    pub fn new(fleet: Arc<Fleet>, nodes: Arc<Nodes>, host_ip: String, client: Client) -> Self {
        Self {
            fleet,
            nodes,
            host_ip,
            client,
            calls: Semaphore::new(CALLS),
        }
    }

    /// Leads a pod through its life until it is forgotten.
    pub async fn keep(self: Arc<Self>, entry: Arc<PodEntry>) {
        let gone = entry.gone.clone();
        tokio::select! {
            () = gone.cancelled() => {}
            () = self.lead(&entry) => {}
        }
    }

    async fn lead(&self, entry: &Arc<PodEntry>) {
        let mut object = entry.object.subscribe();
        let mut settings = entry.settings.subscribe();
        let mut retry = RETRY_FIRST;
        loop {
            let pod = Arc::clone(&object.borrow_and_update());
            let chosen = Arc::clone(&settings.borrow_and_update());
            let decision = decide(
                self.observed(entry, &pod),
                entry.state().life,
                Wishes::of(&chosen),
                Timings::of(&chosen, self.fleet.cold_start),
                self.fleet.now(),
            );
            let wake = match self.act(entry, &pod, decision.action).await {
                Ok(Step::Done) => {
                    retry = RETRY_FIRST;
                    continue;
                }
                Ok(Step::Wait) => decision.wake,
                Err(error) => {
                    tracing::warn!(pod = %entry.identity.key, action = ?decision.action, error = format!("{error:#}"), "call failed");
                    retry = (retry * 2).min(RETRY_LONGEST);
                    Some(self.fleet.now() + retry)
                }
            };
            let until = async {
                match wake {
                    Some(time) => tokio::time::sleep_until(self.fleet.instant(time)).await,
                    None => std::future::pending().await,
                }
            };
            // A closed channel means that the pod is forgotten, which ends this task from outside.
            tokio::select! {
                _ = object.changed() => {}
                _ = settings.changed() => {}
                () = entry.kick.notified() => {}
                () = until => {}
            }
        }
    }

    fn observed(&self, entry: &PodEntry, pod: &Pod) -> Observed {
        let shown = pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
        let node = shown.or_else(|| entry.state().bound_to.clone());
        let ours = node.as_deref().is_some_and(|node| self.nodes.has(node));
        Observed {
            on_our_node: ours,
            on_other_node: node.is_some() && !ours,
            terminating: pod.metadata.deletion_timestamp.is_some(),
        }
    }

    async fn act(&self, entry: &Arc<PodEntry>, pod: &Pod, action: Action) -> anyhow::Result<Step> {
        match action {
            Action::Nothing => return Ok(Step::Wait),
            Action::Bind => {
                let Some(node) = self.nodes.for_pod(pod, entry.identity.index) else {
                    anyhow::bail!("there is no node yet");
                };
                self.bind(entry, &node).await?;
                entry.state().bound_to = Some(node);
            }
            Action::Start => {
                self.fleet.start(entry).context("no address is left")?;
            }
            Action::NoteTermination => self.fleet.note_termination(entry),
            Action::Restart => self.fleet.restart(entry),
            Action::Publish(phase) => self.publish(entry, pod, phase).await?,
            Action::Delete => {
                self.fleet.silence(entry);
                self.delete(entry).await?;
                // The watch reports the pod's end and takes the entry away.
                return Ok(Step::Wait);
            }
        }
        Ok(Step::Done)
    }

    fn api(&self, entry: &PodEntry) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &entry.identity.key.namespace)
    }

    async fn bind(&self, entry: &PodEntry, node: &str) -> anyhow::Result<()> {
        let key = &entry.identity.key;
        let path = format!("/api/v1/namespaces/{}/pods/{}/binding", key.namespace, key.name);
        let binding = serde_json::json!({
            "apiVersion": "v1", "kind": "Binding",
            "metadata": {"name": key.name, "uid": entry.identity.uid},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        });
        let request = http::Request::post(path)
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(serde_json::to_vec(&binding)?)?;
        let _call = self.calls.acquire().await?;
        let answer = self.client.request::<serde_json::Value>(request).await;
        answer.map(|_| ()).with_context(|| format!("binding to {node}"))
    }

    async fn publish(&self, entry: &Arc<PodEntry>, pod: &Pod, phase: Phase) -> anyhow::Result<()> {
        // The server follows first: a pod that says it is Ready must answer.
        self.fleet.enter(entry, phase);
        let (patch, restarts) = {
            let state = entry.state();
            let address = state.address.map(|address| address.to_string()).unwrap_or_default();
            let report = Report {
                phase,
                restarts: state.life.restarts,
                pod_ip: &address,
                host_ip: &self.host_ip,
                pod_started: &state.pod_started,
                container_started: &state.container_started,
                ready_changed: &state.ready_changed,
            };
            (status(pod, &report), state.life.restarts)
        };
        let call = self.calls.acquire().await?;
        let written = self
            .api(entry)
            .patch_status(&entry.identity.key.name, &PatchParams::default(), &Patch::Merge(&patch))
            .await;
        drop(call);
        written.context("writing the status")?;
        entry.state().life.published = Some((phase, restarts));
        Ok(())
    }

    async fn delete(&self, entry: &PodEntry) -> anyhow::Result<()> {
        let at_once = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(Preconditions {
                uid: Some(entry.identity.uid.clone()),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        let _call = self.calls.acquire().await?;
        match self.api(entry).delete(&entry.identity.key.name, &at_once).await {
            Ok(_) => Ok(()),
            // Gone already, or another pod has the name.
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
            Err(error) => Err(error).context("deleting"),
        }
    }
}

enum Step {
    /// Something was done; decide again.
    Done,
    Wait,
}
