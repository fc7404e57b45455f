//! How a container ended.

/// The end of the container's first process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It exited with this code.
    Code(u8),
    /// This signal killed it.
    Signal(i32),
}

impl Exit {
    /// What a shell would call it, and what `minidock run` exits with: the code, or 128 + signal.
    pub fn shell_code(self) -> u8 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => u8::try_from(128 + signal).unwrap_or(u8::MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Exit;

    #[test]
    fn signals_are_reported_as_shells_do() {
        assert_eq!(Exit::Code(7).shell_code(), 7);
        assert_eq!(Exit::Signal(9).shell_code(), 137);
        assert_eq!(Exit::Signal(64).shell_code(), 192);
        assert_eq!(Exit::Signal(200).shell_code(), 255);
    }
}
