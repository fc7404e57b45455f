//! Bits that were read and not used yet.

/// The next bits of the input, the first one lowest. Whatever is above `count` is zero.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bits {
    /// The bits.
    pub buffer: u64,
    /// How many there are, up to 63.
    pub count: u32,
}

impl Bits {
    /// Takes whole bytes as long as they fit: at least 56 bits, unless the input has not got them.
    pub fn fill(&mut self, input: &mut &[u8]) {
        while self.count < 56
            && let Some((byte, rest)) = input.split_first()
        {
            self.buffer |= u64::from(*byte) << self.count;
            self.count += 8;
            *input = rest;
        }
    }

    /// The next `n` bits, up to 32, if they are there.
    pub fn take(&mut self, n: u32) -> Option<u32> {
        let value = self.peek(n)?;
        self.drop(n);
        Some(value)
    }

    /// The next `n` bits, up to 32, if they are there. They stay.
    pub fn peek(&self, n: u32) -> Option<u32> {
        (n <= self.count).then_some((self.buffer & ((1 << n) - 1)) as u32)
    }

    /// Goes past `n` bits that are there.
    pub fn drop(&mut self, n: u32) {
        self.buffer >>= n & 63;
        self.count -= n.min(self.count);
    }

    /// Goes on at the next whole byte.
    pub fn align(&mut self) {
        self.drop(self.count % 8);
    }

    /// The next byte, from here or from the input.
    pub fn byte(&mut self, input: &mut &[u8]) -> Option<u8> {
        self.fill(input);
        self.take(8).map(|byte| byte as u8)
    }
}
