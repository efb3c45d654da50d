//! The table of bounds.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

/// What is measured, of which kernel or launch, for which target.
pub type Key = (String, String, String);

const TABLE: &str = include_str!("bounds.txt");
const FILE: &str = "tests/machine_code/bounds.txt";

/// How far below its bound a value may be: what the next change of a digit is.
const SLACK: f64 = 0.01;

fn read(table: &str) -> BTreeMap<Key, f64> {
    let mut bounds = BTreeMap::new();
    let lines = table.lines().map(|line| line.split('#').next().unwrap_or_default());
    for line in lines.filter(|line| !line.trim().is_empty()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [measure, of, target, bound] = words[..] else {
            panic!("{FILE}: expected MEASURE OF TARGET BOUND, found '{line}'")
        };
        let bound = bound.parse().unwrap_or_else(|e| panic!("{FILE}: {line}: {e}"));
        let key = (measure.to_owned(), of.to_owned(), target.to_owned());
        assert!(bounds.insert(key, bound).is_none(), "{FILE}: {line}: twice");
    }
    bounds
}

/// Holds every value of some measures to its bound: not above it, and not so far below that an
/// improvement is lost. Every bound of these measures has its value, and every value its bound.
pub fn hold(measures: &[&str], found: &BTreeMap<Key, f64>) {
    let bounds = read(TABLE);
    let mut wrong = String::new();
    for (key, value) in found {
        let (measure, of, target) = key;
        assert!(measures.contains(&measure.as_str()), "{measure}");
        let told = format!("{measure} {of} {target}");
        let _ = match bounds.get(key) {
            None => writeln!(wrong, "{told} {}: has no bound", shown(*value)),
            Some(bound) if *value > bound + 1e-9 => {
                writeln!(wrong, "{told}: {} is above its bound {bound}", shown(*value))
            }
            Some(bound) if *value < bound - SLACK * bound.max(1.0) => {
                writeln!(wrong, "{told}: {} is below its bound {bound}: record it", shown(*value))
            }
            Some(_) => Ok(()),
        };
    }
    for key in bounds.keys().filter(|(measure, ..)| measures.contains(&measure.as_str())) {
        if !found.contains_key(key) {
            let _ = writeln!(wrong, "{} {} {}: is not measured any more", key.0, key.1, key.2);
        }
    }
    if !wrong.is_empty() && std::env::var("EFFNET_RECORD").is_ok_and(|v| v == "1") {
        record(measures, found);
        return;
    }
    assert!(wrong.is_empty(), "{FILE}; EFFNET_RECORD=1 records what went down\n{wrong}");
}

/// Two digits behind the point, rounded up; whole numbers as they are.
fn shown(value: f64) -> String {
    if value.fract() == 0.0 {
        format!("{value}")
    } else {
        format!("{:.2}", (value * 100.0).ceil() / 100.0)
    }
}

/// Writes values that are below their bounds, or have none yet.
fn record(measures: &[&str], found: &BTreeMap<Key, f64>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(FILE);
    // Tests of one process record one after the other.
    static ONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(|e| e.into_inner());
    let text = std::fs::read_to_string(&path).unwrap();
    let mut bounds = read(&text);
    bounds.retain(|key, _| !measures.contains(&key.0.as_str()) || found.contains_key(key));
    for (key, value) in found {
        let value: f64 = shown(*value).parse().unwrap();
        let bound = bounds.entry(key.clone()).or_insert(value);
        *bound = bound.min(value);
    }
    let comment = text.lines().take_while(|line| line.starts_with('#')).collect::<Vec<_>>();
    let mut table = format!("{}\n", comment.join("\n"));
    let mut before = "";
    for ((measure, of, target), bound) in &bounds {
        if before != measure {
            table.push('\n');
        }
        before = measure;
        let _ = writeln!(table, "{measure:<22} {of:<34} {target:<6} {}", shown(*bound));
    }
    std::fs::write(&path, table).unwrap();
}

#[test]
fn the_table_says_that_bounds_only_go_down() {
    assert!(TABLE.starts_with("# Today's values; a bound only goes down."), "{FILE}");
    assert!(read(TABLE).len() > 100);
}
