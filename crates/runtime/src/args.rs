//! Command-line groups shared by the programs, the duration syntax, and who this process is.
//! It holds no program's own flags.

use std::net::SocketAddr;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::error::ConfigError;

pub use document::document;
pub use duration::duration;
pub use identity::Identity;
pub use name::{dns_name, is_dns_name, is_label};

mod document;
mod duration;
mod identity;
mod name;

/// Flags that every program has.
#[derive(Args, Clone, Debug)]
pub struct CommonArgs {
    #[command(flatten)]
    pub log: LogArgs,
    #[command(flatten)]
    pub trace: TraceArgs,
    #[command(flatten)]
    pub admin: AdminArgs,
}

/// How the process logs.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Logging and tracing")]
pub struct LogArgs {
    /// Shape of the log lines on standard error
    #[arg(long, env = "LOG_FORMAT", value_enum, default_value_t = LogFormat::Json)]
    pub log_format: LogFormat,

    /// Least severe level to log, or a filter such as `info,kube_runtime=debug`
    #[arg(long, env = "LOG_LEVEL", default_value = "info", value_name = "FILTER")]
    pub log_level: String,
}

/// Shape of the log lines.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One human-readable line each
    Text,
    /// One JSON object each
    Json,
}

/// Where spans go.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Logging and tracing")]
pub struct TraceArgs {
    /// Send spans by OTLP over gRPC to this endpoint, such as `http://otel-collector:4317`; without it, to what
    /// OTEL_EXPORTER_OTLP_TRACES_ENDPOINT or OTEL_EXPORTER_OTLP_ENDPOINT says, and where nothing does, none are sent
    #[arg(long, value_name = "URL")]
    pub otlp_endpoint: Option<String>,
}

/// Where metrics and probes are served.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Metrics and probes")]
pub struct AdminArgs {
    /// Address that serves /metrics
    #[arg(long, env = "METRICS_ADDRESS", default_value = "0.0.0.0:10451")]
    pub metrics_address: SocketAddr,

    /// Address that serves /livez and /readyz; may equal the metrics address
    #[arg(long, env = "HEALTH_ADDRESS", default_value = "0.0.0.0:10452")]
    pub health_address: SocketAddr,
}

/// Pace of leader election, for programs that elect a leader.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Leader election")]
pub struct LeaseArgs {
    /// How long a standby waits after the leader was last seen to renew before it takes over
    #[arg(long, env = "LEASE_DURATION", default_value = "15s", value_parser = duration)]
    pub lease_duration: Duration,

    /// How long the leader keeps trying to renew before it gives up; shorter than the lease duration
    #[arg(long, env = "LEASE_RENEW_DEADLINE", default_value = "10s", value_parser = duration)]
    pub lease_renew_deadline: Duration,

    /// Time between two tries to acquire or renew
    #[arg(long, env = "LEASE_RETRY_PERIOD", default_value = "2s", value_parser = duration)]
    pub lease_retry_period: Duration,
}

impl LeaseArgs {
    /// Checks the flags against each other.
    ///
    /// # Errors
    /// The deadline is not below the duration, the period not below the deadline, or the duration below one second.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let (duration, deadline, period) = (self.lease_duration, self.lease_renew_deadline, self.lease_retry_period);
        if duration < Duration::from_secs(1) {
            return Err(ConfigError::new(format!("--lease-duration {duration:?} must be at least 1s")));
        }
        if deadline >= duration {
            return Err(ConfigError::new(format!(
                "--lease-renew-deadline {deadline:?} must be shorter than --lease-duration {duration:?}"
            )));
        }
        if period >= deadline || period.is_zero() {
            return Err(ConfigError::new(format!(
                "--lease-retry-period {period:?} must be above zero and shorter than --lease-renew-deadline {deadline:?}"
            )));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
