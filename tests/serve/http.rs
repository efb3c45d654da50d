//! Requests by HTTP.

use crate::support::*;
use effnet::image;
use effnet::serve::{Connections, Keys, Model, ModelOptions, ServerOptions, Tls};
use effnet::session::Session;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Many requests at once, of one image and of several, by both kinds of tensor.
#[test]
fn served_logits_are_those_of_a_run_bit_for_bit() {
    const IMAGES: usize = 40;
    const REQUESTS: usize = 2000;
    let weights = weights();
    let mut session = Session::new(weights.clone(), session_options(1)).unwrap();
    let normalisation = session.recipe().normalisation();
    let inputs: Vec<Vec<f32>> =
        (0..IMAGES).map(|image| normalisation.values(&levels(image))).collect();
    let expected: Vec<Vec<u8>> = inputs
        .iter()
        .map(|input| {
            let outputs = session.run(&input[..]).unwrap();
            outputs.logits(0).iter().flat_map(|logit| logit.to_le_bytes()).collect()
        })
        .collect();

    let served = Served::new(weights, model_options());
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..12 {
            scope.spawn(|| {
                loop {
                    let request = next.fetch_add(1, Ordering::Relaxed);
                    if request >= REQUESTS {
                        break;
                    }
                    let n = 1 + request * 7 % 6; // some are larger than a batch
                    let images: Vec<usize> = (0..n).map(|i| (request * 13 + i) % IMAGES).collect();
                    let found = if request.is_multiple_of(2) {
                        let data: Vec<u8> = images.iter().flat_map(|&i| levels(i)).collect();
                        ask(served.address, "m:pixels", "pixels", "UINT8", n, &data)
                    } else {
                        let values = images.iter().flat_map(|&i| &inputs[i]);
                        let data: Vec<u8> = values.flat_map(|x| x.to_le_bytes()).collect();
                        ask(served.address, "m:tensor", "input", "FP32", n, &data)
                    };
                    let expected: Vec<u8> =
                        images.iter().flat_map(|&i| expected[i].clone()).collect();
                    assert!(found == expected, "request {request}");
                }
            });
        }
    });
    let (_, statistics) = served.get("/v2/models/m/stats");
    let statistics: Value = serde_json::from_str(&statistics).unwrap();
    let statistics = &statistics["model_stats"][0];
    assert_eq!(statistics["inference_stats"]["success"]["count"], REQUESTS);
    let images: usize = (0..REQUESTS).map(|request| 1 + request * 7 % 6).sum();
    assert_eq!(statistics["inference_count"], images);
    assert!(statistics["execution_count"].as_u64().unwrap() < images as u64, "nothing was batched");
}

#[test]
fn encoded_images_go_every_way_that_people_send_them() {
    let weights = weights();
    let mut session = Session::new(weights.clone(), session_options(1)).unwrap();
    let mut input = vec![0.0; ELEMS];
    image::preprocess(&png(3), &session.recipe(), &mut input).unwrap();
    let outputs = session.run(&input[..]).unwrap();
    let best = outputs.top_k(0, 2).unwrap();
    let logits: Vec<u8> = outputs.logits(0).iter().flat_map(|x| x.to_le_bytes()).collect();

    let served = Served::new(weights, model_options());
    let raw = agent().post(served.url("/v2/models/m/infer"));
    let raw = raw.header("Inference-Header-Content-Length", "0").send(&png(3)[..]);
    let (status, length, body) = bytes(raw);
    assert_eq!((status, &body[length.unwrap()..][..logits.len()]), (200, &logits[..]));

    use base64::Engine as _;
    let base64 = base64::engine::general_purpose::STANDARD.encode(png(3));
    let request = json!({
        "id": "7", "inputs": [{ "name": "image", "datatype": "BYTES", "shape": [1, 1], "data": [base64] }],
        "outputs": [{ "name": "logits", "parameters": { "classification": 2 } }],
    });
    let (status, answer) =
        served.post("/v2/models/m/versions/1/infer", &[], request.to_string().as_bytes());
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(
        (status, &answer["id"], &answer["outputs"][0]["shape"]),
        (200, &json!("7"), &json!([1, 2]))
    );
    let first = answer["outputs"][0]["data"][0].as_str().unwrap();
    assert!(first.starts_with(&format!("{:.6}:{}", best[0].logit, best[0].class)), "{first}");

    for (body, content) in
        [(png(3), "image/png"), (json!([base64]).to_string().into_bytes(), "application/json")]
    {
        let headers = [("Content-Type", content)];
        let (status, answer) = served.post("/v2/models/m/classify?top_k=2", &headers, &body);
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!((status, &answer["results"][0][1]["class"]), (200, &json!(best[1].class)));
        assert_eq!(answer["results"][0].as_array().unwrap().len(), 2);
    }
    let request = json!({ "key": ["image"], "value": [base64] }).to_string();
    let (status, answer) = served.post("/m/prediction", &[], request.as_bytes());
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(
        (status, &answer["err_no"], &answer["key"]),
        (200, &json!(0), &json!(["label", "prob"]))
    );
    let (status, answer) = served.post("/m/prediction", &[], b"{}");
    assert!(status == 200 && answer.contains("\"err_no\":5000"), "{answer}");
}

