//! The credential of a client: a fixed token, or a provider that gets one.
//!
//! The token of a provider is kept until it expires or the daemon refuses it, so that a reconnect or a request does not call
//! the provider each time. Calls at the same moment share one call of the provider.
//!
//! A client with a token never goes on without one: an empty token is an error.

use std::fmt::Display;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt, Shared, WeakShared};
use reqwest::header::HeaderValue;
use tokio::time::{Instant, timeout};

use super::Error;
use super::error::AuthFailure;
use crate::secret::Secret;

/// How long a provider may take.
const PROVIDER_TIMEOUT: Duration = Duration::from_secs(30);

/// A token or an API key for [`Client::with_token`](super::Client::with_token), or where tokens come from.
#[derive(Clone)]
pub struct Token(Source);

#[derive(Clone)]
enum Source {
    Fixed(Secret),
    Provider(Arc<Provider>),
}

type Provider = dyn Fn() -> BoxFuture<'static, Result<Secret, String>> + Send + Sync;

impl Token {
    /// Tokens from `get`, which is called before the first request, before the token expires, and after the daemon has
    /// refused it. It may return the same token again while that is valid.
    ///
    /// An error is taken as temporary: `get` is called again after a delay. An empty token is final: there is none any more,
    /// and the call or the subscriber fails with [`Error::Unauthenticated`].
    pub fn from_provider<F, R, E>(get: F) -> Self
    where
        F: Fn() -> R + Send + Sync + 'static,
        R: Future<Output = Result<Secret, E>> + Send + 'static,
        E: Display,
    {
        Self(Source::Provider(Arc::new(move || {
            let getting = get();
            async move { getting.await.map_err(|error| error.to_string()) }.boxed()
        })))
    }
}

impl From<Secret> for Token {
    fn from(token: Secret) -> Self {
        Self(Source::Fixed(token))
    }
}

impl From<String> for Token {
    fn from(token: String) -> Self {
        Secret::new(token).into()
    }
}

impl From<&str> for Token {
    fn from(token: &str) -> Self {
        Secret::new(token).into()
    }
}

/// A token to send.
#[derive(Clone)]
pub(super) struct HeldToken {
    pub secret: Secret,
    /// Whether the provider was called for it just now. A refusal of such a token is final.
    pub is_new: bool,
}

impl HeldToken {
    /// The value of `Authorization` (RFC 6750, section 2.1). Marked as sensitive, so that HTTP libraries do not log it.
    pub fn header(&self) -> Result<HeaderValue, Error> {
        let value = zeroize::Zeroizing::new(format!("Bearer {}", self.secret.expose()));
        let mut value = HeaderValue::from_str(&value).map_err(|_| Error::no_token(AuthFailure::Malformed))?;
        value.set_sensitive(true);
        Ok(value)
    }
}

type Provided = BoxFuture<'static, Result<Secret, Error>>;
/// A call of the provider, which all that need a token at this moment wait for.
type Call = Shared<Provided>;

/// The tokens of a client. Clones of the client share them.
pub(super) struct Credential {
    source: Source,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The last token of the provider, unless the daemon has refused it.
    held: Option<Secret>,
    /// When that one expires, as far as it is known.
    expires: Option<Instant>,
    /// Not kept alive by this: what a call that nobody has waited for returns later can be old.
    call: Option<WeakShared<Provided>>,
}

impl State {
    /// The call that is under way.
    fn call(&self) -> Option<Call> {
        self.call.as_ref()?.upgrade()
    }
}

impl Credential {
    pub fn new(Token(source): Token) -> Self {
        Self { source, state: Mutex::default() }
    }

    /// Whether there is a provider that gets new tokens.
    pub fn is_renewable(&self) -> bool {
        matches!(self.source, Source::Provider(_))
    }

    /// The token to send.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`] if it is empty or no token, [`Error::NoToken`] if the provider failed.
    pub async fn get(&self) -> Result<HeldToken, Error> {
        let held = {
            let state = self.state();
            state.held.clone().filter(|_| state.expires.is_none_or(|expires| Instant::now() < expires))
        };
        match held {
            Some(secret) => Ok(HeldToken { secret, is_new: false }),
            None => self.renew().await,
        }
    }

    /// A token for which the provider is called now.
    ///
    /// # Errors
    /// As [`Credential::get`].
    pub async fn renew(&self) -> Result<HeldToken, Error> {
        let provider = match &self.source {
            Source::Fixed(token) => return Ok(HeldToken { secret: checked(token.clone())?, is_new: false }),
            Source::Provider(provider) => provider,
        };
        let call = {
            let mut state = self.state();
            state.call().unwrap_or_else(|| {
                let call = called(provider.clone());
                state.call = call.downgrade();
                call
            })
        };
        let outcome = call.clone().await;
        let mut state = self.state();
        // The first that is woken ends the call. A later one must not end the call that follows.
        if state.call().is_some_and(|current| current.ptr_eq(&call)) {
            state.call = None;
            if let Ok(secret) = &outcome
                && state.held.as_ref() != Some(secret)
            {
                state.held = Some(secret.clone());
                state.expires = None;
            }
        }
        Ok(HeldToken { secret: outcome?, is_new: true })
    }

    /// The daemon has said when this token expires; `None` if never.
    pub fn expires(&self, token: &Secret, at: Option<Instant>) {
        let mut state = self.state();
        if state.held.as_ref() == Some(token) {
            state.expires = at;
        }
    }

