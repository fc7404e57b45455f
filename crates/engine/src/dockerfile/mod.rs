//! The instructions of a Dockerfile that `commit --change` and `import --change` take, applied to an image's config.
//!
//! Pure: text and JSON in, JSON out. The config stays JSON throughout, so that fields this release does not know survive.

mod health;
mod words;

use serde_json::{Map, Value, json};

use words::{expand, split_words};

/// Why a change was refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// There is no such instruction, or it makes no sense here.
    #[error("{0} is not a valid change command")]
    Unknown(String),
    /// It needs arguments, or fewer.
    #[error("{0} requires {1}")]
    Arguments(String, &'static str),
    /// An argument is wrong.
    #[error("{instruction}: {problem}")]
    Argument {
        /// Of which instruction.
        instruction: String,
        /// What is wrong.
        problem: String,
    },
}

fn wrong(instruction: &str, problem: impl Into<String>) -> ChangeError {
    ChangeError::Argument {
        instruction: instruction.to_owned(),
        problem: problem.into(),
    }
}

/// Applies changes, in their order, to the `config` object of an image config.
///
/// # Errors
/// For the first one that cannot be applied.
pub fn apply(config: &mut Map<String, Value>, changes: &[String]) -> Result<(), ChangeError> {
    let mut command_set = false;
    for line in lines(changes) {
        let (name, rest) = match line.split_once(char::is_whitespace) {
            Some((name, rest)) => (name, rest.trim()),
            None => (line.as_str(), ""),
        };
        let name = name.to_ascii_uppercase();
        if rest.is_empty() {
            return Err(match name.as_str() {
                "CMD" | "ENTRYPOINT" | "ENV" | "EXPOSE" | "HEALTHCHECK" | "LABEL" | "ONBUILD"
                | "STOPSIGNAL" | "USER" | "VOLUME" | "WORKDIR" => {
                    ChangeError::Arguments(name, "at least one argument")
                }
                _ => ChangeError::Unknown(name),
            });
        }
        instruction(config, &name, rest, &mut command_set)?;
    }
    Ok(())
}

/// Logical lines: comments and empty ones are left out, a backslash at the end continues.
fn lines(changes: &[String]) -> Vec<String> {
    let mut lines = Vec::new();
    let mut open = String::new();
    for line in changes.iter().flat_map(|c| c.split('\n')) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(part) = line.strip_suffix('\\') {
            open.push_str(part);
            continue;
        }
        open.push_str(line);
        lines.push(std::mem::take(&mut open));
    }
    if !open.is_empty() {
        lines.push(open);
    }
    lines
}

