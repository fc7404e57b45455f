//! README.md is true: each of its `console` blocks is run, command by command.
//!
//! Only one thing differs from what is written there: images come from a registry on loopback that
//! holds them under Docker Hub's names. In the expected output `…` stands for what changes from run to
//! run, and ids and digests may be any.

use std::fs;

use crate::support::{Context, DockerRegistry, fixtures, layout_tar, repository, scenarios};

scenarios!(every_command_does_what_it_says);

/// A command and the output that README.md shows below it.
struct Step {
    command: String,
    output: Vec<String>,
}

/// The steps of all `console` blocks, in order.
fn steps(markdown: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut inside = false;
    for line in markdown.lines() {
        match line {
            "```console" => inside = true,
            "```" => inside = false,
            _ if !inside => {}
            _ => match line.strip_prefix("$ ") {
                Some(command) => {
                    steps.push(Step {
                        command: command.to_owned(),
                        output: Vec::new(),
                    });
                }
                None => steps.last_mut().unwrap().output.push(line.to_owned()),
            },
        }
    }
    steps
}

/// Images named as on Docker Hub, in the registry on loopback instead.
fn from_registry(text: &str, host: &str) -> String {
    let text = text.replace(
        "docker.io/library/busybox",
        &format!("{host}/library/busybox"),
    );
    // The image's name stands alone or before its tag, the program's after a slash.
    let words = text.split_inclusive(' ').map(|word| {
        let name = word.trim_end();
        match name == "busybox" || name.starts_with("busybox:") || name.starts_with("'busybox:") {
            true => word.replacen("busybox", &format!("{host}/library/busybox"), 1),
            false => word.to_owned(),
        }
    });
    words.collect()
}

/// Whether `line` is as `pattern` shows it. Ids differ, and so does the width of a table's columns.
fn matches(pattern: &str, line: &str) -> bool {
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let (pattern, line) = (words(pattern), words(line));
    let mut parts = pattern.split('…');
    let Some(mut rest) = parts.next().and_then(|first| line.strip_prefix(first)) else {
        return false;
    };
    let mut last = "";
    for part in parts {
        let Some(at) = rest.find(part) else {
            return false;
        };
        rest = &rest[at + part.len()..];
        last = part;
    }
    rest.is_empty() || (pattern.ends_with('…') && last.is_empty())
}

fn every_command_does_what_it_says(cx: &Context) {
    let Some(registry) = DockerRegistry::start(cx) else {
        return;
    };
    registry.push(&fixtures().join("busybox"), "library/busybox");
    cx.write("saved.tar", layout_tar(&fixtures().join("app")));
    let steps = steps(&fs::read_to_string(repository().join("README.md")).unwrap());
    assert!(
        steps.len() >= 10,
        "README.md shows only {} commands",
        steps.len()
    );
    for step in steps {
        let mut shell = cx.program("sh");
        shell.args([
            "-c",
            &format!(
                "{{ {}\n}} 2>&1",
                from_registry(&step.command, &registry.host)
            ),
        ]);
        let output = cx.finish(shell);
        let lines: Vec<&str> = output.stdout.lines().collect();
        let expected: Vec<String> = step
            .output
            .iter()
            .map(|line| from_registry(line, &registry.host))
            .collect();
        assert!(
            lines.len() == expected.len()
                && expected
                    .iter()
                    .zip(&lines)
                    .all(|(pattern, line)| matches(pattern, line)),
            "README.md says that `{}` prints\n{}\nbut {output}",
            step.command,
            expected.join("\n")
        );
    }
}

#[test]
fn patterns_match_what_they_should() {
    assert!(matches("a … c", "a  b b c"));
    assert!(matches("<…>", "<>"));
    assert!(matches("…", "anything"));
    assert!(matches("end …", "end x y"));
    assert!(!matches("a … c", "a b"));
    assert!(!matches("a", "a b"));
    assert!(!matches("a … c", "a b c d"));
}
