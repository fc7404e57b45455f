//! Bad weather, as a user sees it: what is sat out, what is told, and what Ctrl-C leaves for the next time.

use std::fs;
use std::time::Instant;

use expect_test::expect;
use minidock_test_registry::{Authority, Fault, Image, Registry, Setup, tar};
use rustix::process::Signal;

use crate::support::{Context, Output, PATIENCE, Terminal, scenarios};

scenarios!(
    passing_trouble_is_told_in_a_line_and_sat_out,
    a_limit_is_told_in_words,
    ctrl_c_stops_at_once_and_the_next_pull_goes_on,
    ctrl_c_on_a_terminal_leaves_it_usable,
    a_name_that_is_not_found_is_told,
    a_certificate_that_is_refused_is_told_and_not_asked_for_again,
);

/// Bytes that do not compress.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        state.to_be_bytes()[0]
    };
    (0..length).map(|_| next()).collect()
}

/// A registry with `app:1`, its name, and the path of its one layer.
fn registry() -> (Registry, String, String) {
    let registry = Registry::start();
    let image = Image::of(&[tar(&[("big", &noise(3_000_000))])]);
    registry.put("app", "1", &image);
    let blobs = image.blobs();
    let (layer, _) = blobs.iter().find(|b| b.1 == image.layers[0]).unwrap();
    let name = format!("{}/app:1", registry.host());
    (registry, name, format!("blobs/{layer}"))
}

fn ranges(registry: &Registry, path: &str) -> Vec<Option<String>> {
    let log = registry.log().into_iter();
    log.filter(|request| request.path.contains(path))
        .map(|request| request.range)
        .collect()
}

fn passing_trouble_is_told_in_a_line_and_sat_out(cx: &Context) {
    let (registry, name, path) = registry();
    let unavailable = Fault::Status(503, vec![], "<html>".into());
    registry.plan("/manifests/", 1, unavailable);
    registry.plan(&path, 1, Fault::Reset(1_000_000));
    registry.plan(&path, 1, Fault::Truncate(1_000_000));
    let output = cx.run(["pull", &name]);
    output.ok();
    let asked = ranges(&registry, &path);
    assert_eq!(asked.len(), 3, "{asked:?}");
    assert_eq!(asked[0], None);
    // A reset takes what the network had not handed over yet with it.
    let from = |range: &Option<String>| -> usize {
        let range = range.as_deref().unwrap();
        let from = range.strip_prefix("bytes=").unwrap();
        from.trim_end_matches('-').parse().unwrap()
    };
    let first = from(&asked[1]);
    assert!(first <= 1_000_000, "{asked:?}");
    assert_eq!(from(&asked[2]), first + 1_000_000);
    let retries: Vec<&str> = output
        .stderr
        .lines()
        .chain(output.stdout.lines())
        .filter(|line| line.contains("etry"))
        .collect();
    assert_eq!(retries.len(), 3, "{output}");
    assert!(retries[0].contains("503 Service Unavailable"), "{output}");
    assert!(!retries[0].contains("html"), "{output}");
}

