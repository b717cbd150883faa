//! `cargo xtask test`: the crates' tests as `cargo test` runs them, then the cluster tests inside one test bed, and one
//! summary of both.

mod tally;

use std::ffi::OsString;
use std::io::{BufReader, pipe, stdout};
use std::process::{ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use serde::Deserialize;

use crate::testbed;
use crate::workspace;
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
#[group(skip)]
pub(crate) struct Options {
    /// Run one of the two stages
    #[arg(long, value_enum)]
    only: Option<Stage>,
    /// Cluster tests running at a time; they wait more than they compute
    #[arg(long, default_value_t = 4)]
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

/// Everything is built outside the bed, which has no network, and run by its path inside.
fn cluster(options: &Options) -> Result<(Tally, bool)> {
    let status = workspace::cargo()
        .args(["build", "--bins"])
        .status()
        .context("running cargo build")?;
    ensure!(status.success(), "building the programs under test failed ({status})");
    let executables = test_executables()?;

    let mut command: Vec<OsString> = ["sh", "-c", RUN_ALL, "sh"].into_iter().map(OsString::from).collect();
    command.push(workspace::root().join("e2e").into());
    command.push(format!("--test-threads={}", options.threads).into());
    command.push(options.filter.clone().unwrap_or_default().into());
    command.extend(executables);

    let (reader, writer) = pipe()?;
    let counter = thread::spawn(move || tally::copy(BufReader::new(reader), stdout()));
    let code = testbed::launch(&options.bed, &command, Stdio::from(writer))?;
    let tally = counter.join().map_err(|_panic| anyhow!("counting the tests panicked"))??;
    Ok((tally, code == ExitCode::SUCCESS))
}

/// Runs every test executable, the later ones even if an earlier one failed.
const RUN_ALL: &str = r#"cd "$1" && threads=$2 filter=$3 && shift 3 || exit 1
code=0
for executable; do "$executable" "$threads" $filter || code=1; done
exit $code"#;

/// What one line of cargo's JSON messages says about a built file.
#[derive(Deserialize)]
struct Message {
    executable: Option<String>,
    profile: Profile,
}

#[derive(Deserialize)]
struct Profile {
    test: bool,
}

fn test_executables() -> Result<Vec<OsString>> {
    let output = workspace::cargo()
        .args([
            "test",
            "--package",
            CLUSTER_TESTS,
            "--no-run",
            "--message-format=json-render-diagnostics",
        ])
        .stderr(Stdio::inherit())
        .output()
        .context("running cargo test --no-run")?;
    ensure!(
        output.status.success(),
        "building the cluster tests failed ({})",
        output.status
    );
    let messages = String::from_utf8(output.stdout)?;
    let built = messages.lines().filter_map(|line| serde_json::from_str::<Message>(line).ok());
    Ok(built
        .filter(|message| message.profile.test)
        .filter_map(|message| message.executable)
        .map(OsString::from)
        .collect())
}
