//! The program's flags and what they must be like together.

use std::net::SocketAddr;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use keda_kaito_core::trigger::PORTS_ALLOWED_BY_DEFAULT;
use keda_kaito_runtime::args::{CommonArgs, Identity, dns_name, duration};
use keda_kaito_runtime::error::ConfigError;

use crate::explain;
use crate::explain_command::ExplainArgs;
use crate::registry::story::Keeping;

/// Decisions per trigger: an answer with all of them is still read in one go.
const MOST_KEPT: usize = 1000;
const MOST_MIB: usize = 1024;

/// KEDA external scaler for KAITO InferenceSets: scrapes their vLLM pods itself and tells KEDA how far to scale
#[derive(Parser, Clone, Debug)]
#[command(name = "scaler", version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    pub args: ScalerArgs,
}

/// What else the binary can do.
#[derive(Subcommand, Clone, Debug)]
pub enum Command {
    /// Decide offline: decision inputs as JSON Lines on standard input, one decision record per line on standard output
    Decide,
    /// Ask a running scaler why InferenceSets did (not) scale; it must have been started with --explain-address
    Explain(ExplainArgs),
}

/// Flags of the serving program.
#[derive(Args, Clone, Debug)]
pub struct ScalerArgs {
    #[command(flatten)]
    pub common: CommonArgs,
    #[command(flatten)]
    pub serve: ServeArgs,
    #[command(flatten)]
    pub scrape: ScrapeArgs,
    #[command(flatten)]
    pub memory: MemoryArgs,
}

/// Who may call, and where.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Serving")]
pub struct ServeArgs {
    /// Namespace of KEDA and of the Secret keda-kaito-scaler-server-certs; defaults to POD_NAMESPACE, else keda
    #[arg(long, env = "WORKING_NAMESPACE", value_name = "NAMESPACE")]
    pub working_namespace: Option<String>,

    /// Address that serves KEDA's gRPC calls; it opens once valid credentials are there
    #[arg(long, env = "GRPC_ADDRESS", default_value = "0.0.0.0:10450")]
    pub grpc_address: SocketAddr,

    /// Domain of the cluster, for the default of --client-uri
    #[arg(long, env = "CLUSTER_DOMAIN", default_value = "cluster.local", value_name = "DOMAIN")]
    pub cluster_domain: String,

    /// URI that a client certificate issued by certmgr must carry; may be given several times
    /// [default: spiffe://CLUSTER_DOMAIN/ns/WORKING_NAMESPACE/sa/keda-operator]
    #[arg(long, env = "CLIENT_URI", value_name = "URI", value_delimiter = ',')]
    pub client_uri: Vec<String>,

    /// Age at which a connection is ended, ± 10 %, so that KEDA finds new replicas
    #[arg(long, env = "CONNECTION_AGE", default_value = "30m", value_parser = duration, value_name = "DURATION")]
    pub connection_age: Duration,

    /// A trigger counts as a caller for twice its longest pause, and at least this long after its last call
    #[arg(long, env = "CALLER_ACTIVE_FOR", default_value = "2m", value_parser = duration, value_name = "DURATION")]
    pub caller_active_for: Duration,

    /// Connections of an authority that is no longer trusted are ended within this time, one by one
    #[arg(long, env = "RETIRE_WITHIN", default_value = "30s", value_parser = duration, value_name = "DURATION")]
    pub retire_within: Duration,
}

/// What is scraped, how often, how much of it.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Scraping")]
pub struct ScrapeArgs {
    /// Time between two scrapes of a replica, 1s to 60s
    #[arg(long, env = "SCRAPE_INTERVAL", default_value = "15s", value_parser = duration, value_name = "DURATION")]
    pub scrape_interval: Duration,

    /// How long a replica may be pending before it stops holding back decisions
    #[arg(long, env = "REPLICA_DEADLINE", default_value = "30m", value_parser = duration, value_name = "DURATION")]
    pub replica_deadline: Duration,

    /// Most replicas scraped; further ones stay unscraped, and say so in an Event
    #[arg(long, env = "MAX_TARGETS", default_value_t = 20_000, value_name = "COUNT")]
    pub max_targets: usize,

    /// Most replicas scraped in one namespace
    #[arg(long, env = "MAX_TARGETS_PER_NAMESPACE", default_value_t = 500, value_name = "COUNT")]
    pub max_targets_per_namespace: usize,

