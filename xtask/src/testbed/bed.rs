//! The inside of a bed. Its init (process 1) starts everything in order, runs the command and ends; the kernel then
//! ends the rest. The scripts in the bed's folder come back here to start or stop single parts later.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{Context, Result};
use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions, WaitStatus, wait};

use super::plan::{self, KEDA_NAMESPACES, Part, Plan};
use super::processes::{quoted, show_log, start, stop, wait_ready};
use super::{components, environment, kubeconfig, launch, namespace, node, objects, pki, processes};
use crate::workspace;

#[derive(clap::Subcommand)]
pub(crate) enum Step {
    /// Create CRDs and wait until they are served
    InstallCrds {
        /// Whose; both if none is named
        #[arg(value_parser = ["keda", "kaito"])]
        of: Vec<String>,
    },
    /// Create KEDA's objects, start its processes and wait until they are ready
    StartKeda {
        /// Where it is to be; once stopped, it may come back elsewhere
        #[arg(long, default_value = KEDA_NAMESPACES[0], value_parser = KEDA_NAMESPACES)]
        namespace: String,
    },
    /// Start KAITO and wait until it is ready
    StartKaito,
    /// Start processes by name and wait until they are ready
    Start {
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// Kill processes by name and wait until they are gone
    Stop {
        #[arg(required = true)]
        names: Vec<String>,
    },
}

const SCRIPTS: [&str; 5] = ["install-crds", "start-keda", "start-kaito", "start", "stop"];

/// Process 1 of the bed: brings it up, runs `command` (none: stays until killed), and returns its exit code.
pub(crate) fn init(command: &[OsString]) -> Result<ExitCode> {
    let plan: Plan = serde_json::from_str(&env::var(plan::VARIABLE).context("not started by the outside")?)?;
    // Only the outside's /proc, which is about to be covered, knows the number the outside knows us by.
    let number_outside = fs::read_link("/proc/self").context("reading /proc/self")?;
    namespace::furnish(&plan)?;

    let outcome = bring_up(&plan).and_then(|()| {
        let Some((program, arguments)) = command.split_first() else {
            announce(&number_outside.display().to_string());
            return reap(&plan, None);
        };
        let mut command = Command::new(program);
        command
            .args(arguments)
            .envs(environment::variables(&plan))
            .env_remove(plan::VARIABLE);
        for name in workspace::cargo_variables() {
            command.env_remove(name);
        }
        let child = command.spawn().with_context(|| format!("starting {}", program.display()))?;
        reap(&plan, Some(Pid::from_child(&child)))
    });
    if let Some(folder) = &plan.keep_logs {
        keep_logs(&plan, folder)?;
    }
    Ok(ExitCode::from(launch::exit_code(outcome?)))
}

fn bring_up(plan: &Plan) -> Result<()> {
    let begun = Instant::now();
    pki::write(plan)?;
    kubeconfig::write(plan)?;
    write_files(plan)?;
    processes::write_scripts(plan)?;
    if plan.node.is_some() {
        node::prepare(plan)?;
    }
    let control_plane = start(plan, &components::first(plan))?;
    // Made while the API server starts.
    objects::write(plan)?;
    wait_ready(plan, control_plane)?;
    if let Some(node) = &plan.node {
        timed("images imported", || node::import_images(plan, node))?;
    }

    // Before the controllers: the HPA controller looks for new kinds only every 30 s.
    if plan.has(Part::Crds) {
        timed("CRDs served", || {
            objects::install_crds(plan, &[objects::KEDA_CRDS, objects::KAITO_CRDS])
        })?;
    }
    if plan.has(Part::Keda) {
        timed("KEDA's objects created", || objects::install_keda(plan))?;
    }
    wait_ready(plan, start(plan, &components::later(plan))?)?;
    if plan.node.is_some() {
        timed("node ready", || node::join(plan))?;
    }
    eprintln!("testbed: all ready after {:.1} s", begun.elapsed().as_secs_f64());
    Ok(())
}

fn timed(what: &str, step: impl FnOnce() -> Result<()>) -> Result<()> {
    let begun = Instant::now();
    step()?;
    eprintln!("testbed: {what} after {:.1} s", begun.elapsed().as_secs_f64());
    Ok(())
}

/// The bed's own copy of xtask keeps the scripts working while the checkout is being rebuilt.
fn write_files(plan: &Plan) -> Result<()> {
    fs::write(plan.path(plan::FILE), serde_json::to_vec_pretty(plan)?)?;
    fs::write(plan.path("audit-policy.json"), AUDIT_POLICY)?;
    environment::write(plan)?;
    let xtask = plan.path("xtask");
    fs::copy(env::current_exe()?, &xtask)?;
    for name in SCRIPTS {
        let program = quoted(&xtask.display().to_string());
        let text = format!("#!/bin/sh\nexec {program} testbed inside {name} \"$@\"\n");
        processes::write_executable(&plan.path(name), &text)?;
    }
    Ok(())
}

const AUDIT_POLICY: &str = r#"{"apiVersion": "audit.k8s.io/v1", "kind": "Policy",
    "omitStages": ["RequestReceived"], "rules": [{"level": "Metadata"}]}"#;

