//! Process start: TLS provider, flags, exit code.

use std::process::ExitCode;

use clap::Parser;
use keda_kaito_provisioner::args::{Cli, Command};
use keda_kaito_provisioner::{render, run};
use keda_kaito_runtime::program::{main_with, refuse};

fn main() -> ExitCode {
    let Cli { command, args } = Cli::parse();
    if let Some(Command::Render(args)) = command {
        return render::main(&args);
    }
    if let Err(error) = args.validate() {
        return refuse(&run::ABOUT, &error);
    }
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        tracing::debug!("a TLS provider is installed already");
    }
    let common = args.common.clone();
    main_with(run::ABOUT, &common, |ctx| run::run(args, ctx))
}
