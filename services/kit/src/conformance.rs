//! The conformance suite every consumer instantiates.
