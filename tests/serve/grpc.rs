//! Requests by gRPC, over a client of HTTP/2 and nothing else: what goes over the wire is seen here, and
//! tests/clients/ has the real clients.

use crate::support::*;
use effnet::image;
use effnet::serve::{Keys, Model, ServerOptions};
use effnet::session::Session;
use prost::Message;
use prost::bytes::Bytes;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Field numbers by hand: those of the protocol, not of the server's own messages.
#[derive(Clone, PartialEq, Message)]
struct InferRequest {
    #[prost(string, tag = "1")]
    model_name: String,
    #[prost(string, tag = "3")]
    id: String,
    #[prost(map = "string, message", tag = "4")]
    parameters: HashMap<String, Parameter>,
    #[prost(message, repeated, tag = "5")]
    inputs: Vec<Tensor>,
    #[prost(message, repeated, tag = "6")]
    outputs: Vec<Wish>,
    #[prost(bytes = "vec", repeated, tag = "7")]
    raw: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
struct Parameter {
    #[prost(int64, optional, tag = "2")]
    int64: Option<i64>,
    #[prost(uint64, optional, tag = "5")]
    uint64: Option<u64>,
}

#[derive(Clone, PartialEq, Message)]
struct Tensor {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    datatype: String,
    #[prost(int64, repeated, tag = "3")]
    shape: Vec<i64>,
    #[prost(message, optional, tag = "5")]
    contents: Option<Contents>,
}

#[derive(Clone, PartialEq, Message)]
struct Contents {
    #[prost(uint32, repeated, tag = "4")]
    uint: Vec<u32>,
    #[prost(float, repeated, tag = "6")]
    fp32: Vec<f32>,
    #[prost(bytes = "vec", repeated, tag = "8")]
    bytes: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
struct Wish {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(map = "string, message", tag = "2")]
    parameters: HashMap<String, Parameter>,
}

#[derive(Clone, PartialEq, Message)]
struct InferResponse {
    #[prost(string, tag = "1")]
    model_name: String,
    #[prost(string, tag = "3")]
    id: String,
    #[prost(message, repeated, tag = "5")]
    outputs: Vec<Tensor>,
    #[prost(bytes = "vec", repeated, tag = "6")]
    raw: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
struct Named {
    #[prost(string, tag = "1")]
    name: String,
}

/// The answer to a call, or its status and message.
async fn call(
    address: SocketAddr,
    path: &str,
    headers: &[(&str, &str)],
    frame: Vec<u8>,
) -> Result<Vec<u8>, (u32, String)> {
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let mut client = client.ready().await.unwrap();
    let mut request = ureq::http::Request::post(format!("http://{address}{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let (response, mut sender) = client.send_request(request.body(()).unwrap(), false).unwrap();
    // A server may refuse before it has read everything.
    let _ = sender.send_data(Bytes::from(frame), true);
    let response = response.await.unwrap();
    let status = |headers: &ureq::http::HeaderMap| {
        let code = headers.get("grpc-status")?.to_str().ok()?.parse().ok()?;
        let text = headers.get("grpc-message").and_then(|text| text.to_str().ok());
        Some((code, text.unwrap_or_default().replace("%20", " ")))
    };
    if let Some(status) = status(response.headers()) {
        return Err(status);
    }
    let mut body = response.into_body();
    let mut found = Vec::new();
    while let Some(data) = body.data().await {
        let data = data.unwrap();
        body.flow_control().release_capacity(data.len()).unwrap();
        found.extend(data);
    }
    let trailers = body.trailers().await.unwrap().unwrap();
    match status(&trailers).unwrap() {
        (0, _) => {
            let length = u32::from_be_bytes(found[1..5].try_into().unwrap()) as usize;
            assert_eq!((found[0], found.len()), (0, 5 + length));
            Ok(found.split_off(5))
        }
        status => Err(status),
    }
}

fn framed(message: &impl Message) -> Vec<u8> {
    let message = message.encode_to_vec();
    [&[0][..], &(message.len() as u32).to_be_bytes(), &message].concat()
}

fn ask(served: &Served, method: &str, message: &impl Message) -> Result<Vec<u8>, (u32, String)> {
    let path = format!("/inference.GRPCInferenceService/{method}");
    served.runtime.block_on(call(served.grpc, &path, &[], framed(message)))
}

fn tensor(name: &str, datatype: &str, shape: &[usize]) -> Tensor {
    Tensor {
        name: name.to_owned(),
        datatype: datatype.to_owned(),
        shape: shape.iter().map(|&extent| extent as i64).collect(),
        contents: None,
    }
}

fn infer(served: &Served, request: &InferRequest) -> Result<InferResponse, (u32, String)> {
    let answer = ask(served, "ModelInfer", request)?;
    Ok(InferResponse::decode(&answer[..]).unwrap())
}

#[test]
fn every_form_of_a_request_has_the_logits_of_a_run() {
    let weights = weights();
    let mut session = Session::new(weights.clone(), session_options(1)).unwrap();
    let values = session.recipe().normalisation().values(&levels(5));
    let logits = |session: &mut Session, input: &[f32]| -> Vec<u8> {
        let outputs = session.run(input).unwrap();
        outputs.logits(0).iter().flat_map(|logit| logit.to_le_bytes()).collect()
    };
    let expected = logits(&mut session, &values);
    let served = Served::new(weights, model_options());
    let shape = [1, SIDE, SIDE, 3];
    let raw_values: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
    let contents = |contents| Some(contents);
    for (name, input, raw) in [
        ("m:pixels", tensor("pixels", "UINT8", &shape), vec![levels(5)]),
        ("m:tensor", tensor("input", "FP32", &shape), vec![raw_values]),
        (
            "m:pixels",
            Tensor {
                contents: contents(Contents {
                    uint: levels(5).into_iter().map(u32::from).collect(),
                    ..Contents::default()
                }),
                ..tensor("pixels", "UINT8", &shape)
            },
            vec![],
        ),
        (
            "m:tensor",
            Tensor {
                contents: contents(Contents { fp32: values.clone(), ..Contents::default() }),
                ..tensor("input", "FP32", &shape)
            },
            vec![],
        ),
    ] {
        let request = InferRequest {
            model_name: name.to_owned(),
            id: "7".to_owned(),
            inputs: vec![input],
            raw,
            ..InferRequest::default()
        };
        let answer = infer(&served, &request).unwrap();
        assert_eq!((&answer.model_name[..], &answer.id[..]), (name, "7"));
        assert_eq!(answer.outputs[0].shape, [1, 1000]);
        assert!(answer.raw[0] == expected, "{name}");
    }
    // Encoded, raw and as an element; the best classes alone.
    let mut input = vec![0.0; ELEMS];
    image::preprocess(&png(3), &session.recipe(), &mut input).unwrap();
    let expected = logits(&mut session, &input);
    let raw = [&(png(3).len() as u32).to_le_bytes()[..], &png(3)].concat();
    let elements = Contents { bytes: vec![png(3)], ..Contents::default() };
    for (contents, raw) in [(None, vec![raw]), (Some(elements), vec![])] {
        let request = InferRequest {
            model_name: "m".to_owned(),
            inputs: vec![Tensor { contents, ..tensor("image", "BYTES", &[1, 1]) }],
            raw,
            ..InferRequest::default()
        };
        assert!(infer(&served, &request).unwrap().raw[0] == expected);
        let two = Parameter { int64: Some(2), uint64: None };
        let wish = Wish {
            name: "logits".to_owned(),
            parameters: HashMap::from([("classification".to_owned(), two)]),
        };
        let answer = infer(&served, &InferRequest { outputs: vec![wish], ..request }).unwrap();
        assert_eq!(
            (&answer.outputs[0].datatype[..], &answer.outputs[0].shape[..]),
            ("BYTES", &[1, 2][..])
        );
        let best = session.run(&input[..]).unwrap().top_k(0, 1).unwrap()[0];
        let text = String::from_utf8_lossy(&answer.raw[0][4..]).into_owned();
        assert!(text.starts_with(&format!("{:.6}:{}", best.logit, best.class)), "{text}");
    }
}

#[test]
fn what_is_wrong_has_its_code() {
    let served = Served::new(weights(), model_options());
    let shape = [1, SIDE, SIDE, 3];
    let request = |name: &str, input, raw| InferRequest {
        model_name: name.to_owned(),
        inputs: vec![input],
        raw,
        ..InferRequest::default()
    };
    let both = Some(Contents { fp32: vec![0.5], ..Contents::default() });
    let nan = f32::NAN.to_le_bytes().repeat(ELEMS);
    for (request, code, expected) in [
        (request("n", tensor("image", "BYTES", &[1]), vec![]), 5, "no model 'n': there are m"),
        (
            request("m:pixels", tensor("pixels", "UINT8", &shape), vec![vec![0; 5]]),
            3,
            "has 5 bytes, expected 3072",
        ),
        (request("m:tensor", tensor("input", "FP32", &shape), vec![nan]), 3, "has the value NaN"),
        (
            request("m:tensor", tensor("input", "FP32", &shape), vec![]),
            3,
            "neither contents nor raw_input_contents",
        ),
        (
            request(
                "m:tensor",
                Tensor { contents: both, ..tensor("input", "FP32", &shape) },
                vec![vec![0; 4 * ELEMS]],
            ),
            3,
            "has contents beside raw_input_contents",
        ),
        (
            request("m:tensor", tensor("input", "FP32", &shape), vec![vec![], vec![]]),
            3,
            "2 raw_input_contents for 1 inputs",
        ),
        (
            request("m:pixels", tensor("pixels", "UINT8", &shape), vec![vec![0; MAX_BODY]]),
            8,
            "longer than 1048576 bytes",
        ),
    ] {
        let (found, text) = infer(&served, &request).unwrap_err();
        assert!(found == code && text.contains(expected), "{found}: {text}");
    }
    // Half a message, no message, no method, no bytes of this protocol.
    let path = "/inference.GRPCInferenceService/ModelInfer";
    let ask =
        |path, headers, frame| served.runtime.block_on(call(served.grpc, path, headers, frame));
    assert_eq!(ask(path, &[], vec![0, 0, 0, 0, 9, 1, 2]).unwrap_err().0, 13);
    assert!(ask(path, &[], vec![]).is_err());
    assert_eq!(ask(path, &[], vec![0, 0xff, 0xff, 0xff, 0xff, 1]).unwrap_err().0, 8);
    assert_eq!(ask(path, &[], vec![0, 0, 0, 0, 1, 0xff]).unwrap_err().0, 13);
    assert_eq!(
        ask("/inference.GRPCInferenceService/ModelStreamInfer", &[], vec![]).unwrap_err().0,
        12
    );
    assert_eq!(ask(path, &[("grpc-timeout", "1s")], vec![]).unwrap_err().0, 3);
    // The server is as it was.
    let ready = self::ask(&served, "ServerReady", &Named::default()).unwrap();
    assert_eq!(ready, [8, 1]);
}

#[test]
fn metadata_statistics_and_health_are_there() {
    let served = Served::new(weights(), model_options());
    let name = Named { name: "m:pixels".to_owned() };
    for (method, expected) in [
        ("ModelMetadata", "pixels"),
        ("ModelConfig", "m:pixels"),
        ("ModelStatistics", "m"),
        ("ServerMetadata", "model_repository"),
        ("RepositoryIndex", "READY"),
    ] {
        let answer = match method {
            "ServerMetadata" | "RepositoryIndex" => ask(&served, method, &Named::default()),
            _ => ask(&served, method, &name),
        };
        let answer = String::from_utf8_lossy(&answer.unwrap()).into_owned();
        assert!(answer.contains(expected), "{method}: {answer}");
    }
    let health = || {
        let path = "/grpc.health.v1.Health/Check";
        served.runtime.block_on(call(served.grpc, path, &[], framed(&Named::default())))
    };
    // SERVING, as soon as somebody has looked.
    while health() != Ok(vec![8, 1]) {
        std::thread::yield_now();
    }
    served.server.stop();
    while health() != Ok(vec![8, 2]) {
        std::thread::yield_now();
    }
    let load = ask(&served, "RepositoryModelLoad", &Named::default()).unwrap_err();
    assert!(load.0 == 3 && load.1.contains("start the server with --models"), "{load:?}");
}

#[test]
fn the_deadline_of_a_call_is_answered_while_the_device_is_held() {
    let served = Served::new(weights(), model_options());
    let held = served.server.hold("m").unwrap();
    let request = InferRequest {
        model_name: "m:pixels".to_owned(),
        inputs: vec![tensor("pixels", "UINT8", &[1, SIDE, SIDE, 3])],
        raw: vec![levels(1)],
        ..InferRequest::default()
    };
    let path = "/inference.GRPCInferenceService/ModelInfer";
    let began = Instant::now();
    let late = call(served.grpc, path, &[("grpc-timeout", "50m")], framed(&request));
    let (code, text) = served.runtime.block_on(late).unwrap_err();
    assert!(code == 4 && text.contains("no answer within 50 ms"), "{code}: {text}");
    assert!(began.elapsed() >= Duration::from_millis(50));
    drop(held);
}

#[test]
fn a_key_is_asked_for_and_probes_need_none() {
    let model = Model::start("m".to_owned(), weights(), model_options()).unwrap();
    let keys = Keys::read("secret").unwrap();
    let options = ServerOptions { keys, ..server_options() };
    let served = Served::of(vec![model], None, options, connections());
    let ask = |path, headers: &[(&str, &str)]| {
        served.runtime.block_on(call(served.grpc, path, headers, framed(&Named::default())))
    };
    let live = "/inference.GRPCInferenceService/ServerLive";
    assert_eq!(ask(live, &[]).unwrap_err().0, 16);
    assert_eq!(ask(live, &[("authorization", "Bearer secre")]).unwrap_err().0, 16);
    assert_eq!(ask(live, &[("authorization", "Bearer secret")]).unwrap(), [8, 1]);
    assert!(ask("/grpc.health.v1.Health/Check", &[]).is_ok());
    assert_eq!(served.get("/v2/health/ready").0, 200);
    let (status, answer) = served.get("/v2");
    assert!(status == 401 && answer.contains("expected a key"), "{answer}");
    let (status, _) = served.post("/v2/repository/index", &[("X-API-Key", "secret")], b"");
    assert_eq!(status, 200);
    assert_eq!(served.post("/v2/repository/index", &[("X-API-Key", "x")], b"").0, 401);
}
