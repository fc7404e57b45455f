//! Mounts inside the container's root file system, made through descriptors: a place is found once, and what is mounted
//! there cannot be swapped under our feet.

use std::ffi::CStr;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};

use minidock_sys::Errno;
use minidock_sys::mount::{
    ATTR_NODEV, ATTR_NOEXEC, ATTR_NOSUID, ATTR_RDONLY, Attributes, mount_setattr,
};
use rustix::fs::{
    AtFlags, CWD, FileType, StatVfsMountFlags, StatxFlags, fstat, fstatvfs, major, minor, statx,
};
use rustix::mount::{
    MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, mount, mount_change,
    mount_remount, move_mount, open_tree,
};

use super::Found;
use super::place::{self, Make};
use super::text::Text;
use crate::plan::step::{Bind, Fallback, FsMount};
use crate::report::{During as _, Fail, Phase};

pub(crate) fn make_private() -> Result<(), Fail> {
    let flags = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change(c"/", flags).during(Phase::Act)
}

pub(super) fn make_slave() -> Result<(), Fail> {
    let flags = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    mount_change(c"/", flags).during(Phase::Act)
}

/// Cuts an attached copy of the host's mounts off from them.
pub(super) fn make_tree_private(tree: BorrowedFd<'_>) -> Result<(), Errno> {
    let flags = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change(path_of(tree)?.as_c_str()?, flags)
}

/// The name by which the kernel knows a descriptor where a system call wants a path.
fn path_of(fd: BorrowedFd<'_>) -> Result<Text, Errno> {
    let mut path = Text::new();
    path.push(b"/proc/self/fd/")?;
    path.push_number(fd.as_raw_fd().unsigned_abs())?;
    Ok(path)
}

/// Mounts with mount(2) on the working directory, which is the target: one call, and it works on every kernel.
pub(super) fn mount_fs(root: BorrowedFd<'_>, fs: &FsMount) -> Result<Option<Fail>, Fail> {
    let target = match place::open_or_make(root, &fs.target.path, fs.target.follow, Make::Folder) {
        // A cgroup mount has its place in sysfs, where none can be made.
        Err(fail) if fs.fallback == Fallback::Skip => return Ok(Some(fail)),
        target => target?,
    };
    rustix::process::fchdir(&target).during(Phase::Find)?;
    let data = (!fs.data.is_empty()).then_some(fs.data.as_c_str());
    let Err(errno) = mount(
        fs.source.as_c_str(),
        c".",
        fs.fs_type.as_c_str(),
        fs.flags,
        data,
    ) else {
        return Ok(None);
    };
    let why = Fail::new(Phase::Act, errno);
    match fs.fallback {
        Fallback::Skip => Ok(Some(why)),
        // So the kernel answers where parts of the host's own are covered, as in most containers.
        Fallback::HostTree(attributes) if errno == Errno::PERM => {
            let mut source = Text::new();
            source
                .push(b"/")
                .and_then(|()| source.push(fs.target.path.to_bytes()))
                .during(Phase::Source)?;
            let tree =
                clone_tree(source.as_c_str().during(Phase::Source)?, true).during(Phase::Source)?;
            attach(&tree, target.as_fd()).during(Phase::Attach)?;
            set_attributes(tree.as_fd(), true, attributes).during(Phase::Attributes)?;
            Ok(Some(why))
        }
        Fallback::HostTree(_) | Fallback::None => Err(why),
    }
}

/// A detached copy of the mount at a path of the host's, without or with the mounts below it.
pub(super) fn clone_tree(path: &CStr, recursive: bool) -> Result<OwnedFd, Errno> {
    let below = if recursive {
        OpenTreeFlags::AT_RECURSIVE
    } else {
        OpenTreeFlags::empty()
    };
    open_tree(
        CWD,
        path,
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | below,
    )
}

/// A detached copy of the part of the mount that an open path refers to.
fn clone_at(fd: BorrowedFd<'_>, recursive: bool) -> Result<OwnedFd, Errno> {
    let below = if recursive {
        OpenTreeFlags::AT_RECURSIVE
    } else {
        OpenTreeFlags::empty()
    };
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    open_tree(fd, c"", flags | below)
}

