//! A single manager for the tests of this file, on a directory of its own.

use std::{sync::Arc, time::Duration};

use quorate::{
    client::Client,
    config::{ManagerConfig, Sources},
    consensus, node, security,
};
use tempfile::TempDir;
use tokio::{task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::ports::Ports;

/// How long anything may take before a test calls it stuck.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub struct Manager {
    pub endpoint: String,
    pub token: String,
    pub ca: String,
    shutdown: CancellationToken,
    running: JoinHandle<()>,
    _dir: TempDir,
    _ports: Ports,
}

impl Manager {
    /// Starts a manager and waits until it serves.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// With these settings besides, each `key=value`.
    pub async fn start_with(more: &[&str]) -> Self {
        security::install_crypto();
        let dir = tempfile::tempdir().unwrap();
        let bundle = dir.path().join("bundle");
        let made = security::Bundle::create(&bundle).unwrap();
        let ports = Ports::take(3);
        let port = ports.first;
        let data = dir.path().join("data");
        let settings = [
            format!("data_dir={}", data.display()),
            format!("bootstrap.dir={}", bundle.display()),
            format!("api.listen=127.0.0.1:{port}"),
            format!("peers.listen=127.0.0.1:{}", port + 1),
            format!("sessions.listen=127.0.0.1:{}", port + 2),
        ];
        let config: ManagerConfig = Sources::default()
            .set(settings.iter().map(String::as_str).chain(more.iter().copied()))
            .load()
            .unwrap_or_else(|error| panic!("{error:?}"));
        let shutdown = CancellationToken::new();
        let ends = shutdown.clone();
        let running = tokio::spawn(async move {
            let fatal: consensus::Fatal = Arc::new(|why| panic!("the manager ended: {why:?}"));
            let metrics = Arc::new(|| "figures\n".to_owned());
            node::run(config, metrics, fatal, ends).await.unwrap();
        });
        let manager = Self {
            endpoint: format!("https://127.0.0.1:{port}"),
            token: made.admin.to_string(),
            ca: std::fs::read_to_string(bundle.join("ca.pem")).unwrap(),
            shutdown,
            running,
            _dir: dir,
            _ports: ports,
        };
        manager.until_bootstrapped().await;
        manager
    }

    async fn until_bootstrapped(&self) {
        let client = self.client();
        let serves = async {
            while !client
                .cluster_status()
                .await
                .is_ok_and(|s| s.cluster_id.is_some())
            {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, serves).await.expect("the manager serves");
    }

    /// A client with the administrator's token.
    pub fn client(&self) -> Client {
        self.client_with(&self.token)
    }

    pub fn client_with(&self, token: &str) -> Client {
        let builder = Client::builder().endpoint(&self.endpoint).ca_pem(&self.ca);
        builder.token(token).build().unwrap()
    }

    /// Bare HTTP, for what the client would never send.
    pub fn http(&self) -> Http {
        let roots = reqwest::Certificate::from_pem(self.ca.as_bytes()).unwrap();
        let client = reqwest::Client::builder()
            .add_root_certificate(roots)
            .no_proxy()
            .build()
            .unwrap();
        Http {
            client,
            base: self.endpoint.clone(),
            token: self.token.clone(),
        }
    }

    pub async fn stop(self) {
        self.shutdown.cancel();
        timeout(PATIENCE, self.running).await.expect("it stops").unwrap();
    }
}

pub struct Http {
    client: reqwest::Client,
    base: String,
    pub token: String,
}

/// What was answered, with the body as JSON where it is.
pub struct Answer {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    pub fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

impl Http {
    pub async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<reqwest::Body>,
    ) -> Answer {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let mut request = self
            .client
            .request(method, format!("{}{path}", self.base))
            .body(body);
        if !headers.iter().any(|(name, _)| *name == "authorization") {
            request = request.bearer_auth(&self.token);
        }
        for (name, value) in headers {
            request = request.header(*name, value.as_bytes());
        }
        let response = timeout(PATIENCE, request.send())
            .await
            .expect("an answer comes")
            .unwrap();
        Answer {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            body: response.bytes().await.unwrap().to_vec(),
        }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], "").await
    }
}
