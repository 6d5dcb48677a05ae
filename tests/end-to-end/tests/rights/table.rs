//! The rights table that people read (`services/RIGHTS.md`) as the test reads it.

use std::collections::BTreeMap;

/// The table; it is a document first.
const TEXT: &str = include_str!("../../../../services/RIGHTS.md");

/// Columns in their order.
pub const COLUMNS: [&str; 6] = ["agent", "supervisor", "reporter", "monitor", "coordinator", "service"];

/// What somebody gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// Answered, with what was asked for in it.
    Reads,
    /// Has the right; whether it works out depends on the state.
    May,
    /// Answered, with nothing of it.
    Blank,
    /// `NOT_FOUND`, exactly as for what does not exist.
    Missing,
    /// `PERMISSION_DENIED`.
    Denied,
    /// Needs no token; wrong credentials are refused alike, whoever they are of.
    Anyone,
}

impl Word {
    fn of(text: &str) -> Option<Self> {
        match text.trim() {
            "reads" => Some(Self::Reads),
            "may" => Some(Self::May),
            "blank" => Some(Self::Blank),
            "missing" => Some(Self::Missing),
            "denied" => Some(Self::Denied),
            "anyone" => Some(Self::Anyone),
            _ => None,
        }
    }
}

/// What a column says: of what is in one's own campaigns, and of another's.
#[derive(Clone, Copy, Debug)]
pub struct Cell {
    /// Of the own campaign.
    pub own: Word,
    /// Of a foreign one.
    pub foreign: Word,
}

/// Method (`hilo.x.v1.Service/Method`) to its cells in the order of [`COLUMNS`].
pub fn read() -> BTreeMap<String, Vec<Cell>> {
    let mut table = BTreeMap::new();
    let mut service = "";
    for line in TEXT.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            service = heading.trim_matches('`');
        }
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let Some((method, cells)) = cells.split_first().filter(|(_, rest)| rest.len() == COLUMNS.len())
        else {
            continue;
        };
        if *method == "RPC" || method.starts_with("--") {
            continue;
        }
        let cells = cells.iter().map(|text| cell(text).unwrap_or_else(|| panic!("RIGHTS.md: {line}")));
        let twice = table.insert(format!("{service}/{method}"), cells.collect());
        assert!(twice.is_none(), "RIGHTS.md has {service}/{method} twice");
    }
    table
}

/// `reads` for both, or `reads, missing` for the own and the foreign.
fn cell(text: &str) -> Option<Cell> {
    let (own, foreign) = text.split_once(',').unwrap_or((text, text));
    Some(Cell { own: Word::of(own)?, foreign: Word::of(foreign)? })
}

/// Methods of the contracts with what they need to be called, from the descriptors that reflection serves.
pub fn methods() -> BTreeMap<String, prost_reflect::MethodDescriptor> {
    let pool = prost_reflect::DescriptorPool::decode(hilo_proto::FILE_DESCRIPTOR_SET)
        .expect("the descriptors were written by the build");
    let services: Vec<_> = pool.services().collect();
    services.iter().flat_map(|service| service.methods().map(|method| (name(&method), method))).collect()
}

fn name(method: &prost_reflect::MethodDescriptor) -> String {
    format!("{}/{}", method.parent_service().full_name(), method.name())
}
