//! Archives that strangers made: what is wrong with them is said in one message, and nothing of them stays.

use std::fs;

use serde_json::json;

use crate::support::{
    Context, ImageTar, Layer, fixtures, members, piped, refused, saved, scenarios, sha256, tarball,
};

scenarios!(
    tarballs_that_are_none,
    tarballs_that_are_cut_off,
    tarballs_that_lie,
    layers_that_reach_outside,
    names_in_manifest_json_that_lead_astray,
    json_of_strange_shapes,
    configs_that_do_not_fit,
    words_that_no_process_can_be_given,
    image_layouts_that_lead_in_circles,
    bombs,
    names_of_megabytes,
    very_many_members_layers_and_entries,
    the_same_blob_many_times,
);

fn tarballs_that_are_none(cx: &Context) {
    let text = b"This is a letter, not a tarball.\n".repeat(100);
    let gzipped = piped("gzip", &["-c"], &text);
    let empty_tar = Layer::new().tar();
    let other_tar = Layer::new().file("letter", 0o644, b"dear").tar();
    for (what, bytes) in [
        ("text", text.as_slice()),
        ("gzipped text", &gzipped),
        ("nothing", b""),
        ("a tar of nothing", &empty_tar),
        ("a tar of something else", &other_tar),
        ("half a magic number", b"\x1f"),
    ] {
        let output = cx.run_with_input(["load"], bytes);
        assert_eq!(output.code, Some(1), "{what}: {output}");
        refused(cx, &output, 1, &["load"]);
    }
    cx.write("letter.txt", &text);
    refused(
        cx,
        &cx.run(["load", "-i", "letter.txt"]),
        1,
        &["letter.txt"],
    );
    refused(
        cx,
        &cx.run(["load", "-i", "missing.tar"]),
        1,
        &["missing.tar", "No such file"],
    );
    refused(cx, &cx.run(["load", "-i", "."]), 1, &["."]);
}

fn tarballs_that_are_cut_off(cx: &Context) {
    for name in ["docker-20.tar.gz", "docker-26.tar.gz"] {
        let gzipped = fs::read(fixtures().join(name)).unwrap();
        let plain = piped("gzip", &["-dc"], &gzipped);
        for bytes in [&gzipped, &plain] {
            for part in [1, 3, 5, 7] {
                let output = cx.run_with_input(["load"], &bytes[..bytes.len() * part / 8]);
                refused(cx, &output, 1, &["load"]);
            }
        }
    }
}

fn tarballs_that_lie(cx: &Context) {
    let layer = Layer::new().file("file", 0o644, b"content").tar();
    let image = || ImageTar::new("liar:1", layer.clone(), json!({}));

    let other = sha256(b"another layer");
    let wrong_id = ImageTar {
        diff_ids: Some(vec![other.clone()]),
        ..image()
    };
    let output = cx.run_with_input(["load"], &wrong_id.tar());
    refused(cx, &output, 1, &[&other["sha256:".len()..][..12]]);
    let too_few = ImageTar {
        diff_ids: Some(vec![]),
        ..image()
    };
    refused(
        cx,
        &cx.run_with_input(["load"], &too_few.tar()),
        1,
        &["load"],
    );

    // Without each of its members in turn.
    let whole = members(&image().tar());
    for absent in 0..whole.len() {
        let mut rest = whole.clone();
        let (header, _) = rest.remove(absent);
        let name = header.path().unwrap().display().to_string();
        let output = cx.run_with_input(["load"], &tarball(&rest));
        assert_eq!(output.code, Some(1), "without {name}: {output}");
        refused(cx, &output, 1, &["load"]);
    }
    // With one byte of each of them changed.
    for changed in 0..whole.len() {
        let mut other = whole.clone();
        let content = &mut other[changed].1;
        let at = content.len() / 2;
        content[at] ^= 0x80;
        let output = cx.run_with_input(["load"], &tarball(&other));
        refused(cx, &output, 1, &["load"]);
    }
    for manifest in [
        "",
        "[]",
        "{}",
        "null",
        "[{}]",
        "[{\"Config\":\"../../x\",\"Layers\":[]}]",
    ] {
        let tar = Layer::new()
            .file("manifest.json", 0o644, manifest.as_bytes())
            .tar();
        refused(cx, &cx.run_with_input(["load"], &tar), 1, &["load"]);
    }
    // One good image and one bad: neither of them.
    let mut both = members(&piped("gzip", &["-dc"], &fs::read(saved()).unwrap()));
    let last_config = both.iter().rposition(|(header, content)| {
        header.path().unwrap().starts_with("blobs")
            && content.windows(8).any(|w| w == b"\"rootfs\"")
    });
    both.remove(last_config.unwrap());
    refused(
        cx,
        &cx.run_with_input(["load"], &tarball(&both)),
        1,
        &["load"],
    );
}

