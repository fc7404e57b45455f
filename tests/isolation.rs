//! What a container cannot see and cannot do.

use std::fs;

use expect_test::expect;

use crate::support::{Context, Running, scenarios};

scenarios!(
    the_process_is_alone,
    only_three_descriptors_are_open,
    the_host_name_is_its_own,
    the_hosts_files_are_out_of_reach,
    dev_holds_what_docker_puts_there,
    proc_and_sys_cannot_change_the_host,
    nothing_can_be_mounted_or_unmounted,
    the_image_cannot_redirect_what_is_mounted,
);

fn shell(cx: &Context, script: &str) -> String {
    cx.run(["run", "--rm", "busybox", "sh", "-c", script])
        .silent_ok()
        .to_owned()
}

fn the_process_is_alone(cx: &Context) {
    cx.load_busybox();
    let host = Running::spawn(cx.program("sleep").arg("86399"));
    let pid = host.pid().as_raw_nonzero();
    assert_eq!(shell(cx, "echo $$"), "1\n");
    let listed = shell(cx, "ps -o pid,args; true");
    let processes: Vec<&str> = listed.lines().skip(1).map(str::trim).collect();
    assert_eq!(processes.len(), 2, "{listed}");
    assert!(processes[0].starts_with("1 "), "{listed}");
    assert!(processes[1].ends_with("ps -o pid,args"), "{listed}");
    let numbers = shell(cx, "cd /proc; echo [0-9]*");
    assert_eq!(numbers, "1\n");
    let seen = shell(
        cx,
        &format!("kill -0 {pid} 2>/dev/null && echo seen; ls -d /proc/{pid} 2>/dev/null; true"),
    );
    assert_eq!(seen, "");
}

fn only_three_descriptors_are_open(cx: &Context) {
    cx.load_busybox();
    // Two that the caller left open by mistake, one of them a folder of the host.
    let script = "exec 7</etc/passwd 9</; exec minidock run --rm \"$@\"";
    let run = |args: &[&str]| {
        let mut command = cx.program("sh");
        command.args(["-c", script, "sh"]).args(args);
        let output = cx.finish(command);
        output.silent_ok().to_owned()
    };
    let list = "ls /proc/1/fd; true";
    assert_eq!(run(&["busybox", "sh", "-c", list]), "0\n1\n2\n");
    assert_eq!(run(&["-i", "busybox", "sh", "-c", list]), "0\n1\n2\n");
    assert_eq!(
        run(&["--read-only", "busybox", "sh", "-c", list]),
        "0\n1\n2\n"
    );
}

fn the_host_name_is_its_own(cx: &Context) {
    cx.load_busybox();
    let own = shell(cx, "hostname; cat /etc/hostname; echo $HOSTNAME");
    let lines: Vec<&str> = own.lines().collect();
    assert_eq!(lines.len(), 3, "{own}");
    assert!(lines.iter().all(|line| *line == lines[0]), "{own}");
    assert!(
        lines[0].len() == 12 && lines[0].bytes().all(|b| b.is_ascii_hexdigit()),
        "{own}"
    );
    let given = cx.run([
        "run",
        "--rm",
        "--hostname",
        "box",
        "busybox",
        "sh",
        "-c",
        "hostname; cat /etc/hostname",
    ]);
    assert_eq!(given.silent_ok(), "box\nbox\n");
    assert_ne!(
        fs::read_to_string("/proc/sys/kernel/hostname")
            .unwrap()
            .trim(),
        "box"
    );
}

