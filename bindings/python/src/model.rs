//! A network that was loaded: images and tensors in, classes, logits and features out.

use crate::ahead::{Ahead, taken};
use crate::arguments::{self, OnError};
use crate::engine::{Engine, ImageResult, Output, Wanted};
use crate::errors::{Failure, Kind, OrRaise, image_warning};
use crate::images::{Given, one_or_many, type_name};
use crate::outputs::Outputs;
use crate::prediction::Prediction;
use crate::stream::Stream;
use crate::tensors::{self, Layout, Tensor};
use crate::tools;
use effnet::arch::Size;
use effnet::launches::Path;
use effnet::plan::PlanOptions;
use effnet::session::{Device, SessionError, SessionOptions};
use effnet::weights::{Metadata, OutputActivation};
use numpy::{PyArray2, PyArrayDyn, PyArrayMethods};
use pyo3::IntoPyObjectExt;
use pyo3::exceptions::{PyRuntimeError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyIterator, PyList, PyTuple};
use std::ffi::CString;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

/// What is known of a model without running it.
pub struct Facts {
    /// As in `lite0`.
    pub variant: String,
    name: String,
    file: PathBuf,
    device: String,
    device_name: String,
    description: String,
    precision: String,
    size: Size,
    batch: usize,
    classes: usize,
    channels: usize,
    activation: OutputActivation,
    /// One name for each class.
    labels: Option<Py<PyTuple>>,
}

/// A network on a device, ready to run; :func:`effnet.load` makes it.
///
/// Several threads may use one model: they decode beside each other, and take turns on the device.
/// It is a context manager, whose end closes it.
///
/// Images are paths (``str`` or ``os.PathLike``), encoded bytes, PIL images, or uint8 arrays [h, w,
/// 3]
/// of R, G, B: one, or a sequence of them; a uint8 array [n, h, w, 3] is a sequence of ``n``.
/// Pixels
/// are taken as they are: who wants a photograph turned by its EXIF orientation gives the file.
#[pyclass(module = "effnet", frozen, weakref)]
pub struct Model {
    facts: Arc<Facts>,
    /// None once it is closed.
    engine: RwLock<Option<Arc<Engine>>>,
}

/// Opens packed weights and makes them ready to run.
///
/// Args:
///     path_or_name: A packed file, as ``effnet.import_checkpoint`` writes it, or the name of one
///         in EFFNET_WEIGHTS_DIR, ./weights or the user's cache, as in ``"lite0"``. A text is a
///         path where it has a separator, ends in ``.safetensors`` or names a file that is there.
///     device: ``"auto"`` (the first usable GPU, else the CPU), ``"cpu"``, ``"cuda"``,
///         ``"cuda:N"``, or ``"emulator"`` (the GPU's kernels with every check: for tests, not for
///         speed).
///     precision: ``"fp16"``, ``"fp32"`` or ``"tf32"``; that of the weights where none is given.
///         The CPU computes in fp32.
///     batch: The most images that the network takes at once. Longer sequences are cut.
///     size: Side of the input in pixels, or (height, width); the weights' own where none is given.
///     threads: Threads that compute on the CPU; one per core where none is given.
///     path: Which kernels a GPU or the emulator runs, ``"fused"`` or ``"layerwise"``.
///     decode_threads: Threads that decode images; one per core where none is given.
///     warmup: Whether a GPU runs once before this returns, which records its launches.
///
/// Example:
///     >>> import effnet
///     >>> model = effnet.load("lite0.safetensors", device="cpu")
///     >>> model.classify("cat.jpg", top_k=1)
///     [Prediction(282, 'tiger cat', 37.12 %)]
#[pyfunction]
#[pyo3(signature = (
    path_or_name, *, device = "auto", precision = None, batch = 1, size = None, threads = None,
    path = "fused", decode_threads = None, warmup = true,
))]
#[expect(clippy::too_many_arguments, reason = "each has a name and a default in Python")]
pub fn load(
    py: Python<'_>,
    path_or_name: &Bound<'_, PyAny>,
    device: &str,
    precision: Option<&str>,
    batch: i64,
    size: Option<&Bound<'_, PyAny>>,
    threads: Option<i64>,
    path: &str,
    decode_threads: Option<i64>,
    warmup: bool,
) -> PyResult<Model> {
    // First: the arrays' library panics where there is no NumPy.
    py.import("numpy")?;
    let (compute, path) = (arguments::compute(precision)?, arguments::kernels(path)?);
    let batch = arguments::number("batch", batch, 1, PlanOptions::MAX_BATCH)?;
    let size = arguments::size(size)?;
    let threads = arguments::threads("threads", threads)?;
    let decode_threads = arguments::threads("decode_threads", decode_threads)?;
    let device = arguments::device(py, device)?;
    if device == Device::Cpu && path != Path::default() {
        return Err(PyValueError::new_err(
            "path: the CPU runs no kernels, whichever they are: leave it out, or load for a GPU \
             or the emulator",
        ));
    }
    let weights = arguments::weights(py, path_or_name)?;
    let options = SessionOptions {
        device,
        batch,
        size,
        threads: Some(threads),
        path,
        compute,
        ..SessionOptions::default()
    };
    let engine = py.detach(|| {
        let engine = Engine::new(weights, options, decode_threads)?;
        if warmup && device.gpu().is_some() {
            warm_up(&engine)?;
        }
        Ok::<_, Failure>(engine)
    });
    let engine = engine.or_raise(py)?;
    let facts = facts(py, &engine)?;
    Ok(Model { facts: Arc::new(facts), engine: RwLock::new(Some(Arc::new(engine))) })
}

