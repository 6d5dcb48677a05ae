//! The criteria of a search as flags; all are combined.

use hilo_proto::event::v1::Direction;
use hilo_proto::history::v1::SearchThreadsRequest;

use crate::cli::Failure;

/// Criteria of `hilo history search` and `export`.
#[derive(Debug, clap::Args)]
pub(super) struct Criteria {
    /// Words of any message, the name of a file, the subject or the form; case and accents are ignored
    #[arg(long)]
    words: Option<String>,
    /// Part of the customer's name, address or number
    #[arg(long)]
    customer: Option<String>,
    /// Campaign key
    #[arg(long)]
    campaign: Option<String>,
    /// User key of the agent who ended it
    #[arg(long)]
    agent: Option<String>,
    /// First end date, YYYY-MM-DD
    #[arg(long, value_name = "DATE")]
    from: Option<String>,
    /// Last end date, YYYY-MM-DD, inclusive
    #[arg(long, value_name = "DATE")]
    to: Option<String>,
    /// Attention number
    #[arg(long)]
    number: Option<i64>,
    /// Part of the subject
    #[arg(long)]
    subject: Option<String>,
    /// inbound or outbound
    #[arg(long, value_parser = ["inbound", "outbound"])]
    direction: Option<String>,
    /// Tag
    #[arg(long)]
    tag: Option<String>,
    /// Form value, field=value; may be repeated
    #[arg(long, value_name = "FIELD=VALUE")]
    form: Vec<String>,
    /// Value of any form field
    #[arg(long)]
    value: Option<String>,
}

impl Criteria {
    /// The request, without a page.
    ///
    /// # Errors
    /// `BAD_CRITERION` for a form value without its field.
    pub(super) fn request(&self) -> Result<SearchThreadsRequest, Failure> {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let pairs = self.form.iter().map(|pair| {
            let split = pair.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()));
            split.ok_or_else(|| {
                Failure::invalid("BAD_CRITERION", format!("--form {pair}: FIELD=VALUE is needed"))
            })
        });
        let direction = match self.direction.as_deref() {
            Some("inbound") => Direction::Inbound,
            Some(_) => Direction::Outbound,
            None => Direction::Unspecified,
        };
        Ok(SearchThreadsRequest {
            words: text(&self.words),
            customer: text(&self.customer),
            campaign_key: text(&self.campaign),
            agent_key: text(&self.agent),
            ended_from: text(&self.from),
            ended_to: text(&self.to),
            attention_number: self.number.unwrap_or_default(),
            direction: direction as i32,
            subject: text(&self.subject),
            tag: text(&self.tag),
            form_values: pairs.collect::<Result<_, _>>()?,
            form_value: text(&self.value),
            ..SearchThreadsRequest::default()
        })
    }
}
