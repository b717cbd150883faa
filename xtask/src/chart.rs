//! `cargo xtask chart`: everything about the chart that can be shown without nodes. The checks themselves are tests of `e2e`.

use std::env;
use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};

use crate::test;
use crate::testbed;
use crate::workspace;

/// Test targets that are about the chart.
const TARGETS: [&str; 2] = ["chart", "rights"];

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Write the renders that are kept (charts/golden, deploy/manifests) anew
    #[arg(long)]
    update: bool,
    /// Lint and render only: no control plane
    #[arg(long)]
    renders: bool,
    #[command(flatten)]
    bed: testbed::Options,
}

/// The exit code is 0 if every check passed.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    testbed::build_programs()?;
    let mut renders = workspace::cargo();
    renders.args(["test", "--package", "keda-kaito-e2e", "--test", "chart", "--", "renders::"]);
    if options.update {
        renders.env("UPDATE_RENDERS", "1");
    }
    let status = renders.env("PATH", path()?).status().context("running cargo test")?;
    if !status.success() {
        return Ok(ExitCode::FAILURE);
    }
    if options.renders {
        return Ok(ExitCode::SUCCESS);
    }
    let built = workspace::cargo()
        .args(["build", "--bins"])
        .status()
        .context("running cargo build")?;
    ensure!(built.success(), "building the programs failed ({built})");
    test::only_targets(&options.bed, &TARGETS)
}

/// With the bed's programs first, helm among them.
fn path() -> Result<OsString> {
    let own = workspace::target().join("testbed/bin");
    let inherited = env::var_os("PATH").unwrap_or_default();
    Ok(env::join_paths(std::iter::once(own).chain(env::split_paths(&inherited)))?)
}
