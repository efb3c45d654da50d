//! Groups of encoded images to tensors, in order, on a pool of threads.

use super::PipelineError;
use super::input::{Encoded, ImageFailureKind};
use crate::image::{ImageError, ImageWarning};
use crate::session::{InputBuffer, InputMut};
use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};
use std::fmt;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Weak};
use std::thread;

/// From encoded bytes to one image's part of a run's memory, `[h, w, 3]`.
type Prepare = dyn Fn(&[u8], InputMut<'_>) -> Prepared + Send + Sync;
/// What is wrong with an image that was prepared all the same.
pub(super) type Prepared = Result<Vec<ImageWarning>, ImageError>;

/// Threads that decode.
pub(super) struct Decoder {
    pool: Arc<ThreadPool>,
    prepare: Arc<Prepare>,
    threads: usize,
    /// Most images that the network takes at once.
    pub batch: usize,
}

/// Images to decode, and the memory that takes them: that of a run for each batch of them.
pub(super) struct Group {
    /// Name and bytes of each.
    pub images: Vec<(String, Encoded)>,
    pub buffers: Vec<InputBuffer>,
}

/// Decoded images.
pub(super) struct Handover {
    /// The memory of each run, and how many images it has: those that were decoded, in order and
    /// without gaps.
    pub runs: Vec<(InputBuffer, usize)>,
    /// One per image of the group, in order.
    pub images: Vec<DecodedImage>,
}

/// An image whose part of a run is ready, and what is wrong with it all the same; or why it is not.
pub(super) struct DecodedImage {
    pub name: String,
    pub result: Result<Vec<ImageWarning>, ImageFailureKind>,
}

/// Groups on their way through a decoder. When it is dropped, no further image is begun.
pub(super) struct Decoding {
    groups: Sender<Group>,
    handovers: Receiver<Handover>,
    /// Groups that have not come back.
    under_way: usize,
    _wanted: Arc<()>,
}

impl Decoder {
    /// Starts the pool.
    pub fn new(
        threads: usize,
        batch: usize,
        prepare: impl Fn(&[u8], InputMut<'_>) -> Prepared + Send + Sync + 'static,
    ) -> Result<Decoder, PipelineError> {
        let pool = ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|index| format!("decode-{index}"))
            .build()
            .map_err(|error| PipelineError::Threads { threads, source: error.into() })?;
        let (pool, prepare) = (Arc::new(pool), Arc::new(prepare));
        Ok(Decoder { pool, prepare, threads, batch })
    }

    /// Images in a group: full batches, and at least one image per thread.
    pub fn group(&self) -> usize {
        self.threads.next_multiple_of(self.batch)
    }

    /// Begins to decode groups, one after the other, on a thread that ends by itself when the
    /// [`Decoding`] is dropped. Nobody waits for that thread, since an image's reader may block for
    /// ever.
    pub fn start(&self) -> Result<Decoding, PipelineError> {
        let (groups, next_group) = channel::<Group>();
        let (handover, handovers) = channel();
        let wanted = Arc::new(());
        let still_wanted = Arc::downgrade(&wanted);
        let (pool, prepare) = (self.pool.clone(), self.prepare.clone());
        let decode_all = move || {
            while let Ok(group) = next_group.recv() {
                let decoded = pool.install(|| decode(group, &*prepare, &still_wanted));
                let Some(decoded) = decoded else { return };
                if handover.send(decoded).is_err() {
                    return;
                }
            }
        };
        thread::Builder::new().name("decode".to_owned()).spawn(decode_all).map_err(|error| {
            PipelineError::Threads { threads: self.threads, source: error.into() }
        })?;
        Ok(Decoding { groups, handovers, under_way: 0, _wanted: wanted })
    }
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decoder").field("threads", &self.threads).finish_non_exhaustive()
    }
}

/// The decoding thread has panicked.
pub(super) struct Panicked;

impl Decoding {
    /// Hands a group to the decoder. Of a thread that has panicked only [`Decoding::wait`] tells,
    /// after the groups that were decoded before.
    pub fn submit(&mut self, group: Group) {
        self.under_way += 1;
        // The receiver is gone only where the thread has panicked.
        let _ = self.groups.send(group);
    }

    /// The next group, if it is decoded.
    pub fn poll(&mut self) -> Option<Handover> {
        let handover = self.handovers.try_recv().ok()?;
        self.under_way -= 1;
        Some(handover)
    }

    /// The next group, once it is decoded; none where no group is on its way.
    pub fn wait(&mut self) -> Result<Option<Handover>, Panicked> {
        if self.under_way == 0 {
            return Ok(None);
        }
        let handover = self.handovers.recv().map_err(|_| Panicked)?;
        self.under_way -= 1;
        Ok(Some(handover))
    }
}

