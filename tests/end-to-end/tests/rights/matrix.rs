//! Every RPC × role × campaign: what the table says, exactly, and of a foreign campaign not a byte.

use std::collections::BTreeMap;

use tonic::Code;
use tonic::transport::Channel;

use crate::requests::{ENDLESS, body, hosts};
use crate::state;
use crate::table::{self, COLUMNS, Cell, Word};
use crate::wire::{self, Answer};
use crate::world::{OURS, Seeds, THEIRS, World};
use hilo_end_to_end::Service;

/// Column of the coordinator: from here on there is no foreign campaign.
const COORDINATOR: usize = 4;
const SERVICE: usize = 5;

/// Somebody who calls.
#[derive(Clone, Debug)]
struct Caller {
    column: usize,
    /// `None` for a service.
    user: Option<String>,
}

impl Caller {
    fn of(column: usize, campaign: &str) -> Self {
        let user = match column {
            0 => Some(format!("agente-{campaign}")),
            COORDINATOR => Some("coordinadora".to_owned()),
            SERVICE => None,
            _ => Some(format!("{}-{campaign}", COLUMNS[column])),
        };
        Self { column, user }
    }

    fn token(&self, world: &World) -> String {
        self.user.as_deref().map_or_else(|| world.service_token(), |user| world.token(user))
    }

    fn name(&self) -> &str {
        self.user.as_deref().unwrap_or("a service")
    }
}

/// Calls every method of the table on all of its hosts.
pub struct Matrix<'a> {
    pub world: &'a World,
    channels: BTreeMap<Service, Channel>,
    table: BTreeMap<String, Vec<Cell>>,
    /// What was not as it should be.
    pub problems: Vec<String>,
    pub calls: usize,
}

impl<'a> Matrix<'a> {
    /// Checks that the table and the contracts name the same methods, and that each has a request.
    pub fn new(world: &'a World) -> Self {
        let table = table::read();
        let methods = table::methods();
        let named: Vec<&String> = table.keys().collect();
        let declared: Vec<&String> = methods.keys().collect();
        assert_eq!(named, declared, "left: rows of services/RIGHTS.md; right: methods of the contracts");
        let nothing: Vec<&String> =
            declared.into_iter().filter(|method| body(method, &world.theirs).is_none()).collect();
        assert!(nothing.is_empty(), "no request in tests/rights/requests.rs for {nothing:?}");
        for method in methods.values() {
            let endless = ENDLESS
                .contains(&format!("{}/{}", method.parent_service().full_name(), method.name()).as_str());
            assert!(!endless || method.is_server_streaming());
            assert!(
                !method.is_client_streaming(),
                "browsers have no client streaming: {}",
                method.full_name()
            );
        }
        let channels = Service::ALL.into_iter().map(|service| (service, world.channel(service))).collect();
        Self { world, channels, table, problems: Vec::new(), calls: 0 }
    }

    /// One call.
    pub async fn ask(
        &mut self,
        host: Service,
        method: &str,
        token: Option<&str>,
        request: Vec<u8>,
    ) -> Answer {
        self.calls += 1;
        let channel = &self.channels[&host];
        wire::call(channel, &format!("/{method}"), token, request, ENDLESS.contains(&method)).await
    }

