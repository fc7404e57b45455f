//! From a policy to classic BPF.
//!
//! The kernel runs a filter at every system call, and once for every number when it is installed, to learn which are always
//! allowed. So the numbers become ranges of equal verdicts, and the ranges a balanced tree of comparisons: some seven steps
//! deep for Docker's profile, where a list would have four hundred. Every leaf returns, so no jump leads backwards or far.

use minidock_sys::seccomp::Instruction;

use super::policy::{Action, Check, Comparison, Condition, Policy, Verdict};
use super::table::Abi;

const LOAD: u16 = 0x20;
const AND: u16 = 0x54;
const RETURN: u16 = 0x06;
const JUMP: u16 = 0x05;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_GREATER: u16 = 0x25;
const JUMP_GREATER_OR_EQUAL: u16 = 0x35;

/// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

/// `AUDIT_ARCH_*` (linux/audit.h).
pub(super) const AUDIT_X86_64: u32 = 0xc000_003e;
pub(super) const AUDIT_X86: u32 = 0x4000_0003;
pub(super) const AUDIT_AARCH64: u32 = 0xc000_00b7;
pub(super) const AUDIT_ARM: u32 = 0x4000_0028;

/// Set in the numbers of x32.
pub(super) const X32_BIT: u32 = 0x4000_0000;
/// From here on are arm's private calls, which no newer ordinary one comes after.
const PRIVATE: u32 = 0x000f_0000;

/// Consecutive numbers, from the first on, and what is done with them.
type Range<'a> = (u32, Leaf<'a>);

#[derive(Debug, Clone, Copy, PartialEq)]
enum Leaf<'a> {
    Act(Action),
    Judge(&'a [Check]),
}

/// The program of a policy. Architectures that it does not name kill the process, as Docker has it.
pub(super) fn compile(policy: &Policy) -> Vec<Instruction> {
    let mut program = vec![load(ARCHITECTURE)];
    for architecture in [AUDIT_X86_64, AUDIT_X86, AUDIT_AARCH64, AUDIT_ARM] {
        let Some(ranges) = ranges(policy, architecture) else {
            continue;
        };
        let wide = matches!(architecture, AUDIT_X86_64 | AUDIT_AARCH64);
        let mut section = vec![load(NUMBER)];
        if policy.x32_is_native && architecture == AUDIT_X86_64 {
            section.push(and(!X32_BIT));
        }
        tree(&mut section, &ranges, wide, policy.default);
        // A short jump over a long one: sections are longer than a byte can count.
        program.push(compare(JUMP_EQUAL, architecture, 1, 0));
        program.push(jump(section.len()));
        program.append(&mut section);
    }
    program.push(answer(Action::KILL_PROCESS));
    program
}

/// All ranges of an architecture; `None` where the policy does not have it.
fn ranges(policy: &Policy, architecture: u32) -> Option<Vec<Range<'_>>> {
    let numbers = |wanted| {
        let abi = policy.abis.iter().find(|(abi, _)| *abi == wanted);
        abi.map(|(_, numbers)| numbers.as_slice())
    };
    let mut ranges = Vec::with_capacity(128);
    match architecture {
        AUDIT_X86_64 => {
            let (own, x32) = (numbers(Abi::X86_64), numbers(Abi::X32));
            if own.is_none() && x32.is_none() {
                return None;
            }
            for (numbers, first) in [(own, 0), (x32, X32_BIT)] {
                match numbers {
                    Some(numbers) => push_abi(&mut ranges, policy, numbers, first),
                    None if policy.x32_is_native => {}
                    None => push(&mut ranges, first, Leaf::Act(Action::KILL_PROCESS)),
                }
            }
        }
        AUDIT_X86 => push_abi(&mut ranges, policy, numbers(Abi::X86)?, 0),
        AUDIT_AARCH64 => push_abi(&mut ranges, policy, numbers(Abi::Aarch64)?, 0),
        _ => push_abi(&mut ranges, policy, numbers(Abi::Arm)?, 0),
    }
    Some(ranges)
}

fn push_abi<'a>(
    ranges: &mut Vec<Range<'a>>,
    policy: &'a Policy,
    numbers: &[(u32, usize)],
    first: u32,
) {
    let unnamed = Leaf::Act(policy.default);
    let newer = if policy.newer_do_not_exist {
        Leaf::Act(Action::ENOSYS)
    } else {
        unnamed
    };
    let ordinary = numbers.partition_point(|(number, _)| *number < PRIVATE);
    let mut next = 0;
    for (index, &(number, verdict)) in numbers.iter().enumerate() {
        if number > next {
            let gap = if index < ordinary { unnamed } else { newer };
            push(ranges, first + next, gap);
        }
        let leaf = match policy.verdicts.get(verdict) {
            Some(Verdict::Act(action)) => Leaf::Act(*action),
            Some(Verdict::Judge(checks)) => Leaf::Judge(checks),
            None => unnamed,
        };
        push(ranges, first + number, leaf);
        next = number + 1;
    }
    // Without any rule nothing is known to be newer.
    push(
        ranges,
        first + next,
        if numbers.is_empty() { unnamed } else { newer },
    );
}

/// Neighbours with the same answer become one range.
fn push<'a>(ranges: &mut Vec<Range<'a>>, start: u32, leaf: Leaf<'a>) {
    if ranges.last().is_none_or(|(_, last)| *last != leaf) {
        ranges.push((start, leaf));
    }
}

