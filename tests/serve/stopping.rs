//! How serving ends, and whom it cuts off.

use crate::support::*;
use effnet::serve::{Connections, Model, ServerOptions};
use std::thread;
use std::time::Duration;

/// Requests that were taken are answered, and the server ends by itself.
#[test]
fn what_was_taken_is_answered_when_the_server_stops() {
    let mut served = Served::new(weights(), model_options());
    let held = served.server.hold("m").unwrap();
    let address = served.address;
    let expected =
        thread::spawn(move || ask(address, "m:pixels", "pixels", "UINT8", 1, &levels(2)));
    while !served.get("/metrics").1.contains("effnet_queue_images{model=\"m\"} 1\n") {
        thread::yield_now();
    }
    drop(served.stop.take());
    let release = thread::spawn(move || drop(held));
    served.end();
    release.join().unwrap();
    assert_eq!(expected.join().unwrap().len(), 4 * 1000);
    let gone = agent().get(served.url("/v2/health/live")).call();
    assert!(gone.is_err(), "the port is still served");
}

/// A client that sends half a header is cut off, and its place is another's.
#[test]
fn a_slow_client_holds_no_place_for_long() {
    use std::io::{Read, Write};
    let connections =
        Connections { most: 1, header_time: Duration::from_millis(100), ..connections() };
    let served = Served::with(weights(), model_options(), connections);
    let mut slow = std::net::TcpStream::connect(served.address).unwrap();
    slow.write_all(b"GET /v2 HTTP/1.1\r\nHost: ").unwrap();
    // There is one place, which the slow client has.
    assert_eq!(served.get("/v2/health/live").0, 200);
    let mut rest = Vec::new();
    slow.read_to_end(&mut rest).unwrap_or_default();
    assert!(rest.is_empty() || rest.starts_with(b"HTTP/1.1 408"), "{rest:?}");
}

/// A client that opens a connection to gRPC and says nothing is cut off.
#[test]
fn a_silent_client_of_grpc_holds_no_place_for_long() {
    use std::io::Read;
    let connections =
        Connections { most: 1, header_time: Duration::from_millis(100), ..connections() };
    let served = Served::with(weights(), model_options(), connections);
    let mut silent = std::net::TcpStream::connect(served.grpc).unwrap();
    assert_eq!(served.get("/v2/health/live").0, 200);
    let mut rest = Vec::new();
    silent.read_to_end(&mut rest).unwrap_or_default();
}

/// A connection that nobody closes does not keep the server from ending.
#[test]
fn the_server_ends_beside_silent_connections() {
    let mut served = Served::new(weights(), model_options());
    let silent = [served.grpc, served.address].map(|to| std::net::TcpStream::connect(to).unwrap());
    assert_eq!(served.get("/v2/health/live").0, 200);
    served.end();
    drop(silent);
}

/// A client that asks for more than it takes is cut off.
#[test]
fn a_client_that_reads_nothing_holds_no_place_for_long() {
    use std::io::Write;
    let connections =
        Connections { most: 1, header_time: Duration::from_millis(100), ..connections() };
    let served = Served::with(weights(), model_options(), connections);
    let mut client = std::net::TcpStream::connect(served.address).unwrap();
    let ask = b"GET /openapi.yaml HTTP/1.1\r\nHost: x\r\n\r\n".repeat(2000);
    // Until nobody takes any more of it.
    client.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
    let _ = client.write_all(&ask);
    assert_eq!(served.get("/v2/health/live").0, 200);
}

/// A request whose body is not there when the server ends does not keep it.
#[test]
fn the_server_ends_beside_half_a_body() {
    use std::io::{Read, Write};
    let model = Model::start("m".to_owned(), weights(), model_options()).unwrap();
    // Longer than any test lasts.
    let options = ServerOptions { body_time: Duration::from_secs(3600), ..server_options() };
    let mut served = Served::of(vec![model], None, options, connections());
    let mut client = std::net::TcpStream::connect(served.address).unwrap();
    let head = "POST /v2/models/m/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nhalf";
    client.write_all(head.as_bytes()).unwrap();
    assert_eq!(served.get("/v2/health/live").0, 200);
    served.end();
    let mut answer = String::new();
    let _ = client.read_to_string(&mut answer);
    assert!(answer.is_empty() || answer.contains("the server is stopping"), "{answer}");
}

/// A client whose body does not come has its answer, and its place is another's.
#[test]
fn half_a_body_holds_no_place_for_long() {
    use std::io::{Read, Write};
    let model = Model::start("m".to_owned(), weights(), model_options()).unwrap();
    let options = ServerOptions { body_time: Duration::from_millis(100), ..server_options() };
    // What cuts off who takes no answer is longer than any test.
    let connections =
        Connections { most: 1, header_time: Duration::from_secs(3600), ..connections() };
    let served = Served::of(vec![model], None, options, connections);
    let mut slow = std::net::TcpStream::connect(served.address).unwrap();
    let head = "POST /v2/models/m/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nhalf";
    slow.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    slow.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert_eq!(served.get("/v2/health/live").0, 200);
}

/// What clients announce takes no memory from others: only what has come does.
#[test]
fn slow_bodies_take_no_memory_from_others() {
    use std::io::Write;
    let served = Served::new(weights(), model_options());
    let slow: Vec<std::net::TcpStream> = ["", "Content-Encoding: gzip\r\n"]
        .into_iter()
        .flat_map(|encoding| std::iter::repeat_n(encoding, 16))
        .map(|encoding| {
            let mut client = std::net::TcpStream::connect(served.address).unwrap();
            let head = format!(
                "POST /v2/models/m/infer HTTP/1.1\r\nHost: x\r\n{encoding}Content-Length: {MAX_BODY}\r\n\r\n12"
            );
            client.write_all(head.as_bytes()).unwrap();
            client
        })
        .collect();
    for _ in 0..4 {
        ask(served.address, "m:pixels", "pixels", "UINT8", 6, &levels(1).repeat(6));
    }
    drop(slow);
}

/// The program says which model, and what is wrong with it.
#[test]
fn weights_that_are_not_there_are_named_with_the_reason() {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_effnet"));
    command.args(["serve", "--http", "127.0.0.1:0", "--grpc", "none", "--weights"]);
    let done = command.arg("none/absent.safetensors").output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(2), "{said}");
    assert!(said.contains("model 'absent': none/absent.safetensors: "), "{said}");
}
