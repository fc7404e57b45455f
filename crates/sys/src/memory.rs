//! This process's memory, for one that will do little for a long time.

use std::ffi::{c_int, c_void};

/// Gives back the memory that this program's own instructions and constants take. What is needed again is read again from the
/// program's file, or rather from the page cache, piece by piece.
pub fn let_go_of_program() {
    // SAFETY: the callback is of the type that is asked for, unwinds nowhere and gets no data.
    unsafe { libc::dl_iterate_phdr(Some(let_go), std::ptr::null_mut()) };
}

/// Gives back what deeper calls have left on the stack. Does nothing in a process with several threads.
pub fn let_go_of_unused_stack() {
    /// As much as calls in this program go down, but for rare ones; far less than what lies between the main thread's stack
    /// and whatever is mapped below it (128 MiB).
    const DEPTH: usize = 256 << 10;
    /// What a function may use below its stack pointer (128 bytes), and the frames of the calls from here.
    const IN_USE: usize = 8 << 10;
    if crate::process::thread_count() != Ok(1) {
        return;
    }
    let here = 0_u8;
    let here = (&raw const here).addr();
    let page = page_size();
    let end = here.saturating_sub(IN_USE) / page * page;
    let start = end.saturating_sub(DEPTH);
    // SAFETY: this is the main thread, so that below its stack pointer and what is in use of it lie only dead frames or
    // nothing at all. No handler of a signal has frames there, for this returns into the same frames that it came from.
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

extern "C" fn let_go(info: *mut libc::dl_phdr_info, _size: usize, _data: *mut c_void) -> c_int {
    // SAFETY: dl_iterate_phdr(3) passes a valid structure, whose headers are as many as it says.
    let (base, headers) = unsafe {
        let info = &*info;
        let count = usize::from(info.dlpi_phnum);
        (
            info.dlpi_addr,
            std::slice::from_raw_parts(info.dlpi_phdr, count),
        )
    };
    let page = page_size();
    for header in headers {
        // Only what nobody can have written to: a page of a private mapping that was written has no other copy.
        if header.p_type != libc::PT_LOAD || header.p_flags & libc::PF_W != 0 {
            continue;
        }
        let start = base as usize + header.p_vaddr as usize;
        let end = start + header.p_memsz as usize;
        let (start, end) = (start.next_multiple_of(page), end / page * page);
        if start < end {
            // SAFETY: the range is inside a mapping of a file, private and never written to, so that the kernel finds the
            // same bytes again, as it may do on its own when memory is short.
            unsafe {
                libc::madvise(
                    std::ptr::with_exposed_provenance_mut(start),
                    end - start,
                    libc::MADV_DONTNEED,
                )
            };
        }
    }
    0
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_program_goes_on_without_its_memory() {
        let text = String::from("still here");
        super::let_go_of_program();
        super::let_go_of_unused_stack();
        assert_eq!(format!("{text}, {}", 6 * 7), "still here, 42");
    }
}
