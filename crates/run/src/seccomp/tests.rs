//! Programs are run by a model of the kernel's machine, and their answers compared with a naive reading of the profile.

mod notified;

use std::collections::{BTreeMap, BTreeSet};

use oci_spec::runtime::LinuxSeccomp;
use rustix::thread::CapabilitySet;
use serde_json::Value;

use super::compile::{AUDIT_AARCH64, AUDIT_ARM, AUDIT_X86, AUDIT_X86_64, X32_BIT, compile};
use super::policy::Action;
use super::table::{self, Abi};
use super::{Filter, docker};
use minidock_sys::seccomp::Instruction;

/// `struct seccomp_data`.
#[derive(Clone, Copy, Debug)]
struct Call {
    number: u32,
    architecture: u32,
    arguments: [u64; 6],
}

impl Call {
    fn word(&self, offset: u32) -> u32 {
        match offset {
            0 => self.number,
            4 => self.architecture,
            16..64 if offset.is_multiple_of(4) => {
                let argument = self.arguments[(offset as usize - 16) / 8];
                if offset.is_multiple_of(8) {
                    argument as u32
                } else {
                    (argument >> 32) as u32
                }
            }
            _ => panic!("the kernel refuses a load from {offset}"),
        }
    }
}

/// The machine. It also counts, for the depth of the tree is the point of it.
fn run(program: &[Instruction], call: &Call) -> (u32, usize) {
    let (mut at, mut register, mut steps) = (0, 0, 0);
    loop {
        let Instruction { code, jt, jf, k } = program[at];
        at += 1;
        steps += 1;
        let mut branch = |holds| at += usize::from(if holds { jt } else { jf });
        match code {
            0x20 => register = call.word(k),
            0x54 => register &= k,
            0x15 => branch(register == k),
            0x25 => branch(register > k),
            0x35 => branch(register >= k),
            0x05 => at += k as usize,
            0x06 => return (k, steps),
            _ => panic!("unknown instruction {code:#x}"),
        }
    }
}

const ABIS: [(Abi, u32, u32, &str); 5] = [
    (Abi::X86_64, AUDIT_X86_64, 0, "SCMP_ARCH_X86_64"),
    (Abi::X86, AUDIT_X86, 0, "SCMP_ARCH_X86"),
    (Abi::X32, AUDIT_X86_64, X32_BIT, "SCMP_ARCH_X32"),
    (Abi::Aarch64, AUDIT_AARCH64, 0, "SCMP_ARCH_AARCH64"),
    (Abi::Arm, AUDIT_ARM, 0, "SCMP_ARCH_ARM"),
];

/// Numbers with all their names, for some numbers have two.
fn names(abi: Abi) -> BTreeMap<u32, Vec<&'static str>> {
    let mut names: BTreeMap<u32, Vec<_>> = BTreeMap::new();
    for (name, entry) in table::names() {
        if let Some(number) = entry.number(abi) {
            names.entry(number).or_default().push(name);
        }
    }
    names
}

/// Docker's own file, where it lies beside the repository.
fn reference() -> Option<Value> {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../../shared/reference/docker-default-seccomp.json"
    );
    let Ok(text) = std::fs::read_to_string(path) else {
        let must = std::env::var("MINIDOCK_TEST_MUST_WORK").is_ok_and(|value| value == "1");
        assert!(!must, "everything must work here, but {path} is missing");
        return None;
    };
    Some(serde_json::from_str(&text).unwrap())
}

/// Who and where a profile is read for.
struct Reader<'a> {
    capabilities: &'a BTreeSet<&'a str>,
    kernel: (u32, u32),
    go_arch: &'a str,
}

