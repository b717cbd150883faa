//! `cargo xtask chart`: everything about the chart: what it renders to, what an API server says of it, what a node makes of
//! it. The checks themselves are tests of `e2e`.

use std::env;
use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};

use crate::test;
use crate::testbed;
use crate::workspace;

/// Test targets that are about the chart, those that need a node apart.
const TARGETS: [&str; 2] = ["chart", "rights"];

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Write the renders that are kept (charts/golden, deploy/manifests) anew
    #[arg(long, conflicts_with = "node")]
    update: bool,
    /// Lint and render only: no control plane
    #[arg(long, conflicts_with = "node")]
    renders: bool,
    /// Only what needs a node: Helm installs it, and its programs run as pods
    #[arg(long)]
    node: bool,
    #[command(flatten)]
    bed: testbed::Options,
}

/// The exit code is 0 if every check passed.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    testbed::build_programs()?;
    if !options.node && !renders_hold(options.update)? {
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
    let targets = if options.node { &[] } else { TARGETS.as_slice() };
    test::only_targets(&options.bed, &[targets, &test::ON_A_NODE].concat())
}

fn renders_hold(update: bool) -> Result<bool> {
    let mut renders = workspace::cargo();
    renders.args(["test", "--package", "keda-kaito-e2e", "--test", "chart", "--", "renders::"]);
    if update {
        renders.env("UPDATE_RENDERS", "1");
    }
    let status = renders.env("PATH", path()?).status().context("running cargo test")?;
    Ok(status.success())
}

/// With the bed's programs first, helm among them.
fn path() -> Result<OsString> {
    let own = workspace::target().join("testbed/bin");
    let inherited = env::var_os("PATH").unwrap_or_default();
    Ok(env::join_paths(std::iter::once(own).chain(env::split_paths(&inherited)))?)
}
