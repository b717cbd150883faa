//! Handles for the test bed a test runs in: its API server, namespaces of its own, waiting with a deadline, and what to
//! look at when something is not as it should be. The bed itself is `cargo xtask testbed`.

use std::fmt::Debug;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use k8s_openapi::api::core::v1::{Event, Namespace, Pod};
use kube::api::{ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use serde::Deserialize;

use crate::fleet_client::FleetClient;

const MANAGER: &str = "cluster-test";
/// Seldom enough for dozens of tests beside a control plane on two cores.
const POLL: Duration = Duration::from_millis(200);
/// One look may hang on a broken API server; it must not outlive the deadline by more than this.
const LOOK: Duration = Duration::from_secs(10);
const DUMPED_KINDS: [(&str, &str, &str); 4] = [
    ("kaito.sh", "v1beta1", "InferenceSet"),
    ("kaito.sh", "v1beta1", "Workspace"),
    ("keda.sh", "v1alpha1", "ScaledObject"),
    ("autoscaling", "v2", "HorizontalPodAutoscaler"),
];

/// The bed, as its environment variables describe it.
#[derive(Clone)]
pub struct Bed {
    pub client: Client,
    pub fleet: FleetClient,
    /// The bed's directory, where logs may go.
    pub directory: PathBuf,
    /// Addresses meant for scaler replicas.
    pub scaler_addresses: Vec<String>,
}

impl Debug for Bed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bed")
            .field("fleet", &self.fleet)
            .field("directory", &self.directory)
            .finish_non_exhaustive()
    }
}

impl Bed {
    /// The bed around this process: `KUBECONFIG` and the `TESTBED_*` variables.
    ///
    /// # Errors
    /// When there is none, saying how to get one.
    pub async fn from_env() -> anyhow::Result<Self> {
        // Not just any cluster that KUBECONFIG may name: tests kill, delete and overload.
        let directory = std::env::var_os("TESTBED_DIR").context("cluster tests run inside a test bed: use `cargo xtask test`")?;
        let config = kube::Config::infer().await.context("reading KUBECONFIG")?;
        let scalers = std::env::var("TESTBED_SCALER_IPS").unwrap_or_else(|_| "10.244.254.10".to_owned());
        Ok(Self {
            client: Client::try_from(config)?,
            fleet: FleetClient::from_env()?,
            directory: PathBuf::from(directory),
            scaler_addresses: scalers.split(',').map(str::to_owned).collect(),
        })
    }

    /// Runs `test` with a namespace of its own. It is deleted afterwards; if the test fails, what is in it is printed first,
    /// and the error last, where it is looked for.
    ///
    /// # Errors
    /// The test's own, or the API server's when the namespace cannot be made.
    pub async fn with_namespace<T>(
        &self,
        prefix: &str,
        test: impl AsyncFnOnce(String) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{prefix}-{}-{number}", std::process::id());
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let mut namespace = Namespace::default();
        namespace.metadata.name = Some(name.clone());
        namespaces
            .create(&PostParams::default(), &namespace)
            .await
            .with_context(|| format!("creating namespace {name}"))?;
        let outcome = test(name.clone()).await;
        let outcome = match outcome {
            Ok(value) => Ok(value),
            Err(error) => Err(anyhow!("{}\n\n{error:#}", self.state_of(&name).await)),
        };
        // The next test does not wait for it, nor does it care whether this worked.
        if let Err(error) = namespaces.delete(&name, &DeleteParams::default()).await {
            tracing::warn!(namespace = name, %error, "namespace stays");
        }
        outcome
    }

    /// Applies every document of `yaml` (server-side, taking over conflicting fields) and returns the objects as stored.
    /// A document without a namespace goes to `namespace`.
    ///
    /// # Errors
    /// The first document that is no object or that the API server refuses.
    pub async fn apply(&self, namespace: &str, yaml: &str) -> anyhow::Result<Vec<DynamicObject>> {
        let mut stored = Vec::new();
        for document in serde_yaml::Deserializer::from_str(yaml) {
            let value = serde_json::Value::deserialize(document).context("reading YAML")?;
            if value.is_null() {
                continue;
            }
            let object: DynamicObject = serde_json::from_value(value).context("a document is no Kubernetes object")?;
            stored.push(self.apply_object(namespace, &object).await?);
        }
        Ok(stored)
    }

    async fn apply_object(&self, namespace: &str, object: &DynamicObject) -> anyhow::Result<DynamicObject> {
        let types = object.types.as_ref().context("an object has no kind")?;
        let gvk = GroupVersionKind::try_from(types)?;
        let what = format!("{} {}", gvk.kind, object.name_any());
        let (resource, capabilities) = kube::discovery::pinned_kind(&self.client, &gvk)
            .await
            .with_context(|| format!("{what}: the kind is not served"))?;
        let api: Api<DynamicObject> = if capabilities.scope == kube::discovery::Scope::Cluster {
            Api::all_with(self.client.clone(), &resource)
        } else {
            let namespace = object.namespace().unwrap_or_else(|| namespace.to_owned());
            Api::namespaced_with(self.client.clone(), &namespace, &resource)
        };
        let params = PatchParams::apply(MANAGER).force();
        api.patch(&object.name_any(), &params, &Patch::Apply(object))
            .await
            .context(what)
    }

