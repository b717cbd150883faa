//! `cargo xtask test`: the crates' tests as `cargo test` runs them, then the cluster tests inside test beds, and one
//! summary of both.

mod beds;
mod executables;
mod tally;

use std::io::{BufReader, stdout};
use std::process::{ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::testbed;
use crate::workspace;
pub(crate) use beds::ON_A_NODE;
use tally::Tally;

/// The package whose tests need a control plane.
const CLUSTER_TESTS: &str = "keda-kaito-e2e";

#[derive(clap::ValueEnum, Clone, Copy, Debug, Eq, PartialEq)]
enum Stage {
    /// Tests that need no control plane
    Crates,
    /// Tests against the real control plane, in a test bed
    Cluster,
}

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Run one of the two stages
    #[arg(long, value_enum)]
    only: Option<Stage>,
    /// Cluster tests running at a time; they wait more than they compute
    #[arg(long, default_value_t = 48)]
    threads: u16,
    /// Run only tests whose name contains this
    filter: Option<String>,
    #[command(flatten)]
    bed: testbed::Options,
}

struct Outcome {
    stage: &'static str,
    tally: Tally,
    succeeded: bool,
    took: Duration,
}

/// Runs the stages; the exit code is 0 if tests ran in each and none failed.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let wanted = |stage| options.only.is_none_or(|only| only == stage);
    let mut outcomes = Vec::new();
    if wanted(Stage::Crates) {
        outcomes.push(timed("crates", || crates(options))?);
    }
    if wanted(Stage::Cluster) {
        outcomes.push(timed("cluster", || cluster(options))?);
    }
    eprintln!("\nsummary");
    for Outcome {
        stage,
        tally,
        succeeded,
        took,
    } in &outcomes
    {
        let verdict = if *succeeded { "ok" } else { "FAILED" };
        eprintln!("  {stage:<8} {verdict:<6} {tally} in {:.1} s", took.as_secs_f64());
    }
    let succeeded = outcomes.iter().all(|outcome| outcome.succeeded);
    Ok(if succeeded { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs the cluster tests of these targets only, which are built.
pub(crate) fn only_targets(bed: &testbed::Options, targets: &[&str]) -> Result<ExitCode> {
    let options = Options {
        only: Some(Stage::Cluster),
        threads: 48,
        filter: None,
        bed: bed.clone(),
    };
    let mut executables = executables::built(CLUSTER_TESTS)?;
    executables.retain(|executable| targets.contains(&executable.name.as_str()));
    let (tally, succeeded) = beds::run(&options, executables)?;
    eprintln!("\nsummary\n  {tally}");
    let succeeded = succeeded && tally.failed == 0 && tally.passed > 0;
    Ok(if succeeded { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn timed(stage: &'static str, step: impl FnOnce() -> Result<(Tally, bool)>) -> Result<Outcome> {
    let begun = Instant::now();
    let (tally, succeeded) = step()?;
    // A stage that ran nothing has shown nothing.
    let succeeded = succeeded && tally.failed == 0 && tally.passed > 0;
    Ok(Outcome {
        stage,
        tally,
        succeeded,
        took: begun.elapsed(),
    })
}

fn crates(options: &Options) -> Result<(Tally, bool)> {
    let mut cargo = workspace::cargo();
    cargo
        .args(["test", "--no-fail-fast", "--workspace", "--exclude", CLUSTER_TESTS])
        .args(&options.filter)
        .stdout(Stdio::piped());
    let mut child = cargo.spawn().context("running cargo test")?;
    let output = child.stdout.take().context("cargo test has no output")?;
    let tally = tally::copy(BufReader::new(output), stdout())?;
    Ok((tally, child.wait()?.success()))
}

/// Everything is built outside the beds, which have no network, and run by its path inside.
fn cluster(options: &Options) -> Result<(Tally, bool)> {
    testbed::build_programs()?;
    let status = workspace::cargo()
        .args(["build", "--bins"])
        .status()
        .context("running cargo build")?;
    ensure!(status.success(), "building the programs under test failed ({status})");
    beds::run(options, executables::built(CLUSTER_TESTS)?)
}