    /// Notes what must not be.
    pub fn expect(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.problems.push(what());
        }
    }

    fn rows(&self) -> Vec<(String, Vec<Cell>, Service)> {
        let hosted = |(method, cells): (&String, &Vec<Cell>)| {
            let row = (method.clone(), cells.clone());
            hosts(method).iter().map(move |host| (row.0.clone(), row.1.clone(), *host)).collect::<Vec<_>>()
        };
        self.table.iter().flat_map(hosted).collect()
    }

    /// Nobody, and everybody of the other campaign: not a byte, and nothing changes.
    pub async fn strangers(&mut self) {
        let before = state::settled(&self.world.installation, state::GUARDED).await;
        for (method, cells, host) in self.rows() {
            self.nobody(&method, &cells, host).await;
            for (column, cell) in cells.iter().enumerate().take(COORDINATOR) {
                let caller = Caller::of(column, OURS[0]);
                self.stranger(&method, cell.foreign, host, &caller).await;
            }
        }
        let after = state::of(&self.world.installation, state::GUARDED).await;
        self.expect(before == after, || {
            format!("strangers changed something: {}", state::difference(&before, &after))
        });
    }

    async fn nobody(&mut self, method: &str, cells: &[Cell], host: Service) {
        let request = body(method, &self.world.theirs).unwrap();
        let answer = self.ask(host, method, None, request).await;
        let anyone = cells.iter().all(|cell| cell.own == Word::Anyone);
        let refused =
            answer.code == Code::Unauthenticated || (anyone && answer.code == Code::ResourceExhausted);
        self.expect(refused && !answer.says(&THEIRS), || {
            format!("{method} without a token: {}", answer.brief())
        });
        let nothing = body(method, &Seeds::made_up()).unwrap();
        let nothing = self.ask(host, method, None, nothing).await;
        self.expect(answer.refusal() == nothing.refusal(), || {
            format!(
                "{method} without a token: {} but of what does not exist: {}",
                answer.brief(),
                nothing.brief()
            )
        });
    }

    async fn stranger(&mut self, method: &str, word: Word, host: Service, caller: &Caller) {
        let token = caller.token(self.world);
        let request = body(method, &self.world.theirs).unwrap();
        let answer = self.ask(host, method, Some(&token), request).await;
        let row = format!("{method} by {} of what is foreign", caller.name());
        self.expect(!answer.says(&THEIRS), || format!("{row}: shows it: {}", answer.brief()));
        self.judge(&row, word, &answer, host == hosts(method)[0]);
        // What is another's is refused in the very words in which what does not exist is.
        let token = caller.token(self.world);
        let nothing = body(method, &Seeds::made_up()).unwrap();
        let nothing = self.ask(host, method, Some(&token), nothing).await;
        self.expect(answer.refusal() == nothing.refusal(), || {
            format!("{row}: {} but of what does not exist: {}", answer.brief(), nothing.brief())
        });
    }

    /// The campaign's own people, coordinators and services: those who may not first, so that the rest find everything.
    pub async fn own(&mut self) {
        let mut rows = self.rows();
        // Services look at what is ended before an agent reopens it.
        rows.sort_by_key(|(method, ..)| !method.contains("internal"));
        for (method, cells, host) in rows {
            let mut columns: Vec<usize> = (0..COLUMNS.len()).collect();
            columns.sort_by_key(|column| cells[*column].own != Word::Denied);
            for column in columns {
                let caller = Caller::of(column, THEIRS[0]);
                let token = caller.token(self.world);
                let request = body(&method, &self.world.theirs).unwrap();
                let answer = self.ask(host, &method, Some(&token), request).await;
                let row = format!("{method} by {}", caller.name());
                self.judge(&row, cells[caller.column].own, &answer, host == hosts(&method)[0]);
            }
        }
    }

    /// Only the first host of a service that several serve has what is asked for.
    fn judge(&mut self, row: &str, word: Word, answer: &Answer, first: bool) {
        let refused = matches!(answer.code, Code::PermissionDenied | Code::Unauthenticated);
        let holds = match word {
            Word::Reads if first => answer.code == Code::Ok && answer.says(&THEIRS),
            Word::May if first => !refused && answer.code != Code::NotFound,
            Word::Reads | Word::May => !refused,
            Word::Blank => answer.code == Code::Ok && !answer.says(&THEIRS),
            Word::Missing => answer.code == Code::NotFound && !answer.reason.is_empty(),
            Word::Denied => answer.code == Code::PermissionDenied && !answer.reason.is_empty(),
            Word::Anyone => matches!(answer.code, Code::Unauthenticated | Code::ResourceExhausted),
        };
        let defect = matches!(
            answer.code,
            Code::Internal | Code::Unknown | Code::DataLoss | Code::Unavailable | Code::DeadlineExceeded
        );
        self.expect(holds && !defect, || format!("{row}: {word:?} expected, {}", answer.brief()));
    }
}
