//! One connection to one endpoint, and the complete listing of a prefix.
//!
//! Owns: timeouts, limits and credentials of requests. Never: keeps state between connections; a caller that lost one
//! opens another, with passwords and certificates read again.

use super::held::{Listed, Listing};
use super::keyspace::{Part, Prefix};
use super::mirror::{Extent, Mirror};
use super::settings::{EtcdSettings, EtcdTls, Password};
use crate::update::SourceError;
use etcd_client::{
    Certificate, Client, ConnectOptions, GetOptions, Identity, KeyValue, KvClient, LeaseClient,
    MaintenanceClient, TlsOptions, WatchClient,
};
use std::error::Error;
use std::fs;
use std::future::Future;
use std::path::Path;
use std::time::Duration;

/// Until a connection stands, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// One request, one page of a listing included. A store that was paused answers late but well.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Pings on the connection. The server's patience with them is one in five seconds, and none while no request is
/// open, so these stay far from both.
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(4));
/// Largest answer that is taken. One value is at most 1.5 MiB, but a page or a catching-up watch carries many.
const MESSAGE_LIMIT: usize = 512 << 20;
/// Keys a page: the first guess, and the bounds within which it adapts to the size of values.
const PAGE: i64 = 250;
const PAGE_BOUNDS: (i64, i64) = (16, 4_000);
/// Pages grow below the first number of bytes and shrink above the second.
const PAGE_BYTES: (usize, usize) = (2 << 20, 16 << 20);
/// Most keys of a prefix.
const KEY_LIMIT: usize = 2_000_000;

/// An open connection; a clone is the same one, for a task of its own.
#[derive(Clone)]
pub(crate) struct Connection {
    endpoint: String,
    pub kv: KvClient,
    pub watch: WatchClient,
    pub lease: LeaseClient,
    pub maintenance: MaintenanceClient,
}

impl Connection {
    /// Connects to one endpoint and, with credentials, logs in.
    pub async fn open(settings: &EtcdSettings, endpoint: &str) -> Result<Connection, SourceError> {
        let options = options(settings)?;
        let login = settings.username.clone().zip(password(settings)?);
        let anonymous = Client::connect([endpoint], Some(options.clone()));
        let client = match login {
            None => within(endpoint, anonymous).await?,
            Some((user, password)) => {
                let known = options.with_user(user, password).with_auto_token_refresh(true);
                match within(endpoint, Client::connect([endpoint], Some(known))).await {
                    // Credentials for a store that asks for none are no reason to stay away from it.
                    Err(error) if error.to_string().contains("authentication is not enabled") => {
                        within(endpoint, anonymous).await?
                    }
                    other => other?,
                }
            }
        };
        Ok(Connection {
            endpoint: endpoint.to_owned(),
            kv: client.kv_client().max_decoding_message_size(MESSAGE_LIMIT),
            watch: client.watch_client().max_decoding_message_size(MESSAGE_LIMIT),
            lease: client.lease_client(),
            maintenance: client.maintenance_client(),
        })
    }

