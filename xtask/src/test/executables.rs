//! Builds a package's tests and says where their executables are.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::workspace;

/// One test executable.
#[derive(Clone, Debug)]
pub(crate) struct Executable {
    /// The name of its target, such as the file below `tests`.
    pub(crate) name: String,
    pub(crate) path: PathBuf,
}

impl Executable {
    /// How many of its tests have a name that contains `filter`.
    pub(crate) fn tests(&self, filter: &str) -> Result<usize> {
        let output = Command::new(&self.path)
            .args(["--list", "--format=terse", filter])
            .output()
            .with_context(|| format!("listing the tests in {}", self.path.display()))?;
        Ok(String::from_utf8_lossy(&output.stdout)
            .lines()
            .filter(|line| line.ends_with(": test"))
            .count())
    }
}

/// What one line of cargo's JSON messages says about a built file.
#[derive(Deserialize)]
struct Message {
    executable: Option<PathBuf>,
    profile: Profile,
    target: Target,
}

#[derive(Deserialize)]
struct Profile {
    test: bool,
}

#[derive(Deserialize)]
struct Target {
    name: String,
}

/// Builds and lists the test executables of `package`.
pub(crate) fn built(package: &str) -> Result<Vec<Executable>> {
    let output = workspace::cargo()
        .args(["test", "--package", package, "--no-run"])
        .arg("--message-format=json-render-diagnostics")
        .stderr(Stdio::inherit())
        .output()
        .context("running cargo test --no-run")?;
    ensure!(
        output.status.success(),
        "building the tests of {package} failed ({})",
        output.status
    );
    let messages = String::from_utf8(output.stdout)?;
    let built = messages.lines().filter_map(|line| serde_json::from_str::<Message>(line).ok());
    Ok(built
        .filter(|message| message.profile.test)
        .filter_map(|message| {
            let name = message.target.name;
            message.executable.map(|path| Executable { name, path })
        })
        .collect())
}
