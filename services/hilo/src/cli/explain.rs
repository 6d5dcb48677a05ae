//! `hilo explain`: why an item went to whom it went, and why not to somebody else.

use hilo_proto::internal::v1::{AssignmentMode, StoredDecision};
use hilo_proto::routing::v1::{
    AgentExplanation, ExplainInteractionRequest, ExplainInteractionResponse, QueuedExplanation, SkillLacking,
};

use super::Failure;
use super::Installation;
use super::history::json;
use super::installation::SignIn;
use super::session::Session;
use super::terminal::{Output, clean, counted, instant};

/// Arguments of `hilo explain`.
#[derive(Debug, clap::Args)]
pub struct ExplainArgs {
    #[command(flatten)]
    installation: Installation,
    #[command(flatten)]
    sign_in: SignIn,
    /// Id of the interaction
    interaction: String,
    /// Why not this member of its campaign
    #[arg(long, value_name = "KEY")]
    agent: Option<String>,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
}

/// Runs `hilo explain`.
///
/// # Errors
/// When the sign-in or the request is refused: `INTERACTION_NOT_FOUND`, `AGENT_NOT_FOUND` (exit code 4).
pub async fn execute(args: ExplainArgs) -> Result<(), Failure> {
    let mut output = Output::stdout();
    let session = Session::open(&args.installation, &args.sign_in).await?;
    let agent_key = args.agent.unwrap_or_default();
    let request = ExplainInteractionRequest { interaction_id: args.interaction, agent_key };
    let answer = session.routing().explain_interaction(session.request(request)).await?.into_inner();
    if args.json {
        return output.line(json("hilo.routing.v1.ExplainInteractionResponse", &answer)?);
    }
    lines(&answer).into_iter().try_for_each(|line| output.line(line))
}

/// The answer for a person: decisions newest first, where it stands now, why not him.
fn lines(answer: &ExplainInteractionResponse) -> Vec<String> {
    let mut lines: Vec<String> = answer.decisions.iter().map(decision).collect();
    if lines.is_empty() {
        lines.push("it has not been offered by the router".to_owned());
    }
    if let Some(queued) = &answer.queued {
        lines.extend(standing(queued));
    }
    if let Some(agent) = &answer.agent {
        lines.extend(why_not(agent, answer));
    }
    lines
}

/// One line of a decision.
pub fn decision(stored: &StoredDecision) -> String {
    let Some(decision) = &stored.decision else { return "-".to_owned() };
    let mut parts = vec![match decision.winner.as_str() {
        "" => "offered to everyone".to_owned(),
        winner => format!("offered to {}", clean(winner)),
    }];
    parts.push(match decision.mode() {
        AssignmentMode::LeastBusy => format!("least_busy, load {} before it", decision.score),
        AssignmentMode::RoundRobin => format!("round_robin, {} after the last", decision.score),
        AssignmentMode::LongestIdle if decision.score >= 1.0 => {
            format!("longest_idle, {} s without an item", decision.score)
        }
        mode => mode_name(mode),
    });
    let mut removed: Vec<(&String, &i32)> = decision.removed.iter().collect();
    removed.sort_unstable();
    let removed: Vec<String> = removed.into_iter().map(|(rule, count)| format!("{rule} {count}")).collect();
    let members = counted(usize::try_from(decision.candidates).unwrap_or(0), "member");
    parts.push(match removed.is_empty() {
        true => format!("of {members}"),
        false => format!("of {members}, not: {}", removed.join(", ")),
    });
    if !decision.runner_up.is_empty() {
        parts.push(format!("next best {}", clean(&decision.runner_up)));
    }
    parts.push(format!("configuration {}", decision.config_version));
    format!("{}  {}", instant(stored.decided_at.as_ref()), parts.join("; "))
}

fn mode_name(mode: AssignmentMode) -> String {
    mode.as_str_name().trim_start_matches("ASSIGNMENT_MODE_").to_lowercase()
}

