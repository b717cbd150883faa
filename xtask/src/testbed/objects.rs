//! What is created in the API server before the programs can run: CRDs, and KEDA's RBAC, aggregated API and
//! webhooks, read from the modules the programs were built from.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::components::{KEDA_ADAPTER_PORT, KEDA_WEBHOOKS_PORT};
use super::kubectl;
use super::plan::Plan;

pub(crate) const KEDA_CRDS: &str = "crds/keda";
pub(crate) const KAITO_CRDS: &str = "crds/kaito";

const KAITO_CRD_FILES: [&str; 2] = ["kaito.sh_inferencesets.yaml", "kaito.sh_workspaces.yaml"];
const KEDA_RBAC_FILES: [&str; 5] = [
    "service_account/service_account.yaml",
    "rbac/role.yaml",
    "rbac/role_binding.yaml",
    "metrics-server/role.yaml",
    "metrics-server/role_binding.yaml",
];

/// Copies the CRDs and makes KEDA's objects into files of the bed. Nothing is sent yet.
pub(crate) fn write(plan: &Plan) -> Result<()> {
    let (keda, kaito) = (plan.keda.join("config/crd/bases"), plan.kaito.join("config/crd/bases"));
    copy(&keda, yaml_files(&keda)?, &plan.path(KEDA_CRDS))?;
    copy(&kaito, KAITO_CRD_FILES.map(str::to_owned), &plan.path(KAITO_CRDS))?;

    write_keda(plan)
}

/// KEDA's objects, for the namespace it is to be in.
pub(crate) fn write_keda(plan: &Plan) -> Result<()> {
    let (objects, rbac) = (plan.path("objects"), plan.path("objects/rbac"));
    copy(&plan.keda.join("config"), KEDA_RBAC_FILES.map(str::to_owned), &rbac)?;
    for entry in fs::read_dir(&rbac)? {
        let file = entry?.path();
        let theirs = fs::read_to_string(&file)?;
        let ours: Vec<String> = theirs.lines().map(|line| moved(line, &plan.keda_namespace)).collect();
        fs::write(&file, ours.join("\n"))?;
    }
    fs::write(objects.join("keda.json"), serde_json::to_vec_pretty(&keda_objects(plan)?)?)?;
    Ok(())
}

/// A line of KEDA's manifests, with `namespace` in the place of theirs.
fn moved(line: &str, namespace: &str) -> String {
    match line.strip_suffix("namespace: keda") {
        Some(indent) => format!("{indent}namespace: {namespace}"),
        None => line.to_owned(),
    }
}

/// Creates the CRDs in these folders of the bed and waits until they are served.
pub(crate) fn install_crds(plan: &Plan, folders: &[&str]) -> Result<()> {
    let files: Vec<String> = folders
        .iter()
        .map(|folder| format!("--filename={}", plan.path(folder).display()))
        .collect();
    apply(plan, &files)?;
    let wait = ["wait", "--for=condition=Established", "--timeout=60s"];
    kubectl::run(plan, wait.into_iter().map(str::to_owned).chain(files)).context("waiting for the CRDs to be served")
}

/// Creates KEDA's namespace, RBAC, aggregated API and webhooks.
pub(crate) fn install_keda(plan: &Plan) -> Result<()> {
    let objects = plan.path("objects");
    let file = |below: &str| format!("--filename={}", objects.join(below).display());
    apply(plan, &[file("keda.json"), file("rbac")])
}

/// Server-side, because a CRD of 667 kB does not fit into client-side apply's annotation.
fn apply(plan: &Plan, files: &[String]) -> Result<()> {
    let apply = ["apply", "--server-side", "--force-conflicts", "--validate=false"];
    kubectl::run(plan, apply.into_iter().map(str::to_owned).chain(files.iter().cloned()))
}

fn keda_objects(plan: &Plan) -> Result<Value> {
    let namespace = &plan.keda_namespace;
    let bundle = STANDARD.encode(fs::read(plan.path("pki/ca.crt"))?);
    let mut webhooks: Value = serde_yaml::from_slice(&fs::read(plan.keda.join("config/webhooks/validation_webhooks.yaml"))?)?;
    for webhook in webhooks
        .get_mut("webhooks")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        let config = webhook
            .get_mut("clientConfig")
            .context("a webhook of KEDA has no clientConfig")?;
        let path = config
            .pointer("/service/path")
            .and_then(Value::as_str)
            .unwrap_or("/")
            .to_owned();
        *config = json!({"url": format!("https://localhost:{KEDA_WEBHOOKS_PORT}{path}"), "caBundle": bundle});
    }
    Ok(json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}},
        // ExternalName: without aggregator routing the API server dials the name itself, no kube-proxy is needed.
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "keda-metrics-apiserver", "namespace": namespace},
            "spec": {"type": "ExternalName", "externalName": "localhost"},
        },
        {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {"name": "v1beta1.external.metrics.k8s.io"},
            "spec": {
                "service": {"name": "keda-metrics-apiserver", "namespace": namespace, "port": KEDA_ADAPTER_PORT},
                "caBundle": bundle,
                "group": "external.metrics.k8s.io",
                "version": "v1beta1",
                "groupPriorityMinimum": 100,
                "versionPriority": 100,
            },
        },
        webhooks,
    ]}))
}

fn yaml_files(folder: &Path) -> Result<Vec<String>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.ends_with(".yaml") {
            files.push(name);
        }
    }
    Ok(files)
}

/// Copies `files`, paths below `from`, into the folder `to`: a path's folders become part of its file name.
fn copy(from: &Path, files: impl IntoIterator<Item = String>, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for file in files {
        let source = from.join(&file);
        let text = fs::read(&source).with_context(|| format!("reading {}", source.display()))?;
        fs::write(to.join(file.replace('/', "-")), text)?;
    }
    Ok(())
}
