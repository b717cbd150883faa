//! What every act stands on: the three programs behind the fault proxy, each with a user of its own, an observer, an
//! InferenceSet whose HPA acts on every answer at once, and one for the provisioner to look after.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use keda_kaito_core::names;
use keda_kaito_e2e::bed::{Bed, Look, eventually};
use keda_kaito_e2e::cases::documents::{InferenceSet, annotation, swift_scaled_object, trigger};
use keda_kaito_e2e::cases::objects::{Kind, number};
use keda_kaito_e2e::cases::{annotations, expect, parts, running, times};
use keda_kaito_e2e::chronicle::Chronicle;
use keda_kaito_e2e::fault_proxy::{FaultProxy, Scope, Verb};
use keda_kaito_e2e::programs::{Name, Program, Start};
use serde_json::json;
use tokio::time::Instant;

pub(crate) const WAITING: &str = "s0-vllm:num_requests_waiting";
/// From a fault's end to everything being as it should be.
pub(crate) const HEALED: Duration = Duration::from_secs(60);
/// Nothing has been written for so long: what the last act led to is done.
const QUIET: Duration = Duration::from_secs(5);
const READY: Duration = Duration::from_secs(60);
const ROLE_BINDING: Kind = Kind::new("rbac.authorization.k8s.io", "v1", "ClusterRoleBinding");

pub(crate) struct Stage {
    pub(crate) bed: Bed,
    pub(crate) proxy: FaultProxy,
    pub(crate) chronicle: Chronicle,
    pub(crate) namespace: String,
    pub(crate) certmgr: Program,
    pub(crate) scaler: Program,
    pub(crate) provisioner: Program,
    /// What swift's pods report, all together.
    pub(crate) total: f64,
    logs: PathBuf,
}

/// Runs `act` on a stage of its own, then checks that everything is as it should be and that the observer saw nothing
/// else at any time.
pub(crate) async fn with(name: &str, act: impl AsyncFnOnce(&mut Stage) -> Result<()>) -> Result<()> {
    let bed = Bed::from_env().await?;
    let namespaced = bed.clone();
    namespaced
        .with_namespace(name, async |namespace| {
            let mut stage = Stage::set(bed, namespace).await?;
            act(&mut stage).await?;
            stage.end(name).await
        })
        .await
}

