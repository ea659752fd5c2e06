//! Which cluster, and as whom: options, environment, or the directory of a `quorate dev`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::Args;

use super::failure::Failure;
use crate::client::Client;

/// Taken when nothing else is said and it exists.
const DEV_DIR: &str = "quorate-dev";

/// Where to connect to.
#[derive(Clone, Args)]
#[command(next_help_heading = "Cluster")]
pub struct Connect {
    /// A manager's API, `https://host:port`; repeat it or join several by commas, a dead one is passed over
    #[arg(
        long,
        global = true,
        env = "QUORATE_ENDPOINT",
        value_delimiter = ',',
        value_name = "URL"
    )]
    endpoint: Vec<String>,
    /// The API token (others on this machine can see arguments: prefer --token-file)
    #[arg(
        long,
        global = true,
        env = "QUORATE_TOKEN",
        hide_env_values = true,
        conflicts_with = "token_file"
    )]
    token: Option<String>,
    /// A file that holds the API token
    #[arg(long, global = true, env = "QUORATE_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// The cluster's CA certificate, PEM
    #[arg(long, global = true, env = "QUORATE_CA", value_name = "FILE")]
    ca: Option<PathBuf>,
    /// The directory of a `quorate dev`, for whatever is not given otherwise [default: ./quorate-dev, if it exists]
    #[arg(long, global = true, env = "QUORATE_DIR")]
    dir: Option<PathBuf>,
}

impl std::fmt::Debug for Connect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connect")
            .field("endpoint", &self.endpoint)
            .field("dir", &self.dir)
            .finish_non_exhaustive()
    }
}

fn read(path: &Path, what: &str) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|error| {
        Failure::usage(
            format!("{what} {} can't be read: {error}", path.display()),
            "check the path and its permissions",
        )
    })
}

impl Connect {
    /// A client for what was asked for.
    ///
    /// # Errors
    /// A usage failure that names what is missing.
    pub(super) fn client(&self) -> Result<Client, Failure> {
        let dir = self.directory();
        let endpoints = self.endpoints(dir.as_deref())?;
        let mut builder = Client::builder().endpoints(endpoints.iter().cloned());
        if let Some(token) = self.token(dir.as_deref())? {
            builder = builder.token(token);
        }
        let plain = endpoints.iter().all(|endpoint| endpoint.starts_with("http://"));
        match self.given(&self.ca, dir.as_deref(), "ca.pem") {
            Some(path) => builder = builder.ca_pem(read(&path, "the CA certificate")?),
            None if plain => {}
            None => {
                return Err(Failure::usage(
                    "the cluster's CA certificate is not known",
                    "give it with --ca FILE or QUORATE_CA: it is `ca.pem` of the cluster's bundle or of a manager's data directory",
                ));
            }
        }
        Ok(builder.build()?)
    }

    fn directory(&self) -> Option<PathBuf> {
        let asked = self.dir.clone().filter(|dir| !dir.as_os_str().is_empty());
        asked.or_else(|| Some(PathBuf::from(DEV_DIR)).filter(|dir| dir.is_dir()))
    }

    fn endpoints(&self, dir: Option<&Path>) -> Result<Vec<String>, Failure> {
        let given: Vec<String> = self
            .endpoint
            .iter()
            .map(|text| text.trim().to_owned())
            .filter(|text| !text.is_empty())
            .collect();
        if !given.is_empty() {
            return Ok(given);
        }
        let Some(dir) = dir else {
            return Err(Failure::usage(
                "no manager's address is known",
                "give one with --endpoint https://host:port or QUORATE_ENDPOINT, or start a cluster here with `quorate dev`",
            ));
        };
        let text = read(&dir.join("endpoints"), "the list of managers")?;
        Ok(text.split_whitespace().map(str::to_owned).collect())
    }

    fn token(&self, dir: Option<&Path>) -> Result<Option<String>, Failure> {
        if let Some(token) = self.token.as_ref().filter(|token| !token.trim().is_empty()) {
            return Ok(Some(token.clone()));
        }
        match self.given(&self.token_file, dir, "admin.token") {
            Some(path) => read(&path, "the token file").map(Some),
            // `quorate cluster status` and the like still say clearly that a token is needed.
            None => Ok(None),
        }
    }

    /// A file that was named, or the one in the directory if that is where the managers come from.
    fn given(&self, named: &Option<PathBuf>, dir: Option<&Path>, file: &str) -> Option<PathBuf> {
        let named = named.clone().filter(|path| !path.as_os_str().is_empty());
        named.or_else(|| dir.map(|dir| dir.join(file)).filter(|path| path.exists()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connect(dir: Option<&Path>, endpoint: &[&str]) -> Connect {
        Connect {
            endpoint: endpoint.iter().map(|e| (*e).to_owned()).collect(),
            token: None,
            token_file: None,
            ca: None,
            dir: dir.map(Path::to_owned),
        }
    }

    #[test]
    fn a_dev_directory_is_all_that_is_needed() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(
            dir.path().join("endpoints"),
            "http://127.0.0.1:7400\nhttp://127.0.0.1:7410\n",
        )
        .unwrap();
        fs::write(dir.path().join("admin.token"), "qat_x\n").unwrap();
        let client = connect(Some(dir.path()), &[]).client().unwrap();
        assert_eq!(
            client.endpoints(),
            ["http://127.0.0.1:7400", "http://127.0.0.1:7410"]
        );
        let other = connect(Some(dir.path()), &["http://127.0.0.1:1"])
            .client()
            .unwrap();
        assert_eq!(other.endpoints(), ["http://127.0.0.1:1"]);
    }

    #[test]
    fn what_is_missing_is_a_usage_failure() {
        let empty = tempfile::tempdir().unwrap();
        let code = |connect: Connect| connect.client().unwrap_err().exit_code();
        assert_eq!(
            code(connect(Some(empty.path()), &[])),
            super::super::failure::USAGE
        );
        assert_eq!(
            code(connect(Some(empty.path()), &["h:1"])),
            super::super::failure::USAGE
        );
        assert_eq!(
            code(connect(None, &["http://10.0.0.1:1"])),
            super::super::failure::USAGE
        );
    }
}
