//! `pve-sim`: see the library's documentation and README.md.

fn main() -> std::process::ExitCode {
    pve_sim::main()
}
