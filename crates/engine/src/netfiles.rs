//! `/etc/hosts`, `/etc/hostname` and `/etc/resolv.conf`: every container has its own.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

use minidock_store::Container;

use crate::Error;
use crate::spec::{self, Dns, Network, Wishes};

/// Writes the container's own files: (path on the host, path inside).
pub(crate) fn write(
    container: &Container,
    wishes: &Wishes,
    host_name: &str,
) -> Result<[(PathBuf, &'static str); 3], Error> {
    let hostname = spec::hostname(wishes, container.id(), host_name);
    let base = match wishes.network {
        Network::Host => read_host("/etc/hosts"),
        Network::None => HOSTS.to_owned(),
    };
    let resolv = resolv_conf(&read_host("/etc/resolv.conf"), &wishes.dns);
    let write = |name: &str, text: &str| container.write_file(name, text.as_bytes(), 0o644);
    Ok([
        (write("resolv.conf", &resolv)?, "/etc/resolv.conf"),
        (
            write("hostname", &format!("{hostname}\n"))?,
            "/etc/hostname",
        ),
        (write("hosts", &hosts(base, wishes))?, "/etc/hosts"),
    ])
}

const HOSTS: &str = "127.0.0.1\tlocalhost\n\
    ::1\tlocalhost ip6-localhost ip6-loopback\n\
    fe00::0\tip6-localnet\n\
    ff00::0\tip6-mcastprefix\n\
    ff02::1\tip6-allnodes\n\
    ff02::2\tip6-allrouters\n";

fn hosts(mut text: String, wishes: &Wishes) -> String {
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    for (name, address) in &wishes.hosts {
        let _ = writeln!(text, "{address}\t{name}");
    }
    text
}

/// The host's lines, but for those of a kind that is wished for.
fn resolv_conf(host: &str, dns: &Dns) -> String {
    let mut text = String::new();
    for line in host.lines() {
        let word = line.split_ascii_whitespace().next().unwrap_or("");
        let replaced = match word {
            "nameserver" => !dns.servers.is_empty(),
            "search" | "domain" => !dns.search.is_empty(),
            "options" => !dns.options.is_empty(),
            _ => false,
        };
        if !replaced {
            let _ = writeln!(text, "{line}");
        }
    }
    for server in &dns.servers {
        let _ = writeln!(text, "nameserver {server}");
    }
    if !dns.search.is_empty() && dns.search != ["."] {
        let _ = writeln!(text, "search {}", dns.search.join(" "));
    }
    if !dns.options.is_empty() {
        let _ = writeln!(text, "options {}", dns.options.join(" "));
    }
    text
}

/// A file of the host that may be missing.
pub(crate) fn read_host(path: &str) -> String {
    let mut text = Vec::new();
    if let Ok(file) = File::open(path) {
        let _ = file.take(1 << 20).read_to_end(&mut text);
    }
    String::from_utf8_lossy(&text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wished_replaces_the_hosts_lines_of_its_kind() {
        let host = "# a remark\nnameserver 10.0.0.1\nsearch corp.example\noptions ndots:1\n";
        let dns = |servers: &[&str], search: &[&str], options: &[&str]| {
            let words = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect();
            let dns = Dns {
                servers: servers.iter().map(|s| s.parse().unwrap()).collect(),
                search: words(search),
                options: words(options),
            };
            resolv_conf(host, &dns)
        };
        assert_eq!(dns(&[], &[], &[]), host);
        assert_eq!(
            dns(&["1.1.1.1", "::1"], &[], &[]),
            "# a remark\nsearch corp.example\noptions ndots:1\nnameserver 1.1.1.1\nnameserver ::1\n"
        );
        assert_eq!(
            dns(&[], &["."], &["ndots:5", "edns0"]),
            "# a remark\nnameserver 10.0.0.1\noptions ndots:5 edns0\n"
        );
    }
}
