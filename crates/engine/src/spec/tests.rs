//! What flags mean, without a kernel.

use super::*;

fn config(entrypoint: &[&str], cmd: &[&str]) -> ContainerConfig {
    let list = |l: &[&str]| l.iter().map(|s| (*s).to_owned()).collect();
    ContainerConfig {
        entrypoint: list(entrypoint),
        cmd: list(cmd),
        env: vec!["PATH=/bin".into(), "A=image".into(), "B=image".into()],
        working_dir: "/srv".into(),
        ..ContainerConfig::default()
    }
}

fn built(wishes: &Wishes) -> Spec {
    let user = ResolvedUser {
        uid: 5,
        gid: 6,
        additional_gids: vec![7],
        home: "/home/x".into(),
    };
    let map = [IdExtent {
        container: 5,
        host: 1000,
        size: 1,
    }];
    let facts = Facts {
        id: &"ab".repeat(32),
        host_name: "here",
        user: &user,
        uid_map: &map,
        gid_map: &map,
        rootfs: Path::new("/r"),
        files: &[(PathBuf::from("/c/hosts"), "/etc/hosts")],
        mounts: &[],
        host_has_mqueue: true,
        devices: &[],
    };
    build(&config(&["/e"], &["c"]), wishes, &facts).unwrap()
}

#[test]
fn entrypoint_and_arguments_combine_as_in_docker() {
    let words = |l: &[&str]| l.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
    for (entrypoint, args, expected) in [
        (None, &[][..], &["/e", "c"][..]),
        (None, &["x", "y"], &["/e", "x", "y"]),
        (Some("/f"), &[], &["/f"]),
        (Some("/f"), &["x"], &["/f", "x"]),
        (Some(""), &["x"], &["x"]),
        (Some(""), &[], &[]),
    ] {
        let wishes = Wishes {
            entrypoint: entrypoint.map(str::to_owned),
            command: words(args),
            ..Wishes::default()
        };
        assert_eq!(command(&config(&["/e"], &["c"]), &wishes), words(expected));
    }
}

#[test]
fn the_environment_is_in_dockers_order_and_the_last_setting_wins() {
    let spec = built(&Wishes {
        env: vec!["B=mine".into(), "C=1".into(), "A".into(), "C=2".into()],
        terminal: true,
        ..Wishes::default()
    });
    let env = spec.process().as_ref().unwrap().env().clone().unwrap();
    assert_eq!(
        env,
        [
            "PATH=/bin",
            "HOSTNAME=abababababab",
            "TERM=xterm",
            "B=mine",
            "C=2",
            "HOME=/home/x"
        ]
    );
}

#[test]
fn the_host_network_is_the_only_thing_shared_when_asked_for() {
    let kinds = |wishes: &Wishes| -> Vec<String> {
        let spec = built(wishes);
        let namespaces = spec.linux().as_ref().unwrap().namespaces().clone();
        namespaces
            .unwrap()
            .iter()
            .map(|n| n.typ().to_string())
            .collect()
    };
    let all = ["user", "pid", "mnt", "uts", "ipc", "cgroup", "net"];
    assert_eq!(kinds(&Wishes::default()), all);
    let host = Wishes {
        network: Network::Host,
        ..Wishes::default()
    };
    assert_eq!(kinds(&host), all[..6]);
    assert_eq!(built(&host).hostname().as_deref(), Some("here"));
}

#[test]
fn the_process_is_who_and_where_it_was_asked_to_be() {
    let spec = built(&Wishes {
        workdir: Some("/w".into()),
        read_only: true,
        ..Wishes::default()
    });
    let process = spec.process().as_ref().unwrap();
    assert_eq!(process.user().uid(), 5);
    assert_eq!(process.user().gid(), 6);
    assert_eq!(process.user().additional_gids().as_deref(), Some(&[7][..]));
    assert_eq!(process.cwd(), Path::new("/w"));
    assert_eq!(process.no_new_privileges(), Some(true));
    assert_eq!(spec.root().as_ref().unwrap().readonly(), Some(true));
    let bounding = process.capabilities().as_ref().unwrap().bounding().clone();
    assert_eq!(bounding.unwrap().len(), 14);
}
