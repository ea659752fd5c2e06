//! What an engine can do inside a running container, each with its time limit.

use std::{fmt, future::Future, io, path::Path, time::Duration};

use bollard::{
    body_try_stream,
    container::LogOutput,
    exec::{CreateExecOptions, StartExecOptions, StartExecResults},
    models::{ContainerInspectResponse, ExecInspectResponse},
    query_parameters::{
        DownloadFromContainerOptionsBuilder, TopOptionsBuilder, UploadToContainerOptionsBuilder,
    },
};
use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt as _};
use tokio::{
    io::{AsyncWrite, AsyncWriteExt as _},
    time::timeout,
};

use super::{
    archive::{self, First},
    connection::{CallError, Connection, limited},
};

/// For the binary to go over.
const UPLOAD: Duration = Duration::from_secs(60);

/// For a short program to end.
const PROGRAM: Duration = Duration::from_secs(20);

/// What of a program's output is kept.
const MOST_OUTPUT: usize = 4 << 10;

/// Why something did not work inside a container.
#[derive(Debug, thiserror::Error)]
pub(super) enum InsideError {
    #[error(transparent)]
    Call(#[from] CallError),
    #[error("it took longer than {0:?}")]
    TooLong(Duration),
    #[error("the binary can't be read: {0}")]
    Binary(#[from] io::Error),
    #[error("{0}")]
    Failed(String),
}

/// A running container of an engine.
#[derive(Clone)]
pub(super) struct Inside {
    pub connection: Connection,
    pub container: String,
}

impl fmt::Debug for Inside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Inside({})", self.container)
    }
}

/// A program to run.
pub(super) struct Run<'a> {
    pub command: &'a [String],
    pub env: Vec<String>,
}

impl Inside {
    /// What the engine knows of it.
    pub(super) async fn inspect(&self) -> Result<ContainerInspectResponse, CallError> {
        self.connection.inspect(&self.container).await
    }

    /// What an image was made for, as engines call it; `None` when it does not say.
    pub(super) async fn machine_of(&self, image: &str) -> Option<String> {
        let image = limited(self.connection.docker.inspect_image(image)).await.ok()?;
        image.architecture.filter(|machine| !machine.is_empty())
    }

    /// The command lines of its processes. What runs has some: none at all is no answer.
    pub(super) async fn processes(&self) -> Result<Vec<String>, InsideError> {
        let options = TopOptionsBuilder::new().ps_args("-eo pid,args").build();
        let docker = &self.connection.docker;
        let told = limited(docker.top_processes(&self.container, Some(options))).await?;
        let rows = told.processes.unwrap_or_default();
        let lines: Vec<_> = rows
            .into_iter()
            .filter_map(|row| row.into_iter().last())
            .collect();
        if lines.is_empty() {
            return Err(InsideError::Failed(
                "the engine tells none of its processes".into(),
            ));
        }
        Ok(lines)
    }

    /// The first of a file's bytes. A link is not followed: whoever may write here could make it lead to
    /// what only others may read.
    pub(super) async fn read(&self, path: &str, most: usize) -> Result<Vec<u8>, InsideError> {
        match self.first(path, most).await? {
            First::File(content) => Ok(content),
            First::Link(_) => Err(InsideError::Failed(format!("{path} is a link"))),
        }
    }

    /// The first of the bytes of a file, or of the one that a link of this name leads to.
    pub(super) async fn read_linked(&self, path: &str, most: usize) -> Result<Vec<u8>, InsideError> {
        match self.first(path, most).await? {
            First::File(content) => Ok(content),
            First::Link(to) if to.starts_with('/') => self.read(&to, most).await,
            First::Link(to) => {
                // Engines let no path out of the container.
                let beside = path.rsplit_once('/').map_or("", |(directory, _)| directory);
                self.read(&format!("{beside}/{to}"), most).await
            }
        }
    }

    async fn first(&self, path: &str, most: usize) -> Result<First, InsideError> {
        let options = DownloadFromContainerOptionsBuilder::new().path(path).build();
        let docker = &self.connection.docker;
        let parts = docker.download_from_container(&self.container, Some(options));
        let first = within(PROGRAM, archive::first(parts, most)).await?;
        first.ok_or_else(|| InsideError::Failed(format!("{path} is no file")))
    }

    /// Unpacks these headers, and the file's content for the last one, under a directory. Goes to what
    /// the container's own root and volumes hold, not to what is mounted over them in it.
    pub(super) async fn upload(
        &self,
        under: &str,
        headers: Vec<Bytes>,
        path: &Path,
        size: u64,
    ) -> Result<(), InsideError> {
        let (file, found) = archive::open(path).await?;
        if found != size {
            return Err(InsideError::Failed("the binary has just changed".into()));
        }
        let options = UploadToContainerOptionsBuilder::new().path(under).build();
        let docker = self.connection.docker.clone().with_timeout(UPLOAD);
        let body = body_try_stream(archive::stream(headers, file, size));
        within(
            UPLOAD,
            docker.upload_to_container(&self.container, Some(options), body),
        )
        .await
    }

