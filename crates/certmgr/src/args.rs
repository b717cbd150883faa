//! The program's flags and what they must be like together.

use std::net::IpAddr;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use keda_kaito_core::credentials::Config;
use keda_kaito_core::names;
use keda_kaito_runtime::args::{CommonArgs, Identity, LeaseArgs, dns_name, duration, is_dns_name};
use keda_kaito_runtime::error::ConfigError;

use crate::inspect::LeafNames;

const LONGEST_REASON: usize = 256;

/// Issues the mTLS credentials between KEDA and the scaler, and rotates them without a failed call
#[derive(Parser, Clone, Debug)]
#[command(name = "certmgr", version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    pub args: CertmgrArgs,
}

/// What else the binary can do.
#[derive(Subcommand, Clone, Debug)]
pub enum Command {
    /// Ask the running certmgr to replace the certificate authority now
    Rotate(RotateArgs),
    /// Print the certificates, the phase, who has acknowledged it and what it waits for
    Status(StatusArgs),
}

/// Flags of the controller.
#[derive(Args, Clone, Debug)]
pub struct CertmgrArgs {
    #[command(flatten)]
    pub common: CommonArgs,
    #[command(flatten)]
    pub lease: LeaseArgs,
    #[command(flatten)]
    pub place: PlaceArgs,
    #[command(flatten)]
    pub pace: PaceArgs,

    /// Longest time between two looks at the objects; changes are seen at once
    #[arg(long, env = "POLL_INTERVAL", default_value = "10s", value_parser = duration)]
    pub poll_interval: Duration,
}

/// Where things are.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Names")]
pub struct PlaceArgs {
    /// Namespace of KEDA and of the Secrets; defaults to POD_NAMESPACE, else keda
    #[arg(long, env = "WORKING_NAMESPACE", value_name = "NAMESPACE")]
    pub working_namespace: Option<String>,

    /// Service in front of the scaler
    #[arg(long, env = "SERVICE_NAME", default_value = names::SERVICE, value_name = "NAME")]
    pub service_name: String,

    /// Namespace of that Service; defaults to POD_NAMESPACE, else the working namespace
    #[arg(long, env = "SERVICE_NAMESPACE", value_name = "NAMESPACE")]
    pub service_namespace: Option<String>,

    /// Domain of the cluster
    #[arg(long, env = "CLUSTER_DOMAIN", default_value = "cluster.local", value_name = "DOMAIN")]
    pub cluster_domain: String,

    /// One more name or IP address that the server certificate carries; may be repeated
    #[arg(
        long = "extra-dns-name",
        env = "EXTRA_DNS_NAMES",
        value_delimiter = ',',
        value_name = "NAME"
    )]
    pub extra_dns_names: Vec<String>,
}

/// How long certificates live and how long a rotation waits.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Lifetimes and gates")]
pub struct PaceArgs {
    /// Life of the certificate authority, which is replaced at half of it
    #[arg(long, env = "AUTHORITY_LIFETIME", default_value = "730d", value_parser = duration)]
    pub authority_lifetime: Duration,

    /// Life of the server and the client certificate
    #[arg(long, env = "LEAF_LIFETIME", default_value = "90d", value_parser = duration)]
    pub leaf_lifetime: Duration,

    /// Age at which they are renewed
    #[arg(long, env = "LEAF_RENEW_AFTER", default_value = "60d", value_parser = duration)]
    pub leaf_renew_after: Duration,

    /// They are renewed up to this much earlier
    #[arg(long, env = "LEAF_RENEW_JITTER", default_value = "5d", value_parser = duration)]
    pub leaf_renew_jitter: Duration,

    /// How long both authorities are trusted before the new one is used
    #[arg(long, env = "TRUST_MINIMUM_AGE", default_value = "10m", value_parser = duration)]
    pub trust_minimum_age: Duration,

    /// How long KEDA's new certificate is out before the old authority is retired
    #[arg(long, env = "IDENTIFY_MINIMUM_AGE", default_value = "24h", value_parser = duration)]
    pub identify_minimum_age: Duration,

    /// What a scaler replica says of its callers counts once it has known them this long: twice the longest pause
    /// between two calls of one ScaledObject
    #[arg(long, env = "CALLERS_KNOWN_FOR", default_value = "1h", value_parser = duration)]
    pub callers_known_for: Duration,
}

/// Flags of `rotate`.
#[derive(Args, Clone, Debug)]
pub struct RotateArgs {
    /// Why; recorded, and acted on once
    #[arg(long, value_name = "TEXT")]
    pub reason: String,

    /// Namespace of KEDA and of the Secrets
    #[arg(long, env = "WORKING_NAMESPACE", value_name = "NAMESPACE")]
    pub working_namespace: Option<String>,
}

