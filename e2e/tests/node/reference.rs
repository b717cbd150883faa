//! A release of the Go scaler's chart, made of the objects recorded from it, and its upgrade to ours.

use std::fs;

use anyhow::{Result, ensure};

use crate::release::{CREDENTIALS, NAMESPACE, Release, chart, deployment};
use crate::shell::{helm, kubectl};

/// The objects of the Go scaler's chart, with its names, labels and immutable selector. Nothing runs: its image is not here.
const TEMPLATES: &str = r#"apiVersion: v1
kind: Secret
metadata: {name: keda-kaito-scaler-server-certs, namespace: keda}
type: Opaque
---
apiVersion: v1
kind: Secret
metadata: {name: keda-kaito-scaler-client-certs, namespace: keda}
type: Opaque
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: keda-kaito-scaler-sa, namespace: keda}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: keda-kaito-scaler-clusterrole}
rules:
  - {apiGroups: [""], resources: [secrets], verbs: [get, list, watch, update]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: keda-kaito-scaler-clusterrole-binding}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: keda-kaito-scaler-clusterrole}
subjects: [{kind: ServiceAccount, name: keda-kaito-scaler-sa, namespace: keda}]
---
apiVersion: v1
kind: Service
metadata: {name: keda-kaito-scaler-svc, namespace: keda}
spec:
  selector: {app.kubernetes.io/name: keda-kaito-scaler, app.kubernetes.io/instance: {{ .Release.Name }}}
  ports: [{name: grpc, port: 10450, targetPort: 10450}]
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: keda-kaito-scaler
  namespace: keda
spec:
  replicas: 1
  selector:
    matchLabels: {app.kubernetes.io/name: keda-kaito-scaler, app.kubernetes.io/instance: {{ .Release.Name }}}
  template:
    metadata:
      labels: {app.kubernetes.io/name: keda-kaito-scaler, app.kubernetes.io/instance: {{ .Release.Name }}}
    spec:
      serviceAccountName: keda-kaito-scaler-sa
      securityContext: {runAsNonRoot: true, runAsUser: 65532, seccompProfile: {type: RuntimeDefault}}
      containers:
        - name: keda-kaito-scaler
          image: bed.local/shell:1
          command: [sleep, "100000"]
          securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
"#;

pub(crate) async fn upgrade() -> Result<()> {
    let release = Release::installed(&[]).await?;
    release.uninstall().await?;
    let mut delete = vec!["delete", "secrets", "-n", NAMESPACE, "--ignore-not-found"];
    delete.extend(CREDENTIALS);
    kubectl(&delete).await?;
    kubectl(&["wait", "pods", "--all", "-n", NAMESPACE, "--for=delete", "--timeout=120s"]).await?;

    let folder = std::env::temp_dir().join("go-scaler");
    fs::create_dir_all(folder.join("templates"))?;
    fs::write(
        folder.join("Chart.yaml"),
        "apiVersion: v2\nname: keda-kaito-scaler\nversion: 0.6.2\n",
    )?;
    fs::write(folder.join("templates/all.yaml"), TEMPLATES)?;
    let folder = folder.display().to_string();
    helm(&["install", "scaler", &folder, "-n", NAMESPACE, "--wait", "--timeout=120s"]).await?;
    let identity = [
        "get",
        "secrets",
        "-n",
        NAMESPACE,
        "keda-kaito-scaler-server-certs",
        "keda-kaito-scaler-client-certs",
    ];
    let uids = ["-o", "jsonpath={.items[*].metadata.uid}"];
    let identity = [identity.as_slice(), &uids].concat();
    let before = kubectl(&identity).await?;
    ensure!(
        before.split_whitespace().count() == 2,
        "the Go scaler's Secrets are not there: {before:?}"
    );

    release.upgrade(&[]).await?;
    ensure!(
        kubectl(&identity).await? == before,
        "the upgrade deleted the Go scaler's Secrets"
    );
    for program in ["scaler", "certmgr", "provisioner"] {
        kubectl(&["rollout", "status", &deployment(program), "-n", NAMESPACE, "--timeout=120s"]).await?;
    }
    let left = kubectl(&["get", "clusterroles,clusterrolebindings", "-o", "name"]).await?;
    ensure!(
        !left.contains("keda-kaito-scaler-clusterrole"),
        "the Go scaler's rights are still granted"
    );
    // A later release still spares them.
    release.uninstall().await?;
    ensure!(kubectl(&identity).await? == before, "uninstalling deleted the Secrets");
    ensure!(chart().is_dir());
    Ok(())
}
