//! Results of images, in their order, while later images are decoded.

use super::decode::{DecodedImage, Decoder, Decoding, Group, Handover, Panicked};
use super::{ImageFailure, ImageFailureKind, ImageInput, PipelineError};
use crate::image::ImageWarning;
use crate::memory;
use crate::session::{InputBuffer, SessionError};
use std::collections::VecDeque;
use std::fmt;
use std::iter::FusedIterator;

/// Groups that are taken and not yet run: one is decoded, one waits, one runs.
const GROUPS: usize = 3;

/// The machine that images are handed to. Several runs may be under way; they are collected in
/// their order.
pub(super) trait Network<T> {
    /// Most runs that may be under way.
    fn capacity(&self) -> usize;
    /// Bytes of memory that a run of so many images will use beside what is in use now.
    fn untouched_bytes(&self, images: usize) -> u64;
    /// Bytes of the memory of a run's images.
    fn buffer_bytes(&self) -> u64;
    /// Memory for the images of a run.
    fn buffer(&self) -> Result<InputBuffer, SessionError>;
    /// Begins a run of the first `n` images of a buffer, which may be changed when this returns.
    fn submit(&mut self, images: &mut InputBuffer, n: usize) -> Result<(), SessionError>;
    /// One result per image of the oldest run that was not collected; an image's error is its own.
    fn collect(&mut self) -> Result<Vec<Result<T, ImageFailureKind>>, SessionError>;
    /// Drops the results of all runs that were not collected.
    fn abandon(&mut self);
}

/// One image's result.
#[derive(Clone, Debug, PartialEq)]
pub struct ImageOutput<T> {
    /// The image's place among the inputs, from 0.
    pub index: usize,
    /// The image's name.
    pub name: String,
    /// The result, as the best classes.
    pub output: T,
    /// What is wrong with the image's file; empty as a rule.
    pub warnings: Vec<ImageWarning>,
}

/// The results of images, in the order of the images: an iterator, see
/// [`Pipeline::map`](super::Pipeline::map).
pub struct Results<'a, T> {
    inputs: Box<dyn Iterator<Item = ImageInput> + 'a>,
    inputs_ended: bool,
    /// Images that were taken from `inputs`.
    taken: usize,
    /// Images in a group.
    group: usize,
    /// Runs that a group makes at the most.
    runs: usize,
    /// Groups whose memory has not been allocated yet.
    unallocated: usize,
    /// Memory of runs of no group.
    empty: Vec<InputBuffer>,
    decoding: Decoding,
    /// Of a decoded group the runs that were not handed to the network.
    current: VecDeque<(InputBuffer, usize)>,
    network: Box<dyn Network<T> + 'a>,
    /// Runs that were submitted to the network and not collected.
    under_way: usize,
    /// Images that were decoded and have not come out, in order.
    decoded: VecDeque<DecodedImage>,
    /// The results of the first good ones of these.
    outputs: VecDeque<Result<T, ImageFailureKind>>,
    /// Images that have come out.
    reported: usize,
    ended: bool,
}

