//! The program's flags and what they must be like together.

use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand};
use keda_kaito_core::names;
use keda_kaito_runtime::args::{CommonArgs, Identity, LeaseArgs, dns_name};
use keda_kaito_runtime::error::ConfigError;

/// Keeps a KEDA ScaledObject for each InferenceSet that is annotated with scaledobject.kaito.sh/auto-provision
#[derive(Parser, Clone, Debug)]
#[command(name = "provisioner", version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    pub args: ProvisionerArgs,
}

/// What else the binary can do.
#[derive(Subcommand, Clone, Debug)]
pub enum Command {
    /// Print the ScaledObject that an InferenceSet would get, and everything wrong with it, without a cluster
    Render(RenderArgs),
}

/// Flags of the controller.
#[derive(Args, Clone, Debug)]
pub struct ProvisionerArgs {
    #[command(flatten)]
    pub common: CommonArgs,
    #[command(flatten)]
    pub lease: LeaseArgs,
    #[command(flatten)]
    pub address: AddressArgs,

    /// Wait up to 2 minutes for a serving scaler replica before a ScaledObject is created; false for running without
    /// the scaler of this release
    #[arg(
        long,
        env = "REQUIRE_SCALER",
        default_value_t = true,
        action = ArgAction::Set,
        num_args = 0..=1,
        default_missing_value = "true",
        value_name = "BOOL"
    )]
    pub require_scaler: bool,

    /// Most writes to ScaledObjects per second, and most Events; a new credential epoch is spread over 10 per second in
    /// any case
    #[arg(
        long,
        env = "API_WRITES_PER_SECOND",
        default_value_t = 20,
        value_parser = clap::value_parser!(u32).range(1..=1000),
        value_name = "COUNT"
    )]
    pub api_writes_per_second: u32,

    #[command(flatten)]
    pub server: ServerArgs,
}

/// What is known of the model servers beside what the cluster says.
#[derive(Args, Clone, Copy, Debug)]
pub struct ServerArgs {
    /// Requests that one model server runs at a time, and lets wait (its max-num-seqs): thresholds beyond are warned of;
    /// 0 when not known
    #[arg(long, env = "MAX_NUM_SEQS", default_value_t = 1024, value_name = "COUNT")]
    pub max_num_seqs: u32,
}

/// Where KEDA finds the scaler.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Address of the scaler")]
pub struct AddressArgs {
    /// Namespace of KEDA and of the Secrets; defaults to POD_NAMESPACE, else keda
    #[arg(long, env = "WORKING_NAMESPACE", value_name = "NAMESPACE")]
    pub working_namespace: Option<String>,

    /// What KEDA dials, as host:port; by default made of the three flags below
    #[arg(long, env = "SCALER_ADDRESS", value_name = "HOST:PORT")]
    pub scaler_address: Option<String>,

    /// Service in front of the scaler
    #[arg(long, env = "SERVICE_NAME", default_value = names::SERVICE, value_name = "NAME")]
    pub service_name: String,

    /// Namespace of that Service; defaults to POD_NAMESPACE, else the working namespace
    #[arg(long, env = "SERVICE_NAMESPACE", value_name = "NAMESPACE")]
    pub service_namespace: Option<String>,

    /// Domain of the cluster
    #[arg(long, env = "CLUSTER_DOMAIN", default_value = "cluster.local", value_name = "DOMAIN")]
    pub cluster_domain: String,
}

/// Flags of `render`.
#[derive(Args, Clone, Debug)]
pub struct RenderArgs {
    /// File with InferenceSets, as YAML or JSON; - reads standard input; may be given several times
    #[arg(short = 'f', long = "filename", required = true, value_name = "FILE")]
    pub filenames: Vec<PathBuf>,

    /// Nodes of one replica, which KAITO would report in the Workspaces' status
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..), value_name = "COUNT")]
    pub nodes_per_replica: u16,

    #[command(flatten)]
    pub server: ServerArgs,

    #[command(flatten)]
    pub address: AddressArgs,
}

impl ProvisionerArgs {
    /// Checks what clap cannot.
    ///
    /// # Errors
    /// Names the flag and quotes its value.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.lease.validate()?;
        self.address.validate()
    }
}