/// A member with a name, kind and target that `tar` itself would refuse to write.
fn raw_member(
    tar: &mut tar::Builder<Vec<u8>>,
    kind: tar::EntryType,
    name: &str,
    link: &str,
    content: &[u8],
) {
    let mut header = tar::Header::new_gnu();
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(0o666);
    header.set_size(content.len() as u64);
    header.set_cksum();
    tar.append(&header, content).unwrap();
}

fn layers_that_reach_outside(cx: &Context) {
    use tar::EntryType::{Link, Regular, Symlink};
    let target = cx.work();
    let secret = cx.write("secret", "secret");
    let target = target.to_str().unwrap().trim_start_matches('/');
    let up = "../../../../../../../../../..";
    assert!(
        target.len() + up.len() < 90,
        "{target} is too long for a member's name"
    );
    type Member<'m> = (tar::EntryType, &'m str, &'m str, &'m [u8]);
    let paths = [
        format!("{up}/{target}/made"),
        format!("/{target}/made"),
        format!("{up}/{target}"),
    ];
    let cases: [(&str, Vec<Member<'_>>); 6] = [
        ("dots", vec![(Regular, &paths[0], "", b"made")]),
        ("absolute", vec![(Regular, &paths[1], "", b"made")]),
        (
            "through a link",
            vec![
                (Symlink, "out", &paths[2], b""),
                (Regular, "out/made", "", b"made"),
            ],
        ),
        (
            "onto a link",
            vec![
                (Symlink, "out", &paths[0], b""),
                (Regular, "out", "", b"made"),
            ],
        ),
        (
            "a hard link",
            vec![
                (Link, "in", secret.to_str().unwrap(), b""),
                (Regular, "in", "", b"made"),
            ],
        ),
        (
            "a whiteout",
            vec![
                (Symlink, "out", &paths[2], b""),
                (Regular, "out/.wh.secret", "", b""),
            ],
        ),
    ];
    for (what, entries) in cases {
        let mut layer = tar::Builder::new(Vec::new());
        for (kind, name, link, content) in entries {
            raw_member(&mut layer, kind, name, link, content);
        }
        let image = ImageTar::new("outside:1", layer.into_inner().unwrap(), json!({}));
        let output = cx.run_with_input(["load"], &image.tar());
        // Refusing it and keeping it inside are both right.
        assert!(matches!(output.code, Some(0 | 1)), "{what}: {output}");
        assert!(
            !cx.work().join("made").exists(),
            "{what} made a file outside: {output}"
        );
        assert_eq!(fs::read(&secret).unwrap(), b"secret", "{what}: {output}");
        if output.code == Some(0) {
            cx.run(["rmi", "outside:1"]).ok();
        }
        cx.assert_store_empty();
    }
}

/// A tarball of regular files.
fn files(files: &[(&str, &[u8])]) -> Vec<u8> {
    let layer = Layer::new();
    let layer = files.iter().fold(layer, |layer, (name, content)| {
        layer.file(name, 0o644, content)
    });
    layer.tar()
}

fn load_is_refused(cx: &Context, what: &str, tar: &[u8], words: &[&str]) {
    let output = cx.run_with_input(["load"], tar);
    assert_eq!(output.code, Some(1), "{what}: {output}");
    refused(cx, &output, 1, words);
}

