//! Starts, awaits and stops the bed's processes. Each has `run/<name>.sh` (its command line), `run/<name>.pid` and
//! `logs/<name>.log`, which tests may use too.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use super::components::{self, Component};
use super::plan::Plan;

const READY_WITHIN: Duration = Duration::from_secs(120);
const GONE_WITHIN: Duration = Duration::from_secs(10);
const POLL_EVERY: Duration = Duration::from_millis(50);

pub(crate) struct Starting {
    component: Component,
    child: Child,
    since: Instant,
}

/// Writes the command line of every component as a script.
pub(crate) fn write_scripts(plan: &Plan) -> Result<()> {
    for component in components::all(plan) {
        write_executable(&script_of(plan, component.name), &command_line(plan, &component)?)?;
    }
    Ok(())
}

fn command_line(plan: &Plan, component: &Component) -> Result<String> {
    let file = |folder: &str, kind: &str| quoted(&plan.path(format!("{folder}/{}.{kind}", component.name)).display().to_string());
    let mut text = format!("#!/bin/sh\necho $$ > {}\n", file("run", "pid"));
    for (name, value) in &component.environment {
        text += &format!("export {name}={}\n", quoted(value));
    }
    text += &format!("exec {}", quoted(&plan.program(component.name)?.display().to_string()));
    for argument in &component.arguments {
        text += &format!(" \\\n  {}", quoted(argument));
    }
    text += &format!(" >> {} 2>&1\n", file("logs", "log"));
    Ok(text)
}

/// Starts the components of these names, all at once. They get a process group each, so that a Ctrl-C meant for the
/// bed's command does not reach them.
pub(crate) fn start(plan: &Plan, names: &[&str]) -> Result<Vec<Starting>> {
    let mut starting = Vec::new();
    for name in names {
        let component = components::named(plan, name)?;
        if let Some(pid) = pid_of(plan, name) {
            bail!("{name} runs already (process {})", pid.as_raw_nonzero());
        }
        let child = Command::new(script_of(plan, name))
            .current_dir(&plan.dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .with_context(|| format!("starting {name}"))?;
        starting.push(Starting {
            component,
            child,
            since: Instant::now(),
        });
    }
    Ok(starting)
}

/// Waits until all are ready, telling how long each took. One that ends or stays unready is an error, after the end
/// of its log.
pub(crate) fn wait_ready(plan: &Plan, mut starting: Vec<Starting>) -> Result<()> {
    let deadline = Instant::now() + READY_WITHIN;
    while !starting.is_empty() {
        let mut unready = Vec::new();
        for mut one in starting {
            let name = one.component.name;
            if let Some(status) = one.child.try_wait()? {
                show_log(plan, name);
                bail!("{name} ended while starting ({status})");
            }
            if one.component.ready.is_ready(plan) {
                eprintln!("testbed: {name} ready after {:.1} s", one.since.elapsed().as_secs_f64());
            } else if Instant::now() > deadline {
                show_log(plan, name);
                bail!("{name} was not ready within {READY_WITHIN:?}: {:?}", one.component.ready);
            } else {
                unready.push(one);
            }
        }
        starting = unready;
        if !starting.is_empty() {
            thread::sleep(POLL_EVERY);
        }
    }
    Ok(())
}

/// Kills the process `name` and waits until it is gone. Its state is throwaway; a clean end takes seconds.
pub(crate) fn stop(plan: &Plan, name: &str) -> Result<()> {
    let pid = pid_of(plan, name).with_context(|| format!("no process {name:?} runs in this test bed"))?;
    fs::remove_file(pid_file(plan, name))?;
    kill_process(pid, Signal::KILL)?;
    let deadline = Instant::now() + GONE_WITHIN;
    while test_kill_process(pid).is_ok() {
        if Instant::now() > deadline {
            bail!("{name} was not gone {GONE_WITHIN:?} after it was killed");
        }
        thread::sleep(POLL_EVERY);
    }
    Ok(())
}

/// The component whose process `pid` was, unless it was stopped on purpose.
pub(crate) fn name_of(plan: &Plan, pid: Pid) -> Option<&'static str> {
    let number = pid.as_raw_nonzero().to_string();
    components::all(plan)
        .into_iter()
        .map(|component| component.name)
        .find(|name| fs::read_to_string(pid_file(plan, name)).is_ok_and(|text| text.trim() == number))
}

/// Prints the end of a component's log.
pub(crate) fn show_log(plan: &Plan, name: &str) {
    const LINES: usize = 30;
    let log = plan.path(format!("logs/{name}.log"));
    let text = fs::read(&log)
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let tail = lines.get(lines.len().saturating_sub(LINES)..).unwrap_or_default();
    let mut terminal = io::stderr().lock();
    drop(writeln!(terminal, "---- end of the log of {name}\n{}\n----", tail.join("\n")));
}

/// The running process of a component, if there is one.
fn pid_of(plan: &Plan, name: &str) -> Option<Pid> {
    let text = fs::read_to_string(pid_file(plan, name)).ok()?;
    let pid = Pid::from_raw(text.trim().parse().ok()?)?;
    test_kill_process(pid).is_ok().then_some(pid)
}

fn pid_file(plan: &Plan, name: &str) -> PathBuf {
    plan.path(format!("run/{name}.pid"))
}

fn script_of(plan: &Plan, name: &str) -> PathBuf {
    plan.path(format!("run/{name}.sh"))
}

/// Writes a script anyone may run.
pub(crate) fn write_executable(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// One word for a shell.
pub(crate) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_a_quoted_word_back_unchanged() {
        for word in ["plain", "", "two words", "it's", "$HOME `id` \\ \"x\" *"] {
            let output = Command::new("sh")
                .args(["-c", &format!("printf %s {}", quoted(word))])
                .output()
                .unwrap();
            assert_eq!(String::from_utf8(output.stdout).unwrap(), word);
        }
    }
}
