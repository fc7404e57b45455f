//! Debian's package programs in a container with one id. The image is made of this machine's own packages, where it is a Debian.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{Caller, Context, Output, skip};

/// Packages beside the essential ones.
const MORE: [&str; 3] = ["apt", "adduser", "passwd"];

/// Nobody reads there.
const UNREAD: [&str; 4] = [
    "/usr/share/doc/",
    "/usr/share/man/",
    "/usr/share/locale/",
    "/usr/share/info/",
];

#[track_caller]
fn output(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What each installed package is called in the files of its database, its dependencies, and whether it is essential.
struct Package {
    instance: String,
    depends: String,
    essential: bool,
}

fn installed() -> BTreeMap<String, Package> {
    let format =
        "${Package}\t${binary:Package}\t${Essential}\t${Pre-Depends}, ${Depends}\t${Provides}\n";
    let text = output(Command::new("dpkg-query").args(["-W", "-f", format]));
    let mut packages = BTreeMap::new();
    let mut provided = Vec::new();
    for line in text.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let [name, instance, essential, depends, provides] = fields[..] else {
            panic!("{line}");
        };
        for provide in provides.split(", ").filter(|p| !p.is_empty()) {
            provided.push((
                provide.split(' ').next().unwrap().to_owned(),
                name.to_owned(),
            ));
        }
        let package = Package {
            instance: instance.to_owned(),
            depends: depends.to_owned(),
            essential: essential == "yes",
        };
        packages.insert(name.to_owned(), package);
    }
    for (name, by) in provided {
        if !packages.contains_key(&name) {
            let by = &packages[&by];
            let stand_in = Package {
                instance: by.instance.clone(),
                depends: by.depends.clone(),
                essential: false,
            };
            packages.insert(name, stand_in);
        }
    }
    packages
}

/// The packages of a small system, by their names in the database.
fn chosen(installed: &BTreeMap<String, Package>) -> BTreeSet<String> {
    let essential = installed.iter().filter(|(_, p)| p.essential);
    let mut names: Vec<&str> = essential
        .map(|(name, _)| name.as_str())
        .chain(MORE)
        .collect();
    let mut chosen = BTreeSet::new();
    while let Some(name) = names.pop() {
        let package = &installed[name];
        if !chosen.insert(package.instance.clone()) {
            continue;
        }
        for wanted in package.depends.split(", ").filter(|d| !d.is_empty()) {
            let alternatives = wanted
                .split(" | ")
                .map(|a| a.split([' ', ':']).next().unwrap());
            let found = alternatives
                .filter_map(|a| installed.get_key_value(a))
                .next();
            names.extend(found.map(|(name, _)| name.as_str()));
        }
    }
    chosen
}

/// The files of packages, each under the folder that it really is in.
fn files(packages: &BTreeSet<String>) -> BTreeSet<PathBuf> {
    let text = output(Command::new("dpkg-query").arg("-L").args(packages));
    let mut files = BTreeSet::new();
    for line in text.lines().filter(|l| l.starts_with('/') && *l != "/.") {
        let path = Path::new(line);
        if UNREAD.iter().any(|u| line.starts_with(u)) || path.symlink_metadata().is_err() {
            continue;
        }
        let folder = path.parent().unwrap().canonicalize().unwrap();
        files.insert(folder.join(path.file_name().unwrap()));
    }
    files
}

