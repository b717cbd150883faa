//! Log lines on standard error and, with an endpoint, spans by OTLP. The only module that names OpenTelemetry.

use std::io::IsTerminal;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

use crate::args::{Identity, LogArgs, LogFormat, TraceArgs};
use crate::error::ConfigError;
use crate::program::About;

const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);

/// Installed telemetry; [`Telemetry::flush`] sends what is still queued.
#[derive(Debug)]
pub struct Telemetry {
    spans: Option<SdkTracerProvider>,
}

/// Installs the process-wide subscriber. Needs a tokio runtime when spans are exported.
///
/// # Errors
/// The log filter or the endpoint cannot be read, or a subscriber is already installed.
pub fn install(about: &About, identity: &Identity, log: &LogArgs, trace: &TraceArgs) -> Result<Telemetry, ConfigError> {
    let filter = filter(&log.log_level)?;
    let spans = trace
        .otlp_endpoint
        .as_deref()
        .filter(|endpoint| !endpoint.is_empty())
        .map(|endpoint| exporter(about, identity, endpoint))
        .transpose()?;
    let export = spans
        .as_ref()
        .map(|provider| tracing_opentelemetry::layer().with_tracer(provider.tracer(about.name)));
    tracing_subscriber::registry()
        .with(lines(log.log_format))
        .with(export)
        .with(filter)
        .try_init()
        .map_err(|error| ConfigError::caused_by("failed to install the log subscriber", error))?;
    Ok(Telemetry { spans })
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

fn filter(directives: &str) -> Result<EnvFilter, ConfigError> {
    let filter = EnvFilter::builder().parse(directives).map_err(|error| {
        ConfigError::caused_by(
            format!("--log-level {directives:?} is neither a level nor a filter such as info,kube_runtime=debug"),
            error,
        )
    })?;
    Ok(QUIET.iter().fold(filter, |filter, directive| match directive.parse() {
        Ok(directive) => filter.add_directive(directive),
        Err(_) => filter,
    }))
}

/// The Kubernetes client logs the whole body of a response it cannot decode, Secrets included, and an ERROR for
/// every failed request. Whoever calls it reports failures with a level that fits.
const QUIET: [&str; 1] = ["kube_client::client=off"];

fn lines<S>(format: LogFormat) -> Box<dyn Layer<S> + Send + Sync>
where
    S: tracing::Subscriber + for<'span> tracing_subscriber::registry::LookupSpan<'span>,
{
    match format {
        LogFormat::Text => fmt::layer()
            .with_ansi(std::io::stderr().is_terminal())
            .with_writer(std::io::stderr)
            .boxed(),
        LogFormat::Json => fmt::layer().json().flatten_event(true).with_writer(std::io::stderr).boxed(),
    }
}

fn exporter(about: &About, identity: &Identity, endpoint: &str) -> Result<SdkTracerProvider, ConfigError> {
    if !endpoint.starts_with("http://") {
        return Err(ConfigError::new(format!(
            "--otlp-endpoint {endpoint:?} must start with http://; spans are sent to a collector in the same network, without TLS"
        )));
    }
    let exporter = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .with_timeout(EXPORT_TIMEOUT)
        .build()
        .map_err(|error| ConfigError::caused_by(format!("--otlp-endpoint {endpoint:?} cannot be used"), error))?;
    let resource = Resource::builder()
        .with_service_name(about.name)
        .with_attributes([
            KeyValue::new("service.namespace", about.product),
            KeyValue::new("service.version", about.version),
            KeyValue::new("service.instance.id", identity.name.clone()),
        ])
        .build();
    Ok(SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_resource(resource)
        .build())
}

#[cfg(test)]
mod tests {
    use super::filter;

    #[test]
    fn client_that_logs_bodies_stays_quiet_whatever_is_asked_for() {
        for asked in ["info", "trace", "info,kube_client=debug", "kube_client::client=trace"] {
            let filter = filter(asked).unwrap().to_string();
            assert!(filter.contains("kube_client::client=off"), "{asked}: {filter}");
            assert!(!filter.contains("kube_client::client=trace"), "{asked}: {filter}");
        }
    }

    #[test]
    fn filter_that_cannot_be_read_is_quoted() {
        let error = filter("lo=ud=er").unwrap_err().to_string();
        assert!(error.starts_with("--log-level \"lo=ud=er\""), "{error}");
    }
}
