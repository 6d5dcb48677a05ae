//! Made-up ended threads: Spanish text with the frequencies of a natural one (Zipf), a median of four messages of one
//! kibibyte, and in each thread a code that occurs nowhere else.

use hilo_history::domain::thread::{Direction, FilledForm, FormField, Head, Mailbox, Message};
use hilo_history::domain::{AttentionId, InteractionId, MessageId, Thread};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use time::OffsetDateTime;

/// Frequent words, the most frequent first; accents as people write them.
const FREQUENT: &str = "de la que el en y a los se del las un por con no una su para es al lo como más o pero sus le ya este sí porque \
    esta entre cuando muy sin sobre también me hasta hay donde quien desde todo nos durante todos uno les ni contra otros ese eso ante ellos \
    pedido factura entrega gracias cliente demora envío producto número correo teléfono dirección cuenta pago reclamo devolución garantía \
    compra tienda mañana semana señor señora atención consulta respuesta solución espera camión colchón cotización reparación avería módem";
/// Words of a language that has more of them than we list.
const SYLLABLES: [&str; 24] = [
    "ca", "lo", "mi", "ra", "te", "nu", "pe", "sa", "do", "ri", "ga", "fu", "ble", "ción", "tro", "pan",
    "ñe", "que", "vi", "xo", "zar", "mén", "bió", "lú",
];
const VOCABULARY: usize = 30_000;
/// 2026-01-01T00:00:00Z.
const FIRST: i64 = 1_767_225_600;
/// Threads end over so many days.
const DAYS: i64 = 90;

/// Makes threads; the same number is always the same text.
pub struct Generator {
    words: Vec<String>,
    /// Sums of the words' weights, for drawing by frequency.
    sums: Vec<f64>,
}

impl Generator {
    /// With its vocabulary.
    pub fn new() -> Self {
        let mut random = StdRng::seed_from_u64(1);
        let mut words: Vec<String> = FREQUENT.split_whitespace().map(str::to_owned).collect();
        while words.len() < VOCABULARY {
            let syllables = random.random_range(2..5);
            words.push((0..syllables).map(|_| pick(&mut random, &SYLLABLES)).collect());
        }
        let mut sum = 0.0;
        let sums = (1..=words.len())
            .map(|rank| {
                sum += 1.0 / rank as f64;
                sum
            })
            .collect();
        Self { words, sums }
    }

    /// The code of a thread: in its subject, its first message and its form.
    pub fn code(number: u64) -> String {
        format!("ref{:07}", number * 31 + 7)
    }

    /// The customer's address.
    pub fn address(number: u64) -> String {
        format!("c{number}.gomez@cliente{}.example", number % 97)
    }

    /// The attention's number.
    pub fn attention(number: u64) -> i64 {
        1_000_000 + i64::try_from(number).unwrap_or(i64::MAX)
    }

    /// A day within the range, `YYYY-MM-DD`.
    pub fn day(number: u64) -> String {
        let day = i64::try_from(number).unwrap_or_default().min(DAYS - 1);
        at(FIRST + day * 86_400).date().to_string()
    }

    /// A thread.
    pub fn thread(&self, number: u64) -> Thread {
        let mut random = StdRng::seed_from_u64(1_000 + number);
        let code = Self::code(number);
        let campaign = if random.random_range(0..10) < 6 { "soporte" } else { "buzon" };
        let surname = pick(&mut random, &["González", "Núñez", "Quispe", "Ramírez", "Flores", "Torres"]);
        let customer = Mailbox { address: Self::address(number), name: format!("Ana {surname} {number}") };
        let ended = FIRST + random.random_range(0..DAYS * 86_400);
        // Median four: a few threads are long.
        let count = *[1, 2, 2, 3, 3, 4, 4, 4, 5, 5, 6, 8, 15].get(random.random_range(0..13)).unwrap_or(&4);
        let subject = format!("Consulta {} {code}", self.sentence(&mut random, 24));
        let messages =
            (0..count).map(|place| self.message(&mut random, place, &customer, &subject, &code)).collect();
        let tags = if random.random_range(0..5) == 0 { vec!["Urgente".to_owned()] } else { Vec::new() };
        let head = Head {
            interaction_id: InteractionId::new(),
            attention_id: AttentionId::new(),
            attention_number: Self::attention(number),
            ordinal: 1,
            campaign_key: campaign.to_owned(),
            agent_key: format!("agente-{}", random.random_range(0..20)),
            channel: "email".to_owned(),
            direction: if random.random_range(0..8) == 0 { Direction::Outbound } else { Direction::Inbound },
            customer,
            subject,
            ended_at: at(ended),
            attention_closed: random.random_range(0..2) == 0,
            message_count: count,
            tags,
            vip: false,
        };
        let field = |value: &str| FormField { label: "Campo".to_owned(), value: Some(value.to_owned()) };
        let kind = pick(&mut random, &["Reclamo", "Consulta", "Devolución"]);
        let fields = [("motivo".to_owned(), field(&code)), ("tipo".to_owned(), field(kind))].into();
        Thread {
            version: 5,
            head,
            account_key: campaign.to_owned(),
            waiting_since: Some(at(ended - 7_200)),
            opened_at: Some(at(ended - 3_600)),
            linked_attention_id: None,
            contact_id: None,
            messages,
            form: Some(FilledForm { key: "consulta".to_owned(), version: 1, fields }),
            notes: Vec::new(),
        }
    }

    fn message(
        &self,
        random: &mut StdRng,
        place: i32,
        customer: &Mailbox,
        subject: &str,
        code: &str,
    ) -> Message {
        let inbound = place % 2 == 0;
        let ours = Mailbox { address: "soporte@hilo.example".to_owned(), name: "Soporte".to_owned() };
        let text = self.sentence(random, 1_024);
        Message {
            id: MessageId::new(),
            direction: if inbound { Direction::Inbound } else { Direction::Outbound },
            from: if inbound { customer.clone() } else { ours.clone() },
            to: vec![if inbound { ours } else { customer.clone() }],
            cc: Vec::new(),
            subject: subject.to_owned(),
            text: if place == 0 { format!("Pedido {code}. {text}") } else { text },
            html: String::new(),
            attachments: Vec::new(),
            occurred_at: at(FIRST + i64::from(place)),
            delivery_state: if inbound { String::new() } else { "sent".to_owned() },
            delivery_detail: String::new(),
            delivery_reason: String::new(),
            agent_key: String::new(),
            mail_class: "human".to_owned(),
            sender_verified: true,
            internet_message_id: String::new(),
            bcc: Vec::new(),
            recipients: Vec::new(),
            whatsapp: None,
        }
    }

    /// Words by their frequency, about so many bytes.
    fn sentence(&self, random: &mut StdRng, bytes: usize) -> String {
        let total = self.sums.last().copied().unwrap_or(1.0);
        let mut text = String::with_capacity(bytes + 16);
        while text.len() < bytes {
            let drawn = random.random_range(0.0..total);
            let rank = self.sums.partition_point(|sum| *sum < drawn);
            if let Some(word) = self.words.get(rank) {
                text.push_str(word);
                text.push(' ');
            }
        }
        text
    }
}

fn at(seconds: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

fn pick<'w>(random: &mut StdRng, from: &[&'w str]) -> &'w str {
    from.get(random.random_range(0..from.len())).copied().unwrap_or_default()
}
