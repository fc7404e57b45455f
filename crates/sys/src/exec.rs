//! Becoming another program.

use std::ffi::{CStr, CString, c_char};

use crate::{Errno, last_errno};

/// Strings in the form that execve(2) takes, made ahead so that the call itself needs no memory.
pub struct CStringArray {
    strings: Vec<CString>,
    /// Points at each string's bytes, which do not move when the `CString`s do; ends in a null pointer.
    pointers: Vec<*const c_char>,
}

impl CStringArray {
    /// Takes over `strings`.
    pub fn new(strings: Vec<CString>) -> Self {
        let pointers = strings
            .iter()
            .map(|string| string.as_ptr())
            .chain([std::ptr::null()])
            .collect();
        Self { strings, pointers }
    }

    /// The strings in order.
    pub fn strings(&self) -> &[CString] {
        &self.strings
    }
}

impl std::fmt::Debug for CStringArray {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(&self.strings).finish()
    }
}

/// Replaces the program of this process. Returns only if that fails, with the reason (execve(2)).
pub fn execve(path: &CStr, argv: &CStringArray, envp: &CStringArray) -> Errno {
    // SAFETY: `path` is a C string; both arrays end in a null pointer and point at C strings that the borrows keep alive.
    unsafe {
        libc::execve(
            path.as_ptr(),
            argv.pointers.as_ptr(),
            envp.pointers.as_ptr(),
        )
    };
    last_errno()
}
