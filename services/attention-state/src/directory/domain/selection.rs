//! Skills of agents, and how a campaign chooses among items and agents beyond its mode.

use serde::{Deserialize, Serialize};

use super::key::SkillKey;
use super::problems::Problems;
use super::section::Section;

/// Highest level of a skill.
const MAX_LEVEL: i32 = 100;
/// Most skills that a campaign requires.
const MAX_REQUIRED: usize = 20;
/// Most steps by which requirements are relaxed.
const MAX_STEPS: usize = 20;
/// Most skills of an agent.
const MAX_SKILLS: usize = 50;
/// Longest of all times here: a week, as for the overflow.
const MAX_SECONDS: i32 = 604_800;
/// Highest bonus of a VIP.
const MAX_BONUS: i32 = 100;
/// Heaviest item.
const MAX_WEIGHT: i32 = 100;

/// A skill at a level: what an agent has, or what a campaign asks at least.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SkillLevel {
    /// Which.
    pub skill: SkillKey,
    /// How well, 1 to 100.
    pub level: i32,
}

/// A step by which a required skill is relaxed while the customer waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relaxation {
    /// Takes effect when the customer has waited this many seconds.
    pub after_seconds: i32,
    /// Which.
    pub skill: SkillKey,
    /// From then on this level suffices; 0 drops the requirement.
    pub level: i32,
}

/// What a campaign asks for, and what goes first, beyond its mode. The default asks for nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// Skills that every item asks for, each once.
    pub required_skills: Vec<SkillLevel>,
    /// How they are relaxed, by time.
    pub relaxation: Vec<Relaxation>,
    /// Seconds of waiting that raise the priority by one; 0 is off.
    pub ageing_seconds: i32,
    /// Added to the priority of a VIP's items.
    pub vip_bonus: i32,
    /// How much of an agent's capacity an item takes.
    pub item_weight: i32,
    /// Seconds an item is kept for the customer's last agent; 0 is off.
    pub preferred_agent_seconds: i32,
}

impl Default for Selection {
    fn default() -> Self {
        Self {
            required_skills: Vec::new(),
            relaxation: Vec::new(),
            ageing_seconds: 0,
            vip_bonus: 0,
            item_weight: 1,
            preferred_agent_seconds: 0,
        }
    }
}

/// Keys of a campaign's section that this file reads.
pub(super) const KEYS: [&str; 6] = [
    "required_skills",
    "relaxation",
    "ageing_seconds",
    "vip_bonus",
    "item_weight",
    "preferred_agent_seconds",
];

/// Reads them.
pub(super) fn selection(section: &Section<'_>, problems: &mut Problems) -> Selection {
    let required_skills = levels(section, "required_skills", MAX_REQUIRED, problems);
    let relaxation = relaxation(section, &required_skills, problems);
    Selection {
        required_skills,
        relaxation,
        ageing_seconds: section.integer("ageing_seconds", 0..=MAX_SECONDS, 0, problems),
        vip_bonus: section.integer("vip_bonus", 0..=MAX_BONUS, 0, problems),
        item_weight: section.integer("item_weight", 1..=MAX_WEIGHT, 1, problems),
        preferred_agent_seconds: section.integer("preferred_agent_seconds", 0..=MAX_SECONDS, 0, problems),
    }
}

/// The skills of a user.
pub(super) fn skills(section: &Section<'_>, problems: &mut Problems) -> Vec<SkillLevel> {
    levels(section, "skills", MAX_SKILLS, problems)
}

fn levels(section: &Section<'_>, field: &str, most: usize, problems: &mut Problems) -> Vec<SkillLevel> {
    let mut levels: Vec<SkillLevel> = Vec::new();
    for (at, node) in section.items(field, most, problems).iter().enumerate() {
        let path = format!("{}[{at}]", section.path(field));
        let inner = Section::open(node, &path, &["skill", "level"], problems);
        let skill = skill(&inner, problems);
        if levels.iter().any(|before| before.skill == skill) {
            problems.add(&inner.path("skill"), "DUPLICATE", format!("`{skill}` stands in this list twice"));
        }
        let level = inner.integer("level", 1..=MAX_LEVEL, 1, problems);
        levels.push(SkillLevel { skill, level });
    }
    // In one order, so that a text that lists them otherwise changes nothing.
    levels.sort_by(|a, b| a.skill.cmp(&b.skill));
    levels
}

fn skill(section: &Section<'_>, problems: &mut Problems) -> SkillKey {
    if section.node("skill").is_none() {
        problems.add(&section.path("skill"), "MISSING", "`skill` is required");
    }
    SkillKey::unchecked(section.key("skill", problems).unwrap_or_default())
}

/// A step must ask for less than what held before it, or it would say something that never happens.
fn relaxation(section: &Section<'_>, required: &[SkillLevel], problems: &mut Problems) -> Vec<Relaxation> {
    let mut steps: Vec<(String, Relaxation)> = Vec::new();
    for (at, node) in section.items("relaxation", MAX_STEPS, problems).iter().enumerate() {
        let path = format!("{}[{at}]", section.path("relaxation"));
        let inner = Section::open(node, &path, &["after_seconds", "skill", "level"], problems);
        if inner.node("after_seconds").is_none() {
            problems.add(&inner.path("after_seconds"), "MISSING", "`after_seconds` is required");
        }
        let after_seconds = inner.integer("after_seconds", 1..=MAX_SECONDS, MAX_SECONDS, problems);
        let skill = skill(&inner, problems);
        let level = inner.integer("level", 0..=MAX_LEVEL, 0, problems);
        steps.push((path, Relaxation { after_seconds, skill, level }));
    }
    steps.sort_by(|(_, a), (_, b)| (a.after_seconds, &a.skill).cmp(&(b.after_seconds, &b.skill)));
    let mut asked: Vec<SkillLevel> = required.to_vec();
    for (path, step) in &steps {
        match asked.iter_mut().find(|asked| asked.skill == step.skill) {
            None => {
                let message = format!("`{}` is none of the campaign's `required_skills`", step.skill);
                problems.add(&format!("{path}.skill"), "UNKNOWN_SKILL", message);
            }
            Some(before) if step.level >= before.level => {
                let message = format!("must be less than {}, which suffices before it", before.level);
                problems.add(&format!("{path}.level"), "NOT_RELAXED", message);
            }
            Some(before) => before.level = step.level,
        }
    }
    steps.into_iter().map(|(_, step)| step).collect()
}

/// Skills in one line.
pub(super) fn shown(levels: &[SkillLevel]) -> String {
    levels.iter().map(|one| format!("{} {}", one.skill, one.level)).collect::<Vec<_>>().join(",")
}

/// Steps in one line.
pub(super) fn steps(relaxation: &[Relaxation]) -> String {
    let line = |one: &Relaxation| format!("{} s {} {}", one.after_seconds, one.skill, one.level);
    relaxation.iter().map(line).collect::<Vec<_>>().join(",")
}
