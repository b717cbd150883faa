//! What one bed consists of: the options chosen, the programs found, the paths. Made outside, handed inside as JSON.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::node::Node;
use crate::workspace;

/// Carries the plan from the outside to the bed's init.
pub(crate) const VARIABLE: &str = "XTASK_TESTBED_PLAN";

/// Its name in the bed's folder.
pub(crate) const FILE: &str = "plan.json";

#[derive(clap::ValueEnum, Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub(crate) enum Part {
    /// KEDA's and KAITO's CRDs, and with them both programs; `$TESTBED_DIR/install-crds` adds them later
    Crds,
    /// KEDA's objects and processes; `$TESTBED_DIR/start-keda` starts them later
    Keda,
    /// KAITO; `$TESTBED_DIR/start-kaito` starts it later
    Kaito,
    /// The stand-in for scheduler, kubelet and vLLM
    Fleet,
}

// No group: it would be called `Options` like that of every command these options are flattened into.
#[derive(clap::Args, Clone, Debug)]
#[group(skip)]
pub(crate) struct Options {
    /// Leave a part out (may be repeated or comma-separated)
    #[arg(long, value_enum, value_delimiter = ',')]
    pub(crate) without: Vec<Part>,
    /// Image archives (*.tar) of the three programs, for a bed with a node; without them, images of the debug builds are made
    #[arg(long, value_name = "DIR")]
    pub(crate) images: Option<PathBuf>,
    /// How often the HPA controller looks at every HPA
    #[arg(long, default_value = "2s", value_name = "DURATION")]
    pub(crate) hpa_sync_period: String,
    /// Write the API server's audit log (metadata of every request); without FILE into the bed, as $TESTBED_AUDIT_LOG
    #[arg(long, value_name = "FILE")]
    pub(crate) audit_log: Option<Option<PathBuf>>,
    /// Copy the logs of all processes into this folder when the bed ends
    #[arg(long, value_name = "DIR")]
    pub(crate) keep_logs: Option<PathBuf>,
}

impl Options {
    /// These options as arguments, for the bed called `name` among several, which starts without these parts too, with
    /// an audit log in any case if its tests read it, and perhaps with a node.
    pub(crate) fn arguments(&self, name: &str, without: &[Part], audited: bool, node: bool) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = vec!["--hpa-sync-period".into(), self.hpa_sync_period.clone().into()];
        if node {
            arguments.push("--node".into());
            if let Some(folder) = &self.images {
                arguments.extend(["--images".into(), folder.into()]);
            }
        }
        for part in self.without.iter().chain(without) {
            let value = part.to_possible_value().map(|value| value.get_name().to_owned());
            arguments.extend(["--without".into(), value.unwrap_or_default().into()]);
        }
        match &self.audit_log {
            Some(Some(file)) => arguments.extend(["--audit-log".into(), file.with_extension(name).into()]),
            Some(None) => arguments.push("--audit-log".into()),
            None if audited => arguments.push("--audit-log".into()),
            None => {}
        }
        if let Some(folder) = &self.keep_logs {
            arguments.extend(["--keep-logs".into(), folder.join(name).into()]);
        }
        arguments
    }
}

/// Programs of the bed and the module folders their YAML comes from.
pub(crate) struct Programs {
    pub(crate) paths: BTreeMap<String, PathBuf>,
    pub(crate) keda: PathBuf,
    pub(crate) kaito: PathBuf,
    /// Present if they were built for a bed with a node.
    pub(crate) kubernetes: Option<PathBuf>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// The bed's folder, a memory file system of its own: the same path in every bed, gone with its namespace.
    pub(crate) dir: PathBuf,
    pub(crate) programs: BTreeMap<String, PathBuf>,
    pub(crate) keda: PathBuf,
    pub(crate) kaito: PathBuf,
    without: BTreeSet<Part>,
    pub(crate) node: Option<Node>,
    /// Where KEDA is, or is to be when it is started.
    pub(crate) keda_namespace: String,
    pub(crate) hpa_sync_period: String,
    pub(crate) audit_log: Option<PathBuf>,
    pub(crate) keep_logs: Option<PathBuf>,
}

/// Where KEDA can be: its usual place, and those of KAITO's documents and of managed add-ons.
pub(crate) const KEDA_NAMESPACES: [&str; 3] = ["keda", "kaito-workspace", "kube-system"];

impl Plan {
    pub(crate) fn new(options: &Options, programs: Programs, fleet: Option<PathBuf>, node: Option<Node>) -> Result<Self> {
        let dir = directory();
        let mut without: BTreeSet<Part> = options.without.iter().copied().collect();
        if without.contains(&Part::Crds) {
            without.extend([Part::Keda, Part::Kaito]);
        }
        let mut paths = programs.paths;
        match fleet {
            Some(fleet) => drop(paths.insert("fleet".to_owned(), fleet)),
            None => drop(without.insert(Part::Fleet)),
        }
        let audit_log = match &options.audit_log {
            Some(None) => Some(dir.join("audit.log")),
            Some(Some(file)) => Some(std::path::absolute(file)?),
            None => None,
        };
        let keep_logs = options.keep_logs.as_ref().map(std::path::absolute).transpose()?;
        Ok(Self {
            dir,
            programs: paths,
            keda: programs.keda,
            kaito: programs.kaito,
            without,
            node,
            keda_namespace: KEDA_NAMESPACES[0].to_owned(),
            hpa_sync_period: options.hpa_sync_period.clone(),
            audit_log,
            keep_logs,
        })
    }

    /// The plan of the bed whose copy of xtask this process runs.
    pub(crate) fn of_this_bed() -> Result<Self> {
        let file = env::current_exe()?.with_file_name(FILE);
        let text = fs::read(&file).with_context(|| format!("no test bed here: {} is missing", file.display()))?;
        Ok(serde_json::from_slice(&text)?)
    }

    pub(crate) fn has(&self, part: Part) -> bool {
        !self.without.contains(&part)
    }

    pub(crate) fn path(&self, below: impl AsRef<Path>) -> PathBuf {
        self.dir.join(below)
    }

    pub(crate) fn program(&self, name: &str) -> Result<&Path> {
        self.programs
            .get(name)
            .map(PathBuf::as_path)
            .with_context(|| format!("this test bed has no program {name:?}"))
    }
}

/// Where every bed of this checkout mounts its own folder.
pub(crate) fn directory() -> PathBuf {
    workspace::target().join("testbed/run")
}
