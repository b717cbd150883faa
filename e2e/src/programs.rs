//! The programs under test as processes: start, stop, kill, their logs and probes. Built beforehand, by cargo.

mod usage;

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use crate::bed::{Look, eventually};
use crate::http_get;

pub use usage::Usage;

/// How long a program may take to end by itself.
const STOP: Duration = Duration::from_secs(20);

/// Which program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    Provisioner,
    Scaler,
    Certmgr,
}

impl Name {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Provisioner => "provisioner",
            Self::Scaler => "scaler",
            Self::Certmgr => "certmgr",
        }
    }
}

/// How to start a program.
#[derive(Clone, Debug)]
pub struct Start {
    pub name: Name,
    /// Distinguishes replicas: the pod's name and the log's.
    pub pod: String,
    pub pod_namespace: String,
    /// Metrics and health ports bind here (10451, 10452), and for a scaler gRPC (10450).
    pub address: std::net::IpAddr,
    pub kubeconfig: Option<PathBuf>,
    pub arguments: Vec<String>,
    pub environment: Vec<(String, String)>,
}

impl Start {
    /// A replica that works in the namespace `keda`, on an address of its own.
    #[must_use]
    pub fn new(name: Name, address: std::net::IpAddr) -> Self {
        Self {
            name,
            pod: format!("keda-kaito-{}-{address}", name.as_str()),
            pod_namespace: "keda".to_owned(),
            address,
            kubeconfig: None,
            arguments: Vec::new(),
            environment: Vec::new(),
        }
    }

    #[must_use]
    pub fn argument(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    #[must_use]
    pub fn metrics_address(&self) -> SocketAddr {
        SocketAddr::new(self.address, 10451)
    }

    #[must_use]
    pub fn health_address(&self) -> SocketAddr {
        SocketAddr::new(self.address, 10452)
    }

    fn command_line(&self) -> Vec<String> {
        let mut line = vec![
            "--working-namespace".to_owned(),
            "keda".to_owned(),
            "--metrics-address".to_owned(),
            self.metrics_address().to_string(),
            "--health-address".to_owned(),
            self.health_address().to_string(),
        ];
        if self.name == Name::Scaler {
            line.push("--grpc-address".to_owned());
            line.push(SocketAddr::new(self.address, 10450).to_string());
        }
        line.extend(self.arguments.iter().cloned());
        line
    }
}

/// A program that runs; killed when dropped.
#[derive(Debug)]
pub struct Program {
    pub start: Start,
    pub log: PathBuf,
    child: Child,
}

impl Program {
    /// Starts it; its output goes to `<directory>/<pod>.log`, after what an earlier one wrote there.
    ///
    /// # Errors
    /// When the binary or the log cannot be opened.
    pub fn spawn(directory: &Path, start: Start) -> anyhow::Result<Self> {
        let binary = built(start.name)?;
        let log = directory.join(format!("{}.log", start.pod));
        let file = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .with_context(|| format!("opening {}", log.display()))?;
        let mut command = Command::new(&binary);
        command
            .args(start.command_line())
            .env("POD_NAME", &start.pod)
            .env("POD_NAMESPACE", &start.pod_namespace)
            .envs(start.environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .kill_on_drop(true);
        if let Some(kubeconfig) = &start.kubeconfig {
            command.env("KUBECONFIG", kubeconfig);
        }
        let child = command.spawn().with_context(|| format!("starting {}", binary.display()))?;
        Ok(Self { start, log, child })
    }

    /// Waits until `/readyz` says yes.
    ///
    /// # Errors
    /// When it ends first or takes longer; with the end of its log.
    pub async fn ready(&mut self, deadline: Duration) -> anyhow::Result<()> {
        let what = format!("{} is ready", self.start.pod);
        let waited = eventually(deadline, &what, async || {
            if let Some(status) = self.child.try_wait()? {
                return Ok(Look::Met(Err(format!("it ended: {status}"))));
            }
            let reply = self.get_health("/readyz").await?;
            Ok(if reply.status.is_success() {
                Look::Met(Ok(()))
            } else {
                Look::NotYet(format!("{} {}", reply.status, reply.text()))
            })
        })
        .await;
        match waited {
            Ok(Ok(())) => Ok(()),
            Ok(Err(ended)) => bail!("{what}: {ended}\n{}", self.log_end()),
            Err(error) => Err(error.context(self.log_end())),
        }
    }

    /// One of its health pages.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn get_health(&self, path: &str) -> anyhow::Result<http_get::Reply> {
        http_get::get(self.start.health_address(), path).await
    }

