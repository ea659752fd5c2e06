//! Bringing a runner into a running container that has none: the static binary is copied in and
//! started there, as the container's own user. Its image stays as it is.
//!
//! Everything goes under `.quorate` in the first place that takes a program and lets it run: the root
//! directory, or where that is read-only a volume or a `tmpfs`. The runner's data directory is named by
//! the engine's id of the container, so that no other container takes its identity for its own. What it
//! keeps there it has again when the container is started again; a `tmpfs` is empty by then, and the runner
//! joins anew, with another key, and is given the same record.
//!
//! The data directory holds the runner's private key. Who can read it can be that runner: the container's
//! own user, whoever is given an image made of the container, and whoever gets its volume later. A volume
//! that another container has already is not used.
//!
//! The join token goes by the environment of the start, never by its arguments, which all can see.

use std::{sync::Arc, time::Duration};

use bollard::models::ContainerInspectResponse;
use tokio::time::sleep;

use super::{
    Endpoint, Program,
    archive::{self, Entry},
    connection::{CallError, Connection},
    inside::{Inside, InsideError, Run, of_end},
    place::{Place, places},
    resident::runner_in,
};
use crate::model::{MAY_ADOPT, Name, Selector};

/// Under which directory everything is.
const HOME: &str = ".quorate";

/// Where a runner says why it ended, in its data directory. `runner` writes it.
const LAST_WORDS: &str = "last-words";

/// How long a start is watched for an early end: this often, with such pauses.
const WATCHED: (u32, Duration) = (5, Duration::from_millis(200));

/// A user table is not larger.
const MOST_USERS: usize = 1 << 20;

/// What is to be brought where.
#[derive(Debug, Clone)]
pub struct Order {
    /// The engine's own id of the container.
    pub container: String,
    /// What the runner calls it.
    pub name: Name,
    /// Session addresses of managers, as that container reaches them.
    pub managers: Vec<String>,
    /// Only into a container with these labels.
    pub selector: Selector,
    /// What is brought.
    pub program: Arc<Program>,
}

/// What was found.
#[derive(Debug)]
pub enum Standing {
    /// The container does not run, or is paused: the engine will tell when it goes on.
    Idle,
    /// Its labels keep it out.
    Unmeant,
    /// A runner runs in it already.
    Taken {
        /// Whether it was brought there.
        brought: bool,
    },
    /// The binary is there and runs.
    Prepared(Box<Prepared>),
}

/// Why no runner could be brought in, for a person to act on.
#[derive(Debug, thiserror::Error)]
pub enum AdoptError {
    /// The engine does not do what it is asked for.
    #[error("its engine: {0}")]
    Engine(String),
    /// It can't be done in this container.
    #[error("{0}")]
    Impossible(String),
}

impl From<CallError> for AdoptError {
    fn from(error: CallError) -> Self {
        Self::Engine(error.to_string())
    }
}

impl From<InsideError> for AdoptError {
    fn from(error: InsideError) -> Self {
        Self::Impossible(error.to_string())
    }
}

/// A container with the binary in it, tried out.
#[derive(Debug)]
pub struct Prepared {
    inside: Inside,
    command: Vec<String>,
    data: String,
    /// Why the runner that was brought in before ended, if one was and said so.
    pub last_words: Option<String>,
}

/// Whether a container may be given a runner, by the labels that its engine tells of it.
pub fn is_meant<'a>(selector: &Selector, label: impl Fn(&str) -> Option<&'a str>) -> bool {
    label(MAY_ADOPT) != Some("false") && selector.holds(label)
}

