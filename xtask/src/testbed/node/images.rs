//! The images a node has: the sandbox's pause, the three programs as they were just built (or as archives given from
//! outside), the vLLM stand-in under KAITO's name, and a box with a shell.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::oci::{self, Entry, Image};
use crate::workspace;

pub(crate) const PAUSE: &str = "bed.local/pause:1";
/// What KAITO's pods run: registry from its environment, name and tag compiled in.
pub(crate) const KAITO_REGISTRY: &str = "bed.local";
const KAITO_BASE: &str = "bed.local/kaito-base:0.4.2";
const SHELL: &str = "bed.local/shell:1";
const PROGRAMS: [&str; 3] = ["provisioner", "scaler", "certmgr"];
/// The unprivileged user of every image.
const USER: &str = "65532:65532";

/// Writes the archives into target/testbed/images and lists them; `given` holds the programs' archives, when they come from a
/// real builder.
pub(crate) fn build(kubernetes: &Path, given: Option<&Path>) -> Result<Vec<PathBuf>> {
    let folder = workspace::target().join("testbed/images");
    fs::create_dir_all(&folder)?;
    let mut archives = Vec::new();
    let mut add = |file: &str, image: &Image| -> Result<()> {
        let path = folder.join(file);
        oci::write(image, &path)?;
        archives.push(path);
        Ok(())
    };
    add("pause.tar", &pause(kubernetes, &folder)?)?;
    add("shell.tar", &shell())?;
    build_vllm()?;
    add("kaito-base.tar", &kaito_base()?)?;
    match given {
        Some(given) => archives.extend(archives_in(given)?),
        None => {
            for program in PROGRAMS {
                add(&format!("{program}.tar"), &program_image(program)?)?;
            }
        }
    }
    Ok(archives)
}

fn archives_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "tar") {
            found.push(path);
        }
    }
    ensure!(!found.is_empty(), "no image archive (*.tar) in {}", folder.display());
    Ok(found)
}

fn pause(kubernetes: &Path, folder: &Path) -> Result<Image> {
    let program = folder.join("pause");
    let status = Command::new("gcc")
        .args(["-Os", "-static", "-DVERSION=bed", "-o"])
        .arg(&program)
        .arg(kubernetes.join("build/pause/linux/pause.c"))
        .status()
        .context("running gcc, which builds the pods' pause program")?;
    ensure!(status.success(), "building pause failed ({status})");
    Ok(image(PAUSE, vec![file("pause", &program)], &["/pause"], Some(USER)))
}

fn shell() -> Image {
    let mut entries = vec![file("bin/busybox", Path::new("/bin/busybox"))];
    for tool in ["sh", "sleep", "wget", "nc", "nslookup", "cat", "id"] {
        entries.push(Entry::Link {
            path: format!("bin/{tool}"),
            to: "/bin/busybox".to_owned(),
        });
    }
    image(SHELL, entries, &["/bin/sh"], Some(USER))
}

fn build_vllm() -> Result<()> {
    let status = workspace::cargo()
        .args(["build", "--quiet", "--package", "keda-kaito-e2e", "--bin", "vllm"])
        .status()
        .context("running cargo build")?;
    ensure!(status.success(), "building the vLLM stand-in failed ({status})");
    Ok(())
}

/// KAITO calls `/bin/sh -c "python3 …"`, and `python3 …/benchmark_entrypoint.py` as startup probe.
fn kaito_base() -> Result<Image> {
    let program = workspace::target().join("debug/vllm");
    let mut entries = with_libraries("usr/bin/python3", &program)?;
    entries.push(file("bin/busybox", Path::new("/bin/busybox")));
    for path in ["bin/sh", "bin/bash"] {
        entries.push(Entry::Link {
            path: path.to_owned(),
            to: "/bin/busybox".to_owned(),
        });
    }
    Ok(image(KAITO_BASE, entries, &["/usr/bin/python3"], None))
}

/// As its Dockerfile has it, the base apart.
fn program_image(program: &str) -> Result<Image> {
    let binary = workspace::target().join("debug").join(program);
    let mut entries = with_libraries(program, &binary)?;
    entries.extend([
        Entry::Text {
            path: "etc/passwd",
            text: "nonroot:x:65532:65532:nonroot:/:/sbin/nologin\n",
        },
        Entry::Folder {
            path: "tmp/",
            mode: 0o1777,
        },
    ]);
    Ok(image(&program_name(program), entries, &[&format!("/{program}")], Some(USER)))
}

/// The reference the chart uses unless told otherwise.
fn program_name(program: &str) -> String {
    format!("ghcr.io/kaito-project/keda-kaito-{program}:v{}", env!("CARGO_PKG_VERSION"))
}

fn image(name: &str, entries: Vec<Entry>, entrypoint: &[&str], user: Option<&'static str>) -> Image {
    Image {
        name: name.to_owned(),
        entries,
        entrypoint: entrypoint.iter().map(ToString::to_string).collect(),
        user,
        labels: vec![("org.opencontainers.image.version", env!("CARGO_PKG_VERSION").to_owned())],
    }
}

fn file(path: &str, from: &Path) -> Entry {
    Entry::File {
        path: path.to_owned(),
        from: from.to_path_buf(),
    }
}

/// `program` at `path` with the shared libraries it was linked against, at the places its loader looks.
fn with_libraries(path: &str, program: &Path) -> Result<Vec<Entry>> {
    let output = Command::new("ldd").arg(program).output().context("running ldd")?;
    ensure!(output.status.success(), "ldd {} failed", program.display());
    let text = String::from_utf8_lossy(&output.stdout);
    let libraries: BTreeSet<&str> = text
        .split_whitespace()
        .filter(|word| word.starts_with('/') && Path::new(word).is_file())
        .collect();
    let mut entries = vec![file(path, program)];
    entries.extend(
        libraries
            .into_iter()
            .map(|library| file(library.trim_start_matches('/'), Path::new(library))),
    );
    Ok(entries)
}