/// Decides among `ranges` by the number that is loaded.
fn tree(program: &mut Vec<Instruction>, ranges: &[Range<'_>], wide: bool, default: Action) {
    let middle = ranges.len() / 2;
    let (lower, upper) = ranges.split_at(middle);
    match (lower, upper) {
        ([], [(_, Leaf::Act(action))]) => program.push(answer(*action)),
        ([], [(_, Leaf::Judge(checks))]) => judge(program, checks, wide, default),
        ([], _) => program.push(answer(default)),
        (_, [(start, _), ..]) => {
            let at = program.len();
            tree(program, lower, wide, default);
            let length = program.len() - at;
            match u8::try_from(length) {
                Ok(length) => {
                    program.insert(at, compare(JUMP_GREATER_OR_EQUAL, *start, length, 0));
                }
                Err(_) => {
                    program.insert(at, jump(length));
                    program.insert(at, compare(JUMP_GREATER_OR_EQUAL, *start, 0, 1));
                }
            }
            tree(program, upper, wide, default);
        }
        (_, []) => {}
    }
}

fn judge(program: &mut Vec<Instruction>, checks: &[Check], wide: bool, default: Action) {
    for check in checks {
        // Jumps to the end of the check, whose place is known only there: which instruction, and on which outcome.
        let mut exits = Vec::new();
        for condition in &check.conditions {
            push_condition(program, &mut exits, condition, wide);
        }
        program.push(answer(check.action));
        let end = program.len();
        for (at, outcome) in exits {
            // At most six conditions of six instructions each.
            let distance = u8::try_from(end - at - 1).unwrap_or(u8::MAX);
            match outcome {
                Outcome::Holds => program[at].jt = distance,
                Outcome::Fails => program[at].jf = distance,
            }
        }
    }
    program.push(answer(default));
}

#[derive(Debug, Clone, Copy)]
enum Outcome {
    Holds,
    Fails,
}

/// Goes on to the next instruction where the condition holds, and to an exit where not. Arguments have 64 bits, of which a
/// filter sees 32 at a time; the calls of 32-bit ABIs have only the lower ones.
fn push_condition(
    program: &mut Vec<Instruction>,
    exits: &mut Vec<(usize, Outcome)>,
    condition: &Condition,
    wide: bool,
) {
    let offset = ARGUMENTS + 8 * u32::from(condition.argument);
    let (low, high) = (condition.value as u32, (condition.value >> 32) as u32);
    let mut exit = |program: &mut Vec<Instruction>, code, value, outcome| {
        exits.push((program.len(), outcome));
        program.push(compare(code, value, 0, 0));
    };
    // A mask may leave nothing of the upper half to compare.
    let halves = match condition.comparison {
        Comparison::Masked(mask) => (mask | condition.value) >> 32 != 0,
        _ => true,
    };
    let parts: &[(u32, u32, u32)] = if wide && halves {
        &[(offset + 4, high, 32), (offset, low, 0)]
    } else {
        &[(offset, low, 0)]
    };
    for (number, &(offset, value, shift)) in parts.iter().enumerate() {
        let last = number + 1 == parts.len();
        program.push(load(offset));
        match condition.comparison {
            Comparison::Equal => exit(program, JUMP_EQUAL, value, Outcome::Fails),
            Comparison::Masked(mask) => {
                let mask = (mask >> shift) as u32;
                program.extend((mask != u32::MAX).then(|| and(mask)));
                exit(program, JUMP_EQUAL, value, Outcome::Fails);
            }
            Comparison::NotEqual if last => exit(program, JUMP_EQUAL, value, Outcome::Holds),
            // Different above: past the load and the comparison of the lower half.
            Comparison::NotEqual => program.push(compare(JUMP_EQUAL, value, 0, 2)),
            Comparison::Greater if last => exit(program, JUMP_GREATER, value, Outcome::Fails),
            Comparison::GreaterOrEqual if last => {
                exit(program, JUMP_GREATER_OR_EQUAL, value, Outcome::Fails);
            }
            Comparison::Greater | Comparison::GreaterOrEqual => {
                program.push(compare(JUMP_GREATER, value, 3, 0));
                exit(program, JUMP_EQUAL, value, Outcome::Fails);
            }
            Comparison::Less if last => {
                exit(program, JUMP_GREATER_OR_EQUAL, value, Outcome::Holds);
            }
            Comparison::LessOrEqual if last => exit(program, JUMP_GREATER, value, Outcome::Holds),
            Comparison::Less | Comparison::LessOrEqual => {
                exit(program, JUMP_GREATER, value, Outcome::Holds);
                program.push(compare(JUMP_EQUAL, value, 0, 2));
            }
        }
    }
}

fn load(offset: u32) -> Instruction {
    Instruction {
        code: LOAD,
        jt: 0,
        jf: 0,
        k: offset,
    }
}

fn and(mask: u32) -> Instruction {
    Instruction {
        code: AND,
        jt: 0,
        jf: 0,
        k: mask,
    }
}

fn compare(code: u16, k: u32, jt: u8, jf: u8) -> Instruction {
    Instruction { code, jt, jf, k }
}

fn jump(distance: usize) -> Instruction {
    Instruction {
        code: JUMP,
        jt: 0,
        jf: 0,
        // Programs are far shorter than that, or the kernel refuses them.
        k: u32::try_from(distance).unwrap_or(u32::MAX),
    }
}

fn answer(action: Action) -> Instruction {
    Instruction {
        code: RETURN,
        jt: 0,
        jf: 0,
        k: action.0,
    }
}
