//! The directory of a `quorate dev`, and what is written there.
//!
//! | file | what |
//! |---|---|
//! | `dev.toml` | what the cluster was made with |
//! | `bundle/` | what the managers start from |
//! | `admin.token`, `ca.pem`, `endpoints` | what a client needs; one URL a line |
//! | `manager-N.pid`, `runner-N.pid` | the process, while it runs |
//! | `manager-N.log`, `runner-N.log` | what it says |
//! | `manager-N/`, `runner-N/` | its configuration and data |

use std::{
    fs::{self, File},
    io,
    net::TcpListener,
    path::{Path, PathBuf},
    time::Duration,
};

use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use super::{DevArgs, child::Files, child::Kind};
use crate::{
    config::{
        Address, ApiConfig, BootstrapConfig, BootstrapPeer, ConfigError, Layered, ManagerConfig, PortConfig,
        RunnerConfig,
    },
    process::end,
    security::{
        ADMIN_TOKEN_FILE, Bundle, CA_CERT_FILE, JOIN_TOKEN_FILE, SecurityError,
        files::{self, Access},
    },
};

const MADE: &str = "dev.toml";
const HOST: &str = "127.0.0.1";
const DEFAULT_MANAGERS: u16 = 3;
const DEFAULT_PORT: u16 = 7400;

/// Between the ports of one manager and those of the next.
const STRIDE: u16 = 10;

/// How long processes of an earlier start may take to end.
const LEFTOVERS: Duration = Duration::from_secs(15);

/// Why the directory can't be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum PlaceError {
    #[error("{path} can't be used", path = .path.display())]
    File {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("another `quorate dev` runs on {}: stop it, or choose another directory with --data", .0.display())]
    Taken(PathBuf),
    #[error(
        "{} was made with --managers {} --port {}: leave these out, or choose another directory with --data",
        .dir.display(), .made.managers, .made.port
    )]
    Otherwise { dir: PathBuf, made: Made },
    #[error("port {port}, for {what}, is taken: stop what uses it, or choose other ports with --port")]
    Port { port: u16, what: String },
    #[error("another runner uses {}: stop it", .0.display())]
    Runner(PathBuf),
    #[error("--port {0} leaves no room for the ports of all managers below 65536")]
    NoRoom(u16),
    #[error(transparent)]
    Security(#[from] SecurityError),
    #[error(transparent)]
    Config(#[from] ConfigError),
}

impl PlaceError {
    /// The exit code.
    pub fn code(&self) -> u8 {
        match self {
            Self::Otherwise { .. } | Self::NoRoom(_) => end::USAGE,
            _ => end::FAILED,
        }
    }
}

/// What a cluster was made with, and keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Made {
    managers: u16,
    port: u16,
}

/// A directory that is ready to start from, held against another `quorate dev`.
#[derive(Debug)]
pub(super) struct Place {
    root: PathBuf,
    made: Made,
    runners: u16,
    plain: bool,
    _held: Flock<File>,
}