impl Reader<'_> {
    fn applies(&self, rule: &Value) -> bool {
        let list = |of: &Value, key: &str| -> Vec<String> {
            let list = of.get(key).and_then(Value::as_array);
            let words = list.into_iter().flatten().map(|v| v.as_str().unwrap());
            words.map(str::to_owned).collect()
        };
        let (includes, excludes) = (&rule["includes"], &rule["excludes"]);
        let has = |cap: &String| self.capabilities.contains(cap.as_str());
        let arches = list(includes, "arches");
        let kernel = includes["minKernel"].as_str().is_none_or(|version| {
            let (major, minor) = version.split_once('.').unwrap();
            self.kernel >= (major.parse().unwrap(), minor.parse().unwrap())
        });
        kernel
            && (arches.is_empty() || arches.iter().any(|a| a == self.go_arch))
            && !list(excludes, "arches").iter().any(|a| a == self.go_arch)
            && list(includes, "caps").iter().all(has)
            && !list(excludes, "caps").iter().any(has)
    }
}

/// Reads the profile again for every call: first the names, then the conditions.
fn naive(rules: &[&Value], names: &[&str], arguments: &[u64; 6], wide: bool) -> u32 {
    for rule in rules {
        let mut named = rule["names"].as_array().unwrap().iter();
        if !named.any(|n| names.contains(&n.as_str().unwrap())) {
            continue;
        }
        let args = rule.get("args").and_then(Value::as_array);
        let holds = args.into_iter().flatten().all(|arg| {
            let argument = arguments[arg["index"].as_u64().unwrap() as usize];
            let argument = if wide {
                argument
            } else {
                argument & 0xffff_ffff
            };
            let value = arg["value"].as_u64().unwrap();
            let two = arg["valueTwo"].as_u64().unwrap_or(0);
            match arg["op"].as_str().unwrap() {
                "SCMP_CMP_EQ" => argument == value,
                "SCMP_CMP_NE" => argument != value,
                "SCMP_CMP_LT" => argument < value,
                "SCMP_CMP_LE" => argument <= value,
                "SCMP_CMP_GT" => argument > value,
                "SCMP_CMP_GE" => argument >= value,
                "SCMP_CMP_MASKED_EQ" => argument & value == two,
                other => panic!("{other}"),
            }
        });
        if holds {
            return match rule["action"].as_str().unwrap() {
                "SCMP_ACT_ALLOW" => 0x7fff_0000,
                "SCMP_ACT_LOG" => 0x7ffc_0000,
                "SCMP_ACT_KILL_PROCESS" => 0x8000_0000,
                "SCMP_ACT_ERRNO" => 0x5_0000 | rule["errnoRet"].as_u64().unwrap_or(1) as u32,
                other => panic!("{other}"),
            };
        }
    }
    0x5_0001
}

fn interesting_arguments() -> Vec<[u64; 6]> {
    let values = [
        0,
        1,
        2,
        7,
        8,
        9,
        16,
        37,
        38,
        39,
        40,
        41,
        42,
        0x11,
        0x2_0000,
        0x2_0008,
        0x2_0009,
        0x1000_0000,
        0x4000_0000,
        0x7e02_0000,
        0x7fff_ffff,
        0xffff_ffff,
        0xffff_fffe,
        1 << 32,
        (1 << 32) | 38,
        (1 << 32) | 0x2_0000,
        u64::MAX,
    ];
    let first = values.iter().map(|&v| [v, 0, 0, 0, 0, 0]);
    let second = values.iter().map(|&v| [0, v, 0, 0, 0, 0]);
    first.chain(second).collect()
}

