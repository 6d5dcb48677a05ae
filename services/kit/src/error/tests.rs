//! Classes, codes and details survive the wire, and sources stay at home.

use super::*;

#[test]
fn status_carries_reason_and_violations_both_ways() {
    let error =
        Error::invalid("BAD_REQUEST", "two fields are wrong").field("a", "empty").field("b[1]", "long");
    let status = to_status(&error);
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(reason_of(&status).as_deref(), Some("BAD_REQUEST"));
    let back = Error::from(status);
    assert_eq!(back.class(), Class::Invalid);
    assert_eq!(back.reason(), "BAD_REQUEST");
    assert_eq!(back.violations(), error.violations());
}

#[test]
fn every_class_survives_the_wire() {
    let classes = [
        Class::Invalid,
        Class::Rejected,
        Class::Missing,
        Class::Duplicate,
        Class::Conflict,
        Class::Denied,
        Class::Exhausted,
        Class::Unavailable,
        Class::Corrupt,
        Class::Internal,
    ];
    for class in classes {
        let status = to_status(&Error::new(class, "REASON", "message"));
        assert_eq!(Error::from(status).class(), class);
    }
}

#[test]
fn unauthenticated_has_its_own_code_and_display_hides_the_source() {
    assert_eq!(to_status(&Error::unauthenticated("who?")).code(), Code::Unauthenticated);
    let error = Error::internal("X", "outer").with_source(std::io::Error::other("secret inner"));
    assert!(!error.to_string().contains("inner"));
    assert!(error.chain().contains("secret inner"));
    assert!(!to_status(&error).message().contains("inner"));
}

/// Without the bound a caller's own long key came back in headers that no client takes, as an INTERNAL of the transport.
#[test]
fn details_stay_small_whatever_the_caller_sends() {
    let long = "ñ".repeat(10_000);
    let many = (0..1_000).fold(Error::invalid("BAD_REQUEST", "many"), |error, at| {
        error.field(format!("values.{at}.{long}"), &long).metadata("long", &long)
    });
    for error in [many, Error::invalid("BAD_REQUEST", "one").field(&long, &long)] {
        let told = error.violations().len();
        let status = to_status(&error);
        assert!(status.details().len() < 4_000, "{} bytes", status.details().len());
        let back = Error::from(status);
        assert_eq!(back.reason(), "BAD_REQUEST");
        assert!(!back.violations().is_empty() && back.violations().len() <= told);
    }
}
