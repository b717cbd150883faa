//! Base images made of this machine's own files: for building without a registry, as a test bed does. What the Dockerfiles
//! say stays as it is.

use std::env;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::workspace;

const RUST: &str = "localhost/stand-in/rust:1";
const BASE: &str = "localhost/stand-in/cc:1";
/// What a program needs beside itself, as in the distroless image it stands in for.
const LIBRARIES: [&str; 4] = ["libc.so.6", "libm.so.6", "libgcc_s.so.1", "libresolv.so.2"];
const CERTIFICATES: &str = "etc/ssl/certs/ca-certificates.crt";

/// Where buildah keeps everything of these builds.
pub(super) struct StandIns {
    folder: PathBuf,
    rustup: PathBuf,
    cargo: PathBuf,
}

/// Makes the two images.
pub(super) fn prepare() -> Result<StandIns> {
    let folder = workspace::target().join("images");
    let home = PathBuf::from(env::var_os("HOME").context("no HOME")?);
    let of = |name: &str, usual: &str| env::var_os(name).map_or_else(|| home.join(usual), PathBuf::from);
    let stand_ins = StandIns {
        rustup: of("RUSTUP_HOME", ".rustup"),
        cargo: of("CARGO_HOME", ".cargo"),
        folder,
    };
    for below in ["tmp", "rust", "cc"] {
        let path = stand_ins.folder.join(below);
        if path.exists() {
            fs::remove_dir_all(&path)?;
        }
        fs::create_dir_all(&path)?;
    }
    fs::write(
        stand_ins.folder.join("policy.json"),
        r#"{"default": [{"type": "insecureAcceptAnything"}]}"#,
    )?;
    fs::write(
        stand_ins.folder.join("registries.conf"),
        "unqualified-search-registries = []\n",
    )?;
    let rust = stand_ins.folder.join("rust");
    write_rust(&rust)?;
    stand_ins.image(RUST, &rust)?;
    let cc = stand_ins.folder.join("cc");
    write_cc(&cc)?;
    stand_ins.image(BASE, &cc)?;
    Ok(stand_ins)
}

impl StandIns {
    /// Where things are kept, before the subcommand.
    pub(super) fn place(&self, command: &mut Command) {
        let option = |name: &str, below: &str| format!("--{name}={}", self.folder.join(below).display());
        command
            // The driver goes by flag: with --root its variable is ignored.
            .args([
                "--storage-driver=vfs".to_owned(),
                option("root", "store"),
                option("runroot", "run"),
            ])
            .env("CONTAINERS_REGISTRIES_CONF", self.folder.join("registries.conf"))
            .env("TMPDIR", self.folder.join("tmp"));
    }

    pub(super) fn policy(&self) -> String {
        format!("--signature-policy={}", self.folder.join("policy.json").display())
    }

    /// For `build`: the two images, and the folders that the first one points to.
    pub(super) fn build_arguments(&self) -> Vec<String> {
        let mounted = |from: &Path, to: &str| format!("--volume={}:{to}:ro", from.display());
        vec![
            "--isolation=chroot".to_owned(),
            "--pull=never".to_owned(),
            "--format=oci".to_owned(),
            self.policy(),
            format!("--build-arg=RUST_IMAGE={RUST}"),
            format!("--build-arg=BASE_IMAGE={BASE}"),
            "--build-arg=CARGO_NET_OFFLINE=true".to_owned(),
            mounted(Path::new("/usr"), "/usr"),
            mounted(&self.rustup, "/rustup"),
            mounted(&self.cargo, "/cargo"),
        ]
    }

    /// The same as last time as long as its files are, so that what was built on it is still in the cache.
    fn image(&self, name: &str, root: &Path) -> Result<()> {
        let mut age = Command::new("find");
        age.arg(root)
            .args(["-exec", "touch", "--no-dereference", "--date=@0", "{}", "+"]);
        let status = age.status().context("running find and touch")?;
        ensure!(status.success(), "setting the age of {} failed ({status})", root.display());
        let mut command = Command::new("buildah");
        self.place(&mut command);
        command
            .args(["build", "--layers", "--isolation=chroot", "--format=oci", &self.policy()])
            .arg(format!("--tag={name}"))
            .arg(root);
        let status = command.status().context("starting buildah, which Debian has as a package")?;
        ensure!(status.success(), "making {name} failed ({status})");
        Ok(())
    }
}