/// A good layer and a config that fits it.
fn config_and_layer() -> (Vec<u8>, Vec<u8>) {
    let layer = Layer::new().file("file", 0o644, b"content").tar();
    let rootfs = json!({ "type": "layers", "diff_ids": [sha256(&layer)] });
    let config = json!({ "os": "linux", "rootfs": rootfs }).to_string();
    (config.into_bytes(), layer)
}

fn names_in_manifest_json_that_lead_astray(cx: &Context) {
    use tar::EntryType::{Block, Char, Directory, Fifo, Link, Symlink};
    let secret = cx.write("secret", "secret");
    let (config, layer) = config_and_layer();
    let manifest = |layer: &str, config: &str, tag: &str| {
        json!([{ "Config": config, "RepoTags": [tag], "Layers": [layer] }]).to_string()
    };
    for layer_name in ["../layer.tar", "/../../layer.tar", "a/../../layer.tar"] {
        let tar = files(&[
            ("config.json", &config),
            (
                "manifest.json",
                manifest(layer_name, "config.json", "x:1").as_bytes(),
            ),
        ]);
        load_is_refused(cx, layer_name, &tar, &["leads out of the archive"]);
    }
    // Names of files that the machine has and the archive has not.
    for name in [
        secret.to_str().unwrap(),
        "/etc/passwd",
        "layer.tar/",
        ".",
        "",
    ] {
        for (layer_name, config_name) in [(name, "config.json"), ("good.tar", name)] {
            let tar = files(&[
                ("config.json", &config),
                ("good.tar", &layer),
                (
                    "manifest.json",
                    manifest(layer_name, config_name, "x:1").as_bytes(),
                ),
            ]);
            load_is_refused(cx, name, &tar, &["does not hold"]);
        }
    }
    for tag in [
        "../../x:1",
        "/abs:1",
        "x:../y",
        "x:1\n",
        "UPPER:1",
        "",
        "a b",
        "x@sha256:12",
    ] {
        let tar = files(&[
            ("config.json", &config),
            ("layer.tar", &layer),
            (
                "manifest.json",
                manifest("layer.tar", "config.json", tag).as_bytes(),
            ),
        ]);
        load_is_refused(cx, tag, &tar, &["the archive names an image"]);
    }
    // A layer that is no file, or a link to none.
    for (kind, target, word) in [
        (Symlink, "/etc/passwd", "does not hold"),
        (Symlink, "../../../etc/passwd", "no regular file"),
        (Symlink, "layer.tar", "no regular file"),
        (Symlink, "other.tar", "no regular file"),
        (Symlink, "nowhere", "does not hold"),
        (Link, "../secret", "no regular file"),
        (Link, secret.to_str().unwrap(), "does not hold"),
        (Char, "", "no regular file"),
        (Block, "", "no regular file"),
        (Fifo, "", "no regular file"),
        (Directory, "", "does not hold"),
    ] {
        let mut tar = tar::Builder::new(Vec::new());
        raw_member(
            &mut tar,
            tar::EntryType::Regular,
            "config.json",
            "",
            &config,
        );
        raw_member(&mut tar, kind, "layer.tar", target, b"");
        // The two together are a circle.
        raw_member(&mut tar, Symlink, "other.tar", "layer.tar", b"");
        let manifest = manifest("layer.tar", "config.json", "x:1");
        raw_member(
            &mut tar,
            tar::EntryType::Regular,
            "manifest.json",
            "",
            manifest.as_bytes(),
        );
        let what = format!("{kind:?} {target}");
        load_is_refused(
            cx,
            &what,
            &tar.into_inner().unwrap(),
            &["\"layer.tar\"", word],
        );
    }
    // Members that climb out, whatever they are for.
    for name in ["../x", "a/../../x", "../../../../../../../../../tmp/x"] {
        let mut tar = tar::Builder::new(Vec::new());
        raw_member(&mut tar, tar::EntryType::Regular, name, "", b"x");
        load_is_refused(
            cx,
            name,
            &tar.into_inner().unwrap(),
            &["leads out of the archive"],
        );
    }
    assert_eq!(fs::read(secret).unwrap(), b"secret");
}

