//! What the tests of this bed share: the bed with its audit log, programs that the audit log can tell apart, waiting for a
//! metric.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use keda_kaito_e2e::audit::{AuditLog, Request};
use keda_kaito_e2e::bed::{Bed, Look, eventually};
use keda_kaito_e2e::cases::objects::Kind;
use keda_kaito_e2e::programs::{Name, Program, Start};
use serde_json::{Value, json};

pub(crate) const READY: Duration = Duration::from_secs(60);
/// Where Leases and Secrets are.
pub(crate) const HOME: &str = "keda";

/// The bed, its audit log, and the namespace that KEDA would have made.
pub(crate) async fn bed() -> Result<(Bed, AuditLog)> {
    let bed = Bed::from_env().await?;
    let log = AuditLog::of_this_bed()?;
    if bed.is_absent(Kind::NAMESPACE, "", HOME).await? {
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": HOME}});
        bed.create(Kind::NAMESPACE, "", &namespace).await?;
    }
    Ok((bed, log))
}

/// How to start a program on the address `10.244.254.<host>`, with a user of its own in the audit log: `<program>-<host>`.
pub(crate) fn start(bed: &Bed, name: Name, host: u8) -> Result<Start> {
    let mut start = Start::new(name, IpAddr::V4(Ipv4Addr::new(10, 244, 254, host)));
    start.kubeconfig = Some(kubeconfig(bed, &user(name, host), None)?);
    Ok(start)
}

pub(crate) fn user(name: Name, host: u8) -> String {
    format!("{}-{host}", name.as_str())
}

/// A kubeconfig as the administrator who acts as `user`, through `server` if that is another than the API server's own.
pub(crate) fn kubeconfig(bed: &Bed, user: &str, server: Option<&str>) -> Result<PathBuf> {
    let admin = fs::read(bed.directory.join("kubeconfig/admin"))?;
    let mut config: Value = serde_json::from_slice(&admin)?;
    let person = config.pointer_mut("/users/0/user").and_then(Value::as_object_mut);
    let person = person.context("the kubeconfig has no user")?;
    person.insert("as".to_owned(), json!(user));
    person.insert("as-groups".to_owned(), json!(["system:masters"]));
    if let (Some(server), Some(shown)) = (server, config.pointer_mut("/clusters/0/cluster/server")) {
        *shown = json!(server);
    }
    let file = bed.directory.join("kubeconfig").join(user);
    fs::write(&file, serde_json::to_vec(&config)?)?;
    Ok(file)
}

pub(crate) async fn run(bed: &Bed, start: Start) -> Result<Program> {
    let mut program = Program::spawn(&bed.directory.join("logs"), start)?;
    program.ready(READY).await?;
    Ok(program)
}

/// The sum of a family's samples; absent when there are none.
pub(crate) async fn metric(program: &Program, family: &str) -> Result<Option<f64>> {
    let text = program.metrics().await?;
    let samples = text.lines().filter(|line| {
        let rest = line.strip_prefix(family).unwrap_or_default();
        rest.starts_with(['{', ' '])
    });
    let values: Vec<f64> = samples.filter_map(|line| line.rsplit(' ').next()?.parse().ok()).collect();
    Ok((!values.is_empty()).then(|| values.iter().sum()))
}

pub(crate) async fn metric_is(program: &Program, family: &str, value: f64, within: Duration) -> Result<()> {
    let what = format!("{family} of {} is {value}", program.start.pod);
    eventually(within, &what, async || {
        let shown = metric(program, family).await?;
        Ok(Look::when(shown.is_some_and(|shown| (shown - value).abs() < 0.5), shown))
    })
    .await
    .map(drop)
}

/// Whether the request is about a Lease, which programs renew at rest too.
pub(crate) fn is_of_lease(request: &Request) -> bool {
    request.resource == "leases"
}

/// Whether one of the programs asked for a change of anything but a Lease.
fn is_written_by_us(request: &Request) -> bool {
    request.agent.starts_with("keda-kaito-scaler-") && request.is_write() && !is_of_lease(request)
}

/// That none of these requests changes anything but a Lease.
pub(crate) fn nothing_is_written(requests: &[Request]) -> Result<()> {
    let ours = requests.iter().filter(|request| is_written_by_us(request));
    let writes: Vec<String> = ours.map(Request::summary).collect();
    ensure!(writes.is_empty(), "written at rest: {writes:#?}");
    Ok(())
}

/// Waits until the programs have written nothing but Leases for some seconds.
pub(crate) async fn settled(log: &AuditLog) -> Result<()> {
    let mut mark = log.mark()?;
    let mut since = Instant::now();
    eventually(Duration::from_secs(600), "nothing is written any more", async || {
        let requests = log.since(mark)?;
        if let Some(last) = requests.iter().rfind(|request| is_written_by_us(request)) {
            mark = log.mark()?;
            since = Instant::now();
            return Ok(Look::NotYet(last.summary()));
        }
        Ok(Look::when(since.elapsed() > Duration::from_secs(5), ()))
    })
    .await
}
