//! What a filter decides, before it is a program.

use super::table::Abi;

/// The kernel's word for what is to be done with a system call (`SECCOMP_RET_*`, seccomp(2)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Action(pub u32);

impl Action {
    pub const KILL_PROCESS: Self = Self(0x8000_0000);
    pub const KILL_THREAD: Self = Self(0);
    pub const TRAP: Self = Self(0x0003_0000);
    pub const LOG: Self = Self(0x7ffc_0000);
    /// A supervisor answers (Linux 5.0).
    pub const NOTIFY: Self = Self(0x7fc0_0000);
    pub const ALLOW: Self = Self(0x7fff_0000);
    pub const ENOSYS: Self = Self::errno(38);

    /// Fail with an error number; the kernel has room for 16 bits.
    pub const fn errno(number: u16) -> Self {
        Self(0x0005_0000 | number as u32)
    }

    /// Ask a tracer, with a word for it.
    pub const fn trace(word: u16) -> Self {
        Self(0x7ff0_0000 | word as u32)
    }

    /// The call is made.
    pub fn permits(self) -> bool {
        matches!(self, Self::ALLOW | Self::LOG) || self.0 & 0x7fff_0000 == 0x7ff0_0000
    }
}

/// How an argument is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    /// The bits of the mask are equal to the value.
    Masked(u64),
}

/// A condition on one argument, counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Condition {
    pub argument: u8,
    pub comparison: Comparison,
    pub value: u64,
}

/// What is done where all conditions hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Check {
    pub conditions: Vec<Condition>,
    pub action: Action,
}

/// What is done with a system call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Whatever its arguments are.
    Act(Action),
    /// What the first check that holds says, else the policy's default.
    Judge(Vec<Check>),
}

/// Decisions for every system call of every ABI.
#[derive(Debug, Clone)]
pub(super) struct Policy {
    /// For what no rule names.
    pub default: Action,
    /// `SECCOMP_FILTER_FLAG_*`.
    pub flags: u32,
    pub verdicts: Vec<Verdict>,
    /// Numbers in ascending order, each with its verdict's index.
    pub abis: Vec<(Abi, Vec<(u32, usize)>)>,
    /// A call whose number is beyond all that the rules name answers `ENOSYS`.
    pub newer_do_not_exist: bool,
    /// x32's calls are judged by the rules of x86_64, whose numbers they have, besides bit 30, where they are of one kind.
    pub x32_is_native: bool,
}
