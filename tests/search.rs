//! `minidock search`, and `image inspect --remote`, with registries on loopback.

use expect_test::expect;
use minidock_test_registry::{Fault, Registry};
use serde_json::{Value, json};

use crate::support::{Context, DockerRegistry, fixtures, layout_manifest, scenarios};

scenarios!(
    the_table_is_dockers,
    results_are_filtered_and_formatted,
    a_registry_without_search_is_searched_by_its_catalog,
    what_cannot_be_searched_is_told,
    a_remote_image_is_inspected_without_pulling,
);

/// A registry that answers the next searches as Docker Hub does.
fn hub(times: usize) -> Registry {
    let registry = Registry::start();
    let result = |name: &str, description: &str, stars: u64, official: bool| {
        json!({"name": name, "description": description, "star_count": stars, "is_official": official,
               "is_automated": false, "is_trusted": false})
    };
    let long = "A very long description\nof two lines, \u{1b}[31mred at the end, and more";
    let body = json!({"num_pages": 1, "num_results": 3, "page_size": 25, "page": 1, "query": "box", "results": [
        result("someone/box", "", 0, false),
        result("busybox", "Busybox base image.", 3500, true),
        result("other/box", long, 12, false),
    ]});
    registry.plan(
        "/v1/search",
        times,
        Fault::Status(200, Vec::new(), body.to_string()),
    );
    registry
}

fn the_table_is_dockers(cx: &Context) {
    let registry = hub(1);
    let found = cx.run(["search", &format!("{}/box", registry.host())]);
    expect![[r#"
        NAME          DESCRIPTION                                     STARS     OFFICIAL
        busybox       Busybox base image.                             3500      [OK]
        other/box     A very long description of two lines, �[31mr…   12        
        someone/box                                                   0         
    "#]]
    .assert_eq(found.silent_ok());
    assert_eq!(registry.log()[0].path, "/v1/search?q=box&n=25");
}

fn results_are_filtered_and_formatted(cx: &Context) {
    let registry = hub(9);
    let term = format!("{}/box", registry.host());
    let names = |args: &[&str]| {
        let all = [&["search", "--format", "{{.Name}}"], args, &[&term]].concat();
        cx.run(all).silent_ok().to_owned()
    };
    assert_eq!(names(&["--filter", "stars=12"]), "busybox\nother/box\n");
    assert_eq!(names(&["-f", "is-official=true"]), "busybox\n");
    assert_eq!(
        names(&["-f", "is-official=false", "-f", "stars=1"]),
        "other/box\n"
    );
    assert_eq!(names(&["--limit", "1"]), "busybox\n");
    assert!(registry.log().last().unwrap().path.ends_with("&n=1"));
    let lines = cx.run(["search", "--no-trunc", "--format", "json", &term]);
    let lines: Vec<Value> = lines
        .silent_ok()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(
        lines[0],
        json!({"Name": "busybox", "Description": "Busybox base image.", "StarCount": "3500",
               "IsOfficial": "true", "IsAutomated": "false"})
    );
    let description = lines[1]["Description"].as_str().unwrap();
    assert!(description.ends_with("and more"), "{description}");
    for (args, code, told) in [
        (["--limit", "101"], 125, "outside the range of [1, 100]"),
        (["--filter", "stars=many"], 1, "invalid filter 'stars=many'"),
        (["--filter", "colour=red"], 1, "invalid filter 'colour'"),
    ] {
        let output = cx.run(["search", args[0], args[1], &term]);
        assert!(output.fails(code).contains(told), "{output}");
    }
}

fn a_registry_without_search_is_searched_by_its_catalog(cx: &Context) {
    let Some(registry) = DockerRegistry::start(cx) else {
        return;
    };
    registry.push(&fixtures().join("app"), "team/app:1");
    registry.push(&fixtures().join("busybox"), "busybox:1");
    let host = &registry.host;
    let found = cx.run(["search", "--format", "{{.Name}}", &format!("{host}/app")]);
    assert_eq!(found.silent_ok(), "team/app\n");
    let found = cx.run(["search", "--format", "{{.Name}}", &format!("{host}/b")]);
    assert_eq!(found.silent_ok(), "busybox\n");
}

fn what_cannot_be_searched_is_told(cx: &Context) {
    let registry = Registry::start();
    let host = registry.host();
    let missing = Fault::Status(404, Vec::new(), "404 page not found".into());
    registry.plan("/v1/search", 1, missing.clone());
    registry.plan("/v2/_catalog", 1, missing);
    let output = cx.run(["search", &format!("{host}/app")]);
    assert!(
        output
            .fails(1)
            .contains(&format!("cannot search {host}: it has neither")),
        "{output}"
    );
    let output = cx.run(["search", "https://docker.io/app"]);
    assert!(output.fails(1).contains("a scheme is no part"), "{output}");
    for nonsense in ["<html>Sign in", "{}", "[]"] {
        let answer = Fault::Status(200, Vec::new(), nonsense.into());
        registry.plan("/v1/search", 1, answer);
        let output = cx.run(["search", &format!("{host}/app")]);
        assert!(
            output.fails(1).contains("invalid list of search results"),
            "{output}"
        );
    }
}

fn a_remote_image_is_inspected_without_pulling(cx: &Context) {
    let Some(registry) = DockerRegistry::start(cx) else {
        return;
    };
    let layout = fixtures().join("multi");
    let reference = registry.push(&layout, "multi:1");
    let inspect = |args: &[&str]| -> Value {
        let output = cx.run([&["image", "inspect"], args, &[&reference]].concat());
        serde_json::from_str(output.silent_ok()).unwrap()
    };
    let mut remote = inspect(&["--remote"]);
    assert_eq!(cx.run(["images", "-q"]).silent_ok(), "");
    let digest = layout_manifest(&layout);
    let repository = reference.trim_end_matches(":1");
    assert_eq!(
        remote[0]["RepoDigests"],
        json!([format!("{repository}@{digest}")])
    );
    assert!(remote[0]["Size"].as_u64().unwrap() > 0);
    // But for what only a store knows, it is what a pull brings.
    cx.run(["pull", "-q", &reference]).silent_ok();
    let mut local = inspect(&[]);
    for image in [&mut remote, &mut local] {
        let image = image[0].as_object_mut().unwrap();
        image.remove("Size");
        image.remove("GraphDriver");
    }
    assert_eq!(remote, local);

    let format = [
        "image",
        "inspect",
        "--remote",
        "--platform",
        "linux/s390x",
        "--format",
        "{{.Architecture}}",
    ];
    let other = cx.run([&format[..], &[&reference]].concat());
    assert_eq!(other.silent_ok(), "s390x\n");
    let missing = format!("{repository}:none");
    let output = cx.run(["image", "inspect", "--remote", &missing]);
    assert!(output.fails(1).contains("not found"), "{output}");
    // In the store, there is one platform under this name.
    let local = cx.run(["image", "inspect", "--platform", "linux/s390x", &reference]);
    assert!(local.fails(1).contains("not for linux/s390x"), "{local}");
}
