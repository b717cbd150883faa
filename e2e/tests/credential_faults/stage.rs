//! What every test here begins and ends with: certmgr, two scaler replicas behind a proxy to the API server, their Pods, an
//! InferenceSet whose ScaledObject was written by hand, the load, the record of keys.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use keda_kaito_core::names;
use keda_kaito_e2e::bed::{Bed, Look, eventually};
use keda_kaito_e2e::cases::documents::{InferenceSet, swift_scaled_object, trigger};
use keda_kaito_e2e::cases::expect;
use keda_kaito_e2e::cases::objects::{Kind, text};
use keda_kaito_e2e::fault_proxy::FaultProxy;
use keda_kaito_e2e::programs::{Name, Program, Start};
use keda_kaito_externalscaler::ScaledObjectRef;
use kube::api::DeleteParams;
use serde_json::{Value, json};

use super::certmgr::{self, Gates};
use super::keys::Keys;
use super::load::Load;
use super::material::{at_rest, generation, secrets};

const POD: Kind = Kind::new("", "v1", "Pod");
const READY: Duration = Duration::from_secs(90);
const METRIC: &str = "vllm:num_requests_waiting";

/// Everything a test needs; its programs end with it.
pub(crate) struct Stage {
    pub(crate) bed: Bed,
    pub(crate) gates: Gates,
    pub(crate) logs: PathBuf,
    pub(crate) proxy: FaultProxy,
    pub(crate) certmgr: Program,
    pub(crate) scalers: BTreeMap<usize, Program>,
    pub(crate) load: Load,
    pub(crate) keys: Keys,
}

impl Stage {
    /// Brings it up in `namespace`, where the InferenceSet is, with two replicas, the second of them as `second` has
    /// it; KEDA reads the metric when this returns.
    pub(crate) async fn raise(
        bed: &Bed,
        namespace: &str,
        gates: Gates,
        certmgr: Start,
        second: impl Fn(Start) -> Start,
    ) -> Result<Self> {
        tidy(bed).await?;
        let logs = bed.directory.join("logs");
        let keys = Keys::record(bed);
        let proxy = FaultProxy::start(&bed.directory.join("tmp")).await?;
        let mut certmgr = Program::spawn(&logs, certmgr)?;
        certmgr.ready(READY).await?;
        let mut scalers = BTreeMap::new();
        for index in 0..2 {
            let start = replica(bed, &proxy, index).await?;
            let start = if index == 1 { second(start) } else { start };
            scalers.insert(index, Program::spawn(&logs, start)?);
        }
        for scaler in scalers.values_mut() {
            scaler.ready(READY).await?;
        }
        resolve(bed, &scalers)?;
        let request = scaled_object(bed, namespace).await?;
        let mut load = Load::start(bed, request, &format!("s0-{METRIC}")).await?;
        for scaler in scalers.values() {
            load.add(grpc(scaler));
        }
        eventually(READY, "the credentials are at rest", async || at_rest(bed).await).await?;
        Ok(Self {
            bed: bed.clone(),
            gates,
            logs,
            proxy,
            certmgr,
            scalers,
            load,
            keys,
        })
    }

    /// Starts another replica and waits until it is ready and called. Not at an address that was used before: without
    /// kube-proxy, KEDA would dial it before it is ready.
    pub(crate) async fn add_replica(&mut self, index: usize, how: impl FnOnce(Start) -> Start) -> Result<()> {
        let start = replica(&self.bed, &self.proxy, index).await?;
        let mut scaler = Program::spawn(&self.logs, how(start))?;
        scaler.ready(READY).await?;
        self.load.add(grpc(&scaler));
        self.scalers.insert(index, scaler);
        resolve(&self.bed, &self.scalers)
    }

    /// Ends a replica as a rollout does: out of the Service first, then SIGTERM, then the Pod goes.
    pub(crate) async fn stop_replica(&mut self, index: usize) -> Result<()> {
        let scaler = self.scalers.remove(&index).context("no such replica")?;
        self.load.remove(grpc(&scaler));
        resolve(&self.bed, &self.scalers)?;
        let pod = scaler.start.pod.clone();
        let status = scaler.stop().await?;
        ensure!(status.success(), "{pod} ended with {status}");
        remove(&self.bed, POD, &pod).await
    }

    /// Waits until every replica serves what the server Secret holds, and calls are made with what KEDA was last told of:
    /// whoever has yet to read a Secret must not find it damaged again.
    pub(crate) async fn loaded(&self) -> Result<()> {
        eventually(
            Duration::from_secs(60),
            "every replica serves the newest generation",
            async || {
                let secret = secrets(&self.bed).get(names::SERVER_SECRET).await?;
                let wanted = generation(&secret).unwrap_or_default();
                let mut served = Vec::new();
                for scaler in self.scalers.values() {
                    let lease = self.bed.get(Kind::LEASE, "keda", &scaler.start.pod).await?;
                    let pointer = format!("/metadata/annotations/{}", names::LEASE_SERVED_GENERATION.replace('/', "~1"));
                    served.push(text(&lease, &pointer).to_owned());
                }
                Ok(Look::when(served.iter().all(|served| served == wanted), served))
            },
        )
        .await?;
        eventually(READY, "the load uses the newest credentials", async || {
            self.load.follows().await
        })
        .await
        .map(drop)
    }

