//! Tags, quick replies and extra fields of contacts of the YAML.

use std::collections::BTreeSet;

use super::catalogue::{ContactField, QuickReply, Tag};
use super::forms;
use super::key::{CampaignKey, QuickReplyKey, TagKey};
use super::problems::Problems;
use super::section::Section;
use super::tree::Node;

/// Longest text of a quick reply; a long mail.
const MAX_TEXT: usize = 10_000;
/// Longest HTML of a quick reply.
const MAX_HTML: usize = 40_000;
/// Most campaigns something is limited to.
const MAX_CAMPAIGNS: usize = 1_000;

/// Reads one tag.
pub(super) fn tag(node: &Node, path: &str, problems: &mut Problems) -> Tag {
    let section = Section::open(node, path, &["key", "name", "color", "campaigns", "active"], problems);
    let color = section.line("color", 7, problems).to_ascii_lowercase();
    let digits = color.strip_prefix('#').unwrap_or_default();
    if !color.is_empty() && (digits.len() != 6 || !digits.bytes().all(|one| one.is_ascii_hexdigit())) {
        problems.add(&section.path("color"), "BAD_VALUE", "must be a color such as \"#c0392b\", in quotes");
    }
    Tag {
        key: TagKey::unchecked(section.own_key(problems)),
        name: section.required_line("name", 60, problems),
        color,
        campaigns: campaigns(&section, problems),
        active: section.boolean("active", true, problems),
    }
}

/// Reads one quick reply. Its HTML is kept as it may be sent: sanitised.
pub(super) fn quick_reply(node: &Node, path: &str, problems: &mut Problems) -> QuickReply {
    let known = ["key", "title", "text", "html", "campaigns", "active"];
    let section = Section::open(node, path, &known, problems);
    let text = section.text("text", MAX_TEXT, problems);
    if text.trim().is_empty() {
        problems.add(&section.path("text"), "MISSING", "`text` is required, also beside `html`");
    }
    let html = section.text("html", MAX_HTML, problems);
    QuickReply {
        key: QuickReplyKey::unchecked(section.own_key(problems)),
        title: section.required_line("title", 100, problems),
        text,
        html: if html.is_empty() { html } else { ammonia::clean(&html) },
        campaigns: campaigns(&section, problems),
        active: section.boolean("active", true, problems),
    }
}

/// Reads one extra field of contacts.
pub(super) fn contact_field(node: &Node, path: &str, problems: &mut Problems) -> ContactField {
    let known = ["key", "label", "type", "choices", "minimum", "maximum", "active"];
    let section = Section::open(node, path, &known, problems);
    let field = forms::described(&section, problems);
    ContactField { field, active: section.boolean("active", true, problems) }
}

fn campaigns(section: &Section<'_>, problems: &mut Problems) -> BTreeSet<CampaignKey> {
    let keys = section.list("campaigns", MAX_CAMPAIGNS, true, problems);
    // An empty list written out would mean "none" to its reader and "all" to us.
    if section.node("campaigns").is_some() && keys.is_empty() {
        let message = "names at least one campaign; leave it out for all of them";
        problems.add(&section.path("campaigns"), "BAD_VALUE", message);
    }
    keys.into_iter().map(CampaignKey::unchecked).collect()
}
