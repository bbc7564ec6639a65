//! Links against libpam without its development package, and keeps the module loaded.

use std::path::PathBuf;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");

    // pam-bindings says `-lpam`, which looks for libpam.so: a link that only libpam0g-dev has. The library itself, libpam.so.0, is on
    // every Debian (login and passwd need it), so a linker script of that name points to it.
    let Some(out) = std::env::var_os("OUT_DIR").map(PathBuf::from) else {
        return;
    };
    if let Err(error) = std::fs::write(out.join("libpam.so"), "INPUT(libpam.so.0)\n") {
        println!("cargo:warning=cannot write the linker script for libpam: {error}");
    }
    println!("cargo:rustc-link-search=native={}", out.display());

    // libpam closes its modules in pam_end(3). The run-time of Rust registers destructors of threads; unmapped code must not be
    // called when a thread of the host program ends.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
}