    /// Nothing has failed all the while, KEDA's own counters included, and no key is where it has no business.
    pub(crate) async fn lower(self) -> Result<()> {
        let met = self.load.check()?;
        ensure!(
            met.calls > 100 && met.handshakes > 25 && met.metrics > 10,
            "hardly a load: {met:?}"
        );
        eprintln!(
            "{} calls, {} handshakes, {} asked by the HPA's way: none failed",
            met.calls, met.handshakes, met.metrics
        );
        let keys = self.keys.count(&self.bed).await?;
        let leaks = self.keys.leaks(&self.bed, &self.shown().await?).await?;
        ensure!(keys >= 3 && leaks.is_empty(), "of {keys} private keys: {leaks:#?}");
        drop(self.load);
        for program in self.scalers.into_values().chain([self.certmgr]) {
            let name = program.start.pod.clone();
            let status = program.stop().await?;
            ensure!(status.success(), "{name} ended with {status}");
        }
        Ok(())
    }

    /// What the programs show of themselves.
    pub(crate) async fn shown(&self) -> Result<Vec<(String, String)>> {
        let mut shown = vec![("certmgr status".to_owned(), certmgr::status(self.gates).await?)];
        for program in self.scalers.values().chain([&self.certmgr]) {
            let name = &program.start.pod;
            shown.push((format!("metrics of {name}"), program.metrics().await?));
            shown.push((
                format!("readiness of {name}"),
                program.get_health("/readyz?verbose").await?.text(),
            ));
        }
        Ok(shown)
    }
}

/// Where a replica is called.
pub(crate) fn grpc(scaler: &Program) -> SocketAddr {
    SocketAddr::new(scaler.start.address, names::GRPC_PORT)
}

/// How a replica is started: behind the proxy, under its Pod, which runs.
async fn replica(bed: &Bed, proxy: &FaultProxy, index: usize) -> Result<Start> {
    let address: IpAddr = bed.scaler_addresses.get(index).context("no address for a replica")?.parse()?;
    let mut start = Start::new(Name::Scaler, address);
    start.kubeconfig = Some(proxy.kubeconfig(&caller(index), None)?);
    let labels = json!({names::NAME_LABEL: names::APP_NAME, names::COMPONENT_LABEL: names::SCALER_LEASE_COMPONENT});
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": start.pod, "namespace": "keda", "labels": labels},
        "spec": {"containers": [{"name": "scaler", "image": "scaler"}]},
    });
    let pod = bed.create(POD, "keda", &pod).await?;
    let running = json!({"status": {"phase": "Running"}});
    bed.patch_status(POD, "keda", &start.pod, &running).await?;
    start
        .environment
        .push(("POD_UID".to_owned(), text(&pod, "/metadata/uid").to_owned()));
    Ok(start)
}

/// As whom the proxy knows a replica.
pub(crate) fn caller(index: usize) -> String {
    format!("scaler-{index}")
}

/// What an earlier test has left would be waited for: Pods and Leases of its replicas, certmgr's own Lease.
async fn tidy(bed: &Bed) -> Result<()> {
    for kind in [POD, Kind::LEASE] {
        for object in bed.list(kind, "keda").await? {
            if text(&object, "/metadata/name").starts_with("keda-kaito-") {
                remove(bed, kind, text(&object, "/metadata/name")).await?;
            }
        }
    }
    Ok(())
}

/// At once, without the grace that a Pod has; a Lease may have gone with its Pod.
async fn remove(bed: &Bed, kind: Kind, name: &str) -> Result<()> {
    let now = DeleteParams::default().grace_period(0);
    match bed.api(kind, "keda").delete(name, &now).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// The Service stands for these replicas.
fn resolve(bed: &Bed, scalers: &BTreeMap<usize, Program>) -> Result<()> {
    let file = PathBuf::from(std::env::var("TESTBED_HOSTS").context("TESTBED_HOSTS")?);
    let before = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    let ours: Vec<&str> = bed.scaler_addresses.iter().map(String::as_str).collect();
    let is_ours = |line: &&str| line.split_whitespace().next().is_some_and(|first| ours.contains(&first));
    let names = before
        .lines()
        .find(is_ours)
        .and_then(|line| line.split_once(' '))
        .context("no Service")?;
    let others = before.lines().filter(|line| !is_ours(line)).map(str::to_owned);
    let replicas = scalers.values().map(|scaler| format!("{} {}", scaler.start.address, names.1));
    let lines: Vec<String> = others.chain(replicas).collect();
    // In place: it is mounted.
    Ok(fs::write(&file, lines.join("\n") + "\n")?)
}

/// An InferenceSet of one busy replica, and a ScaledObject for it as a user writes it: without an epoch.
async fn scaled_object(bed: &Bed, namespace: &str) -> Result<ScaledObjectRef> {
    bed.fleet.set(namespace, "phi", json!({"waiting": 7})).await?;
    InferenceSet::new(namespace, "phi").create(bed).await?;
    expect::serving(bed, namespace, "phi", 1).await?;
    let by_hand = trigger(namespace, "phi", &json!({"metricName": METRIC, "threshold": "10"}));
    let object = swift_scaled_object(namespace, "phi", 1, 1, std::slice::from_ref(&by_hand));
    bed.create(Kind::SCALED_OBJECT, namespace, &object).await?;
    expect::metric(bed, namespace, "phi", &format!("s0-{METRIC}"), 7.0).await?;
    let metadata = by_hand
        .pointer("/metadata")
        .and_then(Value::as_object)
        .context("no metadata")?;
    let told = |(key, value): (&String, &Value)| (key.clone(), value.as_str().unwrap_or_default().to_owned());
    Ok(ScaledObjectRef {
        name: "phi".to_owned(),
        namespace: namespace.to_owned(),
        scaler_metadata: metadata.iter().map(told).collect(),
    })
}
