//! Where fuzzing starts from.

use minidock_oci::Digest;

use crate::archive::{content, image};
use crate::tar::entry;

/// Name and bytes of a target's first inputs.
pub fn seeds(target: &str) -> Vec<(&'static str, Vec<u8>)> {
    match target {
        "gzip" => gzips(),
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

fn gzips() -> Vec<(&'static str, Vec<u8>)> {
    let stored = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff\x01\x06\x00\xf9\xffstored\x0b\xf9CV\x06\x00\x00\x00";
    let fixed =
        b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xffKLJN\xc4D8@RR\x12\x00\xe4q\xb1\xe50\x00\x00\x00";
    // Matches and literals; literals alone.
    let dynamic = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xffU\x93\x01\xaa$1\x08D\xaf\xe2\xd5\x04\x05\x051\x10\xf5\xfe\x9bNb\xe6/\
            \x03\xcd\xd01V\xf9\xac\xd6*uC\x02\x01\xf1\xe9\xe0A,\x5c\x10,\x80\x19\x13M\x80\xd41\x02\x8c1\xdf9\xa6\xe8\x9c\
            \xf7\x8e\x11\xb0\x07\x22\xa0\x8c\xc9\x01\x92T~\x9f\xb7\x10K\xdc\xe7k\xe9\xb3L\x01\x89\xa6\x85B\xc4\x10\x95\xea\
            \xa2X\xef\xb5ti\x19%\x8d\x01\x1a\xec*\x8a\xe0c\x9a-\xabKM#W\xfd\x08\xe0\xc8\xd1b\xda\xd3\xe0\xe7\xd5\x5c\xd7s\
            \xe2h+\xc7\xdd\xd1^\xf3V\xb9\xa8\x0a\xacK\xab\x15'\xcd` \xc3ah\xf5S\x1fH\xe9\xf6]T\xf3\x8a\xa3\xbaa\x94W\x19\
            \xd0\xc8\xbf\xdd^\x03N#\x19\xca\x80\xc8<\xc6\xc2\xd3\x83\xbd\x92\xe77\xd5?\x00\xa7ab8.=\x9e\xa4\xb9\x9c\x22R\
            \xd0{{!\xb9-\x22KwO*Z\xb9.6\xcfG\xf9[L\xbbp\x82\x22\xff\x1dZ \x1b\x8b\xff\x99x\x95_F\xd7\xcf\x03\x7f7\xda3:\
            \xf5\x0a\xf8\xb7\x82O`\xfb\x97v\xde\x96/\xb8\xbb\x85k\xf2\xd6\xb4\x9d\xe7\xf34;yJW\xa2W\xf2\xfd\x1a\xe1\x8d\
            \xd5Y\xf1\xc3xo\xfd/\xfbN/H\x191\x93\x8e\xf3;.\x97\xaf\xd5\xef0\xbfmc`bg\x7f\x17\x17\x8f\xfd\xa1\x1c\xd1&\xd5\
            \xcb\xda\xa9h\xa6\xf2>\x90#v\x82\xeb\xfd\xe7\xe8}\xc9l\x1a\xbf\x90\xed\x82\xbd\xd5G\x7f'\xee\xd2\xfb\x0e~\xc9\
            \x12\xc2y\xa7\xa6\xddo\xd1*\xc2\x97\x99\xcdo[\xdbb\x22\x85\xbc\xb3\xfb\x0f\xdc[\x8e\xdf\xf8\x03\x00\x00";
    let literals = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff\x05\xc1\x89\x09\x000\x08\x03\xc0U\xb2Z@AAR\xf0\xd9\xbfwy\x97*\x1a\x02\
            \xa1\x164\xe6\xe1\x87\xf1\x00w\x9a\x15\xb0\x14gP\xce\x85\xc6<\xfc\xc0\x8d\xecF\xa8\x05\x95\xc15$\x18\xaf}\x10k\
            '\xc4\xda\x09\xdc\xc8n\xf0Bjp\xa7Y\x01\xf5U\x82f]\x93\x98y\x91q\xe0\x85\xd4\x18\x9a\xe5%4ek\xef!\xc7\x95\x91\
            \x84^W!\xe0\x9a\x9c\x05\xef\x0d|\xf6\x09\xb1vB\xde\xa5\x8a\x06:\x17\xa5\xe4\xa2\xf9\x10k'0^\xfb@}\x95\x08\xc4\
            \x9d\x223p\x97\xe0\xf9Z\x8f\xc3\x8a\xafX\x07M\xd9\xda{x\xb4U\xf9\xe0\x03|~\x00v,\x01\x00\x00";
    let mut named = vec![0x1f, 0x8b, 8, 0b1_1100, 1, 2, 3, 4, 0, 3];
    named.extend_from_slice(b"\x03\0xyzname\0comment\0");
    named.extend_from_slice(&fixed[10..]);
    vec![
        ("stored", stored.to_vec()),
        ("fixed", fixed.to_vec()),
        ("dynamic", dynamic.to_vec()),
        ("literals", literals.to_vec()),
        ("header", named),
        (
            "members",
            [&stored[..], fixed, &[0; 9], dynamic, &[0; 3]].concat(),
        ),
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
