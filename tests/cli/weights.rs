//! Which weights are taken, and what is said where there are none.

use super::*;

#[test]
fn pull_lists_what_there_is_and_fails_at_once_without_a_network() {
    let place = Place::new();
    let known = place.run(&["pull", "--list", "--json"]).exits(0).json();
    assert!(known.iter().any(|entry| entry["name"] == "lite-pytorch/efficientnet-lite0"));
    assert_eq!(place.run(&["pull", "--list"]).exits(0).stdout.lines().count(), known.len() + 1);

    // A port that was free a moment ago: nobody listens.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("http://127.0.0.1:{port}/b0.pdparams");
    let ran = place.run(&["pull", "EfficientNetB0", "--url", &url]).exits(2);
    let ran = ran.says(&[&url, "curl -L -o", "effnet import"]);
    assert!(ran.stdout.is_empty(), "{ran:#?}");
    place
        .run(&["pull", "EfficientNetB0_smal"])
        .exits(2)
        .says(&["paddle-clas/EfficientNetB0_small"]);
    place.run(&["pull"]).exits(2).says(&["NAME"]);
}

#[test]
fn the_weights_are_found_or_the_error_says_how_to_get_them() {
    let place = Place::with_weights();
    place.picture("a.png", 1);
    let classify = |args: &[&str]| place.run(&[&["classify", "--json", "a.png"], args].concat());
    let ran = classify(&[]).exits(0).says(&["weights/tiny.safetensors", "lite0"]);
    let expected = ran.stdout;
    for name in ["tiny", "tiny network", "lite0"] {
        assert_eq!(classify(&["--model", name]).exits(0).stdout, expected, "{name}");
    }
    let path = "weights/tiny.safetensors";
    assert_eq!(classify(&["--weights", path]).exits(0).stdout, expected);
    classify(&["--model", "b7"]).exits(2).says(&[
        "'b7'",
        path,
        "cache",
        "effnet pull paddle-clas/EfficientNetB7",
        "effnet import FILE",
    ]);
    let ran = classify(&["--model", "nothing"]).exits(2).says(&["'nothing'", "effnet pull --list"]);
    assert!(!ran.stderr.contains("effnet pull nothing"), "{ran:#?}");
    classify(&["--weights", "a.png"]).exits(2).says(&["a.png", "effnet import"]);

    // Two files of one variant: the file's name still decides, the variant's no more.
    packed(&place.path("weights/other.safetensors"), Labels::None, 10);
    classify(&["--model", "other"]).exits(0);
    classify(&["--model", "lite0"]).exits(2).says(&["names 2", "weights/other.safetensors"]);
    classify(&[]).exits(2).says(&["found 2", "weights/other.safetensors", path]);

    // Neither is a packed file that cannot be opened passed over in silence.
    fs::write(place.path("weights/broken.safetensors"), b"not one").unwrap();
    classify(&["--model", "broken"]).exits(2).says(&["weights/broken.safetensors"]);

    // The folder of the environment comes first, and alone if it has the weights.
    fs::rename(place.path("weights"), place.path("elsewhere")).unwrap();
    classify(&["--model", "tiny"]).exits(2).says(&["no such folder"]);
    let args = ["classify", "--json", "a.png", "--model", "tiny"];
    let output = place.command(&args).env("EFFNET_WEIGHTS_DIR", "elsewhere").output().unwrap();
    assert_eq!(Ran::new(&args, output).exits(0).stdout, expected);
}

#[test]
fn without_a_home_nothing_is_looked_for_or_written_in_a_folder_of_others() {
    let place = Place::new();
    place.picture("a.png", 1);
    let run = |args: &[&str]| {
        let mut command = place.command(args);
        for variable in ["EFFNET_CACHE", "XDG_CACHE_HOME", "HOME"] {
            command.env_remove(variable);
        }
        Ran::new(args, command.env("TMPDIR", place.path("tmp")).output().unwrap())
    };
    // Without ./weights too; weights are in the folder that a fall-back to TMPDIR would take.
    fs::remove_dir_all(place.path("weights")).unwrap();
    fs::create_dir_all(place.path("tmp/effnet")).unwrap();
    packed(&place.path("tmp/effnet/tiny.safetensors"), Labels::None, 10);
    let ran = run(&["classify", "a.png"]).exits(2).says(&["EFFNET_CACHE", "HOME", "found 0"]);
    assert!(!ran.stderr.contains("tmp/effnet"), "{ran:#?}");
    run(&["classify", "--model", "tiny", "a.png"]).exits(2).says(&["no user's cache"]);
    for command in ["pull", "import"] {
        let name = if command == "pull" { "lite0" } else { "a.png" };
        run(&[command, name]).exits(2);
        let found: Vec<_> = fs::read_dir(place.path("tmp/effnet")).unwrap().collect();
        assert_eq!(found.len(), 1, "{command}");
    }
    run(&["pull", "lite0"]).exits(2).says(&["EFFNET_WEIGHTS_DIR", "-o"]);
}

#[test]
fn wrong_files_are_named_with_what_would_do() {
    let place = Place::with_weights();
    place.picture("a.png", 1);
    fs::create_dir(place.path("folder")).unwrap();
    fs::write(place.path("notes.txt"), b"no weights at all").unwrap();
    let classify = |weights| place.run(&["classify", "a.png", "--weights", weights]).exits(2);
    classify("folder").says(&["folder: expected a file of packed weights", "found a folder"]);
    classify("notes.txt").says(&["notes.txt: ", "run `effnet import`"]);
    place.run(&["import", "weights/tiny.safetensors"]).exits(2).says(&["already", "--weights"]);
    let help = place.run(&["classify", "--help"]).exits(0).stdout;
    assert!(help.find("--csv") < help.find("--verbose"), "{help}");
    for (file, cause) in [
        ("folder", "a folder with one checkpoint, found none"),
        ("nowhere.pth", "expected a checkpoint"),
    ] {
        let ran = place.run(&["import", file]).exits(2).says(&[cause]);
        let place = format!("{file}: ");
        assert_eq!(ran.stderr.matches(&place).count(), 1, "{ran:#?}");
    }
}
