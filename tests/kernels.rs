//! Other kernels than this machine's, in a virtual machine: what ordinary users get there.
//!
//! The script that boots them lies beside the project where it is developed. It fetches a kernel on its first use and
//! emulates in software: some ten seconds a boot.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::support::{Caller, Context, repository, saved, skip};

/// Runs `script` as an ordinary user on a kernel; `None`, and a word why, where none can be booted. `/host` has the binary
/// under test and an image, and in `/host/bin` fuse-overlayfs where this machine has it.
pub fn on_kernel(kernel: &str, script: &str) -> Option<String> {
    let boot = repository().parent().unwrap().join("shared/vm/vm.sh");
    if !boot.exists() {
        skip("../shared/vm/vm.sh is absent, so no other kernel can be booted");
        return None;
    }
    let cx = Context::new(Caller::Root)?;
    let host = cx.dir.join("host");
    for folder in ["lib", "bin"] {
        fs::create_dir_all(host.join(folder)).unwrap();
    }
    fs::copy(cx.binary(), host.join("minidock")).unwrap();
    fs::copy(saved(), host.join("image.tar.gz")).unwrap();
    let mut programs = vec![cx.binary().to_owned()];
    let fuse = Path::new("/usr/bin/fuse-overlayfs");
    if fuse.exists() {
        fs::copy(fuse, host.join("bin/fuse-overlayfs")).unwrap();
        programs.push(fuse.to_owned());
    }
    for program in programs {
        copy_libraries(&program, &host.join("lib"));
    }
    fs::set_permissions(host.join("minidock"), PermissionsExt::from_mode(0o755)).unwrap();
    let root = "mkdir -p /lib64 /lib/x86_64-linux-gnu; cp /host/lib/ld-* /lib64/; cp /host/lib/* /lib/x86_64-linux-gnu/";
    let output = Command::new(boot)
        .args([kernel, script])
        .env("VM_DIR", &host)
        .env("VM_ROOT_CMD", root)
        .env("VM_MEM", "1400")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.code() == Some(125) {
        let why = String::from_utf8_lossy(&output.stderr);
        skip(&format!("the virtual machine cannot be set up: {why}"));
        return None;
    }
    assert!(output.status.success(), "{}: {text}", output.status);
    Some(text)
}

/// What the dynamic loader needs for a program; nothing for a static one.
fn copy_libraries(program: &Path, to: &Path) {
    let output = Command::new("ldd").arg(program).output().unwrap();
    for word in String::from_utf8_lossy(&output.stdout).split_ascii_whitespace() {
        let path = Path::new(word);
        if let Some(name) = path.file_name().filter(|_| path.is_absolute()) {
            fs::copy(path, to.join(name)).unwrap();
        }
    }
}

/// Says which driver is used and shows that the container's files can be changed in every way.
const USE: &str = "set -e; M=/host/minidock; $M load -q -i /host/image.tar.gz >/dev/null; \
    show() { $M info -f 'driver {{.Driver}}'; $M run --rm busybox sh -c \
    'rm /etc/passwd; rm -r /home; mkdir /home; ls /home; echo changed >/home/x; cat /home/x; id -u'; }; show";

/// With its one id, root is emulated: since Linux 5.0 by the kernel's own means.
const EMULATED: &str = "; $M run --rm busybox sh -c 'chown 5:6 /home && su -s /bin/sh nobody -c \"id -u; chroot / true; :\"' 2>&1";
const AS_OTHERS: [&str; 2] = [
    "65534",
    "chroot: can't change root directory to '/': Operation not permitted",
];

#[test]
fn without_overlays_for_users_there_is_a_program_or_a_copy() {
    let with_program = "; [ ! -e /host/bin/fuse-overlayfs ] || { PATH=/host/bin:$PATH; show; }";
    let Some(text) = on_kernel("5.10", &format!("{USE}{EMULATED}{with_program}")) else {
        return;
    };
    let mut lines = text.lines();
    let mut next = |expected: &[&str]| {
        for line in expected {
            assert_eq!(lines.next(), Some(*line), "{text}");
        }
    };
    next(&["driver flat", "changed", "0"]);
    next(&AS_OTHERS);
    if Path::new("/usr/bin/fuse-overlayfs").exists() {
        next(&["driver fuse-overlayfs", "changed", "0"]);
    }
}

/// tmpfs has no attributes for users before Linux 6.6: the kernel's overlay can be mounted on it, and then folders cannot be
/// replaced.
#[test]
fn an_overlay_that_can_only_be_mounted_is_not_taken() {
    let Some(text) = on_kernel("6.1", &format!("{USE}; $M info | grep 'Not Used: overlay'")) else {
        return;
    };
    assert!(text.starts_with("driver flat\nchanged\n0\n"), "{text}");
    assert!(
        text.contains("it cannot replace a folder of a lower layer"),
        "{text}"
    );
}