fn the_hosts_files_are_out_of_reach(cx: &Context) {
    cx.load_busybox();
    let secret = cx.write("secret-of-the-host", "secret");
    let secret = secret.to_str().unwrap();
    let script = format!(
        "cat {secret} /../..{secret} /proc/1/root{secret} /proc/1/cwd/../../..{secret} /proc/self/root{secret} 2>/dev/null; \
         cd /proc/self/root/../..; ls -d .{secret} 2>/dev/null; \
         find / -xdev -name 'secret-of-the-host' 2>/dev/null; \
         find /proc/self/ -name 'secret-of-the-host' 2>/dev/null; true"
    );
    assert_eq!(shell(cx, &script), "");
    // Nor is anything of the host mounted anywhere but the three files that every container gets.
    let mounts = shell(cx, "cut -d' ' -f5 /proc/self/mountinfo | sort");
    expect![[r#"
        /
        /dev
        /dev/full
        /dev/mqueue
        /dev/null
        /dev/pts
        /dev/random
        /dev/shm
        /dev/tty
        /dev/urandom
        /dev/zero
        /etc/hostname
        /etc/hosts
        /etc/resolv.conf
        /proc
        /sys
    "#]]
    .assert_eq(
        &mounts
            .lines()
            // Masked and read-only paths depend on what this kernel has.
            .filter(|path| !path.starts_with("/proc/") && !path.starts_with("/sys/"))
            .fold(String::new(), |text, path| text + path + "\n"),
    );
}

fn dev_holds_what_docker_puts_there(cx: &Context) {
    cx.load_busybox();
    expect![[r#"
        core -> /proc/kcore
        fd -> /proc/self/fd
        full
        mqueue
        null
        ptmx -> pts/ptmx
        pts
        random
        shm
        stderr -> /proc/self/fd/2
        stdin -> /proc/self/fd/0
        stdout -> /proc/self/fd/1
        tty
        urandom
        zero
    "#]]
    .assert_eq(&shell(
        cx,
        "cd /dev; for f in *; do if [ -L $f ]; then echo \"$f -> $(readlink $f)\"; else echo $f; fi; done",
    ));
    let script = "head -c 5 /dev/zero | od -An -tx1; head -c 8 /dev/urandom | wc -c; echo gone >/dev/null; \
                  echo x 2>/dev/null >/dev/full || echo full; echo out >/dev/stdout; \
                  touch /dev/shm/x && stat -c %a /dev/shm; stat -c '%F %t %T' /dev/null";
    assert_eq!(
        shell(cx, script),
        " 00 00 00 00 00\n8\nfull\nout\n1777\ncharacter special file 1 3\n"
    );
}

fn proc_and_sys_cannot_change_the_host(cx: &Context) {
    cx.load_busybox();
    let script = "echo other 2>/dev/null >/proc/sys/kernel/hostname && echo changed; \
                  echo b 2>/dev/null >/proc/sysrq-trigger && echo rebooted; \
                  mkdir /sys/fs/cgroup/x 2>/dev/null && echo made; \
                  cat /proc/kcore 2>/dev/null | head -c 1 | wc -c; \
                  ls /sys/firmware | wc -l";
    assert_eq!(shell(cx, script), "0\n0\n");
}

fn nothing_can_be_mounted_or_unmounted(cx: &Context) {
    cx.load_busybox();
    let script = "umount /proc/kcore 2>/dev/null && echo unmasked; umount -l /dev 2>/dev/null && echo unmounted; \
                  mount -t tmpfs none /tmp 2>/dev/null && echo mounted; \
                  mount -o remount,rw /sys 2>/dev/null && echo writable; \
                  mknod /tmp/disk b 8 0 2>/dev/null && [ -b /tmp/disk ] && echo device; \
                  grep -E 'NoNewPrivs|CapBnd' /proc/self/status";
    assert_eq!(
        shell(cx, script),
        "CapBnd:\t00000000a80425fb\nNoNewPrivs:\t1\n"
    );
}

/// What an image puts where minidock mounts must not lead anywhere else.
fn the_image_cannot_redirect_what_is_mounted(cx: &Context) {
    use crate::support::{ImageTar, piped};
    let target = cx.work().join("target");
    fs::create_dir(&target).unwrap();
    std::os::unix::fs::chown(&target, Some(cx.uid), Some(cx.uid)).unwrap();
    let mut layer = tar::Builder::new(Vec::new());
    for (path, link) in [("proc", "/tmp/p"), ("sys", "target"), ("etc", "tmp")] {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        header.set_mode(0o777);
        layer.append_link(&mut header, path, link).unwrap();
    }
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    let up = format!("../../../../../../../../../..{}", target.display());
    layer.append_link(&mut header, "dev", &up).unwrap();
    let mut header = tar::Header::new_gnu();
    let busybox = fs::read("/bin/busybox").unwrap();
    header.set_size(busybox.len() as u64);
    header.set_mode(0o755);
    layer
        .append_data(&mut header, "busybox", busybox.as_slice())
        .unwrap();
    let image = ImageTar::new(
        "links:1",
        layer.into_inner().unwrap(),
        serde_json::json!({}),
    );
    cx.run_with_input(["load"], &piped("gzip", &["-c"], &image.tar()))
        .ok();
    let output = cx.run(["run", "--rm", "links:1", "/busybox", "echo", "hello"]);
    // It may refuse such an image or mount inside it; on the host nothing may appear.
    assert!(matches!(output.code, Some(0 | 125)), "{output}");
    assert_eq!(fs::read_dir(&target).unwrap().count(), 0, "{output}");
}
