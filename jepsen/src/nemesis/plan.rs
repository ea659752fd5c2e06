//! Which faults there are, by family, and what a run makes of the names it is given.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use anyhow::{Result, bail, ensure};

use super::clock::{ClockLeap, Leap};
use super::crash::Crash;
use super::damage::{Damage, Harm};
use super::disk::{DiskTrouble, Trouble};
use super::kill::Kill;
use super::leadership::{Rolling, Transfer};
use super::links::{Links, Weather};
use super::membership::{Change, Membership};
use super::partition::{Cut, Partition};
use super::pause::Pause;
use super::power::Power;
use super::runner::{Ill, RunnerTrouble};
use super::whom::Whom;
use super::{Fault, Tools};

/// The families, each with what it is.
pub const FAMILIES: [(&str, &str); 14] = [
    ("kill", "managers that are killed"),
    ("pause", "managers that stand still"),
    ("partition", "links that are cut"),
    ("links", "links that are slow, lossy, narrow or out of order"),
    ("clock", "wall clocks that jump"),
    ("power", "power cuts: what was not synced is lost"),
    ("disk", "disks that are full, slow or failing"),
    ("damage", "damaged logs and snapshots"),
    ("member", "managers that come, go and are replaced"),
    ("transfer", "leadership that is handed over"),
    ("crash", "managers that abort at a chosen step (needs failpoints)"),
    ("rolling", "managers that are restarted in turn"),
    (
        "runner",
        "runners that are cut off, stand still or are killed, while agents go on",
    ),
    (
        "everything",
        "kills, pauses, partitions, bad links, clocks and slow disks at once",
    ),
];

/// Faults that can be about at the same time as others, each kind in a lane of its own.
const EVERYTHING: [&[&str]; 3] = [
    &[
        "kill-one",
        "kill-leader",
        "pause-one",
        "pause-leader",
        "kill-majority",
        "power-one",
        "transfer",
    ],
    &["partition", "links"],
    &["clock-one", "clock-strobe", "disk-slow", "disk-slow-all"],
];

/// What a run does to its cluster.
pub struct Plan {
    /// Each lane strikes by itself, one fault after the other.
    pub lanes: Vec<Vec<Arc<dyn Fault>>>,
    pub tools: Tools,
    pub left_out: Vec<LeftOut>,
}

/// A fault of a family that this machine can't do.
#[derive(Debug, Clone)]
pub struct LeftOut {
    pub fault: &'static str,
    /// What is missing.
    pub why: String,
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.fault, self.why)
    }
}

impl Plan {
    /// From names of families and faults. `lacks` says what of some tools this machine does not have. Where that is
    /// something, families are taken without the faults that need it.
    ///
    /// # Errors
    /// A name is none; or what it stands for can't be done here, nothing of it.
    pub fn of(names: &[String], lacks: &dyn Fn(Tools) -> Option<String>) -> Result<Self> {
        let mut lanes = vec![Vec::new()];
        let mut left_out = Vec::new();
        for name in names {
            let asked = match name.as_str() {
                "none" => continue,
                "everything" => everything()?,
                name => vec![named(name)?],
            };
            let before = left_out.len();
            let mut asked: Vec<Vec<_>> = asked
                .into_iter()
                .map(|faults| without_lacking(faults, lacks, &mut left_out))
                .collect();
            if let Some(first) = left_out.get(before) {
                let something = asked.iter().any(|faults| !faults.is_empty());
                ensure!(something, "`{name}` can't be done on this machine: {}", first.why);
            }
            if name == "everything" {
                lanes.append(&mut asked);
            } else {
                lanes[0].extend(asked.concat());
            }
        }
        lanes.retain(|lane| !lane.is_empty());
        let mut tools = Tools::default();
        for fault in lanes.iter().flatten() {
            let needs = fault.tools();
            tools.disks |= needs.disks;
            tools.clocks |= needs.clocks;
            tools.packets |= needs.packets;
            tools.runners |= needs.runners;
            tools.spare = tools.spare.max(needs.spare);
        }
        Ok(Self {
            lanes,
            tools,
            left_out,
        })
    }
}

/// The lanes of `everything`.
fn everything() -> Result<Vec<Vec<Arc<dyn Fault>>>> {
    let lane = |names: &&[&str]| {
        let faults = names.iter().map(|name| named(name));
        Ok(faults.collect::<Result<Vec<_>>>()?.concat())
    };
    EVERYTHING.iter().map(lane).collect()
}

/// The faults that can be done here; notes the others.
fn without_lacking(
    faults: Vec<Arc<dyn Fault>>,
    lacks: &dyn Fn(Tools) -> Option<String>,
    left_out: &mut Vec<LeftOut>,
) -> Vec<Arc<dyn Fault>> {
    let (mut can, mut cannot) = (Vec::new(), Vec::new());
    for fault in faults {
        match lacks(fault.tools()) {
            None => can.push(fault),
            Some(why) => cannot.push(LeftOut {
                fault: fault.name(),
                why,
            }),
        }
    }
    left_out.append(&mut cannot);
    can
}

