//! `cargo xtask testbed`: its commands and the order of their steps. Building happens outside the namespaces
//! (it needs the registries), everything else inside.

mod bed;
mod build;
mod components;
mod environment;
mod exec;
mod hosts;
mod kubeconfig;
mod kubectl;
mod launch;
mod namespace;
pub(crate) mod node;
mod objects;
mod pki;
mod plan;
mod probe;
mod processes;

use std::ffi::OsString;
use std::process::{ExitCode, Stdio};

use anyhow::{Result, bail, ensure};
use rustix::process::{Signal, set_parent_process_death_signal};

pub(crate) use plan::{Options, Part};

/// Exit code when the bed itself failed, so that it is not mistaken for the command's own.
pub(crate) const FAILED_TO_START: u8 = 125;

#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Build what is missing of the bed's programs into target/testbed/bin
    Build,
    /// Run a command inside a fresh bed; its exit code is the command's (125: the bed failed)
    Run {
        #[command(flatten)]
        options: Options,
        /// Add a real node: kubelet, containerd, scheduler, kube-proxy and DNS. Pods run; the stand-in for them does not
        #[arg(long)]
        node: bool,
        /// End when the process that started this one ends
        #[arg(long, hide = true)]
        with_parent: bool,
        /// The command and its arguments
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
    /// Keep a bed up until Ctrl-C
    Up {
        #[command(flatten)]
        options: Options,
        /// Add a real node, as `run` does
        #[arg(long)]
        node: bool,
    },
    /// Run a command inside a bed that is up
    Exec {
        /// Process id of the bed's init, when several beds are up
        #[arg(long)]
        pid: Option<u32>,
        /// The command and its arguments
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
    #[command(hide = true)]
    Enter {
        parent: u32,
        #[arg(last = true)]
        command: Vec<OsString>,
    },
    #[command(hide = true)]
    Init {
        #[arg(last = true)]
        command: Vec<OsString>,
    },
    #[command(hide = true, subcommand)]
    Inside(bed::Step),
}

pub(crate) fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Build => {
            build::programs(true)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Run {
            options,
            node,
            with_parent,
            command,
        } => {
            if with_parent {
                set_parent_process_death_signal(Some(Signal::TERM))?;
            }
            launch(&options, node, &command, Stdio::inherit())
        }
        Command::Up { options, node } => launch(&options, node, &[], Stdio::inherit()),
        Command::Exec { pid, command } => exec::exec(pid, &command),
        Command::Enter { parent, command } => launch::enter(parent, &command),
        Command::Init { command } => bed::init(&command),
        Command::Inside(step) => bed::inside(&step),
    }
}

/// Builds what is missing and runs `command` in a new bed; without a command the bed stays until a signal.
pub(crate) fn launch(options: &Options, node: bool, command: &[OsString], stdout: Stdio) -> Result<ExitCode> {
    ensure!(
        node || options.images.is_none(),
        "--images is for a bed with a --node: nothing else here runs pods"
    );
    if node && let Some(lack) = node::host::lacks() {
        bail!("no node can run on this host: {lack}");
    }
    let programs = build::programs(node)?;
    let fleet = if node { None } else { build::fleet(options)? };
    let node = node.then(|| build::node(options, &programs)).transpose()?;
    let plan = plan::Plan::new(options, programs, fleet, node)?;
    launch::launch(&plan, command, stdout)
}

/// Builds what is missing of the bed's programs, the slow part, before anything else is built; those of a node too if
/// this host can have one.
pub(crate) fn build_programs() -> Result<()> {
    build::programs(node::host::lacks().is_none()).map(|_programs| ())
}
