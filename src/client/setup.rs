//! Setting a client up: endpoints, token, trust, time.

use std::{
    net::IpAddr,
    sync::{Arc, atomic::AtomicUsize},
    time::Duration,
};

use reqwest::{
    Url,
    header::{AUTHORIZATION, HeaderMap, HeaderValue},
};
use rustls::{ClientConfig, RootCertStore, crypto::ring};

use super::{Client, ClientError, Inner};

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(1);
/// Below the managers' own bound, so that a connection is not used while it is being closed.
const IDLE: Duration = Duration::from_secs(8);

#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// How long one manager may take to answer.
    pub attempt: Duration,
    /// How long managers are tried in all.
    pub total: Duration,
}

/// Collects what a [`Client`] needs.
#[derive(Clone)]
pub struct ClientBuilder {
    endpoints: Vec<String>,
    token: Option<String>,
    ca: Option<String>,
    limits: Limits,
    keys: bool,
}

impl std::fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientBuilder")
            .field("endpoints", &self.endpoints)
            .finish_non_exhaustive()
    }
}

impl Default for ClientBuilder {
    fn default() -> Self {
        Self {
            endpoints: Vec::new(),
            token: None,
            ca: None,
            limits: Limits {
                attempt: Duration::from_secs(5),
                total: Duration::from_secs(10),
            },
            keys: true,
        }
    }
}

impl ClientBuilder {
    /// Adds a manager: `https://host:port`, `host:port` (which means the same), or `http://` with a
    /// loopback address.
    #[must_use]
    pub fn endpoint(mut self, endpoint: impl Into<String>) -> Self {
        self.endpoints.push(endpoint.into());
        self
    }

    /// Adds managers.
    #[must_use]
    pub fn endpoints<T: Into<String>>(mut self, endpoints: impl IntoIterator<Item = T>) -> Self {
        self.endpoints.extend(endpoints.into_iter().map(Into::into));
        self
    }

    /// The API token, `qat_…`; line ends around it are left out.
    #[must_use]
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// The cluster's CA certificate, PEM. Needed for `https://`.
    #[must_use]
    pub fn ca_pem(mut self, pem: impl Into<String>) -> Self {
        self.ca = Some(pem.into());
        self
    }

    /// How long one manager may take to answer (5 s when not set).
    #[must_use]
    pub fn attempt_timeout(mut self, timeout: Duration) -> Self {
        self.limits.attempt = timeout;
        self
    }

    /// How long managers are tried in all (10 s when not set). With zero, each is tried once.
    #[must_use]
    pub fn retry_for(mut self, total: Duration) -> Self {
        self.limits.total = total;
        self
    }

    /// Sends writes without an idempotency key, unless the caller chooses one, and so repeats none that may
    /// have been taken. For fault injection, where what becomes of each single request is what counts; with
    /// one endpoint and [`retry_for`](Self::retry_for) zero, a call is one request to one manager.
    #[must_use]
    pub fn without_keys(mut self) -> Self {
        self.keys = false;
        self
    }

    /// Makes the client. Connects to nobody yet.
    ///
    /// # Errors
    /// [`ClientError::Setup`] when there is no endpoint, or one, the token or the CA is not usable.
    pub fn build(self) -> Result<Client, ClientError> {
        let endpoints = self
            .endpoints
            .iter()
            .map(|text| endpoint(text))
            .collect::<Result<Vec<_>, _>>()?;
        if endpoints.is_empty() {
            return Err(ClientError::Setup("no manager's address is known".into()));
        }
        let secure = endpoints.iter().any(|e| e.starts_with("https:"));
        if secure && self.ca.is_none() {
            return Err(ClientError::Setup(
                "the cluster's CA certificate is needed to trust a manager: it is `ca.pem` of its bundle or data directory".into(),
            ));
        }
        let mut headers = HeaderMap::new();
        if let Some(token) = &self.token {
            let mut value = HeaderValue::try_from(format!("Bearer {}", token.trim()))
                .map_err(|_| ClientError::Setup("the token holds characters that no token has".into()))?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let http = reqwest::Client::builder()
            .use_preconfigured_tls(trust(self.ca.as_deref())?)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT)
            .pool_idle_timeout(IDLE)
            .tcp_nodelay(true)
            .build()
            .map_err(|error| ClientError::Setup(format!("the HTTP client could not be made: {error}")))?;
        Ok(Client {
            inner: Arc::new(Inner {
                http,
                endpoints,
                preferred: AtomicUsize::new(0),
                headers,
                limits: self.limits,
                keys: self.keys,
            }),
        })
    }
}

/// `scheme://host:port`, without a path.
fn endpoint(text: &str) -> Result<String, ClientError> {
    let refused = |why: &str| {
        let shown: String = text.chars().take(120).collect();
        ClientError::Setup(format!("`{shown}` is not a manager's address: {why}"))
    };
    let whole = if text.contains("://") {
        text.trim().to_owned()
    } else {
        format!("https://{}", text.trim())
    };
    let url = Url::parse(&whole).map_err(|error| refused(&error.to_string()))?;
    let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    if !bare || !url.username().is_empty() || url.password().is_some() {
        return Err(refused("write `https://host:port`, and nothing else"));
    }
    let host = url.host_str().ok_or_else(|| refused("there is no host"))?;
    match url.scheme() {
        "https" => {}
        "http" if is_loopback(host) => {}
        "http" => {
            return Err(refused(
                "plain HTTP is for loopback addresses only, use `https://`",
            ));
        }
        _ => return Err(refused("write `https://host:port`")),
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

fn is_loopback(host: &str) -> bool {
    let address = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// TLS that trusts `ca` and nobody else.
fn trust(ca: Option<&str>) -> Result<ClientConfig, ClientError> {
    let unusable = |why: String| ClientError::Setup(format!("the CA certificate is not usable: {why}"));
    let mut roots = RootCertStore::empty();
    if let Some(pem) = ca {
        for certificate in rustls_pemfile::certs(&mut pem.as_bytes()) {
            let certificate = certificate.map_err(|error| unusable(error.to_string()))?;
            roots
                .add(certificate)
                .map_err(|error| unusable(error.to_string()))?;
        }
        if roots.is_empty() {
            return Err(unusable("there is no certificate in it".into()));
        }
    }
    let provider = Arc::new(ring::default_provider());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_secure_or_on_this_machine() {
        for (given, expected) in [
            ("10.0.0.1:7400", "https://10.0.0.1:7400"),
            ("https://m1.example:7400/", "https://m1.example:7400"),
            ("http://127.0.0.1:7400", "http://127.0.0.1:7400"),
            ("http://[::1]:7400", "http://[::1]:7400"),
            ("http://localhost:7400", "http://localhost:7400"),
        ] {
            assert_eq!(endpoint(given).unwrap(), expected);
        }
        for bad in [
            "",
            "http://10.0.0.1:7400",
            "ftp://127.0.0.1",
            "https://h:7400/api",
            "https://u:p@h:1",
            "https://h:99999",
            "a b:1",
        ] {
            assert!(endpoint(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let error = |builder: ClientBuilder| builder.build().unwrap_err().to_string();
        assert!(error(Client::builder()).contains("address"));
        assert!(error(Client::builder().endpoint("h:1")).contains("CA"));
        assert!(error(Client::builder().endpoint("h:1").ca_pem("x")).contains("CA certificate"));
        assert!(error(Client::builder().endpoint("http://127.0.0.1:1").token("a\nb")).contains("token"));
        assert!(Client::builder().endpoint("http://127.0.0.1:1").build().is_ok());
    }
}
