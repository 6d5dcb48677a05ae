//! The real parts start, survive a kill and keep what they must.

use hilo_test_support::{Nats, Postgres};
use sqlx::{Connection, Executor, PgConnection};

#[tokio::test]
async fn postgres_keeps_committed_rows_over_a_kill() {
    let server = Postgres::start(true).await.unwrap();
    let url = server.fresh_database().await.unwrap();
    let mut connection = PgConnection::connect(&url).await.unwrap();
    connection.execute("CREATE TABLE kept AS SELECT 7 AS seven").await.unwrap();
    server.kill_9().await.unwrap();
    server.restart().await.unwrap();
    let mut connection = PgConnection::connect(&url).await.unwrap();
    let seven: i32 = sqlx::query_scalar("SELECT seven FROM kept").fetch_one(&mut connection).await.unwrap();
    assert_eq!(seven, 7);
}

#[tokio::test]
async fn nats_comes_back_on_its_port_and_a_wipe_empties_it() {
    let mut nats = Nats::start().await.unwrap();
    let context = async_nats::jetstream::new(async_nats::connect(nats.url()).await.unwrap());
    let config = || async_nats::jetstream::stream::Config {
        name: "KEPT".to_owned(),
        subjects: vec!["kept".to_owned()],
        ..Default::default()
    };
    context.create_stream(config()).await.unwrap();
    nats.restart().await.unwrap();
    let context = async_nats::jetstream::new(async_nats::connect(nats.url()).await.unwrap());
    context.get_stream("KEPT").await.unwrap();
    nats.wipe().unwrap();
    nats.restart().await.unwrap();
    let context = async_nats::jetstream::new(async_nats::connect(nats.url()).await.unwrap());
    assert!(context.get_stream("KEPT").await.is_err());
}

#[tokio::test]
async fn dovecot_shows_what_was_delivered() {
    use std::io::{BufRead, BufReader, Write};

    let server = hilo_test_support::Dovecot::start(&[("buzon", "secreto")]).await.unwrap();
    server.deliver("buzon", b"Subject: uno\r\n\r\nhola\r\n").unwrap();
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", server.imap_port())).unwrap();
    stream.write_all(b"a LOGIN buzon secreto\r\nb STATUS INBOX (MESSAGES)\r\nc LOGOUT\r\n").unwrap();
    let answer: Vec<String> = BufReader::new(stream).lines().map_while(Result::ok).collect();
    assert!(answer.iter().any(|line| line.contains("MESSAGES 1")), "{answer:?}");
}
