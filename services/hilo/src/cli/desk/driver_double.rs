//! What the desk calls in its tests: notes every call and answers as one interaction of Rosa's would.

use hilo_proto::attention::v1::{
    Attention, EndInteractionResponse, FormState, SendMessageRequest, StartAttentionResponse, Template,
    Upload,
};
use hilo_proto::directory::v1::{FormDefinition, FormField};
use hilo_proto::event::v1::InteractionSnapshot;
use hilo_proto::history::v1::ThreadMessage;
use hilo_proto::inbound::v1::{Attachment, EmailAddress};
use hilo_proto::internal::v1::StoredDecision;
use hilo_proto::outbound::v1::SendTemplate;
use parking_lot::Mutex;

use super::super::*;
use crate::cli::desk::command::{First, FirstChat, To};

/// Notes the calls and answers as one interaction of Rosa's would.
#[derive(Default)]
pub struct Calls {
    pub made: Mutex<Vec<String>>,
    pub taken: bool,
    pub required_empty: bool,
    pub failed: bool,
}

impl Calls {
    fn made(&self, call: String) {
        self.made.lock().push(call);
    }
}

#[async_trait::async_trait]
impl DeskCalls for &Calls {
    async fn open(&self, interaction_id: &str) -> Result<OpenInteractionResponse, Failure> {
        self.made(format!("open {interaction_id}"));
        if self.taken {
            return Err(Failure::new(Exit::Rejected, "ALREADY_TAKEN", "another agent was first"));
        }
        let field = FormField {
            key: "motivo".to_owned(),
            label: "Motivo".to_owned(),
            required: true,
            ..Default::default()
        };
        Ok(OpenInteractionResponse {
            attention: Some(Attention {
                attention_id: "att".to_owned(),
                number: 7,
                subject: "Pedido".to_owned(),
                ..Default::default()
            }),
            form: Some(FormDefinition {
                title: "Consulta".to_owned(),
                fields: vec![field],
                ..Default::default()
            }),
            ..Default::default()
        })
    }

    async fn messages(&self, attention_id: &str) -> Result<Vec<ThreadMessage>, Failure> {
        self.made(format!("messages {attention_id}"));
        let file = Attachment { file_name: "../a.pdf".to_owned(), ..Default::default() };
        let message = ThreadMessage { text: "Hola".to_owned(), sender_verified: true, ..Default::default() };
        let delivery_state = if self.failed { "failed" } else { "" }.to_owned();
        let message_id = "m2".to_owned();
        let with_file =
            ThreadMessage { message_id, delivery_state, attachments: vec![file], ..message.clone() };
        Ok(vec![message, with_file])
    }

    async fn send(&self, letter: SendMessageRequest) -> Result<ThreadMessage, Failure> {
        let name = if letter.mode == 0 { "reply" } else { "forward" };
        self.made(format!("{name} {} {:?} {}", letter.interaction_id, letter.text, letter.reply_all));
        if !letter.cc.is_empty() || !letter.attachments.is_empty() {
            self.made(format!("with {} copies, {} files", letter.cc.len(), letter.attachments.len()));
        }
        let rosa = vec![EmailAddress { address: "rosa@example.org".to_owned(), name: String::new() }];
        let to = if letter.to.is_empty() { rosa } else { letter.to };
        let internet_message_id = "1@hilo".to_owned();
        Ok(ThreadMessage { to, cc: letter.cc, internet_message_id, ..Default::default() })
    }

    async fn upload(&self, name: &str, content: Vec<u8>) -> Result<Upload, Failure> {
        self.made(format!("upload {name}"));
        let size_bytes = i64::try_from(content.len()).unwrap();
        Ok(Upload {
            upload_id: "u1".to_owned(),
            file_name: name.to_owned(),
            size_bytes,
            ..Default::default()
        })
    }

    async fn download(&self, message_id: &str, index: i32) -> Result<Vec<u8>, Failure> {
        self.made(format!("download {message_id} {index}"));
        Ok(b"contenido".to_vec())
    }

    async fn save_form(
        &self,
        _: &str,
        base: i64,
        values: BTreeMap<String, String>,
    ) -> Result<FormState, Failure> {
        self.made(format!("form {base} {values:?}"));
        Ok(FormState { version: base + 1, values: values.into_iter().collect() })
    }

    async fn end(&self, interaction_id: &str, close: bool) -> Result<EndInteractionResponse, Failure> {
        self.made(format!("end {interaction_id} {close}"));
        if self.required_empty {
            let failure = Failure::new(Exit::Rejected, "FORM_INCOMPLETE", "required fields are empty");
            return Err(failure.detail("motivo: is required"));
        }
        let state = if close { AttentionState::Closed } else { AttentionState::Open };
        Ok(EndInteractionResponse { attention_state: state as i32, ..Default::default() })
    }

    async fn release(&self, interaction_id: &str) -> Result<(), Failure> {
        self.made(format!("release {interaction_id}"));
        Ok(())
    }

    async fn transfer(&self, interaction_id: &str, to: &To, note: &str) -> Result<(), Failure> {
        self.made(format!("transfer {interaction_id} {to:?} {note:?}"));
        Ok(())
    }

    async fn note(&self, interaction_id: &str, text: &str) -> Result<(), Failure> {
        self.made(format!("note {interaction_id} {text:?}"));
        Ok(())
    }

    async fn start(&self, first: &First) -> Result<StartAttentionResponse, Failure> {
        self.made(format!("start {} {} {:?} {:?}", first.campaign, first.to, first.subject, first.text));
        let interaction_id = "new".to_owned();
        let interaction = Some(InteractionSnapshot { interaction_id, ..Default::default() });
        Ok(StartAttentionResponse { attention_number: 8, interaction, ..Default::default() })
    }

    async fn start_chat(
        &self,
        first: &FirstChat,
        template: SendTemplate,
    ) -> Result<StartAttentionResponse, Failure> {
        self.made(format!("start {} {} {}", first.campaign, first.phone, template.name));
        let interaction_id = "new".to_owned();
        let interaction = Some(InteractionSnapshot { interaction_id, ..Default::default() });
        Ok(StartAttentionResponse { attention_number: 8, interaction, ..Default::default() })
    }

    async fn templates(&self, campaign: &str) -> Result<Vec<Template>, Failure> {
        self.made(format!("templates {campaign}"));
        Ok(vec![Template { name: "aviso".to_owned(), language: "es".to_owned(), ..Default::default() }])
    }

    async fn retry(&self, message_id: &str) -> Result<ThreadMessage, Failure> {
        self.made(format!("retry {message_id}"));
        Ok(ThreadMessage::default())
    }

    async fn reopen(&self, interaction_id: &str) -> Result<(), Failure> {
        self.made(format!("reopen {interaction_id}"));
        Ok(())
    }

    async fn decline(&self, interaction_id: &str, offer_id: &str) -> Result<(), Failure> {
        self.made(format!("decline {interaction_id} {offer_id}"));
        Ok(())
    }

    async fn pause(&self, paused: bool) -> Result<bool, Failure> {
        Ok(paused)
    }

    async fn explain(&self, _: &str) -> Result<Vec<StoredDecision>, Failure> {
        Ok(Vec::new())
    }
}
