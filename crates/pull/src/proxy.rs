//! Proxies, as `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY` name them. Pure: whoever calls reads the environment.
//!
//! The rules are those of Go's `golang.org/x/net/http/httpproxy`, and so Docker's, with curl's `ALL_PROXY` for what has no
//! variable of its own. The HTTP client would read the variables too, but passes over an address that is none, so that a
//! slip would go around the proxy, and knows no ports in `NO_PROXY`.

use std::net::IpAddr;

use reqwest::Url;

use crate::Error;
use crate::client::is_loopback;

/// Through which proxy which address is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxies {
    http: Option<Url>,
    https: Option<Url>,
    except: Vec<Except>,
}

/// What the environment says. Empty means unset.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProxyVariables {
    /// `HTTP_PROXY`: for addresses that begin with `http://`.
    pub http: String,
    /// `HTTPS_PROXY`: for those that begin with `https://`.
    pub https: String,
    /// `ALL_PROXY`: for those whose own variable is not set.
    pub all: String,
    /// `NO_PROXY`: what is reached without, separated by commas or spaces.
    pub none: String,
}

/// One entry of `NO_PROXY`.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Except {
    /// `*`.
    All,
    /// `10.0.0.0/8`: addresses whose first so many bits are these.
    Network(IpAddr, u32),
    /// `10.1.2.3` or `10.1.2.3:5000`.
    Address(IpAddr, Option<u16>),
    /// `example.com`: it and all below; `.example.com`: what is below only. With a port, only that.
    Domain {
        name: String,
        itself: bool,
        port: Option<u16>,
    },
}

impl Proxies {
    /// Reads the variables' values.
    ///
    /// # Errors
    /// When one that names a proxy holds no address: going around the proxy instead is not what was asked for.
    pub fn new(variables: &ProxyVariables) -> Result<Self, Error> {
        let all = proxy("ALL_PROXY", &variables.all)?;
        let own = |variable, value| Ok::<_, Error>(proxy(variable, value)?.or_else(|| all.clone()));
        Ok(Self {
            http: own("HTTP_PROXY", &variables.http)?,
            https: own("HTTPS_PROXY", &variables.https)?,
            except: variables
                .none
                .split([',', ' ', '\t', '\n'])
                .filter_map(Except::parse)
                .collect(),
        })
    }

    /// The proxy through which an address is reached; `None`: without any. This machine itself always is.
    pub fn of(&self, to: &Url) -> Option<&Url> {
        let proxy = match to.scheme() {
            "http" => self.http.as_ref(),
            "https" => self.https.as_ref(),
            _ => None,
        }?;
        let host = to.host_str()?.trim_matches(['[', ']']).to_lowercase();
        let host = host.trim_end_matches('.');
        let direct = is_loopback(host)
            || self
                .except
                .iter()
                .any(|except| except.holds(host, to.port_or_known_default()));
        (!direct).then_some(proxy)
    }

    /// The same for messages: without account and password.
    pub fn shown(&self, to: &Url) -> Option<String> {
        let mut proxy = self.of(to)?.clone();
        let _ = proxy.set_username("");
        let _ = proxy.set_password(None);
        Some(proxy.as_str().trim_end_matches('/').to_owned())
    }
}

/// A proxy's address; plain HTTP is spoken with one that names no scheme.
fn proxy(variable: &'static str, value: &str) -> Result<Option<Url>, Error> {
    // The value is not told: it may hold a password.
    let wrong = |problem: String| Error::Proxy { variable, problem };
    let value = value.trim();
    if value.is_empty() {
        return Ok(None);
    }
    let full = match value.contains("://") {
        true => value.to_owned(),
        false => format!("http://{value}"),
    };
    let mut url = Url::parse(&full).map_err(|e| wrong(e.to_string()))?;
    match url.scheme() {
        "http" | "https" => {}
        "socks4" | "socks4a" | "socks5" | "socks5h" => {
            if url.port().is_none() {
                let _ = url.set_port(Some(1080));
            }
        }
        other => {
            return Err(wrong(format!(
                "{other:?} is none of http, https, socks5, socks5h, socks4 and socks4a"
            )));
        }
    }
    match url.host_str() {
        None | Some("") => Err(wrong("it names no host".into())),
        Some(_) => Ok(Some(url)),
    }
}

impl Except {
    /// `None` for what makes no sense, as in Go: it names nobody.
    fn parse(entry: &str) -> Option<Self> {
        let entry = entry.trim().to_lowercase();
        if entry.is_empty() {
            return None;
        }
        if entry == "*" {
            return Some(Self::All);
        }
        if let Some((address, bits)) = entry.split_once('/') {
            let address: IpAddr = address.parse().ok()?;
            let bits = bits.parse().ok()?;
            let most = if address.is_ipv4() { 32 } else { 128 };
            return (bits <= most).then_some(Self::Network(address, bits));
        }
        if let Ok(address) = entry.trim_matches(['[', ']']).parse() {
            return Some(Self::Address(address, None));
        }
        let (host, port) = match entry.rsplit_once(':') {
            Some((host, port)) => (host, Some(port.parse().ok()?)),
            None => (entry.as_str(), None),
        };
        if let Ok(address) = host.trim_matches(['[', ']']).parse() {
            return Some(Self::Address(address, port));
        }
        let host = host.strip_prefix('*').unwrap_or(host);
        let name = host.trim_matches('.');
        (!name.is_empty()).then(|| Self::Domain {
            name: name.to_owned(),
            itself: !host.starts_with('.'),
            port,
        })
    }

