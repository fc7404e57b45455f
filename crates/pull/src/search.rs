//! Searching a registry, as Docker does: `GET /v1/search` of Docker Hub, or of any registry that has it. Other registries
//! are asked for their catalog (`GET /v2/_catalog`), as Podman does, and the names are searched here.

use minidock_oci::Reference;
use reqwest::Method;
use serde::Deserialize;

use crate::http::{Ask, Registry, Subject};
use crate::{Error, Event, PullOptions, block_on, manifest, pages};

/// Docker Hub's search is at another of its names than its images.
const HUB: &str = "index.docker.io";
/// Bytes of an answer; a hundred results have some ten thousand.
const MAX_ANSWER: u64 = 8 << 20;
const RESULTS: &str = "list of search results";
const CATALOG: &str = "list of repositories";

/// A repository that was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct SearchResult {
    /// As it can be pulled, from its registry.
    pub name: String,
    /// What its owner says of it.
    #[serde(default)]
    pub description: String,
    /// How many like it.
    #[serde(default, rename = "star_count")]
    pub stars: u64,
    /// Whether it is one of Docker's official images.
    #[serde(default, rename = "is_official")]
    pub official: bool,
}

#[derive(Deserialize)]
struct Answer {
    /// May be null, but has to be there: an empty object is no answer to a search.
    #[serde(deserialize_with = "Option::deserialize")]
    results: Option<Vec<SearchResult>>,
}

/// The registry of a search term, and the term there: `HOST/TERM`, or a term for Docker Hub.
fn place(term: &str) -> (&str, &str) {
    let (first, rest) = term.split_once('/').unwrap_or((term, ""));
    let names_registry = !rest.is_empty() && (first.contains(['.', ':']) || first == "localhost");
    match (names_registry, first) {
        (true, "docker.io" | HUB) => (HUB, rest),
        (true, _) => (first, rest),
        (false, _) => (HUB, term),
    }
}

/// Repositories that fit a term, at most `limit` of them, the most liked first.
///
/// # Errors
/// When the registry cannot be reached, refuses, cannot be searched, or talks nonsense.
pub fn search(
    term: &str,
    limit: usize,
    options: &PullOptions,
    events: &(dyn Fn(Event) + Sync),
) -> Result<Vec<SearchResult>, Error> {
    let (host, term) = place(term);
    if !Reference::check_registry(host) {
        return Err(Error::NotSearchable {
            registry: host.to_owned(),
            problem: "that is no name of a registry".to_owned(),
        });
    }
    let endpoint = options.registries.registry(host);
    let known_as = if host == HUB { "docker.io" } else { host };
    options.registries.check_not_blocked(known_as)?;
    block_on(async {
        let registry = Registry::new(&endpoint, Subject::Registry, options, events)?;
        let mut found = match by_search(&registry, term, limit).await {
            Err(Error::Status { status: 404, .. }) if host != HUB => {
                by_catalog(&registry, term, limit).await
            }
            result => result,
        }
        .map_err(|error| not_searchable(error, host))?;
        found.sort_by_key(|result| std::cmp::Reverse(result.stars));
        found.truncate(limit);
        Ok(found)
    })
}

fn not_searchable(error: Error, host: &str) -> Error {
    let problem = match error {
        Error::LoginRefused { detail, .. } => format!(
            "it refuses who asks{}",
            detail.map(|d| format!(": {d}")).unwrap_or_default()
        ),
        Error::Status {
            status: 404 | 405, ..
        } => "it has neither Docker's search nor a catalog".to_owned(),
        error => return error,
    };
    Error::NotSearchable {
        registry: host.to_owned(),
        problem,
    }
}

async fn by_search(
    registry: &Registry<'_>,
    term: &str,
    limit: usize,
) -> Result<Vec<SearchResult>, Error> {
    let base = registry.base.borrow().join("/v1/search");
    let mut url = base.map_err(|e| registry.malformed("address", e.to_string()))?;
    // Docker Hub knows its official images without the name of their owner.
    let term = term.strip_prefix("library/").unwrap_or(term);
    url.query_pairs_mut()
        .append_pair("q", term)
        .append_pair("n", &limit.to_string());
    let ask = Ask::new(
        Method::GET,
        pages::below_root(&url),
        format!("the {RESULTS}"),
    );
    let (_, body) = registry.fetch(&ask, MAX_ANSWER).await?;
    let answer: Answer = serde_json::from_slice(&body)
        .map_err(|e| registry.malformed(RESULTS, manifest::not_json(&body, &e)))?;
    Ok(answer.results.unwrap_or_default())
}

async fn by_catalog(
    registry: &Registry<'_>,
    term: &str,
    limit: usize,
) -> Result<Vec<SearchResult>, Error> {
    let fits = |name: &&String| name.contains(term);
    let enough = |names: &[String]| names.iter().filter(fits).count() >= limit;
    let names = pages::list(registry, "_catalog", CATALOG, enough).await?;
    let found = names.iter().filter(fits).map(|name| SearchResult {
        name: name.clone(),
        ..SearchResult::default()
    });
    Ok(found.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_term_may_name_its_registry() {
        for (term, host, rest) in [
            ("busybox", HUB, "busybox"),
            ("user/app", HUB, "user/app"),
            ("docker.io/user/app", HUB, "user/app"),
            ("quay.io/app", "quay.io", "app"),
            ("localhost/app", "localhost", "app"),
            ("127.0.0.1:5000/a/b", "127.0.0.1:5000", "a/b"),
            ("a.b", HUB, "a.b"),
            ("quay.io/", HUB, "quay.io/"),
        ] {
            assert_eq!(place(term), (host, rest), "{term}");
        }
    }
}
