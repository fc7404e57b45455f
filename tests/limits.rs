//! Limits on all of a container's processes together. Control groups of version 2 are had in a virtual machine; where the
//! machine that runs the tests has none of the caller's own, that is what is tested there.

use crate::kernels::on_kernel;
use crate::support::{Context, scenarios};

scenarios! {
    what_cannot_be_limited_is_refused_with_the_remedy,
    best_effort_limits_each_process_and_says_so,
    limits_are_checked_as_docker_checks_them,
}

/// Whether this machine has no group that the caller could use, as ordinary users have none without a service manager.
fn no_group(cx: &Context) -> bool {
    let output = cx.run(["run", "--rm", "--pids-limit", "100", "busybox", "true"]);
    output.code != Some(0)
}

fn what_cannot_be_limited_is_refused_with_the_remedy(cx: &Context) {
    cx.load_busybox();
    if !no_group(cx) {
        return;
    }
    for flag in [
        "--memory=64m",
        "--cpus=0.5",
        "--pids-limit=100",
        "--cpuset-cpus=0",
        "--blkio-weight=10",
        "--cgroup-parent=/no/such/group",
    ] {
        let output = cx.run(["run", "--rm", flag, "busybox", "true"]);
        assert_eq!(output.code, Some(125), "{flag}");
        let text = &output.stderr;
        assert!(
            text.contains("the container cannot be limited: ") && text.contains("hint: "),
            "{flag}: {text}"
        );
    }
    assert!(cx.run(["ps", "-aq"]).stdout.is_empty());
}

fn best_effort_limits_each_process_and_says_so(cx: &Context) {
    cx.load_busybox();
    if !no_group(cx) {
        return;
    }
    let best = ["run", "--rm", "--limits", "best-effort"];
    let script = "ulimit -d; awk '/Max processes/ {print $3}' /proc/self/limits; ls /sys/fs/cgroup";
    let run = [
        &best[..],
        &[
            "-m",
            "64m",
            "--pids-limit",
            "300",
            "busybox",
            "sh",
            "-c",
            script,
        ],
    ]
    .concat();
    let output = cx.run(run);
    let text = &output.stderr;
    assert_eq!(output.stdout, "65536\n300\n", "{text}");
    assert!(
        text.contains("RLIMIT_DATA") && text.contains("RLIMIT_NPROC"),
        "{text}"
    );
    // Nothing stands in for the others.
    let output = cx.run(
        [
            &best[..],
            &["-m", "64m", "--cpus", "0.5", "busybox", "true"],
        ]
        .concat(),
    );
    assert_eq!(output.code, Some(125));
    // A limit of a process that the user chose himself stays.
    let own = [
        "-m",
        "64m",
        "--ulimit",
        "data=1000000:2000000",
        "busybox",
        "sh",
        "-c",
        "ulimit -H -d",
    ];
    assert_eq!(cx.run([&best[..], &own].concat()).stdout, "1953\n");
}

fn limits_are_checked_as_docker_checks_them(cx: &Context) {
    cx.load_busybox();
    for (flags, expected) in [
        (&["-m", "4m"][..], "Minimum memory limit allowed is 6MB"),
        (&["-m", "x"], "invalid size: 'x'"),
        (
            &["--memory-swap", "1g"],
            "You should always set the Memory limit when using Memoryswap limit",
        ),
        (
            &["-m", "1g", "--memory-swap", "512m"],
            "Minimum memoryswap limit should be larger than memory limit",
        ),
        (
            &["-m", "64m", "--memory-reservation", "65m"],
            "can not be less than memory reservation limit",
        ),
        (&["--cpus", "1000000"], "range of CPUs is from 0.01 to "),
        (&["--cpus", "nan"], "no number of processors"),
        (
            &["--cpus", "1", "--cpu-quota", "50000"],
            "Nano CPUs and CPU Quota cannot both be set",
        ),
        (
            &["--cpus", "1", "--cpu-period", "50000"],
            "Nano CPUs and CPU Period cannot both be set",
        ),
        (
            &["--cpu-quota", "10"],
            "CPU cfs quota can not be less than 1ms",
        ),
        (
            &["--cpu-period", "10"],
            "CPU cfs period can not be less than 1ms",
        ),
        (&["--cpuset-cpus", "3-1"], "it is no list"),
        (
            &["--blkio-weight", "5"],
            "Range of blkio weight is from 10 to 1000",
        ),
        (
            &["--device-read-bps", "/dev/null:1mb"],
            "/dev/null is no block device",
        ),
        (
            &["--device-read-bps", "/nowhere:1mb"],
            "cannot look at /nowhere",
        ),
        (&["--pids-limit", "many"], "it is no number"),
        (&["--limits", "often"], "it is strict or best-effort"),
    ] {
        let run = [&["run", "--rm"][..], flags, &["busybox", "true"]].concat();
        let output = cx.run(run);
        let text = &output.stderr;
        assert_eq!(output.code, Some(125), "{flags:?}: {text}");
        assert!(text.contains(expected), "{flags:?}: {text}");
    }
    // These ask for no limit at all.
    let none = [
        "-m",
        "0",
        "--cpus",
        "0",
        "--pids-limit",
        "-1",
        "--pids-limit",
        "0",
        "--memory-swap",
        "-1",
    ];
    let none = [
        &["run", "--rm"][..],
        &none[..2],
        &none[2..4],
        &none[4..6],
        &none[8..],
        &["busybox", "true"],
    ]
    .concat();
    assert!(cx.run(none).code == Some(0));
}

