//! The files the pages need: one style sheet, one script, one picture.
//!
//! Owns: their bytes, names and headers. A name carries the hash of what it names, so a browser keeps it for ever and asks
//! for another one after an upgrade. Never: a file that is not ours.

use std::io::Write as _;
use std::sync::LazyLock;

use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{HeaderMap, HeaderValue, header};
use sha2::{Digest as _, Sha256};

use crate::error::{Error, Result};

/// For a year: the name changes with the content.
const FOREVER: &str = "public, max-age=31536000, immutable";
/// Hex digits of a hash in a name: enough to tell versions apart.
const HASH_DIGITS: usize = 12;

/// A file as it is served.
pub struct Asset {
    /// With the hash, without a folder.
    pub name: String,
    kind: &'static str,
    plain: &'static [u8],
    packed: Vec<u8>,
}

/// All of them.
pub struct Assets {
    pub style: Asset,
    pub script: Asset,
    pub icon: Asset,
}

pub static ASSETS: LazyLock<Assets> = LazyLock::new(|| Assets {
    style: Asset::of(("console", "css"), "text/css; charset=utf-8", include_bytes!("assets/console.css")),
    script: Asset::of(
        ("console", "js"),
        "text/javascript; charset=utf-8",
        include_bytes!("assets/console.js"),
    ),
    icon: Asset::of(("icon", "svg"), "image/svg+xml", include_bytes!("assets/icon.svg")),
});

impl Asset {
    fn of((stem, ending): (&str, &str), kind: &'static str, plain: &'static [u8]) -> Asset {
        let hash = hex::encode(Sha256::digest(plain));
        let hash = hash.get(..HASH_DIGITS).unwrap_or(&hash);
        Asset { name: format!("{stem}.{hash}.{ending}"), kind, plain, packed: pack(plain) }
    }
}

fn pack(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    // Writing into memory does not fail; if it did, an empty result is never chosen below.
    encoder.write_all(plain).and_then(|()| encoder.finish()).unwrap_or_default()
}

/// Tells one build's pages from another's.
pub fn build() -> String {
    let Assets { style, script, .. } = &*ASSETS;
    format!("{}-{}", style.name, script.name)
}

pub async fn serve(Path(name): Path<String>, headers: HeaderMap) -> Result<Response> {
    let Assets { style, script, icon } = &*ASSETS;
    let found = [style, script, icon].into_iter().find(|asset| asset.name == name);
    let asset = found.ok_or_else(|| Error::not_found(format!("static/{name}")))?;
    let accepted =
        headers.get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let takes_gzip = accepted.split(',').any(|item| item.trim().split(';').next() == Some("gzip"));
    let is_packed = takes_gzip && !asset.packed.is_empty();
    let mut response = match is_packed {
        true => asset.packed.clone().into_response(),
        false => asset.plain.into_response(),
    };
    let set = response.headers_mut();
    set.insert(header::CONTENT_TYPE, HeaderValue::from_static(asset.kind));
    set.insert(header::CACHE_CONTROL, HeaderValue::from_static(FOREVER));
    set.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    if is_packed {
        set.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    Ok(response)
}
