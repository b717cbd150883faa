//! Calls of the bed's `kubectl` as administrator.

use std::ffi::OsStr;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::environment;
use super::plan::Plan;

/// Does the server at `address` answer `path` with success?
pub(crate) fn answers(plan: &Plan, address: &str, path: &str) -> bool {
    let Ok(mut command) = command(plan) else { return false };
    command
        .args([
            "--request-timeout=5s",
            &format!("--server=https://{address}"),
            "get",
            "--raw",
            path,
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Runs `kubectl` with `arguments`; what it printed is in the error if it fails.
pub(crate) fn run<A: AsRef<OsStr>>(plan: &Plan, arguments: impl IntoIterator<Item = A>) -> Result<()> {
    let mut command = command(plan)?;
    let output = command
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .context("running kubectl")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{command:?} failed ({}):\n{}", output.status, said.trim_end());
    }
    Ok(())
}

fn command(plan: &Plan) -> Result<Command> {
    let mut command = Command::new(plan.program("kubectl")?);
    command.envs(environment::variables(plan));
    Ok(command)
}