pub(super) fn attach(tree: &OwnedFd, target: BorrowedFd<'_>) -> Result<(), Errno> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(tree, c"", target, c"", flags)
}

pub(super) fn bind(found: &Found, bind: &Bind) -> Result<(), Fail> {
    let root = found.root()?;
    let tree = clone_tree(&bind.source, bind.recursive).during(Phase::Source)?;
    let make = if is_folder(tree.as_fd()).during(Phase::Source)? {
        Make::Folder
    } else {
        Make::File
    };
    let target = place::open_or_make(root, &bind.target.path, bind.target.follow, make)?;
    attach(&tree, target.as_fd()).during(Phase::Attach)?;
    if found.follows_host && !bind.slave {
        make_tree_private(tree.as_fd()).during(Phase::Attributes)?;
    }
    set_attributes(tree.as_fd(), bind.attributes_recursive, bind.attributes)
        .during(Phase::Attributes)
}

fn is_folder(fd: BorrowedFd<'_>) -> Result<bool, Errno> {
    Ok(FileType::from_raw_mode(fstat(fd)?.st_mode) == FileType::Directory)
}

/// Opens what a Spec wants protected. What is not there needs no protection.
fn open_protected(root: BorrowedFd<'_>, path: &CStr) -> Result<Option<OwnedFd>, Fail> {
    match place::open(root, path) {
        Ok(fd) => Ok(Some(fd)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(errno) => Err(Fail::new(Phase::Find, errno)),
    }
}

pub(super) fn mask(found: &mut Found, path: &CStr) -> Result<(), Fail> {
    let Some(target) = open_protected(found.root()?, path)? else {
        return Ok(());
    };
    if !is_folder(target.as_fd()).during(Phase::Find)? {
        let null = match &found.null {
            Some(null) => clone_at(null.as_fd(), false).during(Phase::Source)?,
            None => null_device().during(Phase::Source)?,
        };
        attach(&null, target.as_fd()).during(Phase::Attach)?;
        verify(found.root()?, path, null.as_fd())?;
        found.null.get_or_insert(null);
        return Ok(());
    }
    if let Some(mask) = &found.mask {
        let copy = clone_at(mask.as_fd(), false).during(Phase::Source)?;
        attach(&copy, target.as_fd()).during(Phase::Attach)?;
        return verify(found.root()?, path, copy.as_fd());
    }
    let empty = found
        .empty
        .as_ref()
        .ok_or(Fail::new(Phase::Source, Errno::BADF))?;
    let mask = clone_at(empty.as_fd(), false).during(Phase::Source)?;
    attach(&mask, target.as_fd()).during(Phase::Attach)?;
    let nothing = ATTR_RDONLY | ATTR_NOSUID | ATTR_NODEV | ATTR_NOEXEC;
    let attributes = Attributes {
        set: nothing,
        ..Attributes::default()
    };
    set_attributes(mask.as_fd(), false, attributes).during(Phase::Attributes)?;
    verify(found.root()?, path, mask.as_fd())?;
    found.mask = Some(mask);
    Ok(())
}

/// A detached copy of the host's null device, if that is what the host has there: in a container of somebody's, or after an
/// accident of an administrator's, it may be a file that can be read and written.
fn null_device() -> Result<OwnedFd, Errno> {
    const NULL: (u32, u32) = (1, 3);
    let tree = clone_tree(c"/dev/null", false)?;
    let stat = fstat(&tree)?;
    let is_device = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice;
    if is_device && (major(stat.st_rdev), minor(stat.st_rdev)) == NULL {
        Ok(tree)
    } else {
        Err(Errno::NODEV)
    }
}

/// Whether the path inside leads to the mount that was just put there. It was found by descriptor, so nothing of the image's
/// can have led the mount astray; but where others can write to a folder on the way (a volume), they could have
/// moved the place away meanwhile and put another one there, which nothing would protect.
fn verify(root: BorrowedFd<'_>, path: &CStr, mount: BorrowedFd<'_>) -> Result<(), Fail> {
    let id = |folder: BorrowedFd<'_>, path: &CStr, how: AtFlags| {
        let found = statx(folder, path, how, StatxFlags::MNT_ID)?;
        let known = found.stx_mask & StatxFlags::MNT_ID.bits() != 0;
        Ok::<_, Errno>(known.then_some(found.stx_mnt_id))
    };
    let here = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    let found = id(root, path, here).during(Phase::Verify)?;
    let wanted = id(mount, c"", AtFlags::EMPTY_PATH).during(Phase::Verify)?;
    if found == wanted {
        Ok(())
    } else {
        Err(Fail::new(Phase::Verify, Errno::STALE))
    }
}

