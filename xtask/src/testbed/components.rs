//! The bed's processes: command lines, environment, and how each says it is ready. Ports are constants: every bed has
//! a network of its own.

use anyhow::{Context, Result};

use super::environment::FLEET_CONTROL;
use super::node;
use super::pki;
use super::plan::{Part, Plan};
use super::probe::Probe;

pub(crate) const API_SERVER: &str = "127.0.0.1:6443";
pub(crate) const KEDA_ADAPTER_PORT: u16 = 16444;
pub(crate) const KEDA_WEBHOOKS_PORT: u16 = 16445;

const CONTROL_PLANE: [&str; 2] = ["etcd", "kube-apiserver"];
pub(crate) const CONTROLLERS: &str = "kube-controller-manager";
pub(crate) const KEDA: [&str; 3] = ["keda-operator", "keda-adapter", "keda-webhooks"];
pub(crate) const KAITO: &str = "kaito-workspace";
pub(crate) const FLEET: &str = "fleet";

const ETCD: &str = "127.0.0.1:2379";
const ETCD_PEER: &str = "http://127.0.0.1:2380";
const ALL_CONTROLLERS: &str = "horizontal-pod-autoscaler-controller,garbage-collector-controller,\
                               namespace-controller,serviceaccount-controller,statefulset-controller,\
                               endpointslice-controller";
/// What a real node and what Helm installs on it need beside them.
const NODE_CONTROLLERS: &str = "deployment-controller,replicaset-controller,daemonset-controller,job-controller,\
                                serviceaccount-token-controller,root-ca-certificate-publisher-controller,\
                                disruption-controller,node-lifecycle-controller,taint-eviction-controller,\
                                pod-garbage-collector-controller,clusterrole-aggregation-controller,\
                                resourcequota-controller";
const KUBELET: &str = "10.244.255.1:10250";

#[derive(Debug)]
pub(crate) struct Component {
    pub(crate) name: &'static str,
    pub(crate) arguments: Vec<String>,
    pub(crate) environment: Vec<(&'static str, String)>,
    pub(crate) ready: Probe,
}

/// The component called `name`.
pub(crate) fn named(plan: &Plan, name: &str) -> Result<Component> {
    all(plan)
        .into_iter()
        .find(|component| component.name == name)
        .with_context(|| format!("no process of the test bed is called {name:?}"))
}

/// Every component this bed has a program for, whether or not it is to be started at once.
pub(crate) fn all(plan: &Plan) -> Vec<Component> {
    let mut known = vec![
        etcd(plan),
        api_server(plan),
        controllers(plan),
        keda_operator(plan),
        keda_adapter(plan),
        keda_webhooks(plan),
        kaito(plan),
        fleet(plan),
    ];
    if plan.node.is_some() {
        known.extend(node::components::all(plan));
    }
    known
        .into_iter()
        .filter(|component| plan.programs.contains_key(component.name))
        .collect()
}

/// Names of the components that everything else waits for.
pub(crate) fn first(plan: &Plan) -> Vec<&'static str> {
    let mut names = CONTROL_PLANE.to_vec();
    if plan.node.is_some() {
        names.push(node::components::CONTAINERD);
    }
    names
}

/// Names of the components that start with the bed once the API server is up and the CRDs are there.
pub(crate) fn later(plan: &Plan) -> Vec<&'static str> {
    let mut names = vec![CONTROLLERS];
    if plan.node.is_some() {
        names.extend(node::components::LATER);
    }
    if plan.has(Part::Fleet) {
        names.push(FLEET);
    }
    if plan.has(Part::Keda) {
        names.extend(KEDA);
    }
    if plan.has(Part::Kaito) {
        names.push(KAITO);
    }
    names
}

fn etcd(plan: &Plan) -> Component {
    let arguments = vec![
        format!("--data-dir={}", plan.path("etcd").display()),
        "--unsafe-no-fsync".to_owned(),
        "--log-level=warn".to_owned(),
        format!("--listen-client-urls=http://{ETCD}"),
        format!("--advertise-client-urls=http://{ETCD}"),
        format!("--listen-peer-urls={ETCD_PEER}"),
        format!("--initial-advertise-peer-urls={ETCD_PEER}"),
        format!("--initial-cluster=default={ETCD_PEER}"),
    ];
    Component {
        name: "etcd",
        arguments,
        environment: Vec::new(),
        ready: Probe::Http(ETCD, "/readyz"),
    }
}

