//! The frame of the subcommands: a small runtime, a client, an answer on standard output, an exit code.

use std::future::Future;
use std::io::Write;
use std::process::ExitCode;

use keda_kaito_runtime::args::Identity;
use keda_kaito_runtime::client;
use keda_kaito_runtime::error::ConfigError;
use keda_kaito_runtime::program::{EXIT_CONFIG, EXIT_FAILURE};
use kube::Client;

use crate::run::ABOUT;

/// Runs `work`, if the flags are `valid`, and prints what it answers; errors go to standard error.
pub(crate) fn main<F, Fut>(valid: Result<(), ConfigError>, work: F) -> ExitCode
where
    F: FnOnce(Client, Identity) -> Fut,
    Fut: Future<Output = anyhow::Result<String>>,
{
    if let Err(error) = valid {
        return fail(&error.into());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let answer = runtime.map_err(anyhow::Error::from).and_then(|runtime| {
        runtime.block_on(async {
            let clients = client::connect(&ABOUT.user_agent()).await?;
            work(clients.api, Identity::from_env()).await
        })
    });
    match answer {
        Ok(text) => match std::io::stdout().lock().write_all(text.as_bytes()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_closed) => ExitCode::from(EXIT_FAILURE),
        },
        Err(error) => fail(&error),
    }
}

fn fail(error: &anyhow::Error) -> ExitCode {
    let line = format!("{}: {error:#}\n", ABOUT.name);
    let told = std::io::stderr().lock().write_all(line.as_bytes());
    let misconfigured = error.chain().any(|cause| cause.is::<ConfigError>());
    match told {
        // Where standard error is closed, only the exit code is left to tell.
        Ok(()) | Err(_) if misconfigured => ExitCode::from(EXIT_CONFIG),
        Ok(()) | Err(_) => ExitCode::from(EXIT_FAILURE),
    }
}
