#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let (_, target) = minidock_fuzzed::TARGETS.iter().find(|(name, _)| *name == "gzip").expect("a target");
    target(bytes);
});
