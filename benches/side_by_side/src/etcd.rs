//! etcd: three members with their defaults, spoken to through gRPC.
//!
//! The messages are the few fields of etcd's public `rpc.proto` that are needed here, by their field numbers.

use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use hyper::Uri;
use tokio::process::Command;

use crate::certificate::Certificates;
use crate::cluster::{Client, MEMBERS, Status, System, Target};
use crate::connect::{Endpoint, free_ports};
use crate::grpc::Channel;
use crate::options::{Sharing, Transport};
use crate::workload::{KEYS, VALUE_BYTES, key_name, value};

/// Above anything a turn writes, so that etcd never raises its space alarm.
const QUOTA_BYTES: u64 = 8 << 30;

#[derive(Clone, PartialEq, prost::Message)]
struct ResponseHeader {
    #[prost(uint64, tag = "2")]
    member_id: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PutRequest {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    value: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PutResponse {}

/// `serializable` (tag 7) is left at its default, false: the read is linearizable.
#[derive(Clone, PartialEq, prost::Message)]
struct RangeRequest {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RangeResponse {
    #[prost(message, repeated, tag = "2")]
    kvs: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct KeyValue {
    #[prost(bytes = "bytes", tag = "5")]
    value: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
struct StatusRequest {}

#[derive(Clone, PartialEq, prost::Message)]
struct StatusResponse {
    #[prost(message, optional, tag = "1")]
    header: Option<ResponseHeader>,
    #[prost(uint64, tag = "4")]
    leader: u64,
}

/// Three etcd members on loopback.
pub struct Etcd {
    binary: PathBuf,
    dir: PathBuf,
    certificates: Option<Certificates>,
    members: Vec<Arc<Member>>,
    peer_ports: [u16; MEMBERS],
    sharing: Sharing,
}

/// Where a member is, and the calls made to it.
struct Member {
    endpoint: Endpoint,
    put: Uri,
    range: Uri,
    status: Uri,
    keys: Arc<[Bytes]>,
    value: Bytes,
}

impl Etcd {
    /// Prepares members whose data is to be in `dir`.
    ///
    /// # Errors
    /// No ports are free, or certificates cannot be made.
    pub fn prepare(binary: &Path, dir: &Path, transport: Transport, sharing: Sharing) -> Result<Self> {
        let [client_1, client_2, client_3, peer_1, peer_2, peer_3] = free_ports()?;
        let certificates = match transport {
            Transport::Plain => None,
            Transport::Tls => Some(Certificates::write(dir)?),
        };
        let keys: Arc<[Bytes]> = (0..KEYS).map(|key| Bytes::from(key_name(key))).collect();
        let member = |port| {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            let endpoint = match &certificates {
                None => Endpoint::plain(address),
                Some(files) => Endpoint::tls(address, &files.authority, "h2")?,
            };
            Ok(Arc::new(Member::new(endpoint, Arc::clone(&keys))?))
        };
        Ok(Self {
            binary: binary.to_owned(),
            dir: dir.to_owned(),
            members: [client_1, client_2, client_3]
                .into_iter()
                .map(member)
                .collect::<Result<_>>()?,
            peer_ports: [peer_1, peer_2, peer_3],
            certificates,
            sharing,
        })
    }

    fn scheme(&self) -> &'static str {
        if self.certificates.is_some() {
            "https"
        } else {
            "http"
        }
    }

    fn peer_url(&self, member: usize) -> String {
        format!("{}://127.0.0.1:{}", self.scheme(), self.peer_ports[member])
    }
}

impl Member {
    fn new(endpoint: Endpoint, keys: Arc<[Bytes]>) -> Result<Self> {
        let method = |name: &str| {
            let uri = format!("{}://{}/etcdserverpb.{name}", endpoint.scheme(), endpoint.address);
            uri.parse::<Uri>().with_context(|| format!("{uri} is no URI"))
        };
        Ok(Self {
            put: method("KV/Put")?,
            range: method("KV/Range")?,
            status: method("Maintenance/Status")?,
            keys,
            value: value(),
            endpoint,
        })
    }
}

impl Target for Etcd {
    type Client = EtcdClient;
    const SYSTEM: System = System::Etcd;

    fn command(&self, member: usize) -> Command {
        let client_url = format!("{}://{}", self.scheme(), self.members[member].endpoint.address);
        let peer_url = self.peer_url(member);
        let cluster: Vec<String> = (0..MEMBERS)
            .map(|member| format!("m{}={}", member + 1, self.peer_url(member)))
            .collect();
        let mut command = Command::new(&self.binary);
        // Settings of the machine's own etcd are not meant for this one.
        let inherited: HashSet<String> = std::env::vars()
            .map(|(name, _)| name)
            .filter(|name| name.starts_with("ETCD_"))
            .collect();
        inherited.iter().for_each(|name| _ = command.env_remove(name));
        command
            .args(["--name", &format!("m{}", member + 1)])
            .arg("--data-dir")
            .arg(self.dir.join(format!("member-{}", member + 1)))
            .args([
                "--listen-client-urls",
                &client_url,
                "--advertise-client-urls",
                &client_url,
            ])
            .args([
                "--listen-peer-urls",
                &peer_url,
                "--initial-advertise-peer-urls",
                &peer_url,
            ])
            .args([
                "--initial-cluster",
                &cluster.join(","),
                "--initial-cluster-state",
                "new",
            ])
            .args(["--quota-backend-bytes", &QUOTA_BYTES.to_string()])
            .args(["--logger", "zap"]);
        if let Some(files) = &self.certificates {
            command
                .arg("--cert-file")
                .arg(&files.leaf)
                .arg("--key-file")
                .arg(&files.key);
            command
                .arg("--peer-cert-file")
                .arg(&files.leaf)
                .arg("--peer-key-file")
                .arg(&files.key);
            command
                .arg("--peer-trusted-ca-file")
                .arg(&files.authority)
                .arg("--peer-client-cert-auth");
        }
        command
    }

    async fn connect(&self, member: usize, count: usize) -> Result<Vec<EtcdClient>> {
        let member = &self.members[member];
        let connections = self.sharing.connections(count);
        let mut channels = Vec::with_capacity(connections);
        for _ in 0..connections {
            channels.push(Channel::open(&member.endpoint).await?);
        }
        let clients = channels.iter().cycle().take(count);
        Ok(clients
            .map(|channel| EtcdClient {
                member: Arc::clone(member),
                channel: channel.clone(),
            })
            .collect())
    }

    async fn status(&self, member: usize) -> Result<Status> {
        let member = &self.members[member];
        let mut channel = Channel::open(&member.endpoint).await?;
        let status: StatusResponse = channel.unary(&member.status, &StatusRequest {}).await?;
        let header = status.header.context("a status without a header")?;
        Ok(Status {
            id: header.member_id,
            leader: (status.leader != 0).then_some(status.leader),
        })
    }
}

/// One client of one member, over a connection it may share. An HTTP/2 stream that is dropped is reset by itself.
pub struct EtcdClient {
    member: Arc<Member>,
    channel: Channel,
}

impl EtcdClient {
    async fn reopen_if_closed(&mut self) -> Result<()> {
        if self.channel.is_closed() {
            self.channel = Channel::open(&self.member.endpoint).await?;
        }
        Ok(())
    }
}

impl Client for EtcdClient {
    async fn put(&mut self, key: usize) -> Result<()> {
        self.reopen_if_closed().await?;
        let request = PutRequest {
            key: self.member.keys[key].clone(),
            value: self.member.value.clone(),
        };
        let PutResponse {} = self.channel.unary(&self.member.put, &request).await?;
        Ok(())
    }

    async fn read(&mut self, key: usize) -> Result<()> {
        self.reopen_if_closed().await?;
        let request = RangeRequest {
            key: self.member.keys[key].clone(),
        };
        let answer: RangeResponse = self.channel.unary(&self.member.range, &request).await?;
        match answer.kvs.as_slice() {
            [found] if found.value.len() == VALUE_BYTES => Ok(()),
            _ => bail!("a read did not find the value written"),
        }
    }
}
