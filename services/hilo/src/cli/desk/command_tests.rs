//! What can be typed at the desk, and what is refused with which hint.

use super::*;

#[test]
fn lines_become_commands() {
    for (line, expected) in [
        ("", DeskCommand::Nothing),
        ("  list \n", DeskCommand::List),
        ("open", DeskCommand::Open(ItemName::Next)),
        ("open 3", DeskCommand::Open(ItemName::Number(3))),
        ("open #5804", DeskCommand::Open(ItemName::Attention(5804))),
        ("reply Hola,\\nsaludos", DeskCommand::Reply { text: "Hola,\nsaludos".to_owned(), all: false }),
        ("reply --all Hola", DeskCommand::Reply { text: "Hola".to_owned(), all: true }),
        ("reply --allí vamos", DeskCommand::Reply { text: "--allí vamos".to_owned(), all: false }),
        ("replyall Hola", DeskCommand::Reply { text: "Hola".to_owned(), all: true }),
        (
            "forward a@x,b@y --files Ver\\nabajo",
            DeskCommand::Forward {
                to: vec!["a@x".to_owned(), "b@y".to_owned()],
                files: true,
                text: "Ver\nabajo".to_owned(),
            },
        ),
        (
            "forward a@x",
            DeskCommand::Forward { to: vec!["a@x".to_owned()], files: false, text: String::new() },
        ),
        ("attach /tmp/mi informe.pdf", DeskCommand::Attach("/tmp/mi informe.pdf".to_owned())),
        ("bcc a@x", DeskCommand::Copy { to: vec!["a@x".to_owned()], hidden: true }),
        ("download 2 /tmp", DeskCommand::Download { number: 2, to: "/tmp".to_owned() }),
        ("form", DeskCommand::Form(Vec::new())),
        ("end", DeskCommand::End { close: false }),
        ("end --close", DeskCommand::End { close: true }),
        ("wait 5", DeskCommand::Wait(Duration::from_secs(5))),
        ("note Ya llamó", DeskCommand::Note("Ya llamó".to_owned())),
        (
            "transfer @luis es suyo",
            DeskCommand::Transfer { to: To::Agent("luis".to_owned()), note: "es suyo".to_owned() },
        ),
        (
            "transfer ventas",
            DeskCommand::Transfer { to: To::Campaign("ventas".to_owned()), note: String::new() },
        ),
        (
            "start ventas eva@x.pe \"Su pedido 7\" Hola,\\nEva",
            DeskCommand::Start(First {
                campaign: "ventas".to_owned(),
                to: "eva@x.pe".to_owned(),
                subject: "Su pedido 7".to_owned(),
                text: "Hola,\nEva".to_owned(),
            }),
        ),
        (
            "reopen 019a0000-0000-7000-8000-000000000001",
            DeskCommand::Reopen("019a0000-0000-7000-8000-000000000001".to_owned()),
        ),
        (
            "template aviso Rosa \"dos palabras\" --lang es_PE",
            DeskCommand::Template(Filled {
                name: "aviso".to_owned(),
                language: "es_PE".to_owned(),
                values: vec!["Rosa".to_owned(), "dos palabras".to_owned()],
            }),
        ),
        (
            "start mensajes +51999111222 aviso",
            DeskCommand::StartChat(FirstChat {
                campaign: "mensajes".to_owned(),
                phone: "+51999111222".to_owned(),
                template: Filled { name: "aviso".to_owned(), language: String::new(), values: Vec::new() },
            }),
        ),
        ("reply", DeskCommand::Reply { text: String::new(), all: false }),
        ("templates", DeskCommand::Templates),
        ("retry", DeskCommand::Retry),
        ("why", DeskCommand::Why(ItemName::Next)),
        ("why 2", DeskCommand::Why(ItemName::Number(2))),
        ("quit", DeskCommand::Quit),
    ] {
        assert_eq!(parse(line), Ok(expected), "{line:?}");
    }
}

#[test]
fn form_fields_take_quotes_and_several_choices() {
    let pairs = fields("motivo=reclamo comentario=\"llegó tarde\" temas=envío|pago vacío=").expect("pairs");
    let pairs: Vec<(&str, &str)> = pairs.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    assert_eq!(
        pairs,
        vec![("motivo", "reclamo"), ("comentario", "llegó tarde"), ("temas", "envío\npago"), ("vacío", "")]
    );
}

#[test]
fn mistakes_are_answered_with_what_would_be_right() {
    for line in [
        "decline",
        "open uno",
        "open #x",
        "end now",
        "form motivo",
        "form a=\"b",
        "form temas=Entrega temas=Pago",
        "wait 0",
        "lst",
        "read it",
        "note",
        "transfer",
        "transfer @",
        "start ventas eva@x.pe Hola",
        "start ventas eva@x.pe \"Su pedido\"",
        "reopen 3",
        "reopen",
        "quit now",
        "template",
        "template aviso \"x",
        "template aviso --lang",
        "start mensajes +51999111222",
        "forward",
        "forward nadie",
        "cc",
        "attach",
        "download x",
    ] {
        assert!(parse(line).is_err(), "{line:?}");
    }
}

proptest::proptest! {
    #[test]
    fn no_line_breaks_the_parser(line in ".*") {
        let _ = parse(&line);
    }
}
