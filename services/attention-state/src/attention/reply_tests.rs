//! Who gets an answer, under which subject and headers, with what below it.

use super::*;

fn one(address: &str) -> StoredAddress {
    StoredAddress { address: address.into(), name: String::new() }
}

fn parts() -> Parts<'static> {
    let (to, cc) = (
        vec![one("Soporte+abc@ejemplo.pe"), one("otto@cliente.example")],
        vec![one("EVA@cliente.example"), one("jefa@cliente.example")],
    );
    Parts {
        account: StoredAddress { address: "soporte@ejemplo.pe".into(), name: "Soporte".into() },
        answered: Answered {
            from: one("eva@cliente.example"),
            to: to.clone(),
            cc: cc.clone(),
            reply_to: Vec::new(),
            outbound: false,
            answerable: true,
            purged: false,
            internet_message_id: "m3@cliente.example".into(),
            reference_ids: vec!["m1@cliente.example".into(), "m2@ejemplo.pe".into()],
            original: Original {
                from: Some(one("eva@cliente.example")),
                to,
                cc,
                date: "21/11/2026 14:05".into(),
                subject: "No llegó\r\nBcc: x@y".into(),
                text: "¿Y mi pedido?".into(),
                ..Original::default()
            },
        },
        mode: Mode::Reply,
        to: Vec::new(),
        cc: Vec::new(),
        bcc: Vec::new(),
        subject: "",
        text: "Hola\n",
        html: "",
        quote: false,
        signature: "Soporte\n",
        token: "token",
        unique: Uuid::nil(),
    }
}

fn addresses(list: &[StoredAddress]) -> Vec<&str> {
    list.iter().map(|one| one.address.as_str()).collect()
}

#[test]
fn a_reply_goes_to_the_author_and_continues_the_thread() {
    let reply = compose(parts());
    assert_eq!(addresses(&reply.to), ["eva@cliente.example"]);
    assert!(reply.cc.is_empty());
    assert_eq!(reply.message_id, "00000000000000000000000000000000.token@ejemplo.pe");
    assert_eq!(reply.in_reply_to, "m3@cliente.example");
    assert_eq!(reply.references, ["m1@cliente.example", "m2@ejemplo.pe", "m3@cliente.example"]);
    assert_eq!(reply.reply_to, "soporte+token@ejemplo.pe");
    assert_eq!(reply.text, "Hola\n\n-- \nSoporte");
    assert_eq!(reply.subject, "Re: No llegó  Bcc: x@y");
}

#[test]
fn reply_all_leaves_out_ourselves_and_doubles() {
    let reply = compose(Parts {
        mode: Mode::ReplyAll,
        cc: vec![one("otto@cliente.example"), one("nuevo@x.example")],
        bcc: vec![one("NUEVO@x.example"), one("oculto@x.example")],
        ..parts()
    });
    assert_eq!(addresses(&reply.to), ["eva@cliente.example", "otto@cliente.example"]);
    assert_eq!(addresses(&reply.cc), ["jefa@cliente.example", "nuevo@x.example"]);
    assert_eq!(addresses(&reply.bcc), ["oculto@x.example"]);
    assert_eq!(reply.recipients().count(), 5);
}

#[test]
fn named_recipients_replace_those_of_the_answered_mail() {
    let reply = compose(Parts {
        mode: Mode::ReplyAll,
        to: vec![one("solo@x.example"), one("soporte@ejemplo.pe")],
        subject: " Otro\r\nasunto ",
        ..parts()
    });
    assert_eq!((addresses(&reply.to), reply.cc.len()), (vec!["solo@x.example"], 0));
    assert_eq!(reply.subject, "Otro  asunto");
}

#[test]
fn a_stored_reply_to_is_used_instead_of_the_author() {
    let mut parts = parts();
    parts.answered.reply_to = vec![one("ventas@cliente.example")];
    assert_eq!(addresses(&compose(parts).to), ["ventas@cliente.example"]);
}

#[test]
fn our_own_mail_is_followed_up_at_its_recipients() {
    let mut parts = parts();
    parts.answered.outbound = true;
    parts.answered.from = one("soporte@ejemplo.pe");
    assert_eq!(addresses(&compose(parts).to), ["otto@cliente.example"]);
}

#[test]
fn a_forward_has_new_recipients_and_the_original() {
    let mut parts =
        Parts { mode: Mode::Forward, to: vec![one("taller@x.example")], text: "Ver abajo.", ..parts() };
    let reply = compose(parts.clone());
    assert_eq!((addresses(&reply.to), reply.in_reply_to.as_str()), (vec!["taller@x.example"], ""));
    assert!(reply.subject.starts_with("Fwd: No llegó"));
    assert!(
        reply.text.starts_with("Ver abajo.\n\n-- \nSoporte\n\n---------- Mensaje reenviado"),
        "{}",
        reply.text
    );
    assert!(reply.text.ends_with("¿Y mi pedido?") && reply.html.is_empty());
    parts.answered.original.html = "<b>¿Y mi pedido?</b>".into();
    let html = compose(parts.clone()).html;
    assert!(
        html.starts_with("<div>Ver abajo.</div><p>-- <br>Soporte</p>") && html.contains("<b>¿Y"),
        "{html}"
    );
    parts.to.clear();
    assert_eq!(compose(parts).recipients().count(), 0, "nobody is forwarded to by default");
}

#[test]
fn a_quotation_stands_below_text_and_html() {
    let reply = compose(Parts { quote: true, html: "<p>Hola</p>", ..parts() });
    assert!(
        reply
            .text
            .ends_with("-- \nSoporte\n\nEl 21/11/2026 14:05, eva@cliente.example escribió:\n> ¿Y mi pedido?")
    );
    assert!(reply.html.ends_with("<blockquote><div>¿Y mi pedido?</div></blockquote>"), "{}", reply.html);
    assert!(compose(Parts { quote: true, ..parts() }).html.is_empty());
}

#[test]
fn long_chains_keep_root_and_newest_and_hostile_ids_leave() {
    let mut parts = parts();
    parts.answered.reference_ids =
        (0..40).map(|n| format!("m{n}@x")).chain(["evil\r\nBcc: a@b".into()]).collect();
    let references = compose(parts).references;
    assert_eq!(references.len(), MAX_REFERENCES);
    assert_eq!(references.first().map(String::as_str), Some("m0@x"));
    assert_eq!(references.last().map(String::as_str), Some("m3@cliente.example"));
    assert!(references.iter().all(|id| !id.contains('\n')));
}

#[test]
fn the_signature_is_escaped() {
    let reply = compose(Parts { html: "<p>Hola</p>", signature: "a < b", ..parts() });
    assert_eq!(reply.html, "<p>Hola</p><p>-- <br>a &lt; b</p>");
}

#[test]
fn an_author_without_address_leaves_nobody() {
    let mut parts = parts();
    parts.answered.from = one("");
    assert_eq!(compose(parts).recipients().count(), 0);
}