/// Links into the folders mounted while it runs: the toolchain, and this machine's compiler and shell.
fn write_rust(root: &Path) -> Result<()> {
    for name in ["bin", "lib", "lib64", "sbin"] {
        symlink(format!("usr/{name}"), root.join(name))?;
    }
    fs::create_dir_all(root.join("etc"))?;
    fs::create_dir_all(root.join("tmp"))?;
    for file in ["passwd", "group", "ld.so.cache"] {
        fs::copy(Path::new("/etc").join(file), root.join("etc").join(file)).with_context(|| format!("copying /etc/{file}"))?;
    }
    // Debian's cc goes through here.
    if Path::new("/etc/alternatives").is_dir() {
        copy_links(Path::new("/etc/alternatives"), &root.join("etc/alternatives"))?;
    }
    let toolchain = Command::new("rustc")
        .arg("--print=sysroot")
        .current_dir(workspace::root())
        .output()?;
    let sysroot = PathBuf::from(String::from_utf8(toolchain.stdout)?.trim());
    let name = sysroot.file_name().context("rustc has no sysroot")?.display().to_string();
    let text = format!(
        "FROM scratch\nADD . /\nENV PATH=/rustup/toolchains/{name}/bin:/usr/bin:/bin CARGO_HOME=/cargo CARGO_INCREMENTAL=0\n"
    );
    write_dockerfile(root, &text)
}

fn copy_links(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        if let Ok(target) = fs::read_link(entry.path()) {
            symlink(target, to.join(entry.file_name()))?;
        }
    }
    Ok(())
}

/// glibc, libgcc and the certificates of authorities.
fn write_cc(root: &Path) -> Result<()> {
    let architecture = format!("{}-linux-gnu", env::consts::ARCH);
    let libraries = Path::new("usr/lib").join(architecture);
    fs::create_dir_all(root.join(&libraries))?;
    fs::create_dir_all(root.join("usr/lib64"))?;
    for name in LIBRARIES {
        let file = libraries.join(name);
        fs::copy(Path::new("/").join(&file), root.join(&file)).with_context(|| format!("copying /{}", file.display()))?;
    }
    for name in ["lib", "lib64"] {
        symlink(format!("usr/{name}"), root.join(name))?;
    }
    let loaders = [
        ("x86_64", "lib64/ld-linux-x86-64.so.2"),
        ("aarch64", "lib/ld-linux-aarch64.so.1"),
    ];
    let loader = loaders.into_iter().find(|(name, _)| *name == env::consts::ARCH);
    let (_, loader) = loader.with_context(|| format!("no stand-in for {}", env::consts::ARCH))?;
    fs::copy(Path::new("/").join(loader), root.join(loader)).with_context(|| format!("copying /{loader}"))?;
    fs::create_dir_all(root.join("etc/ssl/certs"))?;
    if Path::new("/").join(CERTIFICATES).is_file() {
        fs::copy(Path::new("/").join(CERTIFICATES), root.join(CERTIFICATES))?;
    }
    fs::write(
        root.join("etc/passwd"),
        "root:x:0:0::/root:/sbin/nologin\nnonroot:x:65532:65532::/:/sbin/nologin\n",
    )?;
    fs::write(root.join("etc/group"), "root:x:0:\nnonroot:x:65532:\n")?;
    fs::write(root.join("etc/nsswitch.conf"), "hosts: files dns\n")?;
    write_dockerfile(
        root,
        "FROM scratch\nADD . /\nENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt\n",
    )
}

fn write_dockerfile(root: &Path, text: &str) -> Result<()> {
    fs::write(root.join("Dockerfile"), text)?;
    fs::write(root.join(".dockerignore"), "Dockerfile\n.dockerignore\n")?;
    Ok(())
}