    /// Connects to the first endpoint that answers.
    pub async fn any(settings: &EtcdSettings) -> Result<Connection, SourceError> {
        let mut last = SourceError::Settings("at least one endpoint is needed".to_owned());
        for endpoint in &settings.endpoints {
            let opened = async {
                let connection = Connection::open(settings, endpoint).await?;
                // Connecting is lazy without credentials, so only an answer proves anything.
                connection.revision(&settings.keys()).await?;
                Ok(connection)
            };
            match opened.await {
                Ok(connection) => return Ok(connection),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Runs a request with the time limit, and names the endpoint in its error.
    pub async fn request<T>(
        &self,
        request: impl Future<Output = Result<T, etcd_client::Error>>,
    ) -> Result<T, SourceError> {
        within(&self.endpoint, request).await
    }

    /// The store's revision, asked with the smallest read there is.
    pub async fn revision(&self, prefix: &Prefix) -> Result<i64, SourceError> {
        let smallest = GetOptions::new().with_keys_only().with_limit(1);
        let mut kv = self.kv.clone();
        let answer = self.request(kv.get(prefix.as_str(), Some(smallest))).await?;
        Ok(answer.header().map_or(0, |header| header.revision()))
    }

    /// Lists both parts of the prefix page by page, all at the revision of the first page.
    pub async fn list(&self, prefix: &Prefix, extent: Extent) -> Result<Listing, SourceError> {
        let mut listing = Listing { revision: 0, keys: Vec::new() };
        for part in Part::ALL {
            self.list_part(prefix.range(part), extent, &mut listing).await?;
            if listing.keys.len() > KEY_LIMIT {
                return Err(self.failed(format!("more than {KEY_LIMIT} keys below `{}`", prefix.as_str())));
            }
        }
        Ok(listing)
    }

    async fn list_part(
        &self,
        (mut start, end): (Vec<u8>, Vec<u8>),
        extent: Extent,
        listing: &mut Listing,
    ) -> Result<(), SourceError> {
        let mut kv = self.kv.clone();
        let mut page = PAGE;
        loop {
            let options = page_options(&end, extent).with_limit(page).with_revision(listing.revision);
            let mut answer = self.request(kv.get(start, Some(options))).await?;
            if listing.revision == 0 {
                listing.revision = answer.header().map_or(0, |header| header.revision());
            }
            let more = answer.more();
            let found = answer.take_kvs();
            page = next_page(page, found.iter().map(|pair| pair.key().len() + pair.value().len()).sum());
            listing.keys.extend(found.into_iter().map(|pair| listed(pair, extent)));
            let last = listing.keys.last().filter(|_| more && listing.keys.len() <= KEY_LIMIT);
            let Some(last) = last else { return Ok(()) };
            // The next key possible behind the last one.
            start = [last.key.as_slice(), b"\0"].concat();
        }
    }

    /// Fetches what `mirror` does not have yet into a listing of keys alone.
    pub async fn complete(&self, listing: &mut Listing, mirror: &Mirror) -> Result<(), SourceError> {
        let mut kv = self.kv.clone();
        let revision = listing.revision;
        for one in listing.keys.iter_mut().filter(|one| !mirror.has(one)) {
            let options = GetOptions::new().with_revision(revision);
            let mut answer = self.request(kv.get(one.key.clone(), Some(options))).await?;
            let Some(pair) = answer.take_kvs().pop() else {
                return Err(self.failed("a listed key vanished at its own revision"));
            };
            one.value = Some(pair.into_key_value().1);
        }
        Ok(())
    }

    /// An error of this endpoint.
    pub fn failed(&self, message: impl Into<String>) -> SourceError {
        SourceError::Etcd { endpoint: self.endpoint.clone(), message: message.into() }
    }
}

fn page_options(end: &[u8], extent: Extent) -> GetOptions {
    let options = GetOptions::new().with_range(end);
    match extent {
        Extent::KeysAndValues => options,
        Extent::Keys => options.with_keys_only(),
    }
}

fn next_page(page: i64, bytes: usize) -> i64 {
    let wanted = match bytes {
        _ if bytes < PAGE_BYTES.0 => page * 2,
        _ if bytes > PAGE_BYTES.1 => page / 2,
        _ => page,
    };
    wanted.clamp(PAGE_BOUNDS.0, PAGE_BOUNDS.1)
}

fn listed(pair: KeyValue, extent: Extent) -> Listed {
    let (mod_revision, lease) = (pair.mod_revision(), pair.lease());
    let (key, value) = pair.into_key_value();
    Listed { key, mod_revision, lease, value: (extent == Extent::KeysAndValues).then_some(value) }
}

/// A request with the time limit. Every request has it: a paused server accepts connections and never answers.
async fn within<T>(
    endpoint: &str,
    request: impl Future<Output = Result<T, etcd_client::Error>>,
) -> Result<T, SourceError> {
    let message = match tokio::time::timeout(REQUEST_TIMEOUT, request).await {
        Ok(Ok(answer)) => return Ok(answer),
        Ok(Err(error)) => explain(&error),
        Err(_) => format!("no answer within {} seconds", REQUEST_TIMEOUT.as_secs()),
    };
    Err(SourceError::Etcd { endpoint: endpoint.to_owned(), message })
}

/// The words of an error and of what caused it; the outermost alone only says `transport error`.
pub(crate) fn explain(error: &etcd_client::Error) -> String {
    let (mut text, mut cause): (String, Option<&dyn Error>) = match error {
        etcd_client::Error::GRpcStatus(status) => (status.message().to_owned(), status.source()),
        etcd_client::Error::TransportError(error) => (error.to_string(), error.source()),
        other => (other.to_string(), None),
    };
    while let Some(error) = cause {
        let words = error.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        cause = error.source();
    }
    text
}

fn options(settings: &EtcdSettings) -> Result<ConnectOptions, SourceError> {
    let options = ConnectOptions::new()
        .with_connect_timeout(CONNECT_TIMEOUT)
        .with_keep_alive(KEEP_ALIVE.0, KEEP_ALIVE.1)
        .with_keep_alive_while_idle(false)
        // A member that lost its cluster says so instead of going silent.
        .with_require_leader(true);
    Ok(match &settings.tls {
        Some(tls) => options.with_tls(tls_options(tls)?),
        None => options,
    })
}

fn tls_options(tls: &EtcdTls) -> Result<TlsOptions, SourceError> {
    let mut options = TlsOptions::new();
    if let Some(ca) = &tls.ca {
        options = options.ca_certificate(Certificate::from_pem(read(ca)?));
    }
    if let (Some(certificate), Some(key)) = (&tls.certificate, &tls.key) {
        options = options.identity(Identity::from_pem(read(certificate)?, read(key)?));
    }
    if let Some(domain) = &tls.domain {
        options = options.domain_name(domain);
    }
    Ok(options)
}

fn password(settings: &EtcdSettings) -> Result<Option<String>, SourceError> {
    Ok(match &settings.password {
        None => None,
        Some(Password::Text(text)) => Some(text.clone()),
        Some(Password::File(path)) => {
            let text = String::from_utf8_lossy(&read(path)?).into_owned();
            Some(text.lines().next().unwrap_or_default().to_owned())
        }
    })
}

fn read(path: &Path) -> Result<Vec<u8>, SourceError> {
    fs::read(path).map_err(|error| SourceError::Io { path: path.to_owned(), error })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_adapt_to_the_size_of_values() {
        for (page, bytes, expected) in
            [(250, 0, 500), (250, 4 << 20, 250), (250, 20 << 20, 125), (4_000, 0, 4_000), (16, 400 << 20, 16)]
        {
            assert_eq!(next_page(page, bytes), expected, "{page} keys of {bytes} bytes");
        }
    }
}
