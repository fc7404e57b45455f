//! The numbers of Linux's system calls, and the rule that Docker's default profile has for each: `syscalls.txt`, read at
//! build time into plain numbers, so that nothing has to be parsed or relocated when a container starts.

/// A set of system call numbers. Some share a kernel with others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Abi {
    X86_64,
    X86,
    /// 32-bit pointers on x86_64: its calls have bit 30 set.
    X32,
    Aarch64,
    Arm,
}

/// What Docker's default profile says about a system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    /// Nothing: the default action.
    Unnamed,
    Allow,
    /// Allowed to whoever has one of these capabilities (bits by number, capabilities(7)).
    Capabilities(u64),
    /// Allowed from Linux 4.8, where it became safe, or with `CAP_SYS_PTRACE`.
    Ptrace,
    /// Not for the address families of the kernel that have no place in a container.
    Socket,
    /// Only the known ones.
    Personality,
    /// Without new namespaces, or with `CAP_SYS_ADMIN`.
    Clone,
    /// The flags are out of a filter's sight, so it does not exist, but with `CAP_SYS_ADMIN`.
    Clone3,
}

/// One system call.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    numbers: [u32; ABIS],
    pub rule: Rule,
}

impl Entry {
    /// `None` where the set does not have it.
    pub fn number(&self, abi: Abi) -> Option<u32> {
        let number = self.numbers[abi as usize];
        (number != NONE).then_some(number)
    }
}

pub(super) const CAP_SYS_PTRACE: u64 = 1 << 19;
pub(super) const CAP_SYS_ADMIN: u64 = 1 << 21;

const ABIS: usize = 5;
const NONE: u32 = u32::MAX;
const TEXT: &str = include_str!("syscalls.txt");
const COUNT: usize = lines(TEXT.as_bytes()) - 1;
const CAPABILITIES: [(&[u8], u64); 16] = [
    (b"DAC_READ_SEARCH", 1 << 2),
    (b"SYS_MODULE", 1 << 16),
    (b"SYS_RAWIO", 1 << 17),
    (b"SYS_CHROOT", 1 << 18),
    (b"SYS_PTRACE", CAP_SYS_PTRACE),
    (b"SYS_PACCT", 1 << 20),
    (b"SYS_ADMIN", CAP_SYS_ADMIN),
    (b"SYS_BOOT", 1 << 22),
    (b"SYS_NICE", 1 << 23),
    (b"SYS_TIME", 1 << 25),
    (b"SYS_TTY_CONFIG", 1 << 26),
    (b"SYSLOG", 1 << 34),
    (b"BPF", 1 << 39),
    (b"PERFMON", 1 << 38),
    (b"SYS_RESOURCE", 1 << 24),
    (b"NET_ADMIN", 1 << 12),
];

/// In the order of their names.
pub(super) static ENTRIES: [Entry; COUNT] = read(TEXT.as_bytes());

/// The entry of each name.
pub(super) fn names() -> impl Iterator<Item = (&'static str, &'static Entry)> {
    let lines = TEXT.lines().skip(1);
    lines
        .map(|line| line.split(' ').next().unwrap_or(line))
        .zip(&ENTRIES)
}

const fn lines(text: &[u8]) -> usize {
    let (mut at, mut count) = (0, 0);
    while at < text.len() {
        count += (text[at] == b'\n') as usize;
        at += 1;
    }
    count
}

/// A line has a name, a number for each set, and a rule. A table that has not does not compile.
const fn read(text: &[u8]) -> [Entry; COUNT] {
    let empty = Entry {
        numbers: [NONE; ABIS],
        rule: Rule::Unnamed,
    };
    let mut entries = [empty; COUNT];
    let mut at = skip_past(text, 0, b'\n');
    let mut line = 0;
    while line < COUNT {
        at = skip_past(text, at, b' ');
        let mut abi = 0;
        while abi < ABIS {
            let end = skip_past(text, at, b' ');
            entries[line].numbers[abi] = number(text, at, end - 1);
            at = end;
            abi += 1;
        }
        let end = skip_past(text, at, b'\n');
        entries[line].rule = rule(text, at, end - 1);
        at = end;
        line += 1;
    }
    entries
}

const fn skip_past(text: &[u8], mut at: usize, byte: u8) -> usize {
    while text[at] != byte {
        at += 1;
    }
    at + 1
}

const fn number(text: &[u8], mut at: usize, end: usize) -> u32 {
    if is(text, at, end, b"-") {
        return NONE;
    }
    let mut number = 0;
    while at < end {
        assert!(text[at].is_ascii_digit());
        number = number * 10 + (text[at] - b'0') as u32;
        at += 1;
    }
    number
}

const fn is(text: &[u8], at: usize, end: usize, word: &[u8]) -> bool {
    if end - at != word.len() {
        return false;
    }
    let mut index = 0;
    while index < word.len() {
        if text[at + index] != word[index] {
            return false;
        }
        index += 1;
    }
    true
}

const fn rule(text: &[u8], at: usize, end: usize) -> Rule {
    if is(text, at, end, b"-") {
        Rule::Unnamed
    } else if is(text, at, end, b"allow") {
        Rule::Allow
    } else if is(text, at, end, b"ptrace") {
        Rule::Ptrace
    } else if is(text, at, end, b"socket") {
        Rule::Socket
    } else if is(text, at, end, b"personality") {
        Rule::Personality
    } else if is(text, at, end, b"clone") {
        Rule::Clone
    } else if is(text, at, end, b"clone3") {
        Rule::Clone3
    } else {
        Rule::Capabilities(capabilities(text, at, end))
    }
}

/// Names with a bar between them.
const fn capabilities(text: &[u8], mut at: usize, end: usize) -> u64 {
    let mut set = 0;
    while at < end {
        let mut stop = at;
        while stop < end && text[stop] != b'|' {
            stop += 1;
        }
        let (mut index, mut bit) = (0, 0);
        while index < CAPABILITIES.len() {
            if is(text, at, stop, CAPABILITIES[index].0) {
                bit = CAPABILITIES[index].1;
            }
            index += 1;
        }
        assert!(bit != 0);
        set |= bit;
        at = stop + 1;
    }
    set
}
