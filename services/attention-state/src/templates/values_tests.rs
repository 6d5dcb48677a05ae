//! Values of templates, as tables.

use hilo_proto::outbound::v1::SendMedia;

use super::*;

fn part(kind: &str, format: &str, text: &str, variables: &[&str]) -> TemplatePart {
    TemplatePart {
        r#type: kind.into(),
        format: format.into(),
        text: text.into(),
        variables: variables.iter().map(|one| (*one).to_owned()).collect(),
        buttons: Vec::new(),
    }
}

fn buttons(all: &[(&str, &str, bool)]) -> TemplatePart {
    let one = |(kind, text, has_variable): &(&str, &str, bool)| TemplateButton {
        r#type: (*kind).into(),
        text: (*text).into(),
        has_variable: *has_variable,
    };
    TemplatePart { buttons: all.iter().map(one).collect(), ..part("BUTTONS", "", "", &[]) }
}

fn template(parts: Vec<TemplatePart>) -> Template {
    Template { name: "aviso".into(), language: "es".into(), parts, ..Template::default() }
}

fn named(name: &str, text: &str) -> TemplateParameter {
    TemplateParameter { name: name.into(), value: Some(Value::Text(text.into())) }
}

fn texts_of(kind: &str, values: &[&str]) -> TemplateComponent {
    component(kind, 0, values.iter().map(|one| named("", one)).collect())
}