    /// Its metrics, as text.
    ///
    /// # Errors
    /// When it does not answer with 200.
    pub async fn metrics(&self) -> anyhow::Result<String> {
        let reply = http_get::get(self.start.metrics_address(), "/metrics").await?;
        if !reply.status.is_success() {
            bail!("metrics of {}: {}", self.start.pod, reply.status);
        }
        Ok(reply.text())
    }

    /// SIGTERM, then the exit status.
    ///
    /// # Errors
    /// When it does not end in time; it is killed then.
    pub async fn stop(mut self) -> anyhow::Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        match tokio::time::timeout(STOP, self.child.wait()).await {
            Ok(status) => Ok(status?),
            Err(_) => bail!(
                "{} did not end within {STOP:?} of SIGTERM\n{}",
                self.start.pod,
                self.log_end()
            ),
        }
    }

    /// SIGKILL, as when a node dies; returns once it is gone.
    ///
    /// # Errors
    /// When it was gone already.
    pub async fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill().await.with_context(|| format!("killing {}", self.start.pod))
    }

    /// Kills it and starts it again, as it was.
    ///
    /// # Errors
    /// When it was gone already, or cannot be started.
    pub async fn replace(&mut self, directory: &Path) -> anyhow::Result<()> {
        let killed = self.child.kill().await;
        killed.with_context(|| format!("killing {}", self.start.pod))?;
        *self = Self::spawn(directory, self.start.clone())?;
        Ok(())
    }

    /// Sends a signal, such as STOP and CONT.
    ///
    /// # Errors
    /// When it has ended.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let pid = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let pid = pid.with_context(|| format!("{} has ended", self.start.pod))?;
        kill_process(pid, signal).with_context(|| format!("signalling {}", self.start.pod))
    }

    /// Lets it run on without this handle; the bed ends it.
    pub fn leave_running(self) {
        std::mem::forget(self);
    }

    /// Its process id, until it has ended.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// What it has used so far.
    ///
    /// # Errors
    /// When it has ended.
    pub fn usage(&self) -> anyhow::Result<Usage> {
        let id = self.id().with_context(|| format!("{} has ended", self.start.pod))?;
        Usage::of(id)
    }

    /// The last lines of its log.
    #[must_use]
    pub fn log_end(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let start = lines.len().saturating_sub(40);
        format!(
            "{}:\n{}",
            self.log.display(),
            lines.get(start..).unwrap_or_default().join("\n")
        )
    }
}

impl Drop for Program {
    /// Its ports are free once this returns.
    fn drop(&mut self) {
        let _gone = self.child.start_kill();
        for _look in 0..500 {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Runs a program as a user types it and returns what it printed.
///
/// # Errors
/// When it fails: with what it said.
pub async fn run_once(name: Name, arguments: &[&str]) -> anyhow::Result<String> {
    let mut command = Command::new(built(name)?);
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(STOP, command.output())
        .await
        .context("it does not end")??;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        bail!("{} {}: {said}", name.as_str(), arguments.join(" "));
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// The binary cargo built: in `PROGRAMS_DIR`, else beside the running test.
///
/// # Errors
/// It is not there.
pub fn built(name: Name) -> anyhow::Result<PathBuf> {
    let directory = match std::env::var_os("PROGRAMS_DIR") {
        Some(directory) => PathBuf::from(directory),
        None => {
            let own = std::env::current_exe()?;
            let folder = own.parent().context("this program has no folder")?;
            // Tests lie one level deeper.
            let deeper = folder.file_name().is_some_and(|name| name == "deps" || name == "examples");
            let folder = if deeper { folder.parent() } else { Some(folder) };
            folder.context("this program has no folder")?.to_owned()
        }
    };
    let binary = directory.join(name.as_str());
    if !binary.is_file() {
        bail!("{} is not built: cargo build --bin {}", binary.display(), name.as_str());
    }
    Ok(binary)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_program_gets_its_ports_and_only_the_scaler_grpc() {
        let address = "10.244.254.10".parse().unwrap();
        let scaler = Start::new(Name::Scaler, address).argument("--log=debug").command_line();
        assert_eq!(
            scaler,
            [
                "--working-namespace",
                "keda",
                "--metrics-address",
                "10.244.254.10:10451",
                "--health-address",
                "10.244.254.10:10452",
                "--grpc-address",
                "10.244.254.10:10450",
                "--log=debug",
            ]
        );
        let certmgr = Start::new(Name::Certmgr, address).command_line();
        assert!(!certmgr.contains(&"--grpc-address".to_owned()));
    }
}