    /// The daemon has refused this token: the next one comes from the provider.
    pub fn refused(&self, token: &Secret) {
        self.state().held.take_if(|held| held == token);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Calls the provider.
fn called(provider: Arc<Provider>) -> Call {
    async move {
        match timeout(PROVIDER_TIMEOUT, provider()).await {
            Ok(Ok(token)) => checked(token),
            Ok(Err(cause)) => Err(Error::NoToken { cause }),
            Err(_) => Err(Error::NoToken { cause: format!("there was none within {} s", PROVIDER_TIMEOUT.as_secs()) }),
        }
    }
    .boxed()
    .shared()
}

/// The token without spaces around it, if it can be one: visible ASCII characters. The error does not repeat it.
fn checked(token: Secret) -> Result<Secret, Error> {
    let text = token.expose().trim();
    if text.is_empty() {
        return Err(Error::no_token(AuthFailure::Empty));
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Error::no_token(AuthFailure::Malformed));
    }
    Ok(if text.len() == token.expose().len() { token } else { Secret::new(text) })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    /// A credential whose provider numbers its tokens, and the count of its calls.
    fn numbered() -> (Credential, Arc<AtomicU32>) {
        let calls = Arc::new(AtomicU32::new(0));
        let counted = calls.clone();
        let provider = move || {
            let number = counted.fetch_add(1, Ordering::Relaxed) + 1;
            async move {
                tokio::task::yield_now().await;
                Ok::<_, String>(Secret::new(format!("t{number}")))
            }
        };
        (Credential::new(Token::from_provider(provider)), calls)
    }

    #[tokio::test]
    async fn a_token_is_kept_until_it_is_refused_or_expires() {
        let (credential, calls) = numbered();
        let first = credential.get().await.unwrap();
        assert_eq!((first.secret.expose(), first.is_new), ("t1", true));
        let again = credential.get().await.unwrap();
        assert_eq!((again.secret.expose(), again.is_new), ("t1", false));
        credential.refused(&first.secret);
        let second = credential.get().await.unwrap();
        assert_eq!((second.secret.expose(), second.is_new), ("t2", true));
        // A refusal of an older token says nothing about this one.
        credential.refused(&first.secret);
        credential.expires(&first.secret, Some(Instant::now()));
        assert!(!credential.get().await.unwrap().is_new);
        credential.expires(&second.secret, Some(Instant::now()));
        assert_eq!(credential.get().await.unwrap().secret.expose(), "t3");
        assert_eq!(calls.load(Ordering::Relaxed), 3);
    }

    #[tokio::test]
    async fn concurrent_calls_share_one_of_the_provider() {
        let (credential, calls) = numbered();
        let all = futures_util::future::join_all((0..10).map(|_| credential.get())).await;
        for token in all {
            assert!(token.is_ok_and(|token| token.secret.expose() == "t1"));
        }
        assert_eq!(calls.load(Ordering::Relaxed), 1);
    }

    /// The token that a provider has fetched for a caller who has left may have expired meanwhile.
    #[tokio::test]
    async fn a_call_that_nobody_waits_for_any_more_is_not_resumed() {
        let (credential, calls) = numbered();
        assert!(credential.get().now_or_never().is_none(), "the provider has not answered yet");
        let token = credential.get().await.unwrap();
        assert_eq!((token.secret.expose(), token.is_new), ("t2", true));
        // As long as somebody waits, the call goes on.
        credential.refused(&token.secret);
        let mut waiting = std::pin::pin!(credential.get());
        assert!(waiting.as_mut().now_or_never().is_none(), "the provider has not answered yet");
        assert_eq!(credential.get().await.unwrap().secret.expose(), "t3");
        assert_eq!(waiting.await.unwrap().secret.expose(), "t3");
        assert_eq!(calls.load(Ordering::Relaxed), 3);
    }

    #[tokio::test]
    async fn what_is_no_token_is_refused_and_not_repeated() {
        for (token, failure) in [
            ("", AuthFailure::Empty),
            (" \n", AuthFailure::Empty),
            ("s3cret s3cret", AuthFailure::Malformed),
            ("s3cret\ns3cret", AuthFailure::Malformed),
            ("s3crét", AuthFailure::Malformed),
        ] {
            let text = token.to_owned();
            let provided = Token::from_provider(move || {
                let text = text.clone();
                async move { Ok::<_, String>(Secret::new(text)) }
            });
            for credential in [Credential::new(token.into()), Credential::new(provided)] {
                let Err(error) = credential.get().await else { panic!("{token:?} was taken") };
                assert_eq!(error, Error::no_token(failure));
                assert!(!format!("{error} {error:?}").contains("s3cr"), "{error}");
            }
        }
        let trimmed = Credential::new("t1\n".into()).get().await.unwrap();
        assert_eq!(trimmed.header().unwrap(), "Bearer t1");
        assert_eq!(format!("{:?}", trimmed.header().unwrap()), "Sensitive");
    }

    #[tokio::test]
    async fn a_provider_that_fails_is_called_again() {
        let calls = AtomicU32::new(0);
        let credential = Credential::new(Token::from_provider(move || {
            let number = calls.fetch_add(1, Ordering::Relaxed);
            async move { if number == 0 { Err("away") } else { Ok(Secret::new("t")) } }
        }));
        let failed = credential.get().await.err().unwrap();
        assert_eq!(failed, Error::NoToken { cause: "away".into() });
        assert!(failed.is_transient());
        assert_eq!(credential.get().await.unwrap().secret.expose(), "t");
    }
}
