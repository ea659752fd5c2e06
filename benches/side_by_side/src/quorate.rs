//! Quorate: three managers with their defaults, spoken to through the HTTP API.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Method, Request, Response, StatusCode, Uri};
use serde::Deserialize;
use tokio::process::Command;

use crate::bundle::{self, Addresses};
use crate::cluster::{Client, MEMBERS, Status, System, Target};
use crate::connect::{Endpoint, Http1, Http2, free_ports};
use crate::options::{Sharing, Transport};
use crate::workload::{KEYS, VALUE_BYTES, key_name, value};

/// The bundle's directory, in that of the run.
const BUNDLE: &str = "bundle";

/// Three managers on loopback.
pub struct Quorate {
    binary: PathBuf,
    dir: PathBuf,
    managers: Vec<Arc<Manager>>,
    addresses: [Addresses; MEMBERS],
    sharing: Sharing,
}

/// Where a manager's API is, and what every request to it carries.
struct Manager {
    endpoint: Endpoint,
    host: HeaderValue,
    authorization: HeaderValue,
    status: Uri,
    /// The configs that are written and read, by key.
    configs: Vec<Uri>,
    value: Bytes,
}

impl Quorate {
    /// Makes the cluster's bundle and the managers' configuration files in `dir`, where their data is to be.
    ///
    /// # Errors
    /// No ports are free, or `quorate cluster init` fails.
    pub async fn prepare(binary: &Path, dir: &Path, transport: Transport, sharing: Sharing) -> Result<Self> {
        let ports: [u16; 3 * MEMBERS] = free_ports()?;
        let address = |port: usize| SocketAddr::from((Ipv4Addr::LOCALHOST, ports[port]));
        let addresses: [Addresses; MEMBERS] = std::array::from_fn(|manager| Addresses {
            api: address(3 * manager),
            peer: address(3 * manager + 1),
            session: address(3 * manager + 2),
        });
        let bundle = dir.join(BUNDLE);
        bundle::make(binary, &bundle).await?;
        for manager in 0..MEMBERS {
            let text = bundle::configuration(dir, &bundle, manager, &addresses, transport)?;
            let path = configuration_path(dir, manager);
            fs::write(&path, text).with_context(|| format!("{} cannot be written", path.display()))?;
        }
        let authorization = authorization(&bundle.join("admin.token"))?;
        let manager = |at: Addresses| {
            let endpoint = match (transport, sharing) {
                (Transport::Plain, _) => Endpoint::plain(at.api),
                (Transport::Tls, Sharing::Each) => Endpoint::tls(at.api, &bundle.join("ca.pem"), "http/1.1")?,
                (Transport::Tls, Sharing::Shared(_)) => Endpoint::tls(at.api, &bundle.join("ca.pem"), "h2")?,
            };
            Manager::new(endpoint, authorization.clone(), sharing).map(Arc::new)
        };
        let managers = addresses.into_iter().map(manager).collect::<Result<_>>()?;
        Ok(Self {
            binary: binary.to_owned(),
            dir: dir.to_owned(),
            managers,
            addresses,
            sharing,
        })
    }

    /// Where each manager listens.
    pub fn addresses(&self) -> &[Addresses; MEMBERS] {
        &self.addresses
    }

    /// A file of the cluster's bundle.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn bundled(&self, name: &str) -> Result<String> {
        let path = self.dir.join(BUNDLE).join(name);
        fs::read_to_string(&path).with_context(|| format!("{} cannot be read", path.display()))
    }
}

fn configuration_path(dir: &Path, manager: usize) -> PathBuf {
    dir.join(format!("manager-{}.toml", manager + 1))
}

fn authorization(token: &Path) -> Result<HeaderValue> {
    let token = fs::read_to_string(token).with_context(|| format!("{} cannot be read", token.display()))?;
    let mut value = HeaderValue::try_from(format!("Bearer {}", token.trim()))
        .context("the admin token is no header value")?;
    value.set_sensitive(true);
    Ok(value)
}

impl Manager {
    fn new(endpoint: Endpoint, authorization: HeaderValue, sharing: Sharing) -> Result<Self> {
        let origin = format!("{}://{}", endpoint.scheme(), endpoint.address);
        // HTTP/2 sends scheme and authority with each request, HTTP/1.1 the path and a Host header.
        let base = if sharing == Sharing::Each { "" } else { &origin };
        let uri = |path: &str| {
            format!("{base}/api/v1/{path}")
                .parse::<Uri>()
                .with_context(|| format!("{path} is no path"))
        };
        Ok(Self {
            host: HeaderValue::try_from(endpoint.address.to_string()).context("no host for a header")?,
            authorization,
            status: uri("cluster/status")?,
            configs: (0..KEYS)
                .map(|key| uri(&format!("configs/{}", key_name(key))))
                .collect::<Result<_>>()?,
            value: value(),
            endpoint,
        })
    }
}

