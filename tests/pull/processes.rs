//! The program: several that want one file at once, one that was killed, and what it says.

use super::*;
use effnet::weights::find;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;

/// Of its file the catalogue knows no digest, so that any will do.
const NAME: &str = "timm/efficientnet_b0.ra4_e3600_r224_in1k";

/// A B0 of two classes.
static B0: LazyLock<Vec<u8>> = LazyLock::new(|| half_weights(Family::Timm, Variant::B0));

fn effnet(cache: &TempDir, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_effnet"));
    command.arg("pull").args(args).current_dir(cache.path()).stdin(Stdio::null());
    for variable in ["EFFNET_WEIGHTS_DIR", "ALL_PROXY", "HTTP_PROXY", "http_proxy"] {
        command.env_remove(variable);
    }
    command.env("EFFNET_CACHE", cache.path());
    command
}

fn start(cache: &TempDir, url: &str) -> Child {
    let mut command = effnet(cache, &[NAME, "--url", url, "--json"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn json(output: &Output) -> serde_json::Value {
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn checkpoint(cache: &TempDir) -> PathBuf {
    cache.path().join(&find(NAME).unwrap().file_name)
}

#[test]
fn processes_that_want_one_file_wait_for_the_first_and_find_it() {
    let (asked, was_asked) = mpsc::channel();
    let (go_on, may_go_on) = mpsc::channel::<()>();
    let (asked, may_go_on) = (Mutex::new(asked), Mutex::new(may_go_on));
    let server = Local::new(move |request| {
        // Only the first download has to wait for the test.
        if asked.lock().unwrap().send(()).is_ok() {
            let _ = may_go_on.lock().unwrap().recv();
        }
        ranged(request, &B0, "\"one\"")
    });
    // Dropped before the server, which then answers whatever the test has come to.
    let release = go_on;
    let (cache, url) = (tempfile::tempdir().unwrap(), server.url("/b0"));
    let first = start(&cache, &url);
    was_asked.recv_timeout(Duration::from_secs(60)).unwrap();
    drop(was_asked);
    let others = [start(&cache, &url), start(&cache, &url)].map(|mut other| {
        let mut said = String::new();
        BufReader::new(other.stderr.as_mut().unwrap()).read_line(&mut said).unwrap();
        assert!(said.contains("another effnet") && said.contains("waiting"), "{said}");
        other
    });
    release.send(()).unwrap();
    let first = json(&first.wait_with_output().unwrap());
    assert_eq!(first["downloaded_bytes"], B0.len());
    for other in others {
        let report = json(&other.wait_with_output().unwrap());
        assert_eq!(report["downloaded_bytes"], 0);
        assert_eq!(report["checkpoint"], first["checkpoint"]);
        assert_eq!(report["metadata"], first["metadata"]);
    }
    assert_eq!(server.ranges().len(), 1);
    assert_eq!(std::fs::read(checkpoint(&cache)).unwrap(), *B0);
    // The checkpoint and the packed file.
    assert_eq!(std::fs::read_dir(cache.path()).unwrap().count(), 2);

    assert_eq!((&first["verified"], &first["checked"]), (&false.into(), &"nothing".into()));
    let note = first["notes"].to_string();
    assert!(note.contains("unverified") && note.contains(&sha256(&B0)), "{note}");
}

#[test]
fn a_process_that_was_ended_holds_up_nobody_and_its_bytes_are_gone_on_with() {
    let half = B0.len() / 2;
    // Ctrl-C takes the lock's file away, too.
    for (signal, left) in [("-KILL", 3), ("-INT", 2)] {
        let cut = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", cut.local_addr().unwrap());
        let cache = tempfile::tempdir().unwrap();
        let mut first = start(&cache, &url);
        let (mut stream, _) = cut.accept().unwrap();
        request_head(&mut stream).unwrap();
        let length = B0.len();
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nETag: \"one\"\r\n\r\n")
            .unwrap();
        stream.write_all(&B0[..half]).unwrap();
        let mut part = checkpoint(&cache).into_os_string();
        part.push(".part");
        while std::fs::metadata(&part).map_or(0, |part| part.len()) < half as u64 {
            assert!(first.try_wait().unwrap().is_none(), "the program ended by itself");
            std::thread::sleep(Duration::from_millis(2));
        }
        let sent = Command::new("kill").args([signal, &first.id().to_string()]).status().unwrap();
        assert!(sent.success());
        assert!(!first.wait().unwrap().success());
        assert_eq!(std::fs::read_dir(cache.path()).unwrap().count(), left, "{signal}");

        let server = Local::new(|request| ranged(request, &B0, "\"one\""));
        let digest = sha256(&B0);
        let args = [NAME, "--url", &server.url("/"), "--sha256", &digest, "--json"];
        let report = json(&effnet(&cache, &args).output().unwrap());
        assert_eq!(report["resumed_at_bytes"], half);
        assert_eq!((&report["verified"], &report["checked"]), (&true.into(), &"sha256".into()));
        assert_eq!(report["notes"], serde_json::json!([]));
        assert_eq!(std::fs::read_dir(cache.path()).unwrap().count(), 2);
    }
}

#[test]
fn a_digest_is_64_digits_on_the_command_line() {
    let cache = tempfile::tempdir().unwrap();
    let wrong = effnet(&cache, &[NAME, "--sha256", "12"]).output().unwrap();
    assert_eq!(wrong.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("64 hexadecimal digits"));
}

#[test]
fn the_list_tells_what_is_known_of_each_digest() {
    let cache = tempfile::tempdir().unwrap();
    let list = effnet(&cache, &["--list"]).output().unwrap();
    let list = String::from_utf8(list.stdout).unwrap();
    for (name, known) in [
        ("lukemelas/efficientnet-b0", "known"),
        ("timm/tf_efficientnet_b0.ns_jft_in1k", "8 digits"),
        ("paddle-clas/EfficientNetB0", "unknown"),
    ] {
        let line = list.lines().find(|line| line.split(' ').next() == Some(name)).unwrap();
        assert!(line.contains(&format!(" {known} ")), "{line}");
    }
}

/// The folder is looked at before anything is fetched.
#[test]
fn a_folder_that_is_not_there_costs_no_download() {
    let server = Local::new(|request| ranged(request, &B0, "\"one\""));
    let (cache, url) = (tempfile::tempdir().unwrap(), server.url("/b0"));
    let absent = ["none", "b0.safetensors"].iter().collect::<PathBuf>();
    let done = effnet(&cache, &[NAME, "--url", &url, "-o", absent.to_str().unwrap()]).output();
    let done = done.unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(2), "{said}");
    assert!(said.contains("none/b0.safetensors") && said.contains("existing folder"), "{said}");
    assert!(server.ranges().is_empty() && !checkpoint(&cache).exists());
}
