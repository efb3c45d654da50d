//! Times as a trace in Chrome's JSON format, which Perfetto and `chrome://tracing` open.
//!
//! One run with the median times, laid end to end: what a device does between items, and what
//! overlaps, is not in it.

use super::{By, TimeProfile};
use serde::Serialize;
use serde_json::{Value, json};

/// A trace.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Trace {
    /// Metadata, then spans in the order of time.
    pub trace_events: Vec<Event>,
    /// How viewers show times.
    pub display_time_unit: &'static str,
}

/// An event, in the format's own names.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Event {
    /// What is shown.
    pub name: String,
    /// Category: the op, `stage` or `block`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cat: String,
    /// `X`, a span, or `M`, metadata.
    pub ph: &'static str,
    /// Start in microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ts: Option<f64>,
    /// Duration in microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dur: Option<f64>,
    /// The process: always the same.
    pub pid: u32,
    /// The thread: a row of the display.
    pub tid: u32,
    /// What is shown beside it.
    pub args: Value,
}

/// Rows of the display, from the top.
const ROWS: [(u32, By); 3] = [(1, By::Stage), (2, By::Block), (3, By::Launch)];

/// The trace of a profile; `title` names what was run, `unit` what its items are, as in `launches`.
pub fn trace(profile: &TimeProfile, title: &str, unit: &str) -> Trace {
    let metadata = |name: &str, tid, args| Event {
        name: name.to_owned(),
        cat: String::new(),
        ph: "M",
        ts: None,
        dur: None,
        pid: 1,
        tid,
        args,
    };
    let mut events = vec![metadata("process_name", 0, json!({ "name": title }))];
    for (tid, by) in ROWS {
        let name = match by {
            By::Launch => unit.to_owned(),
            _ => format!("{by}s"),
        };
        events.push(metadata("thread_name", tid, json!({ "name": name })));
        events.push(metadata("thread_sort_index", tid, json!({ "sort_index": tid })));
    }
    for (tid, by) in ROWS {
        spans(profile, tid, by, &mut events);
    }
    Trace { trace_events: events, display_time_unit: "ns" }
}

/// A span for each stretch of items that belong together.
fn spans(profile: &TimeProfile, tid: u32, by: By, events: &mut Vec<Event>) {
    let (mut first, mut ts) = (0, 0.0);
    for next in 1..=profile.items.len() {
        let name = by.of(&profile.items[first]);
        if profile.items.get(next).is_some_and(|item| by.of(item) == name) {
            continue;
        }
        let places = Vec::from_iter(first..next);
        let figures = profile.figures(&places);
        let mut args = json!({
            "share": figures.share,
            "bytes": figures.bytes,
            "flops": figures.flops,
            "gbps": figures.gbps,
            "tflops": figures.tflops,
            "floor_us": figures.floor_us,
            "bound": figures.bound,
        });
        let mut cat = by.name().to_owned();
        if by == By::Launch {
            let item = &profile.items[first];
            cat.clone_from(&item.op);
            args["layer"] = json!(item.layer);
            if let Some(kernel) = &item.kernel {
                args["kernel"] = json!(kernel.symbol);
                args["grid"] = json!(kernel.grid);
                args["block"] = json!(kernel.block);
            }
        }
        events.push(Event {
            name: name.to_owned(),
            cat,
            ph: "X",
            ts: Some(ts),
            dur: Some(figures.time_us),
            pid: 1,
            tid,
            args,
        });
        ts += figures.time_us;
        first = next;
    }
}

#[cfg(test)]
mod tests {
    use super::super::times::tests::profile;
    use super::*;

    #[test]
    fn spans_follow_each_other_and_lie_within_their_block() {
        let profile = profile();
        let trace = trace(&profile, "b0", "launches");
        let of = |tid| {
            let events = trace.trace_events.iter().filter(move |e| e.tid == tid && e.ph == "X");
            events.collect::<Vec<_>>()
        };
        for (tid, _) in ROWS {
            let mut end = 0.0;
            for event in of(tid) {
                assert_eq!(event.ts, Some(end), "{}", event.name);
                end += event.dur.unwrap();
            }
            assert_eq!(end, profile.total().time_us);
        }
        let names = |tid| of(tid).iter().map(|e| e.name.as_str()).collect::<Vec<_>>();
        assert_eq!(names(1), ["stem", "stages.0"]);
        assert_eq!(names(2), ["stem", "blocks.0", "blocks.1"]);
        assert_eq!(names(3).len(), profile.items.len());
        assert_eq!(of(3)[2].cat, "bn_swish");
    }

    #[test]
    fn the_json_has_the_format_s_fields() {
        let json = serde_json::to_value(trace(&profile(), "b0", "launches")).unwrap();
        assert_eq!(json["displayTimeUnit"], "ns");
        let events = json["traceEvents"].as_array().unwrap();
        assert_eq!(events[0]["name"], "process_name");
        assert_eq!(events[0]["args"]["name"], "b0");
        for event in events {
            assert!(event["name"].is_string() && event["pid"].is_u64() && event["tid"].is_u64());
            assert!(event["args"].is_object());
            match event["ph"].as_str() {
                Some("M") => assert!(event.get("ts").is_none() && event.get("cat").is_none()),
                Some("X") => {
                    assert!(event["cat"].is_string());
                    assert!(event["ts"].is_f64() && event["dur"].as_f64().is_some_and(|d| d > 0.0));
                }
                other => panic!("{other:?}"),
            }
        }
    }
}
