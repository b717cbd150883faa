//! For tests without a harness: whether a program registers the metrics that a document lists. It runs the whole program, in a
//! process of its own, against an API server that is not there.

use std::future::Future;
use std::io::Write;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::Context;

use crate::args::CommonArgs;
use crate::metrics::{SharedRegistry, differences};
use crate::program::{About, ProcessContext, main_with};
use crate::shutdown;

/// Set in the process that is the program.
const CHILD: &str = "COMPARE_METRICS";
/// From start to everything being registered: nothing is waited for before that.
const WITHIN: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Flags for a program beside others on the same host.
pub const FLAGS: [&str; 5] = [
    "program",
    "--metrics-address=127.0.0.1:0",
    "--health-address=127.0.0.1:0",
    "--log-level=warn",
    "--log-format=text",
];

/// Starts this test again as the program; fails unless what `run` registers is what `document` lists. `folder` is for files.
pub fn main<F, Fut>(about: About, common: &CommonArgs, document: &str, folder: &Path, run: F) -> ExitCode
where
    F: FnOnce(ProcessContext) -> Fut,
    Fut: Future<Output = anyhow::Result<()>>,
{
    if std::env::var_os(CHILD).is_none() {
        return again(about.name, folder).unwrap_or_else(|error| {
            // There is no log in this process, and nothing to be done when this cannot be said.
            let _said = writeln!(std::io::stderr(), "{}: {error:#}", about.name);
            ExitCode::FAILURE
        });
    }
    main_with(about, common, |ctx| async {
        let (registry, readiness, token) = (ctx.registry.clone(), ctx.readiness.clone(), ctx.shutdown.clone());
        let compared = tokio::select! {
            compared = tokio::time::timeout(WITHIN, agree(&registry, document, about.metric_prefix)) => compared,
            ended = run(ctx) => anyhow::bail!("it ended: {ended:?}"),
        };
        if compared.is_err() {
            let differences = differences(&registry.describe()?, document, about.metric_prefix);
            anyhow::bail!("program and document differ:\n{}", differences.join("\n"));
        }
        shutdown::begin(&readiness, &token);
        Ok(())
    })
}

fn again(program: &str, folder: &Path) -> anyhow::Result<ExitCode> {
    let kubeconfig = folder.join(format!("{program}.kubeconfig"));
    let nowhere = r#"{"apiVersion": "v1", "kind": "Config", "current-context": "nowhere",
        "clusters": [{"name": "nowhere", "cluster": {"server": "http://127.0.0.1:1"}}],
        "users": [{"name": "nobody", "user": {}}],
        "contexts": [{"name": "nowhere", "context": {"cluster": "nowhere", "user": "nobody"}}]}"#;
    std::fs::write(&kubeconfig, nowhere)?;
    let status = Command::new(std::env::current_exe()?)
        .env(CHILD, "yes")
        .env("KUBECONFIG", kubeconfig)
        .status()
        .context("starting the program")?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

async fn agree(registry: &SharedRegistry, document: &str, prefix: &str) {
    while !registry
        .describe()
        .is_ok_and(|families| differences(&families, document, prefix).is_empty())
    {
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// The whole of such a test of the program whose crate is named: its documented metrics are those it registers.
#[macro_export]
macro_rules! documented_metrics {
    ($program:ident, $document:expr) => {
        fn main() -> std::process::ExitCode {
            use $program::{args::Cli, run};
            // One installed before does as well.
            let _installed = rustls::crypto::ring::default_provider().install_default();
            let Cli { args, .. } = clap::Parser::parse_from($crate::documented::FLAGS);
            let (common, folder) = (args.common.clone(), std::path::Path::new(env!("CARGO_TARGET_TMPDIR")));
            $crate::documented::main(run::ABOUT, &common, $document, folder, |ctx| run::run(args, ctx))
        }
    };
}
