//! A Spec's `linux.seccomp`, understood as runc and libseccomp understand it:
//!
//! * The native architecture is always meant, whatever the list says.
//! * A rule whose action is the default's says nothing.
//! * The conditions of a rule hold together; but where one rule has two on the same argument, each stands for itself.
//! * A rule without conditions decides before those with some, and else the first that holds.

use std::collections::BTreeMap;

use minidock_sys::seccomp::{FLAG_LOG, FLAG_SPEC_ALLOW};
use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompFilterFlag,
    LinuxSeccompOperator, LinuxSyscall,
};

use super::docker;
use super::policy::{Action, Check, Comparison, Condition, Policy, Verdict};
use super::table::{self, Abi, Entry};
use crate::PlanError;

const EPERM: u32 = 1;

/// What a rule does, and where it needs no more than the call's name.
#[derive(Debug, Default)]
struct Rules {
    always: Option<Action>,
    checks: Vec<Check>,
}

/// The policy, and the names of system calls in it that nobody here knows.
pub(super) fn policy(seccomp: &LinuxSeccomp) -> Result<(Policy, Vec<String>), PlanError> {
    if seccomp
        .listener_path()
        .as_ref()
        .is_some_and(|path| !path.as_os_str().is_empty())
    {
        return Err(unsupported("listenerPath"));
    }
    let default = action(seccomp.default_action(), seccomp.default_errno_ret())?;
    let known: BTreeMap<&str, &Entry> = table::names().collect();
    let mut unknown = Vec::new();
    let mut rules: BTreeMap<&str, Rules> = BTreeMap::new();
    for syscall in seccomp.syscalls().as_deref().unwrap_or_default() {
        let action = action(syscall.action(), syscall.errno_ret())?;
        if action == default {
            continue;
        }
        let checks = checks(syscall, action)?;
        for name in syscall.names() {
            if !known.contains_key(name.as_str()) {
                unknown.push(name.clone());
                continue;
            }
            let rules = rules.entry(name).or_default();
            if checks.is_empty() {
                rules.always.get_or_insert(action);
            }
            rules.checks.extend_from_slice(&checks);
        }
    }
    unknown.sort_unstable();
    unknown.dedup();
    let mut verdicts = Vec::with_capacity(rules.len());
    let mut ruled = Vec::with_capacity(rules.len());
    for (name, rules) in rules {
        let verdict = match rules.always {
            Some(action) => Verdict::Act(action),
            None => Verdict::Judge(rules.checks),
        };
        // Few kinds of verdicts exist, and the same ones next to each other make one range.
        let index = verdicts.iter().position(|other| *other == verdict);
        let index = index.unwrap_or_else(|| {
            verdicts.push(verdict);
            verdicts.len() - 1
        });
        ruled.extend(known.get(name).map(|entry| (*entry, index)));
    }
    let policy = Policy {
        default,
        flags: flags(seccomp),
        abis: abis(seccomp)
            .into_iter()
            .map(|abi| (abi, by_number(&ruled, abi)))
            .collect(),
        verdicts,
        // As runc: a program that tries what the profile's author could not know should take its other way.
        x32_is_native: false,
        newer_do_not_exist: !default.permits() && default != Action::ENOSYS,
    };
    Ok((policy, unknown))
}

fn by_number(ruled: &[(&Entry, usize)], abi: Abi) -> Vec<(u32, usize)> {
    let numbers = ruled
        .iter()
        .filter_map(|(entry, verdict)| Some((entry.number(abi)?, *verdict)));
    let mut numbers: Vec<_> = numbers.collect();
    numbers.sort_unstable();
    numbers
}

fn unsupported(detail: impl ToString) -> PlanError {
    PlanError::Unsupported {
        field: "linux.seccomp",
        detail: Some(detail.to_string()),
    }
}

