//! Sign-in by an identity provider: OpenID Connect's code flow with PKCE.
//!
//! Answers: who is this, in the provider's words, and which roles does that give? Owns: what binds a browser to its
//! sign-in, the provider's addresses and keys, and the check of what it says. Never: a session, or a provider's answer
//! shown to anyone. Start at [`Provider::begin`] and [`Provider::finish`].

mod claims;
mod person;
mod ticket;

pub use person::{OidcError, Person};
pub use ticket::LASTS;

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use openidconnect::core::{
    CoreAuthDisplay, CoreAuthPrompt, CoreClientAuthMethod, CoreErrorResponseType, CoreGenderClaim,
    CoreJsonWebKey, CoreJweContentEncryptionAlgorithm, CoreJwsSigningAlgorithm, CoreProviderMetadata,
    CoreResponseType, CoreRevocableToken, CoreRevocationErrorResponse, CoreTokenIntrospectionResponse,
    CoreTokenType,
};
use openidconnect::{
    AuthType, AuthenticationFlow, AuthorizationCode, ClientId, ClientSecret, CsrfToken,
    EmptyExtraTokenFields, EndpointMaybeSet, EndpointNotSet, EndpointSet, HttpRequest, HttpResponse,
    IdTokenFields, IssuerUrl, Nonce, OAuth2TokenResponse as _, PkceCodeChallenge, PkceCodeVerifier,
    RedirectUrl, Scope, StandardErrorResponse, StandardTokenResponse, TokenResponse as _, UserInfoClaims,
};
use parking_lot::Mutex;

use crate::client;
use crate::settings::OidcSettings;
use claims::Extra;
use ticket::{Ticket, Used};

/// How long a provider may take for one answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Its largest answer: keys and claims are a few KiB.
const ANSWER_LIMIT: usize = 1 << 20;
/// How long its addresses and keys are believed; a key that is not known is looked for sooner.
const KNOWN_FOR: Duration = Duration::from_secs(300);
/// Between two looks for a key that is not known: strangers must not make this program ask as fast as they do.
const LOOK_AGAIN: Duration = Duration::from_secs(10);
/// Sign-ins that are checked at one time: anyone may begin one.
const AT_ONCE: usize = 4;

/// Signatures that need the provider's private key. `none`, and those made with the client's secret, are no proof.
const SIGNATURES: [CoreJwsSigningAlgorithm; 8] = [
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha384,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha512,
    CoreJwsSigningAlgorithm::RsaSsaPssSha256,
    CoreJwsSigningAlgorithm::RsaSsaPssSha384,
    CoreJwsSigningAlgorithm::RsaSsaPssSha512,
    CoreJwsSigningAlgorithm::EcdsaP256Sha256,
    CoreJwsSigningAlgorithm::EcdsaP384Sha384,
];

type Tokens = StandardTokenResponse<
    IdTokenFields<
        Extra,
        EmptyExtraTokenFields,
        CoreGenderClaim,
        CoreJweContentEncryptionAlgorithm,
        CoreJwsSigningAlgorithm,
    >,
    CoreTokenType,
>;

type Client = openidconnect::Client<
    Extra,
    CoreAuthDisplay,
    CoreGenderClaim,
    CoreJweContentEncryptionAlgorithm,
    CoreJsonWebKey,
    CoreAuthPrompt,
    StandardErrorResponse<CoreErrorResponseType>,
    Tokens,
    CoreTokenIntrospectionResponse,
    CoreRevocableToken,
    CoreRevocationErrorResponse,
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointMaybeSet,
    EndpointMaybeSet,
>;

/// A sign-in that begins: where the browser goes, and the cookie it comes back with.
#[derive(Debug)]
pub struct Begun {
    pub there: String,
    pub cookie: String,
}

/// What the provider sends a browser back with.
#[derive(Clone, Default, Debug)]
pub struct Returned {
    pub code: Option<String>,
    pub state: Option<String>,
    pub issuer: Option<String>,
}

/// The provider that control.yaml names.
pub struct Provider {
    settings: OidcSettings,
    known: tokio::sync::Mutex<Option<Known>>,
    used: Mutex<Used>,
    places: tokio::sync::Semaphore,
}

#[derive(Clone)]
struct Known {
    at: Instant,
    metadata: Arc<CoreProviderMetadata>,
}

