//! The `dimed` binary: parses arguments and calls the library.

/// Also that of SQLite and other C code. A message makes thousands of small allocations, on several threads.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    dimed::cli::main()
}
