//! `effnet eval`: datasets, classes, counts.

use super::*;

#[test]
fn eval_counts_what_is_right() {
    let place = Place::with_weights();
    for seed in 0..6 {
        place.picture(&format!("in/{seed}.png"), seed);
    }
    let all = place.run(&["classify", "--json", "in", "--topk", "10"]).exits(0).json();
    let index = |line: &Value, rank: usize| line["top"][rank]["index"].as_u64().unwrap();
    // The true classes come at these ranks: 4 of 6 are first, 5 of 6 among the first five.
    let ranks = [0, 0, 2, 0, 9, 0];
    let truths: Vec<u64> = all.iter().zip(ranks).map(|(line, rank)| index(line, rank)).collect();
    let list: String = (0..6)
        .map(|i| match i {
            0 => format!("0.png\t{}\n", NAMES[truths[0] as usize]),
            i => format!("{i}.png {}\n", truths[i]),
        })
        .collect();
    fs::write(place.path("in/list.txt"), &list).unwrap();
    let check = |args: &[&str]| {
        let report = &place.run(&[&["eval", "--json"], args].concat()).exits(0).json()[0];
        assert_eq!(report["images"], 6, "{report}");
        assert_eq!((&report["top1_correct"], &report["top5_correct"]), (&4.into(), &5.into()));
        assert!((report["top1"].as_f64().unwrap() - 100.0 * 4.0 / 6.0).abs() < 1e-9, "{report}");
        assert!(report["images_per_s"].as_f64().unwrap() > 0.0, "{report}");
    };
    check(&["in/list.txt"]);
    fs::write(place.path("elsewhere.csv"), list.replace(' ', ",")).unwrap();
    check(&["in", "--list", "elsewhere.csv", "--batch", "4"]);

    for (i, truth) in truths.iter().enumerate() {
        let folder = place.path(&format!("classes/{truth}"));
        fs::create_dir_all(&folder).unwrap();
        fs::copy(place.path(&format!("in/{i}.png")), folder.join(format!("{i}.png"))).unwrap();
    }
    check(&["classes"]);
    let text = place.run(&["eval", "classes"]).exits(0).stdout;
    assert!(text.contains("66.67 %  (4 of 6)") && text.contains("83.33 %  (5 of 6)"), "{text}");

    // A broken image is left out.
    fs::write(place.path("classes/0/broken.png"), b"no").unwrap_or_else(|_| {
        fs::create_dir(place.path("classes/0")).unwrap();
        fs::write(place.path("classes/0/broken.png"), b"no").unwrap();
    });
    let ran = place.run(&["eval", "classes", "--json"]).exits(1).says(&["broken.png"]);
    let report = &ran.json()[0];
    assert_eq!((&report["images"], &report["failed"]), (&7.into(), &1.into()));
    assert_eq!(report["top1_correct"], 4);
}

#[test]
fn eval_reads_what_classify_writes() {
    let place = Place::new();
    // Names that are numbers, none at its own place.
    let names = (0..10).map(|class| ((class + 1) % 10).to_string()).collect();
    packed(&place.path("weights/tiny.safetensors"), Labels::Names(names), 10);
    for seed in 0..4 {
        place.picture(&format!("in/{seed}, {seed}.png"), seed);
    }
    fs::write(place.path("in/broken.png"), b"no picture").unwrap();
    for (format, topk) in [("--csv", "1"), ("--csv", "5"), ("--json", "3")] {
        let own = place.run(&["classify", format, "--topk", topk, "in"]).exits(1).stdout;
        fs::write(place.path("own.txt"), own).unwrap();
        for list in [&["own.txt"][..], &["/", "--list", "own.txt"]] {
            let ran = place.run(&[&["eval", "--json"], list].concat()).exits(0);
            let report = &ran.json()[0];
            assert_eq!(
                (&report["images"], &report["top1"]),
                (&4.into(), &100.0.into()),
                "{ran:#?}"
            );
            assert_eq!(report["classes_by"], "index");
            assert_eq!(ran.stderr.contains("1 image of the list has an error"), format == "--json");
        }
    }
}

/// The folder is named as `classify` calls its images.
#[test]
fn eval_takes_names_that_are_numbers_for_names() {
    let place = Place::with_weights();
    for seed in 0..3 {
        place.picture(&format!("in/{seed}.png"), seed);
    }
    let labels: String = (0..10).map(|class| format!("{}\n", (class + 3) % 10)).collect();
    fs::write(place.path("labels.txt"), labels).unwrap();
    let args = ["--labels", "labels.txt", "--json"];
    for line in place.run(&[&["classify", "in"], &args[..]].concat()).exits(0).json() {
        let label = line["top"][0]["label"].as_str().unwrap();
        let path = line["path"].as_str().unwrap();
        fs::create_dir_all(place.path("ds").join(label)).unwrap();
        fs::copy(place.path(path), place.path("ds").join(label).join(&path[3..])).unwrap();
    }
    let ran = place.run(&[&["eval", "ds"], &args[..]].concat()).exits(0);
    let ran = ran.says(&["note: class names are numbers", "--classes-by index"]);
    let report = &ran.json()[0];
    assert_eq!((&report["top1"], &report["classes_by"]), (&100.0.into(), &"name".into()));
    assert_eq!(report["other_reading"]["by"], "index");
    assert_eq!(report["other_reading"]["top1_correct"], 0);
    // Read as what they are not, the other reading is told with its accuracy.
    let forced = place.run(&["eval", "ds", "--json", "--classes-by", "index", args[0], args[1]]);
    assert_eq!(forced.exits(0).json()[0]["top1_correct"], 0);
    place.run(&["eval", "ds", "--classes-by", "name"]).exits(2).says(&["names no class"]);
    place.run(&["eval", "ds", "--classes-by", "number"]).exits(2).says(&["index, name"]);
}