impl<'a, T> Results<'a, T> {
    pub(super) fn new(
        decoder: &Decoder,
        network: Box<dyn Network<T> + 'a>,
        inputs: impl Iterator<Item = ImageInput> + 'a,
    ) -> Result<Results<'a, T>, PipelineError> {
        let group = decoder.group();
        // One more than three groups has the same memory: an unknown number counts as that.
        let most = inputs.size_hint().1.unwrap_or(GROUPS * group + 1);
        let images = group.min(most);
        let runs = images.div_ceil(decoder.batch).max(1);
        let group_bytes = network.buffer_bytes().saturating_mul(runs as u64);
        let groups = most.div_ceil(group.max(1)).min(GROUPS);
        let run_bytes = network.untouched_bytes(decoder.batch.min(most));
        memory::require(
            || format!("decoded images ({groups} x {images}) and the activations of a run"),
            group_bytes.saturating_mul(groups as u64).saturating_add(run_bytes),
        )?;
        Ok(Results {
            inputs: Box::new(inputs),
            inputs_ended: false,
            taken: 0,
            group: group.min(runs * decoder.batch),
            runs,
            unallocated: groups.max(1),
            empty: Vec::new(),
            decoding: decoder.start()?,
            current: VecDeque::new(),
            network,
            under_way: 0,
            decoded: VecDeque::new(),
            outputs: VecDeque::new(),
            reported: 0,
            ended: false,
        })
    }

    /// The next result; none after the last.
    fn advance(&mut self) -> Result<Option<ImageOutput<T>>, PipelineError> {
        loop {
            if let Some(result) = self.known() {
                return result.map(Some).map_err(PipelineError::Image);
            }
            self.feed()?;
            if self.under_way == self.network.capacity() {
                self.collect()?;
            } else if let Some((buffer, n)) = self.current.pop_front() {
                self.submit(buffer, n)?;
            } else if let Some(handover) = self.next_handover()? {
                let Handover { runs, images } = handover;
                self.decoded.extend(images);
                self.current.extend(runs);
            } else if self.under_way > 0 {
                // Nothing to begin: what is under way is waited for instead.
                self.collect()?;
            } else {
                return Ok(None);
            }
        }
    }

    /// The result of the first image that has not come out, where it is known.
    fn known(&mut self) -> Option<Result<ImageOutput<T>, ImageFailure>> {
        if self.decoded.front()?.result.is_ok() && self.outputs.is_empty() {
            return None;
        }
        let DecodedImage { name, result } = self.decoded.pop_front()?;
        let index = self.reported;
        self.reported += 1;
        let (output, warnings) = match result {
            Ok(warnings) => (self.outputs.pop_front()?, warnings),
            Err(kind) => (Err(kind), Vec::new()),
        };
        Some(match output {
            Ok(output) => Ok(ImageOutput { index, name, output, warnings }),
            Err(kind) => Err(ImageFailure { index, name, kind }),
        })
    }

    /// Whether there is memory for a group; that of the first groups is allocated here.
    fn has_memory(&mut self) -> Result<bool, PipelineError> {
        if self.unallocated > 0 && self.empty.len() < self.runs {
            for _ in 0..self.runs {
                self.empty.push(self.network.buffer()?);
            }
            self.unallocated -= 1;
        }
        Ok(self.empty.len() >= self.runs)
    }

    /// Keeps the decoder busy: hands it a group where there is memory for one.
    fn feed(&mut self) -> Result<(), PipelineError> {
        while !self.inputs_ended && self.has_memory()? {
            let mut images = Vec::new();
            while images.len() < self.group {
                let Some(input) = self.inputs.next() else {
                    self.inputs_ended = true;
                    break;
                };
                images.push(input.at(self.taken));
                self.taken += 1;
            }
            if !images.is_empty() {
                let buffers = self.empty.split_off(self.empty.len() - self.runs);
                self.decoding.submit(Group { images, buffers });
            }
        }
        Ok(())
    }

    /// The next decoded group; waits for it where there is nothing else to wait for.
    fn next_handover(&mut self) -> Result<Option<Handover>, PipelineError> {
        if self.under_way > 0 {
            return Ok(self.decoding.poll());
        }
        let index = self.reported + self.decoded.len();
        self.decoding.wait().map_err(|Panicked| PipelineError::Panicked { index })
    }

    /// Hands a run to the network; the memory is then free.
    fn submit(&mut self, mut buffer: InputBuffer, n: usize) -> Result<(), PipelineError> {
        if n > 0 {
            self.network.submit(&mut buffer, n)?;
            self.under_way += 1;
        }
        self.empty.push(buffer);
        Ok(())
    }

    /// Takes the results of the oldest run.
    fn collect(&mut self) -> Result<(), PipelineError> {
        self.under_way -= 1;
        self.outputs.extend(self.network.collect()?);
        Ok(())
    }
}

impl<T> Iterator for Results<'_, T> {
    type Item = Result<ImageOutput<T>, PipelineError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let result = self.advance().transpose();
        self.ended = !matches!(result, Some(Ok(_) | Err(PipelineError::Image(_))));
        result
    }
}

impl<T> FusedIterator for Results<'_, T> {}

impl<T> Drop for Results<'_, T> {
    fn drop(&mut self) {
        self.network.abandon();
    }
}

