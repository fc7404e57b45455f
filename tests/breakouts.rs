//! Known ways out of containers, each tried with an image or a volume made for it.

use std::fs;
use std::path::Path;

use serde_json::json;

use crate::support::{Context, ImageTar, Output, Terminal, scenarios};

scenarios!(
    files_that_minidock_reads_or_covers_are_traps,
    a_working_directory_among_the_descriptors_leads_nowhere,
    minidock_itself_cannot_be_run_or_written_to_from_inside,
    a_volumes_folders_are_swapped_while_another_container_mounts_in_it,
    masked_paths_cannot_be_led_astray,
    a_folder_of_the_hosts_that_is_handed_in_opens_nothing,
    the_callers_keys_stay_outside,
    the_callers_personality_stays_outside,
    processes_outside_cannot_be_traced_or_signalled,
    the_callers_terminal_cannot_be_typed_into,
);

/// Members of a layer that is not like others.
struct Trap(tar::Builder<Vec<u8>>);

impl Trap {
    fn new() -> Self {
        let busybox = fs::read("/bin/busybox").unwrap();
        Self(tar::Builder::new(Vec::new())).file("bin/busybox", 0o755, &busybox)
    }

    fn header(kind: tar::EntryType, mode: u32) -> tar::Header {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(0);
        header
    }

    fn file(mut self, path: &str, mode: u32, content: &[u8]) -> Self {
        let mut header = Self::header(tar::EntryType::Regular, mode);
        header.set_size(content.len() as u64);
        self.0.append_data(&mut header, path, content).unwrap();
        self
    }

    fn link(mut self, path: &str, target: &str) -> Self {
        let mut header = Self::header(tar::EntryType::Symlink, 0o777);
        self.0.append_link(&mut header, path, target).unwrap();
        self
    }

    fn special(mut self, path: &str, kind: tar::EntryType) -> Self {
        let mut header = Self::header(kind, 0o666);
        if kind == tar::EntryType::Char {
            // The console of the host, if it could be opened.
            header.set_device_major(5).unwrap();
            header.set_device_minor(1).unwrap();
        }
        self.0
            .append_data(&mut header, path, std::io::empty())
            .unwrap();
        self
    }

    /// Loads it as `trap:latest`.
    fn load(self, cx: &Context, config: serde_json::Value) {
        let image = ImageTar::new("trap:latest", self.0.into_inner().unwrap(), config);
        cx.run_with_input(["load"], &image.tar()).ok();
    }
}

/// A file of the host's that nobody inside may see or change.
fn secret(cx: &Context) -> String {
    let path = cx.write("secret", "of the host\n");
    path.to_str().unwrap().to_owned()
}

fn assert_untouched(path: &str, output: &Output) {
    assert_eq!(
        fs::read_to_string(path).unwrap(),
        "of the host\n",
        "{output}"
    );
    let shown = format!("{}{}", output.stdout, output.stderr);
    assert!(!shown.contains("of the host"), "{output}");
}

const BUSYBOX: &str = "/bin/busybox";

