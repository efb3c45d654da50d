//! A report as JSON: the schema is the structs.

use super::report::{Found, Report, Subject};
use super::{
    Bound, By, Ceilings, CountGroup, CountProfile, Counts, Figures, Item, TimeGroup, TimeProfile,
};
use crate::environment::Environment;
use crate::measure::{Sampling, Summary};
use serde::Serialize;

/// An item with what was found of it.
#[derive(Serialize)]
struct TimeRow<'a> {
    #[serde(flatten)]
    item: &'a Item,
    samples_us: Summary,
    #[serde(flatten)]
    figures: RowFigures,
}

/// [`Figures`] without what the item has too.
#[derive(Serialize)]
struct RowFigures {
    flops: u64,
    time_us: f64,
    share: f64,
    gbps: Option<f64>,
    tflops: Option<f64>,
    floor_us: f64,
    times_floor: f64,
    bound: Bound,
}

#[derive(Serialize)]
struct CountRow<'a> {
    #[serde(flatten)]
    item: &'a Item,
    counters: Counts,
}

#[derive(Serialize)]
struct Json<'a> {
    schema: &'static str,
    environment: &'a Environment,
    subject: &'a Subject,
    notes: Vec<String>,
    #[serde(flatten)]
    found: FoundJson<'a>,
}

#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum FoundJson<'a> {
    Times {
        sampling: &'a Sampling,
        ceilings: &'a Ceilings,
        run_us: &'a Summary,
        #[serde(skip_serializing_if = "Option::is_none")]
        serial_run_us: Option<&'a Summary>,
        total: Figures,
        groups: Groups<TimeGroup>,
        items: Vec<TimeRow<'a>>,
    },
    Counters {
        total: Counts,
        groups: Groups<CountGroup>,
        items: Vec<CountRow<'a>>,
    },
}

#[derive(Serialize)]
struct Groups<T> {
    layer: Vec<T>,
    block: Vec<T>,
    stage: Vec<T>,
    op: Vec<T>,
}

impl<T> Groups<T> {
    fn new(groups: impl Fn(By) -> Vec<T>) -> Groups<T> {
        let [layer, block, stage, op] = By::GROUPS.map(groups);
        Groups { layer, block, stage, op }
    }
}

impl Report {
    /// Everything as one object.
    pub fn json(&self) -> impl Serialize {
        let found = match &self.found {
            Found::Times(profile, sampling) => FoundJson::Times {
                sampling,
                ceilings: &profile.ceilings,
                run_us: &profile.run_us,
                serial_run_us: profile.serial_run_us.as_deref(),
                total: profile.total(),
                groups: Groups::new(|by| profile.groups(by)),
                items: time_rows(profile),
            },
            Found::Counts(profile) => FoundJson::Counters {
                total: profile.total(),
                groups: Groups::new(|by| profile.groups(by)),
                items: count_rows(profile),
            },
        };
        Json {
            schema: Report::SCHEMA,
            environment: &self.environment,
            subject: &self.subject,
            notes: self.notes(),
            found,
        }
    }
}

fn time_rows(profile: &TimeProfile) -> Vec<TimeRow<'_>> {
    let rows = profile.items.iter().zip(&profile.times_us).enumerate();
    rows.map(|(place, (item, &samples_us))| {
        let Figures { time_us, share, flops, gbps, tflops, floor_us, times_floor, bound, .. } =
            profile.figures(&[place]);
        let figures =
            RowFigures { flops, time_us, share, gbps, tflops, floor_us, times_floor, bound };
        TimeRow { item, samples_us, figures }
    })
    .collect()
}

fn count_rows(profile: &CountProfile) -> Vec<CountRow<'_>> {
    let rows = profile.items.iter().enumerate();
    rows.map(|(place, item)| CountRow { item, counters: profile.counts(&[place]) }).collect()
}