fn a_limit_is_told_in_words(cx: &Context) {
    let (registry, name, _) = registry();
    let headers = [
        ("Retry-After", "7200"),
        ("RateLimit-Limit", "100;w=21600"),
        ("RateLimit-Remaining", "0;w=21600"),
        ("Docker-RateLimit-Source", "192.0.2.7"),
    ];
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
    registry.plan(
        "/manifests/",
        1,
        Fault::Status(429, headers.to_vec(), String::new()),
    );
    let output = cx.run(["pull", &name]);
    expect![[r#"
        exit 1
        stderr:
        minidock: the registry REGISTRY refuses more requests for now (429 Too Many Requests): the 100 pulls in 6 hours for your address 192.0.2.7 are used up
        hint: try again in 2 hours, log in, which may allow more: minidock login REGISTRY, or use a mirror
    "#]]
    .assert_eq(&output.snapshot(&[(&registry.host(), "REGISTRY")]));
    assert_eq!(registry.log().len(), 1);
}

/// Waits until a good part of the layer is kept; how much that is.
fn kept(cx: &Context) -> u64 {
    let partial = cx.root().join("partial");
    let kept = || {
        let mut entries = fs::read_dir(&partial).ok()?;
        Some(entries.next()?.ok()?.metadata().ok()?.len())
    };
    let deadline = Instant::now() + PATIENCE;
    while kept().is_none_or(|length| length < 1 << 20) {
        assert!(Instant::now() < deadline, "nothing is kept");
        std::thread::yield_now();
    }
    kept().unwrap()
}

fn ctrl_c_stops_at_once_and_the_next_pull_goes_on(cx: &Context) {
    let (registry, name, path) = registry();
    registry.plan(&path, 1, Fault::Stall(2_000_000));
    let pull = cx.start(cx.command(["pull", &name]));
    kept(cx);
    pull.signal(Signal::INT);
    pull.wait_for_signal();
    let have = kept(cx);
    assert_eq!(cx.run(["images", "-q"]).silent_ok(), "");
    // In a pull of another process, and only what is missing.
    cx.run(["pull", &name]).ok();
    assert_eq!(
        ranges(&registry, &path),
        [None, Some(format!("bytes={have}-"))]
    );
    assert!(
        cx.run(["system", "check"])
            .silent_ok()
            .ends_with(": no problems\n")
    );
}

fn ctrl_c_on_a_terminal_leaves_it_usable(cx: &Context) {
    let (registry, name, path) = registry();
    registry.plan(&path, 1, Fault::Stall(2_000_000));
    let mut terminal = Terminal::start(cx, ["pull", &name]);
    terminal.expect("Downloading");
    kept(cx);
    let device = terminal.keep_device();
    let settings = format!("{:?}", terminal.settings);
    terminal.send("\x03");
    let shown = terminal.wait_for_signal();
    let now = rustix::termios::tcgetattr(&device).unwrap();
    assert_eq!(format!("{now:?}"), settings);
    let hidden = shown.rfind("\x1b[?25l").unwrap_or(0);
    assert!(
        shown.rfind("\x1b[?25h").unwrap_or(hidden) >= hidden,
        "the cursor stays hidden: {shown:?}"
    );
}

/// Runs minidock in a network of its own, where no name server is.
fn alone(cx: &Context, image: &str) -> Output {
    let mut command = cx.program("unshare");
    command.args(["--user", "--map-root-user", "--net", "minidock", "pull"]);
    command.arg(image);
    cx.finish(command)
}

fn a_name_that_is_not_found_is_told(cx: &Context) {
    let output = alone(cx, "registry.invalid/app:1");
    let message = output.fails(1);
    assert!(
        message.contains("minidock: cannot reach the registry registry.invalid: "),
        "{message}"
    );
    assert!(
        message.contains("caused by: its name is not found: "),
        "{message}"
    );
    assert!(
        message.contains("hint: check that registry.invalid is the right name"),
        "{message}"
    );
}

fn a_certificate_that_is_refused_is_told_and_not_asked_for_again(cx: &Context) {
    let authority = Authority::default();
    let file = cx.write("authority.pem", authority.pem());
    let trusted = Some(file.as_path());
    for (names, end, trust, why) in [
        (
            ["127.0.0.1"],
            None,
            None,
            "its certificate is not signed by an authority that this machine trusts",
        ),
        (
            ["other.invalid"],
            None,
            trusted,
            "its certificate is for other.invalid",
        ),
        (
            ["127.0.0.1"],
            Some(2020),
            trusted,
            "its certificate ended 2020-01-01",
        ),
    ] {
        let registry = Registry::start_as(Setup {
            tls: Some(authority.server(&names, end)),
            ..Setup::default()
        });
        let name = format!("{}/app:1", registry.host());
        let mut command = cx.command(["pull", &name]);
        command.envs(trust.map(|file| ("SSL_CERT_FILE", file)));
        let output = cx.finish(command);
        // One message, and no word of another attempt.
        let message = output.error(1);
        assert!(message.contains(&format!("caused by: {why}")), "{message}");
        assert_eq!(
            message.contains("SSL_CERT_FILE"),
            trust.is_none(),
            "{message}"
        );
    }
}
