//! The chart as helm sees it: run helm, render every values file below `ci`, and make plain manifests of what comes out.
//! It talks to no API server unless helm is asked to.

mod identity;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde_json::Value;
use tokio::process::Command;

/// Lines that mean something to Helm only.
const HELMS: [&str; 2] = ["app.kubernetes.io/managed-by: ", "helm.sh/chart: "];

/// One values file of the chart's `ci`, and what its first lines say of it.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// The file's name without its ending.
    pub name: String,
    pub release: String,
    pub namespace: String,
    /// Where its render is kept, below the checkout.
    pub writes: PathBuf,
    /// Whether that is for people without Helm.
    plain: bool,
    /// The one template it renders, if not the whole chart.
    pub only: Option<String>,
    /// Values files: of the chart, if any, then its own.
    values: Vec<PathBuf>,
}

/// The checkout.
#[must_use]
pub fn root() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package).to_path_buf()
}

/// The chart's folder.
#[must_use]
pub fn folder() -> PathBuf {
    root().join("charts/keda-kaito-scaler")
}

/// Runs helm, which is on the `PATH` of a test bed and of `cargo xtask chart`, and returns what it printed.
///
/// # Errors
/// When it fails: with what it said.
pub async fn helm<S: AsRef<std::ffi::OsStr> + std::fmt::Debug>(arguments: &[S]) -> Result<String> {
    let output = Command::new("helm")
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .context("starting helm: use `cargo xtask chart` or `cargo xtask test`")?;
    let printed = String::from_utf8(output.stdout)?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "helm {arguments:?}: {said}{printed}");
    Ok(printed)
}

/// Every scenario, by name.
///
/// # Errors
/// When a file cannot be read or does not say what it is for.
pub fn scenarios() -> Result<Vec<Scenario>> {
    let mut scenarios = Vec::new();
    for entry in std::fs::read_dir(folder().join("ci"))? {
        scenarios.push(Scenario::read(&entry?.path())?);
    }
    scenarios.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(scenarios)
}

impl Scenario {
    fn read(file: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(file)?;
        let said = |key: &str| text.lines().find_map(|line| line.strip_prefix(&format!("# {key}: ")));
        let needed = |key: &str| said(key).with_context(|| format!("{}: no line \"# {key}: …\"", file.display()));
        let of_chart = said("values").map(|name| folder().join(name));
        Ok(Self {
            name: file.file_stem().context("a file has no name")?.to_string_lossy().into_owned(),
            release: needed("release")?.to_owned(),
            namespace: needed("namespace")?.to_owned(),
            writes: needed("writes")?.into(),
            plain: text.lines().any(|line| line == "# plain"),
            only: said("only").map(str::to_owned),
            values: of_chart.into_iter().chain([file.to_owned()]).collect(),
        })
    }

    /// Its values as arguments of helm.
    #[must_use]
    pub fn values(&self) -> Vec<String> {
        self.values
            .iter()
            .map(|file| format!("--values={}", file.display()))
            .collect()
    }

    /// What it renders to, without a cluster.
    ///
    /// # Errors
    /// Helm's.
    pub async fn render(&self) -> Result<String> {
        let mut arguments = vec![
            "template".to_owned(),
            self.release.clone(),
            folder().display().to_string(),
            format!("--namespace={}", self.namespace),
        ];
        arguments.extend(self.values());
        arguments.extend(self.only.iter().map(|template| format!("--show-only={template}")));
        if self.plain {
            arguments.push("--skip-tests".to_owned());
        }
        let rendered = helm(&arguments).await?;
        Ok(if self.plain {
            self.plain_manifest(&rendered)
        } else {
            rendered
        })
    }

    fn plain_manifest(&self, rendered: &str) -> String {
        let what = match &self.only {
            Some(_) => format!("The {} alone", self.name),
            None => format!(
                "The {} for KEDA in namespace {}",
                self.name.trim_end_matches("-alone"),
                self.namespace
            ),
        };
        let mut text = format!("# {what}. Made from the chart by `cargo xtask chart --update`; do not edit.\n");
        for line in rendered.lines() {
            let of_helm = line.starts_with("# Source: ") || HELMS.iter().any(|own| line.trim_start().starts_with(own));
            if !of_helm {
                // A String takes everything.
                let written = writeln!(text, "{line}");
                debug_assert!(written.is_ok(), "a String takes everything");
            }
        }
        text
    }
}

/// The objects of a manifest.
///
/// # Errors
/// When it is no YAML.
pub fn objects(manifest: &str) -> Result<Vec<Value>> {
    let mut objects = Vec::new();
    for document in serde_yaml::Deserializer::from_str(manifest) {
        let value = Value::deserialize(document)?;
        if !value.is_null() {
            objects.push(value);
        }
    }
    ensure!(!objects.is_empty(), "the manifest is empty");
    Ok(objects)
}

/// The one object of this kind and name.
///
/// # Errors
/// When it is not there.
pub fn object<'a>(objects: &'a [Value], kind: &str, name: &str) -> Result<&'a Value> {
    let found = objects.iter().find(|object| {
        let text = |pointer| object.pointer(pointer).and_then(Value::as_str);
        text("/kind") == Some(kind) && text("/metadata/name") == Some(name)
    });
    match found {
        Some(object) => Ok(object),
        None => bail!("no {kind} {name:?} is rendered"),
    }
}