fn json_of_strange_shapes(cx: &Context) {
    let (config, layer) = config_and_layer();
    let deep = |open: &str, close: &str| open.repeat(200_000) + &close.repeat(200_000);
    let shapes = [
        deep("[", "]"),
        deep("{\"a\":", "}"),
        "[[]]".into(),
        "{\"Config\":1}".into(),
        "[{\"Config\":1,\"Layers\":[]}]".into(),
        "[{\"Config\":\"config.json\",\"Layers\":\"layer.tar\"}]".into(),
        "[{\"Config\":\"config.json\",\"Layers\":[7]}]".into(),
        "[{\"Config\":\"config.json\",\"Layers\":[{}],\"RepoTags\":{}}]".into(),
        "[{\"Config\":\"config.json\",\"Config\":\"config.json\",\"Layers\":[\"layer.tar\"]}]"
            .into(),
        "\u{feff}[]".into(),
        "[]]".into(),
        "NaN".into(),
        "\"manifest\"".into(),
        "1e999".into(),
    ];
    for shape in &shapes {
        let what = &shape[..shape.len().min(60)];
        let tar = files(&[
            ("config.json", &config),
            ("layer.tar", &layer),
            ("manifest.json", shape.as_bytes()),
        ]);
        load_is_refused(cx, what, &tar, &["\"manifest.json\" is not valid"]);
        // The same as a config, and as an index.
        let manifest = json!([{ "Config": "c", "Layers": ["layer.tar"] }]).to_string();
        let tar = files(&[
            ("c", shape.as_bytes()),
            ("layer.tar", &layer),
            ("manifest.json", manifest.as_bytes()),
        ]);
        load_is_refused(cx, what, &tar, &["\"c\""]);
        let tar = files(&[("index.json", shape.as_bytes())]);
        load_is_refused(cx, what, &tar, &["\"index.json\""]);
    }
    let big = vec![b' '; 5 << 20];
    for name in ["manifest.json", "index.json"] {
        load_is_refused(cx, name, &files(&[(name, &big)]), &[name, "too large"]);
    }
}

fn configs_that_do_not_fit(cx: &Context) {
    let layer = Layer::new().file("file", 0o644, b"content").tar();
    let other = Layer::new().file("other", 0o644, b"content").tar();
    let image = || ImageTar::new("liar:1", layer.clone(), json!({}));
    let (a, b) = (sha256(&layer), sha256(&other));
    for (diff_ids, words) in [
        (vec![b.clone()], ["says", &b["sha256:".len()..][..12]]),
        (vec![], ["0 diff_ids", "1 layers"]),
        (vec![a.clone(), a.clone()], ["2 diff_ids", "1 layers"]),
        (vec![a.clone(), b.clone()], ["2 diff_ids", "1 layers"]),
        (vec!["sha256:../../../etc".into()], ["not usable", "digest"]),
        (
            vec!["md5:d41d8cd98f00b204e9800998ecf8427e".into()],
            ["not usable", "md5"],
        ),
        (vec![a.to_uppercase()], ["not usable", "digest"]),
        (vec![a.clone() + "00"], ["not usable", "digest"]),
        (vec![String::new()], ["not usable", "digest"]),
    ] {
        let what = format!("{diff_ids:?}");
        let image = ImageTar {
            diff_ids: Some(diff_ids),
            ..image()
        };
        load_is_refused(cx, &what, &image.tar(), &words);
    }
    // Swapped, where each by itself is right.
    let swapped = ImageTar {
        layers: vec![layer.clone(), other.clone()],
        diff_ids: Some(vec![b, a]),
        ..image()
    };
    load_is_refused(cx, "swapped", &swapped.tar(), &["says"]);
    // Two images whose configs are swapped.
    let one = members(&image().tar());
    let two = members(&ImageTar::new("two:1", other, json!({})).tar());
    let name = |member: &(tar::Header, Vec<u8>)| member.0.path().unwrap().display().to_string();
    let manifest = json!([{
        "Config": name(&two[0]), "RepoTags": ["liar:1"], "Layers": [name(&one[1])],
    }])
    .to_string();
    let mixed = files(&[
        (&name(&two[0]), &two[0].1),
        (&name(&one[1]), &one[1].1),
        ("manifest.json", manifest.as_bytes()),
    ]);
    load_is_refused(cx, "another's config", &mixed, &["says"]);
    for kind in ["squashfs", "../layers"] {
        let config = json!({ "rootfs": { "type": kind, "diff_ids": [] } }).to_string();
        let manifest = json!([{ "Config": "c", "Layers": [] }]).to_string();
        let tar = files(&[
            ("c", config.as_bytes()),
            ("manifest.json", manifest.as_bytes()),
        ]);
        load_is_refused(cx, kind, &tar, &["not usable", kind]);
    }
}

