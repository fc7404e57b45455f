//! `login` and `logout`, against `docker-registry` with accounts.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::support::{Context, DockerRegistry, Terminal, fixtures, scenarios};

scenarios!(
    a_login_opens_a_private_registry_until_logout,
    a_wrong_password_is_kept_nowhere,
    a_terminal_is_asked_and_shows_no_password,
    a_helper_keeps_what_it_is_given,
    bad_usage_is_told,
);

/// A private registry that holds `app:1`, and the image's reference.
fn private(cx: &Context) -> Option<(DockerRegistry, String)> {
    let open = DockerRegistry::start(cx)?;
    open.push(&fixtures().join("app"), "app:1");
    let private = DockerRegistry::start_private(cx)?;
    let reference = format!("{}/app:1", private.host);
    Some((private, reference))
}

fn config(cx: &Context) -> std::path::PathBuf {
    cx.dir.join("home/.docker/config.json")
}

fn a_login_opens_a_private_registry_until_logout(cx: &Context) {
    let Some((registry, image)) = private(cx) else {
        return;
    };
    let host = registry.host.as_str();
    let refused = cx.run(["pull", &image]);
    let message = refused.fails(1);
    assert!(
        message.contains(&format!(
            "hint: check the spelling, or log in: minidock login {host}\n"
        )),
        "{message}"
    );

    let login = cx.run_with_input(
        ["login", "-u", "me", "--password-stdin", host],
        b"open sesame\n",
    );
    assert_eq!(login.ok(), "Login Succeeded\n");
    assert!(login.stderr.contains("stored unencrypted"), "{login}");
    let mode = fs::metadata(config(cx)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    cx.run(["pull", &image]).ok();
    assert_eq!(
        cx.run(["login", host]).silent_ok(),
        "Authenticating with existing credentials...\nLogin Succeeded\n"
    );

    let logout = cx.run(["logout", host]);
    assert_eq!(
        logout.silent_ok(),
        format!("Removing login credentials for {host}\n")
    );
    assert_eq!(
        cx.run(["logout", host]).silent_ok(),
        format!("Not logged in to {host}\n")
    );
    cx.run(["rmi", &image]).ok();
    cx.run(["pull", &image]).fails(1);
}

fn a_wrong_password_is_kept_nowhere(cx: &Context) {
    let Some((registry, image)) = private(cx) else {
        return;
    };
    let host = registry.host.as_str();
    let login = cx.run_with_input(
        ["login", "-u", "me", "--password-stdin", host],
        b"open barley",
    );
    let message = login.error(1);
    assert!(
        message.starts_with(&format!("minidock: the registry {host} refuses this login")),
        "{message}"
    );
    assert!(!message.contains("barley"), "{message}");
    assert!(!config(cx).exists());
    // One that is in the file all the same: the account is named, its password is not.
    fs::create_dir(cx.dir.join("home/.docker")).unwrap();
    let entry = format!(r#"{{"auths": {{"{host}": {{"auth": "bWU6YmFybGV5"}}}}}}"#);
    fs::write(config(cx), entry).unwrap();
    let refused = cx.run(["pull", &image]);
    let message = refused.fails(1);
    assert!(message.contains("or me may not have it"), "{message}");
    assert!(
        message.contains(&format!("with another account: minidock login {host}")),
        "{message}"
    );
    assert!(
        !message.contains("barley") && !message.contains("bWU6"),
        "{message}"
    );
}

fn a_terminal_is_asked_and_shows_no_password(cx: &Context) {
    let Some((registry, _)) = private(cx) else {
        return;
    };
    let mut terminal = Terminal::start(cx, ["login", &registry.host]);
    terminal.expect("Username: ");
    terminal.send("me\n");
    terminal.expect("Password: ");
    terminal.send("open sesame\n");
    let end = terminal.wait();
    let screen = end.ok();
    assert!(screen.contains("Login Succeeded"), "{screen}");
    assert!(!screen.contains("sesame"), "{screen}");
}

fn a_helper_keeps_what_it_is_given(cx: &Context) {
    let Some((registry, image)) = private(cx) else {
        return;
    };
    let host = registry.host.as_str();
    let helper = cx.write(
        "docker-credential-chest",
        "#!/bin/sh\nchest=$HOME/chest\ncase $1 in\nstore) cat >$chest ;;\n\
         get) cat $chest 2>/dev/null || { echo credentials not found in native keychain; exit 1; } ;;\n\
         erase) rm $chest ;;\nesac\n",
    );
    fs::set_permissions(&helper, PermissionsExt::from_mode(0o755)).unwrap();
    fs::create_dir(cx.dir.join("home/.docker")).unwrap();
    fs::write(
        config(cx),
        format!(r#"{{"credHelpers": {{"{host}": "chest"}}}}"#),
    )
    .unwrap();
    let path = format!("{}:/usr/bin:/bin", cx.work().display());
    let run = |args: &[&str], input: &[u8]| {
        let mut command = cx.command(args);
        command.env("PATH", &path);
        let mut running = cx.start(command);
        running.feed(input);
        running.wait()
    };
    let login = run(
        &["login", "-u", "me", "--password-stdin", host],
        b"open sesame",
    );
    assert_eq!(login.silent_ok(), "Login Succeeded\n");
    let kept = fs::read_to_string(cx.dir.join("home/chest")).unwrap();
    let kept: serde_json::Value = serde_json::from_str(&kept).unwrap();
    assert_eq!(
        kept,
        serde_json::json!({"ServerURL": host, "Username": "me", "Secret": "open sesame"})
    );
    assert!(!fs::read_to_string(config(cx)).unwrap().contains("auths"));
    run(&["pull", "-q", &image], b"").silent_ok();
    run(&["logout", host], b"").silent_ok();
    assert!(!cx.dir.join("home/chest").exists());
}

fn bad_usage_is_told(cx: &Context) {
    for (args, words) in [
        (
            &["login", "--password-stdin", "127.0.0.1:1"][..],
            "--password-stdin needs --username",
        ),
        (&["login", "-u", "me", "../x"], "is no registry"),
        (
            &["login", "-u", "a:b", "-p", "x", "127.0.0.1:1"],
            "without a colon",
        ),
    ] {
        let output = cx.run(args);
        assert!(output.fails(125).contains(words), "{output}");
    }
    let blind = cx.run(["login", "127.0.0.1:1"]);
    assert!(
        blind
            .error(1)
            .contains("hint: use --username NAME --password-stdin"),
        "{blind}"
    );
}
