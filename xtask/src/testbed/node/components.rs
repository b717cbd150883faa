//! The node's processes: command lines and how each says it is ready.

use super::{ADDRESS, NAME};
use crate::testbed::components::{Component, kubeconfig};
use crate::testbed::plan::Plan;
use crate::testbed::probe::Probe;

pub(crate) const CONTAINERD_SOCKET: &str = "/run/containerd/containerd.sock";
pub(crate) const PROXY_HEALTH: &str = "127.0.0.1:10256";
pub(crate) const DNS_READY: &str = "127.0.0.1:8181";

pub(crate) const CONTAINERD: &str = "containerd";
/// Started by `join`, once there is a Node.
pub(crate) const PROXY: &str = "kube-proxy";
/// Started with the controllers.
pub(crate) const LATER: [&str; 3] = ["kube-scheduler", "kubelet", "slimdns"];

pub(crate) fn all(plan: &Plan) -> Vec<Component> {
    vec![containerd(plan), scheduler(plan), kubelet(plan), dns(plan), proxy(plan)]
}

fn component(name: &'static str, arguments: Vec<String>, ready: Probe) -> Component {
    Component {
        name,
        arguments,
        environment: Vec::new(),
        ready,
    }
}

fn containerd(plan: &Plan) -> Component {
    let arguments = vec!["--config".to_owned(), plan.path("containerd.toml").display().to_string()];
    component(CONTAINERD, arguments, Probe::Socket(CONTAINERD_SOCKET))
}

fn scheduler(plan: &Plan) -> Component {
    let (pki, kubeconfig) = (plan.path("pki").display().to_string(), kubeconfig(plan, "scheduler"));
    let arguments = vec![
        format!("--kubeconfig={kubeconfig}"),
        format!("--authentication-kubeconfig={kubeconfig}"),
        format!("--authorization-kubeconfig={kubeconfig}"),
        "--bind-address=127.0.0.1".to_owned(),
        format!("--tls-cert-file={pki}/kcm-server.crt"),
        format!("--tls-private-key-file={pki}/kcm-server.key"),
        "--leader-elect=false".to_owned(),
    ];
    component("kube-scheduler", arguments, Probe::Https("127.0.0.1:10259", "/healthz"))
}

fn kubelet(plan: &Plan) -> Component {
    let arguments = vec![
        format!("--config={}", plan.path("kubelet.yaml").display()),
        format!("--kubeconfig={}", kubeconfig(plan, "kubelet")),
        "--root-dir=/var/lib/kubelet".to_owned(),
        format!("--cert-dir={}", plan.path("kubelet/pki").display()),
        format!("--hostname-override={NAME}"),
        format!("--node-ip={ADDRESS}"),
    ];
    component("kubelet", arguments, Probe::Http("127.0.0.1:10248", "/healthz"))
}

fn dns(plan: &Plan) -> Component {
    let arguments = vec!["-conf".to_owned(), plan.path("Corefile").display().to_string()];
    component("slimdns", arguments, Probe::Http(DNS_READY, "/ready"))
}

fn proxy(plan: &Plan) -> Component {
    let arguments = vec![
        format!("--config={}", plan.path("proxy.yaml").display()),
        format!("--hostname-override={NAME}"),
    ];
    component(PROXY, arguments, Probe::Http(PROXY_HEALTH, "/healthz"))
}
