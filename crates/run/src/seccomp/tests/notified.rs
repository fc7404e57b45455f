//! The filter of root emulation, run by the model of the kernel's machine.

use super::super::policy::Action;
use super::super::table::{self, Abi};
use super::super::{Filter, docker};
use super::{ABIS, Call, run};
use crate::emulation::{self, CALLS, Width};

const NOTIFY: u32 = 0x7fc0_0000;
const UNCHANGED: u64 = u32::MAX as u64;

/// The answer for a call by name; `None` where the ABI does not have it.
fn ask(abi: Abi, name: &str, arguments: &[u64]) -> Option<u32> {
    let (filter, _) = Filter::of_emulation();
    let (_, entry) = table::names().find(|(known, _)| *known == name)?;
    let (_, architecture, bit, _) = ABIS.iter().find(|(known, ..)| *known == abi)?;
    let mut call = Call {
        number: entry.number(abi)? | bit,
        architecture: *architecture,
        arguments: [0; 6],
    };
    call.arguments[..arguments.len()].copy_from_slice(arguments);
    Some(run(&filter.program, &call).0)
}

#[test]
fn only_what_concerns_other_ids_is_asked_about() {
    let allow = Action::ALLOW.0;
    let is_old = |abi| matches!(abi, Abi::X86 | Abi::Arm);
    for &abi in docker::ABIS {
        let says = |name, arguments: &[u64], expected| {
            if let Some(answer) = ask(abi, name, arguments) {
                assert_eq!(answer, expected, "{abi:?} {name} {arguments:x?}");
            }
        };
        for name in [
            "getuid",
            "setresgid",
            "setgroups",
            "capset",
            "chroot",
            "setns",
        ] {
            says(name, &[], NOTIFY);
        }
        for name in [
            "read", "openat", "clone", "execve", "kill", "prctl", "unlink",
        ] {
            says(name, &[], allow);
        }
        says("prctl", &[8, 1], NOTIFY);
        // Ids have 32 bits, however they are passed.
        let wide = [0, UNCHANGED, u64::MAX, 0xffff_ffff_0000_0000];
        for id in wide {
            let own = if is_old(abi) { NOTIFY } else { allow };
            says("fchown", &[3, id, 0], own);
            says("fchown", &[3, 0, id], own);
            says("fchown", &[3, 5, id], NOTIFY);
            says("fchown", &[3, id, 5], NOTIFY);
            says("fchownat", &[0, 0, id, id], own);
            says("fchownat", &[0, 0, id, 0x1_0000_0005], NOTIFY);
        }
        for (mode, expected) in [
            (0o020_644, NOTIFY),
            (0o060_644, NOTIFY),
            (0o100_644, allow),
            (0o010_644, allow),
            (0o140_644, allow),
            (0, allow),
        ] {
            says("mknod", &[0, mode, 5], expected);
            says("mknodat", &[0, 0, mode, 5], expected);
        }
        for (family, kind, expected) in [
            (2, 0x8_0003, NOTIFY),
            (10, 3, NOTIFY),
            (17, 2, NOTIFY),
            (2, 1, allow),
            (2, 2, allow),
            (16, 3, allow),
            (1, 3, allow),
        ] {
            says("socket", &[family, kind, 0], expected);
        }
        says("setrlimit", &[10, 1], Action::errno(0).0);
        says("setrlimit", &[7, 1], allow);
        says("prlimit64", &[0, 10, 1], Action::errno(0).0);
        says("prlimit64", &[0, 10, 0, 1], allow);
        says("prlimit64", &[0, 7, 1], allow);
    }
}

#[test]
fn every_call_is_known_by_its_numbers() {
    assert!(CALLS.is_sorted_by_key(|(name, ..)| *name));
    let (_, numbers) = Filter::of_emulation();
    for (name, call, width) in CALLS {
        let (_, entry) = table::names().find(|(known, _)| *known == name).unwrap();
        for &abi in docker::ABIS {
            let (_, architecture, bit, _) = ABIS.iter().find(|(known, ..)| *known == abi).unwrap();
            let Some(number) = entry.number(abi) else {
                continue;
            };
            let expected = match abi {
                Abi::X86 | Abi::Arm => width,
                _ => Width::Full,
            };
            let found = numbers.find(*architecture, number | bit);
            assert_eq!(found, Some((call, expected)), "{abi:?} {name}");
        }
    }
    // The filter judges x32 by the numbers of x86_64.
    for (name, ..) in CALLS {
        let (_, entry) = table::names().find(|(known, _)| *known == name).unwrap();
        assert_eq!(entry.number(Abi::X32), entry.number(Abi::X86_64), "{name}");
    }
    // What a start pays for: the kernel reads it through once for every number there is.
    let (filter, _) = Filter::of_emulation();
    assert!(filter.program.len() < 350, "{}", filter.program.len());
    let native = ABIS[0].1;
    assert_eq!(numbers.find(native, 4242), None);
    assert!(matches!(
        CALLS[2].1,
        emulation::Call::Chown { follow: true }
    ));
}
