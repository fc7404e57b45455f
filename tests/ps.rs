//! `ps` with Docker's flags and filters, and `version`.

use crate::support::{Context, scenarios};

scenarios!(
    containers_are_chosen_by_docker_s_flags,
    volumes_are_listed_in_a_format,
    versions_are_told,
);

fn containers_are_chosen_by_docker_s_flags(cx: &Context) {
    cx.load_busybox();
    let run = |name: &str, more: &[&str], command: &str| {
        let mut args = vec!["run", "--name", name];
        args.extend(more);
        args.extend(["busybox", "sh", "-c", command]);
        cx.run(args);
    };
    run("web1", &["--label", "tier=front"], "exit 3");
    run(
        "web2",
        &["--label", "tier=back", "-v", "data:/data"],
        "echo 12345 >/file",
    );
    run("db", &[], "exit 0");
    let names = |flags: &[&str]| {
        let mut args = vec!["ps", "--format", "{{.Names}}"];
        args.extend(flags);
        let shown = cx.run(args);
        let mut names: Vec<String> = shown.silent_ok().lines().map(str::to_owned).collect();
        names.sort();
        names.join(" ")
    };
    let id = cx.run(["ps", "-aq", "--no-trunc", "-f", "name=db"]);
    let id = id.silent_ok().trim();
    for (flags, expected) in [
        (&[][..], ""),
        (&["-a"], "db web1 web2"),
        (&["-n", "5"], "db web1 web2"),
        (&["-n", "-1"], ""),
        (&["--last=0"], ""),
        (&["-a", "-f", "name=web"], "web1 web2"),
        (&["-a", "-f", "name=^/web1$", "-f", "name=db"], "db web1"),
        (&["-f", "status=exited"], "db web1 web2"),
        (&["-a", "-f", "status=running"], ""),
        (&["-a", "-f", "exited=3"], "web1"),
        (&["-a", "-f", "label=tier"], "web1 web2"),
        (&["-a", "-f", "label=tier=back"], "web2"),
        (&["-a", "-f", "label=tier", "-f", "label=tier=back"], "web2"),
        (&["-a", "-f", "volume=data"], "web2"),
        (&["-a", "-f", "volume=/data"], "web2"),
        (&["-a", "-f", "ancestor=busybox:latest"], "db web1 web2"),
        (&["-a", "-f", "ancestor=other"], ""),
        (&["-a", "-f", &format!("id={}", &id[..12])], "db"),
    ] {
        assert_eq!(names(flags), expected, "{flags:?}");
    }
    // In the order of their making, as far as seconds tell it.
    assert_eq!(names(&["-l"]).split(' ').count(), 1);
    assert_eq!(names(&["-n", "2"]).split(' ').count(), 2);
    let shown = cx.run(["ps", "-a", "-s", "-f", "name=web2"]);
    let text = shown.silent_ok();
    assert!(text.lines().next().unwrap().ends_with("SIZE"), "{shown}");
    assert!(text.contains("6B (virtual "), "{shown}");
    let shown = cx.run([
        "ps",
        "-a",
        "-f",
        "name=web2",
        "--format",
        "{{.Labels}} {{.Label \"tier\"}} {{.Mounts}} {{.LocalVolumes}}",
    ]);
    assert_eq!(shown.silent_ok(), "tier=back back data 1\n");
    for (filter, told) in [
        ("nosuch=1", "invalid filter 'nosuch'"),
        ("status=gone", "invalid filter 'status=gone'"),
        ("exited=x", "invalid filter 'exited=x'"),
        ("before=nosuch", "no such container: nosuch"),
        ("health=healthy", "invalid filter 'health'"),
    ] {
        let refused = cx.run(["ps", "-f", filter]);
        assert!(refused.error(1).contains(told), "{refused}");
    }
}

fn volumes_are_listed_in_a_format(cx: &Context) {
    cx.run(["volume", "create", "--label", "a=b", "data"])
        .silent_ok();
    let list = |format: &str| cx.run(["volume", "ls", "--format", format]);
    let shown = list("{{.Name}} {{.Driver}} {{.Scope}} {{.Labels}} {{.Label \"a\"}}");
    assert_eq!(shown.silent_ok(), "data local local a=b b\n");
    let json: serde_json::Value = serde_json::from_str(list("json").silent_ok()).unwrap();
    assert_eq!(json["Name"], "data");
    assert_eq!(
        list("table").silent_ok(),
        "DRIVER    VOLUME NAME\nlocal     data\n"
    );
}

fn versions_are_told(cx: &Context) {
    let number = cx.run(["version", "--format", "{{.Client.Version}}"]);
    let number = number.silent_ok().trim();
    assert!(number.split('.').count() == 3, "{number}");
    for flag in ["-v", "--version", "-V"] {
        let told = cx.run([flag]);
        assert_eq!(told.silent_ok(), format!("minidock {number}\n"));
    }
    let page = cx.run(["version"]);
    assert!(page.silent_ok().contains(number), "{page}");
    let json: serde_json::Value =
        serde_json::from_str(cx.run(["version", "-f", "json"]).silent_ok()).unwrap();
    assert_eq!(json["Client"]["Version"], number);
}
