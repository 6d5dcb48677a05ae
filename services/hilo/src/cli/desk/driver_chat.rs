//! What a desk does in WhatsApp alone: templates, and files as the kinds WhatsApp has.

use hilo_proto::attention::v1::chat_content::Kind;
use hilo_proto::attention::v1::{ChatContent, SendMessageRequest};
use hilo_proto::inbound::v1::MediaKind;
use hilo_proto::outbound::v1::template_parameter::Value;
use hilo_proto::outbound::v1::{SendTemplate, TemplateComponent, TemplateParameter};

use super::{DeskCalls, Driver, Failure};
use crate::cli::Exit;
use crate::cli::desk::command::{Filled, FirstChat};
use crate::cli::desk::watch;

impl<C: DeskCalls> Driver<C> {
    pub(super) async fn template(&mut self, template: Filled) -> Result<(), Failure> {
        let interaction_id = self.current_id()?;
        let kind = Some(Kind::Template(send_template(&template)));
        let whatsapp = Some(ChatContent { kind, ..Default::default() });
        self.send(SendMessageRequest { whatsapp, ..Default::default() }, "sent").await?;
        self.list.replied(&interaction_id);
        Ok(())
    }

    pub(super) async fn start_chat(&mut self, first: &FirstChat) -> Result<(), Failure> {
        let started = self.calls.start_chat(first).await?;
        self.output.line(format!("attention #{} started", started.attention_number))?;
        self.show_opened(started.interaction.unwrap_or_default().interaction_id).await
    }

    /// True while the item worked on is one of WhatsApp.
    pub(super) fn in_whatsapp(&self) -> bool {
        let item = self.current.as_ref().and_then(|current| current.answer.item.as_ref());
        item.is_some_and(|item| item.channel == watch::WHATSAPP)
    }

    /// How the file that waits is sent in WhatsApp, which takes one at a time; nothing for a mail or without a file.
    pub(super) fn content_of_files(&self) -> Result<Option<ChatContent>, Failure> {
        match self.pending.types() {
            _ if !self.in_whatsapp() => Ok(None),
            [] => Ok(None),
            [one] => {
                let kind = Some(Kind::Media(media_kind(one).into()));
                Ok(Some(ChatContent { kind, ..Default::default() }))
            }
            _ => Err(Failure::new(
                Exit::Rejected,
                "ONE_FILE_EACH",
                "a message of WhatsApp has one file; open it anew",
            )),
        }
    }
}

/// How WhatsApp sends a file of this type; what it knows no better is a document.
fn media_kind(media_type: &str) -> MediaKind {
    match media_type {
        "image/jpeg" | "image/png" => MediaKind::Image,
        "image/webp" => MediaKind::Sticker,
        "video/mp4" | "video/3gpp" => MediaKind::Video,
        "audio/aac" | "audio/amr" | "audio/mpeg" | "audio/mp4" | "audio/ogg" => MediaKind::Audio,
        _ => MediaKind::Document,
    }
}

/// The template as the contract has it: its values are those of the body.
pub fn send_template(template: &Filled) -> SendTemplate {
    let value =
        |text: &String| TemplateParameter { name: String::new(), value: Some(Value::Text(text.clone())) };
    let parameters: Vec<TemplateParameter> = template.values.iter().map(value).collect();
    let body = TemplateComponent { r#type: "body".to_owned(), parameters, ..Default::default() };
    let components = if template.values.is_empty() { Vec::new() } else { vec![body] };
    SendTemplate { name: template.name.clone(), language: template.language.clone(), components }
}