fn instruction(
    config: &mut Map<String, Value>,
    name: &str,
    rest: &str,
    command_set: &mut bool,
) -> Result<(), ChangeError> {
    let env = strings(config, "Env");
    let word = |text: &str| expand(text, &env).map_err(|problem| wrong(name, problem));
    match name {
        "CMD" => {
            config.insert("Cmd".into(), exec_or_shell(rest));
            *command_set = true;
        }
        "ENTRYPOINT" => {
            let entrypoint = match exec_or_shell(rest) {
                Value::Array(words) if words.is_empty() => Value::Null,
                other => other,
            };
            config.insert("Entrypoint".into(), entrypoint);
            // The arguments were meant for another program.
            if !*command_set {
                config.remove("Cmd");
            }
        }
        "ENV" => {
            let mut all = env.clone();
            for (key, value) in pairs(name, rest, &env)? {
                let entry = format!("{key}={value}");
                let prefix = format!("{key}=");
                match all.iter_mut().find(|e| e.starts_with(&prefix)) {
                    Some(old) => *old = entry,
                    None => all.push(entry),
                }
            }
            config.insert("Env".into(), json!(all));
        }
        "LABEL" => {
            for (key, value) in pairs(name, rest, &env)? {
                set(config, "Labels", key, Value::String(value));
            }
        }
        "EXPOSE" => {
            for text in split_words(rest).map_err(|e| wrong(name, e))? {
                for port in ports(&word(&text)?)
                    .ok_or_else(|| wrong(name, format!("invalid containerPort: {text}")))?
                {
                    set(config, "ExposedPorts", port, json!({}));
                }
            }
        }
        "USER" => {
            let user = one(name, rest)?;
            config.insert("User".into(), word(&user)?.into());
        }
        "VOLUME" => {
            let paths = match exec_form(rest) {
                Some(words) => words,
                None => split_words(rest).map_err(|e| wrong(name, e))?,
            };
            for path in paths {
                let path = word(&path)?;
                if path.trim().is_empty() {
                    return Err(wrong(name, "a volume can not be an empty string"));
                }
                set(config, "Volumes", path, json!({}));
            }
        }
        "WORKDIR" => {
            let old = config
                .get("WorkingDir")
                .and_then(Value::as_str)
                .unwrap_or("");
            let new = joined(old, &word(rest)?);
            config.insert("WorkingDir".into(), new.into());
        }
        "STOPSIGNAL" => {
            let signal = word(&one(name, rest)?)?;
            if !is_signal(&signal) {
                return Err(wrong(name, format!("invalid signal: {signal}")));
            }
            config.insert("StopSignal".into(), signal.into());
        }
        "ONBUILD" => {
            let trigger = rest.split_whitespace().next().unwrap_or("");
            match trigger.to_ascii_uppercase().as_str() {
                "ONBUILD" => {
                    return Err(wrong(
                        name,
                        "chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed",
                    ));
                }
                t @ ("FROM" | "MAINTAINER") => {
                    return Err(wrong(
                        name,
                        format!("{t} isn't allowed as an ONBUILD trigger"),
                    ));
                }
                _ => {}
            }
            let mut all = strings(config, "OnBuild");
            all.push(rest.to_owned());
            config.insert("OnBuild".into(), json!(all));
        }
        "HEALTHCHECK" => {
            config.insert("Healthcheck".into(), health::parse(rest)?);
        }
        _ => return Err(ChangeError::Unknown(name.to_owned())),
    }
    Ok(())
}

fn strings(config: &Map<String, Value>, key: &str) -> Vec<String> {
    let list = config.get(key).and_then(Value::as_array);
    list.map(|l| {
        l.iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect()
    })
    .unwrap_or_default()
}

/// Puts an entry into one of the config's maps, which may be missing or null.
fn set(config: &mut Map<String, Value>, map: &str, key: String, value: Value) {
    match config.get_mut(map) {
        Some(Value::Object(entries)) => {
            entries.insert(key, value);
        }
        _ => {
            config.insert(map.to_owned(), json!({ key: value }));
        }
    }
}

/// `["a", "b"]`; anything else is text for a shell.
fn exec_form(rest: &str) -> Option<Vec<String>> {
    serde_json::from_str(rest).ok()
}

fn exec_or_shell(rest: &str) -> Value {
    match exec_form(rest) {
        Some(words) => json!(words),
        None => json!(["/bin/sh", "-c", rest]),
    }
}

fn one(name: &str, rest: &str) -> Result<String, ChangeError> {
    let words = split_words(rest).map_err(|e| wrong(name, e))?;
    match <[String; 1]>::try_from(words) {
        Ok([word]) => Ok(word),
        Err(_) => Err(ChangeError::Arguments(
            name.to_owned(),
            "exactly one argument",
        )),
    }
}

/// `KEY=VALUE …`, or the old form `KEY the rest`.
fn pairs(name: &str, rest: &str, env: &[String]) -> Result<Vec<(String, String)>, ChangeError> {
    let word = |text: &str| expand(text, env).map_err(|problem| wrong(name, problem));
    let words = split_words(rest).map_err(|e| wrong(name, e))?;
    let key_of = |w: &str| w.split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned()));
    if words.first().is_some_and(|w| !w.contains('=')) {
        let Some((key, value)) = rest.split_once(char::is_whitespace) else {
            return Err(ChangeError::Arguments(name.to_owned(), "two arguments"));
        };
        return Ok(vec![(word(key)?, word(value.trim())?)]);
    }
    let mut pairs = Vec::new();
    for text in &words {
        let (key, value) = key_of(text).ok_or_else(|| {
            wrong(
                name,
                format!("syntax error - can't find = in {text:?}. Must be of the form: name=value"),
            )
        })?;
        let key = word(&key)?;
        if key.is_empty() {
            return Err(wrong(name, "names can not be blank"));
        }
        pairs.push((key, word(&value)?));
    }
    Ok(pairs)
}

