//! Docker's syntax for mounts, case by case.

use super::*;

fn here() -> &'static Path {
    Path::new("/home/me/work")
}

fn bind(source: &str) -> MountWishKind {
    MountWishKind::Bind {
        source: source.into(),
        create: true,
        recursive: true,
        propagation: Propagation::Private,
    }
}

fn named(name: Option<&str>) -> MountWishKind {
    MountWishKind::Volume {
        name: name.map(str::to_owned),
        copy: true,
        labels: BTreeMap::new(),
    }
}

#[test]
fn volumes_as_docker_reads_them() {
    use Access::{ReadOnly, ReadWrite};
    for (text, target, access, kind) in [
        ("/a:/b", "/b", ReadWrite, bind("/a")),
        ("/a:/b:ro", "/b", ReadOnly, bind("/a")),
        ("/a:/b/../c/:rw,z,rprivate", "/c", ReadWrite, bind("/a")),
        (".:/b", "/b", ReadWrite, bind("/home/me/work")),
        ("./x y:/b:Z,ro", "/b", ReadOnly, bind("/home/me/work/x y")),
        ("../x:/b", "/b", ReadWrite, bind("/home/me/x")),
        ("data:/b:ro", "/b", ReadOnly, named(Some("data"))),
        ("/b", "/b", ReadWrite, named(None)),
    ] {
        let expected = MountWish {
            target: target.to_owned(),
            access,
            kind,
        };
        assert_eq!(volume(text, here()), Ok(expected), "{text}");
    }
    let MountWishKind::Bind { propagation, .. } = volume("/a:/b:rslave", here()).unwrap().kind
    else {
        panic!("no bind")
    };
    assert_eq!(propagation, Propagation::Slave);
}

#[test]
fn what_is_no_volume_says_why() {
    for (text, why) in [
        ("", "empty section"),
        (":", "empty section"),
        ("/a:", "empty section"),
        (":/b", "empty section"),
        ("/a:b", "must be absolute"),
        ("b", "must be absolute"),
        ("/a:/", "can't be '/'"),
        ("/a:/b/..", "can't be '/'"),
        ("/a:/b:ro,rw", "invalid mode"),
        ("/a:/b:what", "invalid mode: what"),
        ("/a:/b:ro:x", "more than three"),
        ("~/a:/b", "invalid characters"),
        ("a/b:/b", "invalid characters"),
        ("ab:/b:rslave", "propagation"),
        ("/a:/b:nocopy", "nocopy"),
        ("/a:/b:rshared", "user namespace"),
        ("/a:/b:U", "Podman"),
        ("/a\0:/b", "NUL"),
    ] {
        let wrong = volume(text, here()).unwrap_err();
        assert!(wrong.why.contains(why), "{text:?}: {wrong:?}");
    }
}

#[test]
fn mounts_as_docker_reads_them() {
    let MountWish {
        target,
        access,
        kind,
    } = mount("type=bind,\"source=/a,b\"\"c\",dst=/x,readonly", here()).unwrap();
    assert_eq!((target.as_str(), access), ("/x", Access::ReadOnly));
    let MountWishKind::Bind { source, create, .. } = kind else {
        panic!("no bind")
    };
    assert_eq!((source.as_path(), create), (Path::new("/a,b\"c"), false));

    let wish = mount(
        "source=vol,TARGET=/x,volume-nocopy,volume-label=a=b=c",
        here(),
    )
    .unwrap();
    assert_eq!(
        wish.kind,
        MountWishKind::Volume {
            name: Some("vol".into()),
            copy: false,
            labels: [("a".to_owned(), "b=c".to_owned())].into(),
        }
    );
    let wish = mount(
        "type=tmpfs,dst=/x,tmpfs-size=1m,tmpfs-mode=0700,ro=1",
        here(),
    )
    .unwrap();
    assert_eq!(wish.access, Access::ReadOnlyTop);
    let options = vec!["size=1048576".to_owned(), "mode=700".to_owned()];
    assert_eq!(wish.kind, MountWishKind::Tmpfs { options });
    for (recursive, access) in [
        ("ro,bind-recursive=writable", Access::ReadOnlyTop),
        (
            "ro,bind-recursive=readonly,bind-propagation=rprivate",
            Access::ReadOnlyRecursive,
        ),
        ("bind-recursive=enabled", Access::ReadWrite),
    ] {
        let wish = mount(&format!("type=bind,src=.,dst=/x,{recursive}"), here()).unwrap();
        assert_eq!(wish.access, access, "{recursive}");
    }
}

#[test]
fn what_is_no_mount_says_why() {
    for (text, why) in [
        ("", "key=value"),
        ("foo", "key=value"),
        ("type=bind", "target is required"),
        ("type=bind,dst=/x", "needs a source"),
        ("type=bind,src=a,dst=/x", "must be absolute"),
        ("type=bind,src=/a,dst=x", "must be absolute"),
        ("type=bind,src=/a,dst=/x,y=1", "unexpected key 'y'"),
        (
            "type=bind,src=/a,dst=/x,volume-nocopy",
            "cannot mix 'volume-*'",
        ),
        (
            "type=bind,src=/a,dst=/x,readonly=x",
            "invalid value for readonly",
        ),
        (
            "type=bind,src=/a,dst=/x,bind-recursive=x",
            "must be \"enabled\"",
        ),
        (
            "type=bind,src=/a,dst=/x,bind-recursive=readonly",
            "requires 'readonly'",
        ),
        (
            "type=bind,src=/a,dst=/x,bind-propagation=x",
            "invalid propagation",
        ),
        (
            "type=bind,src=/a,dst=/x,bind-propagation=shared",
            "user namespace",
        ),
        ("type=tmpfs,dst=/x,src=a", "no source"),
        ("type=tmpfs,dst=/x,tmpfs-size=x", "tmpfs-size"),
        ("type=tmpfs,dst=/x,tmpfs-mode=999", "tmpfs-mode"),
        ("type=odd,dst=/x", "mount type unknown"),
        ("type=image,src=busybox,dst=/x", "not supported"),
        ("type=volume,src=../x,dst=/x", "invalid characters"),
        ("\"type=bind", "not closed"),
        ("type=bind,\"dst=/x\"y", "follows a closing quote"),
        ("type=bind\0", "one line"),
    ] {
        let wrong = mount(text, here()).unwrap_err();
        assert!(wrong.why.contains(why), "{text:?}: {wrong:?}");
    }
}

#[test]
fn memory_and_other_containers() {
    let wish = tmpfs("/run:rw,size=64m,mode=1770,exec").unwrap();
    let options = ["size=64m", "mode=1770", "exec"].map(str::to_owned).into();
    assert_eq!(wish.kind, MountWishKind::Tmpfs { options });
    assert_eq!(tmpfs("/run:ro").unwrap().access, Access::ReadOnlyTop);
    for bad in ["run", "/", "/x:huge=1", "/x:lowerdir=/etc"] {
        assert!(tmpfs(bad).is_err(), "{bad}");
    }
    assert_eq!(volumes_from("c:ro").unwrap().read_only, Some(true));
    assert_eq!(volumes_from("c").unwrap().read_only, None);
    assert!(volumes_from("c:x").is_err() && volumes_from(":ro").is_err());
}
