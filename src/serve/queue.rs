//! Which images run together, and when: a queue in two priorities. It has no thread and no clock, so
//! that a test can drive it through a model of time.

use std::collections::VecDeque;
use std::time::Duration;

/// Of so many images that leave the queue in a row, one at least is of the usual priority where any
/// waits: the higher one starves nobody.
const SHARE: usize = 8;

/// Which images leave the queue first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Priority {
    /// Before the others, but for one image in eight.
    High,
    /// In the order of arrival.
    #[default]
    Usual,
}

/// When a batch goes.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// Most images of a batch.
    pub batch: usize,
    /// How long an idle device waits for more images than there are, from the oldest one's arrival.
    pub delay: Duration,
}

/// Why a batch went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Released {
    /// It has as many images as the device takes at once.
    Full,
    /// The device was free, and no delay was asked for or left.
    Free,
    /// Its oldest image had waited for the delay.
    Delay,
}

impl Released {
    /// All reasons.
    pub const ALL: [Released; 3] = [Released::Full, Released::Free, Released::Delay];

    /// As metrics name it.
    pub fn name(self) -> &'static str {
        match self {
            Released::Full => "full",
            Released::Free => "free",
            Released::Delay => "delay",
        }
    }
}

/// What a free device has to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Next<T> {
    /// To run these images, in this order.
    Run(Vec<T>, Released),
    /// To look again at this time, or when an image arrives.
    Wait(Duration),
    /// To look again when an image arrives.
    Empty,
}

/// Images that wait for a device. Times are those of one clock, from any start.
#[derive(Debug)]
pub struct Queue<T> {
    policy: Policy,
    high: VecDeque<(Duration, T)>,
    usual: VecDeque<(Duration, T)>,
    /// Images of the higher priority that left since the last one of the usual.
    in_a_row: usize,
}

impl<T> Queue<T> {
    /// A queue without images.
    pub fn new(policy: Policy) -> Queue<T> {
        Queue { policy, high: VecDeque::new(), usual: VecDeque::new(), in_a_row: 0 }
    }

    /// Number of images that wait.
    pub fn len(&self) -> usize {
        self.high.len() + self.usual.len()
    }

    /// An image arrives.
    pub fn push(&mut self, image: T, priority: Priority, now: Duration) {
        match priority {
            Priority::High => self.high.push_back((now, image)),
            Priority::Usual => self.usual.push_back((now, image)),
        }
    }

    /// What a device does that has room for a batch; `is_idle` if it is doing nothing else. Images
    /// that are no longer wanted are dropped.
    pub fn next(
        &mut self,
        now: Duration,
        is_idle: bool,
        is_wanted: impl Fn(&T) -> bool,
    ) -> Next<T> {
        for waiting in [&mut self.high, &mut self.usual] {
            waiting.retain(|(_, image)| is_wanted(image));
        }
        let fronts = [self.high.front(), self.usual.front()];
        let Some(oldest) = fronts.into_iter().flatten().map(|(since, _)| *since).min() else {
            return Next::Empty;
        };
        let Policy { batch, delay } = self.policy;
        let due = oldest.saturating_add(delay);
        let released = if self.len() >= batch {
            Released::Full
        } else if delay.is_zero() || !is_idle {
            Released::Free
        } else if now >= due {
            Released::Delay
        } else {
            return Next::Wait(due);
        };
        let images = std::iter::from_fn(|| self.pop()).take(batch.max(1)).collect();
        Next::Run(images, released)
    }

    /// All images, the queue's order kept within a priority.
    pub fn drain(&mut self) -> impl Iterator<Item = T> {
        self.high.drain(..).chain(self.usual.drain(..)).map(|(_, image)| image)
    }