/// Imports `debian`, with an empty repository of packages at `/repo`; `None`, and a word why, where this machine is none.
fn debian() -> Option<Context> {
    let cx = Context::new(Caller::Ordinary)?;
    if !Path::new("/usr/bin/dpkg-deb").exists() || !Path::new("/usr/bin/apt-get").exists() {
        skip("this machine is no Debian");
        return None;
    }
    let installed = installed();
    let packages = chosen(&installed);
    let mut files = files(&packages);
    // Made when packages were set up, and owned by none.
    for made in [
        "/usr/bin/awk",
        "/etc/alternatives/awk",
        "/usr/bin/which",
        "/etc/alternatives/which",
        "/etc/pam.d/common-account",
        "/etc/pam.d/common-auth",
        "/etc/pam.d/common-password",
        "/etc/pam.d/common-session",
        "/etc/pam.d/common-session-noninteractive",
    ] {
        files.insert(made.into());
    }
    let root = cx.work().join("root");
    for folder in [
        "var/lib/dpkg/updates",
        "var/lib/dpkg/info",
        "var/lib/dpkg/triggers",
        "var/lib/dpkg/alternatives",
        "var/lib/apt/lists/partial",
        "var/cache/apt/archives/partial",
        "var/log/apt",
        "etc/apt/apt.conf.d",
        "tmp",
        "root",
        "home",
    ] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    // Stanzas are apart by an empty line.
    let status = fs::read_to_string("/var/lib/dpkg/status").unwrap();
    let names: BTreeSet<&str> = packages
        .iter()
        .map(|p| p.split(':').next().unwrap())
        .collect();
    let ours = status.split_inclusive("\n\n").filter(|stanza| {
        let name = stanza
            .lines()
            .next()
            .and_then(|l| l.strip_prefix("Package: "));
        name.is_some_and(|name| names.contains(name))
    });
    fs::write(root.join("var/lib/dpkg/status"), ours.collect::<String>()).unwrap();
    for entry in fs::read_dir("/var/lib/dpkg/info").unwrap() {
        let path = entry.unwrap().path();
        let stem = path.file_stem().unwrap().to_str().unwrap();
        if packages.contains(stem) {
            let to = root
                .join("var/lib/dpkg/info")
                .join(path.file_name().unwrap());
            fs::copy(&path, to).unwrap();
        }
    }
    for (file, master) in [("passwd", "passwd.master"), ("group", "group.master")] {
        let text = fs::read_to_string(Path::new("/usr/share/base-passwd").join(master)).unwrap();
        let text = text.replace(":*:", ":x:");
        let more = if file == "passwd" && !text.contains("\n_apt:") {
            "_apt:x:42:65534::/nonexistent:/usr/sbin/nologin\n"
        } else {
            ""
        };
        fs::write(root.join("etc").join(file), text + more).unwrap();
    }
    fs::write(
        root.join("etc/apt/sources.list"),
        "deb [trusted=yes] file:/repo ./\n",
    )
    .unwrap();
    let list = cx.write(
        "files",
        files
            .iter()
            .map(|f| format!("{}\n", f.display()))
            .collect::<String>(),
    );
    let archive = cx.work().join("debian.tar");
    output(
        Command::new("tar")
            .args(["--no-recursion", "-cPf"])
            .arg(&archive)
            .arg("-T")
            .arg(list),
    );
    output(
        Command::new("tar")
            .arg("-rf")
            .arg(&archive)
            .arg("-C")
            .arg(&root)
            .args(["--owner=0", "--group=0", "."]),
    );
    cx.run(["import", archive.to_str().unwrap(), "debian"]).ok();
    fs::remove_file(archive).unwrap();
    Some(cx)
}

/// Puts a package into the folder `repo` that makes a user, gives files to it and makes a device.
fn package(cx: &Context, name: &str, depends: &str) {
    let tree = cx.work().join("tree").join(name);
    fs::create_dir_all(tree.join("DEBIAN")).unwrap();
    fs::create_dir_all(tree.join("srv").join(name)).unwrap();
    fs::write(tree.join("srv").join(name).join("data"), "data\n").unwrap();
    let control = format!(
        "Package: {name}\nVersion: 1\nArchitecture: all\nMaintainer: Nobody <n@example.org>\nDepends: adduser{depends}\n\
         Description: for a test\n"
    );
    fs::write(tree.join("DEBIAN/control"), &control).unwrap();
    let script = format!(
        "#!/bin/sh\nset -e\nadduser --system --group --no-create-home --home /srv/{name} {name} >/dev/null\n\
         chown -R {name}:{name} /srv/{name}\nchgrp adm /srv/{name}/data\nmknod /srv/{name}/null c 1 3\n\
         install -d -o {name} -g adm -m 2750 /var/lib/{name}\n"
    );
    let postinst = tree.join("DEBIAN/postinst");
    fs::write(&postinst, script).unwrap();
    output(Command::new("chmod").arg("755").arg(postinst));
    let repo = cx.work().join("repo");
    fs::create_dir_all(&repo).unwrap();
    let deb = repo.join(format!("{name}.deb"));
    output(
        Command::new("dpkg-deb")
            .args(["--root-owner-group", "-b"])
            .arg(&tree)
            .arg(&deb),
    );
    let sum = output(Command::new("sha256sum").arg(&deb));
    let entry = format!(
        "{control}Filename: ./{name}.deb\nSize: {}\nSHA256: {}\n\n",
        fs::metadata(&deb).unwrap().len(),
        sum.split(' ').next().unwrap()
    );
    let index = repo.join("Packages");
    let before = fs::read_to_string(&index).unwrap_or_default();
    fs::write(index, before + &entry).unwrap();
    output(Command::new("chmod").args(["-R", "a+rX"]).arg(&repo));
}

