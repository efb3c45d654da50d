//! Images through a network: decoded on all cores while the network runs the images before them.
//!
//! ```text
//! sources ──▶ decoder thread, rayon pool ──▶ channel ──▶ this thread: network, report
//!                      ▲                                      │
//!                      └────────── empty tensors ◀────────────┘
//! ```
//!
//! A hand-over holds a few images; [`HANDOVERS`] of them exist, whatever the number of sources. A
//! network may have several runs under way: its results are reported as they come.

use super::inputs::{self, InputError, Source};
use anyhow::anyhow;
use rayon::prelude::*;
use std::collections::VecDeque;
use std::error::Error;
use std::sync::mpsc;
use std::thread;

/// One is decoded, one waits, one runs.
const HANDOVERS: usize = 3;

/// What is wrong with an image, in its decoder's words.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// Why one image has no result.
#[derive(Debug, thiserror::Error)]
pub enum ItemError {
    /// It cannot be read.
    #[error(transparent)]
    Input(#[from] InputError),
    /// It cannot be decoded.
    #[error("{name}: {source}")]
    Image {
        /// The path.
        name: String,
        /// What is wrong with it.
        source: BoxError,
    },
}

/// From encoded bytes to one image's part of the input tensor.
pub type Prepare<'a> = dyn Fn(&[u8], &mut [f32]) -> Result<(), BoxError> + Sync + 'a;

/// What images are handed to. Several runs may be under way; they are collected in their order.
pub trait Network<T> {
    /// Most runs that may be under way.
    fn capacity(&self) -> usize;
    /// Begins a run. The images may be changed when this returns.
    fn submit(&mut self, images: &[f32]) -> anyhow::Result<()>;
    /// One result per image of the oldest run that was not collected.
    fn collect(&mut self) -> anyhow::Result<Vec<T>>;
}

/// How images are grouped.
#[derive(Clone, Copy, Debug)]
pub struct Pipeline {
    /// Elements of one image's tensor.
    pub image_elems: usize,
    /// Most images that the network takes at once.
    pub batch: usize,
    /// Threads that decode.
    pub threads: usize,
}

/// Some decoded images.
struct Handover {
    /// `[n, h, w, 3]`, the images that were decoded first, without gaps.
    tensor: Vec<f32>,
    /// One per source, in order.
    results: Vec<Result<(), ItemError>>,
}

/// Results on their way from a network to whoever wants them.
struct Results<'a, T, N> {
    network: &'a mut N,
    under_way: usize,
    /// One per source that was decoded and not reported, in order.
    decoded: VecDeque<Result<(), ItemError>>,
    /// Of the first good ones of these.
    outputs: VecDeque<T>,
    reported: usize,
}

impl<T, N: Network<T>> Results<'_, T, N> {
    fn submit(&mut self, images: &[f32]) -> anyhow::Result<()> {
        self.network.submit(images)?;
        self.under_way += 1;
        Ok(())
    }

    fn collect(&mut self) -> anyhow::Result<()> {
        self.under_way -= 1;
        self.outputs.extend(self.network.collect()?);
        Ok(())
    }

    /// What is known of the first images.
    fn report(
        &mut self,
        report: &mut impl FnMut(usize, Result<T, ItemError>) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        while let Some(result) = self.decoded.pop_front() {
            let result = match (result, self.outputs.is_empty()) {
                (Ok(()), true) => {
                    self.decoded.push_front(Ok(()));
                    break;
                }
                (Ok(()), false) => Ok(self.outputs.pop_front().expect("not empty")),
                (Err(error), _) => Err(error),
            };
            report(self.reported, result)?;
            self.reported += 1;
        }
        Ok(())
    }
}

