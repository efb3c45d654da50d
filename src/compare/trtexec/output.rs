//! Readers of trtexec's output and files.

use serde::Deserialize;

/// One line of the file of `--exportTimes`: a query after the warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
pub struct QueryTimes {
    /// Copy of the input to the GPU.
    #[serde(rename = "h2dMs")]
    pub h2d_ms: f64,
    /// The network.
    #[serde(rename = "computeMs")]
    pub compute_ms: f64,
    /// Copy of the outputs from the GPU.
    #[serde(rename = "d2hMs")]
    pub d2h_ms: f64,
    /// The sum of the three, which trtexec calls latency.
    #[serde(rename = "latencyMs")]
    pub latency_ms: f64,
}

/// A tensor in the file of `--exportOutput`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct OutputTensor {
    /// Name of the tensor in the network.
    pub name: String,
    /// Shape as text, as in `1x1000`.
    pub dimensions: String,
    /// Row-major, with six digits.
    pub values: Vec<f32>,
}

/// Reads a file of `--exportTimes`.
pub fn times(text: &str) -> Result<Vec<QueryTimes>, String> {
    let list: Vec<QueryTimes> = serde_json::from_str(text)
        .map_err(|error| format!("--exportTimes: expected a list of queries, found {error}"))?;
    match list.iter().find(|query| !(query.latency_ms > 0.0 && query.compute_ms > 0.0)) {
        Some(query) => Err(format!("--exportTimes: expected times above 0, found {query:?}")),
        None if list.is_empty() => Err("--exportTimes: expected queries, found none".to_owned()),
        None => Ok(list),
    }
}

/// Reads the tensor `name`, of `elems` elements, from a file of `--exportOutput`.
pub fn output(text: &str, name: &str, elems: usize) -> Result<Vec<f32>, String> {
    let list: Vec<OutputTensor> = serde_json::from_str(text)
        .map_err(|error| format!("--exportOutput: expected a list of tensors, found {error}"))?;
    let names: Vec<&str> = list.iter().map(|tensor| tensor.name.as_str()).collect();
    let names = format!("[{}]", names.join(", "));
    let tensor = list
        .into_iter()
        .find(|tensor| tensor.name == name)
        .ok_or_else(|| format!("--exportOutput: expected a tensor '{name}', found {names}"))?;
    let found = tensor.values.len();
    if found != elems {
        return Err(format!(
            "--exportOutput: expected {elems} values of '{name}', found {found} ({})",
            tensor.dimensions
        ));
    }
    Ok(tensor.values)
}

/// Time that the build took in s, by trtexec's own clock.
pub fn built_s(text: &str) -> Option<f64> {
    number_after(text, "Engine built in ")
}

/// Queries per second over the whole timing.
pub fn throughput_qps(text: &str) -> Option<f64> {
    number_after(text, "Throughput: ")
}

/// The GPU's name.
pub fn device(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once("Selected Device: ")?;
    rest.lines().next().map(str::trim).filter(|name| !name.is_empty())
}

/// Whether queries ran as a CUDA graph: that it could not be captured is only a warning.
pub fn captured_graph(text: &str) -> bool {
    text.contains("Successfully captured CUDA graph")
}

fn number_after(text: &str, words: &str) -> Option<f64> {
    let (_, rest) = text.split_once(words)?;
    let number = rest.split_whitespace().next()?;
    number.parse().ok().filter(|x: &f64| x.is_finite() && *x > 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "\
[04/07/2025-23:59:33] [I] Selected Device: NVIDIA GeForce RTX 3070
[04/07/2025-23:59:46] [I] [TRT] Engine generation completed in 10.6392 seconds.
[04/07/2025-23:59:46] [I] Engine built in 10.7204 sec.
[04/07/2025-23:59:47] [I] Successfully captured CUDA graph for input 0
[04/07/2025-23:59:50] [I] === Performance summary ===
[04/07/2025-23:59:50] [I] Throughput: 691.431 qps
";

    #[test]
    fn the_log_tells_device_build_time_throughput_and_graph() {
        assert_eq!(device(LOG), Some("NVIDIA GeForce RTX 3070"));
        assert_eq!(built_s(LOG), Some(10.7204));
        assert_eq!(throughput_qps(LOG), Some(691.431));
        assert!(captured_graph(LOG));
        let other = "[W] The CUDA graph capture on the stream has failed.\nThroughput: nan qps";
        assert_eq!((device(other), built_s(other), throughput_qps(other)), (None, None, None));
        assert!(!captured_graph(other));
    }

    #[test]
    fn times_are_read_whatever_else_a_query_has() {
        let text = r#"[
          { "startEnqMs" : 0.1, "endEnqMs" : 0.2, "startH2dMs" : 0.2, "h2dMs" : 0.05,
            "computeMs" : 1.4, "d2hMs" : 0.004, "latencyMs" : 1.454 },
          { "h2dMs" : 0, "computeMs" : 1.5, "d2hMs" : 0, "latencyMs" : 1.5 }
        ]"#;
        let found = times(text).unwrap();
        assert_eq!((found.len(), found[0].compute_ms, found[1].latency_ms), (2, 1.4, 1.5));
        for (bad, words) in [
            ("", "expected a list"),
            ("[]", "found none"),
            (r#"[{"h2dMs":0,"computeMs":1,"d2hMs":0}]"#, "latencyMs"),
            (r#"[{"h2dMs":0,"computeMs":0,"d2hMs":0,"latencyMs":0}]"#, "above 0"),
        ] {
            let error = times(bad).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn an_output_is_found_by_name_and_has_its_length() {
        let text = r#"[{"name":"logits","dimensions":"1x3","values":[1,-2.5,1e-05]}]"#;
        assert_eq!(output(text, "logits", 3).unwrap(), [1.0, -2.5, 1e-5]);
        let error = output(text, "logits", 6).unwrap_err();
        assert!(error.contains("expected 6 values") && error.contains("1x3"), "{error}");
        let error = output(text, "other", 3).unwrap_err();
        assert!(error.contains("found [logits]"), "{error}");
        assert!(output("[{\"values\":[nan]}]", "logits", 1).is_err());
    }
}
