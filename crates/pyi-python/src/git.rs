//! `GitResult`, and the variables that a git command sees.

use pyi_engine::git::{ENVIRONMENT, Environment, Outcome};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::convert::{PathBytes, items};

/// What a git command answered.
#[pyclass(frozen, module = "pyi._native")]
pub(crate) struct GitResult {
    pub(crate) outcome: Outcome,
}

#[pymethods]
impl GitResult {
    /// Standard output.
    #[getter]
    fn stdout<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.outcome.stdout)
    }

    /// Standard error.
    #[getter]
    fn stderr<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.outcome.stderr)
    }

    /// The exit status.
    #[getter]
    fn returncode(&self) -> i32 {
        self.outcome.status
    }

    fn __repr__(&self) -> String {
        let (out, err) = (self.outcome.stdout.len(), self.outcome.stderr.len());
        format!("<GitResult {}, {out} + {err} bytes>", self.outcome.status)
    }
}

/// The variables that were given, or those of the process that commands look at.
pub(crate) fn environment(py: Python<'_>, given: Option<Bound<'_, PyAny>>) -> PyResult<Environment> {
    let mut environment = Environment::new();
    if let Some(given) = given {
        for pair in items("env", &given)?.try_iter()? {
            let (name, value): (PathBytes, PathBytes) = pair?.extract()?;
            environment.insert(name.0, value.0);
        }
        return Ok(environment);
    }
    let process = py.import("os")?.getattr("environ")?;
    for name in ENVIRONMENT {
        let value = process.call_method1("get", (name,))?;
        if let Some(value) = value.extract::<Option<PathBytes>>()? {
            environment.insert(name.as_bytes().to_vec(), value.0);
        }
    }
    Ok(environment)
}
