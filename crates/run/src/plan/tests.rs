//! Plans for made-up hosts: what a Spec becomes, and in which order.

use std::path::{Path, PathBuf};

use oci_spec::runtime::Spec;

use super::{Plan, plan};
use crate::{Host, Launch, PlanError, Provision, RootEmulation, Rootfs};

/// An ordinary user on a current kernel.
fn user() -> Host {
    Host {
        kernel: (6, 12),
        uid: 1000,
        gid: 1000,
        may_map_any_id: false,
        pivot_root: true,
        seccomp: true,
        spare_limit: true,
        landlock: 7,
    }
}

fn root() -> Host {
    Host {
        uid: 0,
        gid: 0,
        may_map_any_id: true,
        ..user()
    }
}

/// A container's Spec, small but with one of everything whose order matters; `change` makes it another.
fn spec(change: impl FnOnce(&mut serde_json::Value)) -> Spec {
    let namespaces = ["user", "pid", "mount", "uts", "ipc", "network", "cgroup"];
    let namespaces: Vec<_> = namespaces.map(|n| serde_json::json!({"type": n})).into();
    let mut value = serde_json::json!({
        "ociVersion": "1.2.0",
        "root": {"path": "rootfs", "readonly": true},
        "hostname": "box",
        "process": {
            "cwd": "/srv", "args": ["sh"], "env": ["PATH=/bin:/usr/bin"],
            "user": {"uid": 5, "gid": 6}, "noNewPrivileges": true,
            "capabilities": {"bounding": ["CAP_KILL"], "permitted": ["CAP_KILL"], "effective": ["CAP_KILL"]},
        },
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs"},
            {"destination": "/etc/hosts", "type": "bind", "source": "/c/hosts", "options": ["bind"]},
        ],
        "linux": {
            "namespaces": namespaces,
            "uidMappings": [{"containerID": 5, "hostID": 1000, "size": 1}],
            "gidMappings": [{"containerID": 6, "hostID": 1000, "size": 1}],
            "maskedPaths": ["/proc/kcore"], "readonlyPaths": ["/proc/sys"],
        },
    });
    change(&mut value);
    serde_json::from_value(value).unwrap()
}

/// A launch with nothing but what every one has.
fn launch<'a>(spec: &'a Spec, rootfs: &'a Rootfs) -> Launch<'a> {
    Launch {
        spec,
        rootfs,
        provide: &[],
        interactive: false,
        kept: false,
        terminal: false,
        attach: [true; 3],
        init: false,
        default_filter: false,
        root_emulation: RootEmulation::Off,
        cgroup: None,
        mountpoint: Path::new("/c/rootfs"),
    }
}

fn planned(spec: &Spec, host: &Host) -> Result<Plan, PlanError> {
    let rootfs = Rootfs::Overlay {
        lower: vec![PathBuf::from("/l/2"), PathBuf::from("/l/1")],
        upper: "/c/upper".into(),
        work: "/c/work".into(),
        volatile: true,
    };
    let provide = [Provision::Folder("/data".into())];
    let launch = Launch {
        provide: &provide,
        ..launch(spec, &rootfs)
    };
    plan(&launch, host)
}

fn lines(plan: &Plan) -> Vec<String> {
    plan.to_string().lines().map(str::to_owned).collect()
}

#[test]
fn an_ordinary_users_container_step_by_step() {
    let plan = planned(&spec(|_| {}), &user()).unwrap();
    let expected = [
        "tie the container's life to the supervisor's",
        "map ids (uid 5 1000 1, gid 6 1000 1)",
        "make mounts private",
        "mount the overlay of 2 layers, upper /c/upper, volatile",
        "make the folder /data",
        "mount proc on /proc",
        "mount tmpfs on /dev",
        "fill /dev",
        "bind /c/hosts to /etc/hosts",
        "make /proc/sys read-only",
        "mask /proc/kcore",
        "find the working directory /srv",
        "make the root file system read-only",
        "pivot into the root file system",
        "set the host name to box",
        "bring up the loopback device",
        "enter the working directory",
    ];
    let lines = lines(&plan);
    assert_eq!(&lines[..expected.len()], expected, "{lines:#?}");
    assert_eq!(plan.host_user, 1000);
}

