//! Searching: every criterion, every pair and triple against a plain reading of the same threads, plans on many threads,
//! accents both ways, pages.

use std::collections::BTreeMap;

use hilo_history::domain::criteria::Asked;
use hilo_history::domain::thread::{Attachment, Direction, FilledForm, FormField};
use hilo_history::domain::{Criteria, Scope, Thread};
use hilo_history::store::{PageRequest, Store};

use crate::sample::{self, at};

const ZONE: &str = "America/Lima";

async fn ids(store: &Store, scope: Scope, asked: &Asked) -> Vec<hilo_history::domain::InteractionId> {
    let page = PageRequest::first(scope, Criteria::parse(asked).unwrap(), ZONE.into(), 200);
    store.search(page).await.unwrap().heads.iter().map(|head| head.interaction_id).collect()
}

/// One criterion: how it is asked, and what it means for a thread.
struct Case {
    name: &'static str,
    ask: fn(&mut Asked),
    fits: fn(&Thread) -> bool,
}

fn value(thread: &Thread) -> Option<&str> {
    thread.form.as_ref()?.fields.get("motivo")?.value.as_deref()
}

/// Every criterion that can be asked for, once or twice.
fn cases() -> Vec<Case> {
    vec![
        Case {
            name: "word",
            ask: |asked| asked.words.push_str(" CAMION"),
            fits: |thread| thread.messages[0].text.contains("camión"),
        },
        Case {
            name: "word of an attachment's name",
            ask: |asked| asked.words.push_str(" cotizacion"),
            fits: |thread| !thread.messages[0].attachments.is_empty(),
        },
        Case {
            name: "customer's name",
            ask: |asked| asked.customer = "nunez".into(),
            fits: |thread| thread.head.customer.name.contains("Núñez"),
        },
        Case {
            name: "customer's address",
            ask: |asked| asked.customer = "@Norte.pe".into(),
            fits: |thread| thread.head.customer.address.ends_with("@norte.pe"),
        },
        Case {
            name: "campaign",
            ask: |asked| asked.campaign_key = "soporte".into(),
            fits: |thread| thread.head.campaign_key == "soporte",
        },
        Case {
            name: "agent",
            ask: |asked| asked.agent_key = "luis".into(),
            fits: |thread| thread.head.agent_key == "luis",
        },
        // 2026-01-02T00:00 in Lima is 05:00 UTC.
        Case {
            name: "from",
            ask: |asked| asked.ended_from = "2026-01-02".into(),
            fits: |thread| thread.head.ended_at >= at(86_400 + 5 * 3_600),
        },
        Case {
            name: "to",
            ask: |asked| asked.ended_to = "2026-01-02".into(),
            fits: |thread| thread.head.ended_at < at(2 * 86_400 + 5 * 3_600),
        },
        Case {
            name: "number",
            ask: |asked| asked.attention_number = 7,
            fits: |thread| thread.head.attention_number == 7,
        },
        Case {
            name: "direction",
            ask: |asked| asked.direction = Some(Direction::Outbound),
            fits: |thread| thread.head.direction == Direction::Outbound,
        },
        Case {
            name: "subject",
            ask: |asked| asked.subject = "DEVOLUCION 50%".into(),
            fits: |thread| thread.head.subject.contains("Devolución 50%"),
        },
        Case {
            name: "tag",
            ask: |asked| asked.tag = "vip".into(),
            fits: |thread| thread.head.tags.contains(&"VIP".to_owned()),
        },
        Case {
            name: "form value",
            ask: |asked| asked.form_values = BTreeMap::from([("motivo".to_owned(), "Garantia".to_owned())]),
            fits: |thread| value(thread).is_some_and(|value| value.lines().any(|line| line == "garantía")),
        },
        Case {
            name: "form value of any field",
            ask: |asked| asked.form_value = "GARANTIA".into(),
            fits: |thread| {
                let form = thread.form.as_ref().unwrap();
                let mut values = form.fields.values().filter_map(|field| field.value.as_deref());
                values.any(|value| value.lines().any(|line| line == "garantía"))
            },
        },
    ]
}

/// Threads in which the criteria meet in many mixtures: bits of the number decide.
fn threads() -> Vec<Thread> {
    (0..240_i64).map(mixed).collect()
}

