//! The three programs as the demo runs them, and what they cost. Starting and measuring only.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::story::Story;
use crate::bed::Bed;
use crate::cases::running;
use crate::programs::Program;

const READY_WITHIN: Duration = Duration::from_secs(60);
/// `sysconf(_SC_CLK_TCK)` on every Linux architecture Rust supports.
const TICKS_PER_SECOND: f64 = 100.0;

/// What one program has used so far.
#[derive(Clone, Debug)]
pub(super) struct Usage {
    pub(super) program: &'static str,
    pub(super) rss_mib: f64,
    pub(super) cpu_seconds: f64,
}

/// The programs, killed when dropped.
#[derive(Debug)]
pub(super) struct Running(Vec<Program>);

impl Running {
    pub(super) async fn start(bed: &Bed, story: &Story) -> Result<Self> {
        let begun = Instant::now();
        let logs = bed.directory.join("logs");
        let mut programs = Vec::new();
        for name in running::ALL {
            programs.push(Program::spawn(&logs, running::start(name))?);
        }
        for program in &mut programs {
            program.ready(READY_WITHIN).await?;
            story.tell(&format!(
                "{} is ready after {:.1} s",
                program.start.name.as_str(),
                begun.elapsed().as_secs_f64()
            ));
        }
        Ok(Self(programs))
    }

    /// Memory and processor time of each; one that cannot be read is left out.
    pub(super) fn usage(&self) -> Vec<Usage> {
        self.0.iter().filter_map(|program| usage_of(program).ok()).collect()
    }
}

fn usage_of(program: &Program) -> Result<Usage> {
    let id = program.id().context("it has ended")?;
    let status = fs::read_to_string(format!("/proc/{id}/status"))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .context("no VmRSS")?;
    let kib: f64 = line.trim_end_matches("kB").trim().parse()?;
    let stat = fs::read_to_string(format!("/proc/{id}/stat"))?;
    // Fields follow the command's name, which is in brackets and may hold anything: utime and stime are 12th and 13th.
    let fields = stat.rsplit_once(')').context("no command in stat")?.1;
    let ticks: f64 = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|ticks| ticks.parse::<f64>().ok())
        .sum();
    Ok(Usage {
        program: program.start.name.as_str(),
        rss_mib: kib / 1024.0,
        cpu_seconds: ticks / TICKS_PER_SECOND,
    })
}