fn api_server(plan: &Plan) -> Component {
    let pki = plan.path("pki").display().to_string();
    let mut arguments = vec![
        format!("--etcd-servers=http://{ETCD}"),
        "--secure-port=6443".to_owned(),
        format!("--tls-cert-file={pki}/apiserver.crt"),
        format!("--tls-private-key-file={pki}/apiserver.key"),
        format!("--client-ca-file={pki}/ca.crt"),
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local".to_owned(),
        format!("--service-account-key-file={pki}/sa.pub"),
        format!("--service-account-signing-key-file={pki}/sa.key"),
        "--profiling=false".to_owned(),
        format!("--requestheader-client-ca-file={pki}/front-proxy-ca.crt"),
        "--requestheader-allowed-names=front-proxy-client".to_owned(),
        "--requestheader-extra-headers-prefix=X-Remote-Extra-".to_owned(),
        "--requestheader-group-headers=X-Remote-Group".to_owned(),
        "--requestheader-username-headers=X-Remote-User".to_owned(),
        format!("--proxy-client-cert-file={pki}/front-proxy-client.crt"),
        format!("--proxy-client-key-file={pki}/front-proxy-client.key"),
    ];
    arguments.extend(if plan.node.is_some() {
        [
            "--bind-address=0.0.0.0".to_owned(),
            format!("--advertise-address={}", node::ADDRESS),
            format!("--service-cluster-ip-range={}", node::SERVICE_NETWORK),
            "--authorization-mode=Node,RBAC".to_owned(),
            "--enable-admission-plugins=NodeRestriction".to_owned(),
            format!("--kubelet-client-certificate={pki}/kubelet-client.crt"),
            format!("--kubelet-client-key={pki}/kubelet-client.key"),
            format!("--kubelet-certificate-authority={pki}/ca.crt"),
            "--kubelet-preferred-address-types=InternalIP".to_owned(),
        ]
        .to_vec()
    } else {
        [
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            // A loopback address is refused in the endpoints of the Service "kubernetes".
            "--endpoint-reconciler-type=none",
            "--service-cluster-ip-range=10.0.0.0/24",
            "--authorization-mode=RBAC",
            // Pods need neither tokens nor ServiceAccounts here: nothing runs in them.
            "--disable-admission-plugins=ServiceAccount",
        ]
        .map(str::to_owned)
        .to_vec()
    });
    if let Some(file) = &plan.audit_log {
        arguments.push(format!("--audit-policy-file={}", plan.path("audit-policy.json").display()));
        arguments.push(format!("--audit-log-path={}", file.display()));
        // In megabytes: readers follow one file, which is not to be rotated away under them.
        arguments.push("--audit-log-maxsize=4096".to_owned());
    }
    Component {
        name: "kube-apiserver",
        arguments,
        environment: Vec::new(),
        ready: Probe::Https(API_SERVER, "/readyz"),
    }
}

fn controllers(plan: &Plan) -> Component {
    let pki = plan.path("pki").display().to_string();
    let kubeconfig = kubeconfig(plan, "kcm");
    let mut controllers = ALL_CONTROLLERS.to_owned();
    if plan.node.is_some() {
        controllers += &format!(",{NODE_CONTROLLERS}");
    }
    let arguments = vec![
        format!("--kubeconfig={kubeconfig}"),
        format!("--authentication-kubeconfig={kubeconfig}"),
        format!("--authorization-kubeconfig={kubeconfig}"),
        "--bind-address=127.0.0.1".to_owned(),
        "--secure-port=10257".to_owned(),
        format!("--tls-cert-file={pki}/kcm-server.crt"),
        format!("--tls-private-key-file={pki}/kcm-server.key"),
        "--leader-elect=false".to_owned(),
        "--profiling=false".to_owned(),
        format!("--controllers={controllers}"),
        "--use-service-account-credentials=true".to_owned(),
        format!("--service-account-private-key-file={pki}/sa.key"),
        format!("--root-ca-file={pki}/ca.crt"),
        format!("--horizontal-pod-autoscaler-sync-period={}", plan.hpa_sync_period),
    ];
    let ready = Probe::Https("127.0.0.1:10257", "/healthz");
    Component {
        name: CONTROLLERS,
        arguments,
        environment: Vec::new(),
        ready,
    }
}

