//! The stack's block of loopback ports, and the check that nobody else has one of them before anything is started.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;

use hilo_kit::error::Error;

/// A block of ports above one base; base 8400 gives the documented ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    base: u16,
}

impl Ports {
    /// The block above `base`; 0 looks for a block that is free.
    ///
    /// # Errors
    /// `BAD_PORT_BASE` when the block would leave the range of unprivileged ports, or none is free.
    pub fn new(base: u16) -> Result<Self, Error> {
        if base == 0 {
            return Self::any();
        }
        if !(1024..=65_400).contains(&base) {
            return Err(Error::invalid(
                "BAD_PORT_BASE",
                "--port-base must lie between 1024 and 65400, or be 0",
            ));
        }
        Ok(Self { base })
    }

    fn any() -> Result<Self, Error> {
        // Below the kernel's usual range for outgoing connections, so that none of those takes a port meanwhile.
        let first = 10_000 + u16::try_from(std::process::id() % 200).unwrap_or_default() * 100;
        (0..200u16)
            .map(|step| Self { base: 10_000 + (first - 10_000 + step * 100) % 20_000 })
            .find(|ports| ports.occupied().is_none())
            .ok_or_else(|| Error::exhausted("NO_FREE_PORTS", "no free block of ports was found"))
    }

    /// The base of the block.
    pub fn base(self) -> u16 {
        self.base
    }

    /// The one public gRPC and gRPC-web port.
    pub fn front(self) -> u16 {
        self.base + 70
    }

    /// attention-state's gRPC.
    pub fn attention_state(self) -> u16 {
        self.base + 71
    }

    /// routing's gRPC.
    pub fn routing(self) -> u16 {
        self.base + 72
    }

    /// history's gRPC.
    pub fn history(self) -> u16 {
        self.base + 73
    }

    /// email-ingest's gRPC.
    pub fn email_ingest(self) -> u16 {
        self.base + 74
    }

    /// whatsapp-ingest's gRPC.
    pub fn whatsapp_ingest(self) -> u16 {
        self.base + 75
    }

    /// Where Meta's webhooks come in.
    pub fn webhook(self) -> u16 {
        self.base + 80
    }

    /// The simulator of the Cloud API, where the phones of WhatsApp are played.
    pub fn simulator(self) -> u16 {
        self.base + 60
    }

    /// Where customers' mail comes in.
    pub fn smtp(self) -> u16 {
        self.base + 25
    }

    /// Where the agents' mail goes on a machine without a relay.
    pub fn mailbox(self) -> u16 {
        self.base + 26
    }

    /// nats-server's clients.
    pub fn nats(self) -> u16 {
        self.base + 22
    }

    /// nats-server's monitoring page.
    pub fn nats_monitor(self) -> u16 {
        self.base + 23
    }

    /// PostgreSQL.
    pub fn postgres(self) -> u16 {
        self.base + 32
    }

    /// Every port with the name of what will listen on it.
    pub fn all(self) -> [(u16, &'static str); 13] {
        [
            (self.front(), "the public gRPC port"),
            (self.attention_state(), "attention-state"),
            (self.routing(), "routing"),
            (self.history(), "history"),
            (self.email_ingest(), "email-ingest"),
            (self.whatsapp_ingest(), "whatsapp-ingest"),
            (self.webhook(), "incoming WhatsApp webhooks"),
            (self.simulator(), "the simulator of WhatsApp's Cloud API"),
            (self.smtp(), "incoming mail"),
            (self.mailbox(), "the mailbox for outgoing mail"),
            (self.nats(), "nats-server"),
            (self.nats_monitor(), "nats-server's monitoring"),
            (self.postgres(), "PostgreSQL"),
        ]
    }

    fn occupied(self) -> Option<(u16, &'static str)> {
        self.all().into_iter().find(|(port, _)| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_err())
    }

    /// Refuses to go on when a port of the block is taken.
    ///
    /// # Errors
    /// `PORT_IN_USE`, naming the port, what it is for and, when it can be found, the process that has it.
    pub fn check_free(self) -> Result<(), Error> {
        let Some((port, purpose)) = self.occupied() else { return Ok(()) };
        let by = owner(port).map_or_else(String::new, |owner| format!(" by {owner}"));
        Err(Error::rejected(
            "PORT_IN_USE",
            format!(
                "port {port} ({purpose}) is in use{by}; stop that, or take another block of ports: \
                 hilo run --port-base 9400"
            ),
        ))
    }
}

/// A loopback address.
pub fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// Which process listens on the port, as far as this user may see it.
fn owner(port: u16) -> Option<String> {
    let inode = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .find_map(|table| listening_inode(&std::fs::read_to_string(table).ok()?, port))?;
    let wanted = format!("socket:[{inode}]");
    let processes = std::fs::read_dir("/proc").ok()?;
    processes.flatten().find_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        holds(&entry.path(), &wanted).then(|| {
            let name = std::fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
            format!("process {pid} ({})", name.trim())
        })
    })
}

fn holds(process: &Path, socket: &str) -> bool {
    let Ok(descriptors) = std::fs::read_dir(process.join("fd")) else { return false };
    descriptors
        .flatten()
        .any(|entry| std::fs::read_link(entry.path()).is_ok_and(|target| target.as_os_str() == socket))
}

/// The inode of the socket that listens on the port, from a table as in proc(5): local address in hexadecimal in the
/// second column, state in the fourth (0A is LISTEN), inode in the tenth.
fn listening_inode(table: &str, port: u16) -> Option<u64> {
    table.lines().skip(1).find_map(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let (_, local_port) = columns.get(1)?.rsplit_once(':')?;
        let listens = *columns.get(3)? == "0A";
        (listens && u16::from_str_radix(local_port, 16) == Ok(port)).then(|| columns.get(9)?.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_ports_are_those_of_base_8400() {
        let ports = Ports::new(8400).unwrap();
        assert_eq!(
            [ports.front(), ports.whatsapp_ingest(), ports.smtp(), ports.mailbox(), ports.simulator()],
            [8470, 8475, 8425, 8426, 8460]
        );
        assert_eq!([ports.nats(), ports.nats_monitor(), ports.postgres()], [8422, 8423, 8432]);
        assert_eq!(Ports::new(80).unwrap_err().reason(), "BAD_PORT_BASE");
    }

    #[test]
    fn an_occupied_port_is_named_with_its_owner() {
        let ports = Ports::new(0).unwrap();
        let _taken = TcpListener::bind(loopback(ports.nats())).unwrap();
        let error = ports.check_free().unwrap_err();
        assert_eq!(error.reason(), "PORT_IN_USE");
        let text = error.to_string();
        assert!(text.contains(&ports.nats().to_string()) && text.contains("nats-server"), "{text}");
        assert!(text.contains(&format!("process {}", std::process::id())), "{text}");
    }
}