fn files_that_minidock_reads_or_covers_are_traps(cx: &Context) {
    use tar::EntryType::{Char, Directory, Fifo};
    let secret = secret(cx);
    let up = format!("../../../../../../../../../..{secret}");
    // More than is ever read of such a file.
    let huge = vec![b'x'; 5 << 20];
    let paths = [
        "etc/passwd",
        "etc/group",
        "etc/resolv.conf",
        "etc/hosts",
        "etc/hostname",
        "etc/mtab",
        "dev",
        "proc",
        "sys",
        "dev/null",
        "dev/pts",
    ];
    for path in paths {
        let traps: [&dyn Fn(Trap) -> Trap; 6] = [
            &|t| t.link(path, &secret),
            &|t| t.link(path, &up),
            &|t| t.special(path, Fifo),
            &|t| t.special(path, Char),
            &|t| t.special(path, Directory),
            &|t| t.file(path, 0o644, &huge),
        ];
        for (number, trap) in traps.iter().enumerate() {
            trap(Trap::new()).load(cx, json!({}));
            let users: &[&str] = match path {
                "etc/passwd" | "etc/group" => &["0", "somebody"],
                _ => &["0"],
            };
            for user in users {
                let script = "echo hello; for f in /etc/hosts /etc/passwd /etc/group; do \
                              test -f $f && { echo more >>$f; head -c 100 $f; }; done; true";
                let args = [
                    "run", "--rm", "-u", user, "trap", BUSYBOX, "sh", "-c", script,
                ];
                // It runs, or it is refused in words; it does not hang, and the host is as it was.
                let output = cx.run(args);
                assert!(
                    matches!(output.code, Some(0 | 125)),
                    "{path}, trap {number}: {output}"
                );
                if output.code == Some(125) {
                    output.error(125);
                }
                assert_untouched(&secret, &output);
            }
            cx.run(["rmi", "trap"]).ok();
        }
    }
    assert_eq!(fs::read_dir(cx.work()).unwrap().count(), 1);
    assert_eq!(cx.run(["ps", "-aq"]).silent_ok(), "");
}

fn a_working_directory_among_the_descriptors_leads_nowhere(cx: &Context) {
    let secret = secret(cx);
    for number in 3..10 {
        let folder = format!("/proc/self/fd/{number}");
        Trap::new()
            .link("cwd", &folder)
            .load(cx, json!({ "WorkingDir": folder }));
        let script = format!(
            "pwd -P; cat .{secret} ../..{secret} ../../../../../../..{secret} 2>/dev/null; ls; true"
        );
        for more in [
            &[][..],
            &["-w", &folder],
            &["-w", "/cwd"],
            &["-w", "/proc/1/cwd"],
        ] {
            let args = [
                &["run", "--rm"][..],
                more,
                &["trap", BUSYBOX, "sh", "-c", &script],
            ];
            // Somebody who opens a folder before he starts minidock must not give it away either.
            let mut command = cx.program("sh");
            let held = format!("exec {number}</; exec \"$@\"");
            command.args(["-c", &held, "sh"]).arg(cx.binary());
            let output = cx.finish({
                command.args(args.concat());
                command
            });
            assert!(matches!(output.code, Some(0 | 125)), "{output}");
            assert_untouched(&secret, &output);
        }
        cx.run(["rmi", "trap"]).ok();
    }
}

fn minidock_itself_cannot_be_run_or_written_to_from_inside(cx: &Context) {
    let before = fs::read(cx.binary()).unwrap();
    let script = |interpreter: &str| format!("#!{interpreter} run\n").into_bytes();
    Trap::new()
        .link("exe", "/proc/self/exe")
        .file("script", 0o755, &script("/proc/self/exe"))
        .file("through-a-link", 0o755, &script("/exe"))
        .load(cx, json!({}));
    for init in [&[][..], &["--init"]] {
        for command in [
            "/proc/self/exe",
            "/exe",
            "/proc/1/exe",
            "/script",
            "/through-a-link",
        ] {
            let args = [&["run", "--rm"][..], init, &["trap", command, "--version"]];
            let output = cx.run(args.concat());
            // Its own failure to start is told by a minidock outside; had it run inside, it would have shown its version.
            assert!(matches!(output.code, Some(125..=127)), "{output}");
            assert_eq!(output.stdout, "", "{output}");
        }
        // What process 1 is while the program starts cannot be opened to be written later.
        let write = "for i in 1 2 3 4 5; do for p in /proc/[0-9]*; do (exec 9<>$p/exe) && echo opened; done; done 2>/dev/null; true";
        let args = [
            &["run", "--rm"][..],
            init,
            &["trap", BUSYBOX, "sh", "-c", write],
        ];
        let output = cx.run(args.concat());
        assert_eq!(output.ok(), "");
    }
    assert!(
        fs::read(cx.binary()).unwrap() == before,
        "minidock was changed"
    );
}

