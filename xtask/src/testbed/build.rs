//! Builds the bed's programs from the Go module in e2e/testbed, once per version of everything that goes into them,
//! and the fake GPU node from this workspace.

use std::collections::BTreeMap;
use std::env;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};

use super::node::{self, Node};
use super::plan::{Options, Part, Programs};
use crate::workspace;

const KUBERNETES: &str = "k8s.io/kubernetes";
const KEDA: &str = "github.com/kedacore/keda/v2";
const KAITO: &str = "github.com/kaito-project/kaito";
const HELM: &str = "helm.sh/helm/v4";

/// Name of the binary, module it comes from, package below the module (etcd's main package is the module itself).
const PROGRAMS: [(&str, &str, &str); 9] = [
    ("etcd", "go.etcd.io/etcd/server/v3", ""),
    ("kube-apiserver", KUBERNETES, "/cmd/kube-apiserver"),
    ("kube-controller-manager", KUBERNETES, "/cmd/kube-controller-manager"),
    ("kubectl", KUBERNETES, "/cmd/kubectl"),
    ("keda-operator", KEDA, "/cmd/operator"),
    ("keda-adapter", KEDA, "/cmd/adapter"),
    ("keda-webhooks", KEDA, "/cmd/webhooks"),
    ("kaito-workspace", KAITO, "/cmd/workspace"),
    ("helm", HELM, "/cmd/helm"),
];

/// What a bed with a node needs beside them; the DNS server is a package of the bed's own module.
const NODE_PROGRAMS: [(&str, &str, &str); 4] = [
    ("kubelet", KUBERNETES, "/cmd/kubelet"),
    ("kube-scheduler", KUBERNETES, "/cmd/kube-scheduler"),
    ("kube-proxy", KUBERNETES, "/cmd/kube-proxy"),
    ("slimdns", "./slimdns", ""),
];

/// The OpenTelemetry Collector is a module of its own: its versions are no business of the control plane's.
const COLLECTOR: &str = "collector";

/// Builds what is missing, with a node's programs if `with_node`. A second call with the same module files, flags and Go version does nothing.
pub(crate) fn programs(with_node: bool) -> Result<Programs> {
    let bin = workspace::target().join("testbed/bin");
    fs::create_dir_all(bin.join(".stamps"))?;
    let lock = File::create(bin.join(".lock"))?;
    lock.lock().context("waiting for another build of the test bed")?;

    let go = go(&["env", "GOVERSION"])?;
    let manifest = fs::read_to_string(module().join("go.mod"))?;
    let inputs = format!("{go}\n{manifest}\n{}", fs::read_to_string(module().join("go.sum"))?);
    let assets = env::var_os("KUBEBUILDER_ASSETS").map(PathBuf::from);

    let mut paths = BTreeMap::new();
    let wanted = PROGRAMS.iter().chain(NODE_PROGRAMS.iter().filter(|_| with_node));
    for &(name, source, package) in wanted {
        let given = assets.as_ref().map(|dir| dir.join(name)).filter(|file| file.is_file());
        let path = match given {
            Some(path) => path,
            None => {
                let flags = format!("-s -w {}", version_flags(source, &manifest)?);
                program(
                    &bin,
                    name,
                    &module(),
                    &format!("{source}{package}"),
                    flags.trim_end(),
                    &inputs,
                )?
            }
        };
        paths.insert(name.to_owned(), path);
    }
    let folder = module().join(COLLECTOR);
    let inputs = ["go.mod", "go.sum", "main.go"].map(|file| fs::read_to_string(folder.join(file)));
    let inputs = inputs.into_iter().collect::<Result<Vec<_>, _>>()?.join("\n");
    let collector = program(&bin, COLLECTOR, &folder, ".", "-s -w", &format!("{go}\n{inputs}"))?;
    paths.insert(COLLECTOR.to_owned(), collector);
    let (keda, kaito) = (module_folder(KEDA)?, module_folder(KAITO)?);
    if with_node {
        paths.insert("containerd".to_owned(), PathBuf::from(node::host::CONTAINERD));
    }
    let kubernetes = with_node.then(|| module_folder(KUBERNETES)).transpose()?;
    Ok(Programs {
        paths,
        keda,
        kaito,
        kubernetes,
    })
}

