//! The floor of a container's start: a program that makes the system calls which such a container needs, and does nothing
//! else. It knows beforehand all that minidock has to find out.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use minidock_sys::clone::{Memory, Namespaces, clone};
use minidock_sys::exec::{CStringArray, execve};
use minidock_sys::mount::{ATTR_RDONLY, Attributes, mount_setattr};
use minidock_sys::seccomp::{Instruction, install};
use minidock_sys::{Errno, fd, net};
use rustix::fs::{CWD, FileType, Mode, OFlags, mkdirat, mknodat, open, openat, symlinkat};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags, MoveMountFlags,
    OpenTreeFlags, UnmountFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount,
    fsopen, mount, mount_change, move_mount, open_tree, unmount,
};
use rustix::process::{Signal, WaitId, WaitIdOptions, waitid};
use rustix::thread::CapabilitySet;

use crate::Result;

/// Made before the clone.
struct Plan {
    layer: CString,
    upper: CString,
    work: CString,
    mountpoint: CString,
    hosts: CString,
    uid_map: CString,
    gid_map: CString,
    argv: CStringArray,
    envp: CStringArray,
    filter: Vec<Instruction>,
}

/// As many instructions as Docker's profile has as a balanced tree; all of them permit.
const INSTRUCTIONS: u16 = 400;

fn filter() -> Vec<Instruction> {
    let load = Instruction {
        code: 0x20,
        jt: 0,
        jf: 0,
        k: 0,
    };
    // Comparisons that fall through, then a return of "allow".
    let compare = |k| Instruction {
        code: 0x15,
        jt: 0,
        jf: 0,
        k,
    };
    let allow = Instruction {
        code: 0x06,
        jt: 0,
        jf: 0,
        k: 0x7fff_0000,
    };
    // Ten on any call's way, as in a tree; the rest stands there to be checked and copied.
    let mut program = vec![load];
    program.extend((0..10).map(compare));
    program.push(allow);
    program.extend((10..u32::from(INSTRUCTIONS)).map(compare));
    program.push(allow);
    program
}

/// Runs `/bin/true` of the layer in a folder with `layer`, `upper`, `work`, `mountpoint` and a file `hosts`.
pub fn floor(folder: &Path) -> Result<()> {
    let path = |name: &str| CString::new(folder.join(name).as_os_str().as_bytes());
    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
    let plan = Plan {
        layer: path("layer")?,
        upper: path("upper")?,
        work: path("work")?,
        mountpoint: path("mountpoint")?,
        hosts: path("hosts")?,
        uid_map: CString::new(format!("0 {} 1", uid.as_raw()))?,
        gid_map: CString::new(format!("0 {} 1", gid.as_raw()))?,
        argv: CStringArray::new(vec![c"true".to_owned()]),
        envp: CStringArray::new(vec![c"PATH=/bin".to_owned()]),
        filter: filter(),
    };
    let all = Namespaces::USER
        .with(Namespaces::PID)
        .with(Namespaces::MOUNT)
        .with(Namespaces::UTS)
        .with(Namespaces::IPC)
        .with(Namespaces::NETWORK)
        .with(Namespaces::CGROUP);
    let child = clone(all, Memory::Borrowed, &plan, live)?;
    let status = waitid(WaitId::PidFd(child.pidfd.as_fd()), WaitIdOptions::EXITED)?;
    match status.and_then(|status| status.exit_status()) {
        Some(0) => Ok(()),
        Some(errno) => Err(std::io::Error::from_raw_os_error(errno).into()),
        None => Err("a signal ended it".into()),
    }
}

fn live(plan: &Plan) -> u8 {
    match set_up(plan) {
        Ok(()) => 0,
        Err(errno) => u8::try_from(errno.raw_os_error()).unwrap_or(1),
    }
}

fn write(path: &CStr, text: &CStr) -> std::result::Result<(), Errno> {
    let file = open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(&file, text.to_bytes()).map(drop)
}

const MOVE: MoveMountFlags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;

fn set_up(plan: &Plan) -> std::result::Result<(), Errno> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    write(c"/proc/self/setgroups", c"deny")?;
    write(c"/proc/self/uid_map", &plan.uid_map)?;
    write(c"/proc/self/gid_map", &plan.gid_map)?;
    mount_change(
        c"/",
        MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
    )?;
    let root = overlay(plan)?;
    file_systems(root.as_fd())?;
    protect(root.as_fd(), plan)?;
    rustix::process::fchdir(&root)?;
    rustix::process::pivot_root(c".", c".")?;
    unmount(c".", UnmountFlags::DETACH)?;
    rustix::process::chdir(c"/")?;
    rustix::system::sethostname(b"floor")?;
    net::loopback_up()?;
    restrict()?;
    rustix::process::setsid()?;
    fd::close_all_but_stdio_and(rustix::stdio::stderr())?;
    install(&plan.filter, 0)?;
    Err(execve(c"/bin/true", &plan.argv, &plan.envp))
}

