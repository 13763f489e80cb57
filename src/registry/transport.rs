use std::time::Duration;

use reqwest::Method;
use reqwest::StatusCode;
use reqwest::header::{AUTHORIZATION, CONTENT_LENGTH, HeaderValue, LOCATION};
use url::Url;

use super::call::{BlobPayload, Call, Payload};
use super::host::{Host, Scheme, Speech, authority_of, is_loopback, names_host};
use super::pace::{Pace, Tries};
use super::response::{CRAWL, Response};
use super::trouble::{Trouble, retry_after, speaks_no_tls};
use super::{RegistryClient, RegistryError};
use crate::base::{ErrorClass, Failure as _};
use crate::event::Event;
use crate::registry::auth::Scopes;

/// Redirects followed for one request (RFC 9110 leaves the number open; browsers stop at 20, docker at 10).
const HOPS: usize = 10;
/// Waits from which on people are told.
const WORTH_A_WORD: Duration = Duration::from_secs(5);
/// What a registry is trusted to need for hashing and storing a body that it has taken whole, on top of the time-out.
const DIGESTING: u64 = 16 << 20;

impl RegistryClient {
    /// Sends a request until it is answered with something other than "later" or "broken": success, refusal, not found.
    ///
    /// Only for requests that may be repeated without harm, which is every one of this protocol but those within an upload.
    pub(super) async fn ask(
        &self,
        host: &Host,
        call: &Call,
        scopes: &Scopes,
        action: &str,
    ) -> Result<Response, RegistryError> {
        let mut tries = Tries::new(self.options().retry);
        loop {
            match self.ask_once(host, call, scopes, action).await {
                Ok(response) => return Ok(response),
                Err(trouble) => self.pause(&host.name, &host.pace, &mut tries, trouble).await?,
            }
        }
    }

    /// Waits before the next try, or returns why there is none.
    pub(super) async fn pause(
        &self,
        host: &str,
        pace: &Pace,
        tries: &mut Tries,
        trouble: Trouble,
    ) -> Result<(), RegistryError> {
        let (reason, class) = (trouble.error.to_string(), trouble.error.class());
        // A time-out was a long wait already, of which nobody has heard.
        let stalled = matches!(*trouble.error, RegistryError::Stalled { .. });
        let wait = tries.after(pace, trouble)?;
        self.tell_wait(host, pace, (wait, stalled), (class, &reason));
        tokio::time::sleep(wait).await;
        Ok(())
    }

    /// Tells that a host is waited for: once, however many wait for it and however often.
    fn tell_wait(
        &self,
        host: &str,
        pace: &Pace,
        (wait, stalled): (Duration, bool),
        (class, reason): (ErrorClass, &str),
    ) {
        if (stalled || wait >= WORTH_A_WORD) && pace.is_news(class) {
            let text = format!("`{host}`: waiting {} s, then trying again ({reason})", wait.as_secs().max(1));
            self.events.emit(Event::Waiting { text });
        } else {
            self.events.emit(Event::Detail { text: format!("trying again: {reason}") });
        }
    }

    /// Sends a request once, authenticated; tries a second time only with a new token.
    ///
    /// `Ok` is every answer that says something about the request; the rest is [`Trouble`].
    pub(super) async fn ask_once(
        &self,
        host: &Host,
        call: &Call,
        scopes: &Scopes,
        action: &str,
    ) -> Result<Response, Trouble> {
        if scopes.write() && host.is_plain_for_pulls_only() {
            return Err(plain_for_pulls_only(host, action));
        }
        let permit = host.permits.clone().acquire_owned().await.map_err(|_| closed(host))?;
        let mut grant = self.grant(host, scopes, action).await?;
        let mut refreshed = false;
        let response = loop {
            // Held for the exchange alone: a token may have to come from the same host while we wait for it.
            let gate = host.pace.wait().await;
            let mut response = self.follow(host, call, grant.as_ref().map(|grant| &grant.header), action).await?;
            drop(gate);
            // A 401 of whoever we were sent on to says nothing about our credentials here, and must not get them.
            if response.status() != StatusCode::UNAUTHORIZED || !Self::is_origin_of(host, response.url()) {
                response.permit = Some(permit);
                break response;
            }
            if refreshed {
                return Err(Trouble::last(self.unauthorized(host, scopes, action, grant.as_ref()).await));
            }
            // A token may have expired between two requests, or the host's challenge was not known yet: once more.
            refreshed = true;
            grant = Some(self.answer_challenge(host, scopes, action, response, grant.as_ref()).await?);
        };
        let response = Self::judge(host, response).await?;
        if host.pace.is_over() {
            self.events.emit(Event::Waiting { text: format!("`{}` answers again", host.name) });
        }
        Ok(response)
    }

