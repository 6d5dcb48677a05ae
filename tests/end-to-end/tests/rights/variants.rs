//! What can be wrong with a request, made from its descriptor: every field at every depth, one at a time.

use prost::Message as _;
use prost_reflect::{
    DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, ReflectMessage as _, Value,
};

/// How deep messages in messages are looked into.
const DEPTH: usize = 3;
/// Entries of a list that is too long by far.
const MANY: usize = 10_000;
/// Longer than any name, shorter than a message may be.
const LONG: usize = 10 * 1024;
/// Longer than any text.
const HUGE: usize = 2 * 1024 * 1024;
/// Paths, markup, SQL, a second header, text that runs backwards.
pub const HOSTILE: &str = "../../etc/passwd\\..\u{202e}<script>alert('x')</script>%_';--\r\nBcc: x@y.example";

/// A wrong request.
#[derive(Clone, Debug)]
pub struct Variant {
    /// What is wrong with it.
    pub what: String,
    pub bytes: Vec<u8>,
}

impl Variant {
    fn new(what: impl Into<String>, bytes: Vec<u8>) -> Self {
        Self { what: what.into(), bytes }
    }
}

/// Bytes that are no message, or more than one.
pub fn whole(right: &[u8]) -> Vec<Variant> {
    let mut cut = right.to_vec();
    cut.extend([0x0a, 0xff]);
    let mut heavy = right.to_vec();
    // Field 9999, 5 MiB: more than any message may have.
    heavy.extend([0xfa, 0xf0, 0x04, 0x80, 0x80, 0xc0, 0x02]);
    heavy.resize(heavy.len() + (5 << 20), b'x');
    vec![
        Variant::new("nothing", Vec::new()),
        Variant::new("garbage", vec![0xff; 64]),
        Variant::new("a message that breaks off", cut),
        Variant::new("a message of 5 MiB", heavy),
    ]
}

/// The same request with fields that the contract does not know: they change nothing.
pub fn with_unknown_fields(right: &[u8]) -> Vec<u8> {
    let mut bytes = right.to_vec();
    // Field 9999 as a number, field 536870911 (the greatest) as bytes.
    bytes.extend([0xf8, 0xf0, 0x04, 0x01, 0xfa, 0xff, 0xff, 0xff, 0x0f, 0x03, b'a', b'b', b'c']);
    bytes
}

/// Every field of the request made wrong in every way of its kind.
pub fn fields(descriptor: &MessageDescriptor, right: &[u8]) -> Vec<Variant> {
    let right = DynamicMessage::decode(descriptor.clone(), right).expect("the request is of its type");
    changed(&right, "", DEPTH)
        .into_iter()
        .map(|(what, message)| Variant::new(what, message.encode_to_vec()))
        .collect()
}

fn changed(message: &DynamicMessage, path: &str, depth: usize) -> Vec<(String, DynamicMessage)> {
    let mut all = Vec::new();
    for field in message.descriptor().fields() {
        let name = format!("{path}{}", field.name());
        for (what, value) in values(&field) {
            let mut other = message.clone();
            other.set_field(&field, value);
            all.push((format!("{name}: {what}"), other));
        }
        let Kind::Message(inner) = field.kind() else { continue };
        if depth == 0 || field.is_map() {
            continue;
        }
        let current = match message.get_field(&field).into_owned() {
            Value::Message(one) => one,
            Value::List(list) => match list.into_iter().next() {
                Some(Value::Message(one)) => one,
                _ => DynamicMessage::new(inner),
            },
            _ => DynamicMessage::new(inner),
        };
        for (what, one) in changed(&current, &format!("{name}."), depth - 1) {
            let mut other = message.clone();
            let one = Value::Message(one);
            other.set_field(&field, if field.is_list() { Value::List(vec![one]) } else { one });
            all.push((what, other));
        }
    }
    all
}

fn values(field: &FieldDescriptor) -> Vec<(&'static str, Value)> {
    if field.is_map() {
        let Kind::Message(entry) = field.kind() else { return Vec::new() };
        let of_text = entry.map_entry_value_field().kind() == Kind::String;
        return if of_text { entries() } else { Vec::new() };
    }
    let mut values = singles(&field.kind());
    if field.is_list() {
        let many = Value::List(vec![Value::default_value(&field.kind()); MANY]);
        values = values.into_iter().map(|(what, one)| (what, Value::List(vec![one]))).collect();
        values.push(("far too many", many));
    }
    values
}

fn entries() -> Vec<(&'static str, Value)> {
    let text = |text: &str| Value::String(text.to_owned());
    let one = |key: &str, value: &str| Value::Map([(MapKey::String(key.to_owned()), text(value))].into());
    let many = (0..MANY).map(|at| (MapKey::String(format!("k{at}")), text("v"))).collect();
    vec![
        ("an empty key", one("", "v")),
        ("a long key", one(&"k".repeat(LONG), "v")),
        ("a key with NUL", one("a\0b", "v")),
        ("a hostile key", one(HOSTILE, "v")),
        ("a huge value", one("k", &"v".repeat(HUGE))),
        ("a value with NUL", one("k", "a\0b")),
        ("far too many", Value::Map(many)),
    ]
}

fn singles(kind: &Kind) -> Vec<(&'static str, Value)> {
    let text = |text: String| Value::String(text);
    match kind {
        Kind::String => vec![
            ("empty", text(String::new())),
            ("long", text("x".repeat(LONG))),
            ("huge", text("ñ".repeat(HUGE / 2))),
            ("with NUL", text("a\0b".to_owned())),
            ("hostile", text(HOSTILE.to_owned())),
            ("a number", text("999999999999999999999999999999".to_owned())),
        ],
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => vec![
            ("least", Value::I32(i32::MIN)),
            ("negative", Value::I32(-1)),
            ("greatest", Value::I32(i32::MAX)),
        ],
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => vec![
            ("least", Value::I64(i64::MIN)),
            ("negative", Value::I64(-1)),
            ("greatest", Value::I64(i64::MAX)),
        ],
        Kind::Uint32 | Kind::Fixed32 => vec![("greatest", Value::U32(u32::MAX))],
        Kind::Uint64 | Kind::Fixed64 => vec![("greatest", Value::U64(u64::MAX))],
        Kind::Double => vec![("no number", Value::F64(f64::NAN)), ("infinite", Value::F64(f64::INFINITY))],
        Kind::Float => vec![("no number", Value::F32(f32::NAN))],
        Kind::Bytes => {
            vec![("empty", Value::Bytes(Vec::new().into())), ("huge", Value::Bytes(vec![0; HUGE].into()))]
        }
        Kind::Enum(_) => vec![("unknown", Value::EnumNumber(9_999)), ("negative", Value::EnumNumber(-1))],
        Kind::Message(inner) => vec![("empty", Value::Message(DynamicMessage::new(inner.clone())))],
        Kind::Bool => Vec::new(),
    }
}
