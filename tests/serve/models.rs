//! Models that are loaded, exchanged and unloaded while requests run.

use crate::support::*;
use effnet::arch::Variant;
use effnet::serve::{Model, Source};
use effnet::session::Session;
use effnet::weights::{Precision, Weights, stand_in};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// Weights by the models' names, which a test exchanges.
#[derive(Debug)]
struct Shelf {
    weights: Mutex<BTreeMap<String, Arc<Weights>>>,
}

impl Source for Shelf {
    fn names(&self) -> Vec<String> {
        self.weights.lock().unwrap().keys().cloned().collect()
    }

    fn load(&self, name: &str) -> Result<Model, String> {
        let weights = self.weights.lock().unwrap().get(name).cloned();
        let weights = weights.filter(|_| name != "broken").ok_or("its weights are broken")?;
        Model::start(name.to_owned(), weights, model_options()).map_err(|error| error.to_string())
    }
}

fn shelf(names: &[&str]) -> Arc<Shelf> {
    let weights = weights();
    let weights = names.iter().map(|name| ((*name).to_owned(), weights.clone())).collect();
    Arc::new(Shelf { weights: Mutex::new(weights) })
}

fn served(shelf: &Arc<Shelf>) -> Served {
    let model = shelf.load("m").unwrap();
    Served::of(vec![model], Some(shelf.clone()), server_options(), connections())
}

fn states(served: &Served) -> BTreeMap<String, (String, String)> {
    let (status, index) = served.post("/v2/repository/index", &[], b"");
    assert_eq!(status, 200);
    let index: Vec<Value> = serde_json::from_str(&index).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let line = |line: &Value| (text(&line["name"]), (text(&line["state"]), text(&line["reason"])));
    index.iter().map(line).filter(|(name, _)| !name.contains(':')).collect()
}

#[test]
fn models_come_and_go_by_their_names() {
    let shelf = shelf(&["m", "other", "broken"]);
    let served = served(&shelf);
    let post = |path: &str, body: &[u8]| served.post(path, &[], body);
    let state = |name: &str| states(&served)[name].0.clone();
    assert_eq!(
        (&state("m")[..], &state("other")[..], &state("broken")[..]),
        ("READY", "UNAVAILABLE", "UNAVAILABLE")
    );
    assert_eq!(served.get("/v2/models/other/ready").0, 404);
    assert_eq!(post("/v2/repository/models/other/load", b"").0, 200);
    assert_eq!(served.get("/v2/models/other:tensor/ready").0, 200);
    let (status, answer) = post("/v2/repository/models/broken/load", b"{}");
    assert!(status == 400 && answer.contains("its weights are broken"), "{answer}");
    assert_eq!(states(&served)["broken"].1, "its weights are broken");
    let (status, answer) = post("/v2/repository/models/..%2Fm/load", b"");
    assert!(status == 404 && answer.contains("there are broken, m, other"), "{answer}");
    let parameters = b"{\"parameters\": {\"config\": \"{}\"}}";
    assert_eq!(post("/v2/repository/models/m/load", parameters).0, 501);
    assert_eq!(post("/v2/repository/models/m/load", b"{").0, 400);
    let (_, ready) = post("/v2/repository/index", b"{\"ready\": true}");
    assert!(ready.contains("\"other\"") && !ready.contains("\"broken\""), "{ready}");

    assert_eq!(post("/v2/repository/models/other/unload", b"{\"parameters\": {}}").0, 200);
    let (status, answer) = served.get("/v2/models/other");
    assert!(status == 404 && answer.contains("is not there: unloaded"), "{answer}");
    assert_eq!(post("/v2/repository/models/other/unload", b"").0, 404);
    assert_eq!(served.get("/v2/health/ready").0, 200);
    // A model whose new weights are broken stays as it is.
    shelf.weights.lock().unwrap().remove("m");
    assert_eq!(post("/v2/repository/models/m/load", b"").0, 404);
    assert_eq!(ask(served.address, "m:pixels", "pixels", "UINT8", 1, &levels(1)).len(), 4000);
}

/// Every answer is of the one or of the other weights, none is lost, and both are seen.
#[test]
fn a_model_is_exchanged_while_requests_run_and_none_is_lost() {
    const RELOADS: usize = 40;
    let shelf = shelf(&["m"]);
    let other = Arc::new(stand_in::random_weights(Variant::Lite1, Precision::Fp32).unwrap());
    let both = [weights(), other];
    let expected: Vec<Vec<u8>> = both
        .iter()
        .map(|weights| {
            let mut session = Session::new(weights.clone(), session_options(1)).unwrap();
            let values = session.recipe().normalisation().values(&levels(1));
            let outputs = session.run(&values[..]).unwrap();
            outputs.logits(0).iter().flat_map(|logit| logit.to_le_bytes()).collect()
        })
        .collect();
    assert_ne!(expected[0], expected[1]);
    let served = served(&shelf);
    let is_over = AtomicBool::new(false);
    let seen = [AtomicUsize::new(0), AtomicUsize::new(0)];
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    let found = ask(served.address, "m:pixels", "pixels", "UINT8", 1, &levels(1));
                    let of = expected.iter().position(|expected| *expected == found);
                    seen[of.expect("logits of neither")].fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for reload in 0..RELOADS {
            let weights = both[(reload + 1) % 2].clone();
            shelf.weights.lock().unwrap().insert("m".to_owned(), weights);
            let (status, answer) = served.post("/v2/repository/models/m/load", &[], b"");
            assert_eq!(status, 200, "{answer}");
        }
        is_over.store(true, Ordering::Relaxed);
    });
    let seen = seen.map(AtomicUsize::into_inner);
    assert!(seen.iter().all(|&count| count > 0), "{seen:?}");
}
