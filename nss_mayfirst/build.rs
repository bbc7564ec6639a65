//! Gives the library the name that glibc looks for, `libnss_<service>.so.2`, and keeps it loaded: a program that opens and closes it itself (libc does not) would
//! else leave the mapped snapshot behind each time, and unmapping it when the library goes could pull it from under another thread.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libnss_mayfirst.so.2");
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
    if std::env::var_os("CARGO_FEATURE_MODULE").is_some() {
        // Nothing is to be run when it is loaded or goes; the compiler's start files would have four more symbols looked up, in vain, in every library of the program.
        println!("cargo:rustc-cdylib-link-arg=-nostartfiles");
    }
}
