//! docs/metrics.md and the program say the same about its metrics. Without the test harness: it starts itself as the program.

use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use keda_kaito_runtime::documented;
use keda_kaito_scaler::args::Cli;
use keda_kaito_scaler::run;

const DOCUMENT: &str = include_str!("../../../docs/metrics.md");

fn main() -> ExitCode {
    // One installed before does as well.
    let _installed = rustls::crypto::ring::default_provider().install_default();
    let Cli { args, .. } = Cli::parse_from(documented::FLAGS);
    let (common, folder) = (args.common.clone(), Path::new(env!("CARGO_TARGET_TMPDIR")));
    documented::main(run::ABOUT, &common, DOCUMENT, folder, |ctx| run::run(args, ctx))
}