#[test]
fn privileges_go_in_the_order_in_which_they_can_and_nothing_comes_after_the_command() {
    let lines = lines(&planned(&spec(|_| {}), &user()).unwrap());
    let at = |start: &str| {
        let found = lines.iter().position(|l| l.starts_with(start));
        found.unwrap_or_else(|| panic!("no step {start:?} in {lines:#?}"))
    };
    let order = [
        at("pivot into"),
        at("bound capabilities to"),
        at("become user 5:6"),
        at("set capabilities:"),
        at("execute the command"),
    ];
    assert!(order.is_sorted(), "{lines:#?}");
    assert_eq!(order[4], lines.len() - 1);
    assert!(lines[order[2]].ends_with("groups unchanged"));
    assert!(at("give up gaining privileges") < order[4]);
    assert!(at("set up stdio") < order[4]);
}

#[test]
fn root_waits_for_its_maps_and_sets_its_groups() {
    let all = serde_json::json!([{"containerID": 0, "hostID": 0, "size": 4_294_967_295_u32}]);
    let spec = spec(|v| {
        v["linux"]["uidMappings"] = all.clone();
        v["linux"]["gidMappings"] = all;
        v["process"]["user"]["additionalGids"] = serde_json::json!([10, 3]);
    });
    let plan = planned(&spec, &root()).unwrap();
    let lines = lines(&plan);
    assert_eq!(lines[1], "wait for the id maps");
    assert!(
        lines.iter().any(|l| l == "become user 5:6, groups [10 3]"),
        "{lines:#?}"
    );
    assert_eq!(plan.host_user, 5);
    // The same maps are not an ordinary user's to write.
    let error = planned(&spec, &user()).unwrap_err();
    assert!(
        matches!(
            error,
            PlanError::IdRanges {
                uid: 1000,
                gid: 1000
            }
        ),
        "{error}"
    );
}

#[test]
fn the_initial_ramfs_is_left_by_a_move() {
    let host = Host {
        pivot_root: false,
        ..user()
    };
    let lines = lines(&planned(&spec(|_| {}), &host).unwrap());
    assert!(
        lines
            .iter()
            .any(|l| l.starts_with("move the root file system over /"))
    );
    assert!(!lines.iter().any(|l| l.starts_with("pivot")));
}