impl Provider {
    pub fn new(settings: OidcSettings) -> Provider {
        Provider {
            settings,
            known: tokio::sync::Mutex::default(),
            used: Mutex::default(),
            places: tokio::sync::Semaphore::new(AT_ONCE),
        }
    }

    /// Begins a sign-in that comes back to this address.
    pub async fn begin(&self, back: &str) -> Result<Begun, OidcError> {
        let _place = self.places.acquire().await;
        let metadata = self.metadata(KNOWN_FOR).await?;
        let ticket = Ticket::random();
        let client = self.client(&metadata, back)?;
        let (state, nonce) = (ticket.state(), ticket.nonce());
        let challenge =
            PkceCodeChallenge::from_code_verifier_sha256(&PkceCodeVerifier::new(ticket.verifier()));
        let mut asked = client
            .authorize_url(
                AuthenticationFlow::<CoreResponseType>::AuthorizationCode,
                move || CsrfToken::new(state),
                move || Nonce::new(nonce),
            )
            .set_pkce_challenge(challenge);
        let supported = metadata.scopes_supported();
        let offers = |scope: &str| supported.is_some_and(|all| all.iter().any(|one| one.as_str() == scope));
        for scope in ["profile", self.settings.claim.as_str()] {
            if offers(scope) {
                asked = asked.add_scope(Scope::new(scope.to_owned()));
            }
        }
        let (there, _, _) = asked.url();
        Ok(Begun { there: there.to_string(), cookie: ticket.secret })
    }

    /// Who came back, if it is the browser that began, and the provider says so.
    pub async fn finish(
        &self,
        back: &str,
        (cookie, returned): (&str, Returned),
        now: Instant,
    ) -> Result<Person, OidcError> {
        let ticket = Ticket { secret: cookie.to_owned() };
        let state = returned.state.as_deref().unwrap_or_default();
        if !ticket.is_state(state) || !self.used.lock().is_first(state, now) {
            return Err(OidcError::Stranger);
        }
        if returned.issuer.is_some_and(|issuer| issuer != self.settings.issuer) {
            return Err(OidcError::Forged("another issuer answered"));
        }
        let code = returned.code.ok_or(OidcError::Refused)?;
        let _place = self.places.acquire().await;
        let metadata = self.metadata(KNOWN_FOR).await?;
        let tokens = self.exchange(&self.client(&metadata, back)?, code, &ticket).await?;
        let person = match self.verified(&self.client(&metadata, back)?, &tokens, &ticket) {
            Ok(person) => person,
            // The provider may have changed its keys.
            Err(_) => {
                let metadata = self.metadata(LOOK_AGAIN).await?;
                self.verified(&self.client(&metadata, back)?, &tokens, &ticket)?
            }
        };
        let (subject, mut extra, shown) = person;
        if !extra.has(&self.settings.claim) {
            let client = self.client(&metadata, back)?;
            extra = self.user_claims(&client, &tokens, &subject).await?.unwrap_or(extra);
        }
        claims::person(&self.settings, (subject, shown), &extra)
    }

    async fn exchange(&self, client: &Client, code: String, ticket: &Ticket) -> Result<Tokens, OidcError> {
        let asked = client.exchange_code(AuthorizationCode::new(code)).map_err(|_| no_endpoint())?;
        let asked = asked.set_pkce_verifier(PkceCodeVerifier::new(ticket.verifier()));
        asked.request_async(&self.http()).await.map_err(|error| {
            tracing::info!(%error, "the identity provider gave no tokens for a code");
            match error {
                openidconnect::RequestTokenError::ServerResponse(_) => OidcError::Refused,
                openidconnect::RequestTokenError::Request(error) => OidcError::Away(error.to_string()),
                _ => OidcError::Forged("it could not be understood"),
            }
        })
    }

    /// What a verified ID token says: the subject, all claims, and a name to show.
    fn verified(
        &self,
        client: &Client,
        tokens: &Tokens,
        ticket: &Ticket,
    ) -> Result<(String, Extra, String), OidcError> {
        let verifier = client.id_token_verifier().set_allowed_algs(SIGNATURES);
        let token = tokens.id_token().ok_or(OidcError::Forged("there is no ID token"))?;
        let nonce = Nonce::new(ticket.nonce());
        let claims = token.claims(&verifier, &nonce).map_err(|error| {
            tracing::info!(%error, "an ID token was not believed");
            OidcError::Forged("its ID token cannot be verified")
        })?;
        let name = claims.preferred_username().map(|name| name.as_str().to_owned());
        let shown = name.unwrap_or_else(|| claims.subject().as_str().to_owned());
        Ok((claims.subject().as_str().to_owned(), claims.additional_claims().clone(), shown))
    }