impl Place {
    /// Prepares the directory, new or known, and checks that the ports are free.
    pub async fn open(args: &DevArgs) -> Result<Self, PlaceError> {
        let root = std::path::absolute(&args.data).map_err(at(&args.data))?;
        files::make_dir(&root)?;
        let held = hold(&root)?;
        let made = made(&root, args)?;
        let place = Self {
            root,
            made,
            runners: args.runners,
            plain: args.plain,
            _held: held,
        };
        place.wait_for_ports().await?;
        place.write()?;
        Ok(place)
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn managers(&self) -> u16 {
        self.made.managers
    }

    pub fn runners(&self) -> u16 {
        self.runners
    }

    /// The URLs of the managers' APIs.
    pub fn endpoints(&self) -> Vec<String> {
        let scheme = if self.plain { "http" } else { "https" };
        let url = |number| format!("{scheme}://{HOST}:{}", self.port(number));
        (1..=self.managers()).map(url).collect()
    }

    /// The admin token and the CA's certificate, PEM.
    pub fn credentials(&self) -> io::Result<(String, String)> {
        let read = |file| fs::read_to_string(self.root.join(file));
        Ok((read(ADMIN_TOKEN_FILE)?, read(CA_CERT_FILE)?))
    }

    /// The files of a child.
    pub fn files(&self, kind: Kind, number: u16) -> Files {
        let name = kind.name(number);
        Files {
            config: self.config(kind, number),
            log: self.root.join(format!("{name}.log")),
            pid: self.root.join(format!("{name}.pid")),
        }
    }

    /// Removes the process ids once all have ended.
    pub fn forget_processes(&self) {
        for (kind, number) in self.children() {
            // One that is left over names no process and harms nobody.
            let _ = fs::remove_file(self.files(kind, number).pid);
        }
    }

    fn children(&self) -> impl Iterator<Item = (Kind, u16)> {
        let managers = (1..=self.managers()).map(|number| (Kind::Manager, number));
        managers.chain((1..=self.runners).map(|number| (Kind::Runner, number)))
    }

    /// The API port; peers and runners connect to the two above it.
    fn port(&self, manager: u16) -> u16 {
        self.made.port + STRIDE * (manager - 1)
    }

    fn data(&self, kind: Kind, number: u16) -> PathBuf {
        self.root.join(kind.name(number))
    }

    fn config(&self, kind: Kind, number: u16) -> PathBuf {
        self.data(kind, number).join(kind.config_file())
    }

    /// Processes of a `quorate dev` that was killed end a moment after it; others keep their ports.
    async fn wait_for_ports(&self) -> Result<(), PlaceError> {
        let left_over = self
            .children()
            .any(|(kind, number)| self.files(kind, number).pid.exists());
        let end = Instant::now() + LEFTOVERS;
        let mut said = false;
        loop {
            match self.check_ports().and_then(|()| self.check_runners()) {
                Err(error) if left_over && Instant::now() < end => {
                    if !said {
                        eprintln!("{error}; waiting, as processes of an earlier start may still be ending");
                        said = true;
                    }
                    sleep(Duration::from_millis(100)).await;
                }
                checked => return checked,
            }
        }
    }

    fn check_ports(&self) -> Result<(), PlaceError> {
        for manager in 1..=self.managers() {
            for (above, what) in (0..).zip(["the API", "the other managers", "the runners"]) {
                let port = self.port(manager) + above;
                if TcpListener::bind((HOST, port)).is_err() {
                    let what = format!("{what} of manager {manager}");
                    return Err(PlaceError::Port { port, what });
                }
            }
        }
        Ok(())
    }

    /// A runner that still runs holds its directory, and no port.
    fn check_runners(&self) -> Result<(), PlaceError> {
        for number in 1..=self.runners {
            let dir = self.data(Kind::Runner, number);
            let Ok(file) = File::options().write(true).open(dir.join("lock")) else {
                continue;
            };
            if Flock::lock(file, FlockArg::LockExclusiveNonblock).is_err() {
                return Err(PlaceError::Runner(dir));
            }
        }
        Ok(())
    }

    fn write(&self) -> Result<(), PlaceError> {
        let path = self.root.join(MADE);
        let made = toml::to_string(&self.made).map_err(|error| at(&path)(io::Error::other(error)))?;
        files::write(&path, made.as_bytes(), Access::Public)?;
        let bundle = self.root.join("bundle");
        // The certificate is written last: with it, the bundle is whole.
        if !bundle.join(CA_CERT_FILE).exists() {
            if bundle.exists() {
                fs::remove_dir_all(&bundle).map_err(at(&bundle))?;
            }
            Bundle::create(&bundle)?;
        }
        for (file, access) in [(ADMIN_TOKEN_FILE, Access::Secret), (CA_CERT_FILE, Access::Public)] {
            let content = files::read(&bundle.join(file))?;
            files::write(&self.root.join(file), content.as_bytes(), access)?;
        }
        let endpoints = self.endpoints().join("\n") + "\n";
        files::write(&self.root.join("endpoints"), endpoints.as_bytes(), Access::Public)?;
        for (kind, number) in self.children() {
            files::make_dir(&self.data(kind, number))?;
            let config = match kind {
                Kind::Manager => self.manager(number).print()?,
                Kind::Runner => self.runner(number).print()?,
            };
            files::write(&self.config(kind, number), config.as_bytes(), Access::Public)?;
        }
        Ok(())
    }

    fn manager(&self, number: u16) -> ManagerConfig {
        let address = |manager, above| Address::new(HOST, self.port(manager) + above);
        let port = |above| PortConfig {
            listen: address(number, above),
            advertise: None,
        };
        let peer = |manager| BootstrapPeer {
            id: u64::from(manager),
            api: address(manager, 0),
            peer: address(manager, 1),
            session: address(manager, 2),
        };
        let defaults = ManagerConfig::default();
        ManagerConfig {
            data_dir: self.data(Kind::Manager, number),
            name: Kind::Manager.name(number),
            api: ApiConfig {
                listen: address(number, 0),
                plain: self.plain,
                ..defaults.api
            },
            peers: port(1),
            sessions: port(2),
            bootstrap: BootstrapConfig {
                dir: Some(self.root.join("bundle")),
                id: Some(u64::from(number)),
                peers: (1..=self.managers()).map(peer).collect(),
                ..BootstrapConfig::default()
            },
            ..defaults
        }
    }

    fn runner(&self, number: u16) -> RunnerConfig {
        let session = |manager| Address::new(HOST, self.port(manager) + 2);
        RunnerConfig {
            data_dir: self.data(Kind::Runner, number),
            name: Kind::Runner.name(number),
            managers: (1..=self.managers()).map(session).collect(),
            join_token_file: Some(self.root.join("bundle").join(JOIN_TOKEN_FILE)),
            ..RunnerConfig::default()
        }
    }
}

fn at(path: &Path) -> impl Fn(io::Error) -> PlaceError {
    move |source| PlaceError::File {
        path: path.to_owned(),
        source,
    }
}

fn hold(root: &Path) -> Result<Flock<File>, PlaceError> {
    let path = root.join("lock");
    let mut options = File::options();
    let file = options.create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(at(&path))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|_| PlaceError::Taken(root.to_owned()))
}

/// What the directory was made with, or will be.
fn made(root: &Path, args: &DevArgs) -> Result<Made, PlaceError> {
    let path = root.join(MADE);
    let known: Option<Made> = match fs::read_to_string(&path) {
        Ok(text) => Some(toml::from_str(&text).map_err(|error| at(&path)(io::Error::other(error)))?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(at(&path)(error)),
    };
    let before = known.unwrap_or(Made {
        managers: DEFAULT_MANAGERS,
        port: DEFAULT_PORT,
    });
    let wanted = Made {
        managers: args.managers.unwrap_or(before.managers),
        port: args.port.unwrap_or(before.port),
    };
    if let Some(made) = known.filter(|made| *made != wanted) {
        let dir = root.to_owned();
        return Err(PlaceError::Otherwise { dir, made });
    }
    let last = u32::from(wanted.port) + u32::from(STRIDE * (wanted.managers - 1)) + 2;
    if last > u32::from(u16::MAX) {
        return Err(PlaceError::NoRoom(wanted.port));
    }
    Ok(wanted)
}
