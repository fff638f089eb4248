//! Tells the tests what the server that they will run on lacks: `cfg(without = "…")` for each word of `AUTH_EXT_WITHOUT`, which
//! tests/run sets. A test that needs it whole is then reported as ignored.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=AUTH_EXT_WITHOUT");
    println!("cargo::rustc-check-cfg=cfg(without, values(\"auto_explain\", \"test_decoding\"))");
    for lacking in std::env::var("AUTH_EXT_WITHOUT")
        .unwrap_or_default()
        .split_whitespace()
    {
        println!("cargo::rustc-cfg=without=\"{lacking}\"");
    }
}
