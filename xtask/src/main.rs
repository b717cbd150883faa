//! Repository automation, run as `cargo xtask`. Only arguments and dispatch are here.
#![expect(clippy::print_stderr, reason = "a command line tool: the terminal is its output")]

mod bench;
mod chart;
mod demo;
mod images;
mod oci;
mod test;
mod testbed;
mod workspace;

use std::process::ExitCode;

use clap::Parser;

#[derive(Parser)]
#[command(about = "Automation of this repository", disable_help_subcommand = true)]
enum Xtask {
    /// Measure what is fast, small or patient, against goals; `BENCHMARKS.md` says what and how
    Bench(bench::Options),
    /// Check the chart: lint, renders, strict validation by a real API server, policies, rights, releases, pods on a node
    Chart(chart::Options),
    /// Show the product working: a real control plane, the three programs, load, replicas that follow it
    Demo(demo::Options),
    /// Build the three container images with docker, podman or buildah
    Images(images::Options),
    /// Run every test: the crates' own, then the cluster tests inside a test bed
    Test(test::Options),
    /// A throwaway control plane with KEDA and KAITO, as plain processes in private namespaces
    #[command(subcommand)]
    Testbed(testbed::Command),
}

fn main() -> ExitCode {
    let outcome = match Xtask::parse() {
        Xtask::Bench(options) => bench::run(&options),
        Xtask::Chart(options) => chart::run(&options),
        Xtask::Demo(options) => demo::run(&options),
        Xtask::Images(options) => images::run(&options),
        Xtask::Test(options) => test::run(&options),
        Xtask::Testbed(command) => testbed::run(command),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("xtask: {error:#}");
        ExitCode::from(testbed::FAILED_TO_START)
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::Xtask;

    #[test]
    fn the_command_line_is_free_of_contradictions() {
        Xtask::command().debug_assert();
    }
}
