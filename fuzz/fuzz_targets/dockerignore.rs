#![no_main]

#[path = "../src/bodies.rs"]
mod bodies;
#[path = "../src/target.rs"]
mod target;

libfuzzer_sys::fuzz_target!(|data: &[u8]| target::run(bodies::Language::Ignore, data));
