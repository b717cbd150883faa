//! What the second tier needs of the host, and what is missing of it. It looks; it changes nothing.

use std::env;
use std::fs;
use std::path::Path;

use rustix::process::geteuid;

/// Debian's packages the node is made of, beside those of every bed.
pub(crate) const PACKAGES: &str = "containerd runc containernetworking-plugins iptables nftables busybox-static conntrack";

const PROGRAMS: [&str; 5] = ["containerd", "ctr", "runc", "nft", "busybox"];
pub(crate) const CONTAINERD: &str = "/usr/bin/containerd";
pub(crate) const CNI: &str = "/usr/lib/cni";

/// Why there can be no node here; `None` if nothing is known to be missing.
pub(crate) fn lacks() -> Option<String> {
    if !geteuid().is_root() {
        return Some("it needs root: a node mounts file systems and makes control groups".to_owned());
    }
    let missing: Vec<&str> = PROGRAMS.into_iter().filter(|name| !in_path(name)).collect();
    if !missing.is_empty() || !Path::new(CNI).join("bridge").is_file() {
        return Some(format!(
            "{} missing: install Debian's packages {PACKAGES}",
            if missing.is_empty() {
                "CNI plugins".to_owned()
            } else {
                missing.join(", ")
            }
        ));
    }
    if !fs::read_to_string("/proc/filesystems").is_ok_and(|text| text.lines().any(|line| line.ends_with("\toverlay"))) {
        return Some("the kernel has no overlay file system".to_owned());
    }
    for controller in super::cgroups::CONTROLLERS {
        let folder = super::cgroups::own_folder(controller);
        if !folder.as_deref().is_some_and(writable) {
            return Some(format!(
                "the control group {controller:?} (version 1) is not there or not writable: hosts with cgroup v2 alone are not supported yet"
            ));
        }
    }
    None
}

/// Whether a program of that name is installed.
pub(crate) fn in_path(name: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .any(|folder| folder.join(name).is_file())
}

fn writable(folder: &Path) -> bool {
    rustix::fs::access(folder, rustix::fs::Access::WRITE_OK).is_ok()
}
