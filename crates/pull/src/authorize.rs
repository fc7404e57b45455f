//! Being let in: what is sent as `Authorization`, and where it comes from.
//!
//! Nothing is sent until the registry asks for it, and then what it asks for: a bearer token, got from the service that the
//! challenge names (with a password by GET, with an identity token by OAuth2 POST, else anonymously), or the password
//! itself where the registry knows only Basic authentication. One grant serves all requests until it runs out or is
//! refused; it is renewed once, however many requests need it.

use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{AUTHORIZATION, HeaderValue, WWW_AUTHENTICATE};
use reqwest::{RequestBuilder, Response, StatusCode, Url};

use crate::auth::{Challenge, Token, offers_basic};
use crate::client::is_loopback;
use crate::credentials::Credential;
use crate::http::{Ask, Registry, Subject};
use crate::{Error, Event, on_thread};

/// Bytes of a token answer. Real ones are below 10 KiB.
const MAX_TOKEN_BODY: u64 = 256 << 10;
/// How we call ourselves to token services.
const CLIENT_ID: &str = "minidock";

/// What opens the registry.
#[derive(Debug)]
pub enum Grant {
    /// A token that the service of a challenge gave.
    Token(Challenge, Token),
    /// The same for every request.
    Fixed(HeaderValue),
}

impl Grant {
    fn header(&self) -> Option<HeaderValue> {
        match self {
            Self::Token(_, token) => sensitive(&format!("Bearer {}", token.secret)),
            Self::Fixed(value) => Some(value.clone()),
        }
    }
}

