//! Measures and prints the figures of BENCHMARKS.md. Only arguments and dispatch are here; `cargo xtask bench` builds
//! this in release, describes the machine, and runs the figures of the scaler's process inside a test bed.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "figures are printed")]

mod calls;
mod constant;
mod credentials;
mod decisions;
mod figures;
mod machine;
mod memory;
mod objects;
mod pods;
mod reader;
mod rounds;
mod scaler;
mod scrapes;
mod sink;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, ValueEnum};
use figures::Figures;
use scaler::Scenario;

/// Bytes allocated are part of the figures.
#[global_allocator]
static ALLOCATOR: &stats_alloc::StatsAlloc<std::alloc::System> = &stats_alloc::INSTRUMENTED_SYSTEM;

#[derive(Parser)]
#[command(about = "Figures of keda-kaito-scaler, measured")]
struct Arguments {
    /// What to measure
    #[arg(value_enum, required = true)]
    what: Vec<What>,
    /// Replicas of each of the 1,000 InferenceSets that the scaler's process is measured with
    #[arg(long, default_value_t = 10)]
    replicas: usize,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum What {
    /// The metrics page reader beside prometheus-parse and beside visiting each line
    Reader,
    /// Decisions for small and large fleets
    Decide,
    /// Memory per scraped replica
    Memory,
    /// One scrape beside the least a client must do, and beside hyper
    Scrape,
    /// In a test bed: the scaler with little to do
    Idle,
    /// In a test bed: filtered pages of many replicas
    Filtered,
    /// In a test bed: KEDA's calls
    Calls,
    /// In a test bed: a new replica's first value beside many replicas
    Newcomers,
    /// In a test bed: whole pages of many replicas
    Full,
    /// In a test bed: many replicas of which some are dead or slow
    Faults,
    /// In a test bed: traces off, at 1 %, and of everything
    Traces,
}

/// Fails when a goal is missed, so that a script can tell.
fn main() -> Result<ExitCode> {
    let Arguments { what, replicas } = Arguments::parse();
    println!("{}", machine::description()?);
    let mut reached = true;
    let mut tell = |figures: &Figures| {
        println!("\n{figures}");
        reached &= figures.all_reached();
    };
    let mut scenarios = Vec::new();
    for what in what {
        match what {
            What::Reader => tell(&reader::measure()),
            What::Decide => tell(&decisions::measure()),
            What::Memory => tell(&memory::measure(ALLOCATOR)),
            What::Scrape => tell(&scrapes::measure()?),
            What::Idle => scenarios.push(Scenario::Idle),
            What::Filtered => scenarios.push(Scenario::Filtered),
            What::Calls => scenarios.push(Scenario::Calls),
            What::Newcomers => scenarios.push(Scenario::Newcomers),
            What::Full => scenarios.push(Scenario::Full),
            What::Faults => scenarios.push(Scenario::Faults),
            What::Traces => scenarios.push(Scenario::Traces),
        }
    }
    if !scenarios.is_empty() {
        let runtime = tokio::runtime::Runtime::new()?;
        runtime.block_on(scaler::measure(&scenarios, replicas, tell))?;
    }
    Ok(if reached { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
