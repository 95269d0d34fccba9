//! The `dimed` binary: parses arguments and calls the library.

fn main() -> std::process::ExitCode {
    dimed::cli::main()
}