impl Pipeline {
    /// Runs every source through `network`, and gives `report` the results in the order of the
    /// sources.
    ///
    /// Ends early only where `network` or `report` fails.
    pub fn run<T>(
        self,
        sources: Vec<Result<Source, InputError>>,
        prepare: &Prepare<'_>,
        network: &mut impl Network<T>,
        mut report: impl FnMut(usize, Result<T, ItemError>) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(self.threads)
            .thread_name(|index| format!("decode-{index}"))
            .build()
            .map_err(|error| {
                anyhow!("cannot start the decoding threads: {error}; try fewer with --threads")
            })?;
        let (full_tx, full_rx) = mpsc::sync_channel::<Handover>(1);
        let (empty_tx, empty_rx) = mpsc::channel::<Vec<f32>>();
        let elems = self.group().min(sources.len()).saturating_mul(self.image_elems);
        for _ in 0..HANDOVERS {
            let mut tensor = Vec::new();
            tensor.try_reserve_exact(elems).map_err(|_| {
                let bytes = elems.saturating_mul(size_of::<f32>());
                anyhow!(
                    "cannot allocate {bytes} bytes for decoded images; use a smaller --batch or --size"
                )
            })?;
            // The receiver is alive: it moves into the decoder below.
            let _ = empty_tx.send(tensor);
        }
        thread::scope(|scope| {
            scope.spawn(move || {
                let mut sources = sources.into_iter().peekable();
                while sources.peek().is_some() {
                    let group: Vec<_> = sources.by_ref().take(self.group()).collect();
                    // Either channel closes when the other side has failed: nothing left to do.
                    let Ok(tensor) = empty_rx.recv() else { return };
                    let handover = pool.install(|| self.decode(group, tensor, prepare));
                    if full_tx.send(handover).is_err() {
                        return;
                    }
                }
            });

            let capacity = network.capacity();
            let mut results = Results {
                network,
                under_way: 0,
                decoded: VecDeque::new(),
                outputs: VecDeque::new(),
                reported: 0,
            };
            // Taken into this closure, so that both channels close when this side fails.
            let (full_rx, empty_tx) = (full_rx, empty_tx);
            loop {
                let handover = match full_rx.try_recv() {
                    Ok(handover) => Some(handover),
                    // Nothing to begin: what is under way is waited for instead.
                    Err(_) if results.under_way > 0 => None,
                    Err(_) => match full_rx.recv() {
                        Ok(handover) => Some(handover),
                        Err(_) => break,
                    },
                };
                let Some(Handover { tensor, results: decoded }) = handover else {
                    results.collect()?;
                    results.report(&mut report)?;
                    continue;
                };
                let good = decoded.iter().filter(|result| result.is_ok()).count();
                results.decoded.extend(decoded);
                for images in
                    tensor[..good * self.image_elems].chunks(self.batch * self.image_elems)
                {
                    results.submit(images)?;
                    if results.under_way == capacity {
                        results.collect()?;
                    }
                    results.report(&mut report)?;
                }
                results.report(&mut report)?;
                // The decoder is gone after its last group, and needs no more.
                let _ = empty_tx.send(tensor);
            }
            Ok(())
        })
    }

    /// Images in a hand-over: full batches, and at least one image per decoding thread.
    fn group(self) -> usize {
        self.threads.next_multiple_of(self.batch)
    }