    /// What the provider says besides, where its ID tokens are short.
    async fn user_claims(
        &self,
        client: &Client,
        tokens: &Tokens,
        subject: &str,
    ) -> Result<Option<Extra>, OidcError> {
        let subject = openidconnect::SubjectIdentifier::new(subject.to_owned());
        let Ok(asked) = client.user_info(tokens.access_token().clone(), Some(subject)) else {
            return Ok(None);
        };
        let told: UserInfoClaims<Extra, CoreGenderClaim> =
            asked.request_async(&self.http()).await.map_err(|error| {
                tracing::info!(%error, "the identity provider did not say more of a person");
                OidcError::Forged("what it says of the person cannot be used")
            })?;
        Ok(Some(told.additional_claims().clone()))
    }

    fn client(&self, metadata: &CoreProviderMetadata, back: &str) -> Result<Client, OidcError> {
        let secret = match &self.settings.client_secret_file {
            None => None,
            Some(path) => {
                let text = std::fs::read_to_string(path);
                let text = text.map_err(|error| OidcError::Away(format!("`client_secret_file`: {error}")))?;
                Some(ClientSecret::new(text.lines().next().unwrap_or_default().trim().to_owned()))
            }
        };
        let id = ClientId::new(self.settings.client_id.clone());
        let methods = metadata.token_endpoint_auth_methods_supported();
        let offers = |method| methods.is_none_or(|methods| methods.contains(&method));
        let auth = match offers(CoreClientAuthMethod::ClientSecretBasic) {
            true => AuthType::BasicAuth,
            false => AuthType::RequestBody,
        };
        let back = RedirectUrl::new(back.to_owned()).map_err(|_| OidcError::Stranger)?;
        Ok(Client::from_provider_metadata(metadata.clone(), id, secret)
            .set_auth_type(auth)
            .set_redirect_uri(back))
    }

    /// The provider's addresses and keys, at most so old.
    async fn metadata(&self, oldest: Duration) -> Result<Arc<CoreProviderMetadata>, OidcError> {
        let mut known = self.known.lock().await;
        if let Some(known) = known.as_ref().filter(|known| known.at.elapsed() < oldest) {
            return Ok(known.metadata.clone());
        }
        let issuer = IssuerUrl::new(self.settings.issuer.clone());
        let issuer = issuer.map_err(|error| OidcError::Away(error.to_string()))?;
        let found = CoreProviderMetadata::discover_async(issuer, &self.http()).await;
        let found = found.map_err(|error| {
            tracing::warn!(%error, "the identity provider could not be asked for its addresses and keys");
            OidcError::Away("its addresses and keys cannot be had".to_owned())
        })?;
        let there = found.authorization_endpoint().as_str();
        if !self.settings.may_ask(there) {
            return Err(not_named(there));
        }
        let metadata = Arc::new(found);
        *known = Some(Known { at: Instant::now(), metadata: metadata.clone() });
        Ok(metadata)
    }

    /// One request to an address that the file names; a redirect is an answer like any other.
    fn http(&self) -> impl Fn(HttpRequest) -> BoxFuture + use<> {
        let settings = self.settings.clone();
        move |request| {
            let is_named = settings.may_ask(&request.uri().to_string());
            Box::pin(async move {
                if !is_named {
                    return Err(Unasked(not_named(&request.uri().to_string()).to_string()));
                }
                client::send(request, PATIENCE, ANSWER_LIMIT).await.map_err(Unasked)
            })
        }
    }
}

type BoxFuture = std::pin::Pin<Box<dyn Future<Output = Result<HttpResponse, Unasked>> + Send>>;

/// Why the provider did not answer.
#[derive(thiserror::Error, Debug)]
#[error("{0}")]
pub struct Unasked(String);

fn not_named(address: &str) -> OidcError {
    let uri: Option<http::Uri> = address.parse().ok();
    let host = uri.as_ref().and_then(http::Uri::host).unwrap_or("?");
    OidcError::Away(format!("it leads to `{host}`, which is neither its issuer's host nor in `oidc.hosts`"))
}

fn no_endpoint() -> OidcError {
    OidcError::Away("it names no token endpoint".to_owned())
}
