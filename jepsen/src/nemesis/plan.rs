//! Which faults there are, by family, and what a run makes of the names it is given.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Result, bail};

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
use super::whom::Whom;
use super::{Fault, Tools};

/// The families, each with what it is.
pub const FAMILIES: [(&str, &str); 13] = [
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
}

impl Plan {
    /// From names of families and faults.
    ///
    /// # Errors
    /// A name is none.
    pub fn of(names: &[String]) -> Result<Self> {
        let mut lanes = vec![Vec::new()];
        for name in names {
            match name.as_str() {
                "none" => {}
                "everything" => {
                    for names in EVERYTHING {
                        let faults = names.iter().map(|name| named(name));
                        lanes.push(faults.collect::<Result<Vec<_>>>()?.concat());
                    }
                }
                name => lanes[0].extend(named(name)?),
            }
        }
        lanes.retain(|lane| !lane.is_empty());
        let mut tools = Tools::default();
        for fault in lanes.iter().flatten() {
            let needs = fault.tools();
            tools.disks |= needs.disks;
            tools.clocks |= needs.clocks;
            tools.spare = tools.spare.max(needs.spare);
        }
        Ok(Self { lanes, tools })
    }
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

    #[test]
    fn a_plan_takes_families_and_faults_and_nothing_else() {
        let plan = |text: &str| Plan::of(&text.split(',').map(str::to_owned).collect::<Vec<_>>());
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
