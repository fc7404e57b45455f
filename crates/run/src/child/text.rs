//! C strings put together without allocating.

use std::ffi::CStr;

use minidock_sys::Errno;

/// A C string of at most a page, on the stack: as much as the kernel takes for a path or for mount options.
pub(super) struct Text {
    bytes: [u8; Self::CAPACITY],
    /// Without the terminating zero, which always follows.
    len: usize,
}

impl Text {
    const CAPACITY: usize = 4096;

    pub(super) fn new() -> Self {
        Self {
            bytes: [0; Self::CAPACITY],
            len: 0,
        }
    }

    /// Appends `more`; `ENAMETOOLONG` when a page does not hold it.
    pub(super) fn push(&mut self, more: &[u8]) -> Result<(), Errno> {
        let end = self.len + more.len();
        let room = self
            .bytes
            .get_mut(self.len..end)
            .filter(|_| end < Self::CAPACITY)
            .ok_or(Errno::NAMETOOLONG)?;
        room.copy_from_slice(more);
        self.len = end;
        self.terminate();
        Ok(())
    }

    pub(super) fn push_number(&mut self, number: u32) -> Result<(), Errno> {
        let mut digits = [0_u8; 10];
        let mut at = digits.len();
        let mut rest = number;
        loop {
            at -= 1;
            digits[at] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                return self.push(&digits[at..]);
            }
        }
    }

    pub(super) fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
        self.terminate();
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn as_c_str(&self) -> Result<&CStr, Errno> {
        CStr::from_bytes_until_nul(&self.bytes).map_err(|_| Errno::NAMETOOLONG)
    }

    fn terminate(&mut self) {
        if let Some(end) = self.bytes.get_mut(self.len) {
            *end = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_grows_up_to_a_page() {
        let mut text = Text::new();
        text.push(b"/proc/self/fd/").unwrap();
        text.push_number(0).unwrap();
        text.push_number(4_294_967_295).unwrap();
        assert_eq!(text.as_c_str().unwrap(), c"/proc/self/fd/04294967295");
        text.truncate(5);
        assert_eq!(text.as_c_str().unwrap(), c"/proc");
        text.push(&[b'x'; 4090]).unwrap();
        assert_eq!(text.push(b"y"), Err(Errno::NAMETOOLONG));
        assert_eq!(text.as_c_str().unwrap().to_bytes().len(), 4095);
    }
}
