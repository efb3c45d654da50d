//! The map from values to pixels, and the places of the ticks.

use crate::report::table::{significant, thousands};

/// Spacing of the values on an axis.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scale {
    /// Equal differences are equally long; the axis begins at 0 or below.
    #[default]
    Linear,
    /// Equal ratios are equally long; only for positive values.
    Log,
}

/// An axis from pixel `start` to pixel `end`.
#[derive(Clone, Debug)]
pub struct Axis {
    scale: Scale,
    min: f64,
    max: f64,
    start: i32,
    end: i32,
    /// Values with their labels; empty labels for lines of the grid between labelled ones.
    pub ticks: Vec<(f64, String)>,
}

/// Least distance of labels in pixels, along an axis of the given direction: closer ones run
/// into each other.
const APART_X: f64 = 44.0;
const APART_Y: f64 = 22.0;

impl Axis {
    /// An axis that holds the `values` that it can show, and ends at ticks.
    pub fn new(scale: Scale, values: impl Iterator<Item = f64>, start: i32, end: i32) -> Axis {
        let shown = values.filter(|&value| shows(scale, value));
        let (min, max) = shown.fold((f64::INFINITY, f64::NEG_INFINITY), |(min, max), value| {
            (min.min(value), max.max(value))
        });
        let (min, max) = match scale {
            _ if min > max => (if scale == Scale::Log { 0.1 } else { 0.0 }, 1.0),
            Scale::Linear => (min.min(0.0), max.max(0.0)),
            Scale::Log => (min, max),
        };
        let mut axis = Axis { scale, min, max, start, end, ticks: Vec::new() };
        match scale {
            Scale::Linear => axis.linear(),
            Scale::Log => axis.logarithmic(),
        }
        axis
    }

    /// A logarithmic axis with its ticks at the values themselves, where those are few and lie
    /// apart: for powers of two. Otherwise as [`Axis::new`].
    pub fn at_values(mut values: Vec<f64>, start: i32, end: i32) -> Axis {
        values.retain(|&value| shows(Scale::Log, value));
        values.sort_unstable_by(f64::total_cmp);
        values.dedup();
        let usual = Axis::new(Scale::Log, values.iter().copied(), start, end);
        let (Some(&first), Some(&last)) = (values.first(), values.last()) else { return usual };
        // Half a tick of room on both sides.
        let room = (last / first).powf(0.04).max(1.1);
        let ticks = values.iter().map(|&value| (value, label(value))).collect();
        let axis = Axis { min: first / room, max: last * room, ticks, ..usual.clone() };
        let pixels: Vec<f64> = values.iter().filter_map(|&value| axis.place(value)).collect();
        if pixels.windows(2).all(|pair| (pair[1] - pair[0]).abs() >= axis.apart()) {
            axis
        } else {
            usual
        }
    }

    fn apart(&self) -> f64 {
        // Values grow to the right, or upwards.
        if self.end > self.start { APART_X } else { APART_Y }
    }

    fn linear(&mut self) {
        if self.min == self.max {
            self.max = self.min + 1.0;
        }
        let most = (f64::from((self.end - self.start).abs()) / self.apart() / 1.5).clamp(2.0, 8.0);
        let rough = (self.max - self.min) / most;
        let power = 10f64.powf(rough.log10().floor());
        let steps = [1.0, 2.0, 5.0, 10.0].map(|step| step * power);
        let step = steps.into_iter().find(|&step| step >= rough).unwrap_or(10.0 * power);
        let (from, to) = ((self.min / step).floor(), (self.max / step).ceil());
        (self.min, self.max) = (from * step, to * step);
        let count = (to - from).min(20.0) as i32;
        let values = (0..=count).map(|i| (from + f64::from(i)) * step);
        self.ticks = values.map(|value| (value, label(value))).collect();
    }

    fn logarithmic(&mut self) {
        const STEPS: [f64; 3] = [1.0, 2.0, 5.0];
        let candidates: Vec<f64> = (self.min.log10().floor() as i32
            ..=self.max.log10().ceil() as i32)
            .flat_map(|power| STEPS.map(|step| step * 10f64.powi(power)))
            .collect();
        // Rounding must not push an end beyond its own tick.
        let below = candidates.iter().rev().find(|&&tick| tick <= self.min * (1.0 + 1e-9));
        let above = candidates.iter().find(|&&tick| tick >= self.max * (1.0 - 1e-9));
        self.min = below.copied().unwrap_or(self.min);
        self.max = above.copied().unwrap_or(self.max);
        if self.min >= self.max {
            self.max = self.min * 10.0;
        }
        let (min, max) = (self.min * (1.0 - 1e-9), self.max * (1.0 + 1e-9));
        let inside = candidates.into_iter().filter(|tick| (min..=max).contains(tick));
        let decade = f64::from((self.end - self.start).abs()) / (max / min).log10();
        // Between 5 and 10 is the least distance, log10(2) of a decade.
        let all = 0.3 * decade >= self.apart();
        // One decade in `every` has a label.
        let every = (self.apart() / decade).ceil().max(1.0) as i32;
        let ticks = inside.map(|tick| {
            let power = tick.log10().round() as i32;
            let whole = (tick / 10f64.powi(power) - 1.0).abs() < 1e-6;
            let labelled = if whole { power % every == 0 } else { all };
            (tick, if labelled { label(tick) } else { String::new() })
        });
        self.ticks = ticks.collect();
    }