/// Looks at the container and, if no runner is in it, copies the binary in and tries it out.
///
/// # Errors
/// [`AdoptError`]; nothing was started then.
pub async fn prepare(engine: &Endpoint, order: &Order) -> Result<Standing, AdoptError> {
    let inside = Inside {
        connection: Connection::open(engine)
            .await
            .map_err(|error| AdoptError::Engine(format!("{}: {error}", engine.url)))?,
        container: order.container.clone(),
    };
    let found = inside.inspect().await?;
    let state = found.state.clone().unwrap_or_default();
    if state.running != Some(true) || state.paused == Some(true) {
        return Ok(Standing::Idle);
    }
    let labels = found.config.as_ref().and_then(|config| config.labels.as_ref());
    let label = |key: &str| labels.and_then(|labels| labels.get(key)).map(String::as_str);
    // All of them: of a container with very many, only some are told while it is watched.
    if !is_meant(&order.selector, label) {
        return Ok(Standing::Unmeant);
    }
    let resident = runner_in(&inside, &found, HOME).await;
    let resident = resident.map_err(|error| {
        AdoptError::Engine(format!("it does not say what runs in the container: {error}"))
    })?;
    if let Some(brought) = resident {
        return Ok(Standing::Taken { brought });
    }
    check_machine(&inside, &found, &order.program).await?;
    let owner = owner(&inside, &found).await?;
    let places = places(&found);
    if places.is_empty() {
        return Err(AdoptError::Impossible(
            "its root is read-only, and it has no volume, and no tmpfs with `exec`, to put the binary in"
                .into(),
        ));
    }
    bring(inside, order, owner, places).await
}

/// Brings the binary to the first place that takes it.
async fn bring(
    inside: Inside,
    order: &Order,
    owner: u32,
    places: Vec<Place>,
) -> Result<Standing, AdoptError> {
    let mut failures = Vec::new();
    for place in places {
        if let Some(volume) = &place.volume
            && !inside.connection.has_alone(&inside.container, volume).await?
        {
            failures.push(format!(
                "in {}: another container has this volume too",
                place.path
            ));
            continue;
        }
        let way = Way::new(order, &place);
        let last_words = last_words(&inside, &way.data).await;
        match way.bring(&inside, &order.program, owner).await {
            Ok(()) => {
                return Ok(Standing::Prepared(Box::new(Prepared {
                    inside,
                    command: way.command,
                    data: way.data,
                    last_words,
                })));
            }
            Err(error) => failures.push(format!("in {}: {error}", place.path)),
        }
    }
    Err(AdoptError::Impossible(failures.join("; ")))
}

impl Prepared {
    /// Starts the runner, which joins with `token`, and sees whether it goes on. What the engine does not
    /// say is no failure: the runner may be there, and whoever looks next will see.
    ///
    /// # Errors
    /// [`AdoptError`] when it certainly did not start or has ended.
    pub async fn start(self, token: &str) -> Result<(), AdoptError> {
        let env = vec![
            format!("QUORATE_JOIN_TOKEN={token}"),
            // The container's own would exclude it; empty stands for none.
            "QUORATE_JOIN_TOKEN_FILE=".to_owned(),
        ];
        let run = Run {
            command: &self.command,
            env,
        };
        let Some(id) = self.inside.start(run).await? else {
            return Ok(());
        };
        for _ in 0..WATCHED.0 {
            sleep(WATCHED.1).await;
            let Ok(now) = self.inside.look(&id).await else {
                continue;
            };
            if now.running == Some(false) {
                let said = last_words(&self.inside, &self.data).await;
                let how = of_end(now.exit_code, &said.unwrap_or_default());
                return Err(AdoptError::Impossible(format!(
                    "its runner has ended at once: {how}"
                )));
            }
        }
        Ok(())
    }
}

async fn check_machine(
    inside: &Inside,
    found: &ContainerInspectResponse,
    program: &Program,
) -> Result<(), AdoptError> {
    let platform = found.platform.as_deref().unwrap_or_default();
    if !matches!(platform, "" | "linux") {
        return Err(AdoptError::Impossible(format!(
            "it is a {platform} container, and the binary is for linux"
        )));
    }
    let Some(image) = &found.image else {
        return Ok(());
    };
    match inside.machine_of(image).await {
        Some(theirs) if theirs != program.machine() => Err(AdoptError::Impossible(format!(
            "its image is for {theirs}, and the binary is for {}",
            program.machine()
        ))),
        _ => Ok(()),
    }
}