/// All faults, by family.
pub fn families() -> BTreeMap<&'static str, Vec<Arc<dyn Fault>>> {
    let mut families: BTreeMap<&'static str, Vec<Arc<dyn Fault>>> = BTreeMap::new();
    for fault in all() {
        let family = fault.name().split('-').next().unwrap_or_default();
        families.entry(family).or_default().push(fault);
    }
    families
}

fn named(name: &str) -> Result<Vec<Arc<dyn Fault>>> {
    let mut families = families();
    if let Some(faults) = families.remove(name) {
        return Ok(faults);
    }
    let one = families
        .into_values()
        .flatten()
        .find(|fault| fault.name() == name);
    match one {
        Some(fault) => Ok(vec![fault]),
        None => bail!("`{name}` is neither a fault nor a family of faults; `jepsen list` has them"),
    }
}

fn all() -> Vec<Arc<dyn Fault>> {
    fn boxed<F: Fault + 'static>(faults: impl IntoIterator<Item = F>) -> Vec<Arc<dyn Fault>> {
        faults
            .into_iter()
            .map(|fault| Arc::new(fault) as Arc<dyn Fault>)
            .collect()
    }
    let whom = [Whom::One, Whom::Majority, Whom::All, Whom::Leader];
    let power = [
        (Whom::One, false),
        (Whom::One, true),
        (Whom::Leader, false),
        (Whom::All, false),
        (Whom::All, true),
    ];
    [
        boxed(whom.map(Kill)),
        boxed(whom.map(Pause)),
        boxed(
            [
                Cut::One,
                Cut::Halves,
                Cut::Ring,
                Cut::Bridge,
                Cut::OneWay,
                Cut::Leader,
                Cut::Clients,
            ]
            .map(Partition),
        ),
        boxed(
            [
                Weather::Slow,
                Weather::Lossy,
                Weather::Mixed,
                Weather::Narrow,
                Weather::Storm,
            ]
            .map(Links),
        ),
        boxed([Leap::One, Leap::All, Leap::Strobe].map(ClockLeap)),
        boxed(power.map(|(whom, torn)| Power { whom, torn })),
        boxed([Trouble::Full, Trouble::Slow, Trouble::SlowAll, Trouble::Failing].map(DiskTrouble)),
        boxed([Harm::FlipLog, Harm::CutLog, Harm::FlipSnapshot, Harm::CutSnapshot].map(Damage)),
        boxed([Change::Add, Change::Replace, Change::RemoveLeader, Change::Wiped].map(Membership)),
        boxed([Transfer]),
        boxed([Rolling]),
        boxed([Crash]),
        boxed([Ill::Partition, Ill::Minority, Ill::Pause, Ill::Kill].map(RunnerTrouble)),
    ]
    .concat()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn names(plan: &Plan) -> Vec<Vec<&'static str>> {
        let lane = |lane: &Vec<Arc<dyn Fault>>| lane.iter().map(|fault| fault.name()).collect();
        plan.lanes.iter().map(lane).collect()
    }

    #[test]
    fn names_are_unique_and_families_are_listed() {
        let faults = all();
        let unique: BTreeSet<_> = faults.iter().map(|fault| fault.name()).collect();
        assert_eq!(unique.len(), faults.len());
        let listed: BTreeSet<_> = FAMILIES.iter().map(|(name, _)| *name).collect();
        for family in families().keys() {
            assert!(listed.contains(family), "{family}");
        }
    }

    fn planned(text: &str, lacks: &dyn Fn(Tools) -> Option<String>) -> Result<Plan> {
        let names: Vec<_> = text.split(',').map(str::to_owned).collect();
        Plan::of(&names, lacks)
    }

    #[test]
    fn what_a_machine_lacks_is_left_out_of_families_and_refused_by_name() {
        let streams = |tools: Tools| tools.packets.then(|| "no packets".to_owned());
        let links = planned("links", &streams).unwrap();
        assert_eq!(names(&links), [["links-slow", "links-narrow"]]);
        let left_out: Vec<_> = links.left_out.iter().map(LeftOut::to_string).collect();
        assert_eq!(left_out[0], "links-lossy: no packets");
        assert_eq!(left_out.len(), 3);
        let refused = planned("links-slow,links-lossy", &streams).err().unwrap();
        assert_eq!(
            refused.to_string(),
            "`links-lossy` can't be done on this machine: no packets"
        );
        let bare = |tools: Tools| (tools.disks || tools.clocks).then(|| "nothing".to_owned());
        assert!(planned("power", &bare).is_err());
        assert!(planned("kill,power", &bare).is_err());
        // A lane of nothing but disks and clocks is gone.
        let everything = planned("everything", &bare).unwrap();
        assert_eq!(everything.lanes.len(), 2);
        assert!(!everything.tools.disks && !everything.tools.clocks);
        assert_eq!(everything.left_out.len(), 5);
    }

    #[test]
    fn a_plan_takes_families_and_faults_and_nothing_else() {
        let plan = |text: &str| planned(text, &|_| None);
        assert_eq!(
            names(&plan("kill-one,transfer").unwrap()),
            [["kill-one", "transfer"]]
        );
        assert_eq!(names(&plan("partition").unwrap())[0].len(), 7);
        assert!(plan("none").unwrap().lanes.is_empty());
        assert!(plan("everything").unwrap().tools.disks);
        assert!(plan("kil").is_err());
    }
}