fn standing(queued: &QueuedExplanation) -> Vec<String> {
    let why = match queued.reason.as_str() {
        "rings" if queued.rings_at.is_empty() => "it rings".to_owned(),
        "rings" => format!("it rings at {}", clean(&queued.rings_at)),
        "campaign_inactive" => "the campaign takes no offers".to_owned(),
        "nobody_eligible" => "nobody can take it".to_owned(),
        "older_first" => format!("{} before it", counted(usize::try_from(queued.ahead).unwrap_or(0), "item")),
        "being_offered" => "an offer is being made".to_owned(),
        other => clean(other),
    };
    let mut lines = vec![format!(
        "queued in {} since {}: {why}",
        clean(&queued.campaign_key),
        instant(queued.queued_at.as_ref())
    )];
    let mut asks: Vec<String> =
        queued.skills.iter().map(|one| format!("{} {}", clean(&one.skill_key), one.level)).collect();
    if queued.weight > 1 {
        asks.push(format!("weight {}", queued.weight));
    }
    if let Some(until) = &queued.reserved_until {
        let whom = if queued.reserved_for.is_empty() { "somebody" } else { &queued.reserved_for };
        asks.push(format!("{} until {}", clean(whom), instant(Some(until))));
    }
    if !asks.is_empty() {
        lines.push(format!("  asks for  {}", asks.join(", ")));
    }
    let named = |what: &str, count: i32, keys: &[String]| {
        let keys: Vec<String> = keys.iter().map(|key| clean(key)).collect();
        format!("  {what:<10}  {count}  {}", keys.join(" ")).trim_end().to_owned()
    };
    lines.extend(queued.removed.iter().map(|one| named(&clean(&one.rule), one.count, &one.agent_keys)));
    lines.push(named("eligible", queued.eligible, &queued.eligible_keys));
    if let Some(at) = &queued.overflow_at {
        let to = match queued.overflow_campaign_key.as_str() {
            "" => "everyone".to_owned(),
            key => clean(key),
        };
        lines.push(format!("  overflows to {to} at {}", instant(Some(at))));
    }
    lines
}

fn why_not(agent: &AgentExplanation, answer: &ExplainInteractionResponse) -> Vec<String> {
    let name = clean(&agent.agent_key);
    let queued = answer.queued.as_ref();
    let reserved = || queued.and_then(|queued| Some((queued, queued.reserved_until.as_ref()?)));
    let why = match agent.rule.as_str() {
        "" => match queued {
            Some(queued) if queued.reason == "rings" => "he could take it; it was another's turn".to_owned(),
            _ => "nothing keeps it from him".to_owned(),
        },
        "too_heavy" => format!(
            "it weighs {}, and {} of his capacity of {} are taken",
            agent.weight, agent.load, agent.capacity
        ),
        "full" => format!("full, {} of {} are taken", agent.load, agent.capacity),
        "reserved" => reserved().map_or("kept for another".to_owned(), |(queued, until)| {
            let whom = if queued.reserved_for.is_empty() { "another" } else { &queued.reserved_for };
            format!("kept for {} until {}", clean(whom), instant(Some(until)))
        }),
        "passed" => "he let it pass in this round".to_owned(),
        "held" => "attention-state refused an offer to him a moment ago".to_owned(),
        rule => clean(rule),
    };
    let as_of = if queued.is_some() { "" } else { " (as of now; it is not queued any more)" };
    let mut lines = vec![format!("{name}: {why}{as_of}")];
    let first = answer.decisions.first().and_then(|stored| stored.decision.as_ref());
    if first.is_some_and(|last| last.winner == agent.agent_key) {
        lines.push(format!("  {name} was offered it last"));
    } else if first.is_some_and(|last| last.runner_up == agent.agent_key) {
        lines.push(format!("  {name} was the next best of the last decision"));
    }
    let lacks = |one: &SkillLacking| {
        let has = if one.has == 0 { "has not".to_owned() } else { format!("has at {}", one.has) };
        format!("  lacks     {} {}, which he {has}", clean(&one.skill_key), one.asked)
    };
    lines.extend(agent.lacking.iter().map(lacks));
    match &agent.skills_suffice_at {
        Some(at) => lines.push(format!("  admitted  at {}, when that is relaxed", instant(Some(at)))),
        None if !agent.lacking.is_empty() => lines.push("  no step of relaxation admits him".to_owned()),
        None => {}
    }
    lines
}

#[cfg(test)]
mod tests {
    use hilo_proto::directory::v1::SkillLevel;
    use hilo_proto::internal::v1::DecisionRecord;
    use hilo_proto::routing::v1::RuleRemoved;
    use prost_types::Timestamp;

    use super::*;

    fn at(seconds: i64) -> Option<Timestamp> {
        Some(Timestamp { seconds: 1_795_000_000 + seconds, nanos: 0 })
    }