/// Compares at every number, known or not, and at the edges of the numbers' space.
fn compare(program: &[Instruction], rules: &[&Value], abis: &[Abi], newer: bool) -> usize {
    let mut compared = 0;
    let arguments = interesting_arguments();
    for (abi, architecture, bit, _) in ABIS {
        if !abis.contains(&abi) {
            continue;
        }
        let wide = matches!(architecture, AUDIT_X86_64 | AUDIT_AARCH64);
        let names = names(abi);
        let ruled = |number: &u32| {
            let mut all = rules.iter().flat_map(|r| r["names"].as_array().unwrap());
            all.any(|n| names[number].contains(&n.as_str().unwrap()))
        };
        let ordinary = names.keys().filter(|n| **n < 0xf_0000);
        let highest = ordinary.filter(|n| ruled(n)).max().copied().unwrap();
        let numbers = (0..700).chain(0xf_0000..0xf_0008).chain([0x3fff_ffff]);
        for number in numbers {
            let known = names.get(&number).map(Vec::as_slice).unwrap_or_default();
            let named = |rule: &&Value| {
                let mut all = rule["names"].as_array().unwrap().iter();
                all.any(|n| known.contains(&n.as_str().unwrap()))
            };
            let rules: Vec<&Value> = rules.iter().copied().filter(named).collect();
            // Whose rules have no conditions is the same with any arguments.
            let conditional = rules.iter().any(|rule| rule.get("args").is_some());
            let tried = if conditional { arguments.len() } else { 2 };
            for arguments in arguments.iter().take(tried) {
                let expected = match naive(&rules, known, arguments, wide) {
                    0x5_0001 if number > highest && newer => 0x5_0026,
                    answer => answer,
                };
                let call = Call {
                    number: number | bit,
                    architecture,
                    arguments: *arguments,
                };
                let (answer, steps) = run(program, &call);
                assert_eq!(
                    answer, expected,
                    "{abi:?} {number} {known:?} {arguments:x?}"
                );
                assert!(steps < 40, "{steps} steps for {call:?}");
                compared += 1;
            }
        }
    }
    compared
}

#[test]
fn the_default_is_dockers_for_every_call_and_every_capability() {
    let Some(reference) = reference() else { return };
    assert_eq!(reference["defaultAction"], "SCMP_ACT_ERRNO");
    assert_eq!(reference["defaultErrnoRet"], 1);
    let rules = reference["syscalls"].as_array().unwrap();
    let default = "CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID SETPCAP NET_BIND_SERVICE NET_RAW SYS_CHROOT MKNOD \
                   AUDIT_WRITE SETFCAP";
    let mut sets = vec![
        String::new(),
        default.to_owned(),
        format!("{default} SYS_ADMIN"),
    ];
    for number in 0..41 {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        let (name, _) = capability.iter_names().next().unwrap();
        sets.push(name.to_owned());
    }
    let hosts = [
        (
            "amd64",
            &[Abi::X86_64, Abi::X86, Abi::X32][..],
            "SCMP_ARCH_X86_64",
        ),
        ("arm64", &[Abi::Aarch64, Abi::Arm][..], "SCMP_ARCH_AARCH64"),
    ];
    for (go_arch, abis, native) in hosts {
        let map = reference["archMap"].as_array().unwrap();
        let map = map.iter().find(|m| m["architecture"] == native).unwrap();
        let subs = map["subArchitectures"].as_array().unwrap();
        let ours = abis[1..].iter().map(|abi| {
            let (.., name) = ABIS.iter().find(|(a, ..)| a == abi).unwrap();
            Value::from(*name)
        });
        assert_eq!(*subs, ours.collect::<Vec<_>>());
        for set in &sets {
            let full: Vec<String> = set
                .split_whitespace()
                .map(|c| format!("CAP_{}", c.trim_start_matches("CAP_")))
                .collect();
            let capabilities: BTreeSet<&str> = full.iter().map(String::as_str).collect();
            let bounding = full.iter().fold(CapabilitySet::empty(), |bits, name| {
                bits | CapabilitySet::from_name(name.trim_start_matches("CAP_")).unwrap()
            });
            for kernel in [(6, 12), (4, 7)] {
                let reader = Reader {
                    capabilities: &capabilities,
                    kernel,
                    go_arch,
                };
                let rules: Vec<&Value> = rules.iter().filter(|r| reader.applies(r)).collect();
                let program = compile(&docker::policy(bounding, kernel, abis));
                assert!(compare(&program, &rules, abis, true) > 3_000);
            }
        }
    }
}

