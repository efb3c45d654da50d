//! Layouts of parameter structs as data: names, offsets and sizes of the fields.

use bytemuck::Pod;

/// A kernel's parameter struct: plain bytes of which some fields are device addresses.
pub trait Params: Pod {
    /// The struct's name in both languages.
    const NAME: &'static str;

    /// Every field, in the order of declaration.
    const FIELDS: &'static [Field];

    /// Offsets of the device addresses, in bytes; ascending.
    const ADDRESSES: &'static [usize];
}

/// A field of a parameter struct.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// The field's name in both languages.
    pub name: &'static str,
    /// Offset from the struct's start, in bytes.
    pub offset: usize,
    /// Size in bytes.
    pub bytes: usize,
}

impl Field {
    /// Whether the field is a device address: nothing else has its size.
    const fn is_address(&self) -> bool {
        self.bytes == size_of::<u64>()
    }
}

/// A parameter struct as both languages must lay it out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParamsLayout {
    /// [`Params::NAME`].
    pub name: &'static str,
    /// Size of the struct in bytes.
    pub bytes: usize,
    /// [`Params::FIELDS`].
    pub fields: &'static [Field],
    /// [`Params::ADDRESSES`].
    pub addresses: &'static [usize],
}

impl ParamsLayout {
    pub(super) const fn of<P: Params>() -> ParamsLayout {
        ParamsLayout {
            name: P::NAME,
            bytes: size_of::<P>(),
            fields: P::FIELDS,
            addresses: P::ADDRESSES,
        }
    }
}

/// Size of the field that a function borrows.
pub(super) const fn field_bytes<P, F>(_: fn(&P) -> &F) -> usize {
    size_of::<F>()
}

/// Number of device addresses among the fields.
pub(super) const fn count_addresses(fields: &[Field]) -> usize {
    let (mut count, mut i) = (0, 0);
    while i < fields.len() {
        count += fields[i].is_address() as usize;
        i += 1;
    }
    count
}

/// Offsets of the `N` addresses among the fields.
pub(super) const fn addresses<const N: usize>(fields: &[Field]) -> [usize; N] {
    let (mut offsets, mut count, mut i) = ([0; N], 0, 0);
    while i < fields.len() {
        if fields[i].is_address() {
            offsets[count] = fields[i].offset;
            count += 1;
        }
        i += 1;
    }
    offsets
}

/// Implements [`Params`] for structs by the names of their fields, and lists the layouts of all.
macro_rules! params {
    ($($type:ident { $($field:ident),+ $(,)? })+) => {
        $(impl Params for $type {
            const NAME: &'static str = stringify!($type);
            const FIELDS: &'static [Field] = &[$(Field {
                name: stringify!($field),
                offset: std::mem::offset_of!($type, $field),
                bytes: layout::field_bytes(|params: &$type| &params.$field),
            }),+];
            const ADDRESSES: &'static [usize] = &layout::addresses::<
                { layout::count_addresses(<$type as Params>::FIELDS) },
            >(Self::FIELDS);
        })+

        /// Every parameter struct.
        pub const LAYOUTS: &[ParamsLayout] = &[$(ParamsLayout::of::<$type>()),+];
    };
}
pub(super) use params;