#[test]
fn what_is_wrong_has_its_status_and_harms_nobody_else() {
    use std::io::Write;
    let served = Served::new(weights(), model_options());
    let zipped = |bytes: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let bomb = zipped(&vec![0; 4 * MAX_BODY]);
    let long = vec![0; MAX_BODY + 1];
    let pixels = levels(1);
    let raw = ("Inference-Header-Content-Length", "0");
    for (path, headers, body, status, expected) in [
        ("/v2/models/n/infer", &[][..], &b"{}"[..], 404, "no model 'n': there are m"),
        ("/v2/models/m/versions/2/infer", &[], b"{}", 404, "no version '2'"),
        ("/v2/models/m/infer", &[], b"{", 400, "no JSON of this protocol"),
        ("/v2/models/m/infer", &[raw], b"no image", 400, "image 0 of 1"),
        ("/v2/models/m:tensor/infer", &[raw], &pixels, 400, "expected 12288 for 1 images"),
        ("/v2/models/m/infer", &[raw], &long, 413, "the body is longer than"),
        ("/v2/models/m/infer", &[raw, ("Content-Encoding", "gzip")], &bomb, 413, "longer than"),
        (
            "/v2/models/m/infer",
            &[raw, ("Content-Encoding", "br")],
            b"x",
            501,
            "expected gzip or deflate",
        ),
        (
            "/v2/models/m/infer",
            &[("Inference-Header-Content-Length", "-1")],
            b"x",
            400,
            "number of bytes",
        ),
        ("/v2/models/m/classify?top_k=0", &[], b"x", 400, "top_k"),
        ("/v2/models/m/classify?top_k=+1", &[], b"x", 400, "top_k"),
        ("/v2/models/m/classify?top_k=%31", &[], b"x", 400, "image 0 of 1"),
        (
            "/v2/models/m/classify",
            &[("Content-Type", "application/jsonx")],
            b"[]",
            400,
            "image 0 of 1",
        ),
        (
            "/v2/models/m/classify",
            &[("Content-Type", "Application/JSON; a=b")],
            b"[]",
            400,
            "no images",
        ),
        (
            "/v2/models/m/infer",
            &[("Inference-Header-Content-Length", "+0")],
            b"",
            400,
            "number of bytes",
        ),
        ("/v2/models/%FF/infer", &[], b"", 400, "UTF-8"),
        ("/v2/repository/index", &[], b"[true]", 400, "expected an object"),
        ("/m/prediction", &[], b"x", 200, ""),
        ("/v2/health/live", &[], b"", 405, "takes no POST"),
        ("/v2/generate", &[], b"", 404, "no path /v2/generate"),
    ] {
        let (found, answer) = served.post(path, headers, body);
        assert_eq!(found, status, "{path}: {answer}");
        let error: Value = serde_json::from_str(&answer).unwrap();
        assert!(answer.contains(expected) && error.is_object(), "{path}: {answer}");
    }
    // A body of unknown length is too long when it has come so far.
    let mut reader = &long[..];
    let chunked = agent().post(served.url("/v2/models/m/infer"));
    let chunked = chunked.header("Inference-Header-Content-Length", "0");
    let (status, answer) = text(chunked.send(ureq::SendBody::from_reader(&mut reader)));
    assert!(status == 413 && answer.contains("the body is longer than"), "{answer}");
    let headers = [raw, ("Content-Encoding", "X-Gzip")];
    let (status, _) = served.post("/v2/models/m:pixels/infer", &headers, &zipped(&pixels));
    assert_eq!(status, 200);
    let (_, metrics) = served.get("/metrics");
    assert!(
        metrics.contains("effnet_requests_failed_total{model=\"m\",reason=\"invalid\"} 3\n"),
        "{metrics}"
    );
    assert!(metrics.contains("effnet_queue_images{model=\"m\"} 0\n"), "{metrics}");
}

