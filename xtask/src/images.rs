//! `cargo xtask images`: the three images from their Dockerfiles, with docker, podman or buildah, whichever works here. It pushes
//! nothing.

mod builder;
mod size;
mod stand_ins;

use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use crate::workspace;
use builder::Builder;

/// Programs, and what their images are called below the registry.
const IMAGES: [(&str, &str); 3] = [
    ("provisioner", "keda-kaito-provisioner"),
    ("scaler", "keda-kaito-scaler"),
    ("certmgr", "keda-kaito-certmgr"),
];

/// Most that a program may add to its base image, in bytes.
const LARGEST: u64 = 15_000_000;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// What builds; by default the first of them that works
    #[arg(long, value_enum)]
    builder: Option<Builder>,
    /// What the names of the images begin with
    #[arg(long, default_value = "ghcr.io/kaito-project")]
    registry: String,
    /// By default "v" and the version in Cargo.toml
    #[arg(long)]
    tag: Option<String>,
    /// Write each image into this folder too, as an archive that a container runtime imports
    #[arg(long, value_name = "DIR")]
    archives: Option<PathBuf>,
    /// Take this machine's toolchain and C library for base images, so that no registry is needed (buildah, as root)
    #[arg(long)]
    stand_ins: bool,
}

/// Builds all; says what each is called, how long it took and how large its program is. One that is too large is an error.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let version = workspace::version()?;
    let tag = options.tag.clone().unwrap_or_else(|| format!("v{version}"));
    let builder = match (options.builder, options.stand_ins) {
        (Some(builder), _) => builder,
        (None, true) => Builder::Buildah,
        (None, false) => Builder::first_that_works()?,
    };
    ensure!(
        !options.stand_ins || builder == Builder::Buildah,
        "--stand-ins mounts this machine's folders, which only buildah does"
    );
    let folder = options
        .archives
        .clone()
        .unwrap_or_else(|| workspace::target().join("images/measured"));
    fs::create_dir_all(&folder)?;
    let local = options.stand_ins.then(stand_ins::prepare).transpose()?;
    let revision = revision();
    for (program, name) in IMAGES {
        let begun = Instant::now();
        let image = format!("{}/{name}:{tag}", options.registry);
        let mut build = builder.build(local.as_ref());
        build
            .arg(format!("--file=Dockerfile.{program}"))
            .arg(format!("--tag={image}"))
            .arg(format!("--build-arg=VERSION={version}"))
            .arg(format!("--build-arg=REVISION={revision}"))
            .arg(".")
            .current_dir(workspace::root());
        succeed(build)?;
        let file = folder.join(format!("{name}.tar"));
        // None of them overwrites one.
        if file.exists() {
            fs::remove_file(&file)?;
        }
        succeed(builder.archive(local.as_ref(), &image, &file))?;
        let layer = size::last_layer(&file)?;
        eprintln!(
            "images: built {image} in {:.1} s: {:.1} MB beside its base, {:.1} MB of them to pull",
            begun.elapsed().as_secs_f64(),
            megabytes(layer.unpacked),
            megabytes(layer.stored)
        );
        ensure!(
            layer.unpacked <= LARGEST,
            "{image} has {:.1} MB beside its base, more than {:.0}",
            megabytes(layer.unpacked),
            megabytes(LARGEST)
        );
    }
    match &options.archives {
        Some(folder) => eprintln!("images: archives are in {}", folder.display()),
        None => fs::remove_dir_all(&folder)?,
    }
    Ok(ExitCode::SUCCESS)
}

#[expect(clippy::cast_precision_loss, reason = "to be read, with one digit after the point")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

fn succeed(mut command: Command) -> Result<()> {
    let program = command.get_program().display().to_string();
    let status = command.status().with_context(|| format!("starting {program}"))?;
    ensure!(status.success(), "{program} failed ({status})");
    Ok(())
}

/// The commit, where git knows one.
fn revision() -> String {
    let output = Command::new("git")
        .args(["rev-parse", "HEAD"])
        .current_dir(workspace::root())
        .output();
    let known = output.ok().filter(|output| output.status.success());
    known.map_or_else(
        || "unknown".to_owned(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::fs;
    use crate::workspace;

    /// Down to its last stage.
    fn dockerfile(program: &str) -> (String, String) {
        let text = fs::read_to_string(workspace::root().join(format!("Dockerfile.{program}"))).unwrap();
        let (build, last) = text.rsplit_once("\nFROM ").unwrap();
        (build.lines().skip(1).collect::<Vec<_>>().join("\n"), last.to_owned())
    }

    #[test]
    fn dockerfiles_build_alike_and_end_without_root() {
        let (first, _) = dockerfile("provisioner");
        for (program, _) in super::IMAGES {
            let (build, last) = dockerfile(program);
            assert_eq!(build, first, "{program}");
            assert!(build.contains("--locked"));
            assert!(
                last.contains(&format!("COPY --from=build /out/{program} /{program}\n")),
                "{last}"
            );
            assert!(last.contains("\nUSER 65532:65532\n") && !last.contains("\nRUN "), "{last}");
        }
    }

    #[test]
    fn images_are_built_with_the_pinned_toolchain() {
        let pinned = fs::read_to_string(workspace::root().join("rust-toolchain.toml")).unwrap();
        let pinned = pinned.lines().find_map(|line| line.strip_prefix("channel = ")).unwrap();
        let (build, _) = dockerfile("scaler");
        assert!(build.contains(&format!("rust:{}-", pinned.trim_matches('"'))), "{build}");
    }
}
