//! The container's root file system: mounting it, and making it `/`.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};

use minidock_sys::Errno;
use minidock_sys::mount::{ATTR_NODEV, Attributes};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, UnmountFlags,
    fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, mount, mount_move,
    move_mount, unmount,
};

use super::place::{self, Make};
use super::text::Text;
use super::{Found, mounts};
use crate::plan::step::{Fuse, Overlay, Owner};
use crate::report::{During as _, Fail, Phase, Reporter};

fn open_path(path: &CStr) -> Result<OwnedFd, Errno> {
    openat(
        CWD,
        path,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
}

pub(super) fn bind(found: &mut Found, source: &CStr, mountpoint: &CStr) -> Result<(), Fail> {
    // With the mounts below it, for the kernel refuses to uncover what a more privileged namespace has covered.
    let tree = mounts::clone_tree(source, true).during(Phase::Source)?;
    found.empty = Some(open_path(mountpoint).during(Phase::Find)?);
    move_mount(
        &tree,
        c"",
        CWD,
        mountpoint,
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
    )
    .during(Phase::Attach)?;
    if found.follows_host {
        mounts::make_tree_private(tree.as_fd()).during(Phase::Attach)?;
    }
    // As on every file system that is mounted in a user namespace: a device node of the image's opens nothing, even where
    // the host's root has made it.
    let no_devices = Attributes {
        set: ATTR_NODEV,
        ..Attributes::default()
    };
    mounts::set_attributes(tree.as_fd(), true, no_devices).during(Phase::Attributes)?;
    found.root = Some(tree);
    Ok(())
}

pub(super) fn mount_overlay(found: &mut Found, overlay: &Overlay) -> Result<(), Fail> {
    found.empty = Some(open_path(&overlay.mountpoint).during(Phase::Find)?);
    found.root = Some(overlay_root(overlay)?);
    Ok(())
}

/// Mounts a FUSE file system whose server is yet to be started by whoever gets the connection. From here on every look into
/// it waits for the server; a connection without one makes the supervisor kill us.
///
/// The connection has to be opened in the user namespace of the mount (fuse(4)), so it is opened here.
pub(super) fn mount_fuse(
    found: &mut Found,
    fuse: &Fuse,
    reporter: &Reporter<'_>,
) -> Result<(), Fail> {
    found.empty = Some(open_path(&fuse.mountpoint).during(Phase::Find)?);
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    let connection = openat(CWD, c"/dev/fuse", flags, Mode::empty()).during(Phase::Source)?;
    let mut options = Text::new();
    let number = |text: &mut Text, key: &[u8], number: u32| {
        text.push(key)?;
        text.push_number(number)
    };
    number(&mut options, b"fd=", connection.as_raw_fd().unsigned_abs())
        .and_then(|()| {
            let uid = rustix::process::geteuid().as_raw();
            number(&mut options, b",rootmode=40000,user_id=", uid)
        })
        .and_then(|()| {
            let gid = rustix::process::getegid().as_raw();
            number(&mut options, b",group_id=", gid)
        })
        .and_then(|()| options.push(b",allow_other,default_permissions"))
        .during(Phase::Act)?;
    mount(
        c"fuse-overlayfs",
        fuse.mountpoint.as_c_str(),
        c"fuse.fuse-overlayfs",
        MountFlags::empty(),
        options.as_c_str().during(Phase::Act)?,
    )
    .during(Phase::Act)?;
    reporter.connection(connection.as_fd());
    // Ours would keep the connection alive when the server has died.
    drop(connection);
    found.root = Some(open_path(&fuse.mountpoint).during(Phase::Attach)?);
    Ok(())
}

/// Mounts an overlay and opens its root.
pub(crate) fn overlay_root(overlay: &Overlay) -> Result<OwnedFd, Fail> {
    if overlay.one_by_one {
        layer_by_layer(overlay)
    } else {
        in_one_call(overlay)
    }
}

/// The mount API (fsopen(2)): every layer is an option of its own.
fn layer_by_layer(overlay: &Overlay) -> Result<OwnedFd, Fail> {
    let context = match fsopen(c"overlay", FsOpenFlags::FSOPEN_CLOEXEC) {
        // Filters of older container engines do not know the call.
        Err(Errno::NOSYS | Errno::PERM) => return in_one_call(overlay),
        context => context.during(Phase::Act)?,
    };
    for (number, layer) in overlay.lower.iter().enumerate() {
        set_path(&context, c"lowerdir+", layer).during_number(Phase::Layer, number)?;
    }
    set_path(&context, c"upperdir", &overlay.upper).during(Phase::Upper)?;
    set_path(&context, c"workdir", &overlay.work).during(Phase::Work)?;
    fsconfig_set_flag(&context, c"userxattr").during(Phase::Act)?;
    if overlay.volatile {
        fsconfig_set_flag(&context, c"volatile").during(Phase::Act)?;
    }
    fsconfig_create(&context).during(Phase::Act)?;
    let root = fsmount(
        &context,
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::empty(),
    )
    .during(Phase::Act)?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    move_mount(&root, c"", CWD, overlay.mountpoint.as_c_str(), flags).during(Phase::Attach)?;
    Ok(root)
}

/// fsconfig(2) takes at most 255 bytes, and overlayfs reads a backslash in some of its options as an escape. A path that
/// these would spoil is passed as the descriptor it is opened to.
fn set_path(context: &OwnedFd, key: &CStr, path: &CString) -> Result<(), Errno> {
    let bytes = path.to_bytes();
    if bytes.len() < 256 && !bytes.contains(&b'\\') {
        return fsconfig_set_string(context, key, path.as_c_str());
    }
    let folder = open_path(path)?;
    let mut name = Text::new();
    name.push(b"/proc/self/fd/")?;
    name.push_number(folder.as_raw_fd().unsigned_abs())?;
    fsconfig_set_string(context, key, name.as_c_str()?)
}

/// mount(2): all layers in one string of at most a page. The layers are opened and called by the numbers of their
/// descriptors, which are short and hold neither colon nor comma.
fn in_one_call(overlay: &Overlay) -> Result<OwnedFd, Fail> {
    let mut options = Text::new();
    let mut add = |prefix: &CStr, path: &CString| -> Result<(), Errno> {
        let folder = open_path(path)?;
        options.push(prefix.to_bytes())?;
        options.push_number(folder.as_raw_fd().unsigned_abs())?;
        // Open until exec, as the numbers have to mean the same at the mount.
        std::mem::forget(folder);
        Ok(())
    };
    for (number, layer) in overlay.lower.iter().enumerate() {
        let prefix = if number == 0 { c"lowerdir=" } else { c":" };
        add(prefix, layer).during_number(Phase::Layer, number)?;
    }
    add(c",upperdir=", &overlay.upper).during(Phase::Upper)?;
    add(c",workdir=", &overlay.work).during(Phase::Work)?;
    options
        .push(if overlay.volatile {
            b",userxattr,volatile"
        } else {
            b",userxattr"
        })
        .during(Phase::Act)?;
    let options = options.as_c_str().during(Phase::Act)?;
    rustix::process::chdir(c"/proc/self/fd").during(Phase::Act)?;
    let mountpoint = overlay.mountpoint.as_c_str();
    mount(
        c"overlay",
        mountpoint,
        c"overlay",
        MountFlags::empty(),
        options,
    )
    .during(Phase::Act)?;
    open_path(mountpoint).during(Phase::Attach)
}

/// Whatever the image has there is the image's business; only what cannot be made is a failure.
pub(super) fn provide_folder(root: BorrowedFd<'_>, path: &CStr) -> Result<(), Fail> {
    place::open_or_make(root, path, true, Make::Folder).map(drop)
}

pub(super) fn provide_link(
    root: BorrowedFd<'_>,
    folder: &CStr,
    name: &CStr,
    target: &CStr,
) -> Result<(), Fail> {
    let folder = place::open_or_make(root, folder, true, Make::Folder)?;
    match rustix::fs::symlinkat(target, &folder, name) {
        Err(Errno::EXIST) => Ok(()),
        result => result.during(Phase::Make),
    }
}

/// The working directory, resolved inside. No magic link leads to it, so it cannot be a folder of the host's that some
/// descriptor refers to.
pub(super) fn working_directory(
    root: BorrowedFd<'_>,
    path: &CStr,
    owner: Owner,
) -> Result<OwnedFd, Fail> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    match openat2(root, path, flags, Mode::empty(), resolve) {
        Err(Errno::NOENT) => {}
        result => return result.during(Phase::Find),
    }
    let folder = place::open_or_make(root, path, true, Make::Folder)?;
    if !(owner.uid.is_root() && owner.gid.is_root()) {
        let flags = rustix::fs::AtFlags::EMPTY_PATH;
        rustix::fs::chownat(&folder, c"", Some(owner.uid), Some(owner.gid), flags)
            .during(Phase::Make)?;
    }
    Ok(folder)
}

/// The working directory where it has to be there.
pub(super) fn existing_directory(root: BorrowedFd<'_>, path: &CStr) -> Result<OwnedFd, Fail> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    openat2(root, path, flags, Mode::empty(), resolve).during(Phase::Act)
}

/// pivot_root(2) with the same folder twice stacks the old root on the new one, whence it is unmounted: no folder for the old
/// root has to exist in the image.
pub(super) fn pivot(root: BorrowedFd<'_>) -> Result<(), Fail> {
    rustix::process::fchdir(root).during(Phase::Act)?;
    rustix::process::pivot_root(c".", c".").during(Phase::Act)?;
    unmount(c".", UnmountFlags::DETACH).during(Phase::Act)?;
    rustix::process::chdir(c"/").during(Phase::Act)
}

/// As switch_root does on the initial ramfs, which can be neither pivoted away nor unmounted.
pub(super) fn move_over(root: BorrowedFd<'_>) -> Result<(), Fail> {
    rustix::process::fchdir(root).during(Phase::Act)?;
    mount_move(c".", c"/").during(Phase::Act)?;
    rustix::process::chroot(c".").during(Phase::Act)?;
    rustix::process::chdir(c"/").during(Phase::Act)
}
