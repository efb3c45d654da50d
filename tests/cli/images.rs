//! Images as they are named: files, folders, patterns, pipes; broken ones.

use super::*;

#[test]
fn a_damaged_jpeg_is_classified_with_a_warning_and_odd_ones_are_refused_by_name() {
    let place = Place::with_weights();
    let odd = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/images/odd/");
    let names = ["plain-behind.jpg", "restarts-no-marker.jpg", "a.heic", "planes-tiles.tiff"];
    for name in names {
        fs::copy(format!("{odd}{name}"), place.path(name)).unwrap();
    }
    let ran = place.run(&[&["classify", "--json"], &names[..]].concat()).exits(1);
    let lines = ran.json();
    assert_eq!(paths(&lines), names);
    let ran = ran.says(&["warning: restarts-no-marker.jpg: corrupt JPEG data", "heif-convert"]);
    assert_eq!(ran.stderr.matches("warning:").count(), 2, "{ran:#?}");
    for (line, warnings) in lines.iter().zip([0, 2, 0, 0]) {
        assert_eq!(line["warnings"].as_array().unwrap().len(), warnings, "{line}");
        assert_eq!(line["error"].is_null(), line["path"] != "a.heic", "{line}");
    }
    assert!(lines[2]["error"].as_str().unwrap().contains("a HEIC image"), "{}", lines[2]);
}

#[cfg(unix)]
#[test]
fn a_pipe_in_a_folder_is_passed_over_and_a_named_one_is_read() {
    let place = Place::with_weights();
    place.picture("in/a.png", 1);
    let pipe = place.path("in/pipe.png");
    support::make_pipe(&pipe);
    let expected = place.run(&["classify", "--json", "in"]).exits(0).json();
    assert_eq!(paths(&expected), ["in/a.png"]);
    let image = fs::read(place.path("in/a.png")).unwrap();
    let writer = std::thread::spawn(move || fs::write(pipe, image).unwrap());
    let found = place.run(&["classify", "--json", "in/pipe.png"]).exits(0).json();
    writer.join().unwrap();
    assert_eq!(found[0]["top"], expected[0]["top"]);
}

#[test]
fn a_broken_image_fails_alone() {
    let place = Place::with_weights();
    place.picture("a.png", 1);
    place.picture("z.png", 2);
    let whole = fs::read(place.path("a.png")).unwrap();
    fs::write(place.path("cut.png"), &whole[..whole.len() / 2]).unwrap();
    fs::write(place.path("empty.jpg"), b"").unwrap();
    let args = ["classify", "a.png", "cut.png", "nowhere.png", "empty.jpg", "z.png"];
    let ran = place.run(&[&args[..], &["--json"]].concat()).exits(1);
    let ran = ran.says(&["cut.png", "nowhere.png: no such file", "empty.jpg", "3 of 5"]);
    let lines = ran.json();
    assert_eq!(paths(&lines), args[1..]);
    for (line, fails) in lines.iter().zip([false, true, true, true, false]) {
        assert_eq!(line["error"].is_string(), fails, "{line}");
        let error = line["error"].as_str().unwrap_or_default();
        assert!(!error.contains(line["path"].as_str().unwrap()), "the path is beside it: {line}");
        assert_eq!(line["top"].as_array().unwrap().is_empty(), fails, "{line}");
    }
    let text = place.run(&args).exits(1).says(&["cut.png"]);
    assert!(text.stdout.contains("a.png\n") && text.stdout.contains("\nz.png\n"), "{text:#?}");
    let csv = place.run(&[&args[..], &["--csv", "--topk", "1"]].concat()).exits(1);
    assert_eq!(csv.stdout.lines().count(), 3, "{csv:#?}");
}

#[test]
fn without_any_image_nothing_starts() {
    let place = Place::with_weights();
    fs::create_dir(place.path("empty")).unwrap();
    let ran = place.run(&["classify", "--csv", "nowhere.png", "*.gif", "empty"]).exits(2);
    let ran = ran.says(&["nowhere.png: no such file", "*.gif: no file matches", "empty: no image"]);
    assert!(ran.stdout.is_empty(), "{ran:#?}");
    let lines = place.run(&["classify", "--json", "nowhere.png", "empty"]).exits(2).json();
    assert_eq!(paths(&lines), ["nowhere.png", "empty"]);
    assert!(lines.iter().all(|line| line["error"].is_string()), "{lines:#?}");
    assert_eq!(lines[0]["error"], "no such file or folder");
}

/// File names are bytes on these systems.
#[cfg(target_os = "linux")]
#[test]
fn names_that_are_not_unicode_survive() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let place = Place::with_weights();
    place.picture("d/a.png", 1);
    let name = OsStr::from_bytes(b"d/r\xe9sum\xe9.png");
    fs::copy(place.path("d/a.png"), place.folder.path().join(name)).unwrap();
    place.run(&["classify", "d/*.gif"]).exits(2).says(&["no file matches this pattern"]);
    for path in ["d", "d/*.png"] {
        let lines = place.run(&["classify", "--json", path]).exits(0).json();
        assert_eq!(paths(&lines), ["d/a.png", "d/r\u{fffd}sum\u{fffd}.png"]);
        assert_eq!(lines[0].get("path_bytes"), None);
        assert_eq!(lines[1]["path_bytes"], "ZC9y6XN1bekucG5n");
        assert_eq!(lines[0]["top"], lines[1]["top"]);
    }
    let broken = place.folder.path().join(OsStr::from_bytes(b"d/\xff.png"));
    fs::write(&broken, b"no picture").unwrap();
    let line = &place.run(&["classify", "--json", "d"]).exits(1).json()[2];
    assert_eq!((&line["path_bytes"], line["error"].is_string()), (&"ZC//LnBuZw==".into(), true));
    let csv = place.command(&["classify", "--csv", "--topk", "1", "d"]).output().unwrap().stdout;
    let rows: Vec<&[u8]> = csv.split(|&byte| byte == b'\n').collect();
    assert!(rows[2].starts_with(b"d/r\xe9sum\xe9.png,1,"), "{:?}", rows[2].escape_ascii());
}

#[test]
fn folders_and_patterns_are_expanded() {
    let place = Place::with_weights();
    for (seed, name) in
        ["d/b.png", "d/a.JPG", "d/e/c.webp", "d/.h.png", "d/g.gif"].iter().enumerate()
    {
        place.picture(name, seed as u32);
    }
    fs::write(place.path("d/notes.txt"), "no image").unwrap();
    let found = |path: &str| {
        let lines = place.run(&["classify", "--json", path]).exits(0).json();
        paths(&lines).join(" ")
    };
    assert_eq!(found("d"), "d/a.JPG d/b.png d/e/c.webp d/g.gif");
    assert_eq!(found("d/*.[pJ]*"), "d/a.JPG d/b.png");
    assert_eq!(found("**/c.*"), "d/e/c.webp");
}

#[test]
fn standard_input_is_an_image() {
    let place = Place::with_weights();
    place.picture("a.png", 5);
    let bytes = fs::read(place.path("a.png")).unwrap();
    let run = |bytes: &[u8]| {
        let args = ["classify", "--json", "-"];
        let mut command = place.command(&args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(bytes).unwrap();
        Ran::new(&args, child.wait_with_output().unwrap())
    };
    let piped = &run(&bytes).exits(0).json()[0];
    assert_eq!(piped["path"], "-");
    let file = &place.run(&["classify", "--json", "a.png"]).json()[0];
    assert_eq!(piped["top"], file["top"]);
    let empty = run(b"").exits(1);
    assert!(empty.json()[0]["error"].is_string(), "{empty:#?}");
}
