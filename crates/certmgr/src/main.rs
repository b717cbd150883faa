//! Process start: TLS provider, flags, exit code.

use std::process::ExitCode;

use clap::Parser;
use keda_kaito_certmgr::args::{Cli, Command};
use keda_kaito_certmgr::{rotate, run, status};
use keda_kaito_runtime::program::{main_with, refuse};

fn main() -> ExitCode {
    let Cli { command, args } = Cli::parse();
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        tracing::debug!("a TLS provider is installed already");
    }
    match command {
        Some(Command::Rotate(args)) => return rotate::main(&args),
        Some(Command::Status(args)) => return status::main(&args),
        None => {}
    }
    if let Err(error) = args.validate() {
        return refuse(&run::ABOUT, &error);
    }
    let common = args.common.clone();
    main_with(run::ABOUT, &common, |ctx| run::run(args, ctx))
}
