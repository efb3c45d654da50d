//! Where an encoded image comes from, and why one has no result.

use crate::image::{ImageError, ImageWarning, Recipe, preprocess, preprocess_levels};
use crate::session::NonFiniteLogits;
use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// More than any photograph takes encoded: a file or reader that never ends stops here.
pub const MAX_ENCODED_BYTES: u64 = 256 << 20;

type BoxError = Box<dyn Error + Send + Sync>;

/// An encoded image before it is read: a file, bytes in memory, a reader, or an error in the place
/// of an image.
///
/// Results and errors call it by its name: the file's path, the name that was given, or `image N`
/// with its place among the inputs, from 0.
pub struct ImageInput {
    name: Option<String>,
    encoded: Encoded,
}

/// Where the bytes are.
pub(super) enum Encoded {
    File(PathBuf),
    Bytes(Box<dyn AsRef<[u8]> + Send>),
    Reader(Box<dyn Read + Send>),
    Failed(BoxError),
}

impl ImageInput {
    /// A file, or anything else that is read by its path; named by the path. A named pipe is waited
    /// for until something writes to it.
    pub fn file(path: impl Into<PathBuf>) -> ImageInput {
        let path = path.into();
        let name = Some(path.display().to_string());
        ImageInput { name, encoded: Encoded::File(path) }
    }

    /// Bytes in memory: a vector, a shared slice and the like, which are not copied.
    pub fn bytes(bytes: impl AsRef<[u8]> + Send + 'static) -> ImageInput {
        ImageInput { name: None, encoded: Encoded::Bytes(Box::new(bytes)) }
    }

    /// A reader, as standard input; read to its end on a decoding thread.
    pub fn reader(reader: impl Read + Send + 'static) -> ImageInput {
        ImageInput { name: None, encoded: Encoded::Reader(Box::new(reader)) }
    }

    /// The place of an image that cannot be had: it comes out as this error, in its order.
    pub fn failed(error: impl Into<BoxError>) -> ImageInput {
        ImageInput { name: None, encoded: Encoded::Failed(error.into()) }
    }

    /// The same image under another name.
    pub fn named(self, name: impl Into<String>) -> ImageInput {
        ImageInput { name: Some(name.into()), ..self }
    }

    /// The name, where it has one by itself.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The way of one image without a pipeline: reads it, decodes it and prepares it by the recipe.
    /// `tensor` is `[size.h, size.w, 3]` of `recipe.size`; after an error its values mean nothing.
    /// The result is what is wrong with the image that was decoded all the same.
    pub fn prepare(
        self,
        recipe: &Recipe,
        tensor: &mut [f32],
    ) -> Result<Vec<ImageWarning>, ImageFailureKind> {
        let mut encoded = self.encoded;
        Ok(preprocess(&encoded.read()?, recipe, tensor)?)
    }

    /// As [`prepare`](ImageInput::prepare), up to the levels that it normalises; see
    /// [`preprocess_levels`].
    pub fn prepare_levels(
        self,
        recipe: &Recipe,
        levels: &mut [u8],
    ) -> Result<Vec<ImageWarning>, ImageFailureKind> {
        let mut encoded = self.encoded;
        Ok(preprocess_levels(&encoded.read()?, recipe, levels)?)
    }

    /// Its name at a place among the inputs, and where its bytes are.
    pub(super) fn at(self, index: usize) -> (String, Encoded) {
        (self.name.unwrap_or_else(|| format!("image {index}")), self.encoded)
    }
}

impl Encoded {
    /// The encoded bytes.
    pub(super) fn read(&mut self) -> Result<Cow<'_, [u8]>, ImageFailureKind> {
        let read_all = |reader: &mut dyn Read| {
            let mut bytes = Vec::new();
            reader.take(MAX_ENCODED_BYTES + 1).read_to_end(&mut bytes).map(|_| bytes)
        };
        let bytes = match self {
            Encoded::File(path) => Cow::Owned(read_all(&mut File::open(path)?)?),
            Encoded::Bytes(bytes) => Cow::Borrowed((**bytes).as_ref()),
            Encoded::Reader(reader) => Cow::Owned(read_all(reader)?),
            Encoded::Failed(error) => {
                let error = std::mem::replace(error, "taken already".into());
                return Err(ImageFailureKind::Input(error));
            }
        };
        if bytes.len() as u64 > MAX_ENCODED_BYTES {
            return Err(ImageFailureKind::TooLong);
        }
        Ok(bytes)
    }
}

impl fmt::Debug for ImageInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.encoded {
            Encoded::File(_) => "file",
            Encoded::Bytes(_) => "bytes",
            Encoded::Reader(_) => "reader",
            Encoded::Failed(_) => "failed",
        };
        f.debug_struct("ImageInput").field("name", &self.name).field("encoded", &kind).finish()
    }
}

impl From<PathBuf> for ImageInput {
    fn from(path: PathBuf) -> ImageInput {
        ImageInput::file(path)
    }
}

impl From<&PathBuf> for ImageInput {
    fn from(path: &PathBuf) -> ImageInput {
        ImageInput::file(path)
    }
}

impl From<&Path> for ImageInput {
    fn from(path: &Path) -> ImageInput {
        ImageInput::file(path)
    }
}

/// A path.
impl From<&str> for ImageInput {
    fn from(path: &str) -> ImageInput {
        ImageInput::file(path)
    }
}

/// A path.
impl From<String> for ImageInput {
    fn from(path: String) -> ImageInput {
        ImageInput::file(path)
    }
}

/// Encoded bytes.
impl From<Vec<u8>> for ImageInput {
    fn from(bytes: Vec<u8>) -> ImageInput {
        ImageInput::bytes(bytes)
    }
}

/// One image that has no result.
#[derive(Debug, thiserror::Error)]
#[error("{name}: {kind}")]
pub struct ImageFailure {
    /// The image's place among the inputs, from 0.
    pub index: usize,
    /// The image's name.
    pub name: String,
    /// What is wrong with it.
    #[source]
    pub kind: ImageFailureKind,
}

/// What is wrong with one image.
#[derive(Debug, thiserror::Error)]
pub enum ImageFailureKind {
    /// It cannot be read.
    #[error(transparent)]
    Read(#[from] io::Error),
    /// It is longer than [`MAX_ENCODED_BYTES`].
    #[error("longer than {MAX_ENCODED_BYTES} bytes, so not an image")]
    TooLong,
    /// It cannot be decoded.
    #[error(transparent)]
    Decode(#[from] ImageError),
    /// The network's values overflow on it: some of its logits are NaN or infinite.
    #[error(transparent)]
    NonFinite(#[from] NonFiniteLogits),
    /// It stood for an error among the inputs, see [`ImageInput::failed`].
    #[error(transparent)]
    Input(BoxError),
}