/// Runs the fewest and the most images in both ways, which a GPU then replays.
fn warm_up(engine: &Engine) -> Result<(), Failure> {
    let mut session = engine.session()?;
    let (batch, elems) = (session.batch(), session.input_elems());
    let zeros = vec![0.0; batch * elems];
    for n in if batch == 1 { vec![1] } else { vec![1, batch] } {
        session.run(&zeros[..n * elems])?;
        for _ in 0..session.capacity() {
            session.submit(&zeros[..n * elems])?;
        }
        while session.under_way() > 0 {
            session.collect()?;
        }
    }
    Ok(())
}

fn facts(py: Python<'_>, engine: &Engine) -> PyResult<Facts> {
    let session = engine.session().or_raise(py)?;
    let metadata = session.weights().metadata();
    let named = metadata.labels.count().is_some() && metadata.classes > 0;
    let labels = (0..metadata.classes).map(|class| metadata.labels.name(class).unwrap_or_default());
    let labels = named.then(|| PyTuple::new(py, labels)).transpose()?;
    let network = &session.plan().network;
    Ok(Facts {
        variant: metadata.variant.name().to_owned(),
        name: metadata.name.clone(),
        file: session.weights().path().to_owned(),
        device: session.device().to_string(),
        device_name: session.device_name(),
        description: session.description(),
        precision: session.compute().to_string(),
        size: session.plan().input_size(),
        batch: session.batch(),
        classes: metadata.classes,
        channels: network.c_head,
        activation: session.activation(),
        labels: labels.map(Bound::unbind),
    })
}

/// An image's result as Python has it, or its exception, or what stands in its place.
pub fn settled(
    py: Python<'_>,
    facts: &Facts,
    result: ImageResult,
    on_error: OnError,
) -> PyResult<Py<PyAny>> {
    let failure = match result.outcome {
        Ok((output, warnings)) => {
            for warning in warnings {
                let text = format!("{}: {warning}", result.name).replace('\0', "");
                let text = CString::new(text).unwrap_or_default();
                PyErr::warn(py, image_warning(py)?.as_any(), &text, 1)?;
            }
            return match output {
                Output::Best(best) => predictions(py, facts, &best),
                Output::Row(row) => Ok(array(py, &[row.len()], &row)?.into_any().unbind()),
            };
        }
        Err(failure) => failure,
    };
    match on_error {
        OnError::Raise => Err(failure.into_err(py)),
        OnError::None => Ok(py.None()),
        OnError::Return => Ok(failure.into_image().into_err(py).into_value(py).into_any()),
    }
}

fn predictions(
    py: Python<'_>,
    facts: &Facts,
    best: &[effnet::session::Prediction],
) -> PyResult<Py<PyAny>> {
    let best: PyResult<Vec<Prediction>> =
        best.iter().map(|found| Prediction::new(py, found, facts.labels.as_ref())).collect();
    best?.into_py_any(py)
}

/// A new array, which owns its memory.
fn array<'py>(
    py: Python<'py>,
    shape: &[usize],
    values: &[f32],
) -> PyResult<Bound<'py, PyArrayDyn<f32>>> {
    let made = tensors::zeros(py, shape)?;
    made.readwrite().as_slice_mut()?.copy_from_slice(values);
    Ok(made)
}