    /// An API for any kind in a namespace; `kind` as in `kaito.sh/v1beta1/InferenceSet`.
    #[must_use]
    pub fn objects(&self, namespace: &str, group: &str, version: &str, kind: &str) -> Api<DynamicObject> {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        Api::namespaced_with(self.client.clone(), namespace, &resource)
    }

    /// What is in a namespace, for a human: the objects that matter (status and annotations), pods as the fleet sees them,
    /// Events. Never fails; what cannot be read says so.
    pub async fn state_of(&self, namespace: &str) -> String {
        let mut text = format!("state of namespace {namespace}:\n");
        for (group, version, kind) in DUMPED_KINDS {
            match self
                .objects(namespace, group, version, kind)
                .list(&ListParams::default())
                .await
            {
                Ok(list) => list.iter().for_each(|object| {
                    let spec = object.data.get("spec").map(ToString::to_string).unwrap_or_default();
                    let status = object.data.get("status").map(ToString::to_string).unwrap_or_default();
                    let annotations = object.annotations();
                    text.push_str(&format!(
                        "  {kind} {}\n    annotations {annotations:?}\n    spec {spec}\n    status {status}\n",
                        object.name_any()
                    ));
                }),
                Err(error) => text.push_str(&format!("  {kind}: {error}\n")),
            }
        }
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        match pods.list(&ListParams::default()).await {
            Ok(list) => list.iter().for_each(|pod| {
                let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
                text.push_str(&format!("  Pod {} {}\n", pod.name_any(), phase.unwrap_or("without a phase")));
            }),
            Err(error) => text.push_str(&format!("  Pods: {error}\n")),
        }
        match self.fleet.pods().await {
            Ok(pods) => pods
                .iter()
                .filter(|pod| pod.namespace == namespace)
                .for_each(|pod| text.push_str(&format!("  fleet {pod:?}\n"))),
            Err(error) => text.push_str(&format!("  fleet: {error:#}\n")),
        }
        let events: Api<Event> = Api::namespaced(self.client.clone(), namespace);
        match events.list(&ListParams::default()).await {
            Ok(list) => list.iter().for_each(|event| {
                text.push_str(&format!(
                    "  Event {} {} {}: {}\n",
                    event.type_.as_deref().unwrap_or_default(),
                    event.involved_object.name.as_deref().unwrap_or_default(),
                    event.reason.as_deref().unwrap_or_default(),
                    event.message.as_deref().unwrap_or_default(),
                ));
            }),
            Err(error) => text.push_str(&format!("  Events: {error}\n")),
        }
        text
    }
}

/// What a look at something showed: what was waited for, or the state it is in meanwhile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Look<T> {
    Met(T),
    NotYet(String),
}

impl<T> Look<T> {
    /// Met with `value` if `condition` holds; else the value as the state.
    pub fn when(condition: bool, value: T) -> Self
    where
        T: Debug,
    {
        if condition {
            Self::Met(value)
        } else {
            Self::NotYet(format!("{value:?}"))
        }
    }
}

/// Looks again and again until `look` is met. An error counts as not yet.
///
/// # Errors
/// At the deadline, with `what` and the last state seen.
pub async fn eventually<T>(
    deadline: Duration,
    what: &str,
    mut look: impl AsyncFnMut() -> anyhow::Result<Look<T>>,
) -> anyhow::Result<T> {
    let begin = Instant::now();
    let mut last;
    loop {
        // A look begun after the deadline is the last: the machine may have stood still since the one before.
        let late = begin.elapsed() >= deadline;
        match tokio::time::timeout(LOOK, look()).await {
            Ok(Ok(Look::Met(value))) => {
                tracing::info!(what, after = ?begin.elapsed(), "met");
                return Ok(value);
            }
            Ok(Ok(Look::NotYet(state))) => last = state,
            Ok(Err(error)) => last = format!("error: {error:#}"),
            Err(_) => last = format!("a look took longer than {LOOK:?}"),
        }
        if late {
            bail!("not within {deadline:?}: {what}; last state: {last}");
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Looks again and again for the whole of `span`; `look` must never be met.
///
/// # Errors
/// As soon as it is met, with what was seen.
pub async fn never<T: Debug>(
    span: Duration,
    what: &str,
    mut look: impl AsyncFnMut() -> anyhow::Result<Look<T>>,
) -> anyhow::Result<()> {
    let begin = Instant::now();
    while begin.elapsed() < span {
        if let Look::Met(value) = look().await? {
            bail!("after {:?}, {what}: {value:?}", begin.elapsed());
        }
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_wait_ends_as_soon_as_it_is_met() {
        let mut looks = 0;
        let met = eventually(Duration::from_secs(60), "three looks", async || {
            looks += 1;
            Ok(Look::when(looks == 3, looks))
        });
        assert_eq!(met.await.expect("it is met"), 3);
    }

    #[tokio::test]
    async fn a_wait_that_fails_tells_what_it_saw_last() {
        let failed = eventually(Duration::from_millis(120), "the moon", async || {
            Ok::<_, anyhow::Error>(Look::<()>::NotYet("a cloud".to_owned()))
        });
        let message = failed.await.expect_err("it is never met").to_string();
        assert!(message.contains("the moon") && message.contains("a cloud"), "{message}");
    }

    #[tokio::test]
    async fn what_must_never_happen_fails_when_it_does() {
        let mut looks = 0;
        let happened = never(Duration::from_secs(5), "a second look", async || {
            looks += 1;
            Ok(Look::when(looks == 2, looks))
        });
        assert!(happened.await.is_err());
    }
}