/// Waits for `command` as process 1 must: every orphan's end is taken note of, and a component's is told.
fn reap(plan: &Plan, command: Option<Pid>) -> Result<WaitStatus> {
    loop {
        match wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if Some(pid) == command => return Ok(status),
            Ok(Some((pid, status))) => tell(plan, pid, status),
            Ok(None) | Err(Errno::INTR) => {}
            Err(error) => return Err(error).context("waiting for the test bed's processes"),
        }
    }
}

fn tell(plan: &Plan, pid: Pid, status: WaitStatus) {
    let Some(name) = processes::name_of(plan, pid) else { return };
    if let Some(signal) = status.terminating_signal() {
        eprintln!("testbed: {name} was ended by signal {signal}");
    } else {
        show_log(plan, name);
        eprintln!("testbed: {name} ended by itself with code {}", launch::exit_code(status));
    }
}

fn announce(number_outside: &str) {
    eprintln!(
        "testbed: up as process {number_outside}; Ctrl-C ends it. To look inside:\n  \
         cargo xtask testbed exec --pid {number_outside} -- kubectl get pods --all-namespaces"
    );
}

fn keep_logs(plan: &Plan, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    for entry in fs::read_dir(plan.path("logs"))? {
        let entry = entry?;
        fs::copy(entry.path(), folder.join(entry.file_name()))?;
    }
    eprintln!("testbed: logs are in {}", folder.display());
    Ok(())
}

/// One step asked for by a script of the bed.
pub(crate) fn inside(step: &Step) -> Result<ExitCode> {
    let mut plan = Plan::of_this_bed()?;
    match step {
        Step::InstallCrds { of } => {
            let wanted = |name: &str| of.is_empty() || of.iter().any(|one| one == name);
            let all = [("keda", objects::KEDA_CRDS), ("kaito", objects::KAITO_CRDS)];
            let folders: Vec<&str> = all
                .into_iter()
                .filter(|(name, _)| wanted(name))
                .map(|(_, folder)| folder)
                .collect();
            objects::install_crds(&plan, &folders)?;
        }
        Step::StartKeda { namespace } => {
            plan.keda_namespace.clone_from(namespace);
            objects::write_keda(&plan)?;
            processes::write_scripts(&plan)?;
            objects::install_keda(&plan)?;
            wait_ready(&plan, start(&plan, &components::KEDA)?)?;
        }
        Step::StartKaito => wait_ready(&plan, start(&plan, &[components::KAITO])?)?,
        Step::Start { names } => {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            wait_ready(&plan, start(&plan, &names)?)?;
        }
        Step::Stop { names } => {
            for name in names {
                stop(&plan, name)?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
