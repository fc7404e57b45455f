//! Templates against what Docker's client makes of them.

use super::*;

fn image() -> Json {
    let labels = Object::new().with("a", "<1>&").with("b", "2");
    Object::new()
        .with("Id", "sha256:a1a1")
        .with("RepoTags", vec!["busybox:latest"])
        .with("RepoDigests", vec!["busybox@sha256:d1d1"])
        .with("Author", "")
        .with_some("Variant", "")
        .with(
            "Config",
            Object::new()
                .with("Env", vec!["PATH=/bin"])
                .with("Cmd", vec!["sh"])
                .with("Labels", labels)
                .with_some("Entrypoint", Vec::<String>::new()),
        )
        .with("Os", "linux")
        .with("Size", 4_421_234_u64)
        .with(
            "GraphDriver",
            Object::new()
                .with("Data", Object::new().with("UpperDir", "/x"))
                .with("Name", "overlay2"),
        )
        .with(
            "RootFS",
            Object::new()
                .with("Type", "layers")
                .with("Layers", vec!["sha256:1111"]),
        )
        .into()
}

/// Each expected text is what Docker's client 28 made of the same object.
const RENDERED: [(&str, &str); 55] = [
    ("{{.Id}}", "sha256:a1a1"),
    ("plain {{.Os}} text", "plain linux text"),
    ("{{.RepoTags}}", "[busybox:latest]"),
    ("{{json .RepoTags}}", "[\"busybox:latest\"]"),
    (
        "{{json .Config}}",
        "{\"Env\":[\"PATH=/bin\"],\"Cmd\":[\"sh\"],\"Labels\":{\"a\":\"<1>&\",\"b\":\"2\"}}",
    ),
    (
        "{{json .Size}} {{json .Os}} {{json \"a<b>&\"}}",
        "4421234 \"linux\" \"a<b>&\"",
    ),
    ("{{.Config.Labels}}", "map[a:<1>& b:2]"),
    ("{{.Config.Labels.a}}", "<1>&"),
    ("{{.Config.Labels.nosuch}}", "<no value>"),
    ("{{index .Config.Labels \"a\"}}", "<1>&"),
    ("{{index .RepoTags 0}}", "busybox:latest"),
    (
        "{{len .RepoTags}} {{len .Os}} {{len .Config.Labels}}",
        "1 5 2",
    ),
    ("{{slice .RepoTags 0 1}}", "[busybox:latest]"),
    ("{{range .Config.Env}}[{{.}}]{{end}}", "[PATH=/bin]"),
    (
        "{{range $i, $e := .Config.Env}}{{$i}}={{$e}};{{end}}",
        "0=PATH=/bin;",
    ),
    (
        "{{range $k, $v := .Config.Labels}}{{$k}}={{$v}};{{end}}",
        "a=<1>&;b=2;",
    ),
    (
        "{{range .RepoDigests}}{{.}}{{else}}none{{end}}",
        "busybox@sha256:d1d1",
    ),
    (
        "{{range $i, $e := .Config.Env}}{{if $i}},{{end}}{{$e}}{{end}}",
        "PATH=/bin",
    ),
    ("{{with .Author}}by {{.}}{{else}}nobody{{end}}", "nobody"),
    ("{{with .Config}}{{.Cmd}}{{end}}", "[sh]"),
    ("{{with $x := .Os}}{{$x}}{{end}}", "linux"),
    ("{{if .Author}}a{{else if .Os}}b{{else}}c{{end}}", "b"),
    (
        "{{if and .Os .Author}}y{{else}}n{{end}}{{if or .Author .Os}}y{{end}}{{if not .Author}}y{{end}}",
        "nyy",
    ),
    (
        "{{if eq .Os \"linux\"}}eq{{end}}{{if ne .Os \"linux\"}}ne{{end}}",
        "eq",
    ),
    ("{{if gt .Size 1000}}big{{else}}small{{end}}", "big"),
    (
        "{{eq .Os \"a\" \"linux\"}} {{lt 1 2}} {{le 2 2}} {{ge 1 2}} {{gt \"b\" \"a\"}}",
        "true true true false true",
    ),
    (
        "{{.Os | upper}} {{upper .Os | printf \"%q\"}}",
        "LINUX \"LINUX\"",
    ),
    (
        "{{printf \"%s-%d-%v-%t\" .Os .Size .RepoTags true}}",
        "linux-4421234-[busybox:latest]-true",
    ),
    (
        "{{printf \"%-10s|%5s|%05d|%x|%q\" .Os \"ab\" 42 255 \"q\\\"x\"}}",
        "linux     |   ab|00042|ff|\"q\\\"x\"",
    ),
    (
        "{{printf \"%.2f %6.1f %e\" 3.14159 2.5 1234.5}}",
        "3.14    2.5 1.234500e+03",
    ),
    ("{{print 1 2 \"a\" \"b\" 3}}", "1 2ab3"),
    ("{{println .Os}}x", "linux\nx"),
    ("{{join .RepoTags \", \"}}", "busybox:latest"),
    ("{{join (split \"a:b:c\" \":\") \"-\"}}", "a-b-c"),
    ("{{split .Id \":\"}}", "[sha256 a1a1]"),
    ("{{index (split .Id \":\") 0}}", "sha256"),
    (
        "{{title \"hello wORLD foo-bar a_b\"}} {{lower \"ABC\"}} {{upper \"ß\"}}",
        "Hello WORLD Foo-Bar A_b abc ß",
    ),
    ("{{truncate \"abcdef\" 3}} {{truncate \"ab\" 5}}", "abc ab"),
    ("{{pad \"x\" 2 3}}|{{pad \"\" 2 3}}|", "  x   ||"),
    ("{{- .Os -}}   x", "linuxx"),
    ("  {{- .Os }}  y", "linux  y"),
    ("a {{/* comment */}} b", "a  b"),
    ("a {{- /* comment */ -}} b", "ab"),
    ("{{$x := .Os}}{{$x}}{{$x = \"two\"}}{{$x}}", "linuxtwo"),
    ("{{.RootFS.Type}} {{(.RootFS).Type}}", "layers layers"),
    (
        "{{\"quoted \\\"x\\\" \\n\"}} {{`raw \\n`}} {{'a'}}",
        "quoted \"x\" \n raw \\n 97",
    ),
    (
        "{{true}} {{1}} {{1.5}} {{0x10}} {{1e3}}",
        "true 1 1.5 16 1000",
    ),
    (
        "{{define \"t\"}}<{{.}}>{{end}}{{template \"t\" .Os}}",
        "<linux>",
    ),
    ("{{range .Config.Env}}{{break}}{{end}}ok", "ok"),
    ("{{not true}} {{and 1 0}} {{or 0 \"x\"}}", "false 0 x"),
    ("{{len \"é\"}} {{printf \"%d\" (len \"é\")}}", "2 2"),
    (
        "{{html \"<a>\"}} {{js \"it's\"}} {{urlquery \"a b&c\"}}",
        "&lt;a&gt; it\\'s a+b%26c",
    ),
    (
        "{{.GraphDriver.Data.UpperDir}} {{.GraphDriver.Data.nosuch}}",
        "/x <no value>",
    ),
    ("{{slice .Id 7 9}}", "a1"),
    ("{{(index .RootFS.Layers 0) | len}}", "11"),
];