fn a_volumes_folders_are_swapped_while_another_container_mounts_in_it(cx: &Context) {
    cx.load_busybox();
    let outside = cx.work().join("outside");
    fs::create_dir(&outside).unwrap();
    std::os::unix::fs::chown(&outside, Some(cx.uid), Some(cx.uid)).unwrap();
    let up = format!("../../../../../../../../../..{}", outside.display());
    // One swaps a folder with a link out of the volume, as fast as it can; it ends with its standard input.
    let swap = format!(
        "cd /v; mkdir a; ln -s {up} link; ln -s {} absolute; echo ready; \
         while :; do mv a b; mv link a; mv a link; mv absolute a; mv a absolute; mv b a; done & read end; kill $!",
        outside.display()
    );
    let mut swapping = cx.start(cx.command([
        "run",
        "--rm",
        "-i",
        "-v",
        "shared:/v",
        "busybox",
        "sh",
        "-c",
        &swap,
    ]));
    swapping.wait_for_stdout("ready\n");
    let mut mounted = 0;
    for _ in 0..20 {
        let args = [
            "run",
            "--rm",
            "-v",
            "shared:/v",
            "--tmpfs",
            "/v/a/deep",
            "-w",
            "/v/a/made",
            "busybox",
            "sh",
            "-c",
            "echo x >/v/a/deep/x; echo y >/v/a/y; true",
        ];
        let output = cx.run(args);
        // A place that goes away meanwhile is a failure that is told.
        assert!(matches!(output.code, Some(0 | 125)), "{output}");
        mounted += usize::from(output.code == Some(0));
        let found = fs::read_dir(&outside).unwrap().count();
        assert_eq!(found, 0, "something was made outside: {output}");
    }
    assert!(mounted > 0, "no container started at all");
    swapping.feed(b"end\n");
    swapping.wait();
}

/// What an image or a volume has at a masked path cannot put the mask elsewhere: there is none of it below our own mounts.
fn masked_paths_cannot_be_led_astray(cx: &Context) {
    let secret = secret(cx);
    Trap::new()
        .link("proc/kcore", &secret)
        .link("proc/sys", "/tmp")
        .link("proc/timer_list", "/etc")
        .link("sys/firmware", &secret)
        .file("dev/null", 0o666, b"not a device")
        .load(cx, json!({}));
    let script = "for f in /proc/kcore /proc/keys /proc/timer_list /proc/interrupts; do \
                    test -e $f && stat -c '%t:%T' $f; done | sort -u; \
                  echo 1 2>/dev/null >/proc/sys/kernel/core_pattern && echo written; \
                  test -d /proc/sys/kernel || echo no sys; cat /proc/kcore /dev/null 2>/dev/null | wc -c; \
                  ls -A /proc/acpi /sys/firmware 2>/dev/null | grep -v : | wc -w";
    let output = cx.run([
        "run",
        "--rm",
        "trap",
        BUSYBOX,
        "sh",
        "-c",
        &script.replace("stat ", "busybox stat "),
    ]);
    assert_eq!(output.silent_ok(), "1:3\n0\n0\n");
    assert_untouched(&secret, &output);
}

/// System calls for which no shell has a command. The arguments are Perl.
fn perl(script: &str) -> [String; 3] {
    [
        "/usr/bin/perl".to_owned(),
        "-e".to_owned(),
        script.to_owned(),
    ]
}

/// The host's Perl in a container, and nothing else of the host's.
fn with_perl(cx: &Context, more: &[&str], script: &str) -> Vec<String> {
    Trap::new()
        .link("lib", "usr/lib")
        .link("lib64", "usr/lib64")
        .load(cx, json!({}));
    let run = ["run", "--rm", "-v", "/usr:/usr:ro"];
    let words = run.iter().chain(more).chain(&["trap"]);
    words
        .map(|word| (*word).to_owned())
        .chain(perl(script))
        .collect()
}

