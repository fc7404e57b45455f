//! The filter of root emulation, which stands beside the container's profile: of two filters, the kernel heeds the answer that
//! permits less (seccomp(2)), so that what a profile refuses stays refused.
//!
//! What the kernel itself answers rightly is left to it: owners that are root or unchanged, nodes that are no devices,
//! sockets that anybody may have.

use minidock_sys::seccomp::FLAG_SPEC_ALLOW;

use super::policy::{Action, Check, Comparison, Condition, Policy, Verdict};
use super::table::{self, Abi};
use super::{Filter, compile, docker};
use crate::emulation::{CALLS, Call, Width};

/// Which call a number is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Numbers(Vec<(u32, u32, Call, Width)>);

impl Numbers {
    /// The call, and how wide its ids are.
    pub(crate) fn find(&self, architecture: u32, number: u32) -> Option<(Call, Width)> {
        let mut found = self.0.iter();
        let found = found.find(|(a, n, ..)| *a == architecture && *n == number);
        found.map(|(_, _, call, width)| (*call, *width))
    }
}

const NOTIFY: usize = 0;
const CHOWN: usize = 1;
const CHOWN_AT: usize = 2;
const MAKE_NODE: usize = 3;
const MAKE_NODE_AT: usize = 4;
const SOCKET: usize = 5;
const SET_LIMIT: usize = 6;
const SET_LIMIT_OF: usize = 7;
const KEEP_CAPABILITIES: usize = 8;

/// `S_IFMT`, `S_IFCHR` and `S_IFBLK` (inode(7)).
const FILE_TYPE: u64 = 0o170_000;
const CHARACTER_DEVICE: u64 = 0o020_000;
const BLOCK_DEVICE: u64 = 0o060_000;

/// The lower half of an argument: ids are 32 bits wide, and what is above them is nobody's concern.
const WORD: u64 = 0xffff_ffff;
/// `AF_INET`, `AF_INET6`, `AF_PACKET`, `SOCK_RAW` and the bits that are a socket's type.
const INET: [u64; 2] = [2, 10];
const PACKET: u64 = 17;
const RAW: u64 = 3;
const SOCKET_TYPE: u64 = 0xf;
const PR_SET_KEEPCAPS: u64 = 8;
/// `RLIMIT_LOCKS`.
const LOCKS: u64 = 10;

/// The filter, and what the numbers of the calls are that it asks about.
pub(super) fn filter() -> (Filter, Numbers) {
    let mut ours = CALLS.iter().peekable();
    let mut abis: Vec<(Abi, Vec<(u32, usize)>)> = docker::ABIS
        .iter()
        .map(|&abi| (abi, Vec::with_capacity(CALLS.len())))
        .collect();
    let mut numbers = Vec::with_capacity(CALLS.len() * abis.len());
    // Both are in the order of names.
    for (name, entry) in table::names() {
        let Some((_, call, width)) = ours.next_if(|(ours, ..)| *ours == name) else {
            continue;
        };
        for (abi, verdicts) in &mut abis {
            let Some(number) = entry.number(*abi) else {
                continue;
            };
            if *abi != Abi::X32 {
                verdicts.push((number, verdict(*call, *abi)));
            }
            let (architecture, bit) = architecture(*abi);
            let old = matches!(abi, Abi::X86 | Abi::Arm);
            let width = if old { *width } else { Width::Full };
            numbers.push((architecture, number | bit, *call, width));
        }
    }
    abis.retain(|(abi, _)| *abi != Abi::X32);
    abis.iter_mut()
        .for_each(|(_, verdicts)| verdicts.sort_unstable());
    let policy = Policy {
        default: Action::ALLOW,
        flags: FLAG_SPEC_ALLOW,
        verdicts: verdicts(),
        abis,
        newer_do_not_exist: false,
        x32_is_native: true,
    };
    let filter = Filter {
        program: compile::compile(&policy),
        flags: policy.flags,
    };
    (filter, Numbers(numbers))
}

fn architecture(abi: Abi) -> (u32, u32) {
    match abi {
        Abi::X86_64 => (compile::AUDIT_X86_64, 0),
        Abi::X32 => (compile::AUDIT_X86_64, compile::X32_BIT),
        Abi::X86 => (compile::AUDIT_X86, 0),
        Abi::Aarch64 => (compile::AUDIT_AARCH64, 0),
        Abi::Arm => (compile::AUDIT_ARM, 0),
    }
}

fn verdict(call: Call, abi: Abi) -> usize {
    // Programs of 32 bits are few, and ask each time.
    let wide = !matches!(abi, Abi::X86 | Abi::Arm);
    match call {
        Call::Chown { .. } | Call::ChownOpen if wide => CHOWN,
        Call::ChownAt if wide => CHOWN_AT,
        Call::MakeNode(0) => MAKE_NODE,
        Call::MakeNode(_) => MAKE_NODE_AT,
        Call::RawSocket => SOCKET,
        Call::KeepCapabilities => KEEP_CAPABILITIES,
        Call::SetLimit(0) => SET_LIMIT,
        Call::SetLimit(_) => SET_LIMIT_OF,
        _ => NOTIFY,
    }
}

fn verdicts() -> Vec<Verdict> {
    let is = |argument, value| masked(argument, WORD, value);
    // Few are asked about, so the filter stays short.
    let owners = |user: u8| {
        let ids = [0, WORD];
        let pairs = ids.into_iter().flat_map(|u| ids.map(|g| (u, g)));
        let allow = pairs.map(|(u, g)| Check {
            conditions: vec![is(user, u), is(user + 1, g)],
            action: Action::ALLOW,
        });
        let ask = Check {
            conditions: Vec::new(),
            action: Action::NOTIFY,
        };
        Verdict::Judge(allow.chain([ask]).collect())
    };
    let node = |mode: u8| {
        let types = [CHARACTER_DEVICE, BLOCK_DEVICE];
        let ask = types.map(|t| Check {
            conditions: vec![masked(mode, FILE_TYPE, t)],
            action: Action::NOTIFY,
        });
        Verdict::Judge(ask.into())
    };
    let raw = INET.map(|family| vec![is(0, family), masked(1, SOCKET_TYPE, RAW)]);
    let sockets = raw.into_iter().chain([vec![is(0, PACKET)]]);
    let limit = |argument, more: Option<Condition>| {
        Verdict::Judge(vec![Check {
            conditions: [is(argument, LOCKS)].into_iter().chain(more).collect(),
            // Programs that set every limit there is need not notice.
            action: Action::errno(0),
        }])
    };
    let given = Condition {
        argument: 2,
        comparison: Comparison::NotEqual,
        value: 0,
    };
    let mut verdicts = vec![Verdict::Act(Action::NOTIFY); 9];
    verdicts[CHOWN] = owners(1);
    verdicts[CHOWN_AT] = owners(2);
    verdicts[MAKE_NODE] = node(1);
    verdicts[MAKE_NODE_AT] = node(2);
    verdicts[SOCKET] = Verdict::Judge(
        sockets
            .map(|conditions| Check {
                conditions,
                action: Action::NOTIFY,
            })
            .collect(),
    );
    verdicts[SET_LIMIT] = limit(0, None);
    verdicts[SET_LIMIT_OF] = limit(1, Some(given));
    verdicts[KEEP_CAPABILITIES] = Verdict::Judge(vec![Check {
        conditions: vec![is(0, PR_SET_KEEPCAPS)],
        action: Action::NOTIFY,
    }]);
    verdicts
}

fn masked(argument: u8, mask: u64, value: u64) -> Condition {
    Condition {
        argument,
        comparison: Comparison::Masked(mask),
        value,
    }
}
