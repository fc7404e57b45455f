//! Flags whose values have a small syntax of their own.

use std::net::IpAddr;
use std::path::Path;

use minidock_engine::clean_path;
use minidock_engine::spec::{CapabilityWish, DeviceWish, EmulationWish, Ipc, KeepId, Ulimit};

use super::wrong::{Wrong, wrong, wrong_with};

/// `KEY[=VALUE]`.
pub fn label(text: &str) -> Result<(String, String), Wrong> {
    let (name, value) = text.split_once('=').unwrap_or((text, ""));
    if name.is_empty() {
        return wrong(format!("invalid label '{text}': empty name"));
    }
    Ok((name.to_owned(), value.to_owned()))
}

/// `KEY=VALUE`.
pub fn annotation(text: &str) -> Result<(String, String), Wrong> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => wrong("it is not of the form KEY=VALUE"),
    }
}

/// A capability's name, with or without `CAP_`, or `ALL`.
pub fn capability(text: &str) -> Result<CapabilityWish, Wrong> {
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("CAP_").unwrap_or(&upper);
    if name == "ALL" {
        return Ok(CapabilityWish::All);
    }
    match name.parse() {
        Ok(capability) if !name.starts_with("CAP_") => Ok(CapabilityWish::One(capability)),
        _ => wrong_with(
            format!("unknown capability: {text:?}"),
            "capabilities(7) lists them",
        ),
    }
}

/// `NAME=SOFT[:HARD]`; -1 is unlimited.
pub fn ulimit(text: &str) -> Result<Ulimit, Wrong> {
    let Some((name, numbers)) = text.split_once('=') else {
        return wrong(format!("invalid ulimit argument: {text}"));
    };
    let Ok(kind) = format!("RLIMIT_{}", name.to_ascii_uppercase()).parse() else {
        return wrong_with(
            format!("invalid ulimit type: {name}"),
            "core, cpu, data, fsize, locks, memlock, msgqueue, nice, nofile, nproc, rss, rtprio, rttime, sigpending and stack are",
        );
    };
    let number = |text: &str| match text.parse::<i64>() {
        Ok(-1) => Ok(u64::MAX),
        Ok(number) => u64::try_from(number).or_else(|_| wrong(format!("{text} is negative"))),
        Err(_) => wrong(format!("{text:?} is no number")),
    };
    let (soft, hard) = match numbers.split_once(':') {
        Some((soft, hard)) => (number(soft)?, number(hard)?),
        None => (number(numbers)?, number(numbers)?),
    };
    if soft > hard {
        return wrong(format!(
            "ulimit soft limit must be less than or equal to hard limit: {numbers}"
        ));
    }
    Ok(Ulimit { kind, soft, hard })
}

/// `NAME=VALUE`. Whether the parameter is the container's own is not decided here.
pub fn sysctl(text: &str) -> Result<(String, String), Wrong> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => wrong(format!(
            "sysctl '{text}' is not allowed: it is not of the form NAME=VALUE"
        )),
    }
}

/// `NAME:ADDRESS` or `NAME=ADDRESS`; the address may be in brackets.
pub fn host(text: &str) -> Result<(String, IpAddr), Wrong> {
    let split = match text.split_once('=') {
        Some(split) => Some(split),
        None => text.split_once(':'),
    };
    let Some((name, address)) = split.filter(|(name, _)| !name.is_empty()) else {
        return wrong(format!("bad format for add-host: {text:?}"));
    };
    if name.contains(char::is_whitespace) || name.contains('#') {
        return wrong(format!("{name:?} is no host name"));
    }
    let address = address.trim_matches(|c| c == '[' || c == ']');
    if address == "host-gateway" {
        return wrong_with(
            "host-gateway is not supported: a container has no network of its own but loopback so far",
            "with --network host, the host is 127.0.0.1",
        );
    }
    match address.parse() {
        Ok(address) => Ok((name.to_owned(), address)),
        Err(_) => wrong(format!("invalid IP address in add-host: {address:?}")),
    }
}

