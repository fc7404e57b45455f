//! `doctor`: what this host allows, and the command or file that mends what it does not.
//!
//! Reading (`facts`) is apart from judging (`checks`, pure): what is said about hosts other than this one can be
//! tested. Where `run` can fail for the same reason, the words are `run`'s own: they come from `minidock_run`.

mod checks;
mod facts;

use std::path::Path;

use crate::Surroundings;

/// How a thing stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// As it should be.
    Ok,
    /// Containers run, with less.
    Degraded,
    /// No container can run.
    Missing,
}

/// One line of the doctor's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was examined.
    pub subject: &'static str,
    /// How it stands.
    pub level: Level,
    /// What was seen.
    pub why: String,
    /// The command or file that mends it.
    pub remedy: Option<String>,
}

/// Where to look.
#[derive(Clone, Debug)]
pub struct Examination<'a> {
    /// The store's folder; need not exist.
    pub root: &'a Path,
    /// The caller's environment.
    pub surroundings: &'a Surroundings,
}

/// Examines this host. Never fails: what cannot be found out is a finding.
///
/// Must be called by a process with one thread, for it tries things in a child.
pub fn examine(examination: &Examination<'_>) -> Vec<Finding> {
    checks::judge(&facts::read(examination))
}

/// An AppArmor profile that lets minidock make user namespaces where the host restricts them (Ubuntu 23.10 and later).
///
/// `binary` is the path that the profile is attached to.
pub fn apparmor_profile(binary: &Path) -> String {
    format!(
        "# Lets minidock make user namespaces where kernel.apparmor_restrict_unprivileged_userns is 1.\n\
         # Nothing else is confined. Install as /etc/apparmor.d/minidock, then: apparmor_parser -r /etc/apparmor.d/minidock\n\
         abi <abi/4.0>,\n\
         include <tunables/global>\n\
         \n\
         profile minidock {} flags=(unconfined) {{\n  \
           userns,\n\n  \
           include if exists <local/minidock>\n\
         }}\n",
        quoted(binary)
    )
}

/// A path as AppArmor's language takes it: quoted, and nothing in it a pattern.
fn quoted(path: &Path) -> String {
    let mut text = String::from("\"");
    for c in path.to_string_lossy().chars() {
        if matches!(
            c,
            '"' | '\\' | '*' | '?' | '[' | ']' | '{' | '}' | '^' | '@'
        ) {
            text.push('\\');
        }
        text.push(c);
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_profile_is_attached_to_this_binary_alone() {
        let profile = apparmor_profile(Path::new("/opt/my tools/mini{dock}*"));
        assert!(
            profile.contains(
                "profile minidock \"/opt/my tools/mini\\{dock\\}\\*\" flags=(unconfined) {\n  userns,\n"
            ),
            "{profile}"
        );
    }
}
