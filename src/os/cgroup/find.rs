//! Finds our own control group in the tree that the kernel shows us.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// Why there is no control group to be had: a sentence for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NoCgroup(pub String);

/// Which of the kernel's trees of control groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind<'a> {
    /// The one of cgroup v2.
    V2,
    /// The one of cgroup v1 that this controller sits on.
    V1(&'a str),
}

impl std::fmt::Display for Kind<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::V2 => f.write_str("cgroup v2 tree"),
            Self::V1(controller) => write!(f, "cgroup v1 tree for {controller}"),
        }
    }
}

/// The folder of our own group in a tree, by the texts of `/proc/self/mountinfo` and `/proc/self/cgroup`.
///
/// The tree may lie anywhere (hybrid set-ups have the one of v2 beside those of v1), and may show only a part of the
/// whole.
///
/// # Errors
/// [`NoCgroup`] when no such tree is mounted, or none that shows our group.
pub(super) fn own_group(kind: Kind<'_>, mountinfo: &str, cgroup: &str) -> Result<PathBuf, NoCgroup> {
    let own = cgroup
        .lines()
        .find_map(|line| match kind {
            Kind::V2 => line.strip_prefix("0::"),
            Kind::V1(wanted) => {
                let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
                controllers.split(',').any(|one| one == wanted).then_some(path)
            }
        })
        .ok_or_else(|| NoCgroup(format!("cannot use control groups: this kernel has no {kind}")))?;
    // The group of a process may lie outside of what its namespace shows; it is then told as `/../…`.
    let own = Path::new(own);
    let mounts: Vec<Mount> = mountinfo.lines().filter_map(|line| Mount::parse(line, kind)).collect();
    if mounts.is_empty() {
        return Err(NoCgroup(format!("cannot use control groups: no {kind} is mounted")));
    }
    mounts
        .iter()
        .rev() // the latest mount on a path is the one that is seen
        .filter(|_| own.is_absolute() && !own.components().any(|part| part.as_os_str() == ".."))
        .find_map(|mount| Some(mount.point.join(own.strip_prefix(&mount.root).ok()?)))
        .ok_or_else(|| {
            NoCgroup(format!(
                "cannot use control groups: the mounted tree does not show our own group {}",
                own.display()
            ))
        })
}

/// One mounted tree.
struct Mount {
    /// Which part of the tree is mounted.
    root: PathBuf,
    /// Where.
    point: PathBuf,
}

impl Mount {
    /// Reads a line of `mountinfo`; none when it is another file system.
    fn parse(line: &str, kind: Kind<'_>) -> Option<Self> {
        let (mount, about) = line.split_once(" - ")?;
        let mut about = about.split(' ');
        let (type_, options) = (about.next()?, about.nth(1).unwrap_or_default());
        let matches = match kind {
            Kind::V2 => type_ == "cgroup2",
            Kind::V1(wanted) => type_ == "cgroup" && options.split(',').any(|option| option == wanted),
        };
        if !matches {
            return None;
        }
        let mut fields = mount.split(' ').skip(3);
        Some(Self { root: unescape(fields.next()?), point: unescape(fields.next()?) })
    }
}

/// Paths in `mountinfo` have blanks and the like as `\040`.
fn unescape(text: &str) -> PathBuf {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let octal = |digits: &[u8]| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok();
        let escaped = tail.split_at_checked(3).filter(|_| *first == b'\\');
        let (byte, left) = escaped.and_then(|(digits, left)| Some((octal(digits)?, left))).unwrap_or((*first, tail));
        bytes.push(byte);
        rest = left;
    }
    PathBuf::from(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";
    const UNIFIED: &str = "\
24 1 0:22 / /proc rw,nosuid shared:5 - proc proc rw
29 23 0:26 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot
";
    const CONTAINER: &str = "\
612 611 0:26 / /sys/fs/cgroup ro,nosuid,nodev,noexec,relatime - cgroup2 cgroup rw,nsdelegate
";
    const BIND: &str = "\
700 600 0:26 /docker/abc /sys/fs/cgroup ro,relatime master:11 - cgroup2 cgroup2 rw
";
    const BLANK: &str = "\
700 600 0:26 / /mnt/my\\040groups rw - cgroup2 none rw
";

    #[test]
    fn the_own_group_is_found_wherever_the_tree_lies() {
        for (mountinfo, cgroup, expected) in [
            (HYBRID, "9:name=systemd:/\n4:memory:/process_api/x\n0::/\n", "/sys/fs/cgroup/unified/"),
            (HYBRID, "1:cpu:/\n0::/a/b\n", "/sys/fs/cgroup/unified/a/b"),
            (
                UNIFIED,
                "0::/user.slice/user-1000.slice/session-2.scope\n",
                "/sys/fs/cgroup/user.slice/user-1000.slice/session-2.scope",
            ),
            (CONTAINER, "0::/\n", "/sys/fs/cgroup/"),
            (BIND, "0::/docker/abc\n", "/sys/fs/cgroup/"),
            (BIND, "0::/docker/abc/app\n", "/sys/fs/cgroup/app"),
            (BLANK, "0::/x\n", "/mnt/my groups/x"),
        ] {
            assert_eq!(own_group(Kind::V2, mountinfo, cgroup), Ok(PathBuf::from(expected)), "{cgroup}");
        }
    }

    #[test]
    fn a_v1_group_is_found_in_the_tree_of_its_controller() {
        let joint = "33 31 0:30 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n";
        for (controller, mountinfo, cgroup, expected) in [
            ("memory", HYBRID, "9:name=systemd:/\n4:memory:/a/x\n0::/\n", Some("/sys/fs/cgroup/memory/a/x")),
            ("cpu", joint, "4:cpu,cpuacct:/y\n", Some("/sys/fs/cgroup/cpu,cpuacct/y")),
            ("cpu", HYBRID, "4:cpu:/\n", None),
            ("cpu", joint, "4:cpuacct:/y\n0::/\n", None),
            ("memory", UNIFIED, "0::/\n", None),
        ] {
            let found = own_group(Kind::V1(controller), mountinfo, cgroup);
            assert_eq!(found.ok(), expected.map(PathBuf::from), "{controller} {cgroup}");
        }
    }

    #[test]
    fn a_group_that_cannot_be_seen_is_none() {
        let v1_only = "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n";
        for (mountinfo, cgroup) in [
            (UNIFIED, "4:memory:/\n"),
            (v1_only, "0::/\n"),
            ("", "0::/\n"),
            (BIND, "0::/docker/abcdef\n"),
            (UNIFIED, "0::/../elsewhere\n"),
            ("garbage - cgroup2", "0::/\n"),
            (UNIFIED, ""),
        ] {
            assert!(own_group(Kind::V2, mountinfo, cgroup).is_err(), "{mountinfo} {cgroup}");
        }
    }
}
