//! `images`, `history` and `inspect`: filters, formats, Docker's shapes, and nothing of a stranger's that steers a terminal.

use expect_test::expect;
use serde_json::{Value, json};

use crate::support::{Context, ImageTar, Layer, PATIENCE, members, scenarios, sha256, tarball};

scenarios!(
    images_are_filtered,
    images_are_formatted,
    history_is_dockers,
    an_image_is_described_as_docker_does,
    a_container_is_described_as_docker_does,
    inspect_finds_whatever_has_the_name,
    what_is_not_there_is_told_after_what_is,
    strangers_words_do_not_steer_the_terminal,
);

/// An image of one small layer, with its own config on top of the usual.
fn load(cx: &Context, name: Option<&str>, created: &str, content: &str, config: Value) {
    let layer = Layer::new().file("file", 0o644, content.as_bytes()).tar();
    let image = ImageTar {
        name: name.map(str::to_owned),
        created: created.to_owned(),
        ..ImageTar::new("", layer, config)
    };
    cx.run_with_input(["load"], &image.tar()).ok();
}

/// A tarball of an image whose config is exactly this, with one layer.
fn raw_image(name: &str, layer: &[u8], mut config: Value) -> Vec<u8> {
    config["rootfs"] = json!({ "type": "layers", "diff_ids": [sha256(layer)] });
    let image = ImageTar::new(name, layer.to_owned(), json!({}));
    let config = config.to_string();
    let path = format!("blobs/{}", sha256(config.as_bytes()).replace(':', "/"));
    let mut all = members(&image.tar());
    let old: Value = serde_json::from_slice(&all.last().unwrap().1).unwrap();
    let manifest = json!([{ "Config": path, "RepoTags": [name], "Layers": old[0]["Layers"] }]);
    all.retain(|(header, _)| header.path().unwrap().to_str() != Some("manifest.json"));
    let extra = Layer::new()
        .file(&path, 0o644, config.as_bytes())
        .file("manifest.json", 0o644, manifest.to_string().as_bytes())
        .tar();
    all.extend(members(&extra));
    tarball(&all)
}

fn images_are_filtered(cx: &Context) {
    load(
        cx,
        Some("one:1"),
        "2024-01-01T00:00:00Z",
        "1",
        json!({ "Labels": { "a": "1" } }),
    );
    load(
        cx,
        Some("owner/two:2"),
        "2024-01-02T00:00:00Z",
        "2",
        json!({ "Labels": { "a": "2", "b": "" } }),
    );
    load(
        cx,
        Some("127.0.0.1:5000/three:3"),
        "2024-01-03T00:00:00.5+01:00",
        "3",
        json!({}),
    );
    load(cx, None, "", "4", json!({ "Labels": { "b": "x" } }));
    let names = |filters: &[&str]| -> String {
        let format = ["images", "--format", "{{.Repository}}:{{.Tag}}"];
        let output = cx.run(format.iter().chain(filters));
        output.silent_ok().lines().collect::<Vec<_>>().join(" ")
    };
    let all = "127.0.0.1:5000/three:3 owner/two:2 one:1 <none>:<none>";
    for (filters, expected) in [
        (&[][..], all),
        (&["-a"], all),
        (&["-f", "dangling=true"], "<none>:<none>"),
        (
            &["-f", "dangling=false"],
            "127.0.0.1:5000/three:3 owner/two:2 one:1",
        ),
        (&["-f", "label=a"], "owner/two:2 one:1"),
        (&["-f", "label=a=2"], "owner/two:2"),
        (&["-f", "label=a", "-f", "label=b"], "owner/two:2"),
        (
            &["--filter", "label=b", "--filter", "dangling=1"],
            "<none>:<none>",
        ),
        (&["-f", "before=owner/two:2"], "one:1 <none>:<none>"),
        (&["-f", "since=one:1"], "127.0.0.1:5000/three:3 owner/two:2"),
        (
            &["-f", "since=one:1", "-f", "before=127.0.0.1:5000/three:3"],
            "owner/two:2",
        ),
        (
            &["-f", "until=2024-01-02T00:00:00Z"],
            "owner/two:2 one:1 <none>:<none>",
        ),
        (&["-f", "until=1704067200"], "one:1 <none>:<none>"),
        (&["-f", "until=24h"], all),
        (&["-f", "reference=one"], "one:1"),
        (
            &["-f", "reference=*/*"],
            "127.0.0.1:5000/three:3 owner/two:2",
        ),
        (
            &["-f", "reference=*:1", "-f", "reference=*/*:2"],
            "owner/two:2 one:1",
        ),
        (&["owner/two"], "owner/two:2"),
        (&["owner/two:nosuch"], ""),
        (&["*/t*"], "127.0.0.1:5000/three:3 owner/two:2"),
        (&["docker.io/library/one:1"], "one:1"),
        (&["[m-p]ne"], "one:1"),
    ] {
        assert_eq!(names(filters), expected, "{filters:?}");
    }
    for (filter, code, words) in [
        ("dangling=maybe", 1, "invalid filter 'dangling=maybe'"),
        ("nosuch=1", 1, "invalid filter 'nosuch'"),
        ("nosuch", 125, "bad format of filter (expected name=value)"),
        ("before=nosuch", 1, "no such image: nosuch"),
        ("until=yesterday", 1, "invalid filter 'until=yesterday'"),
    ] {
        let output = cx.run(["images", "--filter", filter]);
        assert!(output.error(code).contains(words), "{output}");
    }
}

