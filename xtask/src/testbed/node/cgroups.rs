//! The node's control groups (version 1): made and joined before the namespaces, removed after the last process is gone.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::id;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

pub(crate) const CONTROLLERS: [&str; 9] = [
    "cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids", "systemd",
];

const ROOT: &str = "/sys/fs/cgroup";
/// Processes that were killed leave their groups a moment later.
const EMPTY_WITHIN: Duration = Duration::from_secs(10);

/// The folder of the group this process is in.
pub(crate) fn own_folder(controller: &str) -> Option<PathBuf> {
    let text = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = text.lines().find_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (names, path) = rest.split_once(':')?;
        let named = names.split(',').any(|name| name.trim_start_matches("name=") == controller);
        named.then(|| path.trim_start_matches('/').to_owned())
    })?;
    let folder = Path::new(ROOT).join(controller).join(path);
    folder.join("cgroup.procs").is_file().then_some(folder)
}

/// Makes a group `name` below this process's own for every controller, and moves this process into it.
pub(crate) fn join_new(name: &str) -> Result<()> {
    for controller in CONTROLLERS {
        let own = own_folder(controller).with_context(|| format!("no control group {controller}"))?;
        let group = own.join(name);
        fs::create_dir_all(&group).with_context(|| format!("making {}", group.display()))?;
        if controller == "cpuset" {
            // Without these the group takes nobody.
            for file in ["cpuset.cpus", "cpuset.mems"] {
                fs::write(group.join(file), fs::read(own.join(file))?)?;
            }
        }
        fs::write(group.join("cgroup.procs"), id().to_string()).with_context(|| format!("joining {}", group.display()))?;
    }
    Ok(())
}

/// Removes the groups `name` below this process's own, which nobody may be in any more.
pub(crate) fn remove(name: &str) -> Result<()> {
    let deadline = Instant::now() + EMPTY_WITHIN;
    for controller in CONTROLLERS {
        let Some(group) = own_folder(controller).map(|own| own.join(name)) else {
            continue;
        };
        while group.is_dir() {
            match remove_tree(&group) {
                Ok(()) => break,
                Err(error) if Instant::now() > deadline => {
                    return Err(error).with_context(|| format!("removing {}", group.display()));
                }
                Err(_) => thread::sleep(Duration::from_millis(20)),
            }
        }
    }
    Ok(())
}

/// From the bottom up; the files in the folders are the kernel's and go with them.
fn remove_tree(group: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(group)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    fs::remove_dir(group)
}