    fn decode(
        self,
        group: Vec<Result<Source, InputError>>,
        mut tensor: Vec<f32>,
        prepare: &Prepare<'_>,
    ) -> Handover {
        tensor.resize(group.len() * self.image_elems, 0.0);
        let results: Vec<Result<(), ItemError>> = group
            .into_par_iter()
            .zip(tensor.par_chunks_mut(self.image_elems))
            .with_max_len(1)
            .map(|(source, image)| {
                let source = source?;
                let bytes = inputs::read(&source)?;
                prepare(&bytes, image)
                    .map_err(|error| ItemError::Image { name: source.to_string(), source: error })
            })
            .collect();
        // Close the gaps that failed images leave.
        let mut next = 0;
        for (index, result) in results.iter().enumerate() {
            if result.is_ok() {
                let from = index * self.image_elems;
                tensor.copy_within(from..from + self.image_elems, next * self.image_elems);
                next += 1;
            }
        }
        Handover { tensor, results }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::StdoutError;
    use std::path::PathBuf;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Files whose content is their number; every seventh cannot be decoded.
    fn sources(folder: &tempfile::TempDir, n: usize) -> Vec<Result<Source, InputError>> {
        let file = |i: usize| {
            let path = folder.path().join(i.to_string());
            std::fs::write(&path, if i % 7 == 3 { "broken".into() } else { i.to_string() })
                .unwrap();
            Ok(Source::File(path))
        };
        (0..n).map(file).collect()
    }

    fn parse(bytes: &[u8], image: &mut [f32]) -> Result<(), BoxError> {
        image.fill(std::str::from_utf8(bytes)?.parse()?);
        Ok(())
    }

    /// Runs a function when a run is collected, as late as may be.
    struct Late<F> {
        capacity: usize,
        under_way: VecDeque<Vec<f32>>,
        run: F,
    }

    fn late<F>(capacity: usize, run: F) -> Late<F> {
        Late { capacity, under_way: VecDeque::new(), run }
    }

    impl<T, F: FnMut(&[f32]) -> Vec<T>> Network<T> for Late<F> {
        fn capacity(&self) -> usize {
            self.capacity
        }

        fn submit(&mut self, images: &[f32]) -> anyhow::Result<()> {
            assert!(self.under_way.len() < self.capacity);
            self.under_way.push_back(images.to_vec());
            Ok(())
        }

        fn collect(&mut self) -> anyhow::Result<Vec<T>> {
            Ok((self.run)(&self.under_way.pop_front().expect("a run is under way")))
        }
    }

    #[test]
    fn results_come_in_order_and_a_broken_image_fails_alone() {
        let folder = tempfile::tempdir().unwrap();
        for (n, batch, threads, capacity) in
            [(40, 4, 3, 1), (40, 4, 3, 2), (1, 8, 2, 2), (23, 1, 4, 3), (5, 3, 1, 2)]
        {
            let mut sources = sources(&folder, n);
            sources[0] = Err(InputError::Missing { path: PathBuf::from("nowhere") });
            let pipeline = Pipeline { image_elems: 3, batch, threads };
            let mut found = Vec::new();
            let mut network = late(capacity, |images: &[f32]| {
                assert!(images.len() <= batch * 3 && images.len().is_multiple_of(3));
                images.chunks(3).map(|image| image.to_vec()).collect()
            });
            let report = |index, result: Result<Vec<f32>, ItemError>| {
                found.push((index, result.map_err(|error| error.to_string())));
                Ok(())
            };
            pipeline.run(sources, &parse, &mut network, report).unwrap();
            assert_eq!(found.len(), n);
            for (i, (index, result)) in found.into_iter().enumerate() {
                assert_eq!(index, i);
                match result {
                    Err(error) if i == 0 => assert!(error.starts_with("nowhere: "), "{error}"),
                    Err(error) => {
                        assert!(i % 7 == 3 && error.contains(&format!("/{i}: ")), "{error}");
                    }
                    Ok(image) => assert_eq!(image, [i as f32; 3]),
                }
            }
        }
    }

    #[test]
    fn few_images_are_decoded_ahead() {
        let folder = tempfile::tempdir().unwrap();
        let (decoded, run) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let pipeline = Pipeline { image_elems: 1, batch: 2, threads: 2 };
        let most = HANDOVERS * pipeline.group();
        let prepare = |_: &[u8], _: &mut [f32]| {
            let ahead = 1 + decoded.fetch_add(1, Ordering::SeqCst) - run.load(Ordering::SeqCst);
            // What is being reported still counts as not run.
            assert!(ahead <= most + pipeline.group(), "{ahead} images in memory");
            Ok(())
        };
        let mut network = late(1, |images: &[f32]| vec![(); images.len()]);
        let report = |_, _| {
            run.fetch_add(1, Ordering::SeqCst);
            Ok(())
        };
        pipeline.run(sources(&folder, 100), &prepare, &mut network, report).unwrap();
        assert_eq!(run.into_inner(), 100);
    }

    #[test]
    fn a_failing_report_ends_the_run() {
        let folder = tempfile::tempdir().unwrap();
        let pipeline = Pipeline { image_elems: 1, batch: 1, threads: 2 };
        let mut reported = 0;
        let mut network = late(1, |images: &[f32]| vec![(); images.len()]);
        let report = |_, _| {
            reported += 1;
            Err(StdoutError(std::io::ErrorKind::BrokenPipe.into()).into())
        };
        let result = pipeline.run(sources(&folder, 50), &parse, &mut network, report);
        assert!(result.unwrap_err().downcast_ref::<StdoutError>().is_some());
        assert_eq!(reported, 1);
    }
}