/// Decodes a group; none once nobody wants it any more.
fn decode(group: Group, prepare: &Prepare, still_wanted: &Weak<()>) -> Option<Handover> {
    let Group { images, mut buffers } = group;
    let decode = |((name, mut encoded), image): ((String, Encoded), InputMut<'_>)| {
        if still_wanted.strong_count() == 0 {
            return None;
        }
        let result = encoded.read().and_then(|bytes| Ok(prepare(&bytes, image)?));
        Some(DecodedImage { name, result })
    };
    let parts: Vec<InputMut<'_>> = buffers.iter_mut().flat_map(InputBuffer::each_mut).collect();
    let images: Option<Vec<DecodedImage>> =
        images.into_par_iter().zip(parts).with_max_len(1).map(decode).collect();
    let images = images?;
    // Close the gaps that failed images leave.
    let mut decoded = images.iter().map(|image| image.result.is_ok());
    let runs = buffers.into_iter().map(|mut buffer| {
        let of_run: Vec<bool> = decoded.by_ref().take(buffer.capacity()).collect();
        let n = buffer.close_gaps(&of_run);
        (buffer, n)
    });
    let runs = runs.collect();
    Some(Handover { runs, images })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::Size;
    use crate::image::{
        Budget, Framing, Interpolation, Recipe, Rounding, ShortSide, preprocess, preprocess_within,
    };
    use crate::session::{Input, InputType};

    /// Images that all but one of the threads have to wait for come in their order, and the same.
    #[test]
    fn a_budget_smaller_than_any_picture() {
        static TINY: Budget = Budget::new(1);
        let recipe = Recipe {
            interpolation: Interpolation::PillowBicubic,
            framing: Framing::ResizeThenCrop {
                short_side: ShortSide::Margin(4),
                rounding: Rounding::Torchvision,
            },
            mean: [0.5; 3],
            std: [0.25; 3],
            exif_orientation: true,
            size: Size::square(16),
        };
        let formats = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/images/formats");
        let mut files: Vec<_> =
            std::fs::read_dir(formats).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        let files: Vec<Vec<u8>> = files.iter().map(|path| std::fs::read(path).unwrap()).collect();
        assert!(files.len() > 20);
        let image_elems = 16 * 16 * 3;
        let prepare = {
            let recipe = recipe.clone();
            move |bytes: &[u8], image: InputMut<'_>| {
                preprocess_within(bytes, &recipe, image.f32().unwrap(), &TINY)
            }
        };
        let decoder = Decoder::new(8, 3, prepare).unwrap();
        let mut decoding = decoder.start().unwrap();
        let mut found = Vec::new();
        for group in files.chunks(decoder.group()) {
            let image = |bytes: &Vec<u8>| (String::new(), Encoded::Bytes(Box::new(bytes.clone())));
            let images = group.iter().map(image).collect();
            let buffer = |_| InputBuffer::owned(InputType::F32, image_elems, 3).unwrap();
            let buffers = (0..decoder.group() / 3).map(buffer).collect();
            decoding.submit(Group { images, buffers });
        }
        let mut results = 0;
        while let Ok(Some(Handover { runs, images })) = decoding.wait() {
            for (buffer, n) in runs {
                let Input::F32(values) = buffer.images(n) else { panic!("f32 was asked for") };
                found.extend_from_slice(values);
            }
            results += images.len();
        }
        assert_eq!(results, files.len());
        let mut wanted = Vec::new();
        let mut largest = 0;
        for bytes in &files {
            let mut image = vec![0.0; image_elems];
            let alone = Budget::new(1);
            if preprocess_within(bytes, &recipe, &mut image, &alone).is_ok() {
                wanted.extend(image.clone());
            }
            largest = largest.max(alone.record().1);
            let shared = preprocess(bytes, &recipe, &mut image);
            assert!(shared.is_err() || wanted.ends_with(&image));
        }
        assert!(!wanted.is_empty() && found == wanted);
        // One picture at a time, and nothing is left of it.
        assert_eq!(TINY.record(), (0, largest));
    }

    /// A panic is told after the groups that were decoded before it, however late those are asked
    /// for, and although groups were submitted after it.
    #[test]
    fn a_panic_is_told_after_what_was_decoded() {
        let prepare = |bytes: &[u8], _: InputMut<'_>| {
            assert_ne!(bytes, b"2", "this panic is a test's");
            Ok(Vec::new())
        };
        let decoder = Decoder::new(1, 1, prepare).unwrap();
        let mut decoding = decoder.start().unwrap();
        let group = |text: &str| Group {
            images: vec![(text.to_owned(), Encoded::Bytes(Box::new(text.to_owned())))],
            buffers: vec![InputBuffer::owned(InputType::F32, 1, 1).unwrap()],
        };
        for text in ["0", "1", "2"] {
            decoding.submit(group(text));
        }
        while decoding.groups.send(group("3")).is_ok() {
            thread::yield_now();
        }
        decoding.submit(group("4"));
        assert_eq!(decoding.poll().unwrap().images[0].name, "0");
        let second = decoding.wait().unwrap_or_else(|_| panic!("decoded before the panic"));
        assert_eq!(second.unwrap().images[0].name, "1");
        assert!(decoding.poll().is_none());
        assert!(decoding.wait().is_err());
    }
}