fn words_that_no_process_can_be_given(cx: &Context) {
    let layer = Layer::new()
        .file("bin/true", 0o755, &fs::read("/bin/busybox").unwrap())
        .tar();
    let image = |config| ImageTar::new("words:1", layer.clone(), config).tar();
    for (config, word) in [
        (json!({ "Env": ["A=b\0c"] }), "Env"),
        (json!({ "Env": ["\0=b"] }), "Env"),
        (json!({ "Env": ["=b"] }), "has no name"),
        (json!({ "Env": [""] }), "has no name"),
        (json!({ "Cmd": ["a\0b"] }), "Cmd"),
        (json!({ "Entrypoint": ["\0"] }), "Entrypoint"),
        (json!({ "WorkingDir": "/a\0b" }), "WorkingDir"),
        (json!({ "User": "0\0" }), "User"),
        (json!({ "Volumes": { "/a\0": {} } }), "Volumes"),
        (json!({ "Env": { "A": "b" } }), "not usable"),
        (json!({ "Env": ["A=b", 7] }), "not usable"),
        (json!({ "Cmd": "sh" }), "not usable"),
        (json!({ "User": 0 }), "not usable"),
        (json!({ "Labels": ["a"] }), "not usable"),
    ] {
        load_is_refused(cx, &config.to_string(), &image(config.clone()), &[word]);
    }
    // Newlines and control characters are odd, not wrong; nor may they steer the terminal.
    let odd = json!({
        "Env": ["A=one\ntwo", "B=\u{1b}[31m", "NO_EQUALS_SIGN"],
        "Labels": { "l\n": "\u{1b}\0" },
        "Cmd": ["/bin/true", "\n"],
        "WorkingDir": "/new\nline",
    });
    cx.run_with_input(["load"], &image(odd)).ok();
    let ran = cx.run(["run", "--rm", "words:1"]);
    assert_eq!(ran.code, Some(0), "{ran}");
    for args in [
        &["images"][..],
        &["ps", "-a"],
        &["run", "--rm", "words:1", "/none"],
    ] {
        let output = cx.run(args);
        assert!(!output.stdout.contains('\u{1b}'), "{output}");
        assert!(!output.stderr.contains('\u{1b}'), "{output}");
    }
    cx.run(["rmi", "words:1"]).ok();
    // A time that is none must not fill the list of images.
    let long = ImageTar {
        created: "9".repeat(1 << 20),
        ..ImageTar::new("long:1", layer.clone(), json!({}))
    };
    cx.run_with_input(["load"], &long.tar()).ok();
    assert!(cx.run(["images"]).silent_ok().len() < 300);
    assert!(fs::metadata(cx.root().join("index.json")).unwrap().len() < 2000);
    cx.run(["rmi", "long:1"]).ok();
    cx.assert_store_empty();
}

