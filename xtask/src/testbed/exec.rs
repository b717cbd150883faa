//! Finds the beds of this checkout that are up, by looking at processes (no file says so, hence none can be stale),
//! and enters one.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

use super::plan;

/// Runs `command` in the bed whose init is process `pid`, or in the only one there is.
pub(crate) fn exec(pid: Option<u32>, command: &[OsString]) -> Result<ExitCode> {
    let pid = match (pid, beds()?.as_slice()) {
        (Some(pid), _) => pid,
        (None, [pid]) => *pid,
        (None, []) => bail!("no test bed of this checkout is up: start one with `cargo xtask testbed up`"),
        (None, several) => bail!("several test beds are up: choose one of {several:?} with --pid"),
    };
    let mut nsenter = Command::new("nsenter");
    nsenter.args(["--target", &pid.to_string(), "--net", "--mount", "--pid"]);
    if fs::read_link("/proc/self/ns/user")? != fs::read_link(format!("/proc/{pid}/ns/user"))? {
        nsenter.args(["--user", "--preserve-credentials"]);
    }
    // Entering the mounts forgets the current folder.
    let script = r#". "$1" && cd "$2" && shift 2 && exec "$@""#;
    nsenter
        .args(["--", "sh", "-c", script, "sh"])
        .arg(plan::directory().join("env"));
    Err(nsenter.arg(env::current_dir()?).args(command).exec())
        .context("running nsenter (of util-linux), which entering a test bed needs")
}

/// Numbers of the inits: process 1 of a process namespace whose mounts show a bed's plan at this checkout's place.
fn beds() -> Result<Vec<u32>> {
    let plan = plan::directory().join(plan::FILE);
    let below_root = plan.strip_prefix("/").unwrap_or(&plan);
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let process = PathBuf::from(format!("/proc/{pid}"));
        if is_init(&process) && process.join("root").join(below_root).exists() {
            found.push(pid);
        }
    }
    Ok(found)
}

fn is_init(process: &Path) -> bool {
    let Ok(status) = fs::read_to_string(process.join("status")) else {
        return false;
    };
    let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    numbers.is_some_and(|numbers| {
        let mut numbers = numbers.split_whitespace();
        numbers.clone().count() > 1 && numbers.next_back() == Some("1")
    })
}
