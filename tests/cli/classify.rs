//! `effnet classify`: its forms of output, its options.

use super::*;

/// The emulator's work is told at the end, where people read.
#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
#[cfg(feature = "emulator")]
fn classify_on_the_emulator_tells_its_work() {
    let place = Place::with_weights();
    place.picture("a.png", 1);
    let args = ["classify", "a.png", "--device", "emulator"];
    place.run(&args).exits(0).says(&[" launches, ", " M warp instructions, no finding, "]);
    let quiet = place.run(&[&args[..], &["--json"]].concat()).exits(0);
    assert!(!quiet.stderr.contains("warp instructions"), "{quiet:#?}");
}

#[test]
fn text_is_for_people() {
    let place = Place::with_weights();
    place.picture("one.png", 1);
    let photo = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/images/photos/chelsea.jpg");
    fs::copy(photo, place.path("two.jpg")).unwrap();
    let ran = place.run(&["classify", "one.png", "two.jpg", "--topk", "3"]).exits(0).says(&["CPU"]);
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert_eq!(lines.len(), 9, "{ran:#?}");
    assert_eq!((lines[0], lines[4], lines[5]), ("one.png", "", "two.jpg"));
    let mut before = 100.0;
    for line in &lines[1..4] {
        let mut words = line.split_whitespace();
        let percent: f64 = words.next().unwrap().parse().unwrap();
        assert_eq!(words.next(), Some("%"));
        let index: usize = words.next().unwrap().parse().unwrap();
        assert_eq!(words.collect::<Vec<_>>().join(" "), NAMES[index]);
        assert!(percent <= before);
        before = percent;
    }
}

#[test]
fn json_has_an_object_a_line_in_the_order_of_the_paths() {
    let place = Place::with_weights();
    for seed in 0..9 {
        place.picture(&format!("in/{seed}.png"), seed);
    }
    let ran = place.run(&["classify", "--json", "in/8.png", "in", "in/3.png"]).exits(0);
    let lines = ran.json();
    let expected = [
        "in/8.png", "in/0.png", "in/1.png", "in/2.png", "in/3.png", "in/4.png", "in/5.png",
        "in/6.png", "in/7.png", "in/8.png", "in/3.png",
    ];
    assert_eq!(paths(&lines), expected);
    assert_eq!((&lines[0], &lines[4]), (&lines[9], &lines[10]), "one picture, two results");
    let different: std::collections::HashSet<_> =
        lines[1..10].iter().map(|line| line["top"][0]["logit"].to_string()).collect();
    assert!(different.len() > 5, "all pictures look the same to the network: {ran:#?}");
    for line in &lines {
        assert_eq!(line["error"], Value::Null);
        let keys: Vec<&String> = line.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["activation", "error", "path", "top", "warnings"]);
        assert_eq!(line["warnings"], Value::Array(Vec::new()));
        let top = line["top"].as_array().unwrap();
        assert_eq!(top.len(), 5);
        for class in top {
            assert_eq!(class["label"], NAMES[class["index"].as_u64().unwrap() as usize]);
        }
        for pair in top.windows(2) {
            assert!(pair[0]["logit"].as_f64() >= pair[1]["logit"].as_f64());
            let odds =
                pair[0]["probability"].as_f64().unwrap() / pair[1]["probability"].as_f64().unwrap();
            let logits = pair[0]["logit"].as_f64().unwrap() - pair[1]["logit"].as_f64().unwrap();
            assert!((odds.ln() - logits).abs() < 1e-4, "{line}");
        }
    }
    // All classes: the probabilities are whole.
    let all = &place.run(&["classify", "--json", "in/0.png", "--topk", "99"]).exits(0).json()[0];
    let top = all["top"].as_array().unwrap();
    assert_eq!(top.len(), 10);
    let sum: f64 = top.iter().map(|class| class["probability"].as_f64().unwrap()).sum();
    assert!((sum - 1.0).abs() < 1e-5, "{sum}");
}