/// Flags of `status`.
#[derive(Args, Clone, Debug)]
pub struct StatusArgs {
    #[command(flatten)]
    pub place: PlaceArgs,
    #[command(flatten)]
    pub pace: PaceArgs,
}

impl RotateArgs {
    /// Checks what clap cannot.
    ///
    /// # Errors
    /// Names the flag and quotes its value.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let reason = &self.reason;
        if reason.trim().is_empty() || reason.len() > LONGEST_REASON || reason.chars().any(char::is_control) {
            return Err(ConfigError::new(format!(
                "--reason {reason:?} must be one line of 1 to {LONGEST_REASON} bytes"
            )));
        }
        let namespace = self.working_namespace.as_ref();
        namespace.map_or(Ok(()), |namespace| dns_name("--working-namespace", namespace))
    }
}

impl CertmgrArgs {
    /// Checks what clap cannot.
    ///
    /// # Errors
    /// Names the flag and quotes its value.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.poll_interval.is_zero() || self.poll_interval > Duration::from_secs(3600) {
            let given = self.poll_interval;
            return Err(ConfigError::new(format!(
                "--poll-interval {given:?} must be above zero and at most 1h"
            )));
        }
        self.place.validate()?;
        self.lease.validate()?;
        self.pace.config().map(|_config| ())
    }
}

impl PaceArgs {
    /// The figures, checked against each other.
    ///
    /// # Errors
    /// Names the flags that contradict each other and quotes their values.
    pub fn config(&self) -> Result<Config, ConfigError> {
        let config = Config {
            authority_lifetime: self.authority_lifetime,
            leaf_lifetime: self.leaf_lifetime,
            leaf_renew_after: self.leaf_renew_after,
            leaf_renew_jitter: self.leaf_renew_jitter,
            trust_minimum_age: self.trust_minimum_age,
            identify_minimum_age: self.identify_minimum_age,
            callers_known_for: self.callers_known_for,
        };
        config.check().map_err(|error| ConfigError::new(format!("--{error}")))?;
        Ok(config)
    }
}

impl PlaceArgs {
    /// Checks that names can stand in a certificate.
    ///
    /// # Errors
    /// Names the flag and quotes its value.
    pub fn validate(&self) -> Result<(), ConfigError> {
        for (flag, value) in [
            ("--service-name", Some(&self.service_name)),
            ("--service-namespace", self.service_namespace.as_ref()),
            ("--working-namespace", self.working_namespace.as_ref()),
            ("--cluster-domain", Some(&self.cluster_domain)),
        ] {
            value.map_or(Ok(()), |value| dns_name(flag, value))?;
        }
        let extra = self.extra_dns_names.iter().filter(|name| !name.is_empty());
        let wrong = |name: &&String| !is_dns_name(name) && name.parse::<IpAddr>().is_err();
        match extra.into_iter().find(wrong) {
            Some(name) => Err(ConfigError::new(format!(
                "--extra-dns-name {name:?} is not a DNS name in lower case"
            ))),
            None => Ok(()),
        }
    }

    /// KEDA's namespace.
    #[must_use]
    pub fn working_namespace(&self, identity: &Identity) -> String {
        working_namespace(self.working_namespace.as_ref(), identity)
    }

    /// The namespace of this process: leases and scaler replicas are there.
    #[must_use]
    pub fn release_namespace(&self, identity: &Identity) -> String {
        identity.namespace.clone().unwrap_or_else(|| self.working_namespace(identity))
    }

    /// What leaves carry.
    pub(crate) fn leaf_names(&self, identity: &Identity) -> LeafNames {
        let namespace = self
            .service_namespace
            .clone()
            .unwrap_or_else(|| self.release_namespace(identity));
        let (service, domain) = (&self.service_name, &self.cluster_domain);
        let mut server = vec![
            service.clone(),
            format!("{service}.{namespace}"),
            format!("{service}.{namespace}.svc"),
            format!("{service}.{namespace}.svc.{domain}"),
        ];
        for name in self.extra_dns_names.iter().filter(|name| !name.is_empty()) {
            if !server.contains(name) {
                server.push(name.clone());
            }
        }
        let keda = self.working_namespace(identity);
        LeafNames {
            server,
            client: format!("spiffe://{domain}/ns/{keda}/sa/{}", names::KEDA_SERVICE_ACCOUNT),
        }
    }
}

/// KEDA's namespace: as flagged, else our own, else the usual one.
pub(crate) fn working_namespace(flag: Option<&String>, identity: &Identity) -> String {
    let known = flag.cloned().or_else(|| identity.namespace.clone());
    known.unwrap_or_else(|| "keda".to_owned())
}

#[cfg(test)]
mod tests;
