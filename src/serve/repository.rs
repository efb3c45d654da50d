//! Which models there are, by their names: loaded, exchanged and unloaded while requests run.

use super::error::ServeError;
use super::model::Model;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;

/// Where models come from.
pub trait Source: fmt::Debug + Send + Sync {
    /// Names of the models that can be loaded, in any order.
    fn names(&self) -> Vec<String>;

    /// Prepares one of them, or says why it cannot be served.
    fn load(&self, name: &str) -> Result<Model, String>;
}

/// A model's state, as the protocol names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It answers.
    Ready,
    /// It is being loaded, and does not answer yet.
    Loading,
    /// It does not answer.
    Unavailable,
}

impl State {
    /// As the protocol names it.
    pub fn name(self) -> &'static str {
        match self {
            State::Ready => "READY",
            State::Loading => "LOADING",
            State::Unavailable => "UNAVAILABLE",
        }
    }
}

/// A model by its name.
#[derive(Clone, Debug)]
struct Entry {
    /// Requests that run on a model keep it alive when another has taken its place.
    model: Option<Arc<Model>>,
    is_loading: bool,
    /// Why there is none.
    reason: String,
}

impl Entry {
    fn state(&self) -> State {
        match &self.model {
            Some(model) if model.is_able() => State::Ready,
            None if self.is_loading => State::Loading,
            Some(_) | None => State::Unavailable,
        }
    }
}

/// A line of the repository's index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The model's name.
    pub name: String,
    /// Its state.
    pub state: State,
    /// Why it does not answer.
    pub reason: String,
}

/// All models.
#[derive(Debug)]
pub struct Models {
    entries: RwLock<BTreeMap<String, Entry>>,
    source: Option<Arc<dyn Source>>,
    /// One model is loaded at a time.
    loading: Mutex<()>,
}

impl Models {
    /// These models, and those of a source, to be loaded and unloaded; without one they stay as they
    /// are.
    pub fn new(models: Vec<Model>, source: Option<Arc<dyn Source>>) -> Models {
        let entry = |model: Model| {
            let name = model.name().to_owned();
            let model = Some(Arc::new(model));
            (name, Entry { model, is_loading: false, reason: String::new() })
        };
        let entries = RwLock::new(models.into_iter().map(entry).collect());
        Models { entries, source, loading: Mutex::new(()) }
    }

    /// A name that has no model, and why.
    pub fn set_unavailable(&self, name: &str, reason: String) {
        let entry = Entry { model: None, is_loading: false, reason };
        self.write().insert(name.to_owned(), entry);
    }

    /// The models that are there, in the order of their names.
    pub fn all(&self) -> Vec<Arc<Model>> {
        self.read().values().filter_map(|entry| entry.model.clone()).collect()
    }

    /// The model of this name.
    pub fn get(&self, name: &str) -> Option<Arc<Model>> {
        self.read().get(name)?.model.clone()
    }

    /// Why a name has no model.
    pub fn absent(&self, name: &str) -> ServeError {
        let entries = self.read();
        let text = match entries.get(name) {
            Some(Entry { is_loading: true, .. }) => {
                return ServeError::Unavailable(format!("model '{name}' is being loaded"));
            }
            Some(Entry { reason, .. }) => format!("model '{name}' is not there: {reason}"),
            None => {
                let there = entries.iter().filter(|(_, entry)| entry.model.is_some());
                let there: Vec<&str> = there.map(|(name, _)| name.as_str()).collect();
                format!("no model '{name}': there are {}", there.join(", "))
            }
        };
        ServeError::NotFound(text)
    }

    /// All names: those that were ever loaded, and those that can be.
    pub fn index(&self) -> Vec<Listed> {
        let known = self.source.as_ref().map(|source| source.names()).unwrap_or_default();
        let entries = self.read();
        let listed = |(name, entry): (&String, &Entry)| Listed {
            name: name.clone(),
            state: entry.state(),
            reason: match entry.state() {
                State::Unavailable if entry.model.is_some() => "its device failed".to_owned(),
                _ => entry.reason.clone(),
            },
        };
        let mut all: Vec<Listed> = entries.iter().map(listed).collect();
        let others = known.into_iter().filter(|name| !entries.contains_key(name));
        all.extend(others.map(|name| {
            let reason = "not loaded".to_owned();
            Listed { name, state: State::Unavailable, reason }
        }));
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// Loads a model, beside the one of this name where there is one, which then ends when it has
    /// answered what it has taken. Where the new one cannot be served, the old one stays.
    pub async fn load(&self, name: &str) -> Result<(), ServeError> {
        let source = self.source()?.clone();
        let _one_at_a_time = self.loading.lock().await;
        let names = source.names();
        if !names.iter().any(|known| known == name) {
            let names = names.join(", ");
            return Err(ServeError::NotFound(format!(
                "no model '{name}' can be loaded: there are {names}"
            )));
        }
        let absent = || Entry { model: None, is_loading: false, reason: String::new() };
        self.write().entry(name.to_owned()).or_insert_with(absent).is_loading = true;
        let of_task = name.to_owned();
        let loaded = spawn_blocking(move || source.load(&of_task)).await;
        let loaded = loaded.unwrap_or_else(|_| Err("loading it panicked".to_owned()));
        let mut entries = self.write();
        let entry = entries.entry(name.to_owned()).or_insert_with(absent);
        entry.is_loading = false;
        match loaded {
            Ok(model) => {
                let old = entry.model.replace(Arc::new(model));
                entry.reason.clear();
                drop(entries);
                drop(old);
                Ok(())
            }
            Err(reason) => {
                entry.reason.clone_from(&reason);
                Err(ServeError::Invalid(format!("model '{name}' cannot be served: {reason}")))
            }
        }
    }

    /// Takes a model's name away. What it has taken is answered.
    pub async fn unload(&self, name: &str) -> Result<(), ServeError> {
        self.source()?;
        let _one_at_a_time = self.loading.lock().await;
        let mut entries = self.write();
        let Some(entry) = entries.get_mut(name).filter(|entry| entry.model.is_some()) else {
            drop(entries);
            return Err(self.absent(name));
        };
        let old = entry.model.take();
        entry.reason = "unloaded".to_owned();
        drop(entries);
        drop(old);
        Ok(())
    }

    fn source(&self) -> Result<&Arc<dyn Source>, ServeError> {
        self.source.as_ref().ok_or_else(|| {
            ServeError::Invalid(
                "models are neither loaded nor unloaded: start the server with --models".to_owned(),
            )
        })
    }

    // What the lock holds is whole at every moment, so that a panic elsewhere does not matter.
    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<String, Entry>> {
        self.entries.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, BTreeMap<String, Entry>> {
        self.entries.write().unwrap_or_else(PoisonError::into_inner)
    }
}
