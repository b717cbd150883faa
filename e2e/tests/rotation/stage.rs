//! The stage of a rotation: certmgr with short gates, two scaler replicas behind one name, the provisioner, three
//! ScaledObjects (one of the provisioner's, one written by hand, one that only the second client calls about).

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Secret;
use keda_kaito_core::names;
use keda_kaito_e2e::bed::{Bed, Look, eventually};
use keda_kaito_e2e::cases::documents::{InferenceSet, swift_scaled_object, trigger};
use keda_kaito_e2e::cases::objects::Kind;
use keda_kaito_e2e::cases::{expect, running};
use keda_kaito_e2e::programs::{self, Name, Program, Start};
use serde_json::json;

use crate::credentials::secret;

pub(crate) const REPLICAS: [&str; 2] = ["10.244.254.10", "10.244.254.11"];
pub(crate) const METRIC: &str = "s0-vllm:num_requests_waiting";
const READY: Duration = Duration::from_secs(60);
/// A rotation with short gates, beside whatever else the machine does.
const ROTATED: Duration = Duration::from_secs(120);

/// Gates of seconds. What they protect in production, clocks and informers that lag for minutes, does not happen here;
/// acknowledgements are waited for as always.
pub(crate) const SHORT_GATES: [&str; 7] = [
    "--trust-minimum-age=1s",
    "--identify-minimum-age=2s",
    "--callers-known-for=1s",
    "--poll-interval=1s",
    "--lease-duration=3s",
    "--lease-renew-deadline=2s",
    "--lease-retry-period=500ms",
];

/// What runs; killed when dropped.
pub(crate) struct Stage {
    pub(crate) bed: Bed,
    pub(crate) scalers: Vec<Program>,
    pub(crate) logs: PathBuf,
    _provisioner: Program,
}

/// Waits until KEDA asks for nothing of another test any more: what is being deleted would count as calls that fail.
pub(crate) async fn alone(bed: &Bed) -> Result<()> {
    eventually(READY, "no ScaledObject of another test is left", async || {
        let left = bed.list(Kind::SCALED_OBJECT, "").await?.len();
        Ok(Look::when(left == 0, left))
    })
    .await
    .map(drop)
}

impl Stage {
    /// Both scaler replicas, under the Service's name, and the provisioner, and a certmgr with these flags, all ready.
    pub(crate) async fn set(bed: &Bed, flags: &[&str]) -> Result<(Self, Program)> {
        alone(bed).await?;
        stand_for_service(bed, &REPLICAS)?;
        Self::set_aside(bed, flags).await
    }

    /// The same, whatever the Service's name stands for.
    pub(crate) async fn set_aside(bed: &Bed, flags: &[&str]) -> Result<(Self, Program)> {
        let logs = bed.directory.join("logs");
        let certmgr = certmgr(bed, flags).await?;
        let mut scalers = Vec::new();
        for address in REPLICAS {
            let start = Start::new(Name::Scaler, address.parse()?)
                .argument("--retire-within=2s")
                .argument("--caller-active-for=10s")
                .argument("--scrape-interval=5s")
                .argument("--log-level=info,keda_kaito_scaler::server=debug");
            scalers.push(Program::spawn(&logs, start)?);
        }
        let mut provisioner = Program::spawn(&logs, running::start(Name::Provisioner))?;
        for program in scalers.iter_mut().chain([&mut provisioner]) {
            program.ready(READY).await?;
        }
        let stage = Self {
            bed: bed.clone(),
            scalers,
            logs,
            _provisioner: provisioner,
        };
        Ok((stage, certmgr))
    }

    /// The three ScaledObjects, two of them answered for KEDA.
    pub(crate) async fn populate(&self, namespace: &str) -> Result<()> {
        let bed = &self.bed;
        let provisioned = [("auto-provision", "true"), ("threshold", "10"), ("max-replicas", "3")];
        for name in ["provisioned", "called"] {
            InferenceSet::new(namespace, name).annotated(&provisioned).create(bed).await?;
            bed.fleet.set(namespace, name, json!({"waiting": 4})).await?;
        }
        InferenceSet::new(namespace, "by-hand").create(bed).await?;
        bed.fleet.set(namespace, "by-hand", json!({"waiting": 4})).await?;
        let ours = json!({"metricName": "vllm:num_requests_waiting", "threshold": "10"});
        let object = swift_scaled_object(namespace, "by-hand", 1, 3, &[trigger(namespace, "by-hand", &ours)]);
        bed.create(Kind::SCALED_OBJECT, namespace, &object).await?;
        eventually(READY, "the second client's ScaledObject is there", async || {
            // KEDA keeps away from it: else what it shows would hide behind what the second client shows.
            let paused = json!({"metadata": {"annotations": {"autoscaling.keda.sh/paused": "true"}}});
            bed.patch(Kind::SCALED_OBJECT, namespace, "called", &paused)
                .await
                .map(Look::Met)
        })
        .await?;
        for name in ["provisioned", "by-hand"] {
            expect::metric(bed, namespace, name, METRIC, 4.0).await?;
        }
        Ok(())
    }