    /// Ports that a trigger's metricPort may name (80 stands for port 5000 of the pod)
    #[arg(
        long,
        env = "SCRAPE_PORTS",
        value_name = "PORT",
        value_delimiter = ',',
        default_values_t = PORTS_ALLOWED_BY_DEFAULT
    )]
    pub scrape_ports: Vec<u16>,

    /// Scrape pods whose address is a loopback address: for benchmarks on one machine; refused inside a cluster
    #[arg(long, env = "ALLOW_LOOPBACK_TARGETS")]
    pub allow_loopback_targets: bool,
}

/// What is remembered of decisions, and who may ask for it.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Explaining")]
pub struct MemoryArgs {
    /// Loopback address that serves why InferenceSets did (not) scale, such as 127.0.0.1:10453; it shows every tenant's
    /// decisions, and is not served without this
    #[arg(long, env = "EXPLAIN_ADDRESS", value_name = "ADDRESS")]
    pub explain_address: Option<SocketAddr>,

    /// Different decisions remembered per trigger of an InferenceSet, 0 for none
    #[arg(long, env = "DECISIONS_KEPT", default_value_t = 50, value_name = "COUNT")]
    pub decisions_kept: usize,

    /// Most memory for all remembered decisions together, in MiB; every trigger has the same share of it
    #[arg(long, env = "DECISIONS_MEMORY_MIB", default_value_t = 8, value_name = "MIB")]
    pub decisions_memory_mib: usize,
}

impl MemoryArgs {
    /// What the registry may remember.
    pub fn keeping(&self) -> Keeping {
        Keeping::new(self.decisions_kept, self.decisions_memory_mib.saturating_mul(1024 * 1024))
    }
}

impl ServeArgs {
    /// The namespace of KEDA and of the Secrets.
    pub fn working_namespace(&self, identity: &Identity) -> String {
        self.working_namespace
            .clone()
            .or_else(|| identity.namespace.clone())
            .unwrap_or_else(|| "keda".to_owned())
    }

    /// The URIs of which a client certificate of ours must have one.
    pub fn client_uris(&self, working_namespace: &str) -> Vec<String> {
        if self.client_uri.is_empty() {
            let domain = &self.cluster_domain;
            return vec![format!("spiffe://{domain}/ns/{working_namespace}/sa/keda-operator")];
        }
        self.client_uri.clone()
    }
}

