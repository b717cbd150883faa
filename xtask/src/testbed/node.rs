//! The bed's second tier, `--node`: one real node (kubelet, containerd, scheduler, kube-proxy, cluster DNS) beside the
//! control plane, so that Helm installs pods that run. What it needs of the host is in `host`.

pub(crate) mod cgroups;
pub(crate) mod components;
mod files;
pub(crate) mod furnish;
pub(crate) mod host;
pub(crate) mod images;

use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::kubectl;
use super::plan::Plan;
use super::processes::{start, wait_ready};

/// The node's name, which is also its host name.
pub(crate) const NAME: &str = "bed-node";
/// The node's address, inside a network of its own.
pub(crate) const ADDRESS: &str = "10.200.0.1";
/// Where ClusterIPs come from; the first is the API server's.
pub(crate) const SERVICE_NETWORK: &str = "10.96.0.0/16";
pub(crate) const API_SERVER_CLUSTER_IP: &str = "10.96.0.1";

const POD_NETWORK: &str = "10.244.0.0/16";
const NODE_POD_NETWORK: &str = "10.244.0.0/24";
const IMPORTED_WITHIN: Duration = Duration::from_secs(60);
const POLL_EVERY: Duration = Duration::from_millis(100);

/// GPUs the node says it has: nothing looks for the hardware.
const GPUS: &str = "8";

/// What a bed with a node has beyond one without.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Node {
    /// Name of its control groups, unique on the host.
    pub(crate) cgroup: String,
    /// Image archives that are there before any pod.
    pub(crate) images: Vec<PathBuf>,
}

/// Before the control plane: what its programs and the node's read.
pub(crate) fn prepare(plan: &Plan) -> Result<()> {
    files::write(plan)
}

/// Once containerd runs: every image the pods will want. Nothing is ever pulled.
pub(crate) fn import_images(plan: &Plan, node: &Node) -> Result<()> {
    let deadline = Instant::now() + IMPORTED_WITHIN;
    for image in &node.images {
        loop {
            let output = Command::new("ctr")
                .args([
                    "--address",
                    components::CONTAINERD_SOCKET,
                    "--namespace",
                    "k8s.io",
                    "image",
                    "import",
                ])
                .arg(image)
                .env("TMPDIR", plan.path("tmp"))
                .output()
                .context("running ctr (of containerd)")?;
            if output.status.success() {
                break;
            }
            // Right after its socket opens, containerd may not have loaded everything.
            ensure!(
                Instant::now() < deadline,
                "importing {} failed:\n{}",
                image.display(),
                String::from_utf8_lossy(&output.stderr)
            );
            thread::sleep(POLL_EVERY);
        }
    }
    Ok(())
}

/// Once the node's processes run: gives the Node what KAITO looks for, waits until it is Ready, and starts kube-proxy,
/// which without its Node would wait for half a minute.
pub(crate) fn join(plan: &Plan) -> Result<()> {
    let deadline = Instant::now() + IMPORTED_WITHIN;
    let node = format!("node/{NAME}");
    while let Err(error) = kubectl::run(plan, ["get", &node]) {
        ensure!(Instant::now() < deadline, "the node did not register: {error:#}");
        thread::sleep(POLL_EVERY);
    }
    kubectl::run(
        plan,
        [
            "label",
            &node,
            "apps=phi-4-mini",
            "nvidia.com/gpu.product=NVIDIA-A100-80GB-PCIe",
            "nvidia.com/gpu.count=1",
            "nvidia.com/gpu.memory=81920",
        ],
    )?;
    // An extended resource: the kubelet keeps what it does not know.
    let gpus = format!(r#"{{"status":{{"capacity":{{"nvidia.com/gpu":"{GPUS}"}}}}}}"#);
    kubectl::run(
        plan,
        ["patch", &node, "--subresource=status", "--type=merge", "--patch", &gpus],
    )?;
    kubectl::run(plan, ["wait", &node, "--for=condition=Ready", "--timeout=60s"])?;
    wait_ready(plan, start(plan, &[components::PROXY])?)
}
