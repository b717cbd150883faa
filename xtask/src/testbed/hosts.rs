//! The bed's name service: a hosts file of its own, which tests rewrite in place, and no resolver at all, so that
//! every other name fails at once.

use std::fs;

use anyhow::Result;

use super::node;
use super::plan::Plan;

/// Addresses meant for scaler replicas, the first of which the Service name stands for at the start.
pub(crate) const SCALER_ADDRESSES: [&str; 3] = ["10.244.254.10", "10.244.254.11", "10.244.254.12"];

const SCALER_NAMES: &str = "keda-kaito-scaler-svc.keda.svc.cluster.local keda-kaito-scaler-svc.keda.svc \
                            keda-kaito-scaler-svc.keda keda-kaito-scaler-svc";

/// Writes the files that are mounted over `/etc/hosts` and `/etc/resolv.conf`.
pub(crate) fn write(plan: &Plan) -> Result<()> {
    let [first, ..] = SCALER_ADDRESSES;
    let mut text = "127.0.0.1 localhost\n127.0.0.1 kubernetes.default.svc.cluster.local kubernetes.default.svc\n".to_owned();
    let mut resolver = String::new();
    if plan.node.is_some() {
        // The cluster's own DNS knows the rest.
        resolver = format!("nameserver {}\n", node::ADDRESS);
    } else {
        text += &format!("{first} {SCALER_NAMES}\n");
    }
    fs::write(plan.path("hosts"), text)?;
    fs::write(plan.path("resolv.conf"), resolver)?;
    Ok(())
}
