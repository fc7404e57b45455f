//! Who we are: what is sent to which registry, and what is told when it is not enough.

use std::path::PathBuf;

use minidock_pull::{Credential, Credentials, Error, Event, Kept, login};
use minidock_test_registry::{Login, Registry};

use crate::world::{World, image};

/// `me:open sesame`.
const PAIR: &str = "Basic bWU6b3BlbiBzZXNhbWU=";

fn me() -> Credential {
    Credential::Password {
        username: "me".into(),
        password: "open sesame".into(),
    }
}

/// A world whose user has this `config.json`.
fn world(registry: Registry, config: impl FnOnce(&str) -> String) -> (World, PathBuf) {
    let mut world = World::new(registry);
    let path = world.store.root().join("../config.json");
    std::fs::write(&path, config(&world.registry.host())).unwrap();
    world.options.credentials = Credentials {
        docker: Some(path.clone()),
        others: Vec::new(),
    };
    world.registry.put("team/app", "1", &image());
    (world, path)
}

fn auth(host: &str) -> String {
    format!(r#"{{"auths": {{"{host}": {{"auth": "{}"}}}}}}"#, &PAIR[6..])
}

#[test]
fn basic_authentication_is_sent_once_it_is_asked_for() {
    let (world, _) = world(Registry::start(), auth);
    world.registry.require(Login::Basic(PAIR.into()));
    world.pull("team/app:1").unwrap();
    let sent: Vec<_> = world
        .registry
        .log()
        .into_iter()
        .map(|r| r.authorization)
        .collect();
    assert_eq!(sent[0], None);
    assert!(
        sent[1..].iter().all(|a| a.as_deref() == Some(PAIR)),
        "{sent:?}"
    );
}

#[test]
fn a_password_gets_a_token_and_goes_nowhere_else() {
    let (world, _) = world(Registry::like_docker_hub(), auth);
    world.registry.require(Login::Password(PAIR.into()));
    world.pull("team/app:1").unwrap();
    let log = world.registry.log();
    for request in &log {
        let with_password = request.authorization.as_deref() == Some(PAIR);
        assert_eq!(
            with_password,
            request.path.starts_with("/token"),
            "{request:?}"
        );
    }
    let tokens: Vec<_> = log
        .iter()
        .filter(|r| r.path.starts_with("/token"))
        .collect();
    assert_eq!(tokens.len(), 1);
    assert!(tokens[0].path.contains("account=me"), "{}", tokens[0].path);
}

#[test]
fn an_identity_token_is_posted() {
    let (world, _) = world(Registry::like_docker_hub(), |host| {
        format!(r#"{{"auths": {{"{host}": {{"identitytoken": "refresh-me"}}}}}}"#)
    });
    world.registry.require(Login::Identity("refresh-me".into()));
    world.pull("team/app:1").unwrap();
    let log = world.registry.log();
    let posts = log.iter().filter(|r| r.method == "POST").count();
    assert_eq!(posts, 1, "{log:#?}");
    let leaked = log.iter().any(|r| r.path.contains("refresh-me"));
    assert!(!leaked, "a secret in an address ends in logs: {log:#?}");
}

#[test]
fn podmans_file_is_a_second_source() {
    let (mut world, path) = world(Registry::start(), |_| "{}".into());
    let second = path.with_file_name("auth.json");
    std::fs::write(&second, auth(&format!("{}/team", world.registry.host()))).unwrap();
    world.options.credentials.others = vec![path.with_file_name("none.json"), second];
    world.registry.require(Login::Basic(PAIR.into()));
    world.pull("team/app:1").unwrap();
}

#[test]
fn a_refused_account_is_named_and_its_password_is_not() {
    for registry in [Registry::start(), Registry::like_docker_hub()] {
        let (world, _) = world(registry, auth);
        world.registry.require(Login::Basic("Basic other".into()));
        let error = world.pull("team/app:1").unwrap_err();
        assert!(
            matches!(&error, Error::Denied { account: Some(me), .. } if me == "me"),
            "{error:?}"
        );
        let host = world.registry.host();
        let told = format!("{error} {error:?} {}", error.hint().unwrap());
        assert!(told.contains(&format!("minidock login {host}")), "{told}");
        assert!(
            !told.contains("sesame") && !told.contains(&PAIR[6..]),
            "{told}"
        );
        world.assert_nothing_there();
    }
}

#[test]
fn a_broken_helper_is_told_and_public_images_are_pulled_all_the_same() {
    let (world, _) = world(Registry::like_docker_hub(), |_| {
        r#"{"credsStore": "that-is-not-installed"}"#.into()
    });
    world.pull("team/app:1").unwrap();
    let events = world.events.lock().unwrap();
    let told = events.iter().find_map(|event| match event {
        Event::NoCredentials { why, .. } => Some(why.clone()),
        _ => None,
    });
    let told = told.unwrap();
    assert!(
        told.contains("docker-credential-that-is-not-installed"),
        "{told}"
    );
}

#[test]
fn a_login_is_kept_only_after_the_registry_took_it() {
    for (registry, required) in [
        (Registry::start(), Login::Basic(PAIR.into())),
        (Registry::like_docker_hub(), Login::Password(PAIR.into())),
    ] {
        let (world, path) = world(registry, |_| r#"{"detachKeys": "ctrl-x"}"#.into());
        world.registry.require(required);
        let host = world.registry.host();
        let wrong = Credential::Password {
            username: "me".into(),
            password: "wrong".into(),
        };
        let error = login(&host, &wrong, &world.options, &|_| {}).unwrap_err();
        assert!(matches!(error, Error::LoginRefused { .. }), "{error:?}");
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            r#"{"detachKeys": "ctrl-x"}"#
        );
        let kept = login(&host, &me(), &world.options, &|_| {}).unwrap();
        assert_eq!(kept, Kept::File(path.clone()));
        world.pull("team/app:1").unwrap();
        assert!(world.options.credentials.erase(&host).unwrap());
        assert_eq!(
            world.options.credentials.find(&host, "team/app").unwrap(),
            None
        );
    }
}