impl Model {
    /// The engine, where it can be used.
    fn engine(&self, py: Python<'_>) -> PyResult<Arc<Engine>> {
        let engine = self.engine.read().unwrap_or_else(PoisonError::into_inner).clone();
        let closed = || Failure::new(Kind::Other, "the model is closed: load it again");
        let engine = engine.ok_or_else(closed).or_raise(py)?;
        engine.check().or_raise(py)?;
        Ok(engine)
    }

    fn expect_classifier(&self, py: Python<'_>) -> PyResult<()> {
        match self.facts.classes {
            0 => Err(SessionError::NoClassifier).or_raise(py),
            _ => Ok(()),
        }
    }

    /// One image through the engine, on this thread.
    fn one(
        &self,
        py: Python<'_>,
        engine: &Engine,
        object: &Bound<'_, PyAny>,
        wanted: Wanted,
    ) -> PyResult<ImageResult> {
        let image = taken(0, object)?;
        let results = py.detach(|| engine.finish(vec![engine.prepare(vec![image])?], wanted));
        let lost = || PyRuntimeError::new_err("the image gave no result");
        results.or_raise(py)?.pop().ok_or_else(lost)
    }

    /// Every image's result, in order.
    fn each(
        &self,
        py: Python<'_>,
        images: &Bound<'_, PyIterator>,
        wanted: Wanted,
        mut result: impl FnMut(ImageResult) -> PyResult<()>,
    ) -> PyResult<()> {
        let engine = self.engine(py)?;
        let window = engine.window();
        let mut ahead = Ahead::new(engine, wanted, window);
        while let Some(found) = ahead.next(py, images)? {
            result(found)?;
        }
        Ok(())
    }

    /// Numbers of one image or of several, each of `shape`.
    fn rows(
        &self,
        py: Python<'_>,
        images: &Bound<'_, PyAny>,
        wanted: Wanted,
        shape: &[usize],
        on_error: OnError,
    ) -> PyResult<Py<PyAny>> {
        let engine = self.engine(py)?;
        let shaped = |row: Py<PyAny>| match row.bind(py).cast::<PyArrayDyn<f32>>() {
            Ok(row) if shape.len() > 1 => {
                array(py, shape, row.readonly().as_slice()?)?.into_py_any(py)
            }
            _ => Ok(row),
        };
        let (images, n) = match one_or_many(images)? {
            Given::One(image) => {
                let result = self.one(py, &engine, &image, wanted)?;
                return shaped(settled(py, &self.facts, result, on_error)?);
            }
            Given::Many(images, n) => (images, n),
        };
        if on_error != OnError::Raise {
            let found = PyList::empty(py);
            self.each(py, &images, wanted, |result| {
                found.append(shaped(settled(py, &self.facts, result, on_error)?)?)
            })?;
            return found.into_py_any(py);
        }
        let elems: usize = shape.iter().product();
        let found = tensors::zeros(py, &[&[n], shape].concat())?;
        let mut next = 0;
        self.each(py, &images, wanted, |result| {
            let row = settled(py, &self.facts, result, on_error)?;
            let row = row.bind(py).cast::<PyArrayDyn<f32>>()?.readonly();
            let mut all = found.readwrite();
            let place = all.as_slice_mut()?.get_mut(next * elems..(next + 1) * elems);
            place.ok_or_else(|| changed(n))?.copy_from_slice(row.as_slice()?);
            next += 1;
            Ok(())
        })?;
        if next == n { found.into_py_any(py) } else { Err(changed(n)) }
    }
}

fn changed(n: usize) -> PyErr {
    PyRuntimeError::new_err(format!(
        "the sequence had {n} images at first and another number later"
    ))
}

