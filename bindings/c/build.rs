//! Names the shared library as it is installed, and keeps it loaded: its threads outlive a `dlclose`.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|system| system == "linux") {
        let version = |part: &str| std::env::var(format!("CARGO_PKG_VERSION_{part}")).unwrap_or_default();
        // Before 1.0 every minor version may change the interface.
        let (major, minor) = (version("MAJOR"), version("MINOR"));
        let number = if major == "0" { format!("0.{minor}") } else { major };
        println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libsenza.so.{number}");
        println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
    }
}