fn image_layouts_that_lead_in_circles(cx: &Context) {
    let index_type = "application/vnd.oci.image.index.v1+json";
    let descriptor = |digest: &str, size: i64, kind: &str| {
        json!({ "mediaType": kind, "digest": digest, "size": size,
                "annotations": { "org.opencontainers.image.ref.name": "x:1" } })
    };
    let index = |manifests: serde_json::Value| {
        json!({ "schemaVersion": 2, "manifests": manifests }).to_string()
    };
    // An index can hardly name its own digest, but one whose blob lies about its name can.
    let liar = sha256(b"something else");
    let circle = index(json!([descriptor(&liar, 1, index_type)]));
    let path = |digest: &str| digest.replace("sha256:", "blobs/sha256/");
    let tar = files(&[
        ("index.json", circle.as_bytes()),
        (&path(&liar), circle.as_bytes()),
    ]);
    load_is_refused(cx, "a circle", &tar, &["has digest"]);
    // Each within the next.
    let mut inner = index(json!([]));
    let mut nested: Vec<(String, Vec<u8>)> = Vec::new();
    for _ in 0..50 {
        let digest = sha256(inner.as_bytes());
        nested.push((path(&digest), inner.clone().into_bytes()));
        inner = index(json!([descriptor(&digest, inner.len() as i64, index_type)]));
    }
    let mut all: Vec<(&str, &[u8])> = nested
        .iter()
        .map(|(n, c)| (n.as_str(), c.as_slice()))
        .collect();
    all.push(("index.json", inner.as_bytes()));
    load_is_refused(cx, "nested", &files(&all), &["nested too deeply"]);
    for (digest, size) in [
        ("sha256:../../../../etc/passwd", 1),
        ("sha256:", 1),
        ("../x", 1),
        ("sha512:abc", 1),
        (liar.as_str(), 1),
        (liar.as_str(), -1),
        (liar.as_str(), i64::MAX),
    ] {
        let kind = "application/vnd.oci.image.manifest.v1+json";
        let tar = files(&[(
            "index.json",
            index(json!([descriptor(digest, size, kind)])).as_bytes(),
        )]);
        load_is_refused(cx, &format!("{digest} {size}"), &tar, &["load"]);
    }
    // A manifest that is no manifest, and a config that is a manifest.
    let text = b"{}".as_slice();
    let digest = sha256(text);
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let tar = files(&[
        (
            "index.json",
            index(json!([descriptor(&digest, 2, kind)])).as_bytes(),
        ),
        (&path(&digest), text),
    ]);
    load_is_refused(cx, "an empty manifest", &tar, &["is not valid"]);
}

fn bombs(cx: &Context) {
    let zeros = Layer::new().file("zeros", 0o644, &vec![0; 300 << 20]).tar();
    let diff_id = sha256(&zeros);
    // A layer of 300 MiB in as many KiB, gzip and zstd.
    for (program, args) in [("gzip", ["-c", "-9"]), ("zstd", ["-q", "-19"])] {
        let bomb = piped(program, &args, &zeros);
        let config = json!({ "rootfs": { "type": "layers", "diff_ids": [diff_id] } }).to_string();
        let manifest =
            json!([{ "Config": "c", "RepoTags": ["bomb:1"], "Layers": ["l"] }]).to_string();
        let tar = files(&[
            ("c", config.as_bytes()),
            ("l", &bomb),
            ("manifest.json", manifest.as_bytes()),
        ]);
        load_is_refused(
            cx,
            program,
            &tar,
            &["200 times", "bomb", "hint: ", "--max-expansion"],
        );
        let trusted = cx.run_with_input(["load", "--max-expansion", "100000"], &tar);
        assert_eq!(trusted.silent_ok(), "Loaded image: bomb:1\n");
        cx.run(["rmi", "bomb:1"]).ok();
        // The archive itself: what it inflates to would have to be set down first.
        let bomb = piped(program, &args, &zeros);
        load_is_refused(
            cx,
            program,
            &bomb,
            &["200 times", "bomb", "--max-expansion"],
        );
    }
    for (flag, value) in [
        ("--max-expansion", "0"),
        ("--max-expansion", "x"),
        ("--max-entries", "-1"),
    ] {
        let output = cx.run(["load", flag, value]);
        assert_eq!(output.code, Some(125), "{output}");
    }
    let output = cx.run_with_input(["load", "--keep-free", "lots"], b"");
    refused(cx, &output, 125, &["lots", "--keep-free"]);
    // More than any disk has.
    let image = ImageTar::new(
        "small:1",
        Layer::new().file("f", 0o644, b"x").tar(),
        json!({}),
    );
    let output = cx.run_with_input(["load", "--keep-free", "4000p"], &image.tar());
    refused(
        cx,
        &output,
        1,
        &["not enough space", "are to stay free", "--keep-free"],
    );
    cx.run_with_input(["load", "--keep-free", "0"], &image.tar())
        .ok();
    cx.run(["rmi", "small:1"]).ok();
}

