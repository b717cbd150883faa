//! `cargo xtask demo`: builds what it needs, then plays the demo inside a test bed. The play itself is in `e2e`.

use std::ffi::OsString;
use std::process::{ExitCode, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use crate::testbed;
use crate::workspace;

#[derive(clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    bed: testbed::Options,
}

/// The exit code is the demo's: 0 only if the replicas moved as they should.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    testbed::build_programs()?;
    eprintln!("demo: building the three programs and the stand-ins (minutes the first time)");
    let begun = Instant::now();
    let status = workspace::cargo()
        .args(["build", "--bins", "--package", "keda-kaito-e2e"])
        .args(["--package", "keda-kaito-provisioner"])
        .args(["--package", "keda-kaito-scaler"])
        .args(["--package", "keda-kaito-certmgr"])
        .status()
        .context("running cargo build")?;
    ensure!(status.success(), "building the demo failed ({status})");
    eprintln!("demo: built after {:.1} s", begun.elapsed().as_secs_f64());

    let program: OsString = workspace::target().join("debug").join("demo").into();
    testbed::launch(&options.bed, false, &[program], Stdio::inherit())
}