#[test]
fn each_system_call_of_the_reference_has_its_line() {
    let Some(reference) = reference() else { return };
    let ours: BTreeSet<&str> = table::names().map(|(name, _)| name).collect();
    let foreign = ["riscv_", "s390_", "swapcontext"];
    for rule in reference["syscalls"].as_array().unwrap() {
        for name in rule["names"].as_array().unwrap() {
            let name = name.as_str().unwrap();
            assert!(
                ours.contains(name) || foreign.iter().any(|f| name.starts_with(f)),
                "{name}"
            );
        }
    }
}

/// Numbers that the C library knows under the same names, for the machine that the tests run on.
#[test]
fn the_table_agrees_with_the_c_library() {
    use minidock_sys::seccomp::native_numbers;
    let abi = docker::ABIS[0];
    let ours: BTreeMap<&str, Option<u32>> = table::names()
        .map(|(name, entry)| (name, entry.number(abi)))
        .collect();
    for (name, number) in native_numbers() {
        assert_eq!(ours[name], Some(number), "{name}");
    }
}

#[test]
fn foreign_architectures_end_the_process() {
    let filter = Filter::docker(CapabilitySet::empty(), (6, 1));
    for architecture in [0, 0xc000_00f3, 0x8000_0016, 8] {
        let call = Call {
            number: 0,
            architecture,
            arguments: [0; 6],
        };
        assert_eq!(run(&filter.program, &call).0, 0x8000_0000);
    }
    // A profile without x32 does not let it in by the back door of x86_64's numbers.
    let (filter, _) = Filter::of_spec(&spec(serde_json::json!({
        "defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW"}],
    })))
    .unwrap();
    let filter = filter.unwrap();
    if docker::ABIS[0] == Abi::X86_64 {
        for number in [X32_BIT, X32_BIT + 1, u32::MAX] {
            let call = Call {
                number,
                architecture: AUDIT_X86_64,
                arguments: [0; 6],
            };
            assert_eq!(run(&filter.program, &call).0, 0x8000_0000, "{number:#x}");
        }
    }
}

fn spec(value: Value) -> LinuxSeccomp {
    serde_json::from_value(value).unwrap()
}

#[test]
fn every_comparison_works_on_all_64_bits() {
    let operators = ["EQ", "NE", "LT", "LE", "GT", "GE", "MASKED_EQ"];
    let values = [
        0,
        1,
        38,
        0xffff_ffff,
        1 << 32,
        (1 << 32) | 5,
        (5 << 32) | 1,
        u64::MAX - 1,
        u64::MAX,
    ];
    for operator in operators {
        for value in values {
            let rules = serde_json::json!([
                {"names": ["ioctl"], "action": "SCMP_ACT_ALLOW", "args": [
                    {"index": 1, "value": value, "valueTwo": 0, "op": format!("SCMP_CMP_{operator}")},
                    {"index": 2, "value": 3, "op": "SCMP_CMP_NE"},
                ]},
                {"names": ["ioctl"], "action": "SCMP_ACT_ERRNO", "errnoRet": 7, "args": [
                    {"index": 2, "value": 3, "op": "SCMP_CMP_EQ"},
                ]},
            ]);
            let profile = serde_json::json!({
                "defaultAction": "SCMP_ACT_ERRNO",
                "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
                "syscalls": rules,
            });
            let (filter, unknown) = Filter::of_spec(&spec(profile)).unwrap();
            let program = filter.unwrap().program;
            assert!(unknown.is_empty());
            let read: Vec<&Value> = rules.as_array().unwrap().iter().collect();
            for (abi, architecture, ..) in ABIS.into_iter().take(2) {
                let number = names(abi)
                    .into_iter()
                    .find(|(_, n)| n.contains(&"ioctl"))
                    .unwrap()
                    .0;
                for argument in values.into_iter().chain(values.map(|v| v.wrapping_add(1))) {
                    for third in [2, 3] {
                        let arguments = [0, argument, third, 0, 0, 0];
                        let call = Call {
                            number,
                            architecture,
                            arguments,
                        };
                        // A comparison with more than an ABI's arguments have is not made there; see `push_condition`.
                        if architecture == AUDIT_X86 && value > u64::from(u32::MAX) {
                            continue;
                        }
                        let expected =
                            naive(&read, &["ioctl"], &arguments, architecture == AUDIT_X86_64);
                        assert_eq!(
                            run(&program, &call).0,
                            expected,
                            "{operator} {value:#x} {call:x?}"
                        );
                    }
                }
            }
        }
    }
}

