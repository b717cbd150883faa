//! Log lines on standard error and, with an endpoint, spans by OTLP. This module and those below it are the only ones
//! that name OpenTelemetry.

mod config;
mod export;
mod lines;
mod outcomes;
mod sampling;
mod spans;
#[cfg(test)]
mod tests;

use std::io::IsTerminal;
use std::time::Duration;

use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::filter::{FilterExt, LevelFilter, Targets, filter_fn};
use tracing_subscriber::fmt::format::JsonFields;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

use crate::args::{Identity, LogArgs, LogFormat, TraceArgs};
use crate::error::ConfigError;
use crate::metrics::SharedRegistry;
use crate::program::About;
use config::{TraceConfig, Variables};
use lines::WithIds;
use outcomes::Outcomes;

pub use spans::{Parent, SPANS, SpanIds, child, child_numbered, current_ids, ids, link, root, root_below, traced};

/// Installed telemetry; [`Telemetry::flush`] sends what is still queued.
#[derive(Debug)]
pub struct Telemetry {
    spans: Option<SdkTracerProvider>,
}

/// Installs the process-wide subscriber; `registry` counts the spans. Needs a tokio runtime when spans are exported.
///
/// # Errors
/// The log filter or the flag's endpoint cannot be read, or a subscriber is already installed. What cannot be followed in
/// the standard `OTEL_…` variables is a warning in the log.
pub fn install(
    about: &About,
    identity: &Identity,
    log: &LogArgs,
    trace: &TraceArgs,
    registry: &SharedRegistry,
) -> Result<Telemetry, ConfigError> {
    let filter = filter(&log.log_level)?;
    let read = |name: &str| std::env::var(name).ok();
    let mut variables = Variables::new(&read);
    let outcomes = Outcomes::register(registry);
    let spans = spans(about, identity, trace, &mut variables, outcomes)?;
    let export = spans.as_ref().map(|(_, provider)| {
        tracing_opentelemetry::layer()
            .with_tracer(provider.tracer(about.name))
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false)
            .with_filter(filter_fn(|metadata| metadata.target() == SPANS).with_max_level_hint(LevelFilter::INFO))
    });
    // Spans are none of a log line's business, and the level of the log none of the spans'.
    let events = filter_fn(|metadata| metadata.is_event()).with_max_level_hint(LevelFilter::TRACE);
    tracing_subscriber::registry()
        .with(export)
        .with(lines(log.log_format).with_filter(filter.and(events)))
        .try_init()
        .map_err(|error| ConfigError::caused_by("failed to install the log subscriber", error))?;
    for complaint in variables.complaints {
        tracing::warn!(complaint, "a variable of OpenTelemetry cannot be followed");
    }
    if let Some((config, _)) = &spans {
        sampling::install(config.sampling);
        tracing::info!(endpoint = config.endpoint, sampling = %config.sampling, "sending spans");
    }
    Ok(Telemetry {
        spans: spans.map(|(_, provider)| provider),
    })
}

/// What sends spans, and how, where any are to be sent and can be.
fn spans(
    about: &About,
    identity: &Identity,
    trace: &TraceArgs,
    variables: &mut Variables<'_>,
    outcomes: Outcomes,
) -> Result<Option<(TraceConfig, SdkTracerProvider)>, ConfigError> {
    let Some(config) = TraceConfig::read(trace, variables)? else {
        return Ok(None);
    };
    match export::provider(about, identity, &config, outcomes) {
        Ok(provider) => Ok(Some((config, provider))),
        Err(error) if config.is_by_flag() => Err(error),
        Err(error) => {
            variables.complaints.push(format!("{}; no spans are sent", error.chain()));
            Ok(None)
        }
    }
}

impl Telemetry {
    /// Sends queued spans, for at most `limit`. Call it from the main thread once the program's future has
    /// returned: on a runtime worker the exporter can starve and lose them.
    pub fn flush(self, limit: Duration) {
        let Some(spans) = self.spans else { return };
        if let Err(error) = spans.shutdown_with_timeout(limit) {
            tracing::warn!(%error, "failed to send the last spans");
        }
    }
}

fn filter(directives: &str) -> Result<Targets, ConfigError> {
    let unreadable = || format!("--log-level {directives:?} is neither a level nor a filter such as info,kube_runtime=debug");
    let asked: Vec<&str> = directives.split(',').map(str::trim).collect();
    if let Some(directive) = asked.iter().find(|directive| !names_a_level(directive)) {
        let why = format!("{directive:?} says none of off, error, warn, info, debug and trace");
        return Err(ConfigError::caused_by(unreadable(), why));
    }
    let filter: Targets = asked
        .join(",")
        .parse()
        .map_err(|error| ConfigError::caused_by(unreadable(), error))?;
    Ok(filter.with_targets(QUIET.map(|target| (target, LevelFilter::OFF))))
}

/// `Targets` reads a word that is no level as a target, and says nothing but that target's lines from then on; no word at all
/// means errors to it.
fn names_a_level(directive: &str) -> bool {
    let level = directive.rsplit_once('=').map_or(directive, |(_, level)| level);
    !level.is_empty() && level.parse::<LevelFilter>().is_ok()
}

/// The Kubernetes client logs the whole body of a response it cannot decode, Secrets included, and an ERROR for
/// every failed request. Whoever calls it reports failures with a level that fits.
const QUIET: [&str; 1] = ["kube_client::client"];

fn lines<S>(format: LogFormat) -> Box<dyn Layer<S> + Send + Sync>
where
    S: tracing::Subscriber + for<'span> tracing_subscriber::registry::LookupSpan<'span>,
{
    match format {
        LogFormat::Text => fmt::layer()
            .event_format(WithIds::text(fmt::format()))
            .with_ansi(std::io::stderr().is_terminal())
            .with_writer(std::io::stderr)
            .boxed(),
        LogFormat::Json => fmt::layer()
            .event_format(WithIds::json(
                fmt::format()
                    .json()
                    .flatten_event(true)
                    .with_current_span(false)
                    .with_span_list(false),
            ))
            .fmt_fields(JsonFields::new())
            .with_writer(std::io::stderr)
            .boxed(),
    }
}