#[test]
fn what_is_served_is_described_as_clients_read_it() {
    let served = Served::new(weights(), model_options());
    let get = |path: &str| -> Value {
        let (status, answer) = served.get(path);
        assert_eq!(status, 200, "{path}: {answer}");
        serde_json::from_str(&answer).unwrap()
    };
    assert_eq!(get("/v2/health/live"), json!({ "live": true }));
    assert_eq!(get("/v2/health/ready"), json!({ "ready": true }));
    assert_eq!(get("/v2")["name"], "effnet");
    let metadata = get("/v2/models/m%3Apixels");
    assert_eq!(metadata["inputs"][0]["shape"], json!([-1, SIDE, SIDE, 3]));
    assert_eq!(
        metadata["outputs"][0],
        json!({ "name": "logits", "datatype": "FP32", "shape": [-1, 1000] })
    );
    let config = get("/v2/models/m/config");
    assert_eq!(
        (&config["max_batch_size"], &config["input"][0]["data_type"]),
        (&json!(4), &json!("TYPE_STRING"))
    );
    assert_eq!(get("/v2/models/m/versions/1/ready")["ready"], true);
    assert_eq!(get("/v2/models")["models"], json!(["m", "m:pixels", "m:tensor"]));
    let (status, index) = served.post("/v2/repository/index", &[], b"");
    assert!(status == 200 && index.contains("\"state\":\"READY\""), "{index}");
    let (status, page) = served.get("/");
    assert!(status == 200 && page.contains("value=\"m\"") && !page.contains("{rows}"), "{page}");
}

/// The device is held: what does not depend on it goes on.
#[test]
fn deadlines_and_full_queues_are_answered_while_the_device_is_held() {
    let options = ModelOptions { max_queue: 2, ..model_options() };
    let served = Served::new(weights(), options);
    let held = served.server.hold("m").unwrap();
    let request = |timeout: Option<u64>| {
        let mut parameters = json!({});
        if let Some(us) = timeout {
            parameters["timeout"] = us.into();
        }
        json!({
            "parameters": parameters,
            "inputs": [{ "name": "pixels", "datatype": "UINT8", "shape": [1, SIDE, SIDE, 3], "data": levels(2) }],
        })
        .to_string()
    };
    // Small as bytes, and not as what it becomes.
    let many = json!({
        "inputs": [{ "name": "image", "datatype": "BYTES", "shape": [3], "data": ["YQ==", "YQ==", "YQ=="] }],
    })
    .to_string();
    let (status, answer) = served.post("/v2/models/m/infer", &[], many.as_bytes());
    assert!(
        status == 413 && answer.contains("3 images that take 36867 bytes, expected at most 2"),
        "{answer}"
    );
    let path = "/v2/models/m:pixels/infer";
    let (status, answer) = served.post(path, &[], request(Some(50_000)).as_bytes());
    assert!(status == 503 && answer.contains("no answer within 50 ms"), "{answer}");
    thread::scope(|scope| {
        let answers: Vec<_> = (0..2)
            .map(|_| scope.spawn(|| served.post(path, &[], request(None).as_bytes())))
            .collect();
        while !served.get("/metrics").1.contains("effnet_queue_images{model=\"m\"} 2\n") {
            thread::yield_now();
        }
        let (status, answer) = served.post(path, &[], request(None).as_bytes());
        assert!(status == 503 && answer.contains("the queue is full: 2 images"), "{answer}");
        // Nobody looks at what comes of no use.
        for path in ["/v2/models/m/infer", "/v2/models/m/classify"] {
            let (status, answer) = served.post(path, &[], b"{");
            assert!(status == 503 && answer.contains("the queue is full"), "{path}: {answer}");
        }
        let (status, answer) = served.post("/m/prediction", &[], b"{");
        assert!(status == 200 && answer.contains("\"err_no\":8000"), "{answer}");
        assert_eq!(served.get("/v2/health/live").0, 200);
        drop(held);
        for answer in answers {
            assert_eq!(answer.join().unwrap().0, 200);
        }
    });
}