/// Writes into a file of the container's own proc, and into nothing that an image put in its way.
pub(super) fn set_sysctl(root: BorrowedFd<'_>, path: &CStr, value: &CStr) -> Result<(), Fail> {
    let file = place::open_to_write(root, path).during(Phase::Find)?;
    if !place::is_kernels(file.as_fd()).during(Phase::Find)? {
        return Err(Fail::new(Phase::Find, Errno::XDEV));
    }
    rustix::io::write(&file, value.to_bytes())
        .map(drop)
        .during(Phase::Act)
}

pub(super) fn make_path_read_only(root: BorrowedFd<'_>, path: &CStr) -> Result<(), Fail> {
    let Some(target) = open_protected(root, path)? else {
        return Ok(());
    };
    let tree = clone_at(target.as_fd(), true).during(Phase::Source)?;
    attach(&tree, target.as_fd()).during(Phase::Attach)?;
    let attributes = Attributes {
        set: ATTR_RDONLY,
        ..Attributes::default()
    };
    set_attributes(tree.as_fd(), true, attributes).during(Phase::Attributes)?;
    verify(root, path, tree.as_fd())
}

pub(super) fn make_root_read_only(root: BorrowedFd<'_>) -> Result<(), Fail> {
    let attributes = Attributes {
        set: ATTR_RDONLY,
        ..Attributes::default()
    };
    set_attributes(root, false, attributes).during(Phase::Act)
}

/// Sets attributes of an attached mount. Before Linux 5.12 only the mount itself can be changed, not those below it.
pub(super) fn set_attributes(
    fd: BorrowedFd<'_>,
    recursive: bool,
    attributes: Attributes,
) -> Result<(), Errno> {
    if attributes == Attributes::default() {
        return Ok(());
    }
    match mount_setattr(fd, recursive, attributes) {
        Err(Errno::NOSYS) => remount(fd, attributes.set),
        result => result,
    }
}

/// The old way. It replaces all flags, and the kernel refuses to have those of a more privileged namespace cleared, so the
/// present ones are named again.
fn remount(fd: BorrowedFd<'_>, set: u64) -> Result<(), Errno> {
    const FLAGS: [(u64, StatVfsMountFlags, MountFlags); 4] = [
        (ATTR_RDONLY, StatVfsMountFlags::RDONLY, MountFlags::RDONLY),
        (ATTR_NOSUID, StatVfsMountFlags::NOSUID, MountFlags::NOSUID),
        (ATTR_NODEV, StatVfsMountFlags::NODEV, MountFlags::NODEV),
        (ATTR_NOEXEC, StatVfsMountFlags::NOEXEC, MountFlags::NOEXEC),
    ];
    const TIMES: [(StatVfsMountFlags, MountFlags); 3] = [
        (StatVfsMountFlags::NOATIME, MountFlags::NOATIME),
        (StatVfsMountFlags::NODIRATIME, MountFlags::NODIRATIME),
        (StatVfsMountFlags::RELATIME, MountFlags::RELATIME),
    ];
    let present = fstatvfs(fd)?.f_flag;
    let mut flags = MountFlags::BIND;
    for (attribute, old, new) in FLAGS {
        flags.set(new, set & attribute != 0 || present.contains(old));
    }
    for (old, new) in TIMES {
        flags.set(new, present.contains(old));
    }
    mount_remount(path_of(fd)?.as_c_str()?, flags, c"")
}