    /// The pixel of a value; none where the axis cannot show it.
    pub fn place(&self, value: f64) -> Option<f64> {
        if !shows(self.scale, value) {
            return None;
        }
        let part = match self.scale {
            Scale::Linear => (value - self.min) / (self.max - self.min),
            Scale::Log => (value / self.min).ln() / (self.max / self.min).ln(),
        };
        // A value far outside stays a number that fits a pixel.
        let part = part.clamp(-10.0, 10.0);
        Some(f64::from(self.start) + part * f64::from(self.end - self.start))
    }

    /// The pixel of a value that the axis can show.
    pub fn pixel(&self, value: f64) -> Option<i32> {
        self.place(value).map(|place| place.round() as i32)
    }

    /// First and last value.
    pub fn range(&self) -> (f64, f64) {
        (self.min, self.max)
    }
}

/// Whether an axis of this scale has a place for the value.
pub fn shows(scale: Scale, value: f64) -> bool {
    value.is_finite() && (scale == Scale::Linear || value > 0.0)
}

/// A tick's label: no more digits than it needs.
pub fn label(value: f64) -> String {
    let size = value.abs();
    if size > 0.0 && size < 1e-3 {
        // `5e-5`; digits beyond the fourth would be rounding.
        let text = format!("{value:.3e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        return format!("{}e{exponent}", digits.trim_end_matches('0').trim_end_matches('.'));
    }
    if size >= 1e7 {
        let (unit, power) = if size >= 1e12 {
            ("T", 1e12)
        } else if size >= 1e9 {
            ("G", 1e9)
        } else {
            ("M", 1e6)
        };
        return format!("{}{unit}", trimmed(value / power));
    }
    if size >= 1000.0 && value.fract() == 0.0 {
        let sign = if value < 0.0 { "-" } else { "" };
        return format!("{sign}{}", thousands(size as u64));
    }
    trimmed(value)
}

fn trimmed(value: f64) -> String {
    let text = significant(value, 4);
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis) -> Vec<&str> {
        axis.ticks.iter().map(|(_, label)| &label[..]).filter(|label| !label.is_empty()).collect()
    }

    #[test]
    fn linear_axes_begin_at_zero_and_end_at_a_tick() {
        let axis = Axis::new(Scale::Linear, [3.0, 93.0].into_iter(), 0, 600);
        assert_eq!(labels(&axis), ["0", "20", "40", "60", "80", "100"]);
        assert_eq!((axis.pixel(0.0), axis.pixel(50.0)), (Some(0), Some(300)));
        assert_eq!(axis.pixel(f64::NAN), None);
    }

    #[test]
    fn logarithmic_axes_label_as_much_as_fits() {
        let axis = Axis::new(Scale::Log, [0.3, 40.0].into_iter(), 400, 0);
        assert_eq!(labels(&axis), ["0.2", "0.5", "1", "2", "5", "10", "20", "50"]);
        assert_eq!(axis.pixel(0.2), Some(400));
        assert_eq!(axis.pixel(0.0), None);
        let wide = Axis::new(Scale::Log, [1e-3, 1e9].into_iter(), 0, 300);
        assert!(labels(&wide).len() <= 7, "{:?}", labels(&wide));
    }

    #[test]
    fn ticks_are_at_the_values_where_those_lie_apart() {
        let axis = Axis::at_values(vec![8.0, 1.0, 32.0, 8.0, 128.0], 0, 600);
        assert_eq!(labels(&axis), ["1", "8", "32", "128"]);
        let close = Axis::at_values((1..=100).map(f64::from).collect(), 0, 600);
        assert_eq!(labels(&close), ["1", "2", "5", "10", "20", "50", "100"]);
        assert_eq!(labels(&Axis::at_values(vec![4.0], 0, 600)), ["4"]);
    }

    #[test]
    fn nothing_to_show_is_still_an_axis() {
        for scale in [Scale::Linear, Scale::Log] {
            let axis = Axis::new(scale, [f64::NAN, f64::INFINITY].into_iter(), 0, 100);
            assert!(!axis.ticks.is_empty(), "{scale:?}");
        }
        assert!(!Axis::new(Scale::Linear, [0.0].into_iter(), 0, 100).ticks.is_empty());
        assert!(!Axis::new(Scale::Log, [5.0].into_iter(), 0, 100).ticks.is_empty());
    }

    #[test]
    fn labels_have_no_needless_digits() {
        let found = [0.0, 0.05, 1.5, 1000.0, 250_000.0, 2e7, 3e9, -2000.0].map(label);
        assert_eq!(found, ["0", "0.05", "1.5", "1,000", "250,000", "20M", "3G", "-2,000"]);
        assert_eq!([0.001, 5e-5, -1.25e-9].map(label), ["0.001", "5e-5", "-1.25e-9"]);
    }
}