    fn decided(mode: AssignmentMode, winner: &str) -> StoredDecision {
        let record = DecisionRecord {
            config_version: 14,
            winner: winner.to_owned(),
            mode: mode.into(),
            candidates: 5,
            removed: [("absent".to_owned(), 1), ("unskilled".to_owned(), 2)].into(),
            runner_up: "beto".to_owned(),
            score: 2.0,
        };
        StoredDecision { decided_at: at(0), decision: Some(record), offer_id: String::new() }
    }

    #[test]
    fn a_decision_names_winner_score_rules_next_best_and_configuration() {
        assert_eq!(
            decision(&decided(AssignmentMode::LeastBusy, "ana")),
            "2026-11-18T11:06:40Z  offered to ana; least_busy, load 2 before it; of 5 members, not: absent 1, unskilled 2; \
             next best beto; configuration 14"
        );
        let everyone = decision(&decided(AssignmentMode::Everyone, ""));
        assert!(everyone.contains("offered to everyone; everyone; of 5 members"), "{everyone}");
        let idle = decision(&decided(AssignmentMode::LongestIdle, "ana\u{1b}[2J"));
        assert!(idle.contains("ana [2J; longest_idle, 2 s without an item; of"), "{idle}");
    }

    #[test]
    fn what_is_queued_says_what_it_asks_and_why_not_him() {
        let queued = QueuedExplanation {
            campaign_key: "soporte".to_owned(),
            reason: "nobody_eligible".to_owned(),
            removed: vec![RuleRemoved {
                rule: "unskilled".to_owned(),
                count: 2,
                agent_keys: vec!["ana".to_owned(), "beto".to_owned()],
            }],
            queued_at: at(0),
            skills: vec![SkillLevel { skill_key: "aleman".to_owned(), level: 5 }],
            weight: 2,
            reserved_for: "caro".to_owned(),
            reserved_until: at(60),
            ..QueuedExplanation::default()
        };
        let agent = AgentExplanation {
            agent_key: "ana".to_owned(),
            rule: "unskilled".to_owned(),
            lacking: vec![SkillLacking { skill_key: "aleman".to_owned(), asked: 5, has: 2 }],
            skills_suffice_at: at(90),
            weight: 2,
            capacity: 4,
            ..AgentExplanation::default()
        };
        let answer = ExplainInteractionResponse {
            decisions: Vec::new(),
            queued: Some(queued),
            agent: Some(agent.clone()),
        };
        assert_eq!(
            lines(&answer),
            [
                "it has not been offered by the router",
                "queued in soporte since 2026-11-18T11:06:40Z: nobody can take it",
                "  asks for  aleman 5, weight 2, caro until 2026-11-18T11:07:40Z",
                "  unskilled   2  ana beto",
                "  eligible    0",
                "ana: unskilled",
                "  lacks     aleman 5, which he has at 2",
                "  admitted  at 2026-11-18T11:08:10Z, when that is relaxed",
            ]
        );
        let rows = [
            ("reserved", "ana: kept for caro until 2026-11-18T11:07:40Z"),
            ("too_heavy", "ana: it weighs 2, and 0 of his capacity of 4 are taken"),
            ("full", "ana: full, 0 of 4 are taken"),
            ("passed", "ana: he let it pass in this round"),
            ("absent", "ana: absent"),
            ("", "ana: nothing keeps it from him"),
        ];
        for (rule, expected) in rows {
            let agent = AgentExplanation { rule: rule.to_owned(), lacking: Vec::new(), ..agent.clone() };
            assert_eq!(why_not(&agent, &answer)[0], expected);
        }
        let never = AgentExplanation { skills_suffice_at: None, ..agent.clone() };
        assert_eq!(why_not(&never, &answer)[2], "  no step of relaxation admits him");
        // Of what has ended, only the decisions are of then.
        let ended = ExplainInteractionResponse {
            decisions: vec![decided(AssignmentMode::RoundRobin, "caro")],
            queued: None,
            agent: None,
        };
        let beto = AgentExplanation {
            agent_key: "beto".to_owned(),
            rule: "absent".to_owned(),
            ..AgentExplanation::default()
        };
        assert_eq!(
            why_not(&beto, &ended),
            [
                "beto: absent (as of now; it is not queued any more)",
                "  beto was the next best of the last decision"
            ]
        );
    }
}