#[test]
fn batches_and_threads_change_nothing() {
    let place = Place::with_weights();
    for seed in 0..7 {
        place.picture(&format!("in/{seed}.png"), seed);
    }
    fs::write(place.path("in/4.png"), b"broken").unwrap();
    let run = |batch: &str, threads: &str| {
        let args = ["classify", "--json", "in", "--batch", batch, "--threads", threads];
        place.run(&args).exits(1).stdout
    };
    let expected = run("1", "1");
    for (batch, threads) in [("1", "3"), ("2", "2"), ("3", "1"), ("64", "2")] {
        assert_eq!(run(batch, threads), expected, "batch {batch}, {threads} threads");
    }
}

#[test]
fn csv_has_its_columns_and_quotes_what_needs_it() {
    let place = Place::with_weights();
    place.picture("a,b.png", 3);
    let ran = place.run(&["classify", "--csv", "a,b.png", "--topk", "10"]).exits(0);
    let mut reader = csv::Reader::from_reader(ran.stdout.as_bytes());
    assert_eq!(reader.headers().unwrap(), vec!["path", "rank", "index", "label", "probability"]);
    let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    assert_eq!(rows.len(), 10);
    for (rank, row) in rows.iter().enumerate() {
        assert_eq!((&row[0], &row[1]), ("a,b.png", (rank + 1).to_string().as_str()));
        assert_eq!(&row[3], NAMES[row[2].parse::<usize>().unwrap()]);
        assert!((0.0..=1.0).contains(&row[4].parse::<f64>().unwrap()));
    }
}

#[test]
fn quiet_leaves_warnings_and_errors() {
    let place = Place::with_weights();
    place.picture("a.png", 1);
    let args = ["classify", "a.png", "nowhere.png"];
    let loud = place.run(&args).exits(1).says(&["note: CPU, f32", "note: 1 of 2 images failed"]);
    for quiet in ["-q", "--quiet"] {
        let ran = place.run(&[&args[..], &[quiet]].concat()).exits(1);
        assert_eq!(ran.stderr, "error: nowhere.png: no such file or folder\n");
        assert_eq!(ran.stdout, loud.stdout);
    }
    let ran = place.run(&["--quiet", "classify", "a.png", "--verbose"]).exits(0);
    assert!(ran.stderr.is_empty(), "{ran:#?}");
}

#[test]
fn labels_can_be_replaced() {
    let place = Place::with_weights();
    place.picture("a.png", 1);
    let classify = |labels: &str| {
        fs::write(place.path("labels.txt"), labels).unwrap();
        place.run(&["classify", "--json", "a.png", "--labels", "labels.txt"])
    };
    let names: Vec<String> = (0..10).map(|class| format!("class number {class}")).collect();
    for class in classify(&names.join("\n")).exits(0).json()[0]["top"].as_array().unwrap() {
        assert_eq!(class["label"], names[class["index"].as_u64().unwrap() as usize]);
    }
    let numbered = names.iter().enumerate().map(|(class, name)| (class.to_string(), name));
    let numbered: std::collections::BTreeMap<_, _> = numbered.collect();
    let json = serde_json::json!({ "id2label": numbered });
    assert_eq!(classify(&json.to_string()).stdout, classify(&names.join("\n")).stdout);
    classify("only one\n").exits(2).says(&["labels.txt", "expected 10", "found 1"]);
}

#[test]
fn a_closed_pipe_ends_quietly() {
    let place = Place::with_weights();
    for seed in 0..4 {
        place.picture(&format!("in/{seed}.png"), seed);
    }
    let many: Vec<&str> = std::iter::repeat_n("in", 200).collect();
    for args in [&[&["classify", "--json"], &many[..]].concat()[..], &["plan", "b7"]] {
        let mut command = place.command(args);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // As `head -1` does: the output after the first bytes is not wanted.
        let mut stdout = child.stdout.take().unwrap();
        let mut byte = [0];
        std::io::Read::read_exact(&mut stdout, &mut byte).unwrap();
        drop(stdout);
        let ran = Ran::new(args, child.wait_with_output().unwrap()).exits(0);
        assert!(!ran.stderr.contains("error"), "{ran:#?}");
    }
}
