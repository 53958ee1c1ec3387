//! The lists and maps of messages: of a fixed capacity, in the message itself.

use core::{fmt, ops, slice};

use crate::error::debug_is_the_sentence;

use heapless::{LinearMap, Vec};

/// A list of up to `N` values. It dereferences to a slice.
///
/// ```
/// use alts_core::msg::List;
///
/// let mut names = List::<_, 3>::from(["grpc", "h2"]);
/// names.push("http/1.1")?;
/// assert_eq!(*names, ["grpc", "h2", "http/1.1"]);
/// assert!(names.push("http/1.0").is_err());
/// # Ok::<(), alts_core::msg::Full>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct List<T, const N: usize>(Vec<T, N>);

impl<T, const N: usize> List<T, N> {
    /// An empty list.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// The list of all `items`.
    ///
    /// # Errors
    /// [`Full`] when there are more than `N`.
    pub fn try_from_iter(items: impl IntoIterator<Item = T>) -> Result<Self, Full> {
        let mut list = Self::new();
        items.into_iter().try_for_each(|item| list.push(item))?;
        Ok(list)
    }

    /// Adds `item` at the end.
    ///
    /// # Errors
    /// [`Full`] when there are `N` already.
    pub fn push(&mut self, item: T) -> Result<(), Full> {
        self.0.push(item).map_err(|_| Full)
    }

    /// The values, in their order.
    #[must_use]
    pub fn as_slice(&self) -> &[T] {
        &self.0
    }
}

impl<T, const N: usize> Default for List<T, N> {
    fn default() -> Self {
        Self::new()
    }
}

/// An array that is too long does not compile.
impl<T, const N: usize, const M: usize> From<[T; M]> for List<T, N> {
    fn from(items: [T; M]) -> Self {
        const { assert!(M <= N, "the array is longer than the list may be") }
        let mut list = Self::new();
        for item in items {
            // There is room for all of them.
            let _ = list.push(item);
        }
        list
    }
}

impl<T, const N: usize> ops::Deref for List<T, N> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T, const N: usize> ops::DerefMut for List<T, N> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.0
    }
}

impl<'l, T, const N: usize> IntoIterator for &'l List<T, N> {
    type Item = &'l T;
    type IntoIter = slice::Iter<'l, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<T: fmt::Debug, const N: usize> fmt::Debug for List<T, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// A map of up to `N` entries, searched one by one. Two maps with the same entries are equal,
/// whatever their order.
pub struct Map<K, V, const N: usize>(LinearMap<K, V, N>);

impl<K: Eq, V, const N: usize> Map<K, V, N> {
    /// An empty map.
    #[must_use]
    pub const fn new() -> Self {
        Self(LinearMap::new())
    }

    /// The map of all `entries`; the last value of a key counts.
    ///
    /// # Errors
    /// [`Full`] when there are more than `N` keys.
    pub fn try_from_iter(entries: impl IntoIterator<Item = (K, V)>) -> Result<Self, Full> {
        let mut map = Self::new();
        for (key, value) in entries {
            map.insert(key, value)?;
        }
        Ok(map)
    }

    /// Gives `key` this value, and returns the one that it had.
    ///
    /// # Errors
    /// [`Full`] when the key is new and there are `N` already.
    pub fn insert(&mut self, key: K, value: V) -> Result<Option<V>, Full> {
        self.0.insert(key, value).map_err(|_| Full)
    }

    /// The value of `key`.
    #[must_use]
    pub fn get(&self, key: &K) -> Option<&V> {
        self.0.get(key)
    }

    /// The value of `key`, to change it.
    #[must_use]
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.0.get_mut(key)
    }

    /// All entries.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.0.iter()
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<K: Eq + Clone, V: Clone, const N: usize> Clone for Map<K, V, N> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K: Eq, V, const N: usize> Default for Map<K, V, N> {
    fn default() -> Self {
        Self::new()
    }
}

/// An array that is too long does not compile. The last value of a key counts.
impl<K: Eq, V, const N: usize, const M: usize> From<[(K, V); M]> for Map<K, V, N> {
    fn from(entries: [(K, V); M]) -> Self {
        const { assert!(M <= N, "the array is longer than the map may be") }
        let mut map = Self::new();
        for (key, value) in entries {
            // There is room for all of them.
            let _ = map.insert(key, value);
        }
        map
    }
}

impl<K: Eq, V: PartialEq, const N: usize> PartialEq for Map<K, V, N> {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len()
            && self.iter().all(|(key, value)| other.get(key).is_some_and(|theirs| theirs == value))
    }
}

impl<K: Eq, V: Eq, const N: usize> Eq for Map<K, V, N> {}

impl<K: Eq + fmt::Debug, V: fmt::Debug, const N: usize> fmt::Debug for Map<K, V, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A [`List`] or [`Map`] has no room for another element.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Full;

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no room for another element")
    }
}

impl core::error::Error for Full {}

debug_is_the_sentence!(Full);
