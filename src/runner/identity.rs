//! Who this runner is: its container's id, key and certificate, in one file that is there whole or
//! not at all.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};

use super::pace::Tour;
use crate::{
    model::ContainerId,
    security::{
        Leaf, RUNNER_LIFETIME, SecurityError, Trust,
        files::{self, Access},
    },
};

const FILE: &str = "identity.json";

/// When in its life a certificate is renewed: a random point between these shares (DESIGN section 12),
/// so that runners that joined together do not renew together.
const RENEW: std::ops::Range<f64> = 0.5..0.8;

/// The file's content. All of it is as secret as the key.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    container: ContainerId,
    ca: String,
    chain: String,
    key: String,
}

/// A usable identity.
#[derive(Debug)]
pub(super) struct Identity {
    pub container: ContainerId,
    pub trust: Trust,
    pub leaf: Leaf,
    /// When the certificate ends.
    pub not_after: SystemTime,
    /// When to ask for the next one.
    pub renew_at: SystemTime,
}

impl Identity {
    /// Puts an identity together and keeps it.
    ///
    /// # Errors
    /// When the certificate is not this container's or not the key's, or the file can't be written.
    pub(super) fn keep(
        dir: &Path,
        container: ContainerId,
        ca: &str,
        chain: String,
        key: String,
    ) -> Result<Self, SecurityError> {
        let kept = Kept {
            container,
            ca: ca.to_owned(),
            chain,
            key,
        };
        let identity = Self::from_kept(&kept)?;
        let text = serde_json::to_vec_pretty(&kept).map_err(|e| SecurityError::Content {
            path: dir.join(FILE),
            reason: e.to_string(),
        })?;
        files::write(&dir.join(FILE), &text, Access::Secret)?;
        Ok(identity)
    }

    /// Reads what an earlier start kept, if there is anything.
    ///
    /// # Errors
    /// When the file is there and not usable.
    pub(super) fn load(dir: &Path) -> Result<Option<Self>, SecurityError> {
        let path = dir.join(FILE);
        if !path.exists() {
            return Ok(None);
        }
        let unusable = |reason: String| SecurityError::Content {
            path: path.clone(),
            reason: format!("{reason}; remove it to join anew"),
        };
        let kept: Kept = serde_json::from_str(&files::read(&path)?).map_err(|e| unusable(e.to_string()))?;
        Self::from_kept(&kept)
            .map(Some)
            .map_err(|e| unusable(e.to_string()))
    }

    /// Removes what was kept, so that the next start joins anew.
    ///
    /// # Errors
    /// When the file can't be removed.
    pub(super) fn forget(dir: &Path) -> Result<(), SecurityError> {
        let path = dir.join(FILE);
        fs::remove_file(&path).map_err(|source| SecurityError::Write { path, source })
    }

    fn from_kept(kept: &Kept) -> Result<Self, SecurityError> {
        let leaf = Leaf::from_pem(&kept.chain, &kept.key)?;
        let identity = leaf.identity()?;
        if identity.name != kept.container.to_string() {
            return Err(SecurityError::Refused(format!(
                "the certificate is {}'s, not {}'s",
                identity.name, kept.container
            )));
        }
        let begin = identity
            .not_after
            .checked_sub(RUNNER_LIFETIME)
            .unwrap_or(identity.not_after);
        let share = rand::Rng::random_range(&mut rand::rng(), RENEW);
        Ok(Self {
            container: kept.container,
            trust: Trust::from_pem(&kept.ca)?,
            leaf,
            not_after: identity.not_after,
            renew_at: begin + RUNNER_LIFETIME.mul_f64(share),
        })
    }

    /// Whether managers no longer take the certificate.
    pub(super) fn expired(&self) -> bool {
        self.not_after <= SystemTime::now()
    }

    /// How long until the next certificate is to be asked for.
    pub(super) fn renew_in(&self) -> Duration {
        self.renew_at
            .duration_since(SystemTime::now())
            .unwrap_or_default()
    }
}

/// The managers of a [`Tour`], kept for the next start.
#[derive(Debug)]
pub(super) struct Managers {
    file: PathBuf,
    tour: Tour,
}

impl Managers {
    pub(super) fn load(dir: &Path, configured: Vec<String>) -> Self {
        let file = dir.join("managers.json");
        // A file that can't be read costs nothing: it is written again by the next session.
        let told = files::read(&file)
            .ok()
            .and_then(|text| serde_json::from_str(&text).ok());
        let mut tour = Tour::new(configured);
        tour.learn(told.unwrap_or_default());
        Self { file, tour }
    }

    /// Takes and keeps what a manager told of all of them.
    pub(super) fn learn(&mut self, told: Vec<String>) {
        if self.tour.learn(told)
            && let Ok(text) = serde_json::to_vec(self.tour.all())
            && let Err(error) = files::write(&self.file, &text, Access::Public)
        {
            tracing::warn!(%error, "the managers' addresses are not kept");
        }
    }

    /// The one to use.
    pub(super) fn current(&self) -> &str {
        self.tour.current()
    }

    /// Whether none is known.
    pub(super) fn are_none(&self) -> bool {
        self.tour.all().is_empty()
    }

    /// Goes on with this one, if it is known.
    pub(super) fn turn_to(&mut self, address: &str) {
        self.tour.turn_to(address);
    }

    /// As [`Tour::failed`].
    pub(super) fn failed(&mut self, after: Duration) -> Option<Duration> {
        self.tour.failed(after)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::security::{Ca, KeyRequest};

    #[test]
    fn an_identity_is_kept_whole_and_secret() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Identity::load(dir.path()).unwrap().is_none());
        let ca = Ca::generate("one").unwrap();
        let (id, other) = (ContainerId(7), ContainerId(8));
        let request = KeyRequest::generate().unwrap();
        let chain = ca.sign_runner(&request.csr_pem, &id.to_string()).unwrap();
        let keep =
            |id, key: &str| Identity::keep(dir.path(), id, ca.trust().pem(), chain.clone(), key.to_owned());
        let kept = keep(id, &request.key_pem).unwrap();
        let life = kept.not_after - RUNNER_LIFETIME;
        let share = kept.renew_at.duration_since(life).unwrap().as_secs_f64() / RUNNER_LIFETIME.as_secs_f64();
        assert!((0.5..0.8).contains(&share), "{share}");
        assert!(!kept.expired());

        // What does not belong together is refused and leaves what is kept.
        assert!(keep(other, &request.key_pem).is_err());
        assert!(keep(id, &KeyRequest::generate().unwrap().key_pem).is_err());
        let again = Identity::load(dir.path()).unwrap().unwrap();
        assert_eq!((again.container, again.not_after), (id, kept.not_after));
        let mode = std::fs::metadata(dir.path().join(FILE))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);

        std::fs::write(dir.path().join(FILE), "{").unwrap();
        let error = Identity::load(dir.path()).unwrap_err().to_string();
        assert!(error.contains(FILE) && error.contains("remove it"), "{error}");
    }

    #[test]
    fn managers_that_were_told_are_known_to_the_next_start() {
        let dir = tempfile::tempdir().unwrap();
        let mut managers = Managers::load(dir.path(), vec!["a:1".into()]);
        managers.learn(vec!["b:1".into(), "a:1".into(), "c:1".into()]);
        let again = Managers::load(dir.path(), vec!["a:1".into()]);
        assert_eq!((again.tour.all().len(), again.current()), (3, "a:1"));
    }
}