impl ScalerArgs {
    /// Checks what clap cannot. `in_cluster` says whether this process runs in a pod.
    ///
    /// # Errors
    /// Names the flag and quotes its value.
    pub fn validate(&self, in_cluster: bool) -> Result<(), ConfigError> {
        if self.scrape.allow_loopback_targets && in_cluster {
            return Err(ConfigError::new(
                "--allow-loopback-targets is for benchmarks on one machine: inside a cluster loopback is the scaler's own pod",
            ));
        }
        if let Some(address) = self.memory.explain_address {
            explain::validate(address)?;
        }
        let (kept, mib) = (self.memory.decisions_kept, self.memory.decisions_memory_mib);
        if kept > MOST_KEPT {
            return Err(ConfigError::new(format!(
                "--decisions-kept {kept} must be at most {MOST_KEPT}"
            )));
        }
        if !(1..=MOST_MIB).contains(&mib) {
            return Err(ConfigError::new(format!(
                "--decisions-memory-mib {mib} must be from 1 to {MOST_MIB}"
            )));
        }
        let interval = self.scrape.scrape_interval;
        if !(Duration::from_secs(1)..=Duration::from_secs(60)).contains(&interval) {
            return Err(ConfigError::new(format!(
                "--scrape-interval {interval:?} must be from 1s to 60s"
            )));
        }
        if self.scrape.replica_deadline < Duration::from_secs(1) {
            let deadline = self.scrape.replica_deadline;
            return Err(ConfigError::new(format!(
                "--replica-deadline {deadline:?} must be at least 1s"
            )));
        }
        let age = self.serve.connection_age;
        if age < Duration::from_secs(1) {
            return Err(ConfigError::new(format!("--connection-age {age:?} must be at least 1s")));
        }
        let within = self.serve.retire_within;
        if within > Duration::from_secs(3600) {
            return Err(ConfigError::new(format!("--retire-within {within:?} must be at most 1h")));
        }
        let active = self.serve.caller_active_for;
        if active < Duration::from_secs(1) {
            return Err(ConfigError::new(format!(
                "--caller-active-for {active:?} must be at least 1s"
            )));
        }
        dns_name("--cluster-domain", &self.serve.cluster_domain)?;
        let namespace = self.serve.working_namespace.as_ref();
        namespace.map_or(Ok(()), |namespace| dns_name("--working-namespace", namespace))?;
        if self.scrape.scrape_ports.contains(&0) {
            return Err(ConfigError::new("--scrape-ports: 0 is not a port"));
        }
        if let Some(uri) = self.serve.client_uri.iter().find(|uri| !uri.contains("://")) {
            return Err(ConfigError::new(format!(
                "--client-uri {uri:?} is not a URI such as spiffe://domain/path"
            )));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;

    fn parse(flags: &[&str]) -> ScalerArgs {
        Cli::try_parse_from([&["scaler"], flags].concat()).unwrap().args
    }

    #[test]
    fn flags_are_consistent_and_defaults_are_valid() {
        Cli::command().debug_assert();
        let args = parse(&[]);
        args.validate(true).unwrap();
        assert_eq!(args.scrape.scrape_ports, PORTS_ALLOWED_BY_DEFAULT);
    }

    #[test]
    fn bad_values_are_named() {
        for (flags, message) in [
            (["--scrape-interval", "0s"], "--scrape-interval 0ns must be from 1s to 60s"),
            (["--scrape-interval", "2m"], "--scrape-interval 120s must be from 1s to 60s"),
            (["--replica-deadline", "10ms"], "--replica-deadline 10ms must be at least 1s"),
            (["--connection-age", "0s"], "--connection-age 0ns must be at least 1s"),
            (["--retire-within", "2h"], "--retire-within 7200s must be at most 1h"),
            (["--caller-active-for", "0s"], "--caller-active-for 0ns must be at least 1s"),
            (
                ["--cluster-domain", "A b"],
                "--cluster-domain \"A b\" is not a DNS name in lower case",
            ),
            (
                ["--working-namespace", "A/b"],
                "--working-namespace \"A/b\" is not a DNS name in lower case",
            ),
            (["--scrape-ports", "80,0"], "--scrape-ports: 0 is not a port"),
            (["--decisions-kept", "1001"], "--decisions-kept 1001 must be at most 1000"),
            (
                ["--decisions-memory-mib", "0"],
                "--decisions-memory-mib 0 must be from 1 to 1024",
            ),
            (
                ["--explain-address", "0.0.0.0:10453"],
                "--explain-address 0.0.0.0:10453 is not a loopback address: whoever reaches it sees every tenant's decisions; \
                 use 127.0.0.1 or [::1]",
            ),
            (
                ["--client-uri", "keda"],
                "--client-uri \"keda\" is not a URI such as spiffe://domain/path",
            ),
        ] {
            assert_eq!(parse(&flags).validate(false).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn explanations_are_given_on_loopback_addresses_alone() {
        for (address, accepted) in [
            ("127.0.0.1:10453", true),
            ("[::1]:10453", true),
            ("127.1.2.3:0", true),
            ("[::]:10453", false),
            ("10.0.0.1:10453", false),
            ("[::ffff:10.0.0.1]:10453", false),
        ] {
            let args = parse(&["--explain-address", address]);
            assert_eq!(args.validate(true).is_ok(), accepted, "{address}");
        }
    }

    #[test]
    fn loopback_targets_are_refused_inside_a_cluster() {
        let args = parse(&["--allow-loopback-targets"]);
        assert!(args.validate(false).is_ok());
        let error = args.validate(true).unwrap_err().to_string();
        assert!(error.starts_with("--allow-loopback-targets is for benchmarks"), "{error}");
    }

    #[test]
    fn callers_default_to_the_operator_of_the_working_namespace() {
        let identity = Identity {
            name: "scaler-0".to_owned(),
            namespace: Some("release".to_owned()),
        };
        let serve = parse(&["--cluster-domain", "example.test"]).serve;
        let namespace = serve.working_namespace(&identity);
        assert_eq!(namespace, "release");
        assert_eq!(
            serve.client_uris(&namespace),
            ["spiffe://example.test/ns/release/sa/keda-operator"]
        );
        let serve = parse(&["--working-namespace", "keda", "--client-uri", "spiffe://a/b,spiffe://c/d"]).serve;
        assert_eq!(serve.working_namespace(&identity), "keda");
        assert_eq!(serve.client_uris("keda"), ["spiffe://a/b", "spiffe://c/d"]);
    }
}