fn program(bin: &Path, name: &str, folder: &Path, package: &str, flags: &str, inputs: &str) -> Result<PathBuf> {
    let (path, stamp) = (bin.join(name), bin.join(".stamps").join(name));
    let key = format!("{:x}", Sha256::digest(format!("{package}\n{flags}\n{inputs}")));
    if path.is_file() && fs::read_to_string(&stamp).is_ok_and(|found| found == key) {
        return Ok(path);
    }
    eprintln!("testbed: building {name} ({package}); a first build takes up to 5 minutes");
    let started = Instant::now();
    // Built aside and renamed: a bed that runs the old binary is not disturbed, a broken build leaves no binary.
    let fresh = bin.join(format!(".{name}.new"));
    let status = Command::new("go")
        .current_dir(folder)
        .env("CGO_ENABLED", "0")
        .args(["build", "-trimpath", "-ldflags", flags, "-o"])
        .args([fresh.as_os_str(), package.as_ref()])
        .status()
        .context("running go build")?;
    ensure!(status.success(), "go build {package} failed ({status})");
    fs::rename(&fresh, &path)?;
    fs::write(&stamp, &key)?;
    eprintln!("testbed: built {name} in {:.1} s", started.elapsed().as_secs_f64());
    Ok(path)
}

/// Without these flags the programs report development versions, and clients choose behaviour by version.
fn version_flags(source: &str, manifest: &str) -> Result<String> {
    if source.starts_with('.') {
        return Ok(String::new());
    }
    let version = required_version(manifest, source)?;
    let bare = version.trim_start_matches('v');
    Ok(match source {
        KUBERNETES => {
            let mut parts = bare.split('.');
            let (major, minor) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
            let package = "k8s.io/component-base/version";
            format!("-X {package}.gitVersion={version} -X {package}.gitMajor={major} -X {package}.gitMinor={minor}")
        }
        KEDA => format!("-X {KEDA}/version.Version={bare}"),
        HELM => format!("-X {HELM}/internal/version.version={version}"),
        _ => String::new(),
    })
}

fn required_version<'a>(manifest: &'a str, module: &str) -> Result<&'a str> {
    manifest
        .lines()
        .filter(|line| !line.contains("=>"))
        .find_map(|line| line.trim().strip_prefix(module)?.strip_prefix(' '))
        .and_then(|rest| rest.split_whitespace().next())
        .with_context(|| format!("e2e/testbed/go.mod does not require {module}"))
}

fn module_folder(module: &str) -> Result<PathBuf> {
    let folder = go(&["list", "-m", "-f", "{{.Dir}}", module])?;
    if folder.is_empty() {
        // Everything was taken from the cache of built programs; the YAML still has to be fetched.
        go(&["mod", "download", module])?;
        return Ok(PathBuf::from(go(&["list", "-m", "-f", "{{.Dir}}", module])?));
    }
    Ok(PathBuf::from(folder))
}

fn go(arguments: &[&str]) -> Result<String> {
    let output = Command::new("go")
        .current_dir(module())
        .args(arguments)
        .stderr(Stdio::inherit())
        .output();
    let output = match output {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            bail!("go is not in PATH: the test bed's programs are built with it from e2e/testbed (its go.mod says which version)")
        }
        other => other.context("running go")?,
    };
    ensure!(
        output.status.success(),
        "go {} failed ({})",
        arguments.join(" "),
        output.status
    );
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

fn module() -> PathBuf {
    workspace::root().join("e2e/testbed")
}

/// Makes the images of a bed with a node.
pub(crate) fn node(options: &Options, programs: &Programs) -> Result<Node> {
    let kubernetes = programs.kubernetes.as_deref().context("no module folder of Kubernetes")?;
    let images = options.images.as_deref().map(std::path::absolute).transpose()?;
    Ok(Node {
        cgroup: format!("keda-kaito-bed-{}", std::process::id()),
        images: node::images::build(kubernetes, images.as_deref())?,
    })
}

/// Builds the stand-in for scheduler, kubelet and vLLM, unless it is not wanted or this checkout has none.
pub(crate) fn fleet(options: &Options) -> Result<Option<PathBuf>> {
    if options.without.contains(&Part::Fleet) || !workspace::root().join("e2e/src/bin/fleet.rs").is_file() {
        return Ok(None);
    }
    let status = workspace::cargo()
        .args(["build", "--quiet", "--package", "keda-kaito-e2e", "--bin", "fleet"])
        .status()
        .context("running cargo build")?;
    ensure!(status.success(), "building fleet failed ({status})");
    Ok(Some(workspace::target().join("debug/fleet")))
}
