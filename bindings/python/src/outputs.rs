//! What a run on ready tensors gives.

use effnet::session::NonFiniteLogits;
use effnet::weights::OutputActivation;
use numpy::{PyArray2, PyArrayMethods, PyUntypedArrayMethods};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyTuple;

/// What the network computed of `n` images. It unpacks::
///
///     logits, features, probabilities = model.run(x)
#[pyclass(module = "effnet", frozen)]
pub struct Outputs {
    /// float32 [n, classes], as the network computed them; [n, 0] without a classifier.
    #[pyo3(get)]
    logits: Py<PyArray2<f32>>,
    /// float32 [n, channels]: the pooled head convolution, before the classifier.
    #[pyo3(get)]
    features: Py<PyArray2<f32>>,
    activation: OutputActivation,
    probabilities: PyOnceLock<Option<Py<PyArray2<f32>>>>,
}

impl Outputs {
    /// Arrays that nobody else writes to.
    pub fn new(
        logits: Py<PyArray2<f32>>,
        features: Py<PyArray2<f32>>,
        activation: OutputActivation,
    ) -> Outputs {
        Outputs { logits, features, activation, probabilities: PyOnceLock::new() }
    }

    fn compute(&self, py: Python<'_>) -> PyResult<Option<Py<PyArray2<f32>>>> {
        let logits = self.logits.bind(py);
        let &[n, classes] = logits.shape() else { return Ok(None) };
        if self.activation == OutputActivation::None || classes == 0 {
            return Ok(None);
        }
        let logits = logits.readonly();
        let found = PyArray2::<f32>::zeros(py, [n, classes], false);
        let mut rows = found.readwrite();
        let rows = rows.as_slice_mut()?.chunks_exact_mut(classes);
        for (row, logits) in rows.zip(logits.as_slice()?.chunks_exact(classes)) {
            match NonFiniteLogits::of(logits) {
                Some(_) => row.fill(f32::NAN),
                None => {
                    let values = self.activation.probabilities(logits).unwrap_or_default();
                    row.iter_mut().zip(values).for_each(|(place, value)| *place = value);
                }
            }
        }
        Ok(Some(found.unbind()))
    }
}

#[pymethods]
impl Outputs {
    /// float32 [n, classes] by the weights' activation, softmax as a rule; None where they have
    /// none. The row of an image whose logits are not all finite is NaN.
    #[getter]
    fn probabilities(&self, py: Python<'_>) -> PyResult<Option<Py<PyArray2<f32>>>> {
        let found = self.probabilities.get_or_try_init(py, || self.compute(py))?;
        Ok(found.as_ref().map(|found| found.clone_ref(py)))
    }

    /// The fields in the order in which they unpack and match.
    #[classattr]
    fn __match_args__() -> (&'static str, &'static str, &'static str) {
        ("logits", "features", "probabilities")
    }

    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let all = (self.logits.clone_ref(py), self.features.clone_ref(py), self.probabilities(py)?);
        let all: Bound<'py, PyTuple> = all.into_pyobject(py)?;
        Ok(all.try_iter()?.into_any())
    }

    fn __len__(&self) -> usize {
        3
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        format!(
            "Outputs(logits=float32 {:?}, features=float32 {:?})",
            self.logits.bind(py).shape(),
            self.features.bind(py).shape()
        )
    }
}