#[test]
fn the_hosts_network_has_no_loopback_to_bring_up() {
    let spec = spec(|v| {
        let namespaces = v["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.retain(|n| n["type"] != "network");
    });
    let lines = lines(&planned(&spec, &user()).unwrap());
    assert!(!lines.iter().any(|l| l.contains("loopback")), "{lines:#?}");
}

#[test]
fn what_cannot_be_done_is_refused_by_name() {
    type Change = fn(&mut serde_json::Value);
    let cases: [(&str, Change); 8] = [
        ("scmp_act_notify", |v| {
            v["linux"]["seccomp"] = serde_json::json!({"defaultAction": "SCMP_ACT_NOTIFY"})
        }),
        ("hooks", |v| {
            v["hooks"] = serde_json::json!({"poststop": [{"path": "/bin/true"}]})
        }),
        ("kernel.panic", |v| {
            v["linux"]["sysctl"] = serde_json::json!({"kernel.panic": "1"})
        }),
        ("net..x", |v| {
            v["linux"]["sysctl"] = serde_json::json!({"net..x": "1"})
        }),
        ("selinux", |v| v["process"]["selinuxLabel"] = "x".into()),
        ("path", |v| {
            v["linux"]["namespaces"][1]["path"] = "/proc/1/ns/pid".into()
        }),
        ("user", |v| {
            let namespaces = v["linux"]["namespaces"].as_array_mut().unwrap();
            namespaces.retain(|n| n["type"] != "user");
        }),
        ("uid", |v| v["process"]["user"]["uid"] = 7.into()),
    ];
    for (word, change) in cases {
        let error = planned(&spec(change), &user()).unwrap_err().to_string();
        assert!(error.to_lowercase().contains(word), "{word}: {error}");
    }
}

#[test]
fn walls_besides_namespaces_stand_where_nobody_notices_them() {
    let with = |default_filter: bool, host: &Host, change: &dyn Fn(&mut serde_json::Value)| {
        let spec = spec(|v| change(v));
        let rootfs = Rootfs::Bind("/l/1".into());
        let launch = Launch {
            default_filter,
            ..launch(&spec, &rootfs)
        };
        lines(&plan(&launch, host).unwrap())
    };
    let at = |lines: &[String], line: &str| lines.iter().position(|l| l == line);
    const OWN_FILES: &str = "give up all files but the container's";
    let usual = with(true, &user(), &|_| {});
    let order = [
        at(&usual, "pivot into the root file system"),
        at(&usual, "start a new session keyring"),
        at(&usual, "set the personality to 0x0"),
        at(&usual, "give up gaining privileges"),
        at(&usual, OWN_FILES),
    ];
    assert!(order[0].is_some() && order.is_sorted(), "{usual:#?}");
    let old = Host {
        landlock: 1,
        ..user()
    };
    let own_profile = serde_json::json!({"defaultAction": "SCMP_ACT_ALLOW"});
    type Change<'a> = &'a dyn Fn(&mut serde_json::Value);
    let without: [(bool, &Host, Change<'_>); 5] = [
        (true, &old, &|_| {}),
        (false, &user(), &|_| {}),
        (true, &user(), &|v| {
            v["process"]["noNewPrivileges"] = false.into()
        }),
        (true, &user(), &|v| {
            v["process"]["capabilities"]["bounding"] = serde_json::json!(["CAP_SYS_ADMIN"])
        }),
        (true, &user(), &|v| {
            v["linux"]["seccomp"] = own_profile.clone()
        }),
    ];
    for (default_filter, host, change) in without {
        let lines = with(default_filter, host, change);
        assert_eq!(at(&lines, OWN_FILES), None, "{lines:#?}");
    }
    let named = with(true, &user(), &|v| {
        v["process"]["apparmorProfile"] = "mine".into();
        v["linux"]["personality"] = serde_json::json!({"domain": "LINUX32"});
    });
    // While /proc is still the host's.
    let profile = at(&named, "apply the AppArmor profile mine");
    assert!(profile.is_some() && profile < at(&named, "pivot into the root file system"));
    assert!(at(&named, "set the personality to 0x8").is_some());
}

#[test]
fn a_slave_mount_keeps_the_others_private() {
    let with = |options: &[&str]| {
        let spec = spec(|v| {
            v["mounts"][2]["options"] = serde_json::json!(options);
        });
        planned(&spec, &user()).map(|plan| lines(&plan))
    };
    let slave = with(&["rbind", "rslave", "rro"]).unwrap();
    assert_eq!(slave[2], "make mounts follow the host's");
    assert!(slave.contains(&"bind /c/hosts to /etc/hosts, read-only, slave".to_owned()));
    assert_eq!(with(&["rbind"]).unwrap()[2], "make mounts private");
    assert!(with(&["rbind", "rshared"]).is_err());
}

#[test]
fn volumes_are_filled_by_a_process_that_has_the_containers_ids_and_no_program() {
    let spec = spec(|_| {});
    let rootfs = Rootfs::Bind("/l/1".into());
    let launch = launch(&spec, &rootfs);
    let fills = [(Path::new("/data"), Path::new("/v/_data"))];
    let plan = super::plan_fill(&launch, &user(), &fills).unwrap();
    assert_eq!(
        lines(&plan),
        [
            "tie the container's life to the supervisor's",
            "map ids (uid 5 1000 1, gid 6 1000 1)",
            "make mounts private",
            "bind the root file system /l/1",
            "copy the image's /data into the volume /v/_data",
            "finish",
        ]
    );
}

#[test]
fn parameters_are_set_before_their_files_become_read_only() {
    let spec = spec(|v| {
        let sysctl = serde_json::json!({"net.ipv4.ip_forward": "1", "fs.mqueue.msg_max": "5"});
        v["linux"]["sysctl"] = sysctl;
    });
    let lines = lines(&planned(&spec, &user()).unwrap());
    let at = |line: &str| lines.iter().position(|l| l == line);
    let order = [
        at("mount proc on /proc"),
        at("set /proc/sys/fs/mqueue/msg_max to 5"),
        at("set /proc/sys/net/ipv4/ip_forward to 1"),
        at("make /proc/sys read-only"),
    ];
    assert!(order[0].is_some() && order.is_sorted(), "{lines:#?}");
}

#[test]
fn a_reaper_stays_just_before_the_program() {
    let spec = spec(|_| {});
    let rootfs = Rootfs::Bind("/l/1".into());
    let launch = Launch {
        init: true,
        ..launch(&spec, &rootfs)
    };
    let lines = lines(&plan(&launch, &user()).unwrap());
    let last = [
        "stay to reap and to pass on signals",
        "find the command",
        "execute the command",
    ];
    assert_eq!(lines[lines.len() - 3..], last);
}

#[test]
fn the_filter_comes_as_late_as_it_can() {
    let planned = |no_new_privileges: bool, host: &Host| {
        let spec = spec(|v| v["process"]["noNewPrivileges"] = no_new_privileges.into());
        let rootfs = Rootfs::Bind("/l/1".into());
        let launch = Launch {
            default_filter: true,
            ..launch(&spec, &rootfs)
        };
        plan(&launch, host).unwrap()
    };
    let found = |lines: &[String], start: &str| lines.iter().position(|l| l.starts_with(start));
    let with = lines(&planned(true, &user()));
    assert_eq!(
        found(&with, "filter system calls"),
        Some(with.len() - 2),
        "{with:#?}"
    );
    // Without no_new_privs the kernel takes it only from who has CAP_SYS_ADMIN.
    let without = lines(&planned(false, &user()));
    let filter = found(&without, "filter system calls").unwrap();
    assert!(
        filter < found(&without, "become user").unwrap(),
        "{without:#?}"
    );
    assert!(filter < found(&without, "set capabilities").unwrap());
    let host = Host {
        seccomp: false,
        ..user()
    };
    let plan = planned(true, &host);
    assert_eq!(found(&lines(&plan), "filter"), None);
    assert!(
        plan.notes.iter().any(|note| note.contains("no seccomp")),
        "{:?}",
        plan.notes
    );
}

/// A container whose one id is root's, and what comes last in its plan.
fn emulated(
    change: impl FnOnce(&mut serde_json::Value),
    root_emulation: RootEmulation,
    host: &Host,
) -> Result<Plan, PlanError> {
    let spec = spec(|value| {
        value["process"]["user"] = serde_json::json!({"uid": 0, "gid": 0, "additionalGids": [4]});
        for map in ["uidMappings", "gidMappings"] {
            value["linux"][map][0]["containerID"] = 0.into();
        }
        change(value);
    });
    let launch = Launch {
        spec: &spec,
        rootfs: &Rootfs::Bind("/r".into()),
        provide: &[],
        interactive: false,
        kept: false,
        terminal: false,
        attach: [true; 3],
        init: false,
        default_filter: true,
        root_emulation,
        cgroup: None,
        mountpoint: Path::new("/c/rootfs"),
    };
    plan(&launch, host)
}

#[test]
fn emulation_begins_when_nothing_is_asked_any_more() {
    use RootEmulation::{Off, Required, Wanted};
    let names = |plan: &Plan| -> Vec<String> {
        let lines = lines(plan);
        let first = lines.iter().position(|l| l.starts_with("bound")).unwrap();
        let words = lines[first..].iter().map(|l| l.split(' ').take(2));
        words.map(|w| w.collect::<Vec<_>>().join(" ")).collect()
    };
    let plan = emulated(|_| {}, Wanted, &user()).unwrap();
    assert_eq!(plan.emulation.as_ref().unwrap().groups, [4]);
    let late = names(&plan);
    assert_eq!(
        late[late.len() - 4..],
        ["find the", "emulate root", "filter system", "execute the"],
        "{late:?}"
    );
    assert!(late.contains(&"become user".to_owned()));
    // Filters without no_new_privs take a capability, and from then on the process may ask for no ids.
    let gaining =
        |value: &mut serde_json::Value| value["process"]["noNewPrivileges"] = false.into();
    let plan = emulated(gaining, Required, &user()).unwrap();
    let early = names(&plan);
    assert_eq!(
        early[..4],
        [
            "bound capabilities",
            "set capabilities:",
            "emulate root",
            "filter system"
        ],
        "{early:?}"
    );
    assert!(!early.contains(&"become user".to_owned()), "{early:?}");

    // Where it cannot be had, it is noted or refused.
    let no_room = Host {
        spare_limit: false,
        ..user()
    };
    let without = |value: &mut serde_json::Value| {
        value["process"]["user"]["additionalGids"] = serde_json::json!([]);
    };
    let plan = emulated(without, Wanted, &no_room).unwrap();
    assert!(plan.emulation.is_none());
    assert_eq!(
        plan.notes,
        ["root is not emulated: the limit of file locks (ulimit -x) is in the way"]
    );
    let refused = emulated(without, Required, &no_room).unwrap_err();
    assert!(refused.to_string().contains("root emulation"), "{refused}");
    let off = emulated(without, Off, &user()).unwrap();
    assert!(off.emulation.is_none() && off.notes.is_empty());
    // What it told processes there would be, there is not without.
    assert!(matches!(
        emulated(|_| {}, Off, &user()),
        Err(PlanError::IdNotMapped { id: 4, .. })
    ));
}
