//! The frame every program runs in: tokio runtime, telemetry, admin server, signals, essential tasks, exit code.
//! It knows no program.

use std::future::Future;
use std::process::ExitCode;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::admin;
use crate::args::{CommonArgs, Identity};
use crate::error::ConfigError;
use crate::metrics::SharedRegistry;
use crate::readiness::Readiness;
use crate::shutdown::{self, Signals};
use crate::telemetry;

pub use essential::{Essential, Outcome};

mod essential;

/// Exit code of a process that was asked to stop.
pub const EXIT_STOPPED: u8 = 0;
/// Exit code of a process that failed.
pub const EXIT_FAILURE: u8 = 1;
/// Exit code of a process that cannot work as configured; the same that clap uses.
pub const EXIT_CONFIG: u8 = 2;

const FLUSH_LIMIT: Duration = Duration::from_secs(5);
/// A program that has not stopped by then is ended; below the usual grace period of a pod.
const STOP_LIMIT: Duration = Duration::from_secs(40);
/// Blocking calls that outlive the program are abandoned after this.
const WIND_DOWN: Duration = Duration::from_secs(1);

/// What a process is called where others see it.
#[derive(Clone, Copy, Debug)]
pub struct About {
    /// The program, such as `till`.
    pub name: &'static str,
    /// The product it belongs to, such as `shop`.
    pub product: &'static str,
    /// The program's version.
    pub version: &'static str,
    /// First part of every metric name, without the underscore.
    pub metric_prefix: &'static str,
}

impl About {
    /// `product-name/version`, for HTTP.
    #[must_use]
    pub fn user_agent(&self) -> String {
        format!("{}-{}/{}", self.product, self.name, self.version)
    }
}

/// What [`main_with`] hands to a program.
#[derive(Clone, Debug)]
pub struct ProcessContext {
    /// What the process is called.
    pub about: About,
    /// Who this process is.
    pub identity: Identity,
    /// Served on `/metrics`.
    pub registry: SharedRegistry,
    /// Served on `/readyz`. The process is not ready before the program has added its gates.
    pub readiness: Readiness,
    /// Cancelled when the process is asked to stop.
    pub shutdown: CancellationToken,
}

/// Reports a configuration error found before [`main_with`] runs, while no port is bound.
#[must_use]
pub fn refuse(about: &About, error: &ConfigError) -> ExitCode {
    report(about, &error.chain());
    ExitCode::from(EXIT_CONFIG)
}

/// Runs a program: builds the runtime, installs telemetry, starts the admin server, then awaits what `run` returns.
///
/// The exit code is 0 when `run` returned after a signal, 2 when its error has a [`ConfigError`] in its chain, else 1;
/// a program that ends without having been asked to has failed.
pub fn main_with<F, Fut>(about: About, common: &CommonArgs, run: F) -> ExitCode
where
    F: FnOnce(ProcessContext) -> Fut,
    Fut: Future<Output = anyhow::Result<()>>,
{
    // At least two workers whatever the CPU limit: with one, flushing spans can starve the exporter. On large machines more
    // than a few would only cost memory.
    let workers = std::thread::available_parallelism().map_or(2, |cpus| cpus.get().clamp(2, 4));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            report(&about, &format!("failed to start the async runtime: {error}"));
            return ExitCode::from(EXIT_FAILURE);
        }
    };
    let code = runtime.block_on(supervise(about, common, run));
    runtime.shutdown_timeout(WIND_DOWN);
    ExitCode::from(code)
}

async fn supervise<F, Fut>(about: About, common: &CommonArgs, run: F) -> u8
where
    F: FnOnce(ProcessContext) -> Fut,
    Fut: Future<Output = anyhow::Result<()>>,
{
    let identity = Identity::from_env();
    let registry = SharedRegistry::with_prefix(about.metric_prefix);
    let telemetry = match telemetry::install(&about, &identity, &common.log, &common.trace, &registry) {
        Ok(telemetry) => telemetry,
        Err(error) => {
            report(&about, &error.chain());
            return EXIT_CONFIG;
        }
    };
    let ctx = ProcessContext {
        about,
        identity,
        registry,
        readiness: Readiness::default(),
        shutdown: CancellationToken::new(),
    };
    ctx.registry.register_process(about.name, about.version);
    tracing::info!(program = about.name, version = about.version, identity = %ctx.identity.name, "starting");
    let result = serve(common, ctx, run).await;
    match &result {
        Ok(()) => tracing::info!("stopped"),
        Err(error) => tracing::error!(error = %format_args!("{error:#}"), "the program failed"),
    }
    telemetry.flush(FLUSH_LIMIT);
    exit_code(&result)
}

async fn serve<F, Fut>(common: &CommonArgs, ctx: ProcessContext, run: F) -> anyhow::Result<()>
where
    F: FnOnce(ProcessContext) -> Fut,
    Fut: Future<Output = anyhow::Result<()>>,
{
    let mut signals = Signals::listen()?;
    let (readiness, shutdown) = (ctx.readiness.clone(), ctx.shutdown.clone());
    let admin = admin::bind(&common.admin, &ctx.registry, &readiness).await?;
    tracing::info!(addresses = ?admin.addresses().collect::<Vec<_>>(), "serving metrics and probes");
    let mut admin = tokio::spawn(admin.serve());
    let overdue = async {
        shutdown.cancelled().await;
        tokio::time::sleep(STOP_LIMIT).await;
    };
    let result = tokio::select! {
        result = run(ctx) => result,
        () = signals.second(&readiness, &shutdown) => Err(anyhow::anyhow!("ended by a second signal")),
        () = overdue => Err(anyhow::anyhow!("did not stop within {STOP_LIMIT:?}")),
        ended = &mut admin => Err(anyhow::anyhow!("the admin server ended: {ended:?}")),
    };
    let asked = shutdown.is_cancelled();
    shutdown::begin(&readiness, &shutdown);
    admin.abort();
    match result {
        Ok(()) if !asked => Err(anyhow::anyhow!("it ended without having been asked to")),
        result => result,
    }
}

fn exit_code(result: &anyhow::Result<()>) -> u8 {
    match result {
        Ok(()) => EXIT_STOPPED,
        Err(error) if error.chain().any(|cause| cause.is::<ConfigError>()) => EXIT_CONFIG,
        Err(_) => EXIT_FAILURE,
    }
}

#[expect(clippy::print_stderr, reason = "there is no log subscriber yet")]
fn report(about: &About, message: &str) {
    eprintln!("{}: {message}", about.name);
}
