//! Process start: TLS provider, flags, exit code.

use std::process::ExitCode;

use clap::Parser;
use keda_kaito_runtime::program::{main_with, refuse};
use keda_kaito_scaler::args::{Cli, Command};
use keda_kaito_scaler::{decide_command, explain_command, run};

fn main() -> ExitCode {
    let Cli { command, args } = Cli::parse();
    match command {
        Some(Command::Decide) => {
            return decide_command::run(std::io::stdin().lock(), std::io::stdout().lock(), std::io::stderr().lock());
        }
        Some(Command::Explain(explain)) => {
            return explain_command::run(&explain, std::io::stdout().lock(), std::io::stderr().lock());
        }
        None => {}
    }
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        tracing::debug!("a TLS provider is installed already");
    }
    let in_cluster = std::env::var_os("KUBERNETES_SERVICE_HOST").is_some();
    if let Err(error) = args.validate(in_cluster) {
        return refuse(&run::ABOUT, &error);
    }
    let common = args.common.clone();
    main_with(run::ABOUT, &common, |ctx| run::run(args, ctx))
}