fn component(kind: &str, index: i32, parameters: Vec<TemplateParameter>) -> TemplateComponent {
    TemplateComponent { r#type: kind.into(), index, parameters, ..TemplateComponent::default() }
}

fn file(kind: MediaKind) -> TemplateParameter {
    let media = SendMedia { kind: kind.into(), ..SendMedia::default() };
    TemplateParameter { value: Some(Value::Media(media)), ..TemplateParameter::default() }
}

fn payload(text: &str) -> TemplateParameter {
    TemplateParameter { value: Some(Value::Payload(text.into())), ..TemplateParameter::default() }
}

fn sends(components: Vec<TemplateComponent>) -> SendTemplate {
    SendTemplate { name: "aviso".into(), language: "es".into(), components }
}

#[test]
fn every_variable_needs_a_value_that_fits_and_nothing_else_is_taken() {
    let body = || part("BODY", "", "Hola {{1}}, pedido {{2}}", &["1", "2"]);
    let by_name = || part("BODY", "", "Hola {{nombre}}, {{pedido}}", &["nombre", "pedido"]);
    let link = || buttons(&[("QUICK_REPLY", "Sí", false), ("URL", "Ver", true)]);
    let both = || texts_of("body", &["Eva", "17"]);
    let path = |text: &str| if text.is_empty() { String::new() } else { format!("t.{text}") };
    let rows: Vec<(&str, Template, Vec<TemplateComponent>, &str)> = vec![
        ("none", template(vec![part("BODY", "", "Hola", &[])]), vec![], ""),
        ("none, one given", template(vec![part("BODY", "", "Hola", &[])]), vec![both()], "components[0]"),
        ("all", template(vec![body()]), vec![both()], ""),
        ("nothing given", template(vec![body()]), vec![], "components"),
        ("one lacks", template(vec![body()]), vec![texts_of("body", &["Eva"])], "components[0].parameters"),
        ("empty", template(vec![body()]), vec![texts_of("body", &["Eva", " "])], "components[0].parameters"),
        ("line", template(vec![body()]), vec![texts_of("body", &["E\nva", "1"])], "components[0].parameters"),
        (
            "spaces",
            template(vec![body()]),
            vec![texts_of("body", &["E     a", "1"])],
            "components[0].parameters",
        ),
        ("twice", template(vec![body()]), vec![both(), both()], "components[1]"),
        (
            "named",
            template(vec![by_name()]),
            vec![component("body", 0, vec![named("pedido", "17"), named("nombre", "Eva")])],
            "",
        ),
        ("misnamed", template(vec![by_name()]), vec![both()], "components[0].parameters"),
        (
            "one name twice",
            template(vec![by_name()]),
            vec![component("body", 0, vec![named("nombre", "1"), named("nombre", "2")])],
            "components[0].parameters",
        ),
        (
            "file",
            template(vec![part("HEADER", "IMAGE", "", &[])]),
            vec![component("header", 0, vec![file(MediaKind::Image)])],
            "",
        ),
        ("no file", template(vec![part("HEADER", "IMAGE", "", &[])]), vec![], "components"),
        (
            "other file",
            template(vec![part("HEADER", "IMAGE", "", &[])]),
            vec![component("header", 0, vec![file(MediaKind::Video)])],
            "components[0].parameters",
        ),
        ("place", template(vec![part("HEADER", "LOCATION", "", &[])]), vec![], "components"),
        ("link", template(vec![link()]), vec![component("button", 1, vec![named("", "17")])], ""),
        ("no link", template(vec![link()]), vec![], "components"),
        (
            "other button",
            template(vec![link()]),
            vec![component("button", 2, vec![named("", "17")])],
            "components[0]",
        ),
        (
            "payload",
            template(vec![link()]),
            vec![component("button", 1, vec![named("", "17")]), component("button", 0, vec![payload("si")])],
            "",
        ),
        (
            "text for a payload",
            template(vec![buttons(&[("QUICK_REPLY", "Sí", false)])]),
            vec![component("button", 0, vec![named("", "x")])],
            "components[0].parameters",
        ),
        ("unknown button", template(vec![buttons(&[("FLOW", "Ir", true)])]), vec![], "components"),
    ];
    for (name, template, components, wrong) in rows {
        let told = check(&template, &sends(components), "t");
        let found = told.as_ref().err().map(|error| error.violations()[0].field.clone()).unwrap_or_default();
        assert_eq!(found, path(wrong), "{name}: {told:?}");
        assert!(told.err().is_none_or(|error| error.reason() == "TEMPLATE_VARIABLES"), "{name}");
    }
}

#[test]
fn what_is_missing_is_named() {
    let needs = template(vec![part("BODY", "", "{{1}} {{2}}", &["1", "2"])]);
    let error = check(&needs, &sends(vec![]), "whatsapp.template").unwrap_err();
    assert_eq!(error.violations()[0].description, "body needs values for 1, 2");
}

#[test]
fn the_customer_reads_it_filled_in_once() {
    let whole = template(vec![
        part("HEADER", "TEXT", "Pedido {{1}}", &["1"]),
        part("BODY", "", "Hola {{ 1 }}, llega el {{2}}.", &["1", "2"]),
        part("FOOTER", "", "Gracias", &[]),
        buttons(&[("QUICK_REPLY", "Sí", false), ("QUICK_REPLY", "No", false)]),
    ]);
    let sent = sends(vec![texts_of("header", &["17"]), texts_of("body", &["{{2}}", "lunes"])]);
    assert_eq!(rendered(&whole, &sent), "Pedido 17\n\nHola {{2}}, llega el lunes.\n\nGracias\n\n[Sí] [No]");
    assert_eq!(header_media(&whole), None);
    assert_eq!(header_media(&template(vec![part("HEADER", "document", "", &[])])), Some(MediaKind::Document));
}

#[test]
fn values_that_meta_refuses_have_a_reason() {
    for (value, reason) in [
        ("Eva Quispe", None),
        ("a    b", None),
        ("", Some("VALUE_MISSING")),
        ("  ", Some("VALUE_MISSING")),
        ("a     b", Some("VALUE_MALFORMED")),
        ("a\nb", Some("VALUE_MALFORMED")),
        ("a\tb", Some("VALUE_MALFORMED")),
        ("a\0b", Some("VALUE_MALFORMED")),
    ] {
        assert_eq!(problem(value).map(|(reason, _)| reason), reason, "{value:?}");
    }
    assert_eq!(problem(&"ñ".repeat(MAX_VALUE)), None);
    assert_eq!(problem(&"ñ".repeat(MAX_VALUE + 1)).unwrap().0, "VALUE_TOO_LONG");
}