const SENDMSG: [u32; 2] = if cfg!(target_arch = "x86_64") {
    [46, 47]
} else {
    [211, 212]
};

/// A program outside gives a folder of the host's to one inside, over a socket in a volume. The kernel lets them; but
/// nothing below that folder can be opened. Where no wall stands because the user said so, it can, which shows that the wall
/// is what makes the difference.
fn a_folder_of_the_hosts_that_is_handed_in_opens_nothing(cx: &Context) {
    if fs::read_to_string("/sys/kernel/security/lsm").is_ok_and(|l| !l.contains("landlock")) {
        crate::support::skip("this kernel has no Landlock");
        return;
    }
    secret(cx);
    let [send, receive] = SENDMSG;
    // struct iovec, cmsghdr with one descriptor, msghdr.
    let message = "my $data = 'x'; my $iov = pack('P Q', $data, 1); \
                   my $control = pack('Q l l l x4', 20, 1, 1, defined $dir ? fileno($dir) : 0); \
                   my $message = pack('Q L x4 P Q P Q l x4', 0, 0, $iov, 1, $control, 24, 0);";
    let server = format!(
        "use Socket; socket(my $s, PF_UNIX, SOCK_STREAM, 0); bind($s, sockaddr_un('socket')); listen($s, 9); \
         opendir(my $d, '.'); open(my $dir, '<', '.'); $| = 1; print \"ready\\n\"; \
         while (accept(my $c, $s)) {{ {message} syscall({send}, fileno($c), $message, 0); }}"
    );
    let mut command = cx.program("/usr/bin/perl");
    command.args(["-e", &server]);
    let mut outside = cx.start(command);
    outside.wait_for_stdout("ready\n");
    let client = format!(
        "use Socket; socket(my $s, PF_UNIX, SOCK_STREAM, 0); connect($s, sockaddr_un('/socket')) or die $!; my $dir; \
         {message} syscall({receive}, fileno($s), $message, 0) == 1 or die $!; \
         my $fd = (unpack('Q l l l', $control))[3]; \
         open(my $f, '<', \"/proc/self/fd/$fd/secret\") or do {{ print \"$!\\n\"; exit }}; print <$f>"
    );
    let socket = format!("{}:/socket", cx.work().join("socket").display());
    let output = cx.run(with_perl(cx, &["-v", &socket], &client));
    assert_eq!(output.silent_ok(), "Permission denied\n");
    let open = ["-v", &socket, "--security-opt", "seccomp=unconfined"];
    let output = cx.run(with_perl(cx, &open, &client));
    assert_eq!(output.silent_ok(), "of the host\n");
    // What a container is given by its standard streams, it can open by name.
    let null = "open(my $f, '<', '/dev/stdin') or die $!; open(my $g, '>', '/dev/stdout') or die $!; print $g \"fine\\n\"";
    assert_eq!(cx.run(with_perl(cx, &[], null)).silent_ok(), "fine\n");
}

const KEYS: [u32; 2] = if cfg!(target_arch = "x86_64") {
    [248, 250]
} else {
    [217, 219]
};

fn the_callers_keys_stay_outside(cx: &Context) {
    if !Path::new("/proc/keys").exists() {
        crate::support::skip("this kernel has no keys");
        return;
    }
    let [add, keyctl] = KEYS;
    // A session keyring with a key, and a program that has it.
    let script = format!(
        "syscall({keyctl}, 1, 0) > 0 or die $!; my ($t, $d, $p) = ('user', 'minidock-secret', 'x'); \
         syscall({add}, $t, $d, $p, 1, -3) > 0 or die $!; exec @ARGV"
    );
    // Looks for it in the session keyring (KEYCTL_SEARCH).
    let look = format!(
        "my ($t, $d) = ('user', 'minidock-secret'); \
         print syscall({keyctl}, 10, -3, $t, $d, 0) > 0 ? \"found\\n\" : \"$!\\n\""
    );
    let having = |program: &[String]| {
        let mut command = cx.program("/usr/bin/perl");
        command.args(["-e", &script]).args(program);
        cx.finish(command)
    };
    assert_eq!(having(&perl(&look)).ok(), "found\n");
    let mut run = with_perl(cx, &["--security-opt", "seccomp=unconfined"], &look);
    run.insert(0, "minidock".to_owned());
    assert_eq!(having(&run).silent_ok(), "Required key not available\n");
    // The default filter refuses keys altogether.
    let mut run = with_perl(cx, &[], &look);
    run.insert(0, "minidock".to_owned());
    assert_eq!(having(&run).silent_ok(), "Operation not permitted\n");
}

