//! Landlock (landlock(7)): rules that a process puts on its own access to files, and can never lift.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use crate::{Result, check, last_errno};

/// `struct landlock_ruleset_attr`, version 1.
#[repr(C)]
struct RulesetAttr {
    handled_access_fs: u64,
}

/// `struct landlock_path_beneath_attr`.
#[repr(C, packed)]
struct PathBeneathAttr {
    allowed_access: u64,
    parent_fd: i32,
}

const CREATE_RULESET_VERSION: libc::c_uint = 1;
const RULE_PATH_BENEATH: libc::c_int = 1;

/// Every right of the first version, of the second (moving between folders) and of the third (truncating).
const RIGHTS: [u64; 3] = [0x1fff, 0x3fff, 0x7fff];
/// Those that can be given for what is no folder: executing, writing, reading, truncating.
const FILE_RIGHTS: u64 = 0x4007;

/// The version of Landlock that this kernel has; 0 where it has none, or where it is switched off.
pub fn version() -> u32 {
    let nothing: *const RulesetAttr = std::ptr::null();
    // SAFETY: with this flag nothing is read.
    let version = check(unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            nothing,
            0_usize,
            CREATE_RULESET_VERSION,
        )
    });
    version.map_or(0, |version| u32::try_from(version).unwrap_or(0))
}

/// What is still allowed.
#[derive(Debug)]
pub struct Ruleset {
    fd: OwnedFd,
    rights: u64,
}

impl Ruleset {
    /// One that allows nothing by path, as far as the `version` of Landlock can say so. What is open already stays open.
    ///
    /// # Errors
    /// Those of landlock_create_ruleset(2).
    pub fn new(version: u32) -> Result<Self> {
        let known = usize::try_from(version.clamp(1, 3)).map_or(0, |version| version - 1);
        let rights = RIGHTS.get(known).copied().unwrap_or(RIGHTS[0]);
        let attr = RulesetAttr {
            handled_access_fs: rights,
        };
        // SAFETY: the structure is of the size that is passed with it.
        let fd = unsafe {
            let attr: *const RulesetAttr = &raw const attr;
            libc::syscall(
                libc::SYS_landlock_create_ruleset,
                attr,
                size_of::<RulesetAttr>(),
                0,
            )
        };
        let fd = i32::try_from(fd).ok().filter(|fd| *fd >= 0);
        let fd = fd.ok_or_else(last_errno)?;
        // SAFETY: the descriptor is new, close-on-exec, and nobody else owns it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self { fd, rights })
    }

    /// Allows everything at and below a folder, wherever it is mounted.
    ///
    /// # Errors
    /// Those of landlock_add_rule(2).
    pub fn allow_below(&self, folder: BorrowedFd<'_>) -> Result<()> {
        self.allow(folder, self.rights)
    }

    /// Allows what can be done with a single file.
    ///
    /// # Errors
    /// `EBADFD` for what has no path and needs no rule, such as a pipe; landlock_add_rule(2).
    pub fn allow_file(&self, file: BorrowedFd<'_>) -> Result<()> {
        self.allow(file, self.rights & FILE_RIGHTS)
    }

    fn allow(&self, fd: BorrowedFd<'_>, allowed_access: u64) -> Result<()> {
        let attr = PathBeneathAttr {
            allowed_access,
            parent_fd: fd.as_raw_fd(),
        };
        // SAFETY: the structure is the one that this kind of rule has, and lives for the call.
        check(unsafe {
            let attr: *const PathBeneathAttr = &raw const attr;
            libc::syscall(
                libc::SYS_landlock_add_rule,
                self.fd.as_raw_fd(),
                RULE_PATH_BENEATH,
                attr,
                0,
            )
        })
        .map(drop)
    }

    /// From now on nothing else is allowed to this process and to what it starts.
    ///
    /// # Errors
    /// `EPERM` without no_new_privs and without `CAP_SYS_ADMIN`; `E2BIG` below sixteen others.
    pub fn enforce(&self) -> Result<()> {
        // SAFETY: no memory is passed.
        check(unsafe { libc::syscall(libc::SYS_landlock_restrict_self, self.fd.as_raw_fd(), 0) })
            .map(drop)
    }
}
