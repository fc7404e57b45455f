//! seccomp(2): filters of system calls, which rustix lacks.

use std::marker::PhantomData;

use crate::{Errno, Result, check};

/// One instruction of classic BPF: `struct sock_filter` (linux/filter.h).
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    /// Class, size and mode.
    pub code: u16,
    /// How many instructions to skip where a comparison holds.
    pub jt: u8,
    /// How many to skip where it does not.
    pub jf: u8,
    /// The operand.
    pub k: u32,
}

/// `struct sock_fprog`.
#[repr(C)]
pub(crate) struct Program<'a> {
    length: libc::c_ushort,
    filter: *const Instruction,
    instructions: PhantomData<&'a [Instruction]>,
}

impl<'a> Program<'a> {
    pub(crate) fn new(instructions: &'a [Instruction]) -> Result<Self> {
        Ok(Self {
            length: u16::try_from(instructions.len()).map_err(|_| Errno::INVAL)?,
            filter: instructions.as_ptr(),
            instructions: PhantomData,
        })
    }
}

/// The longest program that the kernel takes (`BPF_MAXINSNS`).
pub const MAX_INSTRUCTIONS: usize = 4096;

/// Log every answer but "allow", where the host's administrator wants that kind logged (Linux 4.14).
pub const FLAG_LOG: u32 = libc::SECCOMP_FILTER_FLAG_LOG as u32;
/// Leave speculative store bypass as it is (Linux 4.17).
pub const FLAG_SPEC_ALLOW: u32 = libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW as u32;

/// Makes the kernel ask `program` before every system call of this thread, and of what it becomes, from now on.
///
/// # Errors
/// `EACCES` without no_new_privs and without `CAP_SYS_ADMIN` in the user namespace; `EINVAL` for a program that the kernel
/// does not take, or without seccomp in the kernel; `ENOMEM` when all filters of this thread are too long together.
pub fn install(program: &[Instruction], flags: u32) -> Result<()> {
    let program = Program::new(program)?;
    // SAFETY: the structure is `sock_fprog` and points at as many `sock_filter`s as it says; the kernel copies them.
    check(unsafe {
        let program: *const Program<'_> = &raw const program;
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            flags,
            program,
        )
    })
    .map(drop)
}

/// Whether this kernel has filters at all.
pub fn is_available() -> bool {
    // SAFETY: a null program is what the kernel answers with `EFAULT` where it would have read one (seccomp(2)).
    let answer = check(unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            0,
            std::ptr::null::<Program<'_>>(),
        )
    });
    answer == Err(Errno::FAULT)
}

/// Some system calls and their numbers on this machine, as the C library has them: for tests of tables.
pub fn native_numbers() -> [(&'static str, u32); 12] {
    [
        ("read", libc::SYS_read),
        ("openat", libc::SYS_openat),
        ("clone", libc::SYS_clone),
        ("clone3", libc::SYS_clone3),
        ("socket", libc::SYS_socket),
        ("personality", libc::SYS_personality),
        ("mount_setattr", libc::SYS_mount_setattr),
        ("keyctl", libc::SYS_keyctl),
        ("bpf", libc::SYS_bpf),
        ("ptrace", libc::SYS_ptrace),
        ("futex_waitv", libc::SYS_futex_waitv),
        ("open_by_handle_at", libc::SYS_open_by_handle_at),
    ]
    .map(|(name, number)| (name, number as u32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_kernel_has_filters_and_refuses_an_empty_one() {
        assert!(is_available());
        assert_eq!(install(&[], 0), Err(Errno::INVAL));
    }
}