/// `80`, `80/udp`, `80-90/tcp`; all as `PORT/PROTOCOL`.
fn ports(text: &str) -> Option<Vec<String>> {
    let (numbers, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return None;
    }
    let (first, last) = numbers.split_once('-').unwrap_or((numbers, numbers));
    let (first, last): (u16, u16) = (first.parse().ok()?, last.parse().ok()?);
    if first > last {
        return None;
    }
    Some((first..=last).map(|p| format!("{p}/{protocol}")).collect())
}

fn joined(old: &str, new: &str) -> String {
    let path = if new.starts_with('/') {
        new.to_owned()
    } else {
        format!("{old}/{new}")
    };
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// A signal's number, or a name that is plausible: the runtime knows which there are.
fn is_signal(text: &str) -> bool {
    if let Ok(number) = text.parse::<u8>() {
        return (1..=64).contains(&number);
    }
    let name = text.to_ascii_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    let (base, offset) = name.split_once(['+', '-']).unwrap_or((name, "0"));
    SIGNALS.contains(&base) && offset.parse::<u8>().is_ok_and(|n| n < 32)
}

const SIGNALS: [&str; 36] = [
    "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL",
    "PIPE", "POLL", "PROF", "PWR", "QUIT", "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP",
    "TTIN", "TTOU", "URG", "USR1", "USR2", "VTALRM", "WINCH", "XCPU", "XFSZ", "RTMIN", "RTMAX",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(config: Value, changes: &[&str]) -> Result<Value, ChangeError> {
        let mut map = config.as_object().cloned().unwrap_or_default();
        let changes: Vec<String> = changes.iter().map(|c| (*c).to_owned()).collect();
        apply(&mut map, &changes).map(|()| Value::Object(map))
    }

    #[test]
    fn each_instruction_does_what_docker_makes_of_it() {
        let cases: [(Value, &[&str], Value); 24] = [
            (
                json!({}),
                &["CMD [\"a\", \"b c\"]"],
                json!({"Cmd": ["a", "b c"]}),
            ),
            (
                json!({}),
                &["cmd echo $HOME 'x'"],
                json!({"Cmd": ["/bin/sh", "-c", "echo $HOME 'x'"]}),
            ),
            (
                json!({}),
                &["CMD ['a']"],
                json!({"Cmd": ["/bin/sh", "-c", "['a']"]}),
            ),
            (
                json!({"Cmd": ["x"]}),
                &["ENTRYPOINT [\"e\"]"],
                json!({"Entrypoint": ["e"]}),
            ),
            (
                json!({}),
                &["CMD x", "ENTRYPOINT e"],
                json!({"Cmd": ["/bin/sh", "-c", "x"], "Entrypoint": ["/bin/sh", "-c", "e"]}),
            ),
            (
                json!({"Entrypoint": ["e"]}),
                &["ENTRYPOINT []"],
                json!({"Entrypoint": null}),
            ),
            (
                json!({"Env": ["A=1", "P=/bin"]}),
                &["ENV A=2 B=\"x y\" C=$P:/sbin"],
                json!({"Env": ["A=2", "P=/bin", "B=x y", "C=/bin:/sbin"]}),
            ),
            (
                json!({}),
                &["ENV KEY the whole rest"],
                json!({"Env": ["KEY=the whole rest"]}),
            ),
            (
                json!({"Env": ["A=1"]}),
                &["ENV B=${A} C=${X:-d} D=${A:+set} E='$A' F=\\$A"],
                json!({"Env": ["A=1", "B=1", "C=d", "D=set", "E=$A", "F=$A"]}),
            ),
            (
                json!({}),
                &["LABEL a=b c=\"d e\""],
                json!({"Labels": {"a": "b", "c": "d e"}}),
            ),
            (
                json!({"Labels": null}),
                &["LABEL a=b"],
                json!({"Labels": {"a": "b"}}),
            ),
            (
                json!({}),
                &["EXPOSE 80 53/UDP 100-102"],
                json!({"ExposedPorts": {"80/tcp": {}, "53/udp": {}, "100/tcp": {}, "101/tcp": {}, "102/tcp": {}}}),
            ),
            (json!({}), &["USER me:us"], json!({"User": "me:us"})),
            (
                json!({}),
                &["VOLUME [\"/a\", \"/b c\"]"],
                json!({"Volumes": {"/a": {}, "/b c": {}}}),
            ),
            (
                json!({}),
                &["VOLUME /a /b"],
                json!({"Volumes": {"/a": {}, "/b": {}}}),
            ),
            (
                json!({"WorkingDir": "/a"}),
                &["WORKDIR b/../c"],
                json!({"WorkingDir": "/a/c"}),
            ),
            (
                json!({"WorkingDir": "/a"}),
                &["WORKDIR /x/"],
                json!({"WorkingDir": "/x"}),
            ),
            (
                json!({}),
                &["STOPSIGNAL SIGQUIT"],
                json!({"StopSignal": "SIGQUIT"}),
            ),
            (
                json!({}),
                &["ONBUILD RUN make", "ONBUILD COPY . /"],
                json!({"OnBuild": ["RUN make", "COPY . /"]}),
            ),
            (
                json!({}),
                &["HEALTHCHECK NONE"],
                json!({"Healthcheck": {"Test": ["NONE"]}}),
            ),
            (
                json!({}),
                &["HEALTHCHECK --interval=1m30s --retries=3 CMD curl localhost"],
                json!({"Healthcheck": {"Test": ["CMD-SHELL", "curl localhost"], "Interval": 90_000_000_000_u64, "Retries": 3}}),
            ),
            (
                json!({}),
                &["HEALTHCHECK --timeout=500ms CMD [\"a\"]"],
                json!({"Healthcheck": {"Test": ["CMD", "a"], "Timeout": 500_000_000}}),
            ),
            (
                json!({}),
                &["# nothing\nUSER a\nUSER \\\n b"],
                json!({"User": "b"}),
            ),
            (json!({"Unknown": [1]}), &[], json!({"Unknown": [1]})),
        ];
        for (config, changes, expected) in cases {
            assert_eq!(applied(config, changes), Ok(expected), "{changes:?}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_name() {
        for (change, told) in [
            ("RUN make", "RUN is not a valid change command"),
            ("FROM scratch", "FROM is not a valid change command"),
            ("CMD", "CMD requires at least one argument"),
            ("USER a b", "USER requires exactly one argument"),
            ("ENV A", "ENV requires two arguments"),
            (
                "ENV A=1 B",
                "ENV: syntax error - can't find = in \"B\". Must be of the form: name=value",
            ),
            ("ENV =x", "ENV: names can not be blank"),
            ("EXPOSE 70000", "EXPOSE: invalid containerPort: 70000"),
            ("EXPOSE 80/icmp", "EXPOSE: invalid containerPort: 80/icmp"),
            ("STOPSIGNAL SIGNOPE", "STOPSIGNAL: invalid signal: SIGNOPE"),
            (
                "ONBUILD ONBUILD x",
                "ONBUILD: chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed",
            ),
            (
                "HEALTHCHECK CMD",
                "HEALTHCHECK: missing command after HEALTHCHECK CMD",
            ),
            (
                "HEALTHCHECK --interval=x CMD a",
                "HEALTHCHECK: invalid duration: x",
            ),
            (
                "LABEL a=\"b",
                "LABEL: unexpected end of statement while looking for matching double-quote",
            ),
        ] {
            let error = applied(json!({}), &[change]).map_err(|e| e.to_string());
            assert_eq!(error, Err(told.to_owned()), "{change}");
        }
    }
}
