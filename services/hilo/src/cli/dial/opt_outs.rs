//! `hilo dial opt-out`: numbers that the dialers of a campaign do not write to.

use hilo_proto::dialer::v1 as dialer;

use super::super::installation::SignIn;
use super::super::session::Session;
use super::super::terminal::{Output, clean, instant};
use super::super::{Exit, Failure, Installation};
use super::list::Shown;

/// What is done with the list.
#[derive(Debug, clap::Subcommand)]
pub(super) enum OptOutCommand {
    /// Put a number on the list of a campaign
    Add(AddArgs),
    /// Take a number off the list
    Remove(Entry),
    /// The numbers of the list
    List(ListArgs),
}

/// A number of a campaign's list.
#[derive(Debug, clap::Args)]
pub(super) struct Entry {
    #[command(flatten)]
    installation: Installation,
    #[command(flatten)]
    sign_in: SignIn,
    /// Campaign whose dialers the list binds
    campaign: String,
    /// Number with `+` and country code
    number: String,
}

#[derive(Debug, clap::Args)]
pub(super) struct AddArgs {
    #[command(flatten)]
    entry: Entry,
    /// Why, at most 200 characters
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,
    /// Print the entry as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct ListArgs {
    #[command(flatten)]
    installation: Installation,
    #[command(flatten)]
    sign_in: SignIn,
    /// Campaign
    campaign: String,
    #[command(flatten)]
    shown: Shown,
}

/// Runs `hilo dial opt-out`.
///
/// # Errors
/// `NOT_ON_THE_LIST` (exit code 4) for a number that is not; what the service refuses.
pub(super) async fn execute(command: OptOutCommand, output: &mut Output) -> Result<(), Failure> {
    match command {
        OptOutCommand::Add(args) => {
            let Entry { installation, sign_in, campaign, number } = args.entry;
            let session = Session::open(&installation, &sign_in).await?;
            let request = session.request(dialer::AddOptOutRequest {
                campaign_key: campaign,
                number,
                reason: args.reason,
            });
            let entry =
                session.dialers().add_opt_out(request).await?.into_inner().opt_out.unwrap_or_default();
            let shown = Shown { limit: 1, json: args.json };
            shown.print(output, "hilo.dialer.v1.OptOut", &entry, line(&entry))
        }
        OptOutCommand::Remove(args) => {
            let session = Session::open(&args.installation, &args.sign_in).await?;
            let number = args.number.clone();
            let request = session
                .request(dialer::RemoveOptOutRequest { campaign_key: args.campaign, number: args.number });
            match session.dialers().remove_opt_out(request).await?.into_inner().removed {
                true => output.line(clean(&format!("{number} is off the list"))),
                false => {
                    let text = format!("{number} is not on the list");
                    Err(Failure::new(Exit::Missing, "NOT_ON_THE_LIST", text))
                }
            }
        }
        OptOutCommand::List(args) => list(args, output).await,
    }
}

async fn list(args: ListArgs, output: &mut Output) -> Result<(), Failure> {
    let session = Session::open(&args.installation, &args.sign_in).await?;
    let page = async |page_size, page_token| {
        let campaign_key = args.campaign.clone();
        let request = session.request(dialer::ListOptOutsRequest { campaign_key, page_size, page_token });
        let page = session.dialers().list_opt_outs(request).await?.into_inner();
        Ok((page.opt_outs, page.next_page_token))
    };
    args.shown.pages(output, "hilo.dialer.v1.OptOut", line, page).await
}

fn line(entry: &dialer::OptOut) -> String {
    let by = if entry.added_by.is_empty() { "the customer" } else { &entry.added_by };
    let line = format!("{}  {}  by {by}  {}", entry.number, instant(entry.added_at.as_ref()), entry.reason);
    clean(line.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_a_line() {
        let mut entry = dialer::OptOut {
            number: "+51987654321".into(),
            added_by: "susana".into(),
            reason: "lo pidió".into(),
            ..dialer::OptOut::default()
        };
        assert_eq!(line(&entry), "+51987654321  -  by susana  lo pidió");
        (entry.added_by, entry.reason) = (String::new(), String::new());
        assert_eq!(line(&entry), "+51987654321  -  by the customer");
    }
}