    fn holds(&self, host: &str, port: Option<u16>) -> bool {
        let fits = |wanted: &Option<u16>| wanted.is_none() || *wanted == port;
        match self {
            Self::All => true,
            Self::Network(network, bits) => host
                .parse()
                .is_ok_and(|address| within(network, *bits, address)),
            Self::Address(address, wanted) => {
                fits(wanted) && host.parse().is_ok_and(|host: IpAddr| host == *address)
            }
            Self::Domain {
                name,
                itself,
                port: wanted,
            } => {
                let below = host
                    .strip_suffix(name.as_str())
                    .is_some_and(|rest| rest.ends_with('.'));
                fits(wanted) && (below || *itself && host == name)
            }
        }
    }
}

/// Whether the first so many bits of two addresses of one kind are the same.
fn within(network: &IpAddr, bits: u32, address: IpAddr) -> bool {
    match (network, address.to_canonical()) {
        (IpAddr::V4(network), IpAddr::V4(address)) => {
            let differ = network.to_bits() ^ address.to_bits();
            differ.checked_shr(32 - bits).unwrap_or(0) == 0
        }
        (IpAddr::V6(network), IpAddr::V6(address)) => {
            let differ = network.to_bits() ^ address.to_bits();
            differ.checked_shr(128 - bits).unwrap_or(0) == 0
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(http: &str, https: &str, all: &str, none: &str) -> Proxies {
        Proxies::new(&ProxyVariables {
            http: http.into(),
            https: https.into(),
            all: all.into(),
            none: none.into(),
        })
        .unwrap()
    }

    fn of(proxies: &Proxies, to: &str) -> Option<String> {
        proxies.of(&to.parse().unwrap()).map(Url::to_string)
    }

    #[test]
    fn each_scheme_has_its_proxy_and_all_proxy_is_for_the_rest() {
        let both = proxies("a:3128", "http://b:3128", "http://c:1", "");
        assert_eq!(of(&both, "http://x/").unwrap(), "http://a:3128/");
        assert_eq!(of(&both, "https://x/").unwrap(), "http://b:3128/");
        let one = proxies("", "https://b", "socks5h://c", "");
        assert_eq!(of(&one, "http://x/").unwrap(), "socks5h://c:1080");
        assert_eq!(of(&one, "https://x/").unwrap(), "https://b/");
        let none = proxies("", "", "", "");
        assert_eq!(of(&none, "https://x/"), None);
        let plain_only = proxies("a:1", "", "", "");
        assert_eq!(of(&plain_only, "https://x/"), None);
    }

    #[test]
    fn this_machine_is_reached_without() {
        let all = proxies("", "", "p:1", "");
        for local in [
            "http://localhost:5000/",
            "http://127.9.9.9/",
            "https://[::1]:5000/",
        ] {
            assert_eq!(of(&all, local), None, "{local}");
        }
        assert!(of(&all, "https://localhost.example.com/").is_some());
    }

    #[test]
    fn no_proxy_is_read_as_go_reads_it() {
        for (none, direct, through) in [
            ("*", &["https://x/", "http://10.0.0.1/"][..], &[][..]),
            (
                "example.com",
                &[
                    "https://example.com/",
                    "https://a.b.example.com/",
                    "https://EXAMPLE.com./",
                ],
                &["https://notexample.com/", "https://example.com.evil/"],
            ),
            (
                ".example.com, *.other.org",
                &["https://a.example.com/", "https://a.other.org"],
                &["https://example.com/", "https://other.org/"],
            ),
            (
                "example.com:8443 last.net:80",
                &["https://example.com:8443/", "http://last.net/"],
                &["https://example.com/", "https://last.net/"],
            ),
            (
                "10.0.0.0/9,192.0.2.7,2001:db8::/33,0.0.0.0/0:1",
                &[
                    "https://10.127.0.1/",
                    "https://192.0.2.7:5000/",
                    "https://[2001:db8:7fff::1]/",
                ],
                &[
                    "https://10.128.0.1/",
                    "https://192.0.2.8/",
                    "https://[2001:db8:8000::1]/",
                    "https://10.example.com/",
                ],
            ),
            (
                "192.0.2.7:5000,[2001:db8::1]:5000,[2001:db8::2],2001:db8::3",
                &[
                    "https://192.0.2.7:5000/",
                    "https://[2001:db8::1]:5000/",
                    "https://[2001:db8::2]/",
                    "https://[2001:db8::3]:1/",
                ],
                &["https://192.0.2.7/", "https://[2001:db8::1]/"],
            ),
            (
                "0.0.0.0/0",
                &["https://198.51.100.1/"],
                &["https://[2001:db8::1]/", "https://name/"],
            ),
            (
                "10.0.0.0/33,/,:,.,nonsense:port,",
                &[],
                &["https://10.0.0.1/"],
            ),
        ] {
            let proxies = proxies("p:1", "p:1", "", none);
            for to in direct {
                assert_eq!(of(&proxies, to), None, "{none}: {to}");
            }
            for to in through {
                assert!(of(&proxies, to).is_some(), "{none}: {to}");
            }
        }
    }

    #[test]
    fn an_address_that_is_none_is_told_without_its_secrets() {
        for (value, problem) in [
            ("ftp://p", "\"ftp\" is none of http"),
            ("http://", "empty host"),
            ("http://me:word@ho st:1", "invalid"),
            ("http://me:word@host:port", "invalid port"),
        ] {
            let variables = ProxyVariables {
                https: value.into(),
                ..ProxyVariables::default()
            };
            let error = Proxies::new(&variables).unwrap_err().to_string();
            assert!(
                error.contains("HTTPS_PROXY") && error.contains(problem),
                "{error}"
            );
            assert!(!error.contains("word"), "{error}");
        }
        let secret = proxies("", "http://me:word@p:3128", "", "");
        assert_eq!(
            secret.shown(&"https://x/".parse().unwrap()).unwrap(),
            "http://p:3128"
        );
    }
}