fn shell(cx: &Context, flags: &[&str], script: &str) -> Output {
    let args = [
        &["run", "--rm", "-v", "./repo:/repo:ro"],
        flags,
        &["debian", "sh", "-ec", script],
    ];
    cx.run(args.concat())
}

const LOOK: &str = "dpkg-query -W -f '${Package} ${Status}\\n' one two 2>/dev/null; id -un one; stat -c '%a %F' /var/lib/one /srv/one/null; \
                    su one -s /bin/sh -c id";
const FOUND: &str = "one install ok installed\ntwo install ok installed\none\n2750 directory\n644 regular empty file\n";

/// apt fetches and verifies as a user of its own, and makes sure that it cannot be root again.
#[test]
fn apt_and_dpkg_install_packages() {
    let Some(cx) = debian() else { return };
    package(&cx, "one", "");
    package(&cx, "two", ", one");
    let sandbox = "apt-config dump APT::Sandbox::User";
    assert_eq!(
        shell(&cx, &[], sandbox).silent_ok(),
        "APT::Sandbox::User \"_apt\";\n"
    );
    let quiet = ">/tmp/log 2>&1 || { cat /tmp/log; exit 1; }; ! grep -E '^(W|E|dpkg: w)' /tmp/log";
    for install in [
        "{ apt-get -qq update && apt-get install -y two; }",
        "apt-get install -y /repo/one.deb /repo/two.deb",
        "dpkg -i /repo/one.deb /repo/two.deb",
    ] {
        let output = shell(&cx, &[], &format!("{install} {quiet}; {LOOK}"));
        let ids = output.ok().strip_prefix(FOUND);
        let ids = ids.unwrap_or_else(|| panic!("{install}: {output}"));
        assert!(
            ids.starts_with("uid=10") && ids.contains("(one) gid="),
            "{output}"
        );
        assert_eq!(output.stderr, "", "{output}");
    }
    // Without it, apt does not get past its own user, and dpkg not past the first owner.
    let fails = shell(&cx, &["--root-emulation=off"], "apt-get -qq update");
    assert!(fails.fails(100).contains("setgroups"), "{fails}");
    let fails = shell(&cx, &["--root-emulation=off"], "dpkg -i /repo/one.deb");
    assert_eq!(fails.code, Some(1), "{fails}");
}

/// What init scripts and entry points drop privileges with.
#[test]
fn programs_that_drop_privileges_do() {
    let Some(cx) = debian() else { return };
    fs::create_dir(cx.work().join("repo")).unwrap();
    let ids = "'echo $(id -u):$(id -g):$(id -G); chown 6 /tmp 2>/dev/null || echo denied'";
    for way in [
        format!("su games -s /bin/sh -c {ids}"),
        format!("runuser -u games -- sh -c {ids}"),
        format!("setpriv --reuid=5 --regid=60 --init-groups sh -c {ids}"),
        format!("setpriv --reuid=5 --regid=60 --clear-groups --inh-caps=-all sh -c {ids}"),
        format!("chroot --userspec=games / sh -c {ids}"),
        format!(
            "start-stop-daemon --start --pidfile /tmp/none --chuid games --startas /bin/sh -- -c {ids}"
        ),
        format!("perl -e '$( = $) = \"60 60\"; $< = $> = 5; exec @ARGV' sh -c {ids}"),
    ] {
        let output = shell(&cx, &[], &format!("pwconv; {way}; id -u"));
        assert_eq!(output.silent_ok(), "5:60:60\ndenied\n0\n", "{way}");
    }
}