fn sensitive(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

fn basic(username: &str, password: &str) -> Option<HeaderValue> {
    let pair = STANDARD.encode(format!("{username}:{password}"));
    sensitive(&format!("Basic {pair}"))
}

impl Registry<'_> {
    /// One attempt; a 401 is answered with what it asks for, once.
    pub async fn attempt(&self, ask: &Ask<'_>) -> Result<Response, Error> {
        let known = self.known().await?;
        let response = self.once(ask, known.as_ref()).await?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        match self.renew(&response, known.as_ref()).await? {
            Some(header) => self.once(ask, Some(&header)).await,
            None => Ok(response),
        }
    }

    /// The grant in use; a token that has run out is replaced before the registry refuses it.
    async fn known(&self) -> Result<Option<HeaderValue>, Error> {
        let mut held = self.grant.lock().await;
        if let Some(Grant::Token(challenge, token)) = held.as_mut()
            && token.until <= Instant::now()
        {
            *token = self.fetch_token(challenge).await?;
        }
        Ok(held.as_ref().and_then(Grant::header))
    }

    /// Gets what a refusal asks for, unless somebody else did since `used` was refused. `None` when there is nothing to try.
    async fn renew(
        &self,
        refusal: &Response,
        used: Option<&HeaderValue>,
    ) -> Result<Option<HeaderValue>, Error> {
        let mut held = self.grant.lock().await;
        let current = held.as_ref().and_then(Grant::header);
        if current.is_some() && current.as_ref() != used {
            return Ok(current);
        }
        let offers: Vec<&str> = refusal
            .headers()
            .get_all(WWW_AUTHENTICATE)
            .iter()
            .filter_map(|v| v.to_str().ok())
            .collect();
        let challenge = offers.iter().copied().find_map(Challenge::parse);
        let grant = match (challenge, self.credential().await) {
            (_, Some(Credential::RegistryToken(token))) => {
                sensitive(&format!("Bearer {token}")).map(Grant::Fixed)
            }
            (Some(challenge), _) => {
                let token = self.fetch_token(&challenge).await?;
                Some(Grant::Token(challenge, token))
            }
            (None, Some(Credential::Password { username, password }))
                if offers.iter().copied().any(offers_basic) =>
            {
                basic(username, password).map(Grant::Fixed)
            }
            _ => None,
        };
        let header = grant.as_ref().and_then(Grant::header);
        if header.is_none() || header.as_ref() == used {
            return Ok(None);
        }
        *held = grant;
        Ok(header)
    }

    /// Who we are to this registry. What cannot be read is told once, and we are nobody: public images need no account.
    async fn credential(&self) -> Option<&Credential> {
        let found = self.credential.get_or_init(|| async {
            let credentials = self.credentials.clone();
            let host = self.host.clone();
            let repository = self.repository.clone();
            let found = on_thread(move || Ok(credentials.find(&host, &repository))).await;
            match found {
                Ok(Ok(found)) => found,
                Ok(Err(error)) => {
                    self.event(Event::NoCredentials {
                        registry: self.host.clone(),
                        why: error.to_string(),
                    });
                    None
                }
                Err(_) => None,
            }
        });
        found.await.as_ref()
    }

    /// As whom the registry was asked, if it wanted to know and we are somebody.
    pub fn account(&self) -> Option<&str> {
        let credential = self.credential.get()?.as_ref()?;
        Some(credential.account().unwrap_or("your account"))
    }

    /// The refusal of what we asked for, with the account that was tried.
    pub fn denied(&self, detail: Option<String>) -> Error {
        match &self.subject {
            Subject::Registry => Error::LoginRefused {
                registry: self.host.clone(),
                detail,
            },
            Subject::Image(reference) => Error::Denied {
                image: reference.familiar_name(),
                registry: self.host.clone(),
                account: self.account().map(str::to_owned),
                detail,
            },
        }
    }

    async fn fetch_token(&self, challenge: &Challenge) -> Result<Token, Error> {
        let failed = |problem: String| Error::Token {
            image: self.image(),
            realm: challenge.realm.clone(),
            problem,
        };
        let url = Url::parse(&challenge.realm).map_err(|e| failed(e.to_string()))?;
        let plain_is_fine = self.base.borrow().scheme() == "http";
        if url.scheme() != "https" && !(plain_is_fine && url.host_str().is_some_and(is_loopback)) {
            return Err(failed("it is not an https address".into()));
        }
        let what = "the token";
        let credential = self.credential().await;
        let response = self
            .exchange(self.token_request(url, challenge, credential), what)
            .await?;
        let status = response.status();
        if !status.is_success() {
            let error = self.refused(what, response).await;
            // Some registries refuse here already what does not exist or is not public.
            let denied = matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
            return Err(match error {
                Error::Status { detail, .. } if denied => self.denied(detail),
                error
                    if error.is_transient()
                        || matches!(error, Error::Denied { .. } | Error::LoginRefused { .. }) =>
                {
                    error
                }
                error => failed(error.to_string()),
            });
        }
        let body = self.body(response, what, MAX_TOKEN_BODY).await?;
        Token::parse(&body, Instant::now()).map_err(|problem| failed(problem.into()))
    }

    /// The request for a token: by OAuth2 with an identity token, else by GET, with a password if there is one.
    fn token_request(
        &self,
        mut url: Url,
        challenge: &Challenge,
        credential: Option<&Credential>,
    ) -> RequestBuilder {
        let scope = challenge.scope.clone().or_else(|| {
            let known = !self.repository.is_empty();
            known.then(|| format!("repository:{}:pull", self.repository))
        });
        let mut about: Vec<(&str, &str)> = Vec::new();
        about.extend(challenge.service.as_deref().map(|s| ("service", s)));
        let also = self.also.borrow();
        let scopes: Vec<&str> = scope
            .as_deref()
            .into_iter()
            .chain(also.iter().map(String::as_str))
            .collect();
        let joined = scopes.join(" ");
        if let Some(Credential::IdentityToken(token)) = credential {
            about.push(("scope", &joined));
            about.push(("grant_type", "refresh_token"));
            about.push(("client_id", CLIENT_ID));
            about.push(("refresh_token", token));
            let mut body = url.clone();
            body.set_query(None);
            body.query_pairs_mut().extend_pairs(about);
            let form = body.query().unwrap_or_default().to_owned();
            return self
                .client
                .post(url)
                .header("Content-Type", "application/x-www-form-urlencoded")
                .body(form);
        }
        about.extend(scopes.iter().map(|scope| ("scope", *scope)));
        let authorization = match credential {
            Some(Credential::Password { username, password }) => {
                about.push(("account", username));
                about.push(("client_id", CLIENT_ID));
                basic(username, password)
            }
            _ => None,
        };
        url.query_pairs_mut().extend_pairs(about);
        let request = self.client.get(url);
        match authorization {
            Some(value) => request.header(AUTHORIZATION, value),
            None => request,
        }
    }
}
