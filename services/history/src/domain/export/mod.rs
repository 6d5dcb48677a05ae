//! Threads as files for other programs: CSV (RFC 4180) and mail (RFC 5322). Plain functions from values to text; what
//! customers wrote can neither become a formula in a spreadsheet nor a header in a mail.

pub mod csv;
pub mod forms;
pub mod mail;
pub mod mime;