    /// Runs a program to its end and gives its output.
    pub(super) async fn run(&self, run: Run<'_>) -> Result<String, InsideError> {
        let id = self.create(run, Attached::Output).await?;
        let (output, _) = self.attach(&id).await?;
        let said = timeout(PROGRAM, collect(output))
            .await
            .map_err(|_| InsideError::TooLong(PROGRAM))?;
        self.ended(&id, said).await
    }

    /// Runs a program to its end with a file as its input, and gives its output.
    pub(super) async fn feed(&self, run: Run<'_>, path: &Path) -> Result<String, InsideError> {
        let (mut file, _) = archive::open(path).await?;
        let id = self.create(run, Attached::Both).await?;
        let (output, mut input) = self.attach(&id).await?;
        let send = async {
            let sent = tokio::io::copy(&mut file, &mut input).await;
            // Its end is what the program waits for.
            let closed = input.shutdown().await;
            sent.and(closed)
        };
        let mut said = Box::pin(collect(output));
        let both = async {
            tokio::select! {
                // It has ended already, and takes nothing any more.
                said = &mut said => (said, Ok(())),
                sent = send => (said.await, sent),
            }
        };
        let (said, sent) = timeout(UPLOAD, both)
            .await
            .map_err(|_| InsideError::TooLong(UPLOAD))?;
        // What it says of a failure is worth more than that nobody took its input.
        let said = self.ended(&id, said).await?;
        sent?;
        Ok(said)
    }

    /// Starts a program that goes on by itself; gives the engine's id of the start, or `None` when the engine
    /// did not say whether it started it.
    pub(super) async fn start(&self, run: Run<'_>) -> Result<Option<String>, InsideError> {
        let id = self.create(run, Attached::Nothing).await?;
        let options = StartExecOptions {
            detach: true,
            ..StartExecOptions::default()
        };
        match limited(self.connection.docker.start_exec(&id, Some(options))).await {
            Ok(_) => Ok(Some(id)),
            Err(error) if error.is_unknown() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// How a started program is.
    pub(super) async fn look(&self, id: &str) -> Result<ExecInspectResponse, CallError> {
        limited(self.connection.docker.inspect_exec(id)).await
    }

    async fn create(&self, run: Run<'_>, attached: Attached) -> Result<String, InsideError> {
        let output = attached != Attached::Nothing;
        let options = CreateExecOptions {
            attach_stdin: Some(attached == Attached::Both),
            attach_stdout: Some(output),
            attach_stderr: Some(output),
            env: Some(run.env),
            cmd: Some(run.command.to_vec()),
            ..CreateExecOptions::default()
        };
        let made = limited(self.connection.docker.create_exec(&self.container, options)).await?;
        Ok(made.id)
    }

    async fn attach(&self, id: &str) -> Result<(Output, Input), InsideError> {
        match limited(self.connection.docker.start_exec(id, None::<StartExecOptions>)).await? {
            StartExecResults::Attached { output, input } => Ok((output, input)),
            StartExecResults::Detached => Err(InsideError::Failed("the engine gave no output".into())),
        }
    }

    /// What a program that has ended said, if it ended well.
    async fn ended(&self, id: &str, said: String) -> Result<String, InsideError> {
        match self.look(id).await?.exit_code {
            Some(0) => Ok(said),
            code => Err(InsideError::Failed(of_end(code, &said))),
        }
    }
}

type Output = BoxStream<'static, Result<LogOutput, bollard::errors::Error>>;
type Input = std::pin::Pin<Box<dyn AsyncWrite + Send>>;

/// What of a program is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Attached {
    Nothing,
    Output,
    Both,
}

/// How a program ended, in words.
pub(super) fn of_end(code: Option<i64>, said: &str) -> String {
    let code = code.map_or_else(|| "unknown".to_owned(), |code| code.to_string());
    let said: String = said
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .chars()
        .filter(|c| !c.is_control())
        .take(240)
        .collect();
    if said.is_empty() {
        format!("exit code {code}")
    } else {
        format!("exit code {code}: {said}")
    }
}

async fn collect(mut output: Output) -> String {
    let mut said = Vec::new();
    while let Some(part) = output.next().await {
        match part {
            // The rest is read too: the program would wait for it.
            Ok(part) if said.len() < MOST_OUTPUT => said.extend_from_slice(&part.into_bytes()),
            Ok(_) => {}
            Err(error) => {
                if said.is_empty() {
                    said = CallError::from(error).to_string().into_bytes();
                }
                break;
            }
        }
    }
    said.truncate(MOST_OUTPUT);
    String::from_utf8_lossy(&said).into_owned()
}

async fn within<T>(
    limit: Duration,
    call: impl Future<Output = Result<T, bollard::errors::Error>>,
) -> Result<T, InsideError> {
    let answer = timeout(limit, call)
        .await
        .map_err(|_| InsideError::TooLong(limit))?;
    answer.map_err(|error| CallError::from(error).into())
}