    fn pop(&mut self) -> Option<T> {
        let is_turn_of_usual = self.in_a_row + 1 >= SHARE && !self.usual.is_empty();
        if !is_turn_of_usual && let Some((_, image)) = self.high.pop_front() {
            self.in_a_row += 1;
            return Some(image);
        }
        self.in_a_row = 0;
        self.usual.pop_front().map(|(_, image)| image)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const fn us(us: u64) -> Duration {
        Duration::from_micros(us)
    }

    fn queue(batch: usize, delay_us: u64) -> Queue<u32> {
        Queue::new(Policy { batch, delay: us(delay_us) })
    }

    #[test]
    fn what_waits_goes_at_once_up_to_the_batch() {
        let mut queue = queue(2, 0);
        assert_eq!(queue.next(us(0), true, |_| true), Next::Empty);
        for image in 0..3 {
            queue.push(image, Priority::Usual, us(1));
        }
        assert_eq!(queue.next(us(1), true, |_| true), Next::Run(vec![0, 1], Released::Full));
        assert_eq!(queue.next(us(1), true, |_| true), Next::Run(vec![2], Released::Free));
        assert_eq!(queue.len(), 0);
    }

    #[test]
    fn an_idle_device_waits_for_the_delay_and_a_busy_one_does_not() {
        let mut queue = queue(4, 100);
        queue.push(0, Priority::Usual, us(10));
        queue.push(1, Priority::High, us(50));
        assert_eq!(queue.next(us(60), true, |_| true), Next::Wait(us(110)));
        assert_eq!(queue.next(us(110), true, |_| true), Next::Run(vec![1, 0], Released::Delay));
        queue.push(2, Priority::Usual, us(120));
        assert_eq!(queue.next(us(121), false, |_| true), Next::Run(vec![2], Released::Free));
    }

    #[test]
    fn images_that_nobody_waits_for_take_no_place() {
        let mut queue = queue(2, 0);
        for image in 0..4 {
            queue.push(image, Priority::Usual, us(0));
        }
        let odd = |image: &u32| image % 2 == 1;
        assert_eq!(queue.next(us(0), true, odd), Next::Run(vec![1, 3], Released::Full));
        assert_eq!(queue.next(us(0), true, odd), Next::Empty);
    }

    /// An arrival: microseconds after the one before, whether it is of high priority, and whether it
    /// is wanted.
    type Arrival = (u64, bool, bool);

    proptest! {
        /// A device that takes a time for each batch, through all arrivals: every wanted image runs
        /// once, a priority's images in their order, none waits longer than the delay while the
        /// device is idle, and one image in eight is of the usual priority where any waits.
        #[test]
        fn a_model_of_time(
            arrivals in prop::collection::vec((0u64..50, any::<bool>(), any::<bool>()), 1..200),
            batch in 1usize..12,
            delay in prop_oneof![Just(0u64), 1u64..80],
            run_us in 1u64..120,
        ) {
            let arrivals: Vec<Arrival> = arrivals;
            let mut queue = queue(batch, delay);
            let is_high = |image: u32| arrivals[image as usize].1;
            let is_wanted = |image: u32| arrivals[image as usize].2;
            let mut at = Vec::new();
            let mut clock = 0;
            for (after, ..) in &arrivals {
                clock += after;
                at.push(clock);
            }
            let (mut now, mut next_arrival, mut ran) = (0, 0, Vec::new());
            loop {
                while next_arrival < at.len() && at[next_arrival] <= now {
                    let priority = if is_high(next_arrival as u32) { Priority::High } else { Priority::Usual };
                    queue.push(next_arrival as u32, priority, us(at[next_arrival]));
                    next_arrival += 1;
                }
                let later = at.get(next_arrival).copied();
                match queue.next(us(now), true, |&image| is_wanted(image)) {
                    Next::Run(images, released) => {
                        prop_assert!((1..=batch).contains(&images.len()));
                        prop_assert_eq!(released == Released::Full, images.len() == batch);
                        let waited = images.iter().map(|&image| now - at[image as usize]).max().unwrap();
                        match released {
                            Released::Full => {}
                            Released::Free => prop_assert_eq!(delay, 0),
                            Released::Delay => prop_assert!(waited >= delay),
                        }
                        ran.extend(images);
                        now += run_us;
                    }
                    Next::Wait(due) => {
                        let due = due.as_micros() as u64;
                        prop_assert!(due > now);
                        now = later.map_or(due, |later| later.min(due));
                    }
                    Next::Empty => match later {
                        Some(later) => now = later,
                        None => break,
                    },
                }
            }
            let expected = |high: bool| -> Vec<u32> {
                let all = 0..arrivals.len() as u32;
                all.filter(|&image| is_high(image) == high && is_wanted(image)).collect()
            };
            for high in [true, false] {
                let found: Vec<u32> = ran.iter().copied().filter(|&image| is_high(image) == high).collect();
                prop_assert_eq!(found, expected(high));
            }
        }

        /// Where both wait, so many of the higher priority never leave in a row.
        #[test]
        fn the_usual_priority_has_its_share(high in 1u32..60, usual in 1u32..20, batch in 1usize..12) {
            let mut queue = queue(batch, 0);
            for image in 0..high {
                queue.push(image, Priority::High, us(0));
            }
            for image in 0..usual {
                queue.push(1000 + image, Priority::Usual, us(0));
            }
            let mut ran = Vec::new();
            while let Next::Run(images, _) = queue.next(us(0), true, |_| true) {
                ran.extend(images);
            }
            let last = ran.iter().rposition(|&image| image >= 1000).unwrap();
            let (mut row, mut longest) = (0, 0);
            for &image in &ran[..last] {
                row = if image < 1000 { row + 1 } else { 0 };
                longest = longest.max(row);
            }
            prop_assert!(longest < SHARE, "{longest}");
            prop_assert_eq!(ran.len(), (high + usual) as usize);
        }
    }
}
