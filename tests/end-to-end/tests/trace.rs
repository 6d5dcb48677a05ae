//! One trace from the acceptance of a mail to the agent's stream and the SMTP send of the reply, received over OTLP.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use hilo_end_to_end::customer::{self, Mail};
use hilo_end_to_end::{Installation, Options};
use hilo_test_support::{eventually, free_port};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use parking_lot::Mutex;
use tonic::{Request, Response, Status};

const SOON: Duration = Duration::from_secs(60);

/// Trace id → "service: span".
type Traces = Arc<Mutex<BTreeMap<String, BTreeSet<String>>>>;

#[derive(Clone, Default)]
struct Receiver(Traces);

#[tonic::async_trait]
impl TraceService for Receiver {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        for resource in request.into_inner().resource_spans {
            let attributes = resource.resource.map(|resource| resource.attributes).unwrap_or_default();
            let name = attributes.iter().find(|attribute| attribute.key == "service.name");
            let service = match name.and_then(|attribute| attribute.value.as_ref()?.value.as_ref()) {
                Some(Value::StringValue(text)) => text.clone(),
                _ => String::new(),
            };
            for span in resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                let trace = span.trace_id.iter().map(|byte| format!("{byte:02x}")).collect();
                self.0.lock().entry(trace).or_default().insert(format!("{service}: {}", span.name));
            }
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_trace_from_the_mail_in_to_the_desk_and_the_mail_out() {
    let receiver = Receiver::default();
    let traces = Arc::clone(&receiver.0);
    let port = free_port();
    let server = tonic::transport::Server::builder().add_service(TraceServiceServer::new(receiver));
    let serving = tokio::spawn(server.serve(([127, 0, 0, 1], port).into()));
    let options = Options { otlp_endpoint: Some(format!("http://127.0.0.1:{port}")), ..Options::default() };
    let installation = Installation::start(options).await.unwrap();
    let agent = installation.login("agente-0").await.unwrap();
    let _present = agent.be_present().await.unwrap();
    let desk = agent.watch();
    // What a snapshot shows belongs to no trace.
    desk.is_open(SOON).await.unwrap();

    let from = "traza@cliente.example";
    let mail = Mail::new(from, installation.support_address(), "Traza", "¿Por dónde pasa?");
    customer::send(installation.smtp(), &mail).await.unwrap();
    let item = desk.wait_for_offer(from, SOON).await.unwrap();
    let traceparent = desk.with(|desk| desk.traces.get(&item.interaction_id).cloned()).unwrap();
    let trace = traceparent.split('-').nth(1).unwrap().to_owned();
    agent.open(&item.interaction_id).await.unwrap();
    let message = agent.reply(&item.interaction_id, "Por aquí.").await.unwrap();
    let arrived = |mail: &hilo_end_to_end::sink::Received| mail.message_id == message.internet_message_id;
    installation.sink().wait_for("the reply", SOON, arrived).await.unwrap();

    let seen = || traces.lock().get(&trace).cloned().unwrap_or_default();
    let complete = eventually("the whole trace arrived", SOON, || {
        let spans = seen();
        let has = |service: &str, word: &str| {
            spans.iter().any(|span| span.starts_with(service) && span.to_lowercase().contains(word))
        };
        let whole = has("hilo-email-ingest", "email.accept")
            && has("hilo-attention-state", "attention.intake")
            && has("hilo-routing", "routing.offer")
            && has("hilo-attention-state", "attention.desk")
            && has("hilo-email-ingest", "email.send");
        async move { whole }
    });
    complete.await.unwrap_or_else(|error| panic!("{error}; spans of {trace}: {:#?}", seen()));
    serving.abort();
}
