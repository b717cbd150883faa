//! Furnishes the private namespaces the bed's init finds itself in: its own `/proc`, a memory file system for
//! everything it writes, one local network 10.244.0.0/16, its own name service.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use rustix::mount::{MountFlags, mount, mount_bind};

use super::plan::Plan;
use super::{hosts, node};

/// All of it becomes local, so that every fake pod has an address of its own which EndpointSlices accept.
const POD_NETWORK: &str = "10.244.0.0/16";

pub(crate) fn furnish(plan: &Plan) -> Result<()> {
    if plan.node.is_some() {
        node::furnish::mounts()?;
    }
    let plain = MountFlags::NOSUID | MountFlags::NODEV;
    mount("proc", "/proc", "proc", plain | MountFlags::NOEXEC, None).context("mounting /proc")?;
    mount("testbed", &plan.dir, "tmpfs", plain, Some(c"mode=0755"))
        .with_context(|| format!("mounting a memory file system on {}", plan.dir.display()))?;
    for below in ["bin", "crds", "helm", "kubectl", "logs", "objects", "run", "tmp"] {
        fs::create_dir(plan.path(below))?;
    }
    ip(&["link", "set", "lo", "up"])?;
    if plan.node.is_some() {
        node::furnish::network_and_settings(plan)?;
    } else {
        ip(&["address", "add", POD_NETWORK, "dev", "lo"])?;
    }
    hosts::write(plan)?;
    cover("/etc/hosts", &plan.path("hosts"))?;
    cover("/etc/resolv.conf", &plan.path("resolv.conf"))
}

/// Mounts the file `with` over `file`, if there is one.
pub(crate) fn cover(file: &str, with: &Path) -> Result<()> {
    if !Path::new(file).exists() {
        return Ok(());
    }
    mount_bind(with, file).with_context(|| format!("mounting {} over {file}", with.display()))
}

pub(crate) fn ip(arguments: &[&str]) -> Result<()> {
    let status = Command::new("ip")
        .args(arguments)
        .status()
        .context("running ip (of iproute2), which the test bed needs")?;
    ensure!(status.success(), "ip {} failed ({status})", arguments.join(" "));
    Ok(())
}