fn mixed(n: i64) -> Thread {
    let bit = |weight: i64, of: i64| (n * weight + n / 7) % of == 0;
    let mut thread = sample::thread(if bit(3, 2) { "Llegó el camión rojo" } else { "sin novedades" });
    let head = &mut thread.head;
    head.attention_number = n % 20;
    head.campaign_key = ["ventas", "soporte", "cobranza"][usize::try_from(n % 3).unwrap()].into();
    head.agent_key = if bit(5, 2) { "luis" } else { "ana" }.into();
    head.ended_at = at(n * 977);
    head.direction = if bit(7, 3) { Direction::Outbound } else { Direction::Inbound };
    head.customer.name = if bit(11, 3) { "José Núñez" } else { "Lucía Ramírez" }.into();
    head.customer.address = if bit(13, 2) { format!("c{n}@norte.pe") } else { format!("c{n}@sur.pe") };
    head.subject = if bit(17, 2) { "Devolución 50% hoy" } else { "Devolución 50x hoy" }.into();
    head.tags = if bit(19, 2) { vec!["VIP".into()] } else { vec!["Otro".into()] };
    thread.messages[0].from = thread.head.customer.clone();
    let motive = if bit(23, 2) { "otro\ngarantía" } else { "garantía extendida" };
    let field = FormField { label: "Motivo".into(), value: Some(motive.into()) };
    let second = FormField { label: "Detalle".into(), value: bit(29, 2).then(|| "Garantía".to_lowercase()) };
    let fields = BTreeMap::from([("motivo".to_owned(), field), ("detalle".to_owned(), second)]);
    thread.form = Some(FilledForm { key: "f".into(), version: 1, fields });
    if bit(31, 2) {
        thread.messages[0].attachments.push(attachment("Cotización-final_2.pdf"));
    }
    thread
}

fn attachment(name: &str) -> Attachment {
    Attachment {
        sha256: "0".repeat(64),
        file_name: name.into(),
        media_type: "application/pdf".into(),
        size_bytes: 1,
        content_id: String::new(),
        inline: false,
    }
}

#[tokio::test]
async fn every_criterion_alone_in_pairs_and_in_triples() {
    let store = sample::store().await;
    let mut threads = threads();
    for thread in &threads {
        store.put(thread.clone()).await.unwrap();
    }
    threads.sort_by_key(|thread| std::cmp::Reverse((thread.head.ended_at, thread.head.interaction_id)));
    let cases = cases();
    let (mut asked_for, mut not_empty) = (0, 0);
    for a in 0..cases.len() {
        for b in a..cases.len() {
            for c in b..cases.len() {
                let chosen = [&cases[a], &cases[b], &cases[c]];
                let names = chosen.map(|case| case.name);
                // Two parts of one customer cannot be asked for at once.
                if names
                    .iter()
                    .filter(|name| name.starts_with("customer"))
                    .collect::<std::collections::BTreeSet<_>>()
                    .len()
                    > 1
                {
                    continue;
                }
                let mut asked = Asked::default();
                chosen.iter().for_each(|case| (case.ask)(&mut asked));
                let fitting = threads.iter().filter(|thread| chosen.iter().all(|case| (case.fits)(thread)));
                let expected: Vec<_> = fitting.map(|thread| thread.head.interaction_id).take(200).collect();
                assert_eq!(ids(&store, Scope::All, &asked).await, expected, "{names:?}");
                asked_for += 1;
                not_empty += usize::from(!expected.is_empty());
            }
        }
    }
    assert!(not_empty * 10 > asked_for * 7, "only {not_empty} of {asked_for} combinations find anything");
}

