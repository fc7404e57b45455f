//! What a finished command said, in a shape that can be compared with a snapshot.

use std::fmt;

/// Exit status and both streams of one run of minidock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// The command line, for messages.
    pub command: String,
    /// The exit status; `None` when a signal ended minidock itself.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Output {
    /// Standard output of a command that must have succeeded without a word on standard error.
    #[track_caller]
    pub fn silent_ok(&self) -> &str {
        assert_eq!(self.stderr, "", "{self}");
        self.ok()
    }

    /// Standard output of a command that must have succeeded.
    #[track_caller]
    pub fn ok(&self) -> &str {
        assert_eq!(self.code, Some(0), "{self}");
        &self.stdout
    }

    /// Standard error of a command that must have failed with `code`.
    #[track_caller]
    pub fn fails(&self, code: i32) -> &str {
        assert_eq!(self.code, Some(code), "{self}");
        &self.stderr
    }

    /// A failure of minidock's own, with nothing on standard output: its exit status, and its message
    /// in the one shape that all of them have.
    #[track_caller]
    pub fn error(&self, code: i32) -> &str {
        let message = self.fails(code);
        assert_eq!(self.stdout, "", "{self}");
        let first = message.lines().find(|line| line.starts_with("minidock: "));
        assert!(
            first.is_some(),
            "no line says `minidock: what failed`\n{self}"
        );
        let mut after = message
            .lines()
            .skip_while(|line| Some(*line) != first)
            .skip(1);
        assert!(
            after.all(|line| line.starts_with("caused by: ") || line.starts_with("hint: ")),
            "a line is neither cause nor hint\n{self}"
        );
        message
    }

    /// Everything in one text. Digests, short ids and the words in `names` become place holders.
    pub fn snapshot(&self, names: &[(&str, &str)]) -> String {
        let mut text = match self.code {
            Some(code) => format!("exit {code}\n"),
            None => "ended by a signal\n".to_owned(),
        };
        for (name, stream) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            if !stream.is_empty() {
                text += &format!("{name}:\n{stream}");
            }
        }
        for (word, place) in names {
            text = text.replace(word, place);
        }
        hide_ids(&text)
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = self
            .code
            .map_or("a signal".to_owned(), |code| format!("status {code}"));
        write!(
            f,
            "`{}` ended with {code}\nstdout:\n{}\nstderr:\n{}",
            self.command, self.stdout, self.stderr
        )
    }
}

/// Replaces words of exactly 64 and of exactly 12 hexadecimal digits, which change with the fixtures.
fn hide_ids(text: &str) -> String {
    let mut hidden = String::new();
    let mut rest = text;
    while let Some(start) = rest.find(|c: char| c.is_ascii_alphanumeric()) {
        let word = &rest[start..];
        let end = word
            .find(|c: char| !c.is_ascii_alphanumeric())
            .unwrap_or(word.len());
        let word = &word[..end];
        let hex = word.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        hidden += &rest[..start];
        hidden += match word.len() {
            64 if hex => "<digest>",
            12 if hex => "<id>",
            _ => word,
        };
        rest = &rest[start + end..];
    }
    hidden + rest
}

#[test]
fn ids_are_hidden_and_words_are_not() {
    let digest = "ab".repeat(32);
    assert_eq!(
        hide_ids(&format!(
            "sha256:{digest}: 0123456789ab, feedbeef 0123456789abc"
        )),
        "sha256:<digest>: <id>, feedbeef 0123456789abc"
    );
}
