//! `include/senza.h` is what cbindgen makes of `src/`. To write it anew:
//! `UPDATE=1 cargo test -p senza-c --test header`.

use std::path::Path;

#[test]
fn the_header_is_what_the_source_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let made = cbindgen::generate(folder).unwrap();
    let mut text = Vec::new();
    made.write(&mut text);
    let (text, file) = (String::from_utf8(text).unwrap(), folder.join("include/senza.h"));
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&file, &text).unwrap();
    }
    let there = std::fs::read_to_string(&file).unwrap();
    if let Some((at, (old, new))) = (1..).zip(there.lines().zip(text.lines())).find(|(_, (old, new))| old != new) {
        panic!("include/senza.h:{at} is old; write it with UPDATE=1\n  is:        {old}\n  should be: {new}");
    }
    assert_eq!(there, text, "include/senza.h is old; write it with UPDATE=1");
}

/// What each function's body must begin with: then no panic crosses the border.
#[test]
fn every_function_comes_in_at_the_border() {
    let sources = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).unwrap();
    let mut functions = 0;
    for source in sources {
        let text = std::fs::read_to_string(source.unwrap().path()).unwrap();
        for function in text.split("#[unsafe(no_mangle)]\n").skip(1) {
            let (signature, body) = function.split_once("{\n").unwrap();
            let name = signature.split("fn ").nth(1).unwrap().split('(').next().unwrap();
            // Those that answer a text of this thread or of the library: they follow no pointer and cannot fail.
            let is_plain = ["senza_last_error", "senza_code_name", "senza_version"].contains(&name);
            assert!(is_plain || body.trim_start().starts_with("border::enter("), "{name} does not");
            functions += 1;
        }
    }
    assert!(functions > 30, "{functions} functions found");
}
