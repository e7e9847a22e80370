//! What the file system is that a catalog lies on: some can't hold one.

use std::io;
use std::path::Path;

use crate::fault::Fault;

/// File systems that are shared or emulated, by the type that statfs(2) tells (linux/magic.h).
/// What SQLite needs of locks and of shared memory, they do not promise.
const SHARED: &[(u32, &str)] = &[
    (0x6969, "NFS"),
    (0x517b, "SMB"),
    (0xff53_4d42, "CIFS"),
    (0xfe53_4d42, "SMB 2"),
    (0x6573_5546, "FUSE"),
    (0x0102_1997, "9p"),
    (0x00c3_6400, "Ceph"),
    (0x5346_414f, "AFS"),
    (0x786f_4256, "a shared folder of VirtualBox"),
];

/// Refuses a folder for a catalog that is written to, where the file system is a shared one.
pub fn refuse_shared(folder: &Path) -> Result<(), Fault> {
    let found =
        rustix::fs::statfs(folder).map_err(|err| Fault::disk("look at", folder, err.into()))?;
    // The type is 32 bits wide, and signed on some machines.
    let Some(name) = shared(found.f_type as u32) else {
        return Ok(());
    };
    let cause = format!(
        "it lies on {name}, which is not safe for a database: set storage.catalog to a file on a \
         disk of this machine; blobs may stay where they are"
    );
    Err(Fault::disk("open", folder, io::Error::other(cause)))
}

fn shared(kind: u32) -> Option<&'static str> {
    let mut known = SHARED.iter();
    known
        .find(|(number, _)| *number == kind)
        .map(|(_, name)| *name)
}

/// Whether nothing can be written to the file system of a path.
pub fn is_read_only(path: &Path) -> Result<bool, Fault> {
    let found =
        rustix::fs::statvfs(path).map_err(|err| Fault::disk("look at", path, err.into()))?;
    Ok(found.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY))
}

/// Bytes that can still be written to the file system of a path by anybody but the superuser.
pub fn free(path: &Path) -> Result<u64, Fault> {
    let found =
        rustix::fs::statvfs(path).map_err(|err| Fault::disk("measure", path, err.into()))?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_file_systems_are_known_by_their_type() {
        for (kind, name) in [
            (0x6969, Some("NFS")),
            (0x0102_1997, Some("9p")),
            (0xff53_4d42, Some("CIFS")),
            (0x6573_5546, Some("FUSE")),
            // ext4, XFS, btrfs, tmpfs, overlayfs.
            (0xef53, None),
            (0x5846_5342, None),
            (0x9123_683e, None),
            (0x0102_1994, None),
            (0x794c_7630, None),
        ] {
            assert_eq!(shared(kind), name, "{kind:x}");
        }
    }
}