impl AddressArgs {
    fn validate(&self) -> Result<(), ConfigError> {
        for (flag, value) in [
            ("--working-namespace", self.working_namespace.as_ref()),
            ("--service-name", Some(&self.service_name)),
            ("--service-namespace", self.service_namespace.as_ref()),
            ("--cluster-domain", Some(&self.cluster_domain)),
        ] {
            value.map_or(Ok(()), |value| dns_name(flag, value))?;
        }
        let Some(address) = &self.scaler_address else { return Ok(()) };
        let (host, port) = address.rsplit_once(':').unwrap_or_default();
        if host.is_empty() || port.parse::<u16>().is_err() || address.len() > 253 {
            return Err(ConfigError::new(format!("--scaler-address {address:?} must be host:port")));
        }
        Ok(())
    }

    /// The namespace of this process: leases, Service and scaler replicas are there.
    pub fn release_namespace(&self, identity: &Identity) -> String {
        let own = identity.namespace.clone().or_else(|| self.working_namespace.clone());
        own.unwrap_or_else(|| "keda".to_owned())
    }

    /// What goes into every trigger.
    pub fn scaler_address(&self, identity: &Identity) -> String {
        if let Some(address) = &self.scaler_address {
            return address.clone();
        }
        let namespace = self
            .service_namespace
            .clone()
            .unwrap_or_else(|| self.release_namespace(identity));
        let (service, domain, port) = (&self.service_name, &self.cluster_domain, names::GRPC_PORT);
        format!("{service}.{namespace}.svc.{domain}:{port}")
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use clap::{CommandFactory, Parser};
    use keda_kaito_runtime::args::Identity;

    use super::{Cli, Command, ProvisionerArgs};

    fn parse(flags: &[&str]) -> ProvisionerArgs {
        Cli::try_parse_from([&["provisioner"], flags].concat()).unwrap().args
    }

    fn identity(namespace: Option<&str>) -> Identity {
        Identity {
            name: "provisioner-0".to_owned(),
            namespace: namespace.map(str::to_owned),
        }
    }

    #[test]
    fn flags_are_consistent_and_defaults_are_valid() {
        Cli::command().debug_assert();
        let args = parse(&[]);
        args.validate().unwrap();
        assert!(args.require_scaler);
        assert!(!parse(&["--require-scaler=false"]).require_scaler);
        assert!(parse(&["--require-scaler"]).require_scaler);
    }

    #[test]
    fn address_of_the_scaler_follows_service_namespace_and_domain() {
        for (flags, pod_namespace, address) in [
            (
                &[][..],
                Some("release"),
                "keda-kaito-scaler-svc.release.svc.cluster.local:10450",
            ),
            (&[], None, "keda-kaito-scaler-svc.keda.svc.cluster.local:10450"),
            (
                &["--working-namespace", "kube-system"],
                None,
                "keda-kaito-scaler-svc.kube-system.svc.cluster.local:10450",
            ),
            (
                &["--service-namespace", "x", "--service-name", "y", "--cluster-domain", "z"],
                Some("release"),
                "y.x.svc.z:10450",
            ),
            (&["--scaler-address", "127.0.0.1:9"], Some("release"), "127.0.0.1:9"),
        ] {
            let args = parse(flags);
            args.validate().unwrap();
            assert_eq!(args.address.scaler_address(&identity(pod_namespace)), address, "{flags:?}");
        }
    }

    #[test]
    fn bad_addresses_are_named() {
        for address in ["scaler", ":10450", "scaler:port", ""] {
            let error = parse(&["--scaler-address", address]).validate().unwrap_err();
            assert_eq!(error.to_string(), format!("--scaler-address {address:?} must be host:port"));
        }
        assert!(Cli::try_parse_from(["provisioner", "--api-writes-per-second", "0"]).is_err());
    }

    #[test]
    fn render_is_a_command_of_its_own() {
        let cli = Cli::try_parse_from(["provisioner", "render", "-f", "a.yaml", "-f", "-", "--nodes-per-replica", "2"]).unwrap();
        let Some(Command::Render(args)) = cli.command else {
            panic!("no command")
        };
        assert_eq!(args.nodes_per_replica, 2);
        assert_eq!(args.filenames, ["a.yaml", "-"].map(PathBuf::from));
    }
}