fn images_are_formatted(cx: &Context) {
    load(cx, Some("one:1"), "2024-01-01T00:00:00Z", "1", json!({}));
    load(cx, None, "", "4", json!({}));
    let show = |format: &str| cx.run(["images", "--format", format]);
    expect![[r#"
        exit 0
        stdout:
        IMAGE ID       REPOSITORY   TAG
        <id>   ONE          "1"
        <id>   <NONE>       "<none>"
    "#]]
    .assert_eq(&show(r"table {{.ID}}\t{{upper .Repository}}\t{{json .Tag}}").snapshot(&[]));
    expect![[r#"
        exit 0
        stdout:
        one 2024-01-01 00:00:00 +0000 UTC 1B
        <none> 0001-01-01 00:00:00 +0000 UTC 1B
    "#]]
    .assert_eq(&show("{{.Repository}} {{.CreatedAt}} {{.Size}}").snapshot(&[]));
    let json = show("json");
    let lines: Vec<Value> = json
        .silent_ok()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines[0]["Repository"], "one");
    assert_eq!(lines[0]["Tag"], "1");
    assert_eq!(lines[0]["Size"], "1B");
    assert_eq!(lines[1]["CreatedSince"], "");
    assert_eq!(lines[1]["Repository"], "<none>");
    assert!(json.stdout.contains(r#""\u003cnone\u003e""#), "{json}");
    expect![[r#"
        exit 1
        stderr:
        minidock: template parsing error: template: :1:2: executing "" at <.Foo>: can't evaluate field Foo
        hint: the fields are .ID, .Repository, .Tag, .Digest, .CreatedSince, .CreatedAt, .Size, .Containers, .VirtualSize, .SharedSize, .UniqueSize
    "#]]
    .assert_eq(&show("{{.Foo}}").snapshot(&[]));
    expect![[r#"
        exit 1
        stderr:
        minidock: template parsing error: template: :1: unclosed action
    "#]]
    .assert_eq(&show("{{.ID").snapshot(&[]));
    // A template is checked even when there is nothing to show.
    let none = cx.run(["ps", "--format", "{{nosuch .ID}}"]);
    assert!(
        none.error(1).contains("function \"nosuch\" not defined"),
        "{none}"
    );
    assert_eq!(
        cx.run(["ps", "--format", "table {{.ID}}\t{{.Names}}"])
            .silent_ok(),
        "CONTAINER ID   NAMES\n"
    );
}

fn history_is_dockers(cx: &Context) {
    let then = crate::images::time("3 weeks ago");
    let layer = Layer::new().file("file", 0o644, &[7; 1500]).tar();
    let tar = raw_image(
        "made:1",
        &layer,
        json!({
            "created": then,
            "os": "linux",
            "architecture": if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" },
            "history": [
                { "created": then, "created_by": "ADD file\tin /" },
                { "created": "", "created_by": "RUN a command that is much longer than a column",
                  "comment": "buildkit.dockerfile.v0", "empty_layer": true },
                { "created": then, "created_by": "CMD [\"sh\"]", "empty_layer": true },
            ],
        }),
    );
    cx.run_with_input(["load"], &tar).ok();
    let show = |args: &[&str]| {
        let output = cx.run(["history"].iter().chain(args).chain(&["made:1"]));
        output.snapshot(&[(&then, "<twenty characters>.")])
    };
    expect![[r#"
        exit 0
        stdout:
        IMAGE          CREATED       CREATED BY                                      SIZE      COMMENT
        <id>   3 weeks ago   CMD ["sh"]                                      0B        
        <missing>      N/A           RUN a command that is much longer than a col…   0B        buildkit.dockerfile.v0
        <missing>      3 weeks ago   ADD file in /                                   1.5kB     
    "#]]
    .assert_eq(&show(&[]));
    expect![[r#"
        exit 0
        stdout:
        IMAGE                                                                     CREATED AT             CREATED BY                                        SIZE      COMMENT
        sha256:<digest>   <twenty characters>.   CMD ["sh"]                                        0         
        <missing>                                                                 0001-01-01T00:00:00Z   RUN a command that is much longer than a column   0         buildkit.dockerfile.v0
        <missing>                                                                 <twenty characters>.   ADD file in /                                     1500      
    "#]]
    .assert_eq(&show(&["--human=false", "--no-trunc"]));
    expect![[r#"
        exit 0
        stdout:
        <id>
        <missing>
        <missing>
    "#]]
    .assert_eq(&show(&["-q"]));
    expect![[r#"
        exit 0
        stdout:
        CMD ["sh"]|0B
        RUN a command that is much longer than a col…|0B
        ADD file in /|1.5kB
    "#]]
    .assert_eq(&show(&["--format", "{{.CreatedBy}}|{{.Size}}"]));
    assert_eq!(
        cx.run(["image", "history", "nosuch"]).error(1),
        "minidock: no such image: nosuch\n"
    );
}

fn an_image_is_described_as_docker_does(cx: &Context) {
    let layer = Layer::new().file("file", 0o644, b"content").tar();
    let tar = raw_image(
        "shown:1",
        &layer,
        json!({
            "created": "2024-01-01T00:00:00.5+01:00", "author": "me", "comment": "<remark>",
            "docker_version": "1.2", "os": "linux", "variant": "v8",
            "architecture": if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" },
            "config": { "Env": ["A=1"], "Cmd": null, "Labels": { "z": "1", "a": "<&>" },
                        "ExposedPorts": { "80/tcp": {} }, "Healthcheck": { "Test": ["CMD", "x"] } },
        }),
    );
    cx.run_with_input(["load"], &tar).ok();
    let output = cx.run(["image", "inspect", "shown:1"]);
    let root = cx.root();
    let arch = if cfg!(target_arch = "x86_64") {
        "amd64"
    } else {
        "arm64"
    };
    expect![[r#"
        exit 0
        stdout:
        [
            {
                "Id": "sha256:<digest>",
                "RepoTags": [
                    "shown:1"
                ],
                "RepoDigests": [],
                "Parent": "",
                "Comment": "<remark>",
                "Created": "2024-01-01T00:00:00.5+01:00",
                "DockerVersion": "1.2",
                "Author": "me",
                "Architecture": "<arch>",
                "Variant": "v8",
                "Os": "linux",
                "Size": 7,
                "GraphDriver": {
                    "Data": {
                        "UpperDir": "<root>/layers/sha256/<digest>/fs"
                    },
                    "Name": "overlay"
                },
                "RootFS": {
                    "Type": "layers",
                    "Layers": [
                        "sha256:<digest>"
                    ]
                },
                "Metadata": {
                    "LastTagTime": "0001-01-01T00:00:00Z"
                },
                "Config": {
                    "Cmd": null,
                    "Entrypoint": null,
                    "Env": [
                        "A=1"
                    ],
                    "ExposedPorts": {
                        "80/tcp": {}
                    },
                    "Healthcheck": {
                        "Test": [
                            "CMD",
                            "x"
                        ]
                    },
                    "Labels": {
                        "a": "<&>",
                        "z": "1"
                    },
                    "OnBuild": null,
                    "User": "",
                    "Volumes": null,
                    "WorkingDir": ""
                }
            }
        ]
    "#]]
    .assert_eq(&output.snapshot(&[(root.to_str().unwrap(), "<root>"), (arch, "<arch>")]));
    let parsed: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(parsed[0]["RootFS"]["Layers"][0], sha256(&layer));

    let render = |format: &str| cx.run(["image", "inspect", "-f", format, "shown:1"]);
    for (format, expected) in [
        (
            "{{.Author}} {{.Config.Env}} {{len .RootFS.Layers}}",
            "me [A=1] 1",
        ),
        ("{{json .Config.Labels}}", r#"{"a":"<&>","z":"1"}"#),
        (
            "{{json .Metadata}}",
            r#"{"LastTagTime":"0001-01-01T00:00:00Z"}"#,
        ),
        (
            "{{.Config.Labels.z}}{{.Config.Labels.nosuch}}",
            "1<no value>",
        ),
        (
            "{{range .Config.Env}}{{.}};{{end}}{{with .Config.Cmd}}x{{else}}none{{end}}",
            "A=1;none",
        ),
        ("[{{.OsVersion}}{{.Config.StopSignal}}]", "[]"),
    ] {
        assert_eq!(
            render(format).silent_ok(),
            format!("{expected}\n"),
            "{format}"
        );
    }
    let missing = render("{{.Foo}}");
    assert_eq!(missing.code, Some(1), "{missing}");
    assert_eq!(missing.stdout, "\n", "{missing}");
    assert!(
        missing.stderr.contains("map has no entry for key \"Foo\""),
        "{missing}"
    );
    let broken = render("{{.Foo");
    assert!(
        broken.error(64).contains("template parsing error"),
        "{broken}"
    );
}

fn what_is_not_there_is_told_after_what_is(cx: &Context) {
    load(cx, Some("one:1"), "2024-01-01T00:00:00Z", "1", json!({}));
    let output = cx.run([
        "image",
        "inspect",
        "-f",
        "{{index .RepoTags 0}}",
        "no1",
        "one:1",
        "no2",
    ]);
    expect![[r#"
        exit 1
        stdout:
        one:1
        stderr:
        minidock: no such image: no1
        minidock: no such image: no2
    "#]]
    .assert_eq(&output.snapshot(&[]));
    let none = cx.run(["image", "inspect", "no1"]);
    assert_eq!(none.stdout, "[]\n", "{none}");
    assert_eq!(none.fails(1), "minidock: no such image: no1\n");
}

fn strangers_words_do_not_steer_the_terminal(cx: &Context) {
    const EVIL: &str = "\u{1b}[31m\u{9b}31m\u{7}\r\n\tred";
    let layer = Layer::new().file("file", 0o644, b"content").tar();
    let tar = raw_image(
        "evil:1",
        &layer,
        json!({
            "created": EVIL, "author": EVIL, "comment": EVIL, "os": "linux", "architecture": EVIL,
            "config": { "Labels": { EVIL: EVIL, "long": "x".repeat(100_000) }, "Env": [format!("A={EVIL}")] },
            "history": [{ "created": EVIL, "created_by": EVIL, "comment": EVIL }],
        }),
    );
    cx.run_with_input(["load"], &tar).ok();
    for args in [
        &["images"][..],
        &["history", "evil:1"],
        &["history", "--no-trunc", "evil:1"],
        &[
            "history",
            "--format",
            "table {{.CreatedBy}}\t{{.Comment}}",
            "evil:1",
        ],
        &["history", "--format", "json", "evil:1"],
        &["image", "inspect", "evil:1"],
        &["image", "inspect", "-f", "{{json .}}", "evil:1"],
    ] {
        let output = cx.run(args);
        let steers = |c: char| c.is_control() && c != '\n';
        assert!(!output.silent_ok().contains(steers), "{:?}", output.stdout);
    }
    assert_eq!(cx.run(["history", "evil:1"]).silent_ok().lines().count(), 2);
    // A program that asked for a field gets it as it is.
    let author = cx.run(["image", "inspect", "-f", "{{.Author}}", "evil:1"]);
    assert_eq!(author.silent_ok(), format!("{EVIL}\n"));
    let long = cx.run([
        "image",
        "inspect",
        "-f",
        "{{len .Config.Labels.long}}",
        "evil:1",
    ]);
    assert_eq!(long.silent_ok(), "100000\n");
}

fn a_container_is_described_as_docker_does(cx: &Context) {
    cx.load_busybox();
    let script = "head -c 3000 /dev/zero >/file; exit 3";
    let run = [
        "run",
        "--name",
        "cc",
        "-e",
        "X=1",
        "-v",
        "vol:/v:ro",
        "-w",
        "/tmp",
        "--hostname",
        "box",
        "busybox",
        "sh",
        "-c",
        script,
    ];
    assert_eq!(cx.run(run).code, Some(3));
    let output = cx.run(["container", "inspect", "--size", "cc"]);
    let parsed: Value = serde_json::from_str(output.silent_ok()).unwrap();
    let c = &parsed[0];
    let id = c["Id"].as_str().unwrap();
    let folder = cx.root().join("containers").join(id);
    let folder = folder.to_str().unwrap();
    for (pointer, expected) in [
        ("/Path", json!("sh")),
        ("/Args", json!(["-c", script])),
        ("/Name", json!("/cc")),
        ("/State/Status", json!("exited")),
        ("/State/Running", json!(false)),
        ("/State/Pid", json!(0)),
        ("/State/ExitCode", json!(3)),
        ("/HostsPath", json!(format!("{folder}/hosts"))),
        ("/HostConfig/Binds", json!(["vol:/v:ro"])),
        ("/HostConfig/NetworkMode", json!("none")),
        ("/HostConfig/AutoRemove", json!(false)),
        (
            "/GraphDriver/Data/UpperDir",
            json!(format!("{folder}/upper")),
        ),
        ("/SizeRw", json!(3000)),
        ("/Mounts/0/Name", json!("vol")),
        ("/Mounts/0/Destination", json!("/v")),
        ("/Mounts/0/RW", json!(false)),
        ("/Config/Hostname", json!("box")),
        ("/Config/WorkingDir", json!("/tmp")),
        ("/Config/Image", json!("busybox")),
        ("/Config/Cmd", json!(["sh", "-c", script])),
    ] {
        assert_eq!(c.pointer(pointer), Some(&expected), "{pointer}\n{output}");
    }
    let env = c["Config"]["Env"].as_array().unwrap();
    assert!(env.contains(&json!("X=1")), "{output}");
    let image = cx.run(["image", "inspect", "-f", "{{.Id}}", "busybox"]);
    assert_eq!(c["Image"], image.silent_ok().trim());
    let created = c["Created"].as_str().unwrap();
    assert!(
        created.starts_with("20") && created.ends_with('Z'),
        "{output}"
    );
    let keys: Vec<&str> = output
        .stdout
        .lines()
        .filter_map(|line| line.strip_prefix("        \"")?.split('"').next())
        .collect();
    assert_eq!(
        keys.join(" "),
        "Id Created Path Args State Image ResolvConfPath HostnamePath HostsPath LogPath Name RestartCount Driver Platform \
         MountLabel ProcessLabel AppArmorProfile ExecIDs HostConfig GraphDriver SizeRw SizeRootFs Mounts Config NetworkSettings"
    );
    let brief = cx.run([
        "inspect",
        "-f",
        "{{.State.ExitCode}} {{if .State.Health}}x{{else}}none{{end}} [{{.Config.Labels.nosuch}}]",
        "cc",
    ]);
    assert_eq!(brief.silent_ok(), "3 none [<no value>]\n");

    let mut run = cx.start(cx.command([
        "run",
        "--rm",
        "--name",
        "up",
        "-i",
        "busybox",
        "sh",
        "-c",
        "echo up; read x",
    ]));
    run.wait_for_stdout("up\n");
    // The container is faster than the note that it runs.
    let format =
        "{{.State.Status}} {{.State.Running}} {{gt .State.Pid 1}} {{.HostConfig.AutoRemove}}";
    let begun = std::time::Instant::now();
    while cx.run(["inspect", "-f", format, "up"]).silent_ok() != "running true true true\n" {
        assert!(begun.elapsed() < PATIENCE, "it never runs");
    }
    run.feed(b"\n");
    run.wait().ok();
}

fn inspect_finds_whatever_has_the_name(cx: &Context) {
    cx.load_busybox();
    cx.run(["run", "--name", "both", "busybox", "true"]).ok();
    cx.run(["tag", "app:1", "both"]).silent_ok();
    cx.run(["volume", "create", "vol"]).ok();
    // A container comes before an image of its name.
    assert_eq!(
        cx.run(["inspect", "-f", "{{.Name}}", "both"]).silent_ok(),
        "/both\n"
    );
    let image = cx.run(["inspect", "--type", "image", "-f", "{{.RepoTags}}", "both"]);
    assert_eq!(image.silent_ok(), "[app:1 both:latest]\n");
    let volume = cx.run(["inspect", "-f", "{{.Driver}}|{{.Name}}", "vol"]);
    assert_eq!(volume.silent_ok(), "local|vol\n");
    let same = cx.run([
        "volume",
        "inspect",
        "--format",
        "{{.Driver}}|{{.Name}}",
        "vol",
    ]);
    assert_eq!(same.silent_ok(), "local|vol\n");
    let several = cx.run(["inspect", "-f", "{{json .Name}}", "nosuch", "vol", "both"]);
    assert_eq!(several.fails(1), "minidock: no such object: nosuch\n");
    assert_eq!(several.stdout, "\"vol\"\n\"/both\"\n");
    let none = cx.run(["inspect", "nosuch"]);
    assert_eq!(
        (none.stdout.as_str(), none.fails(1)),
        ("[]\n", "minidock: no such object: nosuch\n")
    );
    for (kind, words) in [
        ("container", "no such container: nosuch"),
        ("image", "no such image: nosuch"),
        (
            "network",
            "unknown type: \"network\": must be one of \"container\", \"image\", \"volume\"",
        ),
    ] {
        let output = cx.run(["inspect", "--type", kind, "nosuch"]);
        assert!(output.fails(1).contains(words), "{output}");
    }
}