/// An address.
pub fn dns(text: &str) -> Result<IpAddr, Wrong> {
    let parsed = text.trim().parse();
    parsed.or_else(|_| wrong(format!("IP address is not correctly formatted: {text}")))
}

/// A word of resolv.conf(5).
pub fn resolv_word(text: &str) -> Result<String, Wrong> {
    if text.is_empty() || text.contains(char::is_whitespace) || text.contains('\0') {
        return wrong(format!("{text:?} is not one word"));
    }
    Ok(text.to_owned())
}

/// What sethostname(2) and setdomainname(2) take, and files and shells do not choke on.
pub fn host_name(text: &str) -> Result<String, Wrong> {
    let is_fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    if text.is_empty() || text.len() > 64 || !text.chars().all(is_fine) {
        return wrong("a name needs 1 to 64 letters, digits, `-`, `.` or `_`");
    }
    Ok(text.to_owned())
}

/// `SOURCE[:TARGET][:rwm]`.
pub fn device(text: &str) -> Result<DeviceWish, Wrong> {
    if text.contains('\0') {
        return wrong("it holds a NUL byte");
    }
    let is_mode = |part: &str| !part.is_empty() && part.bytes().all(|b| b"rwm".contains(&b));
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, mode) = match parts.as_slice() {
        [source] => (*source, *source, "rwm"),
        [source, mode] if is_mode(mode) => (*source, *source, *mode),
        [source, target] => (*source, *target, "rwm"),
        [source, target, mode] => (*source, *target, *mode),
        _ => return wrong("invalid device specification"),
    };
    if text.contains('=')
        && text.contains('/')
        && text.split('/').next().is_some_and(|p| p.contains('.'))
    {
        return wrong_with(
            "devices of the Container Device Interface are not supported",
            "give the device's own path",
        );
    }
    if !is_mode(mode) {
        return wrong(format!("invalid device mode: {mode}"));
    }
    if !(mode.contains('r') && mode.contains('w')) {
        return wrong_with(
            format!(
                "the mode {mode:?} cannot be enforced: no cgroup of minidock's watches over devices"
            ),
            "give it as rw; what the caller may not do with the device, the container may not either",
        );
    }
    if !Path::new(source).is_absolute() || !Path::new(target).is_absolute() {
        return wrong("the paths of a device have to be absolute");
    }
    let target = clean_path(target);
    if target == "/" || target == "/dev" {
        return wrong(format!("{target} cannot be a device"));
    }
    Ok(DeviceWish {
        source: source.into(),
        target,
    })
}

/// `--pid`, `--uts`, `--cgroupns`: whether it is the host's.
pub fn is_host(flag: &'static str, own: &[&str]) -> impl Fn(&str) -> Result<bool, Wrong> {
    move |text| match text {
        "host" => Ok(true),
        own_name if own.contains(&own_name) => Ok(false),
        other if other.starts_with("container:") => wrong_with(
            format!(
                "{other} is not supported: namespaces of running containers cannot be joined yet"
            ),
            "use host, or leave it out",
        ),
        _ => wrong(format!("{flag}: invalid mode")),
    }
}

/// `--ipc`.
pub fn ipc(text: &str) -> Result<Ipc, Wrong> {
    match text {
        "" | "private" | "shareable" => Ok(Ipc::Private),
        "none" => Ok(Ipc::None),
        "host" => Ok(Ipc::Host),
        other => is_host("--ipc", &[])(other).map(|_| Ipc::Private),
    }
}

/// `--root-emulation`.
pub fn root_emulation(text: &str) -> Result<EmulationWish, Wrong> {
    match text {
        "auto" => Ok(EmulationWish::Auto),
        "on" => Ok(EmulationWish::On),
        "off" => Ok(EmulationWish::Off),
        _ => wrong("it is one of auto, on and off"),
    }
}

