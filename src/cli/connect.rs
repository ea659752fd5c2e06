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
    /// The API token (others on this machine can see arguments: prefer --token-file) [env: QUORATE_TOKEN]
    // Read from the environment by hand: an option wins over any variable, whichever of the two it is.
    #[arg(long, global = true, conflicts_with = "token_file")]
    token: Option<String>,
    /// A file that holds the API token [env: QUORATE_TOKEN_FILE]
    #[arg(long, global = true, value_name = "FILE")]
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
        self.client_at(Path::new(DEV_DIR))
    }

    fn client_at(&self, here: &Path) -> Result<Client, Failure> {
        let dir = self.directory(here);
        let endpoints = self.endpoints(dir.as_deref())?;
        let mut builder = Client::builder().endpoints(endpoints.iter().cloned());
        if let Some(token) = self.token(dir.as_deref(), |name| std::env::var(name).ok())? {
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

    /// The directory that was named, or the one that happens to be here. That one's token is for its
    /// own managers only: it must not be sent to whatever else was asked for.
    fn directory(&self, here: &Path) -> Option<PathBuf> {
        let asked = self.dir.clone().filter(|dir| !dir.as_os_str().is_empty());
        let found = || Some(here.to_owned()).filter(|dir| self.given_endpoints().is_empty() && dir.is_dir());
        asked.or_else(found)
    }

    fn given_endpoints(&self) -> Vec<String> {
        let given = self.endpoint.iter().map(|text| text.trim().to_owned());
        given.filter(|text| !text.is_empty()).collect()
    }

    fn endpoints(&self, dir: Option<&Path>) -> Result<Vec<String>, Failure> {
        let given = self.given_endpoints();
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

    /// Options first, then the environment, then the directory.
    fn token(
        &self,
        dir: Option<&Path>,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<String>, Failure> {
        let variable = |name| variable(name).filter(|value| !value.trim().is_empty());
        let given = self.token.clone().filter(|token| !token.trim().is_empty());
        let no_option = given.is_none() && self.token_file.is_none();
        if let Some(token) = given.or_else(|| variable("QUORATE_TOKEN").filter(|_| no_option)) {
            return Ok(Some(token));
        }
        let file = self.token_file.clone();
        let file = file.or_else(|| variable("QUORATE_TOKEN_FILE").map(PathBuf::from));
        match self.given(&file, dir, "admin.token") {
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
    fn the_token_of_the_directory_here_is_not_for_other_managers() {
        let here = tempfile::tempdir().unwrap();
        fs::write(here.path().join("endpoints"), "http://127.0.0.1:7400\n").unwrap();
        fs::write(here.path().join("admin.token"), "qat_here\n").unwrap();
        let token = |connect: &Connect| {
            let dir = connect.directory(here.path());
            connect.token(dir.as_deref(), |_| None).unwrap()
        };
        assert_eq!(token(&connect(None, &[])).unwrap().trim(), "qat_here");
        assert_eq!(token(&connect(None, &["https://other:7400"])), None);
        // Named, it is meant.
        let named = connect(Some(here.path()), &["https://other:7400"]);
        assert_eq!(token(&named).unwrap().trim(), "qat_here");
    }

    #[test]
    fn options_win_over_the_environment() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str| {
            fs::write(dir.path().join(name), name).unwrap();
            dir.path().join(name)
        };
        let (option, variable) = (file("file-option"), file("file-variable"));
        for (token, token_file, set, expected) in [
            (Some("option"), None, vec!["QUORATE_TOKEN_FILE"], "option"),
            (Some("option"), None, vec!["QUORATE_TOKEN"], "option"),
            (
                None,
                Some(option),
                vec!["QUORATE_TOKEN", "QUORATE_TOKEN_FILE"],
                "file-option",
            ),
            (
                None,
                None,
                vec!["QUORATE_TOKEN", "QUORATE_TOKEN_FILE"],
                "variable",
            ),
            (None, None, vec!["QUORATE_TOKEN_FILE"], "file-variable"),
        ] {
            let connect = Connect {
                token: token.map(str::to_owned),
                token_file,
                ..connect(None, &[])
            };
            let environment = |name: &str| {
                let value = match name {
                    "QUORATE_TOKEN" => "variable".to_owned(),
                    _ => variable.display().to_string(),
                };
                Some(value).filter(|_| set.contains(&name))
            };
            assert_eq!(connect.token(None, environment).unwrap().unwrap(), expected);
        }
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