impl Stage {
    async fn set(bed: Bed, namespace: String) -> Result<Self> {
        let logs = bed.directory.join("logs");
        let proxy = FaultProxy::start(&bed.directory.join("tmp")).await?;
        let begin = async |name: Name| {
            allow(&bed, name.as_str()).await?;
            let mut start = running::start(name);
            start.kubeconfig = Some(proxy.kubeconfig(name.as_str(), Some(&user(name.as_str())))?);
            if name == Name::Scaler {
                start = start.argument("--scrape-interval=5s");
            }
            Program::spawn(&logs, start)
        };
        let (mut certmgr, mut scaler) = (begin(Name::Certmgr).await?, begin(Name::Scaler).await?);
        let mut provisioner = begin(Name::Provisioner).await?;
        let stranger = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": format!("theirs-{namespace}"), "namespace": "keda"},
            "stringData": {"password": "unchanged"},
        });
        bed.create(Kind::SECRET, "keda", &stranger).await?;
        let chronicle = Chronicle::start(&bed).await?;
        let beginning = chronicle.trouble();
        for program in [&mut certmgr, &mut scaler, &mut provisioner] {
            program.ready(READY).await?;
        }
        chronicle.wants(&namespace, "swift", 3);
        three_at_target(&bed, &namespace).await?;
        InferenceSet::new(&namespace, "managed")
            .annotated(&[("auto-provision", "true"), ("threshold", "10"), ("max-replicas", "3")])
            .create(&bed)
            .await?;
        let stage = Self {
            bed,
            proxy,
            chronicle,
            namespace,
            certmgr,
            scaler,
            provisioner,
            total: 30.0,
            logs,
        };
        stage.provisioned("managed", 3, Duration::from_secs(30)).await?;
        // KAITO then has nothing more to write, and so undoes no edit.
        expect::serving(&stage.bed, &stage.namespace, "managed", 1).await?;
        drop(beginning);
        Ok(stage)
    }

    /// A further program, `name` in all places where the first of its kind has its own.
    pub(crate) fn another(&self, name: Name, caller: &str, host: u8) -> Result<Program> {
        let mut start = Start::new(name, std::net::IpAddr::from([10, 244, 254, host]));
        start.kubeconfig = Some(self.proxy.kubeconfig(caller, Some(&user(name.as_str())))?);
        Program::spawn(&self.logs, start)
    }

    /// Waits until the ScaledObject of `name` shows this maximum.
    pub(crate) async fn provisioned(&self, name: &str, maximum: i64, within: Duration) -> Result<()> {
        eventually(within, &format!("the maximum of {name} is {maximum}"), async || {
            let object = self.bed.get(Kind::SCALED_OBJECT, &self.namespace, name).await?;
            let shown = number(&object, "/spec/maxReplicaCount");
            Ok(Look::when(shown == Some(maximum), shown))
        })
        .await?;
        Ok(())
    }

    /// Changes the maximum of the managed InferenceSet; how long it took to arrive.
    pub(crate) async fn edit(&self, maximum: i64, within: Duration) -> Result<Duration> {
        let arrives = async {
            let begun = Instant::now();
            self.provisioned("managed", maximum, within).await?;
            Ok(begun.elapsed())
        };
        let (changed, took) = tokio::join!(self.change(maximum), arrives);
        changed?;
        took
    }

    /// Changes the maximum of the managed InferenceSet until it lasts: KAITO writes back what it had read before.
    pub(crate) async fn change(&self, maximum: i64) -> Result<()> {
        annotations::change(
            &self.bed,
            &self.namespace,
            "managed",
            &[("max-replicas", Some(&maximum.to_string()))],
        )
        .await
    }

    /// The same at once, and however long it lasts.
    pub(crate) async fn flick(&self, maximum: i64) -> Result<()> {
        let patch = json!({"metadata": {"annotations": {annotation("max-replicas"): maximum.to_string()}}});
        self.bed
            .patch(Kind::INFERENCE_SET, &self.namespace, "managed", &patch)
            .await?;
        Ok(())
    }

    /// The HPA reads what the pods say.
    pub(crate) async fn metric(&self) -> Result<()> {
        expect::metric(&self.bed, &self.namespace, "swift", WAITING, self.total).await
    }

    /// Notes a figure beside the logs.
    pub(crate) fn note(&self, what: &str, time: Duration) -> Result<()> {
        times::note(&self.bed, what, time)
    }

    /// Nothing changes for a while, and nothing of ours is written but Leases.
    pub(crate) async fn rests(&self, span: Duration) -> Result<()> {
        let writes = Scope::all().verbs(&Verb::WRITES).except(&["leases"]);
        let begun = Instant::now();
        eventually(HEALED, "what was to be written is", async || {
            let since = begun.max(Instant::now() - QUIET);
            let mut sent = self.proxy.calls(since);
            sent.retain(|call| writes.covers(&call.request));
            Ok(Look::when(begun.elapsed() > QUIET && sent.is_empty(), sent.len()))
        })
        .await?;
        let since = Instant::now();
        tokio::time::sleep(span).await;
        self.chronicle.rested(since);
        // The observer sees what became of it; the proxy also what was sent and changed nothing.
        let mut sent = self.proxy.calls(since);
        sent.retain(|call| writes.covers(&call.request));
        ensure!(sent.is_empty(), "written at rest: {sent:?}");
        Ok(())
    }

    /// The ScaledObject by hand, after its kind was away.
    pub(crate) async fn restore_swift(&self) -> Result<()> {
        swift(&self.bed, &self.namespace).await?;
        self.metric().await
    }

    async fn end(self, name: &str) -> Result<()> {
        self.metric().await?;
        self.edit(9, HEALED).await?;
        self.edit(3, HEALED).await?;
        let figures = self.chronicle.check()?;
        let looked = !figures.edits.is_empty() && figures.strangers > 0 && figures.states > 0;
        ensure!(looked, "the observer has seen hardly anything: {figures}");
        tracing::info!(%figures, "the observer is content");
        self.note(&format!("{name}: {figures}"), Duration::ZERO)?;
        for program in [self.provisioner, self.scaler, self.certmgr] {
            let pod = program.start.pod.clone();
            let status = program.stop().await?;
            ensure!(status.success(), "{pod} ended with {status}");
        }
        Ok(())
    }
}

