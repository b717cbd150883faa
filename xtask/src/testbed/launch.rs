//! The outside of a bed: enters new namespaces, passes signals on, and returns only when every process in them is
//! gone. Teardown is the kernel's: the bed's init is process 1 of its own process namespace, and whoever stands above
//! it takes it along when dying, even by SIGKILL.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio, id};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::thread;

use anyhow::{Context, Result, anyhow, bail};
use rustix::io::Errno;
use rustix::process::{
    Pid, Signal, WaitOptions, WaitStatus, geteuid, getpid, getppid, kill_process, set_child_subreaper,
    set_parent_process_death_signal, wait,
};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::FAILED_TO_START;
use super::node::cgroups;
use super::plan::{self, Plan};

const NOTHING_RECEIVED: i32 = 0;

/// Runs `command` in a new bed and returns its exit code, or 128 + signal when a signal ended it or us.
pub(crate) fn launch(plan: &Plan, command: &[OsString], stdout: Stdio) -> Result<ExitCode> {
    fs::create_dir_all(&plan.dir)?;
    let received = Arc::new(AtomicI32::new(NOTHING_RECEIVED));
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    // With this the bed's init becomes our child if what stands between is killed, so that its end can be awaited.
    set_child_subreaper(Some(getpid()))?;

    let between = Command::new(env::current_exe()?)
        .args(["testbed", "enter", &id().to_string(), "--"])
        .args(command)
        .env(plan::VARIABLE, serde_json::to_string(plan)?)
        .stdout(stdout)
        .spawn()
        .context("starting the test bed")?;
    let between = Pid::from_child(&between);

    let (seen, handle) = (Arc::clone(&received), signals.handle());
    let watcher = thread::spawn(move || {
        for signal in signals.forever() {
            seen.store(signal, Ordering::SeqCst);
            // It may have ended by itself in the meantime.
            kill_process(between, Signal::KILL).ok();
        }
    });
    let status = await_everything(between)?;
    handle.close();
    if let Some(node) = &plan.node {
        cgroups::remove(&node.cgroup)?;
    }
    watcher.join().map_err(|_panic| anyhow!("the signal watcher panicked"))?;

    Ok(match received.load(Ordering::SeqCst) {
        NOTHING_RECEIVED => ExitCode::from(exit_code(status)),
        signal => {
            eprintln!("testbed: signal {signal}: down, nothing is left");
            ExitCode::from(signalled(signal))
        }
    })
}

fn await_everything(between: Pid) -> Result<WaitStatus> {
    let mut status = None;
    loop {
        match wait(WaitOptions::empty()) {
            Ok(Some((pid, ended))) if pid == between => status = Some(ended),
            Ok(_) | Err(Errno::INTR) => {}
            Err(Errno::CHILD) => return status.context("the test bed ended without a status"),
            Err(error) => return Err(error).context("waiting for the test bed"),
        }
    }
}

/// What a shell would report for `status`.
pub(crate) fn exit_code(status: WaitStatus) -> u8 {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => u8::try_from(code).unwrap_or(FAILED_TO_START),
        (None, Some(signal)) => signalled(signal),
        (None, None) => FAILED_TO_START,
    }
}

fn signalled(signal: i32) -> u8 {
    u8::try_from(128 + signal).unwrap_or(FAILED_TO_START)
}

/// Between outside and inside: bound to die with `parent`, it becomes `unshare`, which is bound to take init along.
pub(crate) fn enter(parent: u32, command: &[OsString]) -> Result<ExitCode> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    if getppid().map(|pid| pid.as_raw_nonzero().get().unsigned_abs()) != Some(parent) {
        bail!("the process that asked for a test bed is gone");
    }
    let mut unshare = Command::new("unshare");
    unshare.args(["--net", "--mount", "--pid", "--fork", "--kill-child=SIGKILL"]);
    let plan: Plan = serde_json::from_str(&env::var(plan::VARIABLE).context("not started by the outside")?)?;
    if let Some(node) = &plan.node {
        // Joined first: what is the own group when the namespace is made becomes its root.
        cgroups::join_new(&node.cgroup)?;
        unshare.args(["--uts", "--ipc", "--cgroup", "--propagation", "private"]);
    }
    if !geteuid().is_root() {
        unshare.args(["--user", "--map-root-user"]);
    }
    unshare
        .arg("--")
        .arg(env::current_exe()?)
        .args(["testbed", "init", "--"])
        .args(command);
    Err(unshare.exec()).context("running unshare (of util-linux), which the test bed needs")
}