    /// Sorts out the statuses that say nothing about the request itself.
    async fn judge(host: &Host, mut response: Response) -> Result<Response, Trouble> {
        let status = response.status().as_u16();
        let asked = response.header("retry-after").and_then(|value| retry_after(value, jiff::Timestamp::now()));
        match status {
            429 => Err(Trouble { limited: true, retry_after: asked, ..passing_refusal(response).await }),
            // Secondary limits: GitHub answers 403 and says for how long.
            403 if asked.is_some() => {
                Err(Trouble { limited: true, retry_after: asked, ..passing_refusal(response).await })
            }
            // The same without the header, in words only.
            403 if response.say().await.has("TOOMANYREQUESTS") => {
                Err(Trouble { limited: true, ..passing_refusal(response).await })
            }
            408 | 425 | 500 | 502..=504 | 507..=599 => {
                Err(Trouble { limited: asked.is_some(), retry_after: asked, ..passing_refusal(response).await })
            }
            _ => {
                host.pace.succeeded();
                Ok(response)
            }
        }
    }

    /// Sends a request and follows redirects, taking the credentials along only within the registry's own origin.
    ///
    /// distribution-spec: clients must follow redirects and must not send the authorization to another host.
    pub(super) async fn follow(
        &self,
        host: &Host,
        call: &Call,
        authorization: Option<&HeaderValue>,
        action: &str,
    ) -> Result<Response, Trouble> {
        let mut call = call.clone();
        for _ in 0..=HOPS {
            let own = Self::is_origin_of(host, &call.url);
            let response = self.exchange(&host.name, &call, authorization.filter(|_| own), action).await?;
            let status = response.status();
            let redirects = matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308);
            let Some(location) = response.headers().get(LOCATION).filter(|_| redirects) else {
                return Ok(response);
            };
            // 301 to 303 would turn an upload into a GET (RFC 9110, 15.4): a success that stores nothing.
            if !matches!(call.method, Method::GET | Method::HEAD) && !matches!(status.as_u16(), 307 | 308) {
                return Err(Trouble::last(response.wrong(format!("it redirects an upload with status {status}"))));
            }
            let next = location.to_str().ok().and_then(|location| call.url.join(location).ok());
            let Some(next) = next else {
                return Err(Trouble::last(response.wrong("it redirects to what is not a URL")));
            };
            self.check_downgrade(&call.url, &next).map_err(|reason| Trouble::last(response.wrong(reason)))?;
            call.url = next;
            response.finish().await;
        }
        Err(Trouble::last(RegistryError::Network {
            host: host.name.clone(),
            action: action.to_owned(),
            reason: format!("it redirects more than {HOPS} times"),
            help: Some("ask who runs the registry: its redirects go in a circle".to_owned()),
        }))
    }

    /// One request, one answer: no retry, no redirect, no credentials but those given.
    pub(super) async fn exchange(
        &self,
        host: &str,
        call: &Call,
        authorization: Option<&HeaderValue>,
        action: &str,
    ) -> Result<Response, Trouble> {
        let client = self.client_for(&authority_of(&call.url)).map_err(Trouble::last)?;
        let mut request = client.request(call.method.clone(), call.url.clone()).headers(call.headers.clone());
        if let Some(authorization) = authorization {
            request = request.header(AUTHORIZATION, authorization.clone());
        }
        let tally = &self.shared.tally;
        tally.requests.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let blob = match &call.payload {
            Payload::None if call.method == Method::GET || call.method == Method::HEAD => None,
            Payload::None => {
                request = request.header(CONTENT_LENGTH, 0);
                None
            }
            Payload::Bytes(bytes) => {
                tally.bytes_sent.fetch_add(bytes.len() as u64, std::sync::atomic::Ordering::Relaxed);
                request = request.body(bytes.clone());
                None
            }
            Payload::Blob(blob) => {
                // Registries and the proxies before them refuse bodies of unknown length (411), and some store garbage.
                request = request.header(CONTENT_LENGTH, blob.size());
                request = request.body(blob.body(tally.bytes_sent.clone()));
                Some(blob.as_ref())
            }
        };
        let limit = self.options().timeouts.progress;
        match watched(request.send(), call.payload.size(), blob, limit).await {
            Some(Ok(response)) => Ok(Response::new(response, host.to_owned(), action.to_owned(), limit)),
            Some(Err(error)) => {
                if let Some(failure) = blob.and_then(BlobPayload::take_failure) {
                    return Err(Trouble::last(RegistryError::Store(failure)));
                }
                let proxy = if error.is_connect() { self.proxy_to(&call.url) } else { None };
                Err(Trouble::of_reqwest(host, action, error).on_the_way(proxy.as_deref()))
            }
            None => Err(Trouble::passing(RegistryError::Stalled {
                host: host.to_owned(),
                action: action.to_owned(),
                limit,
            })),
        }
    }

    /// How `host` is spoken to; for a loopback host this asks it once, without saying anything but a TLS greeting.
    pub(super) async fn scheme(&self, host: &Host) -> Result<Scheme, RegistryError> {
        match host.speech {
            Speech::Tls => Ok(Scheme::Https),
            Speech::Plain => Ok(Scheme::Http),
            Speech::AsItSpeaks | Speech::PullsAsItSpeaks => {
                host.found.get_or_try_init(|| self.find_scheme(host)).await.copied()
            }
        }
    }

    async fn find_scheme(&self, host: &Host) -> Result<Scheme, RegistryError> {
        let url = base(host, Scheme::Https)?;
        let client = self.client_for(&authority_of(&url))?;
        let mut tries = Tries::new(self.options().retry);
        loop {
            let sent = client.head(url.clone()).send();
            match tokio::time::timeout(self.options().timeouts.connect, sent).await {
                Ok(Ok(_)) => return Ok(Scheme::Https),
                Ok(Err(error)) if speaks_no_tls(&error) => return Ok(Scheme::Http),
                Ok(Err(error)) => {
                    let trouble = Trouble::of_reqwest(&host.name, "connect", error);
                    self.pause(&host.name, &host.pace, &mut tries, trouble).await?;
                }
                // It accepted and said nothing to a TLS greeting: some servers wait for a line of plain text.
                Err(_elapsed) => return Ok(Scheme::Http),
            }
        }
    }

    /// A URL below `/v2/` of `host`.
    pub(super) async fn url(&self, host: &Host, path: &str) -> Result<Url, RegistryError> {
        let base = base(host, self.scheme(host).await?)?;
        base.join(path).map_err(|error| RegistryError::Name { name: path.to_owned(), reason: error.to_string() })
    }

    /// Whether credentials for `host` may go to `url`: same scheme, host and port.
    fn is_origin_of(host: &Host, url: &Url) -> bool {
        let scheme = match host.speech {
            Speech::Tls => Some(Scheme::Https),
            Speech::Plain => Some(Scheme::Http),
            Speech::AsItSpeaks | Speech::PullsAsItSpeaks => host.found.get().copied(),
        };
        scheme.and_then(|scheme| host.base(scheme)).is_some_and(|base| base.origin() == url.origin())
    }

    /// Refuses to follow from TLS to plain HTTP, unless the target may be spoken to plainly.
    pub(super) fn check_downgrade(&self, from: &Url, to: &Url) -> Result<(), String> {
        let plain = match to.scheme() {
            "https" => return Ok(()),
            "http" => authority_of(to),
            other => return Err(format!("it points to a `{other}:` address")),
        };
        if from.scheme() == "http" && authority_of(from) == plain || self.may_be_plain(&plain) {
            return Ok(());
        }
        Err(format!("it points to `{plain}` without TLS"))
    }

    /// Whether plain HTTP with `authority` is allowed: loopback, or by the user's word.
    pub(super) fn may_be_plain(&self, authority: &str) -> bool {
        is_loopback(authority) || self.options().plain_http.iter().any(|entry| names_host(entry, authority))
    }
}