#[pymethods]
impl Model {
    /// The best classes of images, the best first.
    ///
    /// Args:
    ///     images: One image or a sequence of images, see :class:`Model`.
    ///     top_k: How many classes; at most as many as there are.
    ///     on_error: What is done with an image that has no result. ``"raise"`` raises its
    ///         :class:`ImageError`; ``"none"`` puts None in its place; ``"return"`` puts the
    ///         exception there. With the latter two, objects of a wrong type have an exception each
    ///         as well.
    ///
    /// Returns:
    ///     A list of ``top_k`` :class:`Prediction` for one image, a list of such lists for a
    ///     sequence.
    #[pyo3(signature = (images, *, top_k = 5, on_error = "raise"))]
    fn classify(
        &self,
        py: Python<'_>,
        images: &Bound<'_, PyAny>,
        top_k: i64,
        on_error: &str,
    ) -> PyResult<Py<PyAny>> {
        let engine = self.engine(py)?;
        let on_error = OnError::named(on_error)?;
        let wanted = Wanted::Best(arguments::number("top_k", top_k, 1, Metadata::MAX_CLASSES)?);
        self.expect_classifier(py)?;
        match one_or_many(images)? {
            Given::One(image) => {
                let result = self.one(py, &engine, &image, wanted)?;
                settled(py, &self.facts, result, on_error)
            }
            Given::Many(images, _) => {
                let found = PyList::empty(py);
                self.each(py, &images, wanted, |result| {
                    found.append(settled(py, &self.facts, result, on_error)?)
                })?;
                found.into_py_any(py)
            }
        }
    }

    /// The logits of images.
    ///
    /// Args:
    ///     images: One image or a sequence of images, see :class:`Model`.
    ///     on_error: As in :meth:`classify`. With ``"none"`` and ``"return"`` a sequence gives a
    ///         list of arrays, so that something else can stand in a place.
    ///
    /// Returns:
    ///     float32 [classes] for one image, float32 [n, classes] for a sequence.
    #[pyo3(signature = (images, *, on_error = "raise"))]
    fn predict(
        &self,
        py: Python<'_>,
        images: &Bound<'_, PyAny>,
        on_error: &str,
    ) -> PyResult<Py<PyAny>> {
        self.engine(py)?;
        self.expect_classifier(py)?;
        let on_error = OnError::named(on_error)?;
        self.rows(py, images, Wanted::Logits, &[self.facts.classes], on_error)
    }

    /// The features of images: the pooled head convolution, before the classifier.
    ///
    /// Args:
    ///     images: One image or a sequence of images, see :class:`Model`.
    ///     on_error: As in :meth:`predict`.
    ///
    /// Returns:
    ///     float32 [channels] for one image, float32 [n, channels] for a sequence.
    #[pyo3(signature = (images, *, on_error = "raise"))]
    fn features(
        &self,
        py: Python<'_>,
        images: &Bound<'_, PyAny>,
        on_error: &str,
    ) -> PyResult<Py<PyAny>> {
        let on_error = OnError::named(on_error)?;
        self.rows(py, images, Wanted::Features, &[self.facts.channels], on_error)
    }

    /// The tensors that the network takes of images: decoded, resized and normalised by the
    /// weights' recipe. :meth:`run` takes them.
    ///
    /// Args:
    ///     images: One image or a sequence of images, see :class:`Model`.
    ///     on_error: As in :meth:`predict`.
    ///
    /// Returns:
    ///     float32 [h, w, 3] for one image, float32 [n, h, w, 3] for a sequence.
    #[pyo3(signature = (images, *, on_error = "raise"))]
    fn preprocess(
        &self,
        py: Python<'_>,
        images: &Bound<'_, PyAny>,
        on_error: &str,
    ) -> PyResult<Py<PyAny>> {
        let on_error = OnError::named(on_error)?;
        let Size { h, w } = self.facts.size;
        self.rows(py, images, Wanted::Tensor, &[h, w, 3], on_error)
    }

