//! What a runner finds when it looks at its container.
//!
//! It is a runner's word, and a runner may lie: [`Assessment::bounded`] makes of any assessment one that
//! can't fill the state, a log or a screen. Nothing here proves that a figure is true.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Resources, named::named};

/// What constraints call a declared capability: `capability/NAME`.
const CAPABILITY: &str = "capability/";

/// What constraints call an interpreter; its value is the version: `interpreter/NAME`.
const INTERPRETER: &str = "interpreter/";

/// Declared capabilities at most.
pub const MAX_DECLARED: usize = 64;

/// Bytes of a declared capability, or of an interpreter's name or version, at most.
const MAX_WORD: usize = 64;

const MAX_INTERPRETERS: usize = 32;
const MAX_GPUS: usize = 64;

/// Characters of any other text at most.
const MAX_TEXT: usize = 128;

/// More processors than any machine has.
const MAX_CPUS: u32 = 1 << 16;

/// More memory than any machine has: 1 PiB.
const MAX_MEMORY: u64 = 1 << 50;

/// More disk than any machine has: 1 EiB.
const MAX_DISK: u64 = 1 << 60;

/// How much of a disk has to become free or full until it is worth telling: a twentieth.
const DISK_STEPS: u64 = 20;

/// What a container has, as far as its runner can tell from inside.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct Assessment {
    /// Which look of this start of the runner it comes from; grows.
    pub number: u64,
    /// The kernel's release, such as `6.1.0`.
    #[serde(default)]
    pub kernel: String,
    /// Processors that the runner may run on.
    pub cpus: u32,
    /// The control group's quota, in thousandths of a processor; `None` without one.
    pub cpu_limit_millis: Option<u64>,
    /// Bytes of memory of the machine.
    pub memory_bytes: u64,
    /// The control group's limit, in bytes; `None` without one.
    pub memory_limit_bytes: Option<u64>,
    /// Size of the disk that the runner's data directory is on, in bytes.
    pub disk_bytes: u64,
    /// What of it the runner may still fill, in bytes.
    pub disk_free_bytes: u64,
    /// The GPUs whose devices are there, in words. None is an answer too.
    #[serde(default)]
    pub gpus: Vec<String>,
    /// The interpreters on the runner's `PATH`, and their versions; empty where one does not tell.
    #[serde(default)]
    pub interpreters: BTreeMap<String, String>,
    /// What the runner's configuration says that the container can do.
    #[serde(default)]
    pub declared: Vec<String>,
}

named!(
    Assessment,
    omit & [
        "kernel",
        "cpu_limit_millis",
        "memory_limit_bytes",
        "gpus",
        "interpreters",
        "declared"
    ]
);

impl Assessment {
    /// Whether `name` can be a declared capability: what a selector's key may be made of, and short.
    pub fn is_capability(name: &str) -> bool {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        !name.is_empty() && name.len() <= MAX_WORD && name.bytes().all(allowed)
    }

    /// Whether it says the same as `other`, whichever looks they are from. Disks fill all the time: only
    /// a twentieth of one is a difference.
    pub fn says_the_same(&self, other: &Self) -> bool {
        let alike = |one: &Self| Self {
            number: 0,
            disk_free_bytes: 0,
            ..one.clone()
        };
        let moved = self.disk_free_bytes.abs_diff(other.disk_free_bytes);
        moved <= self.disk_bytes / DISK_STEPS && alike(self) == alike(other)
    }

    /// What constraints may ask for under `key`: `capability/gpu`, `interpreter/python3`.
    pub fn fact(&self, key: &str) -> Option<&str> {
        if let Some(name) = key.strip_prefix(INTERPRETER) {
            return self.interpreters.get(name).map(String::as_str);
        }
        let name = key.strip_prefix(CAPABILITY)?;
        let found = name == "gpu" && !self.gpus.is_empty();
        (found || self.declared.iter().any(|declared| declared == name)).then_some("")
    }

    /// The same within all bounds, and the fields that were outside them.
    #[must_use]
    pub fn bounded(mut self) -> (Self, Vec<&'static str>) {
        let mut cut = Vec::new();
        let mut note = |is_cut: bool, field| {
            if is_cut && cut.last() != Some(&field) {
                cut.push(field);
            }
        };
        note(clean(&mut self.kernel, MAX_TEXT), "kernel");
        note(lower(&mut self.cpus, MAX_CPUS), "cpus");
        let most_cpu = u64::from(MAX_CPUS) * 1000;
        note(
            lower_some(&mut self.cpu_limit_millis, most_cpu),
            "cpu_limit_millis",
        );
        note(lower(&mut self.memory_bytes, MAX_MEMORY), "memory_bytes");
        let limit = &mut self.memory_limit_bytes;
        note(lower_some(limit, MAX_MEMORY), "memory_limit_bytes");
        note(lower(&mut self.disk_bytes, MAX_DISK), "disk_bytes");
        note(
            lower(&mut self.disk_free_bytes, self.disk_bytes),
            "disk_free_bytes",
        );
        note(self.gpus.len() > MAX_GPUS, "gpus");
        self.gpus.truncate(MAX_GPUS);
        for gpu in &mut self.gpus {
            note(clean(gpu, MAX_TEXT), "gpus");
        }
        let interpreters = self.interpreters.len();
        self.interpreters.retain(|name, _| Self::is_capability(name));
        while self.interpreters.len() > MAX_INTERPRETERS {
            self.interpreters.pop_last();
        }
        note(self.interpreters.len() < interpreters, "interpreters");
        for version in self.interpreters.values_mut() {
            note(clean(version, MAX_WORD), "interpreters");
        }
        let declared = self.declared.len();
        self.declared.retain(|name| Self::is_capability(name));
        self.declared.truncate(MAX_DECLARED);
        note(self.declared.len() < declared, "declared");
        (self, cut)
    }
}

