//! The quick start's InferenceSet on the node, and what can be seen of the programs' processes from its host.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use keda_kaito_e2e::bed::{Look, eventually};
use keda_kaito_e2e::keda::external_metric;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::release::{NAMESPACE, deployment};
use crate::shell::{kubectl, kubectl_with};

const DOCUMENT: &str = include_str!("../../fixtures/kaito/kaito_inferenceset_phi_4_mini.yaml");
const NAME: &str = "phi-4-mini";
const MODEL_PODS: &str = "inferenceset.kaito.sh/created-by=phi-4-mini";
/// KAITO's probes alone take half a minute and more.
const READY_WITHIN: Duration = Duration::from_secs(180);

/// The documented InferenceSet, up to an HPA that knows its metric and a replica that serves.
pub(crate) async fn quick_start() -> Result<()> {
    scaled_object().await?;
    let path = "jsonpath={.status.conditions[?(@.type=='ScalingActive')].status}";
    eventually(READY_WITHIN, "the HPA has a valid metric", async || {
        let active = kubectl(&["get", "hpa", "keda-hpa-phi-4-mini", "-o", path]).await?;
        Ok(Look::when(active == "True", active))
    })
    .await?;
    replicas(1, READY_WITHIN).await
}

/// The documented InferenceSet and its ScaledObject.
pub(crate) async fn scaled_object() -> Result<()> {
    apply().await?;
    eventually(READY_WITHIN, "a ScaledObject", async || {
        Ok(Look::Met(kubectl(&["get", "scaledobject", NAME]).await?))
    })
    .await
    .map(drop)
}

/// The documented InferenceSet, whatever became of its annotations.
pub(crate) async fn apply() -> Result<()> {
    kubectl_with(&["apply", "-f", "-"], DOCUMENT).await.map(drop)
}

pub(crate) async fn delete_quick_start() -> Result<()> {
    kubectl(&["delete", "inferenceset", NAME, "--wait", "--timeout=120s"])
        .await
        .map(drop)
}

/// Waits until so many replicas are ordered and serve.
pub(crate) async fn replicas(wanted: u32, within: Duration) -> Result<()> {
    let path = "jsonpath={.spec.replicas} {.status.readyReplicas}";
    let expected = format!("{wanted} {wanted}");
    eventually(within, "replicas ordered and ready", async || {
        let seen = kubectl(&["get", "inferenceset", NAME, "-o", path]).await?;
        Ok(Look::when(seen == expected, seen))
    })
    .await
    .map(drop)
}

/// Waits until KEDA tells the HPA this value of the quick start's metric.
pub(crate) async fn metric(expected: f64, within: Duration) -> Result<()> {
    let client = kube::Client::try_default().await?;
    eventually(within, "the metric through KEDA", async || {
        let value = external_metric(&client, "default", NAME, "s0-vllm:num_requests_waiting").await?;
        Ok(Look::when((value - expected).abs() < f64::EPSILON, value))
    })
    .await
    .map(drop)
}

/// Sets the length of every replica's queue.
pub(crate) async fn set_waiting(requests: u32) -> Result<()> {
    let path = "jsonpath={range .items[*]}{.status.podIP} {end}";
    let addresses = kubectl(&["get", "pods", "-l", MODEL_PODS, "-o", path]).await?;
    for address in addresses.split_whitespace() {
        let mut stream = TcpStream::connect((address, 5000)).await?;
        let body = requests.to_string();
        let length = body.len();
        let request = format!(
            "PUT /bed/waiting HTTP/1.1\r\nHost: {address}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        ensure!(answer.starts_with("HTTP/1.1 204"), "{address} said {answer:?}");
    }
    Ok(())
}

/// What a command in a program's pod prints.
pub(crate) async fn exec(program: &str, command: &[&str]) -> Result<String> {
    let deployment = deployment(program);
    kubectl(&[&["exec", "-n", NAMESPACE, &deployment, "--"], command].concat()).await
}

/// How often the kubelet restarted a program's only container.
pub(crate) async fn restarts(program: &str) -> Result<u32> {
    let selector = format!("app.kubernetes.io/component={program}");
    let path = "jsonpath={.items[*].status.containerStatuses[0].restartCount}";
    let text = kubectl(&["get", "pods", "-n", NAMESPACE, "-l", &selector, "-o", path]).await?;
    text.split_whitespace().map(|count| Ok(count.parse::<u32>()?)).sum()
}

/// Kills a program's only process at once, as the host can; replicas of an earlier revision may still be ending.
pub(crate) async fn kill(program: &str) -> Result<()> {
    let only = eventually(READY_WITHIN, "one process of the program is left", async || {
        let found = processes(program)?;
        Ok(match found.as_slice() {
            [only] => Look::Met(*only),
            several => Look::NotYet(format!("{} processes", several.len())),
        })
    })
    .await?;
    kill_process(only, Signal::KILL).with_context(|| format!("killing {program}"))
}

/// What the kernel says of a program's process: no capability, no new privilege, a system call filter.
pub(crate) fn is_confined(program: &str) -> Result<()> {
    let processes = processes(program)?;
    let pid = processes
        .first()
        .with_context(|| format!("no process of {program} runs on this node"))?;
    let status = fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero()))?;
    for line in [
        "CapBnd:\t0000000000000000",
        "NoNewPrivs:\t1",
        "Seccomp:\t2",
        "Uid:\t65532\t65532\t65532\t65532",
    ] {
        ensure!(status.contains(line), "{program} runs without {line:?}");
    }
    Ok(())
}

fn processes(program: &str) -> Result<Vec<Pid>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw) else {
            continue;
        };
        let executable = fs::read_link(format!("/proc/{}/exe", pid.as_raw_nonzero()));
        if executable.is_ok_and(|path| path == Path::new("/").join(program)) {
            found.push(pid);
        }
    }
    Ok(found)
}