#[test]
fn a_form_of_images_is_classified() {
    let served = Served::new(weights(), model_options());
    let part = |name: &str, file: &str, bytes: &[u8]| {
        let head =
            format!("--cut\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n");
        [head.as_bytes(), bytes, b"\r\n"].concat()
    };
    let file = "; filename=\"a.png\"";
    let body =
        [part("image", file, &png(1)), part("image", file, &png(2)), b"--cut--\r\n".to_vec()];
    let headers = [("Content-Type", "multipart/form-data; boundary=cut")];
    let path = "/v2/models/m/classify?top_k=1";
    let (status, answer) = served.post(path, &headers, &body.concat());
    let results: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!((status, results["results"].as_array().unwrap().len()), (200, 2), "{answer}");
    let (_, second) = served.post(path, &[], &png(2));
    let second: Value = serde_json::from_str(&second).unwrap();
    assert_eq!(results["results"][1], second["results"][0]);
    for (body, expected) in [
        ([part("text", "", b"x"), b"--cut--\r\n".to_vec()].concat(), "field 'text' is no file"),
        (part("image", file, &png(1)), "the form cannot be read"),
        (b"--cut--\r\n".to_vec(), "no images"),
    ] {
        let (status, answer) = served.post(path, &headers, &body);
        assert!(status == 400 && answer.contains(expected), "{answer}");
    }
}

#[test]
fn a_trace_goes_back_and_metrics_have_an_address_of_their_own() {
    let served = Served::new(weights(), model_options());
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let answer = agent().get(served.url("/v2")).header("traceparent", trace).call().unwrap();
    assert_eq!(answer.headers()["traceparent"], trace);
    let (status, metrics) = text(agent().get(format!("http://{}/metrics", served.metrics)).call());
    assert!(status == 200 && metrics.contains("nv_inference_count{model=\"m\",version=\"1\"} 0\n"));
    let (status, _) = text(agent().get(format!("http://{}/v2", served.metrics)).call());
    assert_eq!(status, 404);
}

#[test]
fn a_certificate_is_shown_on_all_addresses() {
    use std::fs;
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let [cert, key, other] =
        ["cert.pem", "key.pem", "other.pem"].map(|name| folder.path().join(name));
    fs::write(&cert, made.cert.pem()).unwrap();
    fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let stranger = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    fs::write(&other, stranger.signing_key.serialize_pem()).unwrap();
    for (cert, key) in
        [(&cert, &other), (&key, &key), (&cert, &cert), (&folder.path().join("x"), &key)]
    {
        let error = Tls::read(cert, key).unwrap_err();
        assert!(error.contains(".pem: ") || error.contains("x: "), "{error}");
    }
    let tls = Some(Tls::read(&cert, &key).unwrap());
    let served = Served::with(weights(), model_options(), Connections { tls, ..connections() });
    let root = ureq::tls::Certificate::from_pem(made.cert.pem().as_bytes()).unwrap().to_owned();
    let roots = ureq::tls::RootCerts::Specific(std::sync::Arc::new(vec![root]));
    let config = ureq::tls::TlsConfig::builder().root_certs(roots).build();
    let agent: ureq::Agent = ureq::Agent::config_builder().tls_config(config).build().into();
    for (port, path) in
        [(served.address.port(), "/v2/health/live"), (served.metrics.port(), "/metrics")]
    {
        let (status, _) = text(agent.get(format!("https://localhost:{port}{path}")).call());
        assert_eq!(status, 200);
    }
    // Without encryption there is no answer.
    assert!(agent.get(served.url("/v2/health/live")).call().is_err());
}

/// A client that looks for an answer only when it has sent all finds one.
#[test]
fn long_bodies_that_nobody_reads_are_taken_all_the_same() {
    let model = Model::start("m".to_owned(), weights(), model_options()).unwrap();
    let options = ServerOptions { max_body: 64 << 20, ..server_options() };
    let served = Served::of(vec![model], None, options, connections());
    let long = vec![0; 40 << 20];
    for (path, headers, status) in [
        ("/v2/models/n/infer", &[][..], 404),
        ("/v2/nothing", &[], 404),
        ("/v2/health/live", &[], 405),
        ("/v2/models/m/classify?top_k=0", &[], 400),
        ("/v2/models/m/infer", &[("Content-Encoding", "br")], 501),
    ] {
        let (found, answer) = served.post(path, headers, &long);
        assert_eq!(found, status, "{path}: {answer}");
    }
}

#[test]
fn the_page_asks_for_a_key_and_tells_nothing_without_one() {
    let model = Model::start("m".to_owned(), weights(), model_options()).unwrap();
    let options = ServerOptions { keys: Keys::read("secret").unwrap(), ..server_options() };
    let served = Served::of(vec![model], None, options, connections());
    let (status, page) = served.get("/");
    assert!(status == 200 && !page.contains("value=\"m\"") && !page.contains("{rows}"), "{page}");
    let answer = agent().get(served.url("/")).header("Authorization", "Bearer secret").call();
    assert!(text(answer).1.contains("value=\"m\""));
}