#[test]
fn eval_tells_folders_sorted_as_text_and_classes_off_by_one() {
    let place = Place::new();
    packed(&place.path("weights/tiny.safetensors"), Labels::None, 12);
    for seed in 0..12 {
        place.picture(&format!("in/{seed}.png"), seed);
    }
    let found = place.run(&["classify", "--json", "in"]).exits(0).json();
    // As a training with ImageFolder would name them: 0, 1, 10, 11, 2, 3.
    let mut sorted: Vec<String> = (0..12).map(|class| class.to_string()).collect();
    sorted.sort();
    let mut lower = String::new();
    for line in &found {
        let (path, class) = (line["path"].as_str().unwrap(), best(line) as usize);
        let folder = place.path("ds").join(&sorted[class]);
        fs::create_dir_all(&folder).unwrap();
        fs::copy(place.path(path), folder.join(&path[3..])).unwrap();
        if class < 11 {
            lower += &format!("{path} {}\n", class + 1);
        }
    }
    let several = found.iter().map(best).collect::<std::collections::HashSet<_>>();
    assert!(several.len() > 1 && several.iter().any(|&class| class > 1), "{several:?}");
    let ran = place.run(&["eval", "ds", "--json"]).exits(0);
    let ran = ran.says(&["warning: top-1 is", "100.00 % in the other way: --classes-by name"]);
    let report = &ran.says(&["torchvision"]).json()[0];
    assert_eq!(
        (&report["classes_by"], &report["other_reading"]["by"]),
        (&"index".into(), &"order".into())
    );
    assert_eq!(report["other_reading"]["top1"], 100.0);
    let ran = place.run(&["eval", "ds", "--json", "--classes-by", "name"]).exits(0);
    assert_eq!((&ran.json()[0]["top1"], ran.stderr.contains("warning")), (&100.0.into(), false));

    fs::write(place.path("list.txt"), &lower).unwrap();
    let ran = place.run(&["eval", "list.txt", "--json"]).exits(0);
    let ran = ran.says(&["warning: top-1 is 0.00 %, and 100.00 % if every class is one lower"]);
    let report = &ran.json()[0]["off_by_one"];
    assert_eq!(
        (&report["by"], &report["top1_correct"]),
        (&"lower".into(), &lower.lines().count().into())
    );
}

#[test]
fn eval_says_what_is_wrong_with_a_dataset() {
    let place = Place::with_weights();
    place.picture("in/zebra/a.png", 1);
    place.run(&["eval", "in"]).exits(2).says(&["'zebra' names no class", "0 to 9", "--list"]);
    place.picture("flat/a.png", 1);
    place.run(&["eval", "flat"]).exits(2).says(&["a.png", "--list FILE"]);
    place.run(&["eval", "nowhere"]).exits(2).says(&["nowhere"]);
    fs::write(place.path("list.txt"), "flat/a.png 1\nflat/a.png 10\n").unwrap();
    place.run(&["eval", "list.txt"]).exits(2).says(&["list.txt:2", "0 to 9"]);
    fs::write(place.path("list.txt"), "flat/b.png 1\n").unwrap();
    place.run(&["eval", "list.txt"]).exits(2).says(&["flat/b.png", "none of 1"]);
}

#[test]
fn eval_knows_imagenet_ids() {
    let place = Place::new();
    packed(&place.path("weights/tiny.safetensors"), Labels::Imagenet1k, 1000);
    place.picture("in/x.png", 1);
    let line = &place.run(&["classify", "--json", "in"]).exits(0).json()[0];
    let ids: Vec<&str> = include_str!("../../src/cli/imagenet1k_synsets.txt").lines().collect();
    let id = ids[best(line) as usize];
    place.picture(&format!("flat/{id}_some_name.png"), 1);
    place.picture("flat/n01440764.png", 1);
    let report = &place.run(&["eval", "flat", "--json"]).exits(0).json()[0];
    assert_eq!((&report["images"], &report["top1_correct"]), (&2.into(), &1.into()));
    place.picture(&format!("folders/{id}/1.png"), 1);
    let report = &place.run(&["eval", "folders", "--json"]).exits(0).json()[0];
    assert_eq!((&report["images"], &report["top1_correct"]), (&1.into(), &1.into()));
}
