//! Whether, where to and how spans are sent: the flag and OpenTelemetry's standard variables, read once and checked.

use std::str::FromStr;
use std::time::Duration;

use super::sampling::Sampling;
use crate::args::TraceArgs;
use crate::error::ConfigError;

const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
const PROTOCOLS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"];
const TIMEOUTS: [&str; 3] = [
    "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT",
    "OTEL_EXPORTER_OTLP_TIMEOUT",
    "OTEL_BSP_EXPORT_TIMEOUT",
];
/// A collector that takes longer is slow: meanwhile spans wait, then are dropped.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Of the standard.
const DELAY: Duration = Duration::from_secs(5);
/// Of the standard.
const QUEUE: usize = 2048;
/// Spans of about 1 KiB each.
const MAX_QUEUE: usize = 65_536;
/// Of the standard.
const BATCH: usize = 512;

/// How spans are sent.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct TraceConfig {
    /// Begins with `http://`.
    pub(super) endpoint: String,
    /// The flag or variable the endpoint is from.
    pub(super) named: &'static str,
    pub(super) sampling: Sampling,
    /// Of one attempt to send, its retries included.
    pub(super) timeout: Duration,
    /// Longest time between two batches.
    pub(super) delay: Duration,
    /// Spans that wait or are being sent; more are dropped.
    pub(super) queue: usize,
    /// Spans in one batch.
    pub(super) batch: usize,
    /// What `OTEL_SERVICE_NAME` says.
    pub(super) service: Option<String>,
}

impl TraceConfig {
    /// `None` when no spans are wanted: nothing names an endpoint, or a variable says so.
    pub(super) fn read(args: &TraceArgs, variable: impl Fn(&str) -> Option<String>) -> Result<Option<Self>, ConfigError> {
        let variable = |name: &str| {
            variable(name)
                .map(|text| text.trim().to_owned())
                .filter(|text| !text.is_empty())
        };
        if variable("OTEL_SDK_DISABLED").is_some_and(|said| said.eq_ignore_ascii_case("true")) {
            return Ok(None);
        }
        match variable("OTEL_TRACES_EXPORTER").as_deref() {
            None | Some("otlp") => {}
            Some("none") => return Ok(None),
            Some(other) => return Err(refused("OTEL_TRACES_EXPORTER", other, "neither otlp nor none")),
        }
        let by_flag = args.otlp_endpoint.clone().filter(|endpoint| !endpoint.is_empty());
        let by_flag = by_flag.map(|endpoint| ("--otlp-endpoint", endpoint));
        let Some((named, endpoint)) = by_flag.or_else(|| first(ENDPOINTS, &variable)) else {
            return Ok(None);
        };
        if !endpoint.starts_with("http://") {
            return Err(ConfigError::new(format!(
                "{named} {endpoint:?} must start with http://; spans are sent to a collector in the same network, without TLS"
            )));
        }
        if let Some((named, protocol)) = first(PROTOCOLS, &variable)
            && protocol != "grpc"
        {
            return Err(refused(named, &protocol, "not grpc, which is the only protocol spoken"));
        }
        let queue = number("OTEL_BSP_MAX_QUEUE_SIZE", &variable, QUEUE)?.clamp(1, MAX_QUEUE);
        Ok(Some(Self {
            endpoint,
            named,
            sampling: Sampling::read(&variable)?,
            timeout: timeout(&variable)?,
            delay: millis("OTEL_BSP_SCHEDULE_DELAY", &variable)?.unwrap_or(DELAY),
            queue,
            batch: number("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", &variable, BATCH)?.clamp(1, queue),
            service: variable("OTEL_SERVICE_NAME"),
        }))
    }
}

fn timeout(variable: &impl Fn(&str) -> Option<String>) -> Result<Duration, ConfigError> {
    for name in TIMEOUTS {
        if let Some(timeout) = millis(name, variable)? {
            return Ok(timeout);
        }
    }
    Ok(TIMEOUT)
}

fn first<const N: usize>(names: [&'static str; N], variable: &impl Fn(&str) -> Option<String>) -> Option<(&'static str, String)> {
    names.into_iter().find_map(|name| Some((name, variable(name)?)))
}

fn millis(name: &'static str, variable: &impl Fn(&str) -> Option<String>) -> Result<Option<Duration>, ConfigError> {
    let parsed = variable(name).map(|text| parse::<u32>(name, &text)).transpose()?;
    Ok(parsed.map(|millis| Duration::from_millis(u64::from(millis.max(1)))))
}

fn number(name: &'static str, variable: &impl Fn(&str) -> Option<String>, usual: usize) -> Result<usize, ConfigError> {
    variable(name).map_or(Ok(usual), |text| parse(name, &text))
}

fn parse<T: FromStr>(name: &str, text: &str) -> Result<T, ConfigError> {
    text.parse().map_err(|_no_number| refused(name, text, "not a whole number"))
}

/// `name "value" is why`.
pub(super) fn refused(name: &str, value: &str, why: &str) -> ConfigError {
    ConfigError::new(format!("{name} {value:?} is {why}"))
}