impl Target for Quorate {
    type Client = QuorateClient;
    const SYSTEM: System = System::Quorate;

    fn command(&self, member: usize) -> Command {
        let mut command = bundle::clean_command(&self.binary);
        command
            .args(["manager", "--config"])
            .arg(configuration_path(&self.dir, member));
        command
    }

    async fn connect(&self, member: usize, count: usize) -> Result<Vec<QuorateClient>> {
        let manager = &self.managers[member];
        let connections = self.sharing.connections(count);
        let mut links = Vec::with_capacity(count);
        for _ in 0..connections {
            links.push(Link::open(&manager.endpoint, self.sharing).await?);
        }
        for shared in connections..count {
            let Link::Shared(sender) = &links[shared % connections] else {
                break;
            };
            links.push(Link::Shared(sender.clone()));
        }
        Ok(links
            .into_iter()
            .map(|link| QuorateClient {
                manager: Arc::clone(manager),
                link,
            })
            .collect())
    }

    async fn status(&self, member: usize) -> Result<Status> {
        #[derive(Deserialize)]
        struct ClusterStatus {
            leader: Option<u64>,
        }
        let manager = Arc::clone(&self.managers[member]);
        let link = Link::open(&manager.endpoint, self.sharing).await?;
        let path = manager.status.clone();
        let mut client = QuorateClient { manager, link };
        let (status, body) = client.call(Method::GET, path, Bytes::new()).await?;
        if status != StatusCode::OK {
            bail!("the cluster's status was answered {status}: {}", excerpt(&body));
        }
        let answer: ClusterStatus =
            serde_json::from_slice(&body).context("a cluster status of another shape")?;
        Ok(Status {
            id: member as u64 + 1,
            leader: answer.leader,
        })
    }
}

/// A client's way to its manager.
enum Link {
    /// A connection of its own. None while a request is under way: one that is dropped takes its half-used
    /// connection with it, and the next opens another.
    Own(Option<Http1>),
    /// A connection shared with other clients; a request that is dropped is reset by itself.
    Shared(Http2),
}

impl Link {
    async fn open(endpoint: &Endpoint, sharing: Sharing) -> Result<Self> {
        Ok(match sharing {
            Sharing::Each => Self::Own(Some(endpoint.open_http1().await?)),
            Sharing::Shared(_) => Self::Shared(endpoint.open_http2().await?),
        })
    }
}

/// One client of one manager, with one request under way at a time.
pub struct QuorateClient {
    manager: Arc<Manager>,
    link: Link,
}

impl QuorateClient {
    async fn call(&mut self, method: Method, uri: Uri, body: Bytes) -> Result<(StatusCode, Bytes)> {
        let mut request = Request::new(Full::new(body));
        let headers = request.headers_mut();
        headers.insert(AUTHORIZATION, self.manager.authorization.clone());
        if method == Method::PUT {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        }
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        match &mut self.link {
            Link::Own(slot) => {
                let mut sender = match slot.take() {
                    Some(sender) if !sender.is_closed() => sender,
                    _ => self.manager.endpoint.open_http1().await?,
                };
                request.headers_mut().insert(HOST, self.manager.host.clone());
                sender.ready().await.context("the connection is closed")?;
                let answer = read(sender.send_request(request).await).await?;
                *slot = Some(sender);
                Ok(answer)
            }
            Link::Shared(sender) => {
                if sender.is_closed() {
                    *sender = self.manager.endpoint.open_http2().await?;
                }
                sender.ready().await.context("the connection is closed")?;
                read(sender.send_request(request).await).await
            }
        }
    }
}

/// The whole answer.
async fn read(response: hyper::Result<Response<Incoming>>) -> Result<(StatusCode, Bytes)> {
    let response = response.context("a request failed")?;
    let status = response.status();
    let body = response
        .into_body()
        .collect()
        .await
        .context("an answer broke off")?;
    Ok((status, body.to_bytes()))
}

impl Client for QuorateClient {
    async fn put(&mut self, key: usize) -> Result<()> {
        let (path, value) = (self.manager.configs[key].clone(), self.manager.value.clone());
        let (status, body) = self.call(Method::PUT, path, value).await?;
        match status {
            StatusCode::OK | StatusCode::CREATED => Ok(()),
            _ => bail!("a put was answered {status}: {}", excerpt(&body)),
        }
    }

    async fn read(&mut self, key: usize) -> Result<()> {
        let path = self.manager.configs[key].clone();
        let (status, body) = self.call(Method::GET, path, Bytes::new()).await?;
        match status {
            StatusCode::OK if body.len() == VALUE_BYTES => Ok(()),
            StatusCode::OK => bail!("a read found {} bytes instead of the value written", body.len()),
            _ => bail!("a read was answered {status}: {}", excerpt(&body)),
        }
    }
}

/// The beginning of an answer, for an error message.
fn excerpt(body: &[u8]) -> String {
    String::from_utf8_lossy(&body[..body.len().min(200)]).into_owned()
}