/// What the container sees of its group, what the kernel does at each limit, and that nothing stays behind.
const LIMITED: &str = r#"set -e; M=/host/minidock; G=/sys/fs/cgroup/user.slice/user-1000
$M load -q -i /host/image.tar.gz >/dev/null
left() { ls -d $G/minidock-* $G/*/minidock-* 2>/dev/null | wc -l; }
$M run --rm -m 64m --memory-swap 96m --pids-limit 20 --cpus 0.5 -c 512 --cpuset-cpus 0 busybox sh -c '
  cd /sys/fs/cgroup; for f in memory.max pids.max cpu.max cpu.weight cpuset.cpus; do echo $f $(cat $f); done
  cat /proc/self/cgroup; touch x 2>/dev/null || echo read-only'
echo "left $(left)"
set +e
$M run --rm -m 16m --memory-swap 16m busybox sh -c 'head -c 200m /dev/zero | tail -c 200m >/dev/null'; echo "memory $?"
$M run --rm --pids-limit 5 busybox sh -c 'for i in 1 2 3 4 5 6 7 8; do sleep 5 & done' 2>&1 | grep -c fork
set -e
echo "left $(left)"
# A group that is named; and one that is not the caller's.
mkdir $G/mine; $M run --rm --cgroup-parent user.slice/user-1000/mine --cgroupns host busybox sed 's/minidock-.*/minidock-ID/' /proc/self/cgroup
$M run --rm --cgroup-parent /user.slice -m 64m busybox true || echo "refused $?"
$M run --rm --cgroup-parent /none -m 64m busybox true || echo "refused $?"
# The supervisor is killed: the group stays until the container is removed.
$M run --name seen -m 64m --cpus 0.5 --pids-limit 9 busybox true; $M inspect -f '{{with .HostConfig}}{{.Memory}} {{.MemorySwap}} {{.CpuQuota}} {{.PidsLimit}} {{.CpuShares}}{{end}}' seen; $M rm seen >/dev/null
$M run --rm --name kk -m 64m busybox sh -c 'echo up; sleep 1000' >/tmp/up & P=$!
until grep -q up /tmp/up 2>/dev/null; do usleep 10000; done
kill -9 $P; wait $P || true
echo "killed, left $(left)"; i=0; until [ $i -gt 500 ] || $M rm kk >/dev/null 2>&1; do usleep 10000; i=$((i+1)); done; echo "removed, left $(left)"
# Several processes of a container that shares the host's end with it.
$M run --rm --pid host -m 64m busybox sh -c 'sleep 1000 & echo started'; echo "left $(left)"
"#;

const SEEN: &str = "memory.max 67108864\npids.max 20\ncpu.max 50000 100000\ncpu.weight 20\ncpuset.cpus 0\n0::/\nread-only\nleft 0\n";

fn limited(kernel: &str) {
    let Some(text) = on_kernel(kernel, LIMITED) else {
        return;
    };
    let lines: Vec<&str> = text.lines().collect();
    assert!(text.contains(SEEN), "{text}");
    for line in [
        "67108864 134217728 50000 9 0",
        "memory 137",
        "0::/user.slice/user-1000/mine/minidock-ID",
        "killed, left 1",
        "removed, left 0",
        "started",
    ] {
        assert!(lines.contains(&line), "{line}: {text}");
    }
    assert_eq!(
        lines.iter().filter(|l| **l == "left 0").count(),
        3,
        "{text}"
    );
    assert_eq!(
        lines.iter().filter(|l| **l == "refused 125").count(),
        2,
        "{text}"
    );
    assert!(
        text.contains("the control group /sys/fs/cgroup/user.slice is not yours"),
        "{text}"
    );
    assert!(
        text.contains("there is no control group /sys/fs/cgroup/none"),
        "{text}"
    );
}

#[test]
fn limits_hold_on_linux_5_10() {
    limited("5.10");
}

#[test]
fn limits_hold_on_linux_6_12() {
    limited("6.12");
}