    /// Runs the network on tensors that are ready.
    ///
    /// Args:
    ///     x: float32 [n, h, w, 3], normalised as :meth:`preprocess` does, of the model's size; an
    ///         array, or any object with ``__dlpack__`` in the memory of the CPU, as a PyTorch
    ///         tensor. A row-major array is read where it lies, and must not be changed meanwhile.
    ///         More images than the batch are run in parts.
    ///     layout: ``"NHWC"``, or ``"NCHW"`` for [n, 3, h, w], as in PyTorch.
    ///
    /// Returns:
    ///     :class:`Outputs` with logits [n, classes] and features [n, channels].
    #[pyo3(signature = (x, *, layout = "NHWC"))]
    fn run(&self, py: Python<'_>, x: &Bound<'_, PyAny>, layout: &str) -> PyResult<Outputs> {
        let engine = self.engine(py)?;
        let Facts { size, batch, classes, channels, activation, .. } = *self.facts;
        let x = Tensor::new(x, size, Layout::named(layout)?)?;
        let logits = PyArray2::<f32>::zeros(py, [x.n, classes], false);
        let features = PyArray2::<f32>::zeros(py, [x.n, channels], false);
        if x.n > 0 {
            // SAFETY: both arrays were made above, and nobody else has them before this function
            // returns.
            let (logits, features) = unsafe { (logits.as_slice_mut()?, features.as_slice_mut()?) };
            let inputs = x.values()?.chunks(batch * size.pixels() * 3);
            let mut logits = logits.chunks_mut((batch * classes).max(1));
            let features = features.chunks_mut(batch * channels);
            for (part, (input, features)) in inputs.zip(features).enumerate() {
                if part > 0 {
                    py.check_signals()?;
                }
                let logits = logits.next().unwrap_or_default();
                py.detach(|| engine.run(input, logits, features)).or_raise(py)?;
            }
        }
        Ok(Outputs::new(logits.unbind(), features.unbind(), activation))
    }

    /// The same as :meth:`run`.
    #[pyo3(signature = (x, *, layout = "NHWC"))]
    fn __call__(&self, py: Python<'_>, x: &Bound<'_, PyAny>, layout: &str) -> PyResult<Outputs> {
        self.run(py, x, layout)
    }

