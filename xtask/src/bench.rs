//! `cargo xtask bench`: builds in release and runs the figures asked for; those of the scaler as a process inside a test bed
//! that has a control plane and nothing else. What is measured, and how, is in the package `bench`.

use std::ffi::OsString;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, ensure};

use crate::testbed::{self, Part};
use crate::workspace;

#[derive(clap::ValueEnum, Clone, Copy, Debug, Eq, PartialEq)]
enum What {
    /// The metrics page reader beside prometheus-parse
    Reader,
    /// Decisions for small and large fleets
    Decide,
    /// Memory per scraped replica
    Memory,
    /// One scrape beside the least a client must do, and beside hyper
    Scrape,
    /// The scaler with little to do
    Idle,
    /// 10,000 replicas, filtered pages
    Filtered,
    /// KEDA's calls beside 10,000 replicas
    Calls,
    /// A new replica's first value beside 10,000 replicas
    Newcomers,
    /// 10,000 replicas, whole pages
    Full,
    /// 10,000 replicas, a tenth of them dead or slow
    Faults,
    /// Traces off, at 1 %, and of everything
    Traces,
}

const IN_PROCESS: [What; 4] = [What::Reader, What::Decide, What::Memory, What::Scrape];
const IN_BED: [What; 7] = [
    What::Idle,
    What::Filtered,
    What::Calls,
    What::Newcomers,
    What::Full,
    What::Faults,
    What::Traces,
];

#[derive(clap::Args)]
#[group(skip)]
pub(crate) struct Options {
    /// What to measure; everything if nothing is named (about 20 minutes on two idle cores after the build)
    what: Vec<What>,
    #[command(flatten)]
    bed: testbed::Options,
}

/// The exit code is 0 if every goal was reached.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let wanted = |all: &[What]| -> Vec<What> {
        let asked = |what: &What| options.what.is_empty() || options.what.contains(what);
        all.iter().copied().filter(asked).collect()
    };
    let (in_process, in_bed) = (wanted(&IN_PROCESS), wanted(&IN_BED));
    if !in_bed.is_empty() {
        testbed::build_programs()?;
    }
    build(!in_bed.is_empty())?;
    let mut code = ExitCode::SUCCESS;
    if !in_process.is_empty() {
        let (program, arguments) = (program(), arguments(&in_process));
        let status = Command::new(&program).args(arguments).status();
        if !status.with_context(|| format!("running {}", program.display()))?.success() {
            code = ExitCode::FAILURE;
        }
    }
    if !in_bed.is_empty() {
        let mut bed = options.bed.clone();
        bed.without.extend([Part::Keda, Part::Kaito, Part::Fleet]);
        let command: Vec<OsString> = [vec![program()], arguments(&in_bed)].concat();
        let measured = testbed::launch(&bed, false, &command, Stdio::inherit())?;
        if measured != ExitCode::SUCCESS {
            code = measured;
        }
    }
    Ok(code)
}

fn build(programs: bool) -> Result<()> {
    eprintln!("bench: building in release (minutes the first time)");
    build_together(&["keda-kaito-bench"])?;
    if programs {
        // As their images are built: a benchmark beside them would add what it needs of shared dependencies.
        build_together(&["keda-kaito-provisioner", "keda-kaito-scaler", "keda-kaito-certmgr"])?;
    }
    Ok(())
}

fn build_together(packages: &[&str]) -> Result<()> {
    let mut cargo = workspace::cargo();
    cargo.args(["build", "--release"]);
    cargo.args(packages.iter().flat_map(|package| ["--package", package]));
    let status = cargo.status().context("running cargo build")?;
    ensure!(status.success(), "building {packages:?} failed ({status})");
    Ok(())
}

fn program() -> OsString {
    workspace::target().join("release/bench").into()
}

fn arguments(what: &[What]) -> Vec<OsString> {
    what.iter().map(|what| format!("{what:?}").to_lowercase().into()).collect()
}
