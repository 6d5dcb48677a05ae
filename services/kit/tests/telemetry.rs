//! Traces and metrics reach an OTLP receiver, a message's trace context makes one trace, and telemetry's own traffic
//! stays out of it. A process of its own: telemetry is global.

use std::sync::Arc;
use std::time::Duration;

use hilo_kit::config::TelemetryConfig;
use hilo_kit::telemetry;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::trace::v1::Span;
use parking_lot::Mutex;
use tonic::{Request, Response, Status};
use tracing::Instrument;

const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Clone, Default)]
struct Collector {
    spans: Arc<Mutex<Vec<Span>>>,
    metrics: Arc<Mutex<Vec<String>>>,
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        for resource in request.into_inner().resource_spans {
            for scope in resource.scope_spans {
                self.spans.lock().extend(scope.spans);
            }
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Collector {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        for resource in request.into_inner().resource_metrics {
            for scope in resource.scope_metrics {
                self.metrics.lock().extend(scope.metrics.into_iter().map(|metric| metric.name));
            }
        }
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_and_metrics_arrive_as_one_trace() {
    let collector = Collector::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let server = tonic::transport::Server::builder()
        .add_service(TraceServiceServer::new(collector.clone()))
        .add_service(MetricsServiceServer::new(collector.clone()))
        .serve_with_incoming(tokio_stream::wrappers::TcpListenerStream::new(listener));
    tokio::spawn(server);

    let config = TelemetryConfig { otlp_endpoint: Some(endpoint), log: "debug".into(), json: true };
    let guard = telemetry::init("hilo-test", &config).unwrap();
    assert_eq!(telemetry::current_traceparent(), None);
    let first = tracing::info_span!("first");
    // What the first process puts into a message …
    let carried = async { telemetry::current_traceparent().unwrap() }.instrument(first.clone()).await;
    drop(first);
    // … makes the second one's span a part of the same trace.
    let second = telemetry::span_with_parent(Some(&carried), tracing::info_span!("second"));
    async { tracing::info!("inside") }.instrument(second.clone()).await;
    drop(second);
    telemetry::span_with_parent(Some("rubbish"), tracing::info_span!("orphan")).in_scope(|| {});
    telemetry::meter().u64_counter("hilo.test").build().add(1, &[]);
    tokio::time::timeout(PATIENCE, guard.flush()).await.unwrap();
    // The flush itself waits only a few seconds for a slow receiver.
    hilo_test_support::eventually("everything has arrived", PATIENCE, || async {
        collector.spans.lock().len() >= 3 && collector.metrics.lock().iter().any(|name| name == "hilo.test")
    })
    .await
    .unwrap();

    let spans = collector.spans.lock().clone();
    let find = |name: &str| spans.iter().find(|span| span.name == name).unwrap();
    let (first, second, orphan) = (find("first"), find("second"), find("orphan"));
    assert_eq!(second.trace_id, first.trace_id);
    assert_eq!(second.parent_span_id, first.span_id);
    assert_ne!(orphan.trace_id, first.trace_id);
    assert_eq!(
        spans.len(),
        3,
        "nothing of the exporter's own: {:?}",
        spans.iter().map(|span| &span.name).collect::<Vec<_>>()
    );
}