fn overlay(plan: &Plan) -> std::result::Result<OwnedFd, Errno> {
    let context = fsopen(c"overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&context, c"lowerdir", plan.layer.as_c_str())?;
    fsconfig_set_string(&context, c"upperdir", plan.upper.as_c_str())?;
    fsconfig_set_string(&context, c"workdir", plan.work.as_c_str())?;
    fsconfig_set_flag(&context, c"userxattr")?;
    fsconfig_set_flag(&context, c"volatile")?;
    fsconfig_create(&context)?;
    let root = fsmount(
        &context,
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::empty(),
    )?;
    move_mount(&root, c"", CWD, plan.mountpoint.as_c_str(), MOVE)?;
    Ok(root)
}

fn file_systems(root: BorrowedFd<'_>) -> std::result::Result<(), Errno> {
    let safe = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    rustix::process::fchdir(root)?;
    mount(c"proc", c"proc", c"proc", safe, None)?;
    mount(
        c"tmpfs",
        c"dev",
        c"tmpfs",
        MountFlags::NOSUID,
        c"mode=755,size=65536k",
    )?;
    let dev = openat(
        root,
        c"dev",
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    for name in [c"pts", c"shm", c"mqueue"] {
        mkdirat(&dev, name, Mode::from_raw_mode(0o755))?;
    }
    for (device, name) in [
        (c"/dev/null", c"null"),
        (c"/dev/zero", c"zero"),
        (c"/dev/full", c"full"),
        (c"/dev/random", c"random"),
        (c"/dev/urandom", c"urandom"),
        (c"/dev/tty", c"tty"),
    ] {
        mknodat(
            &dev,
            name,
            FileType::RegularFile,
            Mode::from_raw_mode(0o666),
            0,
        )?;
        bind(device, dev.as_fd(), name)?;
    }
    for (target, name) in [
        (c"/proc/self/fd", c"fd"),
        (c"/proc/self/fd/0", c"stdin"),
        (c"/proc/self/fd/1", c"stdout"),
        (c"/proc/self/fd/2", c"stderr"),
        (c"/proc/kcore", c"core"),
        (c"pts/ptmx", c"ptmx"),
    ] {
        symlinkat(target, &dev, name)?;
    }
    mount(
        c"devpts",
        c"dev/pts",
        c"devpts",
        MountFlags::NOSUID | MountFlags::NOEXEC,
        c"newinstance,ptmxmode=0666,mode=0620",
    )?;
    mount(
        c"shm",
        c"dev/shm",
        c"tmpfs",
        safe,
        c"mode=1777,size=67108864",
    )?;
    mount(c"mqueue", c"dev/mqueue", c"mqueue", safe, None)?;
    mount(c"sysfs", c"sys", c"sysfs", safe | MountFlags::RDONLY, None)
}

const CLONE: OpenTreeFlags = OpenTreeFlags::OPEN_TREE_CLONE.union(OpenTreeFlags::OPEN_TREE_CLOEXEC);

fn bind(source: &CStr, folder: BorrowedFd<'_>, name: &CStr) -> std::result::Result<(), Errno> {
    let tree = open_tree(CWD, source, CLONE)?;
    move_mount(&tree, c"", folder, name, MOVE)
}

/// What Docker masks and makes read-only, where this kernel has it; and the three files of a container's own.
fn protect(root: BorrowedFd<'_>, plan: &Plan) -> std::result::Result<(), Errno> {
    let read_only = Attributes {
        set: ATTR_RDONLY,
        ..Attributes::default()
    };
    for path in [
        c"proc/bus",
        c"proc/fs",
        c"proc/irq",
        c"proc/sys",
        c"proc/sysrq-trigger",
    ] {
        match open_tree(root, path, CLONE | OpenTreeFlags::AT_RECURSIVE) {
            Ok(tree) => {
                mount_setattr(tree.as_fd(), true, read_only)?;
                move_mount(&tree, c"", root, path, MOVE)?;
            }
            Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno),
        }
    }
    for path in [
        c"proc/interrupts",
        c"proc/kcore",
        c"proc/keys",
        c"proc/latency_stats",
        c"proc/sched_debug",
        c"proc/timer_list",
        c"proc/timer_stats",
    ] {
        match bind(c"/dev/null", root, path) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno),
        }
    }
    let empty = open_tree(CWD, plan.mountpoint.as_c_str(), CLONE)?;
    mount_setattr(empty.as_fd(), false, read_only)?;
    for path in [
        c"proc/acpi",
        c"proc/asound",
        c"proc/scsi",
        c"sys/firmware",
        c"sys/devices/virtual/powercap",
    ] {
        let copy = open_tree(&empty, c"", CLONE | OpenTreeFlags::AT_EMPTY_PATH)?;
        match move_mount(&copy, c"", root, path, MOVE) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno),
        }
    }
    for path in [c"etc/hostname", c"etc/hosts", c"etc/resolv.conf"] {
        mknodat(
            root,
            path,
            FileType::RegularFile,
            Mode::from_raw_mode(0o644),
            0,
        )
        .or_else(|errno| match errno {
            Errno::EXIST => Ok(()),
            errno => Err(errno),
        })?;
        bind(&plan.hosts, root, path)?;
    }
    Ok(())
}

/// Docker's fourteen capabilities.
const KEPT: u64 = 0xa804_25fb;

fn restrict() -> std::result::Result<(), Errno> {
    rustix::thread::set_no_new_privs(true)?;
    let kept = CapabilitySet::from_bits_retain(KEPT);
    for number in 0..41 {
        if KEPT >> number & 1 == 0 {
            let capability = CapabilitySet::from_bits_retain(1 << number);
            rustix::thread::remove_capability_from_bounding_set(capability)?;
        }
    }
    let sets = rustix::thread::CapabilitySets {
        effective: kept,
        permitted: kept,
        inheritable: CapabilitySet::empty(),
    };
    rustix::thread::set_capabilities(None, sets)
}
