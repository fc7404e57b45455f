//! Extended attributes as a layer has them, and as they are on disk.
//!
//! Overlay drivers keep notes of their own in attributes of users: `user.overlay.*` is the kernel's, `user.fuseoverlayfs.*`
//! and `user.containers.*` are fuse-overlayfs's. One that an image brings must not steer them. The kernel's are escaped in
//! the kernel's own way (`user.overlay.X` becomes `user.overlay.overlay.X`, which an overlay shows as `user.overlay.X` since
//! Linux 6.7 and hides before, see overlayfs.rst, "Nesting overlayfs mounts"); the others are kept aside.

use std::borrow::Cow;
use std::ffi::CString;
use std::os::fd::AsFd;

use rustix::io::Errno;

use crate::Ownership;

/// Marks a folder as hiding what the layers below have in it.
pub(crate) const OPAQUE: &str = "user.overlay.opaque";

const OVERLAY: &[u8] = b"user.overlay.";
const ESCAPED: &[u8] = b"user.overlay.overlay.";
const STEERING: [&[u8]; 2] = [b"user.fuseoverlayfs.", b"user.containers."];

/// The name under which a layer's attribute is set on a file; `None`: it goes aside.
pub fn on_disk(name: &[u8], ownership: Ownership) -> Option<Cow<'_, [u8]>> {
    if let Some(rest) = name.strip_prefix(OVERLAY) {
        return Some([ESCAPED, rest].concat().into());
    }
    if STEERING.iter().any(|prefix| name.starts_with(prefix)) {
        return None;
    }
    let host = ownership == Ownership::Host
        && matches!(
            name,
            b"security.capability" | b"system.posix_acl_access" | b"system.posix_acl_default"
        );
    (name.starts_with(b"user.") || host).then_some(name.into())
}

/// The name that a file's attribute has in its layer; `None`: it is a driver's note, not the layer's.
pub fn in_layer(name: &[u8]) -> Option<Cow<'_, [u8]>> {
    if let Some(rest) = name.strip_prefix(ESCAPED) {
        return Some([OVERLAY, rest].concat().into());
    }
    let note = name.starts_with(OVERLAY) || STEERING.iter().any(|prefix| name.starts_with(prefix));
    (!note).then_some(name.into())
}

/// Longest list of names and longest value (xattr(7)).
const MAX: usize = 64 << 10;

/// The names of all attributes of a file.
pub(crate) fn names(file: impl AsFd) -> Result<Vec<CString>, Errno> {
    let mut list = vec![0_u8; MAX];
    let n = rustix::fs::flistxattr(&file, &mut list[..])?;
    let names = list[..n].split(|b| *b == 0).filter(|name| !name.is_empty());
    Ok(names.filter_map(|name| CString::new(name).ok()).collect())
}

/// The value of an attribute.
pub(crate) fn value(file: impl AsFd, name: &CString) -> Result<Vec<u8>, Errno> {
    let mut value = vec![0_u8; MAX];
    let n = rustix::fs::fgetxattr(&file, &**name, &mut value[..])?;
    value.truncate(n);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_drivers_is_escaped_or_goes_aside() {
        use Ownership::{Host, Single};
        for (name, ownership, expected) in [
            ("user.a", Single, Some("user.a")),
            (
                "user.overlay.opaque",
                Host,
                Some("user.overlay.overlay.opaque"),
            ),
            (
                "user.overlay.overlay.opaque",
                Single,
                Some("user.overlay.overlay.overlay.opaque"),
            ),
            ("user.overlays", Single, Some("user.overlays")),
            ("user.fuseoverlayfs.opaque", Single, None),
            ("user.containers.override_stat", Host, None),
            ("trusted.overlay.opaque", Host, None),
            ("trusted.a", Host, None),
            ("security.capability", Host, Some("security.capability")),
            ("security.capability", Single, None),
            ("security.selinux", Host, None),
        ] {
            let disk = on_disk(name.as_bytes(), ownership);
            assert_eq!(disk.as_deref(), expected.map(str::as_bytes), "{name}");
            if let Some(disk) = disk {
                assert_eq!(in_layer(&disk).as_deref(), Some(name.as_bytes()));
            }
        }
        assert_eq!(in_layer(b"user.overlay.opaque"), None);
        assert_eq!(in_layer(b"user.fuseoverlayfs.origin"), None);
    }
}
