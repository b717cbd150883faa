//! The machine the figures come from, in one line.

use std::fs;

use anyhow::{Context, Result};

pub(crate) fn description() -> Result<String> {
    let cpus = fs::read_to_string("/proc/cpuinfo").context("reading /proc/cpuinfo")?;
    let field = |name: &str| {
        let line = cpus.lines().find(|line| line.starts_with(name))?;
        line.split_once(':').map(|(_, value)| value.trim().to_owned())
    };
    let model = field("model name").unwrap_or_else(|| "unknown processor".to_owned());
    let megahertz = field("cpu MHz").unwrap_or_else(|| "?".to_owned());
    let cores = cpus.lines().filter(|line| line.starts_with("processor")).count();
    let memory = fs::read_to_string("/proc/meminfo").context("reading /proc/meminfo")?;
    let kib = memory
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix("kB"));
    let gib = kib.and_then(|kib| kib.trim().parse::<f64>().ok()).unwrap_or(f64::NAN) / 1024.0 / 1024.0;
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let load = load()?;
    Ok(format!(
        "machine: {model} at {megahertz} MHz, {cores} cores, {gib:.1} GiB, Linux {}, load {load}",
        kernel.trim()
    ))
}

/// Tasks that wanted to run, on average over the last minute.
pub(crate) fn load() -> Result<f64> {
    let load = fs::read_to_string("/proc/loadavg").context("reading /proc/loadavg")?;
    let minute = load.split(' ').next().unwrap_or_default();
    minute.parse().context("/proc/loadavg cannot be read")
}
