//! What a process has used of the machine, as the kernel counts it.

use std::fs;

use anyhow::{Context, Result};

/// `sysconf(_SC_CLK_TCK)` on every Linux architecture Rust supports.
const TICKS_PER_SECOND: f64 = 100.0;

/// Of one process, so far.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// Resident memory.
    pub rss_mib: f64,
    /// The most resident memory it ever had.
    pub peak_rss_mib: f64,
    /// In user mode, over all threads.
    pub user_seconds: f64,
    /// In kernel mode, over all threads: system calls, and what the kernel does for the network within them.
    pub system_seconds: f64,
}

impl Usage {
    /// Of the process with this id.
    ///
    /// # Errors
    /// When it has ended.
    pub fn of(id: u32) -> Result<Self> {
        let status = fs::read_to_string(format!("/proc/{id}/status"))?;
        let mib = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let kib = line.with_context(|| format!("no {name}"))?.trim_end_matches("kB").trim();
            Ok::<_, anyhow::Error>(kib.parse::<f64>()? / 1024.0)
        };
        let stat = fs::read_to_string(format!("/proc/{id}/stat"))?;
        // Fields follow the command's name, which is in brackets and may hold anything: utime and stime are 12th and 13th.
        let fields = stat.rsplit_once(')').context("no command in stat")?.1;
        let mut ticks = fields.split_whitespace().skip(11).map(str::parse::<f64>);
        let mut seconds = || Ok::<_, anyhow::Error>(ticks.next().context("stat is cut short")?? / TICKS_PER_SECOND);
        Ok(Self {
            rss_mib: mib("VmRSS:")?,
            peak_rss_mib: mib("VmHWM:")?,
            user_seconds: seconds()?,
            system_seconds: seconds()?,
        })
    }

    /// In user and kernel mode, over all threads.
    #[must_use]
    pub fn cpu_seconds(&self) -> f64 {
        self.user_seconds + self.system_seconds
    }
}
