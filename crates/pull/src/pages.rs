//! Lists that come in pages: tags, and the repositories of a registry (distribution specification, "Listing Tags").
//!
//! A page says where the next one is (RFC 8288). That is a place within the registry: its host is not changed, whatever the
//! link says, and a list that goes in a circle, or on for ever, is refused with bounded time and memory.

use std::collections::HashSet;

use reqwest::header::{HeaderMap, LINK};
use reqwest::{Method, Url};
use serde::Deserialize;

use crate::Error;
use crate::http::{Ask, Registry};

/// Entries that are asked for at a time.
const PAGE: usize = 1000;
/// Bytes of one page.
const MAX_PAGE: u64 = 8 << 20;
/// Most pages; the largest repositories have some ten thousand tags, and some registries hand out fifty at a time.
const MAX_PAGES: usize = 10_000;
/// Bytes of all entries.
const MAX_BYTES: usize = 64 << 20;

#[derive(Deserialize)]
struct Page {
    #[serde(alias = "repositories")]
    tags: Option<Vec<String>>,
}

/// Reads a list to its end, or until there is enough: sorted, each entry once.
pub async fn list(
    registry: &Registry<'_>,
    path: &str,
    what: &'static str,
    enough: impl Fn(&[String]) -> bool,
) -> Result<Vec<String>, Error> {
    let mut all: Vec<String> = Vec::new();
    let mut bytes = 0;
    let mut seen = HashSet::new();
    let address = |path: &str| {
        let url = registry.base.borrow().join(path);
        url.map_err(|e| registry.malformed("address", e.to_string()))
    };
    let mut path = below_root(&address(&format!("{path}?n={PAGE}"))?);
    while seen.insert(path.clone()) {
        let ask = Ask::new(Method::GET, path.clone(), format!("the {what}"));
        let (headers, body) = registry.fetch(&ask, MAX_PAGE).await?;
        let page: Page = serde_json::from_slice(&body)
            .map_err(|e| registry.malformed(what, crate::manifest::not_json(&body, &e)))?;
        let entries = page.tags.unwrap_or_default();
        bytes += entries.iter().map(String::len).sum::<usize>();
        if bytes > MAX_BYTES || seen.len() > MAX_PAGES {
            return Err(registry.malformed(what, "it has no end"));
        }
        let empty = entries.is_empty();
        all.extend(entries);
        let next = next(&headers, &address(&path)?).map_err(|why| registry.malformed(what, why))?;
        let Some(next) = next.filter(|_| !enough(&all)) else {
            // The specification wants them so; older registries do not do it.
            all.sort();
            all.dedup();
            return Ok(all);
        };
        if empty {
            break;
        }
        path = next;
    }
    Err(registry.malformed(what, "its pages lead nowhere"))
}

/// The place of the next page: `</v2/x/tags/list?n=2&last=b>; rel="next"`.
fn next(headers: &HeaderMap, here: &Url) -> Result<Option<String>, String> {
    let texts = headers.get_all(LINK).iter().filter_map(|v| v.to_str().ok());
    let Some(address) = texts
        .flat_map(links)
        .find_map(|(a, next)| next.then_some(a))
    else {
        return Ok(None);
    };
    let url = here
        .join(address)
        .map_err(|e| format!("its next page has no address: {e}"))?;
    let place = |url: &Url| (url.host_str().map(str::to_owned), url.port());
    // A registry behind a proxy may not know that it is reached by TLS; it does know its name.
    let same_host = url.host_str() == here.host_str() && url.scheme().starts_with("http");
    let same_port = place(&url) == place(here) || url.port().is_none();
    if !same_host || !same_port {
        return Err("its next page is at another host".to_owned());
    }
    Ok(Some(below_root(&url)))
}

/// An address without scheme and host, which the registry itself finds out.
pub fn below_root(url: &Url) -> String {
    let query = url.query().map(|q| format!("?{q}")).unwrap_or_default();
    format!("{}{query}", url.path())
}

/// The links of a header, and whether each is to the next page.
fn links(text: &str) -> impl Iterator<Item = (&str, bool)> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (address, after) = rest.split_once('<')?.1.split_once('>')?;
        let parameters = after.split('<').next().unwrap_or_default();
        rest = &after[parameters.len()..];
        let is_next = parameters.split([';', ',']).any(|parameter| {
            parameter.split_once('=').is_some_and(|(name, value)| {
                let mut relations = value.trim().trim_matches('"').split_whitespace();
                name.trim().eq_ignore_ascii_case("rel")
                    && relations.any(|relation| relation.eq_ignore_ascii_case("next"))
            })
        });
        Some((address, is_next))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_followed_as_links_say() {
        let here = Url::parse("https://r.example:5000/v2/a/tags/list?n=1").unwrap();
        let link = |texts: &[&str]| {
            let headers = texts.iter().map(|t| (LINK, t.parse().unwrap())).collect();
            next(&headers, &here)
        };
        let address = || Ok(Some("/v2/a/tags/list?n=1&last=x".to_owned()));
        for same in [
            "</v2/a/tags/list?n=1&last=x>; rel=\"next\"",
            "</v2/a/tags/list?n=1&last=x>;rel=next",
            "<list?n=1&last=x>; title=\"a\"; REL = \"prev Next\"",
            "<?n=1&last=x>; rel=next",
            "</x>; rel=prev, </v2/a/tags/list?n=1&last=x>; rel=next",
            "<https://r.example:5000/v2/a/tags/list?n=1&last=x>; rel=next",
            "<http://r.example:5000/v2/a/tags/list?n=1&last=x>; rel=next",
            "<http://r.example/v2/a/tags/list?n=1&last=x>; rel=next",
        ] {
            assert_eq!(link(&[same]), address(), "{same}");
        }
        let prev = "</v2/b>; rel=prev";
        assert_eq!(
            link(&[prev, "</v2/a/tags/list?n=1&last=x>; rel=next"]),
            address()
        );
        for none in ["", prev, "/v2/a; rel=next", "<", "<>", "<x>", "<x>; rel"] {
            assert_eq!(link(&[none]), Ok(None), "{none}");
        }
        for elsewhere in [
            "<http://192.0.2.1/>; rel=next",
            "<//192.0.2.1/>; rel=next",
            "<https://r.example:5001/>; rel=next",
            "<file:///etc/passwd>; rel=next",
            "<https://r.example.evil/>; rel=next",
            "<https://r.example:5000@192.0.2.1/>; rel=next",
        ] {
            let refused = link(&[elsewhere]).unwrap_err();
            assert!(refused.contains("another host"), "{elsewhere}: {refused}");
        }
    }
}
