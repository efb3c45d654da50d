//! One class, and how sure the network is of it.

use pyo3::basic::CompareOp;
use pyo3::prelude::*;
use pyo3::types::{PyString, PyTuple, PyType};

/// One class, and how sure the network is of it.
///
/// It cannot be changed, it can be pickled, and it unpacks::
///
///     index, label, probability, logit = prediction
#[pyclass(module = "effnet", frozen)]
pub struct Prediction {
    /// The class, from 0.
    #[pyo3(get)]
    index: usize,
    /// The class's name; None where the weights carry none.
    #[pyo3(get)]
    label: Option<Py<PyString>>,
    /// Its probability, 0 to 1; None where the model's outputs are scores and no probabilities.
    #[pyo3(get)]
    probability: Option<f64>,
    /// What the network computed for the class.
    #[pyo3(get)]
    logit: f64,
}

/// Most characters of a label in a line.
const LABEL_CHARS: usize = 40;

impl Prediction {
    /// Of a class that the library found; `labels` are all of the model's.
    pub fn new(
        py: Python<'_>,
        found: &effnet::session::Prediction,
        labels: Option<&Py<PyTuple>>,
    ) -> PyResult<Prediction> {
        let label = match labels {
            Some(labels) => Some(labels.bind(py).get_item(found.class)?.cast_into()?.unbind()),
            None => None,
        };
        Ok(Prediction {
            index: found.class,
            label,
            probability: found.probability.map(f64::from),
            logit: f64::from(found.logit),
        })
    }

    fn tuple<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let label = self.label.as_ref().map(|label| label.clone_ref(py));
        (self.index, label, self.probability, self.logit).into_pyobject(py)
    }
}

#[pymethods]
impl Prediction {
    #[new]
    #[pyo3(signature = (index, label, probability, logit))]
    fn py_new(
        index: usize,
        label: Option<Py<PyString>>,
        probability: Option<f64>,
        logit: f64,
    ) -> Prediction {
        Prediction { index, label, probability, logit }
    }

    /// The fields in the order in which they unpack and match.
    #[classattr]
    fn __match_args__() -> (&'static str, &'static str, &'static str, &'static str) {
        ("index", "label", "probability", "logit")
    }

    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        Ok(self.tuple(py)?.try_iter()?.into_any())
    }

    fn __len__(&self) -> usize {
        4
    }

    fn __getitem__<'py>(
        &self,
        py: Python<'py>,
        key: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.tuple(py)?.as_any().get_item(key)
    }

    fn __richcmp__<'py>(
        &self,
        py: Python<'py>,
        other: &Bound<'py, PyAny>,
        op: CompareOp,
    ) -> PyResult<Py<PyAny>> {
        match (other.cast::<Prediction>(), op) {
            (Ok(other), CompareOp::Eq | CompareOp::Ne) => {
                let other = other.get().tuple(py)?;
                Ok(self.tuple(py)?.rich_compare(other, op)?.unbind())
            }
            _ => Ok(py.NotImplemented()),
        }
    }

    fn __hash__(&self, py: Python<'_>) -> PyResult<isize> {
        self.tuple(py)?.hash()
    }

    fn __reduce__<'py>(
        &self,
        py: Python<'py>,
    ) -> PyResult<(Bound<'py, PyType>, Bound<'py, PyTuple>)> {
        Ok((py.get_type::<Prediction>(), self.tuple(py)?))
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let label = match &self.label {
            None => "None".to_owned(),
            Some(label) => {
                let label = label.bind(py).to_cow()?;
                let mut short: String = label.chars().take(LABEL_CHARS).collect();
                if short.len() < label.len() {
                    short.push_str("...");
                }
                PyString::new(py, &short).repr()?.to_string()
            }
        };
        Ok(match self.probability {
            Some(probability) => {
                format!("Prediction({}, {label}, {:.2} %)", self.index, probability * 100.0)
            }
            None => format!("Prediction({}, {label}, logit {:.3})", self.index, self.logit),
        })
    }
}
