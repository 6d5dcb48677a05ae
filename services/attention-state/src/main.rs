//! Thin entry point: everything lives in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    hilo_attention_state::main()
}
