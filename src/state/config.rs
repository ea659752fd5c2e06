//! Configs: put, delete, read.

use std::{ops::Bound, sync::Arc};

use super::{Decision, State};
use crate::{
    command::{Condition, ConfigCommand, Kind, Outcome, Rejection},
    model::{Config, Name},
};

fn size(config: &Config) -> u64 {
    (config.name.len() + config.content_type.len() + config.value.len()) as u64
}

impl State {
    pub(super) fn decide_config(&mut self, command: &ConfigCommand) -> Decision {
        match command {
            ConfigCommand::Put {
                name,
                content_type,
                value,
                condition,
            } => {
                let old = self.configs.get(name).cloned();
                condition.check(old.as_ref().map(|c| c.version))?;
                let config = Config {
                    name: name.clone(),
                    content_type: content_type.clone(),
                    value: value.clone(),
                    version: self.revision,
                    created: old.as_ref().map_or(self.revision, |c| c.created),
                    updated_at: self.now,
                };
                self.config_bytes = self.config_bytes_after(old.as_deref().map_or(0, size), size(&config))?;
                self.configs.insert(name.clone(), Arc::new(config));
                Ok(Outcome::ConfigPut {
                    created: old.is_none(),
                })
            }
            ConfigCommand::Delete { name, condition } => self.delete_config(name, condition),
        }
    }

    fn delete_config(&mut self, name: &Name, condition: &Condition) -> Decision {
        let old = self.configs.get(name).cloned();
        condition.check(old.as_ref().map(|c| c.version))?;
        let old = old.ok_or_else(|| Rejection::NotFound {
            kind: Kind::Config,
            name: name.to_string(),
        })?;
        self.config_bytes -= size(&old);
        self.configs.remove(name);
        Ok(Outcome::Done)
    }

    /// A config by name.
    pub fn config(&self, name: &str) -> Option<&Arc<Config>> {
        self.configs.get(name)
    }

    /// Configs by name, from after `after` on.
    pub fn configs(&self, after: Option<&Name>) -> impl Iterator<Item = &Arc<Config>> {
        let from = after.map_or(Bound::Unbounded, |name| Bound::Excluded(name.clone()));
        self.configs
            .range((from, Bound::Unbounded))
            .map(|(_, config)| config)
    }

    pub(super) fn config_bytes_counted(&self) -> u64 {
        self.configs.values().map(|c| size(c)).sum()
    }
}