/// An empty `WATCH_NAMESPACE` means every namespace; none at all is an error.
fn keda_environment(plan: &Plan) -> Vec<(&'static str, String)> {
    vec![
        ("WATCH_NAMESPACE", String::new()),
        ("POD_NAMESPACE", plan.keda_namespace.clone()),
        ("KEDA_CLUSTER_OBJECT_NAMESPACE", plan.keda_namespace.clone()),
    ]
}

/// Of KEDA's ServiceAccount.
fn keda_kubeconfig(plan: &Plan) -> String {
    kubeconfig(plan, &pki::keda_user(&plan.keda_namespace))
}

fn keda_operator(plan: &Plan) -> Component {
    let arguments = vec![
        format!("--kubeconfig={}", keda_kubeconfig(plan)),
        format!("--cert-dir={}", plan.path("pki/keda").display()),
        "--metrics-bind-address=127.0.0.1:16080".to_owned(),
        "--health-probe-bind-address=127.0.0.1:16081".to_owned(),
        "--metrics-service-bind-address=127.0.0.1:9666".to_owned(),
        "--zap-log-level=info".to_owned(),
    ];
    let ready = Probe::Http("127.0.0.1:16081", "/readyz");
    Component {
        name: "keda-operator",
        arguments,
        environment: keda_environment(plan),
        ready,
    }
}

fn keda_adapter(plan: &Plan) -> Component {
    let (pki, kubeconfig) = (plan.path("pki").display().to_string(), keda_kubeconfig(plan));
    let arguments = vec![
        format!("--kubeconfig={kubeconfig}"),
        format!("--lister-kubeconfig={kubeconfig}"),
        format!("--authentication-kubeconfig={kubeconfig}"),
        format!("--authorization-kubeconfig={kubeconfig}"),
        "--bind-address=127.0.0.1".to_owned(),
        format!("--secure-port={KEDA_ADAPTER_PORT}"),
        format!("--cert-dir={pki}/keda"),
        format!("--tls-cert-file={pki}/keda/tls.crt"),
        format!("--tls-private-key-file={pki}/keda/tls.key"),
        format!("--client-ca-file={pki}/ca.crt"),
        "--metrics-service-address=localhost:9666".to_owned(),
        "--port=16082".to_owned(),
    ];
    let ready = Probe::Https(API_SERVER, "/apis/external.metrics.k8s.io/v1beta1");
    Component {
        name: "keda-adapter",
        arguments,
        environment: keda_environment(plan),
        ready,
    }
}

fn keda_webhooks(plan: &Plan) -> Component {
    let arguments = vec![
        format!("--kubeconfig={}", keda_kubeconfig(plan)),
        format!("--cert-dir={}", plan.path("pki/keda").display()),
        format!("--port={KEDA_WEBHOOKS_PORT}"),
        "--metrics-bind-address=0".to_owned(),
        "--health-probe-bind-address=127.0.0.1:16083".to_owned(),
    ];
    let ready = Probe::Http("127.0.0.1:16083", "/readyz");
    Component {
        name: "keda-webhooks",
        arguments,
        environment: keda_environment(plan),
        ready,
    }
}

fn kaito(plan: &Plan) -> Component {
    let arguments = vec![
        format!("--kubeconfig={}", kubeconfig(plan, "kaito")),
        "--webhook=false".to_owned(),
        "--node-provisioner=byo".to_owned(),
        "--metrics-bind-address=127.0.0.1:16084".to_owned(),
        "--health-probe-bind-address=127.0.0.1:16085".to_owned(),
    ];
    let environment = vec![
        ("CLOUD_PROVIDER", "azure".to_owned()),
        ("PRESET_REGISTRY_NAME", node::images::KAITO_REGISTRY.to_owned()),
    ];
    Component {
        name: KAITO,
        arguments,
        environment,
        ready: Probe::Http("127.0.0.1:16085", "/readyz"),
    }
}

fn fleet(plan: &Plan) -> Component {
    let arguments = vec![
        format!("--kubeconfig={}", kubeconfig(plan, "admin")),
        format!("--kubelet-address={KUBELET}"),
        format!("--control-address={FLEET_CONTROL}"),
        "--pod-cidr-prefix=10.244.".to_owned(),
    ];
    Component {
        name: FLEET,
        arguments,
        environment: Vec::new(),
        ready: Probe::Http(FLEET_CONTROL, "/healthz"),
    }
}

pub(crate) fn kubeconfig(plan: &Plan, user: &str) -> String {
    plan.path("kubeconfig").join(user).display().to_string()
}