#[test]
fn renders_what_dockers_client_renders() {
    for (source, expected) in RENDERED {
        let text = Template::parse(source, &[]).and_then(|t| t.render(&image()));
        match text {
            Ok(text) => assert_eq!(text, expected, "{source}"),
            Err(fault) => panic!("{source}: {}", fault.text),
        }
    }
}

#[test]
fn what_json_leaves_out_is_there_for_templates() {
    let render = |source: &str| Template::parse(source, &[]).unwrap().render(&image());
    assert_eq!(
        render("[{{.Variant}}] {{.Config.Entrypoint}}").unwrap(),
        "[] []"
    );
    assert_eq!(
        render("{{json .Config}}").unwrap(),
        r#"{"Env":["PATH=/bin"],"Cmd":["sh"],"Labels":{"a":"<1>&","b":"2"}}"#
    );
}

#[test]
fn faults_are_told_in_gos_words() {
    let fault = |source: &str| {
        let result = Template::parse(source, &[]).and_then(|t| t.render(&image()));
        result
            .map(|text| panic!("{source} gave {text}"))
            .unwrap_or_else(|f: Fault| f.text)
    };
    for (source, expected) in [
        (
            "{{.Foo}}",
            "template: :1:2: executing \"\" at <.Foo>: map has no entry for key \"Foo\"",
        ),
        (
            "{{.Config.Foo}}",
            "template: :1:9: executing \"\" at <.Config.Foo>: map has no entry for key \"Foo\"",
        ),
        (
            "a\n{{.Os}} {{.Foo}}",
            "template: :2:10: executing \"\" at <.Foo>: map has no entry for key \"Foo\"",
        ),
        ("{{.Foo", "template: :1: unclosed action"),
        ("{{foo .Os}}", "template: :1: function \"foo\" not defined"),
        ("{{if .Os}}x", "template: :1: unexpected EOF"),
        (
            "\n{{range .RepoTags}}{{\"{{end}}\"}}",
            "template: :2: unexpected EOF",
        ),
        (
            "{{with .Os}}{{/* {{end}} */}}{{`\\`}}",
            "template: :1: unexpected EOF",
        ),
    ] {
        assert_eq!(fault(source), expected);
    }
    for source in [
        "{{if}}x{{end}}",
        "{{if .Os}}x",
        "{{end}}",
        "{{else}}",
        "{{.Os}",
        "{{$y}}",
        "{{.Os.Foo}}",
        "{{template \"nosuch\"}}",
        "{{index .RepoTags 9}}",
        "{{lower 1}}",
        "{{lower}}",
        "{{len 3}}",
        "{{.Os \"x\"}}",
        "{{range .Os}}x{{end}}",
        "{{\"unterminated}}",
        "{{break}}",
        "{{eq 1 \"a\"}}",
        "{{truncate .Os}}",
        "{{pad .Os 1 1000000000}}",
        "{{(method) . \"Os\"}}",
        "{{range 10000000000}}{{end}}",
    ] {
        assert!(
            fault(source).starts_with("template: :"),
            "{source}: {}",
            fault(source)
        );
    }
}

#[test]
fn a_method_looks_into_a_map() {
    let row: Json = Object::row()
        .with("Names", "web")
        .hidden("Label", Object::new().with("com.example.the-role", "front"))
        .into();
    for (source, expected) in [
        (r#"{{.Label "com.example.the-role"}}"#, "front"),
        (r#"{{.Label "nosuch"}}|{{$.Label "nosuch" | len}}"#, "|0"),
        (
            r#"{{if eq (.Label "com.example.the-role") "front"}}y{{end}}"#,
            "y",
        ),
        (r#"{{json .}}"#, r#"{"Names":"web"}"#),
    ] {
        let template = Template::parse(source, &["Label"]).unwrap();
        assert_eq!(template.render(&row).unwrap(), expected, "{source}");
    }
    let template = Template::parse(
        r#"{{.Label "com.example.the-role"}} {{upper .Names}}"#,
        &["Label"],
    );
    let headers = template
        .unwrap()
        .render_headers([("Names", "NAMES"), ("Label", "")]);
    assert_eq!(headers.unwrap(), "the role NAMES");
}
