//! Where fuzzing starts from.

use minidock_oci::Digest;

use crate::archive::{content, image};
use crate::tar::entry;

/// Name and bytes of a target's first inputs.
pub fn seeds(target: &str) -> Vec<(&'static str, Vec<u8>)> {
    match target {
        "tar" => tars(),
        "layers" => layers(),
        "archive" => archives(),
        "manifest" => vec![("manifest", content().2), ("index", index())],
        "config" => vec![("config", content().1)],
        _ => [
            ("short", "alpine"),
            ("tag", "registry.example:5000/some/name:v1.2-3"),
            ("digest", "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
            (
                "pinned",
                "ghcr.io/a/b@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            ),
            ("platform", "linux/arm64/v8"),
        ]
        .map(|(name, text)| (name, text.into()))
        .to_vec(),
    }
}

fn index() -> Vec<u8> {
    let manifest = content().2;
    format!(
        r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{}","size":{},"platform":{{"architecture":"amd64","os":"linux"}},"annotations":{{"org.opencontainers.image.ref.name":"a:b","io.containerd.image.name":"docker.io/library/a:b"}}}}]}}"#,
        Digest::sha256(&manifest),
        manifest.len()
    )
    .into_bytes()
}

fn archives() -> Vec<(&'static str, Vec<u8>)> {
    let manifest = br#"[{"Config":"config.json","RepoTags":["a:b"],"Layers":["layer.tar"]}]"#;
    let linked = br#"[{"Config":"config.json","RepoTags":null,"Layers":["link/layer.tar"]}]"#;
    let climbing =
        br#"[{"Config":"../../config.json","RepoTags":["../x"],"Layers":["/etc/passwd"]}]"#;
    vec![
        ("docker-manifest", manifest.to_vec()),
        ("docker-linked", linked.to_vec()),
        ("docker-climbing", climbing.to_vec()),
        ("oci-index", index()),
        ("whole", image(&[("manifest.json", manifest)])),
    ]
}

fn tars() -> Vec<(&'static str, Vec<u8>)> {
    let end = |parts: &[Vec<u8>]| [parts.concat(), vec![0; 1024]].concat();
    let pax = b"14 path=a/b/c\n20 mtime=1.25000000\n30 SCHILY.xattr.user.test=123\n34 LIBARCHIVE.xattr.user.l=QUJDREU\n";
    let sparse_1 = b"22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n27 GNU.sparse.realsize=99\n22 GNU.sparse.name=ab\n";
    let sparse_0 = b"27 GNU.sparse.numblocks=1\n23 GNU.sparse.offset=0\n25 GNU.sparse.numbytes=1\n22 GNU.sparse.size=99\n";
    let map = [&b"1\n90\n4\n"[..], &[0; 505], b"data"].concat();
    let mut old = entry(b'S', b"old", b"", 0o644, b"data");
    old[386..410].copy_from_slice(b"00000000005\x0000000000004\0");
    old[483..495].copy_from_slice(b"00000000144\0");
    old[257..265].copy_from_slice(b"ustar  \0");
    crate::tar::set_checksum(&mut old[..512]);
    vec![
        (
            "plain",
            end(&[
                entry(b'5', b"d/", b"", 0o755, b""),
                entry(b'0', b"d/f", b"", 0o4644, b"content"),
                entry(b'1', b"h", b"d/f", 0o644, b""),
                entry(b'2', b"s", b"d/f", 0o777, b""),
                entry(b'3', b"c", b"", 0o600, b""),
                entry(b'6', b"p", b"", 0o600, b""),
            ]),
        ),
        (
            "extended",
            end(&[
                entry(b'g', b"g", b"", 0, b"11 uid=100\n16 comment=hello\n"),
                entry(b'x', b"x", b"", 0, pax),
                entry(b'0', b"f", b"", 0o644, b"content"),
                entry(b'L', b"././@LongLink", b"", 0, &[b'n'; 120]),
                entry(b'K', b"././@LongLink", b"", 0, &[b'l'; 120]),
                entry(b'2', b"n", b"l", 0o777, b""),
            ]),
        ),
        (
            "sparse",
            end(&[
                entry(b'x', b"x", b"", 0, sparse_1),
                entry(b'0', b"f", b"", 0o644, &map),
                entry(b'x', b"x", b"", 0, sparse_0),
                entry(b'0', b"f", b"", 0o644, b"d"),
                old,
            ]),
        ),
    ]
}

fn layers() -> Vec<(&'static str, Vec<u8>)> {
    let mut all = tars();
    all.truncate(2);
    // Kinds, names and links by number, as in `layers::programme`.
    let next = [255, 0, 0, 0];
    let programmes: [(&str, &[[u8; 4]]); 7] = [
        (
            "symlink-out",
            &[[7, 0, 24, 0], [0, 3, 0, 0], [0, 17, 0, 0], [0, 20, 0, 0]],
        ),
        (
            "hardlink-out",
            &[[7, 0, 24, 0], [9, 1, 3, 0], [9, 2, 13, 0], [0, 1, 0, 0]],
        ),
        (
            "symlink-below",
            &[[7, 0, 26, 0], next, [0, 3, 0, 0], [0, 17, 0, 0]],
        ),
        (
            "link-below",
            &[
                [0, 3, 0, 6],
                next,
                [9, 1, 3, 0],
                [9, 2, 1, 0],
                [0, 15, 0, 0],
            ],
        ),
        (
            "opaque",
            &[
                [0, 3, 0, 0],
                [0, 6, 0, 0],
                next,
                [0, 4, 0, 0],
                [0, 20, 0, 0],
                [0, 19, 0, 0],
            ],
        ),
        (
            "modes",
            &[
                [20, 0, 0, 7],
                [0, 6, 0, 0],
                next,
                [0, 17, 0, 0],
                [36, 3, 0, 0],
                [0, 0, 0, 0],
            ],
        ),
        (
            "whiteouts",
            &[
                [0, 6, 0, 0],
                next,
                [0, 15, 0, 0],
                [4, 0, 0, 0],
                [0, 17, 0, 0],
                next,
                [0, 3, 0, 0],
            ],
        ),
    ];
    all.extend(programmes.map(|(name, ops)| (name, ops.concat())));
    all
}
