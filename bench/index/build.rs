//! Gives the functions of Node that the product's library names bodies, so that it links without Node.

fn main() {
    println!("cargo:rerun-if-changed=src/node_stubs.c");
    cc::Build::new()
        .file("src/node_stubs.c")
        .compile("node_stubs");
}