impl<T> fmt::Debug for Results<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Results")
            .field("taken", &self.taken)
            .field("reported", &self.reported)
            .field("under_way", &self.under_way)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::ImageError;
    use crate::session::{Input, InputMut, InputType};
    use std::cell::Cell;
    use std::io::{self, Read};
    use std::rc::Rc;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::time::{Duration, Instant};

    /// Files whose content is their number; every seventh cannot be decoded.
    fn inputs(folder: &tempfile::TempDir, n: usize) -> Vec<ImageInput> {
        let file = |i: usize| {
            let path = folder.path().join(i.to_string());
            std::fs::write(&path, if i % 7 == 3 { "broken".into() } else { i.to_string() })
                .unwrap();
            ImageInput::file(path)
        };
        (0..n).map(file).collect()
    }

    fn parse(bytes: &[u8], image: InputMut<'_>) -> Result<Vec<ImageWarning>, ImageError> {
        let image = image.f32().unwrap();
        let broken = || ImageError::UnknownFormat { first: bytes.to_vec() };
        let text = std::str::from_utf8(bytes).map_err(|_| broken())?;
        image.fill(text.parse().map_err(|_| broken())?);
        Ok(Vec::new())
    }

    /// Runs a function when a run is collected, as late as may be.
    struct Late<F> {
        capacity: usize,
        /// Images of a run, and elements of each.
        shape: [usize; 2],
        under_way: VecDeque<Vec<f32>>,
        /// Runs that were dropped.
        abandoned: Rc<Cell<usize>>,
        run: F,
    }

    fn late<F>(capacity: usize, shape: [usize; 2], run: F) -> Late<F> {
        Late { capacity, shape, under_way: VecDeque::new(), abandoned: Rc::default(), run }
    }

    impl<T, F: FnMut(&[f32]) -> Result<Vec<T>, SessionError>> Network<T> for Late<F> {
        fn untouched_bytes(&self, _: usize) -> u64 {
            0
        }

        fn capacity(&self) -> usize {
            self.capacity
        }

        fn buffer_bytes(&self) -> u64 {
            0
        }

        fn buffer(&self) -> Result<InputBuffer, SessionError> {
            let [batch, elems] = self.shape;
            Ok(InputBuffer::owned(InputType::F32, elems, batch).unwrap())
        }

        fn submit(&mut self, images: &mut InputBuffer, n: usize) -> Result<(), SessionError> {
            assert!(self.under_way.len() < self.capacity);
            let Input::F32(values) = images.images(n) else { panic!("f32 was asked for") };
            self.under_way.push_back(values.to_vec());
            // As a GPU does, which keeps the memory: what comes back is another's.
            *images = self.buffer()?;
            Ok(())
        }

        fn collect(&mut self) -> Result<Vec<Result<T, ImageFailureKind>>, SessionError> {
            let run = self.under_way.pop_front().expect("a run is under way");
            Ok((self.run)(&run)?.into_iter().map(Ok).collect())
        }

        fn abandon(&mut self) {
            self.abandoned.set(self.abandoned.get() + self.under_way.len());
            self.under_way.clear();
        }
    }

    #[test]
    fn results_come_in_order_and_a_broken_image_fails_alone() {
        let folder = tempfile::tempdir().unwrap();
        for (n, batch, threads, capacity) in
            [(40, 4, 3, 1), (40, 4, 3, 2), (1, 8, 2, 2), (23, 1, 4, 3), (5, 3, 1, 2)]
        {
            let mut inputs = inputs(&folder, n);
            inputs[0] = ImageInput::failed("no such file").named("nowhere");
            let decoder = Decoder::new(threads, batch, parse).unwrap();
            let network = late(capacity, [batch, 3], move |images: &[f32]| {
                assert!(images.len() <= batch * 3 && images.len().is_multiple_of(3));
                Ok(images.chunks(3).map(|image| image.to_vec()).collect::<Vec<_>>())
            });
            let results = Results::new(&decoder, Box::new(network), inputs.into_iter()).unwrap();
            let found: Vec<_> = results.collect();
            assert_eq!(found.len(), n);
            for (i, result) in found.into_iter().enumerate() {
                match result {
                    Err(PipelineError::Image(error)) => {
                        assert_eq!(error.index, i);
                        let text = error.to_string();
                        match i {
                            0 => assert_eq!(text, "nowhere: no such file"),
                            _ => assert!(i % 7 == 3 && text.contains(&format!("/{i}: ")), "{text}"),
                        }
                    }
                    Err(error) => panic!("image {i}: {error}"),
                    Ok(image) => {
                        assert_eq!((image.index, image.output), (i, vec![i as f32; 3]));
                        assert!(image.name.ends_with(&format!("/{i}")), "{}", image.name);
                    }
                }
            }
        }
    }

    #[test]
    fn few_images_are_decoded_ahead() {
        let folder = tempfile::tempdir().unwrap();
        let (decoded, run) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let prepare = {
            let run = run.clone();
            move |_: &[u8], _: InputMut<'_>| {
                let ahead = 1 + decoded.fetch_add(1, Ordering::SeqCst) - run.load(Ordering::SeqCst);
                // Images that come out one after the other still count as not run.
                assert!(ahead <= GROUPS * 2 + 2, "{ahead} images in memory");
                Ok(Vec::new())
            }
        };
        let decoder = Decoder::new(2, 2, prepare).unwrap();
        assert_eq!(decoder.group(), 2);
        let network = late(1, [2, 1], |images: &[f32]| Ok(vec![(); images.len()]));
        let taken = Cell::new(0);
        let inputs = inputs(&folder, 100).into_iter().inspect(|_| taken.set(taken.get() + 1));
        for result in Results::new(&decoder, Box::new(network), inputs).unwrap() {
            result.unwrap();
            let reported = run.fetch_add(1, Ordering::SeqCst);
            assert!(taken.get() - reported <= GROUPS * 2 + 2, "{} taken", taken.get());
        }
        assert_eq!(run.load(Ordering::SeqCst), 100);
    }

    #[test]
    fn results_that_nobody_asks_for_any_more_are_neither_decoded_nor_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let decoded = Arc::new(AtomicUsize::new(0));
        let prepare = {
            let decoded = decoded.clone();
            move |bytes: &[u8], image: InputMut<'_>| {
                decoded.fetch_add(1, Ordering::SeqCst);
                parse(bytes, image)
            }
        };
        let decoder = Decoder::new(2, 1, prepare).unwrap();
        let network = late(2, [1, 1], |images: &[f32]| Ok(vec![(); images.len()]));
        let abandoned = network.abandoned.clone();
        let mut results =
            Results::new(&decoder, Box::new(network), inputs(&folder, 50).into_iter()).unwrap();
        assert_eq!(results.next().unwrap().unwrap().index, 0);
        let under_way = results.under_way;
        drop(results);
        assert_eq!(abandoned.get(), under_way);
        // The first group has been run, and the groups after it were taken at most.
        assert!(decoded.load(Ordering::SeqCst) <= (GROUPS + 1) * decoder.group());
    }

    /// Fails when the other end is gone.
    struct Blocking(Receiver<()>);

    impl Read for Blocking {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            self.0.recv().map_err(io::Error::other)?;
            Ok(0)
        }
    }

    #[test]
    fn a_reader_that_blocks_keeps_nobody_who_stops_asking() {
        let (hold, blocked): (Sender<()>, _) = channel();
        let inputs = vec![ImageInput::bytes(*b"1"), ImageInput::reader(Blocking(blocked))];
        let decoder = Decoder::new(1, 1, parse).unwrap();
        let network = late(1, [1, 1], |images: &[f32]| Ok(images.to_vec()));
        let began = Instant::now();
        let mut results = Results::new(&decoder, Box::new(network), inputs.into_iter()).unwrap();
        assert_eq!(results.next().unwrap().unwrap().output, 1.0);
        drop(results);
        drop(decoder);
        assert!(began.elapsed() < Duration::from_secs(60));
        drop(hold);
    }

    #[test]
    fn a_network_that_fails_ends_the_results_with_its_error() {
        let folder = tempfile::tempdir().unwrap();
        let decoder = Decoder::new(2, 1, parse).unwrap();
        let mut runs = 0;
        let network = late(2, [1, 1], move |images: &[f32]| {
            runs += 1;
            match runs {
                3 => Err(SessionError::NothingSubmitted),
                _ => Ok(images.to_vec()),
            }
        });
        let mut results =
            Results::new(&decoder, Box::new(network), inputs(&folder, 50).into_iter()).unwrap();
        assert_eq!(results.next().unwrap().unwrap().output, 0.0);
        assert_eq!(results.next().unwrap().unwrap().output, 1.0);
        let error = results.next().unwrap().unwrap_err();
        assert!(matches!(error, PipelineError::Session(SessionError::NothingSubmitted)), "{error}");
        assert!(results.next().is_none() && results.next().is_none());
    }

    #[test]
    fn a_panic_while_decoding_is_an_error() {
        let prepare = |bytes: &[u8], image: InputMut<'_>| {
            assert_ne!(bytes, b"2", "this panic is a test's");
            parse(bytes, image)
        };
        let decoder = Decoder::new(1, 1, prepare).unwrap();
        // Whether the panic comes before or after what is asked for next: images that were decoded
        // before it are not lost.
        for (capacity, wait_ms) in [(1, 0), (1, 10), (2, 0), (2, 10)] {
            let network = late(capacity, [1, 1], |images: &[f32]| Ok(images.to_vec()));
            let inputs = (0..9).map(|i| {
                std::thread::sleep(Duration::from_millis(wait_ms));
                ImageInput::bytes(i.to_string())
            });
            let found: Vec<_> =
                Results::new(&decoder, Box::new(network), inputs).unwrap().collect();
            assert_eq!(found.len(), 3);
            let numbers = found[..2].iter().map(|result| result.as_ref().unwrap().output);
            assert_eq!(numbers.collect::<Vec<_>>(), [0.0, 1.0]);
            let last = &found[2];
            assert!(matches!(last, Err(PipelineError::Panicked { index: 2 })), "{last:?}");
        }
    }
}
