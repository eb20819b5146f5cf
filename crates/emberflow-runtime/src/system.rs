//! The limits of the machine, or of the container around the process: its memory, and how much of it the process has
//! taken.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The memory that this process may use, in bytes: the smallest limit of its cgroups, or else the machine's memory.
/// `None` where the system does not say.
pub fn memory_limit_bytes() -> Option<u64> {
    memory_limit_under(Path::new("/"))
}

fn memory_limit_under(root: &Path) -> Option<u64> {
    let total = fs::read_to_string(root.join("proc/meminfo")).ok().and_then(|text| kib_of(&text, "MemTotal:"));
    cgroup_limits(root).into_iter().chain(total).min()
}

/// Every limit on the way from this process's cgroups up to their roots, version 1 and version 2.
fn cgroup_limits(root: &Path) -> Vec<u64> {
    let Ok(own) = fs::read_to_string(root.join("proc/self/cgroup")) else { return Vec::new() };
    let mut limits = Vec::new();
    for line in own.lines() {
        let mut parts = line.splitn(3, ':');
        let (_, Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else { continue };
        let (mounts, files): (&[&str], &[&str]) = match controllers {
            "" => (&["sys/fs/cgroup", "sys/fs/cgroup/unified"], &["memory.max", "memory.high"]),
            list if list.split(',').any(|name| name == "memory") => {
                (&["sys/fs/cgroup/memory"], &["memory.limit_in_bytes"])
            }
            _ => continue,
        };
        for mount in mounts {
            // Inside a container the path may name a group outside of what is mounted: then the mount itself is ours.
            let base = root.join(mount);
            let mut group: Option<PathBuf> = Some(base.join(path.trim_start_matches('/')));
            while let Some(at) = group.filter(|at| at.starts_with(&base)) {
                let texts = files.iter().filter_map(|file| fs::read_to_string(at.join(file)).ok());
                // "max", or version 1's huge number, is no limit.
                limits
                    .extend(texts.filter_map(|text| text.trim().parse::<u64>().ok()).filter(|limit| *limit < 1 << 60));
                group = at.parent().map(Path::to_owned);
            }
        }
    }
    limits
}

/// The most memory that this process has had resident, in bytes. `None` where the system does not say.
pub fn peak_resident_bytes() -> Option<u64> {
    kib_of(&fs::read_to_string("/proc/self/status").ok()?, "VmHWM:")
}

/// The anonymous memory that this process has resident now, in bytes: mapped files are not in it.
pub fn anonymous_resident_bytes() -> Option<u64> {
    kib_of(&fs::read_to_string("/proc/self/status").ok()?, "RssAnon:")
}

fn kib_of(text: &str, field: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(field))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn the_smallest_limit_on_the_way_up_counts() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        write(root, "proc/meminfo", "MemTotal:       16777216 kB\nMemFree: 1 kB\n");
        assert_eq!(memory_limit_under(root), Some(16 << 30));
        write(root, "proc/self/cgroup", "0::/a/b\n");
        write(root, "sys/fs/cgroup/a/b/memory.max", "max\n");
        write(root, "sys/fs/cgroup/a/memory.max", "1073741824\n");
        assert_eq!(memory_limit_under(root), Some(1 << 30));
        write(root, "proc/self/cgroup", "4:cpu,memory:/x\n0::/\n");
        write(root, "sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
        write(root, "sys/fs/cgroup/memory/x/memory.limit_in_bytes", "536870912\n");
        assert_eq!(memory_limit_under(root), Some(512 << 20));
    }

    #[test]
    fn this_process_has_a_peak() {
        if cfg!(target_os = "linux") {
            assert!(peak_resident_bytes().unwrap() > 0 && anonymous_resident_bytes().unwrap() > 0);
        }
    }
}
