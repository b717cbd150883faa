//! Configuration files of the node's programs.

use std::fs;

use anyhow::Result;
use serde_json::{Value, json};

use super::host::CNI;
use super::{ADDRESS, NODE_POD_NETWORK, POD_NETWORK, components, images};
use crate::testbed::plan::Plan;

pub(crate) fn write(plan: &Plan) -> Result<()> {
    fs::write(plan.path("containerd.toml"), containerd(plan))?;
    fs::write(plan.path("cni/10-bed.conflist"), serde_json::to_vec_pretty(&network())?)?;
    fs::write(plan.path("kubelet.yaml"), serde_json::to_vec_pretty(&kubelet(plan))?)?;
    fs::write(plan.path("proxy.yaml"), serde_json::to_vec_pretty(&proxy(plan))?)?;
    fs::write(plan.path("Corefile"), corefile(plan))?;
    fs::write(plan.path("resolv.empty"), "")?;
    Ok(())
}

fn containerd(plan: &Plan) -> String {
    let (root, cni) = (plan.path("containerd"), plan.path("cni"));
    let (root, cni) = (root.display(), cni.display());
    let (socket, pause) = (components::CONTAINERD_SOCKET, images::PAUSE);
    format!(
        r#"version = 2
root = "{root}/root"
state = "/run/containerd"
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs", "io.containerd.internal.v1.tracing", "io.containerd.tracing.processor.v1.otlp"]
[grpc]
  address = "{socket}"
[plugins."io.containerd.internal.v1.opt"]
  path = "{root}/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  enable_unprivileged_ports = true
  enable_unprivileged_icmp = true
  disable_apparmor = true
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{CNI}"
    conf_dir = "{cni}"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
"#
    )
}

fn network() -> Value {
    json!({"cniVersion": "0.4.0", "name": "bed", "plugins": [
        {
            "type": "bridge", "bridge": "cni0", "isGateway": true, "isDefaultGateway": true, "ipMasq": false,
            "hairpinMode": true, "forceAddress": true,
            "ipam": {"type": "host-local", "ranges": [[{"subnet": NODE_POD_NETWORK}]], "dataDir": "/run/cni-ipam"},
        },
        {"type": "portmap", "capabilities": {"portMappings": true}, "snat": true},
    ]})
}

fn kubelet(plan: &Plan) -> Value {
    let pki = |file: &str| plan.path("pki").join(file);
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": false}, "webhook": {"enabled": true}, "x509": {"clientCAFile": pki("ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": pki("kubelet-server.crt"),
        "tlsPrivateKeyFile": pki("kubelet-server.key"),
        "address": "0.0.0.0",
        "cgroupDriver": "cgroupfs",
        "failCgroupV1": false,
        "failSwapOn": false,
        "containerRuntimeEndpoint": format!("unix://{}", components::CONTAINERD_SOCKET),
        "clusterDNS": [ADDRESS],
        "clusterDomain": "cluster.local",
        "resolvConf": plan.path("resolv.empty"),
        "volumePluginDir": plan.path("kubelet/volumeplugins"),
        // Images exist only here: none may be collected.
        "imageGCHighThresholdPercent": 100,
        "evictionHard": {
            "memory.available": "50Mi", "nodefs.available": "1%", "nodefs.inodesFree": "1%", "imagefs.available": "1%",
        },
        "enforceNodeAllocatable": ["pods"],
        "nodeStatusUpdateFrequency": "5s",
    })
}

fn proxy(plan: &Plan) -> Value {
    json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "clientConnection": {"kubeconfig": plan.path("kubeconfig/proxy")},
        "clusterCIDR": POD_NETWORK,
        // The connection table belongs to the host.
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        // The default of one second shows as refused connections right after a rollout.
        "nftables": {"minSyncPeriod": "100ms"},
        "healthzBindAddress": components::PROXY_HEALTH,
        "metricsBindAddress": "127.0.0.1:10249",
    })
}

fn corefile(plan: &Plan) -> String {
    format!(
        ".:53 {{
  bind {ADDRESS}
  errors
  health 127.0.0.1:8091
  ready {}
  kubernetes cluster.local cluster.example in-addr.arpa ip6.arpa {{
    kubeconfig {} testbed
    pods insecure
    ttl 5
  }}
  cache 5
}}
",
        components::DNS_READY,
        plan.path("kubeconfig/admin").display()
    )
}