fn very_many_members_layers_and_entries(cx: &Context) {
    let mut many = tar::Builder::new(Vec::new());
    for _ in 0..100_001 {
        raw_member(&mut many, tar::EntryType::Directory, "d", "", b"");
    }
    load_is_refused(
        cx,
        "members",
        &many.into_inner().unwrap(),
        &["more than 100000 members"],
    );
    // A thousand times the same layer.
    let (_, layer) = config_and_layer();
    let image = ImageTar {
        layers: vec![layer; 1001],
        ..ImageTar::new("high:1", Vec::new(), json!({}))
    };
    load_is_refused(cx, "layers", &image.tar(), &["1001 layers", "at most 1000"]);
    let layer = (0..11).fold(Layer::new(), |l, i| l.file(&format!("f{i}"), 0o644, b""));
    let image = ImageTar::new("wide:1", layer.tar(), json!({})).tar();
    let output = cx.run_with_input(["load", "--max-entries", "10"], &image);
    refused(cx, &output, 1, &["more than 10 entries", "--max-entries"]);
    cx.run_with_input(["load", "--max-entries", "11"], &image)
        .ok();
    cx.run(["rmi", "wide:1"]).ok();
    // No layer at all is an image, too.
    let image = ImageTar {
        layers: vec![],
        ..ImageTar::new("none:1", Vec::new(), json!({ "Cmd": ["/bin/sh"] }))
    };
    cx.run_with_input(["load"], &image.tar()).ok();
    let ran = cx.run(["run", "--rm", "none:1"]);
    assert!(ran.error(127).contains("/bin/sh"), "{ran}");
    assert_eq!(cx.run(["system", "check", "-q"]).silent_ok(), "");
    cx.run(["rmi", "none:1"]).ok();
    cx.assert_store_empty();
}

fn the_same_blob_many_times(cx: &Context) {
    let base = Layer::new()
        .file("bin/busybox", 0o755, &fs::read("/bin/busybox").unwrap())
        .tar();
    let layer = Layer::new().file("srv/file", 0o644, b"content\n").tar();
    let command = json!({ "Cmd": ["/bin/busybox", "cat", "/srv/file"] });
    for _ in 0..3 {
        // Two threads bring layers, so the same one twice in a row.
        let mut layers = vec![base.clone()];
        layers.extend(vec![layer.clone(); 20]);
        let image = ImageTar {
            layers,
            ..ImageTar::new("same:1", Vec::new(), command.clone())
        };
        cx.run_with_input(["load"], &image.tar()).ok();
        assert_eq!(cx.run(["run", "--rm", "same:1"]).silent_ok(), "content\n");
        assert_eq!(cx.run(["system", "check", "-q"]).silent_ok(), "");
        cx.run(["rmi", "same:1"]).ok();
        cx.assert_store_empty();
    }
}

/// What announces a name or attributes is kept in memory while it is read, so it is bounded.
fn names_of_megabytes(cx: &Context) {
    let good = fs::read(saved()).unwrap();
    let good = match good.starts_with(b"\x1f\x8b") {
        true => piped("gzip", &["-dc"], &good),
        false => good,
    };
    for kind in [
        tar::EntryType::GNULongName,
        tar::EntryType::GNULongLink,
        tar::EntryType::XHeader,
    ] {
        let name = vec![b'a'; 8 << 20];
        let mut header = tar::Header::new_gnu();
        header.set_path("name").unwrap();
        header.set_entry_type(kind);
        header.set_size(name.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        let hostile = [header.as_bytes().as_slice(), &name, &good].concat();
        let path = cx.write("hostile.tar", &hostile);
        refused(cx, &cx.run_with_input(["load"], &hostile), 1, &[]);
        let file = cx.run(["load", "-i", path.to_str().unwrap()]);
        refused(cx, &file, 1, &[]);
    }
}
