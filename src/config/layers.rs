//! Putting the layers together: defaults < file < environment < flags.
//!
//! Every value that a layer sets becomes a [`Setting`] with its origin. Each is tried alone on top
//! of the defaults, so that what is wrong with it is told with the place it came from; then all
//! are laid over the defaults in order, and the whole is checked.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

use super::error::{ConfigError, Origin, Problem, Problems};
use super::file::{self, Found};
use super::schema::Schema;
use super::text;

/// What every variable of Quorate begins with.
const PREFIX: &str = "QUORATE_";

/// A configuration that can be put together from layers. `Default` holds the defaults.
pub trait Layered: Serialize + DeserializeOwned + Default {
    /// A value in which every key is filled in, also those that have no default; a map that takes
    /// any key has the one key `*`. Which keys are known is told from this.
    fn complete() -> Self;

    /// Notes what is wrong between values that are each well-formed.
    fn check(&self, problems: &mut Problems);

    /// The effective values as TOML. Secrets are hidden.
    ///
    /// # Errors
    /// `Print`, which would be a defect of the configuration type.
    fn print(&self) -> Result<String, ConfigError> {
        toml::to_string_pretty(self).map_err(ConfigError::Print)
    }
}

/// Where a configuration comes from, the defaults aside.
#[derive(Debug, Default)]
pub struct Sources {
    file: Option<PathBuf>,
    variables: Vec<(String, String)>,
    flags: Vec<(Origin, String, String)>,
}

impl Sources {
    /// A TOML file, which must exist.
    pub fn file(mut self, path: Option<impl Into<PathBuf>>) -> Self {
        self.file = path.map(Into::into);
        self
    }

    /// Environment variables: `QUORATE_` and the key in capitals with `_` for every dot, such as
    /// `QUORATE_API_LISTEN` for `api.listen`. Lists are written with commas or as TOML, other
    /// composite values as TOML. An empty variable counts as not set. An unknown variable is an
    /// error if it begins with a section of the configuration or is nearly a known one; others
    /// belong to someone else, as do those that Kubernetes makes for a service (`…_PORT`).
    pub fn env(mut self, variables: impl IntoIterator<Item = (String, String)>) -> Self {
        self.variables = variables
            .into_iter()
            .filter(|(name, value)| name.starts_with(PREFIX) && !value.is_empty())
            .collect();
        // A fixed order, so that the same mistakes give the same message.
        self.variables.sort_unstable();
        self
    }

    /// `--set key=value` flags. Values are written as in variables.
    pub fn set<'a>(mut self, assignments: impl IntoIterator<Item = &'a str>) -> Self {
        for assignment in assignments {
            let (key, value) = assignment.split_once('=').unwrap_or((assignment, ""));
            let key = key.trim();
            self.flags.push((
                Origin::Flag(format!("--set {key}")),
                key.to_owned(),
                value.trim().to_owned(),
            ));
        }
        self
    }

    /// A flag with a name of its own for `key`, where it was given. `flag` is as it is typed.
    pub fn flag(mut self, flag: &str, key: &str, value: Option<impl ToString>) -> Self {
        if let Some(value) = value {
            self.flags
                .push((Origin::Flag(flag.to_owned()), key.to_owned(), value.to_string()));
        }
        self
    }

    /// Puts the layers together and checks the result.
    ///
    /// # Errors
    /// [`ConfigError`], with all the problems that were found.
    pub fn load<T: Layered>(self) -> Result<T, ConfigError> {
        let mut layers = Layers::new(Schema::new(
            Table::try_from(T::complete()).map_err(ConfigError::Print)?,
        ));
        if let Some(path) = &self.file {
            layers.read_file(path)?;
        }
        for (name, value) in self.variables {
            layers.read_variable(&name, &value);
        }
        for (origin, key, value) in self.flags {
            layers.read_text(&key, &value, origin);
        }
        layers.finish()
    }
}

/// A value that a layer sets.
struct Setting {
    path: Vec<String>,
    value: Value,
    origin: Origin,
}

struct Layers {
    schema: Schema,
    settings: Vec<Setting>,
    problems: Vec<Problem>,
}

impl Layers {
    fn new(schema: Schema) -> Self {
        Layers {
            schema,
            settings: Vec::new(),
            problems: Vec::new(),
        }
    }

    fn problem(&mut self, key: impl Into<String>, origin: Origin, reason: impl Into<String>) {
        self.problems.push(Problem {
            key: key.into(),
            origin: Some(origin),
            reason: reason.into(),
        });
    }

