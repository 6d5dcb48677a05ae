//! Logs as JSON lines, traces and metrics by OTLP, and the W3C trace context that travels with messages.
//!
//! What is logged never holds a body, an address, a name or a secret: ids and numbers only.

use opentelemetry::metrics::Meter;
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};
use opentelemetry::trace::{TraceContextExt, TracerProvider};
use opentelemetry_otlp::WithExportConfig;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{EnvFilter, Layer, Registry};

use crate::config::TelemetryConfig;
use crate::error::Error;

/// Name of the header that carries the trace context (W3C Trace Context).
pub const TRACEPARENT: &str = "traceparent";

/// Keeps the exporters alive; [`Guard::flush`] sends what is left.
#[must_use = "telemetry stops when the guard is dropped"]
#[derive(Debug, Default)]
pub struct Guard {
    traces: Option<SdkTracerProvider>,
    metrics: Option<SdkMeterProvider>,
}

impl Guard {
    /// Sends what is left, off the async workers, and stops the exporters.
    pub async fn flush(mut self) {
        let (traces, metrics) = (self.traces.take(), self.metrics.take());
        let stopped = tokio::task::spawn_blocking(move || stop(traces, metrics)).await;
        if stopped.is_err() {
            eprintln!("telemetry could not be flushed");
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let (traces, metrics) = (self.traces.take(), self.metrics.take());
        if traces.is_some() || metrics.is_some() {
            // On a thread of its own: an exporter that blocks an async worker would wait for itself.
            let _ = std::thread::spawn(move || stop(traces, metrics)).join();
        }
    }
}

fn stop(traces: Option<SdkTracerProvider>, metrics: Option<SdkMeterProvider>) {
    let limit = std::time::Duration::from_secs(3);
    if let Some(Err(error)) = traces.map(|provider| provider.shutdown_with_timeout(limit)) {
        eprintln!("traces could not be flushed: {error}");
    }
    if let Some(Err(error)) = metrics.map(|provider| provider.shutdown_with_timeout(limit)) {
        eprintln!("metrics could not be flushed: {error}");
    }
}

/// Sets up logs, and traces and metrics when an endpoint is configured. Once per process; within a tokio runtime.
///
/// # Errors
/// `INVALID_CONFIG` for a bad filter or endpoint.
pub fn init(service: &'static str, config: &TelemetryConfig) -> Result<Guard, Error> {
    opentelemetry::global::set_text_map_propagator(TraceContextPropagator::new());
    let guard = match &config.otlp_endpoint {
        Some(endpoint) => exporters(service, endpoint)?,
        None => Guard::default(),
    };
    let spans = guard.traces.as_ref().map(|provider| {
        // Spans are made by our own code at `info`; libraries' internals stay out of the traces.
        let filter = EnvFilter::new(
            "info,h2=off,hyper=off,hyper_util=off,tonic=off,tower=off,sqlx=off,async_nats=off",
        );
        tracing_opentelemetry::layer().with_tracer(provider.tracer("hilo")).with_filter(filter)
    });
    let subscriber = Registry::default().with(spans).with(logs(config)?);
    // In one process with several services the first one wins; they share one configuration.
    if tracing::subscriber::set_global_default(subscriber).is_err() {
        tracing::debug!(service, "telemetry was initialised before");
    }
    Ok(guard)
}

fn logs(config: &TelemetryConfig) -> Result<Box<dyn Layer<LogsBase> + Send + Sync>, Error> {
    let filter = EnvFilter::try_new(&config.log).map_err(|error| {
        Error::invalid("INVALID_CONFIG", "the log filter is wrong").field("telemetry.log", error.to_string())
    })?;
    let quiet = [
        "h2=off",
        "hyper=off",
        "hyper_util=off",
        "tonic=off",
        "tower=off",
        "opentelemetry=warn",
        "rustls=warn",
    ];
    let filter = quiet.iter().fold(filter, |filter, directive| match directive.parse() {
        Ok(directive) => filter.add_directive(directive),
        Err(_) => filter,
    });
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    Ok(if config.json {
        layer
            .json()
            .flatten_event(true)
            .with_current_span(true)
            .with_span_list(false)
            .with_filter(filter)
            .boxed()
    } else {
        layer.with_target(false).compact().with_filter(filter).boxed()
    })
}

type LogsBase = tracing_subscriber::layer::Layered<
    Option<
        tracing_subscriber::filter::Filtered<
            tracing_opentelemetry::OpenTelemetryLayer<Registry, opentelemetry_sdk::trace::SdkTracer>,
            EnvFilter,
            Registry,
        >,
    >,
    Registry,
>;

fn exporters(service: &'static str, endpoint: &str) -> Result<Guard, Error> {
    let refuse = |error: opentelemetry_otlp::ExporterBuildError| {
        Error::invalid("INVALID_CONFIG", "the OTLP exporter cannot be built")
            .field("telemetry.otlp_endpoint", error.to_string())
    };
    let resource = Resource::builder().with_service_name(service).build();
    let spans = opentelemetry_otlp::SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .build()
        .map_err(refuse)?;
    let metrics = opentelemetry_otlp::MetricExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .build()
        .map_err(refuse)?;
    let traces =
        SdkTracerProvider::builder().with_batch_exporter(spans).with_resource(resource.clone()).build();
    let metrics = SdkMeterProvider::builder().with_periodic_exporter(metrics).with_resource(resource).build();
    opentelemetry::global::set_tracer_provider(traces.clone());
    opentelemetry::global::set_meter_provider(metrics.clone());
    Ok(Guard { traces: Some(traces), metrics: Some(metrics) })
}

/// The process's meter; instruments are cheap to clone and should be made once.
pub fn meter() -> Meter {
    opentelemetry::global::meter("hilo")
}

struct Carrier<'a>(&'a mut Option<String>);

impl Injector for Carrier<'_> {
    fn set(&mut self, key: &str, value: String) {
        if key == TRACEPARENT {
            *self.0 = Some(value);
        }
    }
}

impl Extractor for Carrier<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        if key == TRACEPARENT { self.0.as_deref() } else { None }
    }

    fn keys(&self) -> Vec<&str> {
        vec![TRACEPARENT]
    }
}

/// The current span's context as a `traceparent` value; `None` when nothing is traced.
pub fn current_traceparent() -> Option<String> {
    let context = tracing::Span::current().context();
    if !context.span().span_context().is_valid() {
        return None;
    }
    let mut value = None;
    TraceContextPropagator::new().inject_context(&context, &mut Carrier(&mut value));
    value
}

/// Makes the span a child of the given `traceparent`; a missing or malformed one leaves it as it is.
pub fn span_with_parent(traceparent: Option<&str>, span: tracing::Span) -> tracing::Span {
    if let Some(traceparent) = traceparent {
        let mut value = Some(traceparent.to_owned());
        let context = TraceContextPropagator::new().extract(&Carrier(&mut value));
        if context.span().span_context().is_valid() {
            // Fails only when the span is disabled or already started: then it simply has no parent.
            let _ = span.set_parent(context);
        }
    }
    span
}