fn the_callers_personality_stays_outside(cx: &Context) {
    cx.load_busybox();
    let mut command = cx.program("setarch");
    command.args([
        "-R",
        "minidock",
        "run",
        "--rm",
        "busybox",
        "cat",
        "/proc/self/personality",
    ]);
    assert_eq!(cx.finish(command).silent_ok(), "00000000\n");
}

fn processes_outside_cannot_be_traced_or_signalled(cx: &Context) {
    let sleep = crate::support::Running::spawn(cx.program("sleep").arg("86399"));
    let pid = sleep.pid().as_raw_nonzero();
    let ptrace = if cfg!(target_arch = "x86_64") {
        101
    } else {
        117
    };
    // PTRACE_ATTACH.
    let script = format!(
        "print syscall({ptrace}, 16, {pid}, 0, 0) < 0 ? \"$!\\n\" : \"attached\\n\"; \
         print kill('KILL', {pid}) ? \"killed\\n\" : \"$!\\n\"; \
         print open(my $f, '<', '/proc/{pid}/environ') ? \"read\\n\" : \"no\\n\""
    );
    let no = "No such process\nNo such process\nno\n";
    assert_eq!(cx.run(with_perl(cx, &[], &script)).silent_ok(), no);
    // Where it sees them, they are still a more privileged namespace's.
    let seen = script.replace("'KILL'", "0");
    let output = cx.run(with_perl(
        cx,
        &["--pid", "host", "--cap-add", "SYS_PTRACE"],
        &seen,
    ));
    let lines: Vec<&str> = output.ok().lines().collect();
    assert_eq!(lines[0], "Operation not permitted", "{output}");
    assert_eq!(lines[2], "no", "{output}");
}

/// TIOCSTI types into a terminal, TIOCLINUX pastes into a console.
fn the_callers_terminal_cannot_be_typed_into(cx: &Context) {
    let script = "my $c = '#'; my $p = pack('C', 3); my $any = 0; \
                  for my $n ('/dev/tty', '/dev/console', map { \"/proc/self/fd/$_\" } 0 .. 2) { \
                    open(my $f, '+<', $n) or next; $any |= ioctl($f, 0x5412, $c) || ioctl($f, 0x541C, $p) || 0; } \
                  for my $f (*STDIN, *STDOUT, *STDERR) { $any |= ioctl($f, 0x5412, $c) || ioctl($f, 0x541C, $p) || 0; } \
                  print $any ? \"typed\\n\" : \"nothing\\n\"";
    // Without a terminal of its own it has none, although all its streams are the caller's terminal.
    let args = with_perl(cx, &["-i"], script);
    let mut terminal = Terminal::start_args(cx, &args);
    terminal.expect("nothing\r\n");
    let output = terminal.wait();
    assert_eq!(output.code, Some(0), "{output}");
    // With one, it is typed into that: nothing waits to be read from the caller's when all is over.
    let args = with_perl(cx, &["-i", "-t"], &format!("{script}; print \"over\\n\""));
    let mut terminal = Terminal::start_args(cx, &args);
    terminal.expect("over\r\n");
    let device = terminal.keep_device();
    assert_eq!(terminal.wait().code, Some(0));
    assert_eq!(rustix::io::ioctl_fionread(&device).unwrap(), 0);
}
