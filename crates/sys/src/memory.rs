//! This process's memory, for one that will do little for a long time.

use std::ffi::{c_int, c_void};

/// Parts of the program that nobody can have written to. Few programs have more than three.
struct Parts {
    ranges: [(usize, usize); Self::MOST],
    count: usize,
}

impl Parts {
    const MOST: usize = 16;
}

/// Gives back what deeper calls have left on the stack, and the memory that this program's own instructions and constants
/// take. What is needed of these is read again from the program's file, or rather from the page cache, a piece of 64 KiB
/// at a time: hence nothing is done after that is not needed. Does nothing in a process with several threads.
pub fn let_go() {
    if crate::process::thread_count() != Ok(1) {
        return;
    }
    let page = page_size();
    let mut parts = Parts {
        ranges: [(0, 0); Parts::MOST],
        count: 0,
    };
    // SAFETY: the callback is of the type that is asked for, unwinds nowhere, and gets what it expects.
    unsafe {
        let parts: *mut Parts = &raw mut parts;
        libc::dl_iterate_phdr(Some(note), parts.cast())
    };
    let_go_of_stack(page);
    for (start, end) in parts.ranges.into_iter().take(parts.count) {
        let (start, end) = (start.next_multiple_of(page), end / page * page);
        if start < end {
            // SAFETY: the range is inside a mapping of a file, private and never written to, so that the kernel finds the
            // same bytes again, as it may do on its own when memory is short.
            unsafe { dont_need(start, end) };
        }
    }
}

/// As much as calls in this program go down, but for rare ones; far less than what lies between the main thread's stack and
/// whatever is mapped below it (128 MiB).
const DEPTH: usize = 256 << 10;
/// What a function may use below its stack pointer (128 bytes), and the frames of the calls from here.
const IN_USE: usize = 4 << 10;

#[inline(never)]
fn let_go_of_stack(page: usize) {
    let here = 0_u8;
    let here = (&raw const here).addr();
    let end = here.saturating_sub(IN_USE) / page * page;
    // SAFETY: there is one thread, so that this is the main one, below whose stack pointer and what is in use of it lie only
    // dead frames or nothing at all. No handler of a signal has frames there, for this returns into the frames that it came
    // from.
    unsafe { dont_need(end.saturating_sub(DEPTH), end) };
}

/// # Safety
/// The contents of the range, as far as it is mapped, are not needed, or the kernel can find them again.
unsafe fn dont_need(start: usize, end: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        libc::madvise(
            std::ptr::with_exposed_provenance_mut(start),
            end - start,
            libc::MADV_DONTNEED,
        )
    };
}

fn page_size() -> usize {
    // SAFETY: no memory is passed.
    usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(1 << 16)
}

extern "C" fn note(info: *mut libc::dl_phdr_info, _size: usize, parts: *mut c_void) -> c_int {
    // SAFETY: dl_iterate_phdr(3) passes a valid structure, whose headers are as many as it says, and what it was given.
    let (base, headers, parts) = unsafe {
        let info = &*info;
        let count = usize::from(info.dlpi_phnum);
        (
            info.dlpi_addr as usize,
            std::slice::from_raw_parts(info.dlpi_phdr, count),
            &mut *parts.cast::<Parts>(),
        )
    };
    for header in headers {
        // A page of a private mapping that was written has no other copy.
        if header.p_type != libc::PT_LOAD || header.p_flags & libc::PF_W != 0 {
            continue;
        }
        let start = base + header.p_vaddr as usize;
        if let Some(range) = parts.ranges.get_mut(parts.count) {
            *range = (start, start + header.p_memsz as usize);
            parts.count += 1;
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_found() {
        let mut parts = Parts {
            ranges: [(0, 0); Parts::MOST],
            count: 0,
        };
        // SAFETY: as in `let_go`.
        unsafe {
            let parts: *mut Parts = &raw mut parts;
            libc::dl_iterate_phdr(Some(note), parts.cast())
        };
        let here = page_size as fn() -> usize as usize;
        let found = parts.ranges[..parts.count].iter();
        assert!(
            found
                .clone()
                .any(|(start, end)| (*start..*end).contains(&here)),
            "{:x?}",
            found.collect::<Vec<_>>()
        );
    }
}