/// The id of the user that the container runs as.
async fn owner(inside: &Inside, found: &ContainerInspectResponse) -> Result<u32, AdoptError> {
    let user = found.config.as_ref().and_then(|config| config.user.as_deref());
    let user = user.unwrap_or_default();
    let name = user.split(':').next().unwrap_or_default();
    if name.is_empty() {
        return Ok(0);
    }
    if let Ok(id) = name.parse() {
        return Ok(id);
    }
    let users = inside.read_linked("/etc/passwd", MOST_USERS).await;
    let users = users.map_err(|error| {
        AdoptError::Impossible(format!(
            "it runs as the user {name:?}, and its /etc/passwd can't be read: {error}"
        ))
    })?;
    user_id(&String::from_utf8_lossy(&users), name).ok_or_else(|| {
        AdoptError::Impossible(format!(
            "it runs as the user {name:?}, whom its /etc/passwd does not have"
        ))
    })
}

/// A user's id in lines such as `name:x:1000:1000::/home/name:/bin/sh`.
fn user_id(users: &str, name: &str) -> Option<u32> {
    let mut fields = users.lines().map(|line| line.split(':'));
    let mut line = fields.find(|line| line.clone().next() == Some(name))?;
    line.nth(2)?.parse().ok()
}

/// How the runner is brought to one place.
struct Way {
    place: Place,
    binary: String,
    data: String,
    command: Vec<String>,
}

impl Way {
    fn new(order: &Order, place: &Place) -> Self {
        let home = format!("{}/{HOME}", place.path.trim_end_matches('/'));
        let binary = format!("{home}/quorate");
        let data = format!("{home}/{}", short(&order.container));
        let command = [
            binary.as_str(),
            "runner",
            "--data-dir",
            &data,
            "--name",
            &order.name,
            "--managers",
            &order.managers.join(","),
            "--set",
            &format!("adopted={}", order.container),
        ];
        Self {
            place: place.clone(),
            command: command.map(str::to_owned).to_vec(),
            binary,
            data,
        }
    }

    /// Copies the binary in and sees whether it runs there and takes its configuration.
    async fn bring(&self, inside: &Inside, program: &Program, owner: u32) -> Result<(), InsideError> {
        if self.place.by_shell {
            self.feed(inside, program).await?;
        } else {
            self.upload(inside, program, owner).await?;
        }
        let mut command = self.command.clone();
        command.push("--print-config".into());
        let run = Run {
            command: &command,
            env: Vec::new(),
        };
        inside.run(run).await.map(drop)
    }

    async fn upload(&self, inside: &Inside, program: &Program, owner: u32) -> Result<(), InsideError> {
        let (_, size) = archive::open(program.path()).await?;
        let data = self.data.rsplit('/').next().unwrap_or_default();
        let headers = [
            archive::header(&format!("{HOME}/"), Entry::Directory, 0o755, 0),
            archive::header(&format!("{HOME}/{data}/"), Entry::Directory, 0o700, owner),
            archive::header(&format!("{HOME}/quorate"), Entry::File(size), 0o755, 0),
        ];
        let headers = headers.into_iter().collect::<Option<Vec<_>>>();
        let headers = headers.ok_or_else(|| InsideError::Failed("the binary is too large".into()))?;
        inside
            .upload(&self.place.path, headers, program.path(), size)
            .await
    }

    /// With the container's own `sh`. The paths are arguments, so that no name is taken for a command.
    async fn feed(&self, inside: &Inside, program: &Program) -> Result<(), InsideError> {
        const SCRIPT: &str = "umask 077 && mkdir -p \"$2\" && cat > \"$1.new\" && chmod 755 \"$1.new\" && mv -f \"$1.new\" \"$1\"";
        let command = ["sh", "-c", SCRIPT, "sh", &self.binary, &self.data];
        let command = command.map(str::to_owned);
        let run = Run {
            command: &command,
            env: Vec::new(),
        };
        inside.feed(run, program.path()).await.map(drop)
    }
}

async fn last_words(inside: &Inside, data: &str) -> Option<String> {
    let said = inside.read(&format!("{data}/{LAST_WORDS}"), 512).await.ok()?;
    let said: String = String::from_utf8_lossy(&said)
        .chars()
        .filter(|c| !c.is_control())
        .collect();
    Some(said).filter(|said| !said.is_empty())
}

/// Enough of an engine's id to tell its containers apart.
fn short(container: &str) -> String {
    container.chars().take(12).collect()
}

#[cfg(test)]
#[path = "adopt_tests.rs"]
mod tests;
