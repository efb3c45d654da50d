//! What the compressed entries of a checkpoint may cost, and those that are kept inflated.
//!
//! # Budget
//!
//! Reading tensors inflates at most
//!
//! ```text
//! 32 MiB + 4 * bytes of the files + 2 * bytes of the tensors read so far, as stored
//! ```
//!
//! in all, whatever the order of the reads: the next entry beyond that is refused before it is
//! touched. Weights compress to a half at best, so that what a sound file holds beside its tensors
//! is in the second term, as the storage of a flat parameter or of a slice; a tensor of zeros,
//! which compresses a thousandfold, pays for itself in the third.
//!
//! An entry that several tensors view is inflated once, and kept until each of them was read: what
//! is kept is part of what was inflated, and within the same bound.

use super::CheckpointError;
use super::archive::Member;
use super::error::{quote, too_large};
use super::tensor::{Data, View};
use std::collections::HashMap;
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes that may be inflated of any file.
const FLOOR: u64 = 32 << 20;
/// Bytes that may be inflated for each byte of the files.
const PER_FILE_BYTE: u64 = 4;
/// Bytes that may be inflated for each byte of the tensors read.
const PER_TENSOR_BYTE: u64 = 2;

/// A storage's bytes.
pub(super) enum Bytes<'a> {
    /// As they stand in a file.
    Borrowed(&'a [u8]),
    /// Decoded for this tensor.
    Owned(Vec<u8>),
    /// Decoded for several tensors, after the first bytes.
    Shared(Arc<Vec<u8>>, usize),
}

impl Deref for Bytes<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Bytes::Borrowed(bytes) => bytes,
            Bytes::Owned(bytes) => bytes,
            Bytes::Shared(bytes, skip) => &bytes[*skip..],
        }
    }
}

/// Number of a file of the checkpoint, and the entry's offset in it.
type Place = (usize, usize);

/// The compressed entries of a checkpoint.
#[derive(Default)]
pub(super) struct Inflated {
    file_bytes: u64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Bytes inflated so far.
    spent: u64,
    /// Bytes of the tensors read so far, as stored.
    read: u64,
    /// The entries of which more than one tensor is left to be read.
    shared: HashMap<Place, Shared>,
}

struct Shared {
    /// Tensors to be read.
    left: usize,
    bytes: Option<Arc<Vec<u8>>>,
}

impl Inflated {
    /// The entries behind `views`, in files of `file_bytes` in all.
    pub(super) fn of<'v>(
        file_bytes: u64,
        views: impl Iterator<Item = &'v (usize, View)>,
    ) -> Inflated {
        let mut shared = HashMap::new();
        for (part, view) in views {
            if let Some(member) = view.deflated() {
                let place = (*part, member.range.start);
                shared.entry(place).or_insert(Shared { left: 0, bytes: None }).left += 1;
            }
        }
        shared.retain(|_, shared| shared.left > 1);
        Inflated { file_bytes, state: Mutex::new(State { shared, ..State::default() }) }
    }

    /// Bytes inflated so far.
    pub(super) fn spent(&self) -> u64 {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).spent
    }

    /// The storage that the tensor `name` views, which is in `file`, number `part`.
    pub(super) fn bytes<'a>(
        &self,
        name: &str,
        view: &'a View,
        (part, file): (usize, &'a [u8]),
    ) -> Result<Bytes<'a>, CheckpointError> {
        let (Some(member), Data::Member { skip, .. }) = (view.deflated(), view.data()) else {
            return view.data().bytes(file);
        };
        let place = (part, member.range.start);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.read = state.read.saturating_add(view.stored_bytes());
        let kept = state.shared.get(&place).and_then(|shared| shared.bytes.clone());
        let inflated = match kept {
            Some(bytes) => bytes,
            None => {
                state.charge(name, member, self.file_bytes)?;
                Arc::new(member.bytes(file)?.into_owned())
            }
        };
        if let Some(shared) = state.shared.get_mut(&place) {
            shared.left -= 1;
            shared.bytes = Some(inflated.clone());
            if shared.left == 0 {
                state.shared.remove(&place);
            }
        }
        Ok(Bytes::Shared(inflated, *skip))
    }
}

impl State {
    fn charge(
        &mut self,
        name: &str,
        member: &Member,
        file_bytes: u64,
    ) -> Result<(), CheckpointError> {
        let limit = PER_FILE_BYTE
            .saturating_mul(file_bytes)
            .saturating_add(PER_TENSOR_BYTE.saturating_mul(self.read))
            .saturating_add(FLOOR);
        let spent = self.spent.saturating_add(member.size as u64);
        if spent > limit {
            let what = format!(
                "inflated bytes of zip entries, with that of tensor {}, for a file and tensors of \
                 this size",
                quote(name)
            );
            return Err(too_large(what, member.range.start, limit, spent));
        }
        self.spent = spent;
        Ok(())
    }
}
