//! Thin entry point: everything lives in the library.

fn main() -> std::process::ExitCode {
    hilo_email_ingest::main()
}