    fn unknown(&mut self, key: &str, origin: Origin) {
        let nearest = self.schema.nearest(key);
        self.problem(
            key,
            origin,
            format!("is not a known key; the nearest one is `{nearest}`"),
        );
    }

    fn read_file(&mut self, path: &Path) -> Result<(), ConfigError> {
        for found in file::read(path, &self.schema)? {
            match found {
                Found::Value { path, value, origin } => self.settings.push(Setting { path, value, origin }),
                Found::Unknown { key, origin } => self.unknown(&key, origin),
                Found::Section { key, origin } => self.problem(key, origin, text::IS_SECTION),
            }
        }
        Ok(())
    }

    fn read_variable(&mut self, name: &str, value: &str) {
        let variable = |path: &str| format!("{PREFIX}{}", path.replace('.', "_").to_uppercase());
        let settable = self.schema.settable();
        let origin = Origin::Variable(name.to_owned());
        if let Some(key) = settable.iter().find(|path| variable(path) == name) {
            return self.read_text(key, value, origin);
        }
        let mut sections = settable
            .iter()
            .filter_map(|path| path.split_once('.'))
            .map(|(section, _)| section);
        let ours = sections.any(|section| name.starts_with(&format!("{}_", variable(section))));
        let nearest = settable
            .iter()
            .min_by_key(|path| strsim::damerau_levenshtein(&variable(path), name))
            .cloned();
        let Some(nearest) = nearest else { return };
        let near = strsim::damerau_levenshtein(&variable(&nearest), name) <= 2;
        if (ours || near) && !is_service_variable(name) {
            let known = variable(&nearest);
            self.problem(
                name,
                origin,
                format!("is not a known variable; the nearest one is `{known}`"),
            );
        }
    }

    fn read_text(&mut self, key: &str, text: &str, origin: Origin) {
        let Some((path, node)) = self.schema.find(key) else {
            return self.unknown(key, origin);
        };
        let path = path.into_iter().map(str::to_owned).collect();
        match text::parse(text, &node) {
            Ok(value) => self.settings.push(Setting { path, value, origin }),
            Err(reason) => self.problem(key, origin, reason),
        }
    }

    fn finish<T: Layered>(mut self) -> Result<T, ConfigError> {
        let defaults = Table::try_from(T::default()).map_err(ConfigError::Print)?;
        let mut effective = defaults.clone();
        let mut origins = BTreeMap::new();
        for Setting { path, value, origin } in self.settings {
            let mut alone = defaults.clone();
            put(&mut alone, &path, value.clone());
            put(&mut effective, &path, value);
            let key = path.join(".");
            if let Err(error) = alone.try_into::<T>() {
                let reason = format!("is wrong: {}", error.message());
                self.problems.push(Problem {
                    key: key.clone(),
                    origin: Some(origin.clone()),
                    reason,
                });
            }
            origins.insert(key, origin);
        }
        if !self.problems.is_empty() {
            return Err(ConfigError::Problems(self.problems));
        }
        let wrong = |key: &str, reason: String| Problem {
            key: key.to_owned(),
            origin: origins.get(key).cloned(),
            reason,
        };
        let config: T = effective.try_into().map_err(|error| {
            ConfigError::Problems(vec![wrong("configuration", error.message().to_owned())])
        })?;
        let mut problems = Problems::default();
        config.check(&mut problems);
        let problems: Vec<Problem> = problems
            .into_inner()
            .into_iter()
            .map(|(key, reason)| wrong(key, reason))
            .collect();
        if problems.is_empty() {
            Ok(config)
        } else {
            Err(ConfigError::Problems(problems))
        }
    }
}

/// Sets the value at a path, making the tables on the way.
fn put(table: &mut Table, path: &[String], value: Value) {
    match path {
        [] => {}
        [key] => {
            table.insert(key.clone(), value);
        }
        [key, rest @ ..] => {
            let inner = table
                .entry(key.clone())
                .or_insert_with(|| Value::Table(Table::new()));
            if let Value::Table(inner) = inner {
                put(inner, rest, value);
            }
        }
    }
}

/// Kubernetes gives every container such variables for every service; a service `quorate-api` must
/// not keep a manager from starting.
fn is_service_variable(name: &str) -> bool {
    name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || name.ends_with("_PORT")
        || name.contains("_PORT_")
}
