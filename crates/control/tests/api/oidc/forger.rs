//! A provider that answers whatever a test wants.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::routing::{get, post};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use parking_lot::Mutex;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::{Value, json};

pub struct Forger {
    pub issuer: String,
    key: EcdsaKeyPair,
    other_key: EcdsaKeyPair,
    said: Arc<Mutex<String>>,
    metadata: Arc<Mutex<Value>>,
}

fn key() -> EcdsaKeyPair {
    let random = SystemRandom::new();
    let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
    EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref(), &random).unwrap()
}

impl Forger {
    pub async fn start() -> Forger {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("http://{}", listener.local_addr().unwrap());
        let (key, said) = (key(), Arc::new(Mutex::new(String::new())));
        let point = key.public_key().as_ref();
        let jwk = json!({"kty": "EC", "crv": "P-256", "kid": "1", "use": "sig", "alg": "ES256",
            "x": URL_SAFE_NO_PAD.encode(&point[1..33]), "y": URL_SAFE_NO_PAD.encode(&point[33..65])});
        let metadata = Arc::new(Mutex::new(json!({
            "issuer": issuer,
            "authorization_endpoint": format!("{issuer}/authorize"),
            "token_endpoint": format!("{issuer}/token"),
            "jwks_uri": format!("{issuer}/jwks"),
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            // It claims to sign with nothing at all, too.
            "id_token_signing_alg_values_supported": ["ES256", "none", "HS256"],
        })));
        let (told, shown) = (said.clone(), metadata.clone());
        let token = move || {
            let id_token = told.lock().clone();
            async move {
                Json(json!({"access_token": "a", "token_type": "Bearer", "id_token": id_token,
                    "note": "what the provider said"}))
            }
        };
        let discovery = move || {
            let metadata = shown.lock().clone();
            async move { Json(metadata) }
        };
        let router = axum::Router::new()
            .route("/.well-known/openid-configuration", get(discovery))
            .route("/jwks", get(move || async move { Json(json!({"keys": [jwk]})) }))
            .route("/token", post(token));
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        let other_key = self::key();
        Forger { issuer, key, other_key, said, metadata }
    }

    pub fn answer_with(&self, id_token: String) {
        *self.said.lock() = id_token;
    }

    pub fn lead(&self, endpoint: &str, there: &str) {
        self.metadata.lock()[endpoint] = json!(there);
    }
}

/// How a token is signed.
#[derive(Clone, Copy)]
enum Signed {
    Good,
    ByAnother,
    Not,
    /// With the client's secret, which is no proof of the provider.
    Shared,
    /// As `none`, with the signature of a good one.
    Stripped,
}

/// An ID token: what differs from a good one.
pub struct Token {
    claims: Value,
    signed: Signed,
    nonce: bool,
}

impl Token {
    /// Every token and the status it gets.
    pub fn table(forger: &Forger) -> Vec<(&'static str, Token, u16)> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let base = json!({"iss": forger.issuer, "sub": "li", "aud": "graygate", "iat": now, "exp": now + 300,
            "groups": ["staff"]});
        let of = |changes: Value, signed, nonce| {
            let mut claims = base.clone();
            for (key, value) in changes.as_object().unwrap() {
                match value.is_null() {
                    true => drop(claims.as_object_mut().unwrap().remove(key)),
                    false => claims[key] = value.clone(),
                }
            }
            Token { claims, signed, nonce }
        };
        let none = || json!({});
        vec![
            ("a good one", of(none(), Signed::Good, true), 200),
            ("unsigned", of(none(), Signed::Not, true), 401),
            ("alg none with a signature", of(none(), Signed::Stripped, true), 401),
            ("signed by another key", of(none(), Signed::ByAnother, true), 401),
            ("signed with the client's secret", of(none(), Signed::Shared, true), 401),
            ("another issuer", of(json!({"iss": "https://evil.example"}), Signed::Good, true), 401),
            ("another audience", of(json!({"aud": "other"}), Signed::Good, true), 401),
            ("two audiences", of(json!({"aud": ["graygate", "other"]}), Signed::Good, true), 401),
            ("no audience", of(json!({"aud": null}), Signed::Good, true), 401),
            ("expired", of(json!({"exp": now - 5, "iat": now - 300}), Signed::Good, true), 401),
            ("without an end", of(json!({"exp": null}), Signed::Good, true), 401),
            ("of another sign-in", of(json!({"nonce": "other"}), Signed::Good, false), 401),
            ("of no sign-in", of(none(), Signed::Good, false), 401),
            ("without a subject", of(json!({"sub": null}), Signed::Good, true), 401),
            ("an empty subject", of(json!({"sub": ""}), Signed::Good, true), 401),
            ("no group that is named", of(json!({"groups": ["others"]}), Signed::Good, true), 403),
        ]
    }

    pub fn made(&self, forger: &Forger, nonce: &str) -> String {
        let mut claims = self.claims.clone();
        if self.nonce {
            claims["nonce"] = json!(nonce);
        }
        let alg = match self.signed {
            Signed::Good | Signed::ByAnother => "ES256",
            Signed::Not | Signed::Stripped => "none",
            Signed::Shared => "HS256",
        };
        let header = json!({"alg": alg, "kid": "1"});
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let text = format!("{}.{}", encode(&header), encode(&claims));
        let sign =
            |key: &EcdsaKeyPair| key.sign(&SystemRandom::new(), text.as_bytes()).unwrap().as_ref().to_vec();
        let signature = match self.signed {
            Signed::Good | Signed::Stripped => sign(&forger.key),
            Signed::ByAnother => sign(&forger.other_key),
            Signed::Not => Vec::new(),
            Signed::Shared => {
                let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, super::SECRET.as_bytes());
                ring::hmac::sign(&key, text.as_bytes()).as_ref().to_vec()
            }
        };
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}
