//! How docker, podman and buildah are told the same. Command lines only.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Result, bail};
use clap::ValueEnum;

use super::stand_ins::StandIns;

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Builder {
    Docker,
    Podman,
    Buildah,
}

impl Builder {
    /// The first one that is installed and answers; docker's client is of no use without its daemon.
    pub(super) fn first_that_works() -> Result<Self> {
        for builder in [Self::Docker, Self::Podman, Self::Buildah] {
            let mut info = Command::new(builder.program());
            let info = info.arg("info").stdout(Stdio::null()).stderr(Stdio::null());
            if info.status().is_ok_and(|status| status.success()) {
                return Ok(builder);
            }
        }
        bail!("none of docker, podman and buildah works here")
    }

    const fn program(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Podman => "podman",
            Self::Buildah => "buildah",
        }
    }

    /// `build`, without what depends on the image.
    pub(super) fn build(self, local: Option<&StandIns>) -> Command {
        let mut command = self.command(local);
        command.arg("build");
        match (self, local) {
            (Self::Docker, _) => {}
            // Layers are kept by default in the other two.
            (Self::Podman, _) => drop(command.arg("--layers")),
            (Self::Buildah, None) => drop(command.arg("--layers")),
            (Self::Buildah, Some(local)) => drop(command.arg("--layers").args(local.build_arguments())),
        }
        command
    }

    /// Writes an image into a file.
    pub(super) fn archive(self, local: Option<&StandIns>, image: &str, file: &Path) -> Command {
        let mut command = self.command(local);
        match self {
            Self::Docker => command.arg("save").arg("--output").arg(file).arg(image),
            Self::Podman => command
                .args(["save", "--format=oci-archive", "--output"])
                .arg(file)
                .arg(image),
            Self::Buildah => {
                command.arg("push");
                if let Some(local) = local {
                    command.arg(local.policy());
                }
                command.arg(image).arg(format!("oci-archive:{}:{image}", file.display()))
            }
        };
        command
    }

    fn command(self, local: Option<&StandIns>) -> Command {
        let mut command = Command::new(self.program());
        if let Some(local) = local {
            local.place(&mut command);
        }
        command
    }
}