/// As whom the API server sees a program.
fn user(program: &str) -> String {
    format!("system:serviceaccount:keda:bad-day-{program}")
}

/// Gives the program's user every right.
pub(crate) async fn allow(bed: &Bed, program: &str) -> Result<()> {
    let name = format!("bad-day-{program}");
    bed.delete(ROLE_BINDING, "", &name).await?;
    let binding = json!({
        "apiVersion": ROLE_BINDING.api_version(), "kind": ROLE_BINDING.kind, "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user(program)}],
    });
    bed.create(ROLE_BINDING, "", &binding).await?;
    Ok(())
}

/// Takes every right from the program's user.
pub(crate) async fn forbid(bed: &Bed, program: &str) -> Result<()> {
    bed.delete(ROLE_BINDING, "", &format!("bad-day-{program}")).await
}

/// Starts what has not survived an outage.
pub(crate) async fn revive(bed: &Bed, part: &str) -> Result<()> {
    match parts::run(bed, "start", &[part]).await {
        Err(error) if format!("{error:#}").contains("runs already") => Ok(()),
        started => started,
    }
}

/// The value of a series whose line begins with this, labels included.
pub(crate) async fn series(program: &Program, begins: &str) -> Result<f64> {
    let text = program.metrics().await?;
    let lines = text.lines().filter(|line| line.starts_with(begins));
    let values = lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok());
    let values: Vec<f64> = values.collect();
    ensure!(!values.is_empty(), "{} has no series {begins}", program.start.pod);
    Ok(values.iter().sum())
}

/// Waits until a Secret of ours is there, whole.
pub(crate) async fn secret_is_there(bed: &Bed, within: Duration) -> Result<()> {
    eventually(within, "the client Secret is there", async || {
        let secret = bed.get(Kind::SECRET, "keda", names::CLIENT_SECRET).await?;
        let whole = [names::CA_CRT, names::TLS_CRT, names::TLS_KEY].iter().all(|key| {
            let value = secret.pointer(&format!("/data/{key}"));
            value.is_some()
        });
        Ok(Look::when(whole, ()))
    })
    .await
}

async fn three_at_target(bed: &Bed, namespace: &str) -> Result<()> {
    bed.fleet.set(namespace, "swift", json!({"waiting": 10})).await?;
    InferenceSet::new(namespace, "swift").replicas(3).create(bed).await?;
    expect::serving(bed, namespace, "swift", 3)
        .await
        .context("the stage is set")?;
    swift(bed, namespace).await?;
    expect::metric(bed, namespace, "swift", WAITING, 30.0).await
}

async fn swift(bed: &Bed, namespace: &str) -> Result<()> {
    let metadata = json!({"metricName": "vllm:num_requests_waiting", "threshold": "10"});
    let object = swift_scaled_object(namespace, "swift", 1, 5, &[trigger(namespace, "swift", &metadata)]);
    bed.create(Kind::SCALED_OBJECT, namespace, &object).await?;
    Ok(())
}
