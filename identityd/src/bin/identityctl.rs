//! The administrators' tool. Everything is in [`identityd::cli`].

fn main() -> std::process::ExitCode {
    identityd::cli::main()
}
