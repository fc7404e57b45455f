//! Looking at registries without pulling: lists of tags that come in pages, searches, configs.

use minidock_oci::Digest;
use minidock_pull::{Error, PullOptions, remote_image, remote_tags, search};
use minidock_test_registry::{Fault, Registry};

use crate::world::{World, chain, image};

/// Plans the answer to the request whose path has this in it.
fn answer(world: &World, path: &str, times: usize, link: &str, body: &str) {
    let headers = match link {
        "" => Vec::new(),
        link => vec![("Link".to_owned(), link.to_owned())],
    };
    let fault = Fault::Status(200, headers, body.to_owned());
    world.registry.plan(path, times, fault);
}

fn tags(world: &World) -> Result<Vec<String>, Error> {
    remote_tags(&world.reference("app"), &world.options, &|_| {})
}

#[test]
fn tags_come_in_pages_and_in_order() {
    let world = World::new(Registry::start());
    let first = "</v2/app/tags/list?last=b&n=2>; rel=\"next\"";
    answer(
        &world,
        "tags/list?n=1000",
        1,
        first,
        r#"{"name":"app","tags":["c","b"]}"#,
    );
    let host = world.registry.host();
    let second = format!("<https://{host}/v2/app/tags/list?last=d>; rel=next");
    answer(&world, "last=b&n=2", 1, &second, r#"{"tags":["d","b"]}"#);
    answer(&world, "last=d", 1, "", r#"{"tags":["a"]}"#);
    assert_eq!(tags(&world).unwrap(), ["a", "b", "c", "d"]);
    let asked: Vec<_> = world.registry.log().into_iter().map(|r| r.path).collect();
    assert_eq!(
        asked,
        [
            "/v2/app/tags/list?n=1000",
            "/v2/app/tags/list?last=b&n=2",
            "/v2/app/tags/list?last=d"
        ]
    );
    // No tags at all.
    answer(&world, "tags/list", 1, "", r#"{"name":"app","tags":null}"#);
    assert_eq!(tags(&world).unwrap(), Vec::<String>::new());
}

#[test]
fn a_list_of_tags_that_leads_nowhere_is_left() {
    let world = World::new(Registry::start());
    let page = r#"{"tags":["a"]}"#;
    // In a circle of two.
    answer(
        &world,
        "n=1000",
        1,
        "</v2/app/tags/list?n=2>; rel=next",
        page,
    );
    answer(
        &world,
        "n=2",
        1,
        "</v2/app/tags/list?n=1000>; rel=next",
        page,
    );
    let error = chain(&tags(&world).unwrap_err());
    assert!(error.contains("lead nowhere"), "{error}");
    assert_eq!(world.registry.log().len(), 2);

    // To a page without anything, which has a next one.
    let world = World::new(Registry::start());
    answer(
        &world,
        "n=1000",
        1,
        "</v2/app/tags/list?n=2>; rel=next",
        r#"{"tags":[]}"#,
    );
    let error = chain(&tags(&world).unwrap_err());
    assert!(error.contains("lead nowhere"), "{error}");

    // To somebody else, who is not asked.
    for elsewhere in ["http://192.0.2.1/v2/", "//192.0.2.1/v2/", "ftp://x/"] {
        let link = format!("<{elsewhere}>; rel=next");
        answer(&world, "n=1000", 1, &link, page);
        let error = chain(&tags(&world).unwrap_err());
        assert!(error.contains("at another host"), "{elsewhere}: {error}");
    }

    // Pages of the largest size without end: given up within bounds.
    let world = World::new(Registry::start());
    let huge = format!(r#"{{"tags":["{}"]}}"#, "x".repeat((8 << 20) - 20));
    answer(
        &world,
        "n=1000",
        1,
        "</v2/app/tags/list?m=0>; rel=next",
        &huge,
    );
    for n in 0..20 {
        let link = format!("</v2/app/tags/list?m={}>; rel=next", n + 1);
        answer(&world, &format!("m={n}"), 1, &link, &huge);
    }
    let error = chain(&tags(&world).unwrap_err());
    let asked: Vec<_> = world.registry.log().into_iter().map(|r| r.path).collect();
    assert!(
        error.contains("no end"),
        "{error}: {asked:#?} {:?}",
        world.retries()
    );
    assert_eq!(world.registry.log().len(), 9);
    // And one that is larger.
    let larger = "x".repeat((8 << 20) + 1);
    answer(&world, "n=1000", 1, "", &larger);
    assert!(matches!(tags(&world), Err(Error::TooLarge { .. })));

    answer(&world, "n=1000", 1, "", "<html>Sign in</html>");
    let error = chain(&tags(&world).unwrap_err());
    assert!(
        error.contains("invalid list of tags") && error.contains("<html>Sign in"),
        "{error}"
    );
}

#[test]
fn a_search_is_dockers_or_through_the_catalog() {
    let world = World::new(Registry::start());
    let find = |term: &str, limit, options: &PullOptions| {
        search(
            &format!("{}/{term}", world.registry.host()),
            limit,
            options,
            &|_| {},
        )
    };
    let found = r#"{"num_pages":1,"num_results":3,"page_size":25,"page":1,"query":"x","results":[
        {"name":"a/x","description":"one","star_count":3,"is_automated":false,"is_official":false,"is_trusted":false},
        {"name":"x","description":"two","star_count":70,"is_official":true},
        {"name":"b/x"}]}"#;
    answer(&world, "/v1/search", 1, "", found);
    let results = find("library/x & y", 3, &world.options).unwrap();
    let shown: Vec<_> = results
        .iter()
        .map(|r| (r.name.as_str(), r.description.as_str(), r.stars, r.official))
        .collect();
    assert_eq!(
        shown,
        [
            ("x", "two", 70, true),
            ("a/x", "one", 3, false),
            ("b/x", "", 0, false)
        ]
    );
    let log = world.registry.log();
    assert_eq!(log[0].path, "/v1/search?q=x+%26+y&n=3");
    // More than was asked for is not shown.
    answer(&world, "/v1/search", 1, "", found);
    assert_eq!(find("x", 2, &world.options).unwrap().len(), 2);

    // A registry without Docker's search.
    let missing = Fault::Status(404, Vec::new(), "404 page not found".into());
    world.registry.plan("/v1/search", 9, missing.clone());
    let next = "</v2/_catalog?last=other>; rel=next";
    answer(
        &world,
        "_catalog?n=1000",
        2,
        next,
        r#"{"repositories":["team/xyz","other"]}"#,
    );
    answer(&world, "last=other", 1, "", r#"{"repositories":["axe"]}"#);
    let names: Vec<_> = find("x", 25, &world.options)
        .unwrap()
        .into_iter()
        .map(|r| r.name)
        .collect();
    assert_eq!(names, ["axe", "team/xyz"]);
    // Enough was found on the first page.
    world.registry.clear_log();
    assert_eq!(find("x", 1, &world.options).unwrap()[0].name, "team/xyz");
    assert_eq!(world.requests("_catalog"), 1);

    // Neither.
    world.registry.plan("_catalog", 1, missing);
    let error = find("x", 25, &world.options).unwrap_err();
    assert!(matches!(error, Error::NotSearchable { .. }), "{error}");
    answer(&world, "_catalog", 1, "", "<html>");
    let error = chain(&find("x", 25, &world.options).unwrap_err());
    assert!(error.contains("list of repositories"), "{error}");
    let denied = Fault::Status(403, Vec::new(), String::new());
    world.registry.plan("_catalog", 1, denied);
    let error = find("x", 25, &world.options).unwrap_err();
    assert!(error.hint().unwrap().contains("minidock login"), "{error}");
}

#[test]
fn a_blocked_registry_is_not_searched() {
    let mut world = World::new(Registry::start());
    let folder = tempfile::tempdir().unwrap();
    let conf = folder.path().join("registries.conf");
    let host = world.registry.host();
    let text = format!("[[registry]]\nprefix = \"{host}\"\nblocked = true\n");
    std::fs::write(&conf, text).unwrap();
    world.options.registries = minidock_pull::Registries::read(&[conf]).unwrap();
    let error = search(&format!("{host}/x"), 1, &world.options, &|_| {}).unwrap_err();
    assert!(matches!(error, Error::Blocked { .. }), "{error}");
    assert_eq!(world.registry.log(), []);
}

#[test]
fn an_image_is_looked_at_without_its_layers() {
    let world = World::new(Registry::like_docker_hub());
    let image = image();
    let digest = world.registry.put_index(
        "app",
        "1",
        &[("linux/amd64", &image), ("linux/arm64", &image)],
    );
    let found = remote_image(&world.reference("app:1"), &world.options, &|_| {}).unwrap();
    assert_eq!(found.digest, digest);
    assert_eq!(found.manifest, Digest::sha256(&image.manifest));
    assert_eq!(found.config_bytes, image.config);
    assert_eq!(found.image_id, Digest::sha256(&image.config));
    let size: usize = image.layers.iter().map(Vec::len).sum();
    assert_eq!(found.size, size as u64);
    for layer in &image.layers {
        assert_eq!(world.requests(&Digest::sha256(layer).to_string()), 0);
    }
    assert_eq!(world.store.images().unwrap(), []);
}