    /// The results of any number of images, as they come: decoded ahead, in order, in bounded
    /// memory.
    ///
    /// Args:
    ///     images: An iterable of images, see :class:`Model`; a generator is asked in the thread
    ///         that asks for results. What it raises is raised after the results of the images
    ///         before.
    ///     top_k: How many classes.
    ///     output: ``"predictions"``, ``"logits"`` or ``"features"``.
    ///     on_error: As in :meth:`classify`. After an exception the next image can be asked for.
    ///     ahead: The most images that are taken before their results are asked for, rounded up to
    ///         whole batches; two for each decoding thread where none is given.
    ///
    /// Returns:
    ///     A :class:`Stream`: an iterator with what :meth:`classify`, :meth:`predict` or
    ///     :meth:`features` give of one image. Dropping it lets go of what is on its way.
    #[pyo3(signature = (
        images, *, top_k = 5, output = "predictions", on_error = "raise", ahead = None,
    ))]
    fn stream(
        &self,
        py: Python<'_>,
        images: &Bound<'_, PyAny>,
        top_k: i64,
        output: &str,
        on_error: &str,
        ahead: Option<i64>,
    ) -> PyResult<Stream> {
        let engine = self.engine(py)?;
        let on_error = OnError::named(on_error)?;
        let k = arguments::number("top_k", top_k, 1, Metadata::MAX_CLASSES)?;
        let outputs = [
            ("predictions", Wanted::Best(k)),
            ("logits", Wanted::Logits),
            ("features", Wanted::Features),
        ];
        let wanted = arguments::one_of("output", output, &outputs)?;
        if wanted != Wanted::Features {
            self.expect_classifier(py)?;
        }
        if let Ok(Given::One(_)) = one_or_many(images) {
            return Err(PyTypeError::new_err(format!(
                "expected an iterable of images, found {}: model.classify(image) takes one image",
                type_name(images)
            )));
        }
        let images = images.try_iter()?.unbind();
        let window = match ahead {
            Some(ahead) => {
                arguments::number("ahead", ahead, 1, 1 << 20)?.div_ceil(self.facts.batch)
            }
            None => engine.window(),
        };
        let most = window * self.facts.batch;
        let ahead = Ahead::new(engine, wanted, window);
        Ok(Stream::new(self.facts.clone(), on_error, images, ahead, most))
    }

    /// Where a run's time goes, on a session of its own: on the CPU and on a GPU the time of every
    /// step against what the machine can do at best, on the emulator what it counts.
    ///
    /// Args:
    ///     by: What is put together: ``"launch"``, ``"layer"``, ``"block"``, ``"stage"`` or
    ///         ``"op"``.
    ///     warm_up_ms: Time before the runs that count.
    ///     duration: Least time of the runs, in seconds.
    ///     iterations: Least number of runs.
    ///     copy_mib: Buffers of the copy that measures memory, in MiB.
    ///
    /// Returns:
    ///     A :class:`Profile`, which notebooks show as a table.
    #[pyo3(signature = (
        *, by = "layer", warm_up_ms = 200, duration = 1.0, iterations = 10, copy_mib = 256,
    ))]
    fn profile(
        &self,
        py: Python<'_>,
        by: &str,
        warm_up_ms: u64,
        duration: f64,
        iterations: usize,
        copy_mib: u64,
    ) -> PyResult<Py<PyAny>> {
        let engine = self.engine(py)?;
        let asked = tools::ProfileOptions { warm_up_ms, duration, iterations, copy_mib };
        tools::profile(py, &engine, by, asked)
    }

    /// Lets go of the device, the threads and the file, once the calls that other threads have
    /// begun are through. No further call is answered.
    fn close(&self, py: Python<'_>) {
        let engine = self.engine.write().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(engine) = engine {
            engine.close();
            py.detach(|| drop(engine));
        }
    }

    /// Whether it was closed.
    #[getter]
    fn closed(&self) -> bool {
        self.engine.read().unwrap_or_else(PoisonError::into_inner).is_none()
    }

    fn __enter__(slf: Bound<'_, Self>) -> PyResult<Bound<'_, Self>> {
        slf.get().engine(slf.py())?;
        Ok(slf)
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(&self, py: Python<'_>, _exception: &Bound<'_, PyTuple>) {
        self.close(py);
    }

    /// One name for each class; None where the weights carry none.
    #[getter]
    fn labels(&self, py: Python<'_>) -> Option<Py<PyTuple>> {
        self.facts.labels.as_ref().map(|labels| labels.clone_ref(py))
    }

    /// Number of classes; 0 without a classifier.
    #[getter]
    fn classes(&self) -> usize {
        self.facts.classes
    }

    /// Shape of the largest input of :meth:`run`: (batch, height, width, 3).
    #[getter]
    fn input_shape(&self) -> (usize, usize, usize, usize) {
        let Size { h, w } = self.facts.size;
        (self.facts.batch, h, w, 3)
    }

    /// Shapes of the outputs of that input: logits (batch, classes), features (batch, channels).
    #[getter]
    fn output_shapes(&self) -> ((usize, usize), (usize, usize)) {
        let Facts { batch, classes, channels, .. } = *self.facts;
        ((batch, classes), (batch, channels))
    }

    /// Size of the input: (height, width).
    #[getter]
    fn size(&self) -> (usize, usize) {
        (self.facts.size.h, self.facts.size.w)
    }

    /// The most images that the network takes at once.
    #[getter]
    fn batch(&self) -> usize {
        self.facts.batch
    }

    /// The variant, as in ``"lite0"``.
    #[getter]
    fn variant(&self) -> &str {
        &self.facts.variant
    }

    /// The checkpoint's name, as the packed file records it.
    #[getter]
    fn name(&self) -> &str {
        &self.facts.name
    }

    /// The packed file.
    #[getter]
    fn file(&self) -> PathBuf {
        self.facts.file.clone()
    }

    /// The device, as in ``"cpu"`` or ``"cuda:0"``.
    #[getter]
    fn device(&self) -> &str {
        &self.facts.device
    }

    /// The device in its maker's words.
    #[getter]
    fn device_name(&self) -> &str {
        &self.facts.device_name
    }

    /// Device, kernels and precision in a line.
    #[getter]
    fn description(&self) -> &str {
        &self.facts.description
    }

    /// The precision that the device computes in, as in ``"fp16"``.
    #[getter]
    fn precision(&self) -> &str {
        &self.facts.precision
    }

    /// From logits to probabilities: ``"softmax"``, ``"sigmoid"`` or ``"none"``.
    #[getter]
    fn activation(&self) -> &str {
        self.facts.activation.name()
    }

    /// What the packed file tells of itself: name, variant, family, recipe, source and so on.
    #[getter]
    fn metadata(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let engine = self.engine(py)?;
        tools::from_json(py, engine.weights().metadata())
    }

    /// Seconds that the last :meth:`run` spent in the session; the rest of the call is this
    /// package's.
    #[getter]
    fn _session_seconds(&self, py: Python<'_>) -> PyResult<f64> {
        Ok(self.engine(py)?.session_nanos() as f64 / 1e9)
    }

    fn __repr__(&self) -> String {
        let Facts { variant, device, size, precision, batch, .. } = &*self.facts;
        let closed = if self.closed() { ", closed" } else { "" };
        format!("<effnet.Model {variant} on {device}, {size}, {precision}, batch {batch}{closed}>")
    }
}
