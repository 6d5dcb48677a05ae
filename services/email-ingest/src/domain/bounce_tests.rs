//! Reports as servers write them, and texts that only look like one.

use super::*;
use crate::domain::body;
use crate::domain::mime;
use proptest::prelude::*;

fn read_raw(raw: &str) -> Option<Returned> {
    let raw = raw.replace('\n', "\r\n");
    let root = mime::split(raw.as_bytes()).ok().unwrap();
    let fields = Fields::read(raw.as_bytes());
    let text = body::read(&root).text;
    read(&root, &fields, &text)
}

fn report(status: &str, returned: &str) -> String {
    format!(
        "From: MAILER-DAEMON@mx.example\nContent-Type: multipart/report; report-type=delivery-status; boundary=b\n\n\
         --b\n\nYour mail could not be delivered.\n--b\nContent-Type: message/delivery-status\n\n{status}\n--b\n{returned}\n--b--\n"
    )
}

const HEADERS: &str = "Content-Type: text/rfc822-headers\n\nSubject: x\nMessage-ID: <m1@hilo.example>\n";

#[test]
fn every_recipient_of_an_rfc_3464_report_is_read() {
    let send = Uuid::now_v7();
    let status = format!(
        "Reporting-MTA: dns; mx.example\nOriginal-Envelope-Id: {send}\n\n\
         Original-Recipient: rfc822;ana+2Bx@example.com\nFinal-Recipient: rfc822; ana@in.example.com\nAction: failed\n\
         Status: 5.1.1\nDiagnostic-Code: smtp; 550 5.1.1 <ana@in.example.com>\n no such user\n\n\
         Final-Recipient: RFC822; luis@example.com\nAction: delivered\nStatus: 2.0.0\n\n\
         Final-Recipient: rfc822; eva@example.com\nAction: delayed\nStatus: 4.4.1\n"
    );
    let found = read_raw(&report(&status, HEADERS)).unwrap();
    assert_eq!((found.send_ids, found.message_ids), (vec![send], vec!["m1@hilo.example".to_owned()]));
    let failed = found.told.first().unwrap();
    assert_eq!(failed.addresses, vec!["ana+x@example.com", "ana@in.example.com"]);
    assert_eq!(failed.fate, Fate::Undelivered);
    assert_eq!((failed.reply.code, failed.reply.enhanced.as_str()), (550, "5.1.1"));
    assert_eq!(failed.reply.text, "550 5.1.1 <ana@in.example.com> no such user");
    let fates: Vec<_> =
        found.told.iter().map(|told| (told.addresses.last().unwrap().as_str(), told.fate)).collect();
    assert_eq!(fates, vec![("ana@in.example.com", Fate::Undelivered), ("luis@example.com", Fate::Delivered)]);
}

#[test]
fn the_mail_is_found_wherever_the_report_carries_it() {
    let status =
        "Reporting-MTA: dns; x\n\nFinal-Recipient: rfc822; ana@example.com\nAction: failed\nStatus: 5.0.0\n";
    for returned in [
        HEADERS,
        "Content-Type: message/rfc822\n\nMessage-ID: <m1@hilo.example>\n\nbody\n",
        "Content-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\nTWVzc2FnZS1JRDogPG0xQGhpbG8uZXhhbXBsZT4NCg0KYQ0K\n",
        "Content-Type: text/plain\n\n> Subject: x\n> Message-Id: <m1@hilo.example>\n",
    ] {
        let found = read_raw(&report(status, returned));
        assert_eq!(found.unwrap().message_ids, vec!["m1@hilo.example"], "{returned}");
    }
    assert_eq!(read_raw(&report(status, "Content-Type: text/plain\n\nno id\n")), None);
    let text = read_raw(&report(status, HEADERS)).unwrap().told.remove(0).reply;
    assert_eq!((text.code, text.text.as_str()), (0, "the mail came back undelivered"));
}

#[test]
fn bounces_in_prose_are_read_by_their_header_or_their_code() {
    let exim = "From: Mail Delivery System <Mailer-Daemon@mx.example>\nX-Failed-Recipients: ana@example.com, luis@example.com\n\n\
         A message that you sent could not be delivered.\n  ana@example.com\n    host mx2.example [192.0.2.1]:\n    550 5.7.1 policy\n\n\
         ------ This is a copy of the message's headers. ------\n\nMessage-ID: <m1@hilo.example>\n";
    let found = read_raw(exim).unwrap();
    let named: Vec<_> = found.told.iter().flat_map(|told| &told.addresses).collect();
    assert_eq!(named, vec!["ana@example.com", "luis@example.com"]);
    let reply = &found.told.first().unwrap().reply;
    assert_eq!(
        (reply.code, reply.enhanced.as_str(), reply.text.as_str()),
        (550, "5.7.1", "550 5.7.1 policy")
    );
    let qmail = "From: MAILER-DAEMON@mx.example\n\nHi. I wasn't able to deliver your message.\n<ana@example.com>:\n\
         192.0.2.1 does not like recipient.\nRemote host said: 554-5.1.1 unknown\n\n--- Below is a copy.\nMessage-ID: <m1@hilo.example>\n";
    let told = read_raw(qmail).unwrap().told;
    assert_eq!(told.first().map(|told| (told.addresses.len(), told.reply.code)), Some((0, 554)));
    // A warning is no failure, and neither is a number that begins like a code.
    for harmless in
        ["will be retried for 5 days", "450 4.2.1 busy", "order 5501 arrived", "10.550 units", "call 555"]
    {
        let warning =
            format!("From: MAILER-DAEMON@mx.example\n\n{harmless}\n\nMessage-ID: <m1@hilo.example>\n");
        assert_eq!(read_raw(&warning), None, "{harmless}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_report_panics(status in "(Action: |failed|rfc822;|\\+|\\+4|Status: 5|550 |\n|\n\n|é|[ -~]){0,40}", rest in "(.|\n){0,200}") {
        let _ = read_raw(&report(&status, &format!("Content-Type: message/rfc822\n\n{rest}")));
        let _ = read_raw(&format!("From: x@y\n\n{rest}{status}"));
    }
}
