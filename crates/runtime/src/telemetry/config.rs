//! Whether, where to and how spans are sent: the flag and OpenTelemetry's standard variables, read once and checked.

use std::str::FromStr;
use std::time::Duration;

use super::sampling::Sampling;
use crate::args::TraceArgs;
use crate::error::ConfigError;

const FLAG: &str = "--otlp-endpoint";
/// What an endpoint that is not plain is told.
const PLAIN: &str = "must start with http://; spans are sent to a collector in the same network, without TLS";
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
    /// `None` when no spans are wanted, or none can be sent as the variables say.
    ///
    /// # Errors
    /// The flag's endpoint cannot be used.
    pub(super) fn read(args: &TraceArgs, variables: &mut Variables<'_>) -> Result<Option<Self>, ConfigError> {
        if variables
            .text("OTEL_SDK_DISABLED")
            .is_some_and(|said| said.eq_ignore_ascii_case("true"))
        {
            return Ok(None);
        }
        match variables.text("OTEL_TRACES_EXPORTER").as_deref() {
            None | Some("otlp") => {}
            Some("none") => return Ok(None),
            Some(other) => {
                variables.unusable("OTEL_TRACES_EXPORTER", other, "is neither otlp nor none");
                return Ok(None);
            }
        }
        let by_flag = args.otlp_endpoint.clone().filter(|endpoint| !endpoint.is_empty());
        let (named, endpoint) = match by_flag {
            Some(endpoint) if !is_plain(&endpoint) => return Err(ConfigError::new(format!("{FLAG} {endpoint:?} {PLAIN}"))),
            // It says gRPC, too.
            Some(endpoint) => (FLAG, endpoint),
            None => match variables.endpoint() {
                Some(found) => found,
                None => return Ok(None),
            },
        };
        let queue = variables
            .number("OTEL_BSP_MAX_QUEUE_SIZE")
            .unwrap_or(QUEUE)
            .clamp(1, MAX_QUEUE);
        let batch = variables.number("OTEL_BSP_MAX_EXPORT_BATCH_SIZE").unwrap_or(BATCH);
        Ok(Some(Self {
            endpoint,
            named,
            sampling: Sampling::read(variables),
            timeout: TIMEOUTS
                .into_iter()
                .find_map(|name| variables.millis(name))
                .unwrap_or(TIMEOUT),
            delay: variables.millis("OTEL_BSP_SCHEDULE_DELAY").unwrap_or(DELAY),
            queue,
            batch: batch.clamp(1, queue),
            service: variables.text("OTEL_SERVICE_NAME"),
        }))
    }

    /// Whether who configured this program, and not who filled its environment, said where to.
    pub(super) fn is_by_flag(&self) -> bool {
        self.named == FLAG
    }
}

/// OpenTelemetry's variables. They may be meant for every program of a cluster, so what cannot be followed here stops none:
/// it is remembered, to be told once there is a log.
pub(super) struct Variables<'a> {
    read: &'a dyn Fn(&str) -> Option<String>,
    /// Each names the variable, quotes its value and says what comes of it.
    pub(super) complaints: Vec<String>,
}

impl<'a> Variables<'a> {
    pub(super) fn new(read: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self {
            read,
            complaints: Vec::new(),
        }
    }

    /// `None` for an empty one, as the standard has it.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        let text = (self.read)(name)?.trim().to_owned();
        (!text.is_empty()).then_some(text)
    }

    /// Complains of a value in whose place the usual one is taken.
    pub(super) fn ignore(&mut self, name: &str, value: &str, why: &str) {
        self.complaints.push(format!("{name} {value:?} {why}; it is ignored"));
    }

    fn unusable(&mut self, name: &str, value: &str, why: &str) {
        self.complaints.push(format!("{name} {value:?} {why}; no spans are sent"));
    }

    fn first(&self, names: [&'static str; 2]) -> Option<(&'static str, String)> {
        names.into_iter().find_map(|name| Some((name, self.text(name)?)))
    }

    fn endpoint(&mut self) -> Option<(&'static str, String)> {
        let (named, endpoint) = self.first(ENDPOINTS)?;
        if !is_plain(&endpoint) {
            self.unusable(named, &endpoint, PLAIN);
            return None;
        }
        match self.first(PROTOCOLS) {
            Some((named, protocol)) if protocol != "grpc" => {
                self.unusable(named, &protocol, "is not grpc, which is the only protocol spoken");
                None
            }
            Some(_) | None => Some((named, endpoint)),
        }
    }

    fn number<T: FromStr>(&mut self, name: &str) -> Option<T> {
        let text = self.text(name)?;
        let number = text.parse().ok();
        if number.is_none() {
            self.ignore(name, &text, "is not a whole number");
        }
        number
    }

    fn millis(&mut self, name: &str) -> Option<Duration> {
        let millis: u32 = self.number(name)?;
        Some(Duration::from_millis(u64::from(millis.max(1))))
    }
}

fn is_plain(endpoint: &str) -> bool {
    endpoint.starts_with("http://")
}
