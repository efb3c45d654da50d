//! The shared library's name, under which programs ask for it: it has the number of the interface
//! (0 while the version is 0.x), so that an incompatible library is not taken for this one.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let system = std::env::var("CARGO_CFG_TARGET_OS").unwrap_or_default();
    match system.as_str() {
        "linux" | "android" | "freebsd" => {
            println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libeffnet.so.0");
            // Every function is bound when the library is loaded, and none can be exchanged later.
            println!("cargo::rustc-cdylib-link-arg=-Wl,-z,now,-z,relro");
        }
        "macos" => {
            println!("cargo::rustc-cdylib-link-arg=-Wl,-install_name,@rpath/libeffnet.0.dylib")
        }
        _ => {}
    }
}
