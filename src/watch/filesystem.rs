//! Whether a filesystem tells of every change: what another machine writes goes past this kernel.

use std::path::Path;

use nix::sys::statfs::statfs;

/// Those that do not, by the number in their superblock.
const ELSEWHERE: [(u32, &str); 12] = [
    (0x0000_6969, "NFS"),
    (0x0000_517b, "SMB"),
    (0xff53_4d42, "SMB"),
    (0xfe53_4d42, "SMB"),
    (0x0102_1997, "9p"),
    // virtiofs goes by the same number.
    (0x6573_5546, "FUSE"),
    (0x786f_4256, "vboxsf"),
    (0x5346_414f, "AFS"),
    (0x6b41_4653, "AFS"),
    (0x00c3_6400, "Ceph"),
    (0x7375_7245, "Coda"),
    (0x0bd0_0bd0, "Lustre"),
];

/// The name of the filesystem of `path` if changes are made elsewhere.
pub(super) fn elsewhere(path: &Path) -> Option<&'static str> {
    let kind = statfs(path).ok()?.filesystem_type().0;
    // Some kernels give the number with a sign: its lower half is what counts.
    named(u32::try_from(kind & 0xffff_ffff).ok()?)
}

fn named(magic: u32) -> Option<&'static str> {
    ELSEWHERE.iter().find(|(known, _)| *known == magic).map(|(_, name)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_and_fuse_filesystems_are_polled_and_local_ones_are_not() {
        for (magic, expected) in [
            (0x6969, Some("NFS")),
            (0xff53_4d42, Some("SMB")),
            (0x0102_1997, Some("9p")),
            (0x6573_5546, Some("FUSE")),
            (0x786f_4256, Some("vboxsf")),
            (0xef53, None),
            (0x9123_683e, None),
            (0x5846_5342, None),
            (0x0102_1994, None),
            (0x794c_7630, None),
        ] {
            assert_eq!(named(magic), expected, "{magic:#x}");
        }
        assert_eq!(elsewhere(Path::new("/proc")), None);
    }
}
