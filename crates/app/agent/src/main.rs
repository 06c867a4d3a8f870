//! The program `felhom-agent`; everything is in the library of the same name.

use std::process::ExitCode;

fn main() -> ExitCode {
    felhom_agent::main()
}
