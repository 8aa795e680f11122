//! What this process may use of the machine.

use std::ffi::OsStr;
use std::fs::read_to_string;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

const CGROUPS: &str = "/sys/fs/cgroup";

/// Memory in bytes that this process may use: all that there is, or what its control groups allow (cgroup v2, Linux's documentation
/// `admin-guide/cgroup-v2`, `memory.max`). `None` if it cannot be told. Reads a file a level of groups.
pub(crate) fn memory_bytes() -> Option<u64> {
    let groups = read_to_string("/proc/self/cgroup").unwrap_or_default();
    let allowed = allowed_bytes(Path::new(CGROUPS), &groups);
    [physical_bytes(), allowed].into_iter().flatten().min()
}

fn physical_bytes() -> Option<u64> {
    // SAFETY: asks for numbers only.
    let (pages, page_bytes) = unsafe { (libc::sysconf(libc::_SC_PHYS_PAGES), libc::sysconf(libc::_SC_PAGESIZE)) };
    u64::try_from(pages).ok()?.checked_mul(u64::try_from(page_bytes).ok()?)
}

/// The least that a group or one above it allows; `groups` is what /proc says of a process.
fn allowed_bytes(mount: &Path, groups: &str) -> Option<u64> {
    let own = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    // Nothing of what is read decides about more than a budget, but it has to stay below the mount.
    let below = Path::new(OsStr::from_bytes(own.as_bytes()));
    if below
        .components()
        .any(|part| !matches!(part, std::path::Component::Normal(_)))
    {
        return None;
    }
    let group = mount.join(below);
    group
        .ancestors()
        .take_while(|above| above.starts_with(mount))
        .filter_map(|above| read_to_string(above.join("memory.max")).ok()?.trim().parse().ok())
        .min()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn there_is_memory() {
        assert!(memory_bytes().is_some_and(|bytes| bytes > 1 << 20));
    }

    #[test]
    fn the_tightest_group_counts() -> std::io::Result<()> {
        let place = tempfile::tempdir()?;
        let mount = place.path().join("cgroup");
        fs::create_dir_all(mount.join("outer/inner"))?;
        let given = "1:name=systemd:/else\n0::/outer/inner\n";
        assert_eq!(allowed_bytes(&mount, given), None);
        fs::write(mount.join("outer/inner/memory.max"), "max\n")?;
        fs::write(mount.join("outer/memory.max"), "1048576\n")?;
        fs::write(place.path().join("memory.max"), "5\n")?;
        assert_eq!(allowed_bytes(&mount, given), Some(1 << 20));
        fs::write(mount.join("outer/inner/memory.max"), "4096\n")?;
        assert_eq!(allowed_bytes(&mount, given), Some(4096));
        assert_eq!(allowed_bytes(&mount, "0::/\n"), None);
        assert_eq!(allowed_bytes(&mount, "0::/../outer\n"), None);
        assert_eq!(allowed_bytes(&mount, ""), None);
        Ok(())
    }
}
