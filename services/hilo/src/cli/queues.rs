//! `hilo queues`: the live panel in the terminal, once or as it changes.

use std::time::Duration;

use hilo_proto::routing::v1::{
    AgentPresence, AgentStatus, GetQueuesRequest, Queue, WatchQueuesRequest, WatchQueuesResponse,
};
use prost_types::Timestamp;
use tonic::Code;

use super::history::json;
use super::installation::SignIn;
use super::session::Session;
use super::terminal::{Output, clean, time_of_day};
use super::{Exit, Failure, Installation};

/// Pause before a watch that was cut off begins again.
const RETRY: Duration = Duration::from_secs(1);

/// Arguments of `hilo queues`.
#[derive(Debug, clap::Args)]
pub struct QueuesArgs {
    #[command(flatten)]
    installation: Installation,
    #[command(subcommand)]
    command: QueuesCommand,
}

#[derive(Debug, clap::Subcommand)]
enum QueuesCommand {
    /// Queues and agents now
    List(ListArgs),
    /// Queues and agents as they change, until interrupted
    Watch(WatchArgs),
}

#[derive(Debug, clap::Args)]
struct ListArgs {
    #[command(flatten)]
    sign_in: SignIn,
    /// Only this campaign; may be repeated
    #[arg(long, value_name = "KEY")]
    campaign: Vec<String>,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct WatchArgs {
    #[command(flatten)]
    list: ListArgs,
    /// End after this many answers
    #[arg(long, value_name = "N")]
    count: Option<u64>,
}

/// Runs `hilo queues`.
///
/// # Errors
/// When the sign-in or the request is refused; `NO_CAMPAIGNS` (exit code 4) when the user may see none.
pub async fn execute(args: QueuesArgs) -> Result<(), Failure> {
    let mut output = Output::stdout();
    match args.command {
        QueuesCommand::List(list) => {
            let session = Session::open(&args.installation, &list.sign_in).await?;
            let request = session.request(GetQueuesRequest { campaign_keys: list.campaign });
            let answer = session.routing().get_queues(request).await?.into_inner();
            if list.json {
                return output.line(json("hilo.routing.v1.GetQueuesResponse", &answer)?);
            }
            print(&answer.queues, &answer.agents, answer.now.as_ref(), &mut output)?;
            match answer.queues.is_empty() {
                true => Err(Failure::new(Exit::Missing, "NO_CAMPAIGNS", "there is no campaign to see")),
                false => Ok(()),
            }
        }
        QueuesCommand::Watch(watch) => {
            let session = Session::open(&args.installation, &watch.list.sign_in).await?;
            let mut left = watch.count.unwrap_or(u64::MAX);
            while left > 0 {
                match follow(&session, &watch, &mut left, &mut output).await {
                    // The replica went away; another one begins anew with a snapshot.
                    Err(failure) if failure.exit == Exit::Unavailable => tokio::time::sleep(RETRY).await,
                    ended => return ended,
                }
            }
            Ok(())
        }
    }
}

async fn follow(
    session: &Session,
    watch: &WatchArgs,
    left: &mut u64,
    output: &mut Output,
) -> Result<(), Failure> {
    let request = WatchQueuesRequest { campaign_keys: watch.list.campaign.clone() };
    let mut stream = session.routing().watch_queues(session.stream_request(request)).await?.into_inner();
    while *left > 0 {
        let answer = match stream.message().await {
            Ok(Some(answer)) => answer,
            Ok(None) => return Err(Failure::unavailable("CUT_OFF", "the watch was cut off")),
            // A connection that breaks is told as UNKNOWN by the transport.
            Err(status) if status.code() == Code::Unknown => {
                return Err(Failure::unavailable("CUT_OFF", "the watch was cut off"));
            }
            Err(status) => return Err(status.into()),
        };
        if told(&answer, watch.list.json, output)? {
            *left -= 1;
        }
    }
    Ok(())
}

/// Prints an answer; false for a sign of life.
fn told(answer: &WatchQueuesResponse, as_json: bool, output: &mut Output) -> Result<bool, Failure> {
    if !answer.snapshot && answer.queues.is_empty() && answer.agents.is_empty() {
        return Ok(false);
    }
    if as_json {
        output.line(json("hilo.routing.v1.WatchQueuesResponse", answer)?)?;
    } else {
        print(&answer.queues, &answer.agents, answer.now.as_ref(), output)?;
    }
    Ok(true)
}

fn print(
    queues: &[Queue],
    agents: &[AgentStatus],
    now: Option<&Timestamp>,
    output: &mut Output,
) -> Result<(), Failure> {
    let at = time_of_day(now);
    queues.iter().try_for_each(|one| output.line(format!("{at}  {}", queue(one, now))))?;
    agents.iter().try_for_each(|one| output.line(format!("{at}  {}", agent(one))))
}

/// One line of a queue: `soporte  waiting 3 (1 rings, oldest 00:01:12)  open 4  in time 90 % of 10 ...`.
fn queue(queue: &Queue, now: Option<&Timestamp>) -> String {
    let waited = |since: &Timestamp| now.map_or(0, |now| (now.seconds - since.seconds).max(0));
    let oldest = queue.oldest_waiting_since.as_ref().map(waited);
    let oldest = oldest.map_or_else(
        || "-".to_owned(),
        |age| format!("{:02}:{:02}:{:02}", age / 3_600, age / 60 % 60, age % 60),
    );
    let level = queue.service_level.unwrap_or_default();
    let share = match (level.target_seconds, level.share) {
        (0, _) => "no target".to_owned(),
        (target, None) => format!("nothing taken (target {target} s)"),
        (target, Some(share)) => {
            format!("in time {:.0} % of {} (target {target} s)", share * 100.0, level.taken)
        }
    };
    let agents = queue.agents.unwrap_or_default();
    format!(
        "queue  {:<20}  waiting {} ({} ring, oldest {oldest}, {} late)  open {}  {share}  agents {} present, {} paused, \
         {} absent, {} unknown  load {}/{}",
        clean(&queue.campaign_key),
        queue.waiting,
        queue.offered,
        level.overdue,
        queue.open,
        agents.present,
        agents.paused,
        agents.absent,
        agents.unknown,
        agents.load,
        agents.capacity,
    )
}

fn agent(agent: &AgentStatus) -> String {
    let state = match (agent.active, agent.presence(), agent.paused) {
        (false, _, _) => "inactive".to_owned(),
        (true, AgentPresence::Present, true) => "paused".to_owned(),
        (true, AgentPresence::Present, false) => "present".to_owned(),
        (true, AgentPresence::Absent, _) => match agent.absent_since.as_ref() {
            Some(since) => format!("absent since {}", time_of_day(Some(since))),
            None => "absent".to_owned(),
        },
        (true, AgentPresence::Unknown | AgentPresence::Unspecified, _) => "unknown".to_owned(),
    };
    let loads: Vec<String> = agent
        .loads
        .iter()
        .filter(|lane| lane.channel == "email" || lane.load > 0)
        .map(|lane| format!("{} {}/{}", clean(&lane.channel), lane.load, lane.capacity))
        .collect();
    let campaigns: Vec<String> = agent.campaign_keys.iter().map(|key| clean(key)).collect();
    format!(
        "agent  {:<20}  {state}  {}  [{}]",
        clean(&agent.agent_key),
        loads.join("  "),
        campaigns.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use hilo_proto::routing::v1::{AgentCounts, AgentLoad, ServiceLevel};

    use super::*;

    fn example() -> Queue {
        Queue {
            campaign_key: "soporte".to_owned(),
            waiting: 3,
            oldest_waiting_since: Some(Timestamp { seconds: 1_795_000_000 - 3_672, nanos: 0 }),
            offered: 1,
            open: 4,
            service_level: Some(ServiceLevel {
                target_seconds: 60,
                window_seconds: 3_600,
                taken: 10,
                taken_in_time: 9,
                share: Some(0.9),
                overdue: 2,
            }),
            agents: Some(AgentCounts {
                present: 2,
                paused: 1,
                load: 5,
                capacity: 10,
                ..AgentCounts::default()
            }),
        }
    }

    #[test]
    fn queues_and_agents_are_one_line_each() {
        let status = AgentStatus {
            agent_key: "ana\u{1b}[2J".to_owned(),
            presence: AgentPresence::Present.into(),
            paused: true,
            active: true,
            loads: vec![AgentLoad { channel: "email".to_owned(), load: 2, capacity: 5 }],
            campaign_keys: vec!["soporte".to_owned()],
            ..AgentStatus::default()
        };
        let mut output = Output::kept();
        let now = Timestamp { seconds: 1_795_000_000, nanos: 0 };
        print(&[example()], &[status], Some(&now), &mut output).expect("kept");
        assert_eq!(
            output.take(),
            [
                "11:06:40  queue  soporte               waiting 3 (1 ring, oldest 01:01:12, 2 late)  open 4  in time 90 % of 10 \
                 (target 60 s)  agents 2 present, 1 paused, 0 absent, 0 unknown  load 5/10",
                "11:06:40  agent  ana [2J               paused  email 2/5  [soporte]",
            ]
        );
    }

    #[test]
    fn a_sign_of_life_is_not_printed_and_an_empty_snapshot_counts() {
        let mut output = Output::kept();
        assert!(!told(&WatchQueuesResponse::default(), false, &mut output).expect("kept"));
        let empty = WatchQueuesResponse { snapshot: true, ..WatchQueuesResponse::default() };
        assert!(told(&empty, false, &mut output).expect("kept"));
        let changed = WatchQueuesResponse { queues: vec![example()], ..WatchQueuesResponse::default() };
        assert!(told(&changed, true, &mut output).expect("kept"));
        let lines = output.take();
        assert_eq!(lines.len(), 1);
        assert!(lines[0].starts_with('{') && lines[0].contains("\"waiting\":3"), "{lines:?}");
    }
}