/// Many threads by SQL; the texts fit [`cases`].
async fn fill(store: &Store, count: i32) {
    let statements = [
        "INSERT INTO thread (interaction_id, version, attention_id, attention_number, ordinal, campaign_key, account_key,
             agent_key, channel, direction, customer_name, customer_address, subject, ended_at, attention_closed,
             message_count, tags, customer_folded, subject_folded, tags_folded, form_entries)
         SELECT gen_random_uuid(), 1, gen_random_uuid(), n, 1, (ARRAY['ventas', 'soporte', 'cobranza'])[1 + n % 3], 'a',
             (ARRAY['ana', 'luis'])[1 + n % 2], 'email', 1 + n % 2, '', '', '', '2026-01-01'::timestamptz + n * interval '1 minute',
             false, 0, '{}', CASE n % 500 WHEN 0 THEN 'jose nunez' ELSE md5(n::text) END || E'\\nc' || n || CASE n % 300 WHEN 0 THEN '@norte.pe' ELSE '@sur.pe' END,
             CASE n % 400 WHEN 0 THEN 'devolucion 50% hoy' ELSE 'pedido ' || md5(n::text) END,
             ARRAY['t' || n % 50],
             ARRAY['motivo=' || CASE n % 300 WHEN 0 THEN 'garantia' ELSE 'm' || n % 40 END, 'detalle=d' || n % 90]
         FROM generate_series(1, $1) AS n",
        "INSERT INTO thread_words SELECT interaction_id, 1, search_vector('hola camión w' || attention_number % 700)
         FROM thread WHERE $1 > 0",
    ];
    // A session of its own: a busy machine needs longer for it than a search may take.
    let mut session = store.db().pool().acquire().await.unwrap().detach();
    sqlx::query("SET statement_timeout = 0").execute(&mut session).await.unwrap();
    for statement in statements {
        sqlx::query(statement).bind(count).execute(&mut session).await.unwrap();
    }
    // As autovacuum does: statistics, and new entries merged into the GIN indexes.
    sqlx::query("VACUUM ANALYZE").execute(&mut session).await.unwrap();
    sqlx::Connection::close(session).await.unwrap();
}

#[tokio::test]
async fn no_pair_of_criteria_reads_every_thread() {
    let store = sample::store().await;
    fill(&store, 20_000).await;
    let cases = cases();
    for (a, first) in cases.iter().enumerate() {
        for second in &cases[a..] {
            for scope in [Scope::All, Scope::Campaigns(["ventas".to_owned(), "soporte".to_owned()].into())] {
                let mut asked = Asked::default();
                (first.ask)(&mut asked);
                (second.ask)(&mut asked);
                let page =
                    PageRequest::first(scope.clone(), Criteria::parse(&asked).unwrap(), ZONE.into(), 50);
                let plan = store.plan(page).await.unwrap().join("\n");
                let scans = plan.contains("Seq Scan");
                assert!(!scans, "{} and {} in {scope:?}:\n{plan}", first.name, second.name);
            }
        }
    }
}

/// A rare word is looked up and never searched for thread by thread, however the planner estimates it.
#[tokio::test]
async fn a_rare_word_never_makes_it_walk_all_threads() {
    let store = sample::store().await;
    fill(&store, 20_000).await;
    for words in ["w699", "w699 camion", "camion w5 hola"] {
        for campaign_key in ["", "ventas"] {
            let asked = Asked { words: words.into(), campaign_key: campaign_key.into(), ..Asked::default() };
            let page = PageRequest::first(Scope::All, Criteria::parse(&asked).unwrap(), ZONE.into(), 50);
            let plan = store.plan(page).await.unwrap().join("\n");
            let walks = plan.contains("thread_ended") || plan.contains("thread_campaign_ended");
            assert!(!walks && plan.contains("thread_pkey"), "{words}:\n{plan}");
        }
    }
}

#[tokio::test]
async fn words_are_found_with_and_without_accents_in_both_languages() {
    let store = sample::store().await;
    let texts = [
        "El camión y las camionetas",
        "El camion salio",
        "Comunicaciones pendientes",
        "The invoices were paid",
        "mañana vuelve el ñandú",
        "correo: ana-maría@ejemplo.pe/ventas 3,50",
        "que si no",
        "STRASSE Straße Ørsted",
    ];
    for text in texts {
        store.put(sample::thread(text)).await.unwrap();
    }
    let cases: [(&str, usize); 18] = [
        ("camion", 2),
        ("camión", 2),
        ("CAMIONES", 2),
        ("salió", 1),
        ("comunicación", 1),
        ("comunicaciones", 1),
        ("invoice", 1),
        ("paid invoices", 1),
        ("manana", 1),
        ("nandu", 1),
        ("ñandu", 1),
        ("ana-maria@ejemplo.pe", 1),
        ("maría ventas", 1),
        ("50", 1),
        ("si", 1),
        ("camion invoice", 0),
        ("strasse orsted", 1),
        ("camio", 0),
    ];
    for (words, expected) in cases {
        let asked = Asked { words: words.into(), ..Asked::default() };
        assert_eq!(ids(&store, Scope::All, &asked).await.len(), expected, "{words}");
    }
}

