//! Measures and prints the figures of BENCHMARKS.md. Only arguments and dispatch are here; `cargo xtask bench` builds
//! this in release, describes the machine, and runs the figures of the scaler's process inside a test bed.
#![expect(clippy::print_stdout, reason = "figures are printed")]

mod decisions;
mod figures;
mod machine;
mod memory;
mod reader;
mod rounds;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, ValueEnum};

/// Bytes allocated are part of the figures.
#[global_allocator]
static ALLOCATOR: &stats_alloc::StatsAlloc<std::alloc::System> = &stats_alloc::INSTRUMENTED_SYSTEM;

#[derive(Parser)]
#[command(about = "Figures of keda-kaito-scaler, measured")]
struct Arguments {
    /// What to measure
    #[arg(value_enum, required = true)]
    what: Vec<What>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum What {
    /// The metrics page reader beside prometheus-parse and beside visiting each line
    Reader,
    /// Decisions for small and large fleets
    Decide,
    /// Memory per scraped replica
    Memory,
}

/// Fails when a goal is missed, so that a script can tell.
fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    println!("{}", machine::description()?);
    let mut reached = true;
    for what in arguments.what {
        let figures = match what {
            What::Reader => reader::measure(),
            What::Decide => decisions::measure(),
            What::Memory => memory::measure(ALLOCATOR),
        };
        println!("\n{figures}");
        reached &= figures.all_reached();
    }
    Ok(if reached { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
