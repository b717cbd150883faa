//! The environment a command finds in the bed: how to reach the API server, where everything lies.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::symlink;

use anyhow::Result;

use super::hosts::SCALER_ADDRESSES;
use super::objects;
use super::plan::{Part, Plan};
use super::processes::quoted;
use crate::workspace;

/// Where the stand-in for scheduler, kubelet and vLLM takes orders.
pub(crate) const FLEET_CONTROL: &str = "10.244.255.1:9900";

pub(crate) fn variables(plan: &Plan) -> Vec<(&'static str, String)> {
    let path = |below: &str| plan.path(below).display().to_string();
    let mut variables = vec![
        ("KUBECONFIG", path("kubeconfig/admin")),
        ("PATH", format!("{}:{}", path("bin"), env::var("PATH").unwrap_or_default())),
        ("TMPDIR", path("tmp")),
        ("KUBECACHEDIR", path("kubectl")),
        ("HELM_CACHE_HOME", path("helm/cache")),
        ("HELM_CONFIG_HOME", path("helm/config")),
        ("HELM_DATA_HOME", path("helm/data")),
        // There is no registry to be reached: cargo says so at once, in place of retrying.
        ("CARGO_NET_OFFLINE", "true".to_owned()),
        ("TESTBED_DIR", plan.dir.display().to_string()),
        ("TESTBED_BIN", path("bin")),
        ("TESTBED_PROGRAMS", workspace::target().join("debug").display().to_string()),
        ("TESTBED_HOSTS", path("hosts")),
        ("TESTBED_KEDA_CRDS", path(objects::KEDA_CRDS)),
        ("TESTBED_KAITO_CRDS", path(objects::KAITO_CRDS)),
        ("TESTBED_SCALER_IPS", SCALER_ADDRESSES.join(",")),
    ];
    if plan.has(Part::Fleet) {
        variables.push(("TESTBED_FLEET", format!("http://{FLEET_CONTROL}")));
    }
    if plan.node.is_some() {
        variables.push(("TESTBED_NODE", super::node::NAME.to_owned()));
    }
    if let Some(file) = &plan.audit_log {
        variables.push(("TESTBED_AUDIT_LOG", file.display().to_string()));
    }
    variables
}

/// Writes `env`, to be read by a shell, and `bin` with every program of the bed.
pub(crate) fn write(plan: &Plan) -> Result<()> {
    for (name, program) in &plan.programs {
        symlink(program, plan.path("bin").join(name))?;
    }
    let mut text = String::new();
    for (name, value) in variables(plan) {
        writeln!(text, "export {name}={}", quoted(&value))?;
    }
    fs::write(plan.path("env"), text)?;
    Ok(())
}