impl Resources {
    /// No more than any machine has.
    #[must_use]
    pub fn bounded(self) -> Self {
        Self {
            cpu_millis: self.cpu_millis.min(u64::from(MAX_CPUS) * 1000),
            memory_bytes: self.memory_bytes.min(MAX_MEMORY),
        }
    }
}

/// Lowers a figure to `most`; gives whether it was above.
fn lower<T: Copy + Ord>(figure: &mut T, most: T) -> bool {
    let above = *figure > most;
    *figure = most.min(*figure);
    above
}

fn lower_some(figure: &mut Option<u64>, most: u64) -> bool {
    figure.as_mut().is_some_and(|figure| lower(figure, most))
}

/// Leaves no control characters in a text and no more than `most` characters; gives whether it had any.
fn clean(text: &mut String, most: usize) -> bool {
    let fine = text.chars().nth(most).is_none() && !text.chars().any(char::is_control);
    if !fine {
        *text = text.chars().filter(|c| !c.is_control()).take(most).collect();
    }
    !fine
}

#[cfg(test)]
mod tests {
    use super::*;

    fn honest() -> Assessment {
        Assessment {
            number: 3,
            kernel: "6.1.0-13-amd64".into(),
            cpus: 8,
            cpu_limit_millis: Some(500),
            memory_bytes: 16 << 30,
            memory_limit_bytes: Some(128 << 20),
            disk_bytes: 100 << 30,
            disk_free_bytes: 40 << 30,
            gpus: vec![],
            interpreters: [("python3".into(), "3.11.2".into())].into(),
            declared: vec!["camera".into()],
        }
    }

    #[test]
    fn an_honest_one_is_left_as_it_is() {
        assert_eq!(honest().bounded(), (honest(), vec![]));
    }

    #[test]
    fn a_lie_is_cut_to_what_can_be_kept_and_named() {
        let liar = Assessment {
            number: u64::MAX,
            kernel: format!("6.1\u{1b}[2J{}", "x".repeat(1 << 20)),
            cpus: u32::MAX,
            cpu_limit_millis: Some(u64::MAX),
            memory_bytes: u64::MAX,
            memory_limit_bytes: Some(u64::MAX),
            disk_bytes: u64::MAX,
            disk_free_bytes: u64::MAX,
            gpus: vec!["g\n".repeat(1 << 10); 1 << 12],
            interpreters: (0..1000)
                .map(|n| (format!("i{n}"), "9".repeat(1 << 12)))
                .chain([("../sh".to_owned(), String::new())])
                .collect(),
            declared: (0..100_000)
                .map(|n| format!("c{n}"))
                .chain(["a b".into()])
                .collect(),
        };
        let (kept, cut) = liar.bounded();
        let all = [
            "kernel",
            "cpus",
            "cpu_limit_millis",
            "memory_bytes",
            "memory_limit_bytes",
            "disk_bytes",
            "disk_free_bytes",
            "gpus",
            "interpreters",
            "declared",
        ];
        assert_eq!(cut, all);
        let size = postcard::to_stdvec(&kept).unwrap().len();
        assert!(size < 20_000, "{size} bytes are kept");
        let text = serde_json::to_string(&kept).unwrap();
        assert!(
            !text.contains("\\u001b") && !text.contains("\\n"),
            "no control characters"
        );
        assert_eq!((kept.disk_bytes, kept.memory_bytes), (MAX_DISK, MAX_MEMORY));
        assert_eq!(
            kept.clone().bounded(),
            (kept, vec![]),
            "what is kept is within the bounds"
        );
    }

    #[test]
    fn only_what_matters_is_a_difference() {
        let one = honest();
        let mut other = Assessment {
            number: 9,
            disk_free_bytes: one.disk_free_bytes - (4 << 30),
            ..one.clone()
        };
        assert!(one.says_the_same(&other), "a little less disk");
        other.disk_free_bytes -= 2 << 30;
        assert!(!one.says_the_same(&other));
        other = Assessment {
            interpreters: [("python3".into(), "3.12.0".into())].into(),
            ..one.clone()
        };
        assert!(!one.says_the_same(&other));
    }

    #[test]
    fn constraints_may_ask_for_what_was_declared_or_found() {
        let mut found = honest();
        let facts = |found: &Assessment| {
            [
                "capability/camera",
                "capability/gpu",
                "interpreter/python3",
                "interpreter/node",
                "camera",
            ]
            .map(|key| found.fact(key).map(str::to_owned))
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(facts(&found), [some(""), None, some("3.11.2"), None, None]);
        found.gpus.push("nvidia0".into());
        assert_eq!(facts(&found)[1], some(""));
    }
}