fn action(action: LinuxSeccompAction, number: Option<u32>) -> Result<Action, PlanError> {
    use LinuxSeccompAction as A;
    let number = u16::try_from(number.unwrap_or(EPERM));
    let number = || number.map_err(|_| unsupported("an errnoRet beyond 65535"));
    Ok(match action {
        A::ScmpActKill | A::ScmpActKillThread => Action::KILL_THREAD,
        A::ScmpActKillProcess => Action::KILL_PROCESS,
        A::ScmpActTrap => Action::TRAP,
        A::ScmpActErrno => Action::errno(number()?),
        A::ScmpActTrace => Action::trace(number()?),
        A::ScmpActLog => Action::LOG,
        A::ScmpActAllow => Action::ALLOW,
        A::ScmpActNotify => return Err(unsupported(action)),
    })
}

fn checks(syscall: &LinuxSyscall, action: Action) -> Result<Vec<Check>, PlanError> {
    let conditions: Result<Vec<_>, _> = syscall.args().iter().flatten().map(condition).collect();
    let conditions = conditions?;
    if conditions.is_empty() {
        return Ok(Vec::new());
    }
    let mut seen = [false; 6];
    let repeated = conditions
        .iter()
        .any(|c| std::mem::replace(&mut seen[usize::from(c.argument)], true));
    let check = |conditions| Check { conditions, action };
    Ok(if repeated {
        conditions.into_iter().map(|c| check(vec![c])).collect()
    } else {
        vec![check(conditions)]
    })
}

fn condition(arg: &LinuxSeccompArg) -> Result<Condition, PlanError> {
    use LinuxSeccompOperator as O;
    let argument = u8::try_from(arg.index()).ok().filter(|index| *index < 6);
    let second = arg.value_two().unwrap_or(0);
    Ok(Condition {
        argument: argument.ok_or_else(|| unsupported("an argument's index beyond 5"))?,
        comparison: match arg.op() {
            O::ScmpCmpNe => Comparison::NotEqual,
            O::ScmpCmpLt => Comparison::Less,
            O::ScmpCmpLe => Comparison::LessOrEqual,
            O::ScmpCmpEq => Comparison::Equal,
            O::ScmpCmpGe => Comparison::GreaterOrEqual,
            O::ScmpCmpGt => Comparison::Greater,
            O::ScmpCmpMaskedEq => Comparison::Masked(arg.value()),
        },
        value: match arg.op() {
            O::ScmpCmpMaskedEq => second,
            _ => arg.value(),
        },
    })
}

/// Without a list, what runc and crun do: leave speculative store bypass as it is.
fn flags(seccomp: &LinuxSeccomp) -> u32 {
    use LinuxSeccompFilterFlag as F;
    let Some(flags) = seccomp.flags() else {
        return FLAG_SPEC_ALLOW;
    };
    flags.iter().fold(0, |set, flag| {
        set | match flag {
            F::SeccompFilterFlagLog => FLAG_LOG,
            F::SeccompFilterFlagSpecAllow => FLAG_SPEC_ALLOW,
            // There is one thread, and no listener.
            F::SeccompFilterFlagTsync | F::SeccompFilterFlagWaitKillableRecv => 0,
        }
    })
}

fn abis(seccomp: &LinuxSeccomp) -> Vec<Abi> {
    let mut abis: Vec<Abi> = docker::ABIS.first().copied().into_iter().collect();
    for architecture in seccomp.architectures().iter().flatten() {
        let abi = match architecture {
            Arch::ScmpArchX86_64 => Abi::X86_64,
            Arch::ScmpArchX86 => Abi::X86,
            Arch::ScmpArchX32 => Abi::X32,
            Arch::ScmpArchAarch64 => Abi::Aarch64,
            Arch::ScmpArchArm => Abi::Arm,
            // No call of another kind reaches this kernel.
            _ => continue,
        };
        if !abis.contains(&abi) {
            abis.push(abi);
        }
    }
    abis
}
