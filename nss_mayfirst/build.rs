//! Gives the library the name that glibc looks for: `libnss_<service>.so.2`.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libnss_mayfirst.so.2");
}