/// Whose ids a container has.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct UserNamespace {
    pub auto_ids: bool,
    pub keep_id: Option<KeepId>,
}

/// `--userns`: `host` is the caller's usual map, for without a user namespace no container could be set up.
pub fn userns(text: &str) -> Result<UserNamespace, Wrong> {
    let (mode, options) = text.split_once(':').unwrap_or((text, ""));
    match mode {
        "" | "host" | "private" if options.is_empty() => Ok(UserNamespace::default()),
        "keep-id" => Ok(UserNamespace {
            keep_id: Some(keep_id(options)?),
            ..UserNamespace::default()
        }),
        "auto" if options.is_empty() => Ok(UserNamespace {
            auto_ids: true,
            ..UserNamespace::default()
        }),
        "auto" => wrong_with(
            "options of auto are not supported: there is no range to choose from",
            "give auto alone",
        ),
        "nomap" => wrong_with("nomap is Podman's", "leave it out"),
        "container" | "ns" => wrong_with(
            format!("{mode}: namespaces of others cannot be joined"),
            "leave it out",
        ),
        _ => wrong("invalid USER mode"),
    }
}

fn keep_id(options: &str) -> Result<KeepId, Wrong> {
    let mut kept = KeepId::default();
    for option in options.split(',').filter(|o| !o.is_empty()) {
        let id = |text: &str| match text.parse::<u32>() {
            Ok(id) if id != u32::MAX => Ok(Some(id)),
            _ => wrong(format!("{text:?} is no id")),
        };
        match option.split_once('=') {
            Some(("uid", text)) => kept.uid = id(text)?,
            Some(("gid", text)) => kept.gid = id(text)?,
            _ => return wrong(format!("unknown option of keep-id: {option:?}")),
        }
    }
    Ok(kept)
}