#[tokio::test]
async fn words_may_stand_in_different_places_of_one_thread() {
    let store = sample::store().await;
    let mut thread = sample::thread("uno");
    thread.messages.push(sample::message("dos"));
    thread.messages[1].subject = "Re: tres".into();
    thread.head.subject = "cuatro".into();
    let field = FormField { label: "Detalle".into(), value: Some("cinco".into()) };
    let fields = BTreeMap::from([("detalle".to_owned(), field)]);
    thread.form = Some(FilledForm { key: "f".into(), version: 1, fields });
    store.put(thread).await.unwrap();
    store.put(sample::thread("uno dos")).await.unwrap();
    let all = Asked { words: "cinco tres uno dos cuatro".into(), ..Asked::default() };
    assert_eq!(ids(&store, Scope::All, &all).await.len(), 1);
    let label = Asked { words: "detalle".into(), ..Asked::default() };
    assert_eq!(ids(&store, Scope::All, &label).await.len(), 0, "labels are not what somebody wrote");
}

#[tokio::test]
async fn anyone_who_wrote_in_the_thread_is_found_by_name_and_address() {
    let store = sample::store().await;
    let mut thread = sample::thread("hola");
    let mut second = sample::message("yo también");
    second.from.address = "tomas@otra.example".into();
    second.from.name = "Tomás Ibáñez".into();
    thread.messages.push(second);
    store.put(thread).await.unwrap();
    for (part, found) in
        [("ibanez", 1), ("tomas@otra", 1), ("lucia", 1), ("ramirez lucia", 0), ("ez lucia@", 0)]
    {
        let asked = Asked { customer: part.into(), ..Asked::default() };
        assert_eq!(ids(&store, Scope::All, &asked).await.len(), found, "{part}");
    }
}

#[tokio::test]
async fn pages_follow_each_other_without_gap_or_repetition_also_while_threads_arrive() {
    let store = sample::store().await;
    let mut expected = Vec::new();
    for n in 0..25 {
        let mut thread = sample::thread("hola");
        // Five threads share each instant: the id decides among them.
        thread.head.ended_at = at(n / 5);
        expected.push((thread.head.ended_at, thread.head.interaction_id));
        store.put(thread).await.unwrap();
    }
    expected.sort_by_key(|key| std::cmp::Reverse(*key));
    let asked = Asked { words: "hola".into(), ..Asked::default() };
    let mut page = PageRequest::first(Scope::All, Criteria::parse(&asked).unwrap(), ZONE.into(), 4);
    let mut seen = Vec::new();
    loop {
        let found = store.search(page.clone()).await.unwrap();
        assert!(found.heads.len() <= 4);
        seen.extend(found.heads.iter().map(|head| (head.ended_at, head.interaction_id)));
        let mut newer = sample::thread("hola");
        newer.head.ended_at = at(1_000);
        store.put(newer).await.unwrap();
        match found.next {
            Some(next) => page = page.after(next),
            None => break,
        }
    }
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn a_scope_hides_everything_else_from_every_criterion() {
    let store = sample::store().await;
    for thread in threads() {
        store.put(thread).await.unwrap();
    }
    let scope = Scope::Campaigns(["ventas".to_owned()].into());
    for case in cases() {
        let mut asked = Asked::default();
        (case.ask)(&mut asked);
        let page = PageRequest::first(scope.clone(), Criteria::parse(&asked).unwrap(), ZONE.into(), 200);
        let heads = store.search(page).await.unwrap().heads;
        assert!(heads.iter().all(|head| head.campaign_key == "ventas"), "{}", case.name);
        assert_eq!(heads.is_empty(), case.name == "campaign", "{}", case.name);
    }
    let nothing = Scope::Campaigns(Default::default());
    assert!(ids(&store, nothing, &Asked::default()).await.is_empty());
}