fn answer(filter: &Filter, name: &str, arguments: [u64; 6]) -> u32 {
    let (abi, architecture, ..) = ABIS
        .into_iter()
        .find(|(abi, ..)| *abi == docker::ABIS[0])
        .unwrap();
    let (_, entry) = table::names().find(|(n, _)| *n == name).unwrap();
    let number = entry.number(abi).unwrap();
    run(
        &filter.program,
        &Call {
            number,
            architecture,
            arguments,
        },
    )
    .0
}

#[test]
fn rules_combine_as_in_runc() {
    let (filter, unknown) = Filter::of_spec(&spec(serde_json::json!({
        "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 5,
        "syscalls": [
            {"names": ["read", "no_such_call"], "action": "SCMP_ACT_ERRNO", "errnoRet": 5},
            {"names": ["read"], "action": "SCMP_ACT_ALLOW"},
            {"names": ["write"], "action": "SCMP_ACT_LOG", "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]},
            {"names": ["write"], "action": "SCMP_ACT_KILL_PROCESS"},
            {"names": ["no_such_call", "listen"], "action": "SCMP_ACT_ALLOW", "args": [
                {"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}, {"index": 0, "value": 2, "op": "SCMP_CMP_EQ"}]},
            {"names": ["close"], "action": "SCMP_ACT_TRACE", "errnoRet": 9},
        ],
    }))).unwrap();
    let filter = filter.unwrap();
    assert_eq!(unknown, ["no_such_call"]);
    assert_eq!(answer(&filter, "read", [0; 6]), Action::ALLOW.0);
    assert_eq!(
        answer(&filter, "write", [1, 0, 0, 0, 0, 0]),
        Action::KILL_PROCESS.0
    );
    assert_eq!(answer(&filter, "close", [0; 6]), 0x7ff0_0009);
    assert_eq!(answer(&filter, "accept", [0; 6]), 0x5_0005);
    for (fd, expected) in [
        (0, 0x5_0005),
        (1, 0x7fff_0000),
        (2, 0x7fff_0000),
        (3, 0x5_0005),
    ] {
        assert_eq!(answer(&filter, "listen", [fd, 0, 0, 0, 0, 0]), expected);
    }
    // Beyond the highest that is named.
    assert_eq!(answer(&filter, "mseal", [0; 6]), Action::ENOSYS.0);
}

#[test]
fn a_list_of_what_is_forbidden_leaves_the_rest() {
    let profile = |default: &str| {
        serde_json::json!({
            "defaultAction": default,
            "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 2}],
        })
    };
    let (filter, _) = Filter::of_spec(&spec(profile("SCMP_ACT_ALLOW"))).unwrap();
    let filter = filter.unwrap();
    assert_eq!(answer(&filter, "mkdirat", [0; 6]), 0x5_0002);
    assert_eq!(answer(&filter, "mseal", [0; 6]), Action::ALLOW.0);
    let nothing = serde_json::json!({"defaultAction": "SCMP_ACT_ALLOW"});
    assert_eq!(Filter::of_spec(&spec(nothing)).unwrap(), (None, vec![]));
    let notify = Filter::of_spec(&spec(profile("SCMP_ACT_NOTIFY")));
    let error = notify.unwrap_err().to_string();
    assert!(error.contains("SCMP_ACT_NOTIFY"), "{error}");
}

#[test]
fn the_default_program_is_small() {
    let filter = Filter::docker(CapabilitySet::empty(), (6, 1));
    assert!(filter.program.len() < 800, "{}", filter.program.len());
}
