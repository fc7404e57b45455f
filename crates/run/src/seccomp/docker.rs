//! Docker's default profile, for a container's capabilities and a kernel.

use minidock_sys::seccomp::FLAG_SPEC_ALLOW;
use rustix::thread::CapabilitySet;

use super::policy::{Action, Check, Comparison, Condition, Policy, Verdict};
use super::table::{Abi, CAP_SYS_ADMIN, CAP_SYS_PTRACE, ENTRIES, Rule};

/// Native first, and what Docker lets run beside it.
#[cfg(target_arch = "x86_64")]
pub(super) const ABIS: &[Abi] = &[Abi::X86_64, Abi::X86, Abi::X32];
#[cfg(target_arch = "aarch64")]
pub(super) const ABIS: &[Abi] = &[Abi::Aarch64, Abi::Arm];
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
compile_error!("the tables know x86_64 and aarch64");

const ALLOW: usize = 0;
const SOCKET: usize = 1;
const PERSONALITY: usize = 2;
const CLONE: usize = 3;
const CLONE3: usize = 4;

/// The flags of clone(2) that make namespaces, but for the time namespace, which has no flag there.
const NEW_NAMESPACES: u64 = 0x7e02_0000;

pub(super) fn policy(bounding: CapabilitySet, kernel: (u32, u32), abis: &[Abi]) -> Policy {
    let held = bounding.bits();
    let mut verdicts = vec![Verdict::Act(Action::ALLOW); 5];
    verdicts[SOCKET] = any_of(&[
        (Comparison::Less, 38),
        (Comparison::Equal, 39),
        (Comparison::Greater, 40),
    ]);
    verdicts[PERSONALITY] = any_of(&[
        (Comparison::Equal, 0),
        (Comparison::Equal, 8),
        (Comparison::Equal, 0x2_0000),
        (Comparison::Equal, 0x2_0008),
        (Comparison::Equal, 0xffff_ffff),
    ]);
    verdicts[CLONE] = any_of(&[(Comparison::Masked(NEW_NAMESPACES), 0)]);
    verdicts[CLONE3] = Verdict::Act(Action::ENOSYS);
    let verdict = |rule| match rule {
        Rule::Allow => Some(ALLOW),
        Rule::Capabilities(any) if held & any != 0 => Some(ALLOW),
        Rule::Ptrace if kernel >= (4, 8) || held & CAP_SYS_PTRACE != 0 => Some(ALLOW),
        Rule::Unnamed | Rule::Capabilities(_) | Rule::Ptrace => None,
        Rule::Socket => Some(SOCKET),
        Rule::Personality => Some(PERSONALITY),
        Rule::Clone | Rule::Clone3 if held & CAP_SYS_ADMIN != 0 => Some(ALLOW),
        Rule::Clone => Some(CLONE),
        Rule::Clone3 => Some(CLONE3),
    };
    Policy {
        default: Action::errno(1),
        flags: FLAG_SPEC_ALLOW,
        verdicts,
        abis: abis
            .iter()
            .map(|&abi| (abi, by_number(abi, verdict)))
            .collect(),
        newer_do_not_exist: true,
        x32_is_native: false,
    }
}

fn any_of(comparisons: &[(Comparison, u64)]) -> Verdict {
    let check = |&(comparison, value): &(Comparison, u64)| Check {
        conditions: vec![Condition {
            argument: 0,
            comparison,
            value,
        }],
        action: Action::ALLOW,
    };
    Verdict::Judge(comparisons.iter().map(check).collect())
}

fn by_number(abi: Abi, verdict: impl Fn(Rule) -> Option<usize>) -> Vec<(u32, usize)> {
    let ruled = ENTRIES
        .iter()
        .filter_map(|entry| Some((entry.number(abi)?, verdict(entry.rule)?)));
    let mut numbers: Vec<_> = ruled.collect();
    numbers.sort_unstable();
    numbers
}