fn base(host: &Host, scheme: Scheme) -> Result<Url, RegistryError> {
    host.base(scheme)
        .ok_or_else(|| RegistryError::Name { name: host.name.clone(), reason: "it is not a registry host".to_owned() })
}

/// The error for what must not go without TLS to a host that `registries.conf` calls insecure.
pub(super) fn plain_for_pulls_only(host: &Host, action: &str) -> Trouble {
    Trouble::last(RegistryError::Network {
        host: host.name.clone(),
        action: action.to_owned(),
        reason: "it speaks no TLS, which `insecure` in registries.conf allows for pulls without a login only"
            .to_owned(),
        help: Some(format!("allow it for this one host with `--plain-http {}`", host.name)),
    })
}

fn closed(host: &Host) -> Trouble {
    // Nobody ever closes a host's semaphore.
    Trouble::last(RegistryError::Setup { reason: format!("the queue for `{}` is closed", host.name) })
}

async fn passing_refusal(response: Response) -> Trouble {
    let (host, action, status) = response.refusal_parts();
    let answer = response.answer().await;
    Trouble::passing(RegistryError::Refused { host, action, status, answer })
}

/// Waits for an answer as long as something moves; `None` if nothing did.
///
/// While a body goes out its bytes are what must move. After its last byte the other side may need a while for it.
async fn watched<T>(
    sending: impl Future<Output = T>,
    size: u64,
    blob: Option<&BlobPayload>,
    limit: Duration,
) -> Option<T> {
    tokio::pin!(sending);
    let start = blob.map_or(0, |blob| blob.gauge.get());
    let mut seen = 0;
    let mut patience = Duration::from_secs(size / DIGESTING);
    loop {
        if let Ok(answer) = tokio::time::timeout(limit, &mut sending).await {
            return Some(answer);
        }
        let moved = blob.map_or(0, |blob| blob.gauge.get() - start);
        if moved >= (seen + CRAWL).min(size) && moved > seen {
            seen = moved;
        } else if moved >= size && !patience.is_zero() {
            patience = patience.saturating_sub(limit);
        } else {
            return None;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::registry::{NoCredentials, RegistryOptions};

    #[test]
    fn a_host_that_many_wait_for_is_told_once() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&told);
        let sink = move |event: Event| {
            if let Event::Waiting { text } = event {
                sink.lock().expect("not poisoned").push(text);
            }
        };
        let client = RegistryClient::new(RegistryOptions::new(Arc::new(NoCredentials)))
            .expect("a client")
            .with_events(Arc::new(sink));
        let (down, other) = (Pace::default(), Pace::default());
        let network = (ErrorClass::Network, "connection refused");
        let short = |seconds: u64| (Duration::from_secs(seconds), false);
        client.tell_wait("down", &down, short(1), network);
        for seconds in 7..30 {
            client.tell_wait("down", &down, short(seconds), network);
        }
        client.tell_wait("other", &other, short(9), network);
        client.tell_wait("down", &down, short(9), (ErrorClass::RateLimited, "slow down"));
        let stalled = Pace::default();
        client.tell_wait("stalled", &stalled, (Duration::from_millis(500), true), (ErrorClass::Network, "no progress"));
        let told: Vec<String> = told.lock().expect("not poisoned").clone();
        assert_eq!(
            told,
            [
                "`down`: waiting 7 s, then trying again (connection refused)",
                "`other`: waiting 9 s, then trying again (connection refused)",
                "`down`: waiting 9 s, then trying again (slow down)",
                "`stalled`: waiting 1 s, then trying again (no progress)",
            ]
        );
    }
}