/// `--attach`.
pub fn stream(text: &str) -> Result<usize, Wrong> {
    match text.to_ascii_lowercase().as_str() {
        "stdin" => Ok(0),
        "stdout" => Ok(1),
        "stderr" => Ok(2),
        _ => wrong("valid streams are STDIN, STDOUT and STDERR"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused<T: std::fmt::Debug>(result: Result<T, Wrong>, why: &str) {
        let wrong = result.unwrap_err();
        assert!(wrong.why.contains(why), "{wrong:?}");
    }

    #[test]
    fn ulimits() {
        let limit = |text: &str| ulimit(text).map(|l| (l.kind.to_string(), l.soft, l.hard));
        let name = "RLIMIT_NOFILE".to_owned();
        assert_eq!(limit("nofile=5"), Ok((name.clone(), 5, 5)));
        assert_eq!(limit("nofile=5:6"), Ok((name.clone(), 5, 6)));
        assert_eq!(limit("nofile=0:-1"), Ok((name, 0, u64::MAX)));
        for (bad, why) in [
            ("nofile", "invalid ulimit argument"),
            ("nofile=", "no number"),
            ("nofile=x", "no number"),
            ("nofile=1:", "no number"),
            ("nofile=1:2:3", "no number"),
            ("nofile=-2", "negative"),
            ("nofile=99999999999999999999", "no number"),
            ("nofile=6:5", "less than or equal"),
            ("nofile=-1:5", "less than or equal"),
            ("files=5", "invalid ulimit type"),
            ("=5", "invalid ulimit type"),
        ] {
            refused(limit(bad), why);
        }
    }

    #[test]
    fn capabilities() {
        for text in ["NET_ADMIN", "CAP_NET_ADMIN", "net_admin", "cap_Net_Admin"] {
            let parsed = capability(text).map(|c| format!("{c:?}"));
            assert_eq!(parsed, Ok("One(NetAdmin)".to_owned()), "{text}");
        }
        assert_eq!(capability("all"), Ok(CapabilityWish::All));
        for bad in ["", "CAP_", "FOO", "CAP_CAP_KILL", "KILL,CHOWN"] {
            refused(capability(bad), "unknown capability");
        }
    }

    #[test]
    fn hosts() {
        let parsed = |text: &str| host(text).map(|(name, address)| format!("{name} {address}"));
        for text in ["a:::1", "a=::1", "a:[::1]", "a=[::1]"] {
            assert_eq!(parsed(text), Ok("a ::1".to_owned()), "{text}");
        }
        assert_eq!(parsed("a.b:1.2.3.4"), Ok("a.b 1.2.3.4".to_owned()));
        refused(parsed("a"), "bad format");
        refused(parsed(":1.2.3.4"), "bad format");
        refused(parsed("a b:1.2.3.4"), "no host name");
        refused(parsed("a\nb:1.2.3.4"), "no host name");
        refused(parsed("a:1.2.3"), "invalid IP address");
        refused(parsed("a:host-gateway"), "host-gateway is not supported");
    }

    #[test]
    fn devices() {
        let parsed =
            |text: &str| device(text).map(|d| format!("{} {}", d.source.display(), d.target));
        for (text, expected) in [
            ("/dev/fuse", "/dev/fuse /dev/fuse"),
            ("/dev/fuse:rwm", "/dev/fuse /dev/fuse"),
            ("/dev/fuse:/dev/x", "/dev/fuse /dev/x"),
            ("/dev/fuse:/dev/../x:rw", "/dev/fuse /x"),
        ] {
            assert_eq!(parsed(text), Ok(expected.to_owned()));
        }
        for (bad, why) in [
            ("", "absolute"),
            ("fuse", "absolute"),
            ("/dev/fuse:x", "absolute"),
            ("/dev/fuse:/dev/x:q", "invalid device mode"),
            ("/dev/fuse:r", "cannot be enforced"),
            ("a:b:c:d", "invalid device specification"),
            ("/dev/fuse:/", "cannot be a device"),
            ("vendor.com/gpu=all", "Container Device Interface"),
        ] {
            refused(parsed(bad), why);
        }
    }

    #[test]
    fn namespaces() {
        let keep = |kept| {
            Ok(UserNamespace {
                keep_id: Some(kept),
                ..UserNamespace::default()
            })
        };
        assert_eq!(userns("host"), Ok(UserNamespace::default()));
        assert!(userns("auto").unwrap().auto_ids);
        assert_eq!(userns("keep-id"), keep(KeepId::default()));
        let both = KeepId {
            uid: Some(5),
            gid: Some(6),
        };
        assert_eq!(userns("keep-id:uid=5,gid=6"), keep(both));
        for (bad, why) in [
            ("auto:size=5", "options of auto are not supported"),
            ("foo", "invalid USER mode"),
            ("host:x", "invalid USER mode"),
            ("keep-id:uid=x", "no id"),
            ("keep-id:uid=4294967295", "no id"),
            ("keep-id:size=5", "unknown option"),
        ] {
            refused(userns(bad), why);
        }
        assert_eq!(ipc("shareable"), Ok(Ipc::Private));
        refused(ipc("container:x"), "cannot be joined yet");
        refused(ipc("foo"), "invalid mode");
        assert_eq!(is_host("--pid", &["", "private"])("private"), Ok(false));
    }

    #[test]
    fn words() {
        assert_eq!(label("a=b=c"), Ok(("a".into(), "b=c".into())));
        assert_eq!(label("a"), Ok(("a".into(), String::new())));
        refused(label("=x"), "empty name");
        refused(annotation("x"), "KEY=VALUE");
        refused(sysctl("a"), "not allowed");
        refused(dns("foo"), "not correctly formatted");
        refused(resolv_word("a\nnameserver 6.6.6.6"), "not one word");
        refused(host_name(&"a".repeat(65)), "1 to 64");
        refused(host_name("a b"), "1 to 64");
        refused(stream("stdfoo"), "valid streams");
    }
}
