//! Rights and bad input, generated from the descriptors of the contracts, on five separate processes: an RPC that is added without
//! a line in `services/RIGHTS.md` and a request in `requests.rs` turns this red.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on says where")]

mod bad;
mod both;
mod crossed;
mod elsewhere;
mod ended;
mod hostile;
mod matrix;
mod paging;
mod requests;
mod state;
mod table;
mod tokens;
mod variants;
mod wire;
mod world;

use hilo_end_to_end::Service;
use matrix::Matrix;
use world::World;

#[tokio::test(flavor = "multi_thread")]
async fn nobody_sees_a_byte_of_a_foreign_campaign() {
    let world = World::start().await;
    let mut matrix = Matrix::new(&world);
    matrix.strangers().await;
    crossed::answered_alike(&mut matrix).await;
    tokens::refused(&mut matrix).await;
    elsewhere::grpc_web(&mut matrix).await;
    elsewhere::downloads(&mut matrix).await;
    let watchers = ended::strangers_watching(&world).await;
    matrix.own().await;
    for (who, stream) in &watchers {
        matrix.expect(!stream.says(0, &world::THEIRS), || format!("{who} was told what happens there"));
    }
    elsewhere::events(&mut matrix).await;
    elsewhere::logs(&mut matrix);
    println!("{} calls", matrix.calls);
    assert!(matrix.problems.is_empty(), "{}\n{}", matrix.problems.len(), matrix.problems.join("\n"));
    ended::refused_and_closed(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_is_refused_with_a_reason_and_changes_nothing() {
    let world = World::start().await;
    let processes = Service::ALL.map(|service| world.installation.process_id(service));
    let mut matrix = Matrix::new(&world);
    paging::tokens_of_others(&mut matrix).await;
    paging::request_ids_used_twice(&mut matrix).await;
    hostile::file_names(&mut matrix).await;
    hostile::markup(&mut matrix).await;
    bad::Bad::start(&mut matrix).await.all().await;
    println!("{} calls", matrix.calls);
    assert!(matrix.problems.is_empty(), "{}\n{}", matrix.problems.len(), matrix.problems.join("\n"));
    // The same processes serve, and none of their tasks has fallen over.
    world.installation.all_ready().await.unwrap();
    assert_eq!(processes, Service::ALL.map(|service| world.installation.process_id(service)));
    for service in Service::ALL {
        let log = world.installation.folder().join(format!("{}.log", service.name()));
        let log = std::fs::read_to_string(log).unwrap();
        assert!(!log.contains("panicked"), "{} panicked", service.name());
    }
}
