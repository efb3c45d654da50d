//! A comparison as one page.

use super::{Report, tables};
use crate::compare::Measured;
use crate::report::html::{Section, figure, page, table, text, warnings};
use crate::report::plot::{BarGroup, Bars, Lines, Scale, Series, bars, lines};
use maud::{Markup, html};

/// The whole page: no other file is needed.
pub fn report(report: &Report) -> String {
    let title = format!("effnet and its baselines: {}", report.heading());
    let mut sections = vec![
        Section::new("Figures", figures(report)),
        Section::new("Latency and throughput", speed(report)),
        Section::new("Start-up, build and memory", costs(report)),
        Section::new("Runtimes", list(&tables::notes(report))),
    ];
    let absent = tables::absent(report);
    if !absent.is_empty() {
        sections.push(Section::new("Not compared", lines_of(&absent)));
    }
    if let Some(published) = tables::published(&report.published) {
        let body = html! {
            (text(&format!(
                "{}. These figures are from other hardware, and are in no ratio above.",
                tables::published_heading(&report.published)
            )))
            (table(&published))
        };
        sections.push(Section::new("Published, other hardware", body));
    }
    page(&title, &report.environment, &sections)
}

fn figures(report: &Report) -> Markup {
    html! {
        (warnings(&tables::warnings(report)))
        (table(&tables::measured(report)))
        (list(&tables::legend(report)))
    }
}

fn list(items: &[String]) -> Markup {
    html! { ul { @for item in items { li { (item) } } } }
}

/// The lines as they are: programs' last words have lines and spaces that mean something.
fn lines_of(items: &[String]) -> Markup {
    html! { @for item in items { pre style="white-space: pre-wrap" { (item) } } }
}

/// Bars of one quantity; those without a value are left out.
fn plot(
    report: &Report,
    [title, value_label, caption]: [&str; 3],
    series: &[&str],
    values: impl Fn(&Measured) -> Vec<Option<f64>>,
) -> Markup {
    let groups: Vec<BarGroup> = report
        .measured()
        .map(|(name, measured)| BarGroup { label: name.to_owned(), values: values(measured) })
        .filter(|group| group.values.iter().any(Option::is_some))
        .collect();
    if groups.is_empty() {
        return html! {};
    }
    figure(&bars(&Bars { title, value_label, series, groups: &groups }), caption)
}

fn speed(report: &Report) -> Markup {
    let rounds: Vec<Series> = report
        .measured()
        .map(|(name, measured)| {
            let points = measured.rounds.iter().enumerate();
            let points = points.map(|(round, found)| ((round + 1) as f64, found.latency_ms));
            Series { name: name.to_owned(), points: points.collect() }
        })
        .collect();
    let over_rounds = lines(&Lines {
        title: "Median latency of each round",
        x_label: "round",
        y_label: "latency, ms",
        x_scale: Scale::Linear,
        y_scale: Scale::Log,
        series: &rounds,
    });
    html! {
        (plot(
            report,
            ["Latency", "ms", "Latency of a run: median and 99th percentile. Less is better."],
            &["median", "99th percentile"],
            |found| vec![Some(found.latency_ms.median), Some(found.latency_ms.p99)],
        ))
        (plot(
            report,
            ["Throughput", "images/s", "Images per second: median of the rounds. More is better."],
            &[],
            |found| vec![Some(found.images_per_s)],
        ))
        (plot(
            report,
            [
                "Latency by effnet's",
                "times effnet's latency",
                "Ratios of the rounds. Above 1, effnet is quicker; where least and greatest lie on \
                 both sides of 1, neither is.",
            ],
            &["median", "least", "greatest"],
            |found| match found.latency_ratio {
                Some(ratio) => [ratio.median, ratio.min, ratio.max].map(Some).to_vec(),
                None => Vec::new(),
            },
        ))
        (figure(&over_rounds, "The same rounds one by one: what moves all lines is the machine."))
    }
}

fn costs(report: &Report) -> Markup {
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let on_gpu = report.measured().any(|(_, found)| found.memory.gpu_bytes.is_some());
    let memory: &[&str] = if on_gpu { &["process", "GPU"] } else { &["process"] };
    html! {
        (plot(
            report,
            [
                "Start-up and build",
                "s",
                "Start of a process to its first logits, and making something that runs of weights or \
                 ONNX.",
            ],
            &["start-up", "build"],
            |found| vec![Some(found.start_up_ms / 1e3), Some(found.build_ms / 1e3)],
        ))
        (plot(
            report,
            ["Memory", "MiB", "Most memory resident in the process, and what it holds of the GPU where that is known."],
            memory,
            |found| {
                let bytes = [found.memory.peak_resident_bytes, found.memory.gpu_bytes];
                bytes[..memory.len()].iter().map(|bytes| bytes.map(mib)).collect()
            },
        ))
        (plot(
            report,
            ["On disk", "MiB", "The file that is run: packed weights, ONNX file or engine."],
            &[],
            |found| vec![Some(mib(found.disk_bytes))],
        ))
    }
}