    /// Asks for a rotation as an operator does, and waits until it is over.
    pub(crate) async fn rotate(&self, reason: &str) -> Result<Duration> {
        let begun = Instant::now();
        self.ask(reason).await?;
        self.rotated(reason).await?;
        Ok(begun.elapsed())
    }

    /// `certmgr rotate`.
    pub(crate) async fn ask(&self, reason: &str) -> Result<()> {
        let asked = ["rotate", "--working-namespace=keda", "--reason", reason];
        programs::run_once(Name::Certmgr, &asked).await.map(|_said| ())
    }

    /// Waits until the rotation for this reason is over: one authority is left.
    pub(crate) async fn rotated(&self, reason: &str) -> Result<()> {
        eventually(ROTATED, &format!("the rotation {reason:?} is over"), async || {
            Ok(Look::when(self.is_rotated(reason).await?, ()))
        })
        .await
        .with_context(|| self.log_ends())
    }

    /// Whether the rotation for this reason is over.
    pub(crate) async fn is_rotated(&self, reason: &str) -> Result<bool> {
        let authority = secret(&self.bed, names::CA_SECRET).await?;
        let acted_on = annotation(&authority, names::ROTATED_REASON_ANNOTATION) == reason;
        Ok(acted_on && keys(&authority) == [names::CA_CRT, names::CA_KEY])
    }

    /// The keys of the authorities' Secret, the server's and the client's.
    pub(crate) async fn secret_keys(&self) -> Result<[Vec<String>; 3]> {
        let of = async |name| Ok::<_, anyhow::Error>(keys(&secret(&self.bed, name).await?));
        Ok([
            of(names::CA_SECRET).await?,
            of(names::SERVER_SECRET).await?,
            of(names::CLIENT_SECRET).await?,
        ])
    }

    /// The end of every log, for a human.
    pub(crate) fn log_ends(&self) -> String {
        let ends = self.scalers.iter().map(Program::log_end);
        let status = fs::read_to_string(self.logs.join("certmgr.log")).unwrap_or_default();
        let lines: Vec<_> = status.lines().rev().take(40).collect();
        let certmgr = lines.into_iter().rev().collect::<Vec<_>>().join("\n");
        ends.chain([certmgr]).collect::<Vec<_>>().join("\n")
    }
}

/// A ready certmgr with these flags; all of one bed write one log.
pub(crate) async fn certmgr(bed: &Bed, flags: &[&str]) -> Result<Program> {
    let mut certmgr = Program::spawn(&bed.directory.join("logs"), certmgr_start(flags))?;
    certmgr.ready(READY).await?;
    Ok(certmgr)
}

/// How certmgr is started here.
pub(crate) fn certmgr_start(flags: &[&str]) -> Start {
    let mut start = Start::new(Name::Certmgr, IpAddr::V4(Ipv4Addr::new(10, 244, 254, 20)));
    "certmgr".clone_into(&mut start.pod);
    start.arguments.extend(flags.iter().map(|flag| (*flag).to_owned()));
    start
}

/// Lets the Service's name stand for these addresses.
pub(crate) fn stand_for_service(bed: &Bed, addresses: &[&str]) -> Result<()> {
    let file = bed.directory.join("hosts");
    let text = fs::read_to_string(&file)?;
    let is_service = |line: &&str| line.contains("keda-kaito-scaler-svc");
    let service = text.lines().find(is_service).context("the hosts file has no Service")?;
    let all_names = service.split_once(' ').context("a line of the hosts file has no name")?.1;
    let mut lines: Vec<_> = text.lines().filter(|line| !is_service(line)).map(str::to_owned).collect();
    lines.extend(addresses.iter().map(|address| format!("{address} {all_names}")));
    lines.push(String::new());
    // In place: the file is mounted over /etc/hosts.
    Ok(fs::write(file, lines.join("\n"))?)
}

fn keys(secret: &Secret) -> Vec<String> {
    secret.data.iter().flatten().map(|(key, _)| key.clone()).collect()
}

/// The annotation of a Secret, empty if there is none.
pub(crate) fn annotation(secret: &Secret, key: &str) -> String {
    let annotations = secret.metadata.annotations.as_ref();
    annotations.and_then(|all| all.get(key)).cloned().unwrap_or_default()
}
