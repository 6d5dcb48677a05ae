//! The listener. An answer that must not be sent closes its connection, as a crashed or unreachable Meta would.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tower::ServiceExt as _;

use crate::graph::Unanswered;
use crate::world::Core;

/// Answers connections until the simulator stops.
pub(crate) async fn serve(core: Arc<Core>, listener: TcpListener) {
    let routes = crate::graph::routes().nest("/sim", crate::control::routes()).with_state(Arc::clone(&core));
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            continue;
        };
        let _ = stream.set_nodelay(true);
        core.spawn(connection(stream, routes.clone()));
    }
}

async fn connection(stream: TcpStream, routes: Router) {
    let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        let routes = routes.clone();
        async move {
            let answer = routes.oneshot(request.map(Body::new)).await.unwrap_or_else(|never| match never {});
            if answer.extensions().get::<Unanswered>().is_some() {
                return Err(std::io::Error::other("the simulator closes without an answer"));
            }
            Ok(answer)
        }
    });
    let serving = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    // A caller that goes away and an answer that is withheld both end a connection; neither is an error here.
    let _ = serving.await;
}
