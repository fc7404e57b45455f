//! Tokens: the challenge of a 401 answer, and what is got for it (Docker Registry v2 authentication, RFC 6750).

use std::collections::HashMap;
use std::time::{Duration, Instant};

use serde::Deserialize;

/// A `WWW-Authenticate: Bearer` challenge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// Where tokens are.
    pub realm: String,
    /// For which service.
    pub service: Option<String>,
    /// What is to be allowed.
    pub scope: Option<String>,
}

impl Challenge {
    /// Parses one header value, which may hold several challenges; the first bearer one counts.
    pub fn parse(header: &str) -> Option<Self> {
        let lower = header.to_ascii_lowercase();
        let start = lower.find("bearer ")? + "bearer ".len();
        let parameters = parameters(&header[start..]);
        let get = |name: &str| parameters.get(name).cloned();
        Some(Self {
            realm: get("realm")?,
            service: get("service"),
            scope: get("scope"),
        })
    }
}

/// Whether a `WWW-Authenticate` value offers Basic authentication (RFC 7617).
pub fn offers_basic(header: &str) -> bool {
    // Outside of quoted values a scheme stands at the start or after a comma.
    let mut quoted = false;
    let mut plain = String::new();
    for c in header.chars() {
        quoted ^= c == '"';
        plain.push(if quoted { '"' } else { c.to_ascii_lowercase() });
    }
    plain.split(',').any(|part| {
        let mut words = part.split_ascii_whitespace();
        words.next() == Some("basic")
    })
}

/// `name="value", name=value`, until something else comes.
fn parameters(mut text: &str) -> HashMap<String, String> {
    let mut found = HashMap::new();
    loop {
        text = text.trim_start_matches([' ', ',', '\t']);
        let Some((name, rest)) = text.split_once('=') else {
            return found;
        };
        // A space in the name: the next challenge begins.
        if name.contains(' ') {
            return found;
        }
        let (value, after) = match rest.strip_prefix('"') {
            Some(quoted) => {
                let mut value = String::new();
                let mut chars = quoted.char_indices();
                let end = loop {
                    match chars.next() {
                        Some((_, '\\')) => value.extend(chars.next().map(|(_, c)| c)),
                        Some((at, '"')) => break at + 1,
                        Some((_, c)) => value.push(c),
                        None => break quoted.len(),
                    }
                };
                (value, &quoted[end..])
            }
            None => {
                let end = rest.find([',', ' ']).unwrap_or(rest.len());
                (rest[..end].to_owned(), &rest[end..])
            }
        };
        found.insert(name.to_ascii_lowercase(), value);
        text = after;
    }
}

/// What a token service answers.
#[derive(Deserialize)]
struct Answer {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u64>,
}

/// A token and how long it is good for.
#[derive(Clone)]
pub struct Token {
    pub secret: String,
    pub until: Instant,
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Token")
            .field("secret", &"…")
            .finish_non_exhaustive()
    }
}

impl Token {
    /// Parses the service's answer; the text of an error says what is wrong with it, never the token.
    pub fn parse(body: &[u8], now: Instant) -> Result<Self, &'static str> {
        let answer: Answer =
            serde_json::from_slice(body).map_err(|_| "its answer is not the JSON of a token")?;
        let secret = answer
            .token
            .filter(|t| !t.is_empty())
            .or(answer.access_token)
            .filter(|t| !t.is_empty());
        let secret = secret.ok_or("its answer holds no token")?;
        if !secret.bytes().all(|b| b.is_ascii_graphic()) {
            return Err("its token holds what no header may");
        }
        // 60 seconds is what the specification says to assume; some margin, for it is used a little later.
        let seconds = answer.expires_in.unwrap_or(60).clamp(10, 86_400) - 5;
        Ok(Self {
            secret,
            until: now + Duration::from_secs(seconds),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_challenges_that_registries_send() {
        let hub = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/busybox:pull""#;
        assert_eq!(
            Challenge::parse(hub).unwrap(),
            Challenge {
                realm: "https://auth.docker.io/token".into(),
                service: Some("registry.docker.io".into()),
                scope: Some("repository:library/busybox:pull".into()),
            }
        );
        let odd = r#"Basic realm="x", bearer Realm="http://a/t?a=\"b\"" , scope="a:b:pull,push""#;
        let odd = Challenge::parse(odd).unwrap();
        assert_eq!(
            (odd.realm.as_str(), odd.scope.as_deref()),
            (r#"http://a/t?a="b""#, Some("a:b:pull,push"))
        );
        assert_eq!(Challenge::parse(r#"Basic realm="x""#), None);
        assert_eq!(Challenge::parse("Bearer "), None);
        assert_eq!(Challenge::parse(r#"Bearer service="x""#), None);
        assert!(Challenge::parse("Bearer realm=\"unterminated").is_some());
    }

    #[test]
    fn basic_authentication_is_seen_where_it_is_offered() {
        for (header, offered) in [
            (r#"Basic realm="x""#, true),
            ("basic", true),
            (r#"Bearer realm="a, Basic b", Basic realm="y""#, true),
            (r#"Bearer realm="a, basic b""#, false),
            (r#"Bearer realm="https://basic/""#, false),
            ("Basically x", false),
            ("", false),
        ] {
            assert_eq!(offers_basic(header), offered, "{header}");
        }
    }

    #[test]
    fn a_mutilated_challenge_is_read_as_far_as_it_goes() {
        let whole =
            r#"Basic realm="ä", Bearer realm="https://a/t?a=\"b\\" , service=x,scope="a:b:pull""#;
        for (at, _) in whole.char_indices() {
            // No panic, and nothing made up.
            for part in [&whole[..at], &whole[at..]] {
                if let Some(challenge) = Challenge::parse(part) {
                    let realm = challenge.realm.replace('"', "\\\"");
                    assert!(whole.contains(&realm), "{part}: {challenge:?}");
                }
            }
        }
    }

    #[test]
    fn a_token_is_taken_from_either_field_and_never_shown() {
        let now = Instant::now();
        let token = Token::parse(br#"{"access_token":"abc"}"#, now).unwrap();
        assert_eq!(token.secret, "abc");
        assert!(!format!("{token:?}").contains("abc"));
        for bad in ["", "<html>", "{}", r#"{"token":""}"#, r#"{"token":"a\nb"}"#] {
            assert!(Token::parse(bad.as_bytes(), now).is_err(), "{bad}");
        }
    }
}
