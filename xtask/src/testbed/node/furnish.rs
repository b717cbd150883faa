//! Furnishes the namespaces of a bed with a node: on top of what every bed gets, its own control groups, memory file
//! systems where containers leave things, covered kernel settings, and an address that is not loopback.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use anyhow::{Context, Result};
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_change, unmount};
use rustix::system::sethostname;

use super::{ADDRESS, NAME, cgroups};
use crate::testbed::namespace::{cover, ip};
use crate::testbed::plan::Plan;

/// The kubelet sets these for the whole machine; here it finds what it wants and changes nothing.
const SETTINGS: [(&str, &str); 6] = [
    ("vm/overcommit_memory", "1"),
    ("vm/panic_on_oom", "0"),
    ("kernel/panic", "10"),
    ("kernel/panic_on_oops", "1"),
    ("kernel/keys/root_maxkeys", "1000000"),
    ("kernel/keys/root_maxbytes", "25000000"),
];

/// Before `/proc` and the bed's folder are mounted.
pub(crate) fn mounts() -> Result<()> {
    sethostname(NAME.as_bytes()).context("setting the host name")?;
    mount_change("/", MountPropagationFlags::SHARED | MountPropagationFlags::REC).context("sharing mounts")?;
    unmount("/sys", UnmountFlags::DETACH).context("leaving the host's /sys")?;
    mount(
        "sysfs",
        "/sys",
        "sysfs",
        MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC,
        None,
    )
    .context("mounting /sys")?;
    let root = Path::new("/sys/fs/cgroup");
    memory(root)?;
    for controller in cgroups::CONTROLLERS {
        let folder = root.join(controller);
        fs::create_dir(&folder)?;
        let data = if controller == "systemd" {
            c"none,name=systemd".to_owned()
        } else {
            std::ffi::CString::new(controller)?
        };
        mount(
            "cgroup",
            &folder,
            "cgroup",
            MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC,
            Some(&*data),
        )
        .with_context(|| format!("mounting the control group {controller}"))?;
    }
    for folder in ["/run", "/var/log", "/var/lib"] {
        memory(Path::new(folder))?;
    }
    // Where Debian's programs look for what is in /run.
    if !Path::new("/var/run").exists() {
        symlink("/run", "/var/run").ok();
    }
    Ok(())
}

/// After the bed's folder is there.
pub(crate) fn network_and_settings(plan: &Plan) -> Result<()> {
    for folder in ["kubelet", "containerd", "cni", "sysctl"] {
        fs::create_dir_all(plan.path(folder))?;
    }
    // Containers live on file systems of their own, where device files and set-user-id bits mean something.
    for folder in ["kubelet", "containerd"] {
        mount("testbed", plan.path(folder), "tmpfs", MountFlags::empty(), Some(c"mode=0755"))?;
    }
    fs::create_dir_all("/var/lib/kubelet")?;
    mount_bind(plan.path("kubelet"), "/var/lib/kubelet").context("mounting /var/lib/kubelet")?;
    mount_change("/var/lib/kubelet", MountPropagationFlags::SHARED)?;
    for (name, value) in SETTINGS {
        let file = plan.path("sysctl").join(name.replace('/', "-"));
        fs::write(&file, format!("{value}\n"))?;
        cover(&format!("/proc/sys/{name}"), &file)?;
    }
    ip(&["link", "add", "node0", "type", "veth", "peer", "name", "node1"])?;
    ip(&["address", "add", &format!("{ADDRESS}/24"), "dev", "node0"])?;
    ip(&["link", "set", "node0", "up"])?;
    ip(&["link", "set", "node1", "up"])?;
    // Without a route the node itself could not even begin to reach a ClusterIP.
    ip(&["route", "add", "default", "dev", "node0"])?;
    fs::write("/proc/sys/net/ipv4/ip_forward", "1")?;
    fs::write("/proc/sys/net/bridge/bridge-nf-call-iptables", "1").ok();
    Ok(())
}

fn memory(folder: &Path) -> Result<()> {
    mount("tmpfs", folder, "tmpfs", MountFlags::empty(), Some(c"mode=0755"))
        .with_context(|| format!("mounting a memory file system on {}", folder.display()))
}
